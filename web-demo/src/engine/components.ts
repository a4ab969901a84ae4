/**
 * The two components, put together: the player imports what the core's component exports.
 *
 * ```text
 *   this page ── stage ──▶ player ── pools, authority, tracker, inspect ──▶ substrate ── slabs, notify ──▶ this page
 * ```
 */
import type * as Recorded from "./generated/player/interfaces/strandline-player-recorded.js";
import type * as Playing from "./generated/player/interfaces/strandline-player-playing.js";
import { instantiate as instantiatePlayer, type ImportObject as PlayerImports } from "./generated/player/player.js";
import { instantiate as instantiateSubstrate, type ImportObject as SubstrateImports } from "./generated/substrate/substrate.js";
import type { Memory } from "./memory";
import { providerClass, Supply, type Host } from "./slabs";

export type { Playing, Recorded };

/** A core module by its file's name. */
export type CoreModule = (file: string) => Promise<WebAssembly.Module>;

/** What the player may ask of whoever runs it. */
export interface Stage {
  /** Bytes of an input. */
  read(input: number, offset: number, length: number): Uint8Array;
  /** Milliseconds. */
  now(): number;
  /** The memory of the run that is shown. */
  memory(): Memory;
  choosing(tried: number, of: number): void;
}

/** Both components, running. */
export interface Components {
  playing: typeof Playing;
  recorded: typeof Recorded;
  host: Host;
}

/** Instantiates both. */
export async function start(core: CoreModule, stage: Stage): Promise<Components> {
  const host: Host = { providers: 0, slabs: 0 };
  const Provider = providerClass(host);
  /** By their numbers, which are not used again. */
  const supplies = new Map<number, Supply>();
  let made = 0;
  const slabs = { Provider };
  const types = {};
  const substrate = await instantiateSubstrate(core, {
    "strandline:substrate/slabs": slabs,
    "strandline:substrate/types": types,
    // Pools are made over a tracker, and nothing is watched: the player asks again whenever something has happened.
    "strandline:substrate/notify": { reached: () => 0n, changed: () => undefined },
  } as unknown as SubstrateImports);
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
    },
  } as unknown as PlayerImports);
  return { playing: player.playing, recorded: player.recorded, host };
}

/** The message of whatever a call of a component threw: an error of its interface is a sentence. */
export function message(error: unknown): string {
  const payload = (error as { payload?: unknown } | null)?.payload;
  if (typeof payload === "string") return payload;
  return error instanceof Error ? error.message : String(error);
}
