/**
 * All blocks of a run over time: since when each lives, until when, and whose it is. `replay/src/lives.rs` describes the bytes.
 *
 * Looked at by the worker of a run alone: what goes to the page is counted, merged or one block. A block is allocated at event e if
 * `from <= e < retired`. Cost: O(blocks) for whatever asks about an instant.
 */
import type { Filter, Holder, Life, Matched } from "../model";
import { shortBytes } from "../view/format";
import { maskOf } from "./filter";

const LIVES = 0x31424c53;
/** An event that does not come. */
export const NEVER = 0xffffffff;
/** No line. */
const NONE = 0xffffffff;

/** How the command calls memory without a call stack; `replay/src/explain/state.rs`. */
const NO_STACK = "(no stack recorded)";
const BEFORE = "(allocated before the recording began)";

/** The call stacks of a snapshot, interned. */
export interface Stacks {
  frames: readonly string[];
  /** As the player gives them: how many, then lines, ends and numbers. */
  packed: Uint32Array;
}

export class Lives {
  readonly count: number;
  /** The last event. */
  readonly events: number;
  readonly bytes: Float64Array;
  readonly requested: Float64Array;
  readonly address: Float64Array;
  readonly from: Uint32Array;
  readonly retired: Uint32Array;
  readonly over: Uint32Array;
  readonly stream: Uint32Array;
  readonly stack: Uint32Array;
  /** So many, the first, were there before the recording began. */
  before: number;
  #stacks: Stacks | null;
  #allocated: Float64Array | null = null;
  #ending: Uint32Array | null = null;
  #atFirst: Map<number, number> | null = null;
  #mask: Uint8Array | null = null;

  /** Columns in place: the bytes must be aligned to 8. */
  constructor(packed: Uint8Array, events: number, stacks: Stacks | null) {
    const bytes = packed.byteOffset % 8 === 0 ? packed : packed.slice();
    const head = new Uint32Array(bytes.buffer, bytes.byteOffset, 4);
    const count = head[1] as number;
    if (head[0] !== LIVES || bytes.byteLength !== 16 + 44 * count) throw new Error("blocks: the bytes are something else");
    this.count = count;
    this.events = events;
    this.#stacks = stacks;
    let at = bytes.byteOffset + 16;
    const floats = () => new Float64Array(bytes.buffer, (at += 8 * count) - 8 * count, count);
    [this.bytes, this.requested, this.address] = [floats(), floats(), floats()];
    const words = () => new Uint32Array(bytes.buffer, (at += 4 * count) - 4 * count, count);
    [this.from, this.retired, this.over, this.stream, this.stack] = [words(), words(), words(), words(), words()];
    this.before = this.firstFrom(1);
  }

  /** The blocks of a recorded run, by other events: takes over their call stacks, `rows[i]` being the recorded run's block i here, or -1. */
  takeStacks(recorded: Lives, rows: Int32Array): void {
    this.#stacks = recorded.#stacks;
    this.before = recorded.before;
    this.stack.fill(0);
    rows.forEach((row, i) => {
      if (row >= 0) this.stack[row] = recorded.stack[i] as number;
    });
  }

  get hasStacks(): boolean {
    return this.#stacks !== null && this.#stacks.frames.length > 0;
  }

