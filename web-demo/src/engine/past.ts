/**
 * The run of the pools once more, over numbers, with copies on the way: whoever asks for another instant gets it from the last copy
 * before it instead of from the beginning.
 *
 * ```text
 *   ┌ components of its own ─────┐  a trace, a run, and its pools, which are the player's own: no call leaves the player
 *   │ player: trace, run, pools  │  while it is played, so that an event takes a tenth of the time, and all that changes
 *   └──┬─────────────────────────┘  is in one memory
 *    memory ─▶ copies, by pages that differ from those of the copy before
 * ```
 *
 * The run that is shown first, and the one that is reported, have their pools in the core's component; both are the same code, and the tests
 * hold the pictures of one against those of the other.
 *
 * Memory of a core never becomes smaller: what was grown after a copy and is not known to it would be lost with every way back. So more than the
 * run needs is taken and given back inside before the first copy: what its pools took elsewhere, and as much for what is known of their blocks.
 *
 * Cost: one run, and a walk over the memory for each copy; an instant takes a copy back and the events from there on. Pages are small: a run
 * writes a little everywhere, and with pages of 64 KiB, which are WebAssembly's, a quarter of the memory differed from copy to copy.
 */
import type { Beside } from "./beside";
import { start, type Components, type Core, type CoreModule, type Playing } from "./components";
import { STEPS } from "./pace";

/** Words of a page: 4 KiB. Memory is a multiple of it. */
const PAGE = 1024;
/** Copies of a run, about, and most bytes of all. */
const COPIES = 128;
const MOST_BYTES = 384 * 2 ** 20;
/** Finer copies shortly before an instant that was stepped back to, and events between two: whoever goes on has little to play. */
const FINE = 16;
const FINE_STRIDE = 1024;
/** Room for what does not grow with the blocks, in bytes. */
const ROOM = 4 * 2 ** 20;
/** More than was taken may be lost to ways back, in bytes: then it is given up. */
const SLACK = 64 * 2 ** 20;
/** An event that no trace has. */
const FAR = 2 ** 53 - 1;

interface Copy {
  event: number;
  memories: Uint32Array[][];
  /** Bytes that the copy before does not have. */
  bytes: number;
}

export class Past {
  readonly #components: Components;
  readonly #run: Playing.Run;
  readonly #events: number;
  readonly #room: number;
  #copies: Copy[] = [];
  /** Ascending, since the copy that the last instant was reached from. */
  #fine: Copy[] = [];
  #stride: number;
  #at = 0;
  #ended = false;

  /**
   * Plays a run that has not begun, of components that nothing else is done with. `pools`: the memory, in bytes, of the pools where the same run
   * was played before.
   */
  constructor(components: Components, run: Playing.Run, events: number, pools: number) {
    this.#components = components;
    this.#run = run;
    this.#events = events;
    this.#stride = Math.max(1, Math.ceil(events / COPIES));
    for (const core of components.cores) if (!components.pools.includes(core)) reserve(core, 2 * pools + ROOM);
    this.#room = this.#size + SLACK;
    this.#copies.push(this.#copy(undefined));
  }

