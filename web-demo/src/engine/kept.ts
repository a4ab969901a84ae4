/** Frames of instants that are likely to be asked for again, the oldest given up first. */

/** Frames that are kept on the way back to a goal, and most bytes of them. */
export const KEPT = 32;
const KEPT_BYTES = 32 * 2 ** 20;

export class KeptFrames {
  readonly #frames = new Map<number, Uint8Array>();
  #bytes = 0;

  get(event: number): Uint8Array | undefined {
    return this.#frames.get(event);
  }

  keep(event: number, packed: Uint8Array): void {
    if (packed.length > KEPT_BYTES / 4 || this.#frames.has(event)) return;
    this.#frames.set(event, packed);
    this.#bytes += packed.length;
    for (const [oldest, bytes] of this.#frames) {
      if (this.#frames.size <= 2 * KEPT && this.#bytes <= KEPT_BYTES) break;
      this.#frames.delete(oldest);
      this.#bytes -= bytes.length;
    }
  }

  clear(): void {
    this.#frames.clear();
    this.#bytes = 0;
  }
}