  /** Allocated bytes after each event, from 0 on. */
  get allocated(): Float64Array {
    if (this.#allocated !== null) return this.#allocated;
    const sums = new Float64Array(this.events + 1);
    for (let i = 0; i < this.count; i++) {
      sums[this.from[i] as number]! += this.bytes[i] as number;
      const end = this.retired[i] as number;
      if (end <= this.events) sums[end]! -= this.bytes[i] as number;
    }
    for (let event = 1; event <= this.events; event++) sums[event]! += sums[event - 1] as number;
    return (this.#allocated = sums);
  }

  /** The event after which most bytes are allocated, the first of several. */
  get peak(): { event: number; bytes: number } {
    const sums = this.allocated;
    let event = 0;
    for (let e = 1; e < sums.length; e++) if ((sums[e] as number) > (sums[event] as number)) event = e;
    return { event, bytes: sums[event] ?? 0 };
  }

  /** The blocks that end, in the order of their ends. */
  get ending(): Uint32Array {
    if (this.#ending !== null) return this.#ending;
    const starts = new Uint32Array(this.events + 2);
    let ended = 0;
    for (let i = 0; i < this.count; i++) {
      const end = this.retired[i] as number;
      if (end > this.events) continue;
      starts[end + 1]!++;
      ended++;
    }
    for (let e = 1; e < starts.length; e++) starts[e]! += starts[e - 1] as number;
    const rows = new Uint32Array(ended);
    for (let i = 0; i < this.count; i++) {
      const end = this.retired[i] as number;
      if (end <= this.events) rows[starts[end]!++] = i;
    }
    return (this.#ending = rows);
  }

  /** The first block that is allocated at an event or later. */
  firstFrom(event: number): number {
    let [low, high] = [0, this.count];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.from[middle] as number) < event) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The block that an event allocates, or that was at an address before the first; -1 for none. */
  rowOf(since: number, address: number | null): number {
    if (since > 0) {
      const row = this.firstFrom(since);
      return row < this.count && this.from[row] === since ? row : -1;
    }
    if (address === null) return -1;
    if (this.#atFirst === null) {
      this.#atFirst = new Map();
      for (let i = 0; i < this.count && this.from[i] === 0; i++) this.#atFirst.set(this.address[i] as number, i);
    }
    return this.#atFirst.get(address) ?? -1;
  }

  /** What names the line of a block: a frame's number, and above those what has none. */
  key(row: number): number {
    if (this.#stacks === null || this.#stacks.frames.length === 0) {
      return this.#stacks === null ? Math.ceil(Math.log2(Math.max(1, this.bytes[row] as number))) : this.#without(row);
    }
    const line = this.#stacks.packed[1 + (this.stack[row] as number)] as number;
    return line === NONE ? this.#without(row) : line;
  }

  #without(row: number): number {
    const frames = this.#stacks?.frames.length ?? 0;
    return row < this.before ? frames + 1 : frames;
  }

  /** What a key stands for, as the command prints it. */
  name(key: number): string {
    if (this.#stacks === null) return `blocks of up to ${shortBytes(2 ** key)}`;
    const { frames } = this.#stacks;
    return frames[key] ?? (key === frames.length ? NO_STACK : BEFORE);
  }

  /** The frames of a stack, innermost first. */
  frames(stack: number): string[] {
    if (this.#stacks === null) return [];
    const { frames, packed } = this.#stacks;
    const count = packed[0] as number;
    const end = packed[1 + count + stack] ?? 0;
    const start = stack === 0 ? 0 : (packed[count + stack] as number);
    return [...packed.subarray(1 + 2 * count + start, 1 + 2 * count + end)].map((frame) => frames[frame] ?? "?");
  }

  /** Allocated bytes after an event, by line or by whole stack, most first. */
  holders(event: number, by: "line" | "stack"): Holder[] {
    const found = new Map<number, Holder>();
    const { from, retired, bytes } = this;
    const end = this.firstFrom(event + 1);
    for (let row = 0; row < end; row++) {
      if ((retired[row] as number) <= event) continue;
      if (this.#mask !== null && this.#mask[row] === 0) continue;
      // Stacks are told apart from what has none by being negative.
      const stack = this.stack[row] as number;
      const key = by === "stack" && stack > 0 ? -stack : this.key(row);
      let holder = found.get(key);
      if (holder === undefined) {
        const start = from[row] as number;
        holder = { key, name: "", bytes: 0, blocks: 0, largest: 0, oldest: start, youngest: start };
        found.set(key, holder);
      }
      const size = bytes[row] as number;
      holder.bytes += size;
      holder.blocks++;
      if (size > holder.largest) holder.largest = size;
      holder.youngest = from[row] as number;
    }
    for (const holder of found.values()) {
      holder.name = holder.key < 0 ? this.frames(-holder.key).join("\n") : this.name(holder.key);
    }
    return [...found.values()].sort((a, b) => b.bytes - a.bytes || (a.name < b.name ? -1 : 1));
  }

  /** One block. */
  life(row: number): Life | null {
    if (row < 0 || row >= this.count) return null;
    const never = (event: number) => (event === NEVER ? null : event);
    return {
      row,
      from: this.from[row] as number,
      retired: never(this.retired[row] as number),
      over: never(this.over[row] as number),
      bytes: this.bytes[row] as number,
      requested: this.requested[row] as number,
      address: this.address[row] === 0 ? null : (this.address[row] as number),
      stream: this.stream[row] as number,
      key: this.key(row),
      line: this.#stacks === null ? "" : this.name(this.key(row)),
      frames: this.frames(this.stack[row] as number),
      planned: null,
    };
  }

  /** Which blocks a filter takes; null takes all. `pinning`: those that pin at the instant shown. */
  filter(filter: Filter | null, pinning: Uint8Array | null = null): Matched {
    this.#mask = filter === null ? null : maskOf(this, filter, pinning);
    return { blocks: this.#mask === null ? this.count : this.#mask.reduce((sum, bit) => sum + bit, 0) };
  }

  get mask(): Uint8Array | null {
    return this.#mask;
  }
}
