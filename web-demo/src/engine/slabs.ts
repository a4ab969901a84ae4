/**
 * The interface `slabs` of the component: providers of slabs.
 *
 * A provider grants and refuses by numbers, exactly as the native one does: whole pages of 4096 bytes, up to a capacity. A slab of
 * the run that is shown also has memory, see `memory.ts`.
 */
import type * as Slabs from "./generated/substrate/interfaces/strandline-substrate-slabs.js";
import type { Memory } from "./memory";

const PAGE = 4096n;
/** What positions in a slab can name with room to spare. */
const LARGEST = 1n << 62n;
const GENERATION = 1n << 32n;
const ALL_MEMORY = { optimal: true, hostVisible: true, hostCoherent: true, hostCached: true, deviceLocal: true, shared: false };
const ALL_USES = {
  transfer: true, storage: true, storageRead: true, uniform: true, index: true, vertex: true, indirect: true, upload: true, readback: true,
};

/** How the components' code names the end of a handle, also where the language has no word for it yet. */
export const DISPOSE = (Symbol.dispose ?? Symbol.for("dispose")) as typeof Symbol.dispose;

/** Gives back a handle of a component, if there is one. */
export function dispose(handle: unknown): void {
  (handle as { [DISPOSE]?: () => void } | null)?.[DISPOSE]?.();
}

/** An error of the interface: what the component is told. */
export class Refusal extends Error {
  readonly payload: unknown;

  constructor(payload: unknown) {
    super("refused");
    this.payload = payload;
  }
}

/** What there is now, of all runs. */
export interface Host {
  /** Live handles to providers. */
  providers: number;
  /** Slabs handed out. */
  slabs: number;
}

/** Slabs of one run. Every pool of the run has a handle to it. */
export class Supply {
  readonly capacity: bigint | undefined;
  readonly #memory: Memory | null;
  readonly #identity: bigint;
  readonly #host: Host;
  #slabs = new Map<bigint, bigint>();
  /** Indices that can be used again, with the generation that they come to. */
  #vacant: bigint[] = [];
  #next = 0n;
  #committed = 0n;
  #peak = 0n;
  #acquires = 0n;
  #refusals = 0n;

  constructor(host: Host, identity: bigint, capacity: bigint | undefined, memory: Memory | null) {
    this.#host = host;
    this.#identity = identity;
    this.capacity = capacity;
    this.#memory = memory;
  }

  acquire(size: bigint): Slabs.Slab | undefined {
    if (size === 0n || size > LARGEST) throw new Refusal({ tag: "invalid-size", val: size });
    const bytes = ((size + PAGE - 1n) / PAGE) * PAGE;
    if (this.capacity !== undefined && this.#committed + bytes > this.capacity) {
      this.#refusals += 1n;
      return undefined;
    }
    const id = this.#vacant.pop() ?? this.#next++;
    this.#slabs.set(id, bytes);
    this.#committed += bytes;
    if (this.#committed > this.#peak) this.#peak = this.#committed;
    this.#acquires += 1n;
    this.#host.slabs++;
    this.#memory?.acquire(id, Number(bytes));
    return { id, size: bytes };
  }

  release(id: bigint): void {
    const bytes = this.#slabs.get(id);
    if (bytes === undefined) throw new Refusal({ tag: "unknown-slab", val: id });
    this.#slabs.delete(id);
    this.#host.slabs--;
    this.#committed -= bytes;
    this.#memory?.release(id);
    // An index whose generations are used up is left alone: an id never names another slab.
    if (id < (GENERATION - 1n) * GENERATION) this.#vacant.push(id + GENERATION);
  }

  check(id: bigint, offset: bigint, len: bigint): void {
    const bytes = this.#slabs.get(id);
    if (bytes === undefined) throw new Refusal({ tag: "unknown-slab", val: id });
    if (offset + len > bytes) throw new Refusal({ tag: "invalid-range" });
  }

  stats(): Slabs.SlabStats {
    return {
      identity: this.#identity,
      slabs: BigInt(this.#slabs.size),
      committedBytes: this.#committed,
      peakCommittedBytes: this.#peak,
      cachedBytes: 0n,
      acquires: this.#acquires,
      releases: this.#acquires - BigInt(this.#slabs.size),
      refusals: this.#refusals,
    };
  }
}

/** The resource `provider`, for one host. */
export function providerClass(host: Host) {
  return class Provider {
    readonly #supply: Supply;

    constructor(supply: Supply) {
      this.#supply = supply;
      host.providers++;
    }

    properties(): Slabs.SlabProperties {
      return { memoryType: ALL_MEMORY, usage: ALL_USES, alignment: PAGE, granularity: PAGE, maxSlabSize: LARGEST };
    }

    acquire(size: bigint): Slabs.Slab | undefined {
      return this.#supply.acquire(size);
    }

    release(id: bigint): void {
      this.#supply.release(id);
    }

    /** GPU buffers and fresh ArrayBuffers are zeroed when they are made: there is no fault to take early. */
    prefault(id: bigint, offset: bigint, len: bigint): void {
      this.#supply.check(id, offset, len);
    }

    /** Nothing is held that is not handed out. */
    trim(): bigint {
      return 0n;
    }

    stats(): Slabs.SlabStats {
      return this.#supply.stats();
    }

    /** Epochs are the tracker's: nothing else knows them. */
    queryEpoch(): boolean | undefined {
      return undefined;
    }

    [DISPOSE](): void {
      host.providers--;
    }
  };
}