  /** Plays some steps further. True when it is at its end. */
  advance(): boolean {
    if (this.#ended || this.#copies.length === 0) return true;
    const next = (this.#copies[this.#copies.length - 1] as Copy).event + this.#stride;
    if (!this.#play(next)) return false;
    if (this.#run.ended() || next >= this.#events) this.#ended = true;
    else this.#add();
    return this.#ended;
  }

  /** Whether the copy before an event is made. */
  covers(event: number): boolean {
    if (this.#copies.length === 0) return false;
    return this.#ended || event < (this.#copies[this.#copies.length - 1] as Copy).event + this.#stride;
  }

  /** The packed frame of an event. */
  frame(event: number): Uint8Array {
    const coarse = lastBefore(this.#copies, event) as Copy;
    const fine = lastBefore(this.#fine, event);
    const copy = fine !== undefined && fine.event >= coarse.event ? fine : coarse;
    if (copy === coarse) this.#fine = [];
    // Who jumps far wants to be there, and one finer copy is enough for the first steps; who has come far by steps will go on.
    const finer = Math.abs(this.#at - event) <= FINE_STRIDE ? FINE : 1;
    if (this.#at > event || this.#at < copy.event) this.#restore(copy);
    let last = this.#fine[this.#fine.length - 1] ?? coarse;
    let next = Math.max(this.#at, last.event, event - (finer + 1) * FINE_STRIDE) + FINE_STRIDE;
    for (; next < event; next += FINE_STRIDE) {
      while (!this.#play(next)) continue;
      // One that is alone shares next to nothing with those before it: to look for that takes longer than to copy.
      last = this.#copy(finer > 1 ? last : undefined);
      this.#fine.push(last);
      if (this.#fine.length > 2 * FINE) this.#fine.shift();
    }
    while (!this.#play(event)) continue;
    return this.#run.frame();
  }

  /** Too much memory was lost to ways back. */
  get worn(): boolean {
    return this.#size > this.#room;
  }

  get copies(): number {
    return this.#copies.length;
  }

  /** Frees the copies; the handles are their owner's. */
  close(): void {
    this.#copies = this.#fine = [];
  }

  get #size(): number {
    return this.#components.cores.reduce((sum, { memory }) => sum + memory.buffer.byteLength, 0);
  }

  /** Plays some steps on to an event. True when it is there. */
  #play(event: number): boolean {
    // Only who plays on behind the last event learns that it was the last.
    if (this.#run.play(BigInt(event < this.#events ? event : FAR), STEPS)) return false;
    this.#at = event;
    return true;
  }

  #add(): void {
    this.#copies.push(this.#copy(this.#copies[this.#copies.length - 1]));
    if (this.#copies.reduce((sum, { bytes }) => sum + bytes, 0) > MOST_BYTES) this.#thin();
  }

  /** What is now, by what differs from a copy. */
  #copy(before: Copy | undefined): Copy {
    const copy: Copy = { event: this.#at, memories: [], bytes: 0 };
    this.#components.cores.forEach(({ memory }, i) => {
      const now = new Uint32Array(memory.buffer);
      const old = before?.memories[i] ?? [];
      const pages: Uint32Array[] = [];
      for (let at = 0; at < now.length; at += PAGE) {
        const known = old[at / PAGE];
        if (known !== undefined && same(known, now, at)) pages.push(known);
        else {
          pages.push(now.slice(at, at + PAGE));
          copy.bytes += 4 * PAGE;
        }
      }
      copy.memories.push(pages);
    });
    return copy;
  }

  /** Every other copy is enough: pages of those that go are freed unless a later one has them too. */
  #thin(): void {
    if (this.#copies.length < 3) return;
    this.#stride *= 2;
    const kept = this.#copies.filter((_, i) => i % 2 === 0);
    let seen = new Set<Uint32Array>();
    for (const copy of kept) {
      const pages = new Set(copy.memories.flat());
      copy.bytes = 4 * PAGE * [...pages].filter((page) => !seen.has(page)).length;
      seen = pages;
    }
    this.#copies = kept;
    this.#fine = [];
  }

  #restore(copy: Copy): void {
    this.#components.cores.forEach(({ memory }, i) => {
      const now = new Uint32Array(memory.buffer);
      (copy.memories[i] as Uint32Array[]).forEach((page, number) => now.set(page, number * PAGE));
    });
    this.#at = copy.event;
  }
}

/** What copies need of where they are made. */
interface Surroundings {
  core: CoreModule;
  bytes(offset: number, length: number): Uint8Array;
  now(): number;
}

/** Makes the copies of a run in components of their own. `told` gets them while they become more. */
export async function copying(
  around: Surroundings,
  beside: Beside,
  source: Playing.Source,
  options: Playing.Options,
  events: number,
  pools: number,
  told: (past: Past) => void,
): Promise<void> {
  const components = await start(around.core, {
    read: (_input, offset, length) => around.bytes(offset, length),
    now: () => around.now(),
    memory: () => null,
    choosing: () => undefined,
  });
  const trace = await beside.read(source, components);
  const run = beside.hold(trace.play(options, "copies"));
  const past = new Past(components, run, events, pools);
  told(past);
  await beside.slices(() => past.advance());
}

/** The last copy that is not after an event. */
function lastBefore(copies: readonly Copy[], event: number): Copy | undefined {
  let found: Copy | undefined;
  for (const copy of copies) if (copy.event <= event) found = copy;
  return found;
}

/** Grows a core's memory from inside, so that the room is its own. */
function reserve(core: Core, bytes: number): void {
  if (core.cabi_realloc === undefined) return;
  const at = core.cabi_realloc(0, 0, 8, bytes);
  core.cabi_realloc(at, bytes, 8, 8);
}

/** Whether a page is that of a memory at a word. */
function same(page: Uint32Array, memory: Uint32Array, at: number): boolean {
  for (let i = 0; i < PAGE; i++) if (page[i] !== memory[at + i]) return false;
  return true;
}
