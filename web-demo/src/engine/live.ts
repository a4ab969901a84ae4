/**
 * The work of a live run: real fills, in the memory of its slabs, submitted in order and over when the device says so.
 *
 * ```text
 *   run.work() ─▶ clearBuffer of each block's beginning ─▶ submit ─▶ onSubmittedWorkDone ─▶ run.complete(streams' epochs)
 * ```
 *
 * On ArrayBuffers the worker fills the bytes itself, and the work is over in its next turn.
 */
import type { Memory } from "./memory";

/** Most bytes of a block that are filled: its pages are touched, and the device is not kept busy with zeroes. */
export const FILLED_BYTES = 64 * 1024;

const WORDS = 5;

/** Does the work of one run. */
export class Fills {
  readonly #memory: Memory;
  readonly #rest: () => Promise<void>;
  #closed = false;
  /** What is under way, in order of submission: over when the last of it is. */
  #last: Promise<void> = Promise.resolve();
  #pending = 0;

  constructor(memory: Memory, rest: () => Promise<void>) {
    this.#memory = memory;
    this.#rest = rest;
  }

  /** Batches under way. */
  get pending(): number {
    return this.#pending;
  }

  /** Resolves when all that was submitted is over. */
  get over(): Promise<void> {
    return this.#last;
  }

  /** Nothing is told any more. */
  close(): void {
    this.#closed = true;
  }

  /** Submits operations: five words each, see the interface of the player. `done` is told streams and epochs, two words each. */
  submit(words: BigUint64Array, done: (reached: BigUint64Array) => void): void {
    if (words.length === 0) return;
    const reached = new Map<bigint, bigint>();
    for (let at = 0; at + WORDS <= words.length; at += WORDS) reached.set(words[at]!, words[at + 1]!);
    const order = this.#last;
    const batch = this.#fill(words);
    this.#pending++;
    this.#last = (async () => {
      // A device that is lost ends its work too; what comes after is in other memory.
      await batch.catch(() => undefined);
      await order;
      this.#pending--;
      if (!this.#closed) done(BigUint64Array.from([...reached].flat()));
    })();
  }

  #fill(words: BigUint64Array): Promise<unknown> {
    const device = this.#memory.device;
    const encoder = device?.createCommandEncoder({ label: "fills" });
    for (let at = 0; at + WORDS <= words.length; at += WORDS) {
      const [slab, offset, size] = [words[at + 2]!, Number(words[at + 3]!), Number(words[at + 4]!)];
      if (size === 0) continue;
      const bytes = Math.min(size, FILLED_BYTES);
      const buffer = this.#memory.buffer(slab);
      if (encoder !== undefined) {
        // Fills are of whole words. A block of less than one is part of a granule that has room for it.
        if (buffer !== undefined && offset % 4 === 0) encoder.clearBuffer(buffer, offset, Math.max(4, bytes - (bytes % 4)));
      } else {
        const array = this.#memory.array(slab);
        if (array !== undefined) new Uint8Array(array, offset, bytes).fill(0xa5);
      }
    }
    if (device === null || encoder === undefined) return this.#rest();
    device.queue.submit([encoder.finish()]);
    return device.queue.onSubmittedWorkDone();
  }
}
