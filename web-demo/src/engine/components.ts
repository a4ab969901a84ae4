/**
 * The two components, put together: the player imports what the core's component exports.
 *
 * ```text
 *   this page ── stage ──▶ player ── pools, authority, tracker, inspect ──▶ substrate ── slabs, notify ──▶ this page
 * ```
 */
import type * as Recorded from "./generated/player/interfaces/strandline-player-recorded.js";
import type * as Planning from "./generated/player/interfaces/strandline-player-planning.js";
import type * as Playing from "./generated/player/interfaces/strandline-player-playing.js";
import { instantiate as instantiatePlayer, type ImportObject as PlayerImports } from "./generated/player/player.js";
import { instantiate as instantiateSubstrate, type ImportObject as SubstrateImports } from "./generated/substrate/substrate.js";
import type { Memory } from "./memory";
import { providerClass, Supply, type Host } from "./slabs";

export type { Planning, Playing, Recorded };

/** A core module by its file's name. */
export type CoreModule = (file: string) => Promise<WebAssembly.Module>;

/** What the player may ask of whoever runs it. */
export interface Stage {
  /** Bytes of an input. */
  read(input: number, offset: number, length: number): Uint8Array;
  /** Milliseconds. */
  now(): number;
  /** The memory of the run that is shown; null where numbers do. */
  memory(): Memory | null;
  choosing(tried: number, of: number): void;
  /** The best plan so far, in bytes; who plans nothing hears nothing. */
  searching?(best: number): void;
}

/** Both components, running. */
export interface Components {
  playing: typeof Playing;
  planning: typeof Planning;
  recorded: typeof Recorded;
  host: Host;
  /** Core modules that have memory; of them those that hold the pools, unless those are the player's own. */
  cores: readonly Core[];
  pools: readonly Core[];
}

/** A core module of a component: all that it knows is in its memory. */
export interface Core {
  memory: WebAssembly.Memory;
  /** Moves or makes a piece of it; absent where nobody outside needs it to. */
  cabi_realloc?: (old: number, oldBytes: number, align: number, bytes: number) => number;
}

/** Instantiates both. */
export async function start(core: CoreModule, stage: Stage): Promise<Components> {
  const host: Host = { providers: 0, slabs: 0 };
  const Provider = providerClass(host);
  /** By their numbers, which are not used again. */
  const supplies = new Map<number, Supply>();
  let made = 0;
  const cores: Core[] = [];
  const instantiateCore = async (module: WebAssembly.Module, imports: Record<string, unknown>): Promise<WebAssembly.Instance> => {
    const instance = await WebAssembly.instantiate(module, imports as WebAssembly.Imports);
    // Its name is the tools' choice.
    const memory = Object.values(instance.exports).find((value) => value instanceof WebAssembly.Memory);
    const { cabi_realloc } = instance.exports as unknown as Core;
    if (memory !== undefined) cores.push({ memory, ...(cabi_realloc === undefined ? {} : { cabi_realloc }) });
    return instance;
  };
  const slabs = { Provider };
  const types = {};
  const substrate = await instantiateSubstrate(core, {
    "strandline:substrate/slabs": slabs,
    "strandline:substrate/types": types,
    // Pools are made over a tracker, and nothing is watched: the player asks again whenever something has happened.
    "strandline:substrate/notify": { reached: () => 0n, changed: () => undefined },
  } as unknown as SubstrateImports, instantiateCore);
  const pools = [...cores];
  const player = await instantiatePlayer(core, {
    "strandline:substrate/slabs": slabs,
    "strandline:substrate/types": types,
    "strandline:substrate/authority": substrate.authority,
    "strandline:substrate/pools": substrate.pools,
    "strandline:substrate/inspect": substrate.inspect,
    "strandline:substrate/tracker": substrate.tracker,
    "strandline:player/stage": {
      read(input: number, offset: bigint, length: number): Uint8Array {
        try {
          return stage.read(input, Number(offset), length);
        } catch (error) {
          throw Object.assign(new Error("the input cannot be read"), {
            payload: error instanceof Error ? error.message : String(error),
          });
        }
      },
      now: () => BigInt(Math.round(stage.now() * 1e6)),
      makeProvider(capacity: bigint | undefined, shown: boolean): number {
        supplies.set(++made, new Supply(host, BigInt(made), capacity, shown ? stage.memory() : null));
        return made;
      },
      openProvider(id: number) {
        const supply = supplies.get(id);
        if (supply === undefined) throw new Error(`no provider has the number ${id}`);
        return new Provider(supply);
      },
      closeProvider(id: number): void {
        supplies.delete(id);
      },
      choosing: (tried: number, of: number) => stage.choosing(tried, of),
      searching: (best: bigint) => stage.searching?.(Number(best)),
    },
  } as unknown as PlayerImports, instantiateCore);
  return { playing: player.playing, planning: player.planning, recorded: player.recorded, host, cores, pools };
}

/** The message of whatever a call of a component threw: an error of its interface is a sentence. */
export function message(error: unknown): string {
  const payload = (error as { payload?: unknown } | null)?.payload;
  if (typeof payload === "string") return payload;
  return error instanceof Error ? error.message : String(error);
}
