/**
 * Which event is to be shown: pure, driven by the time that passes.
 *
 * A long gap (a hidden tab, a slow frame) counts as a short one, so that nothing jumps.
 */
export const SPEEDS = [1, 10, 100, 1_000, 10_000, 100_000] as const;

/** A pause between two ticks counts as at most this, in milliseconds. */
const LONGEST_MS = 100;

/** "fit": the whole run in this many seconds. */
const FIT_SECONDS = 20;

export type Speed = number | "fit";

export class Clock {
  playing = false;
  speed: Speed = "fit";
  /** The end of the run as far as it can be shown. */
  last = 0;
  private exact = 0;

  get event(): number {
    return Math.floor(this.exact);
  }

  /** Events a second. */
  get rate(): number {
    return this.speed === "fit" ? Math.max(1, this.last / FIT_SECONDS) : this.speed;
  }

  seek(event: number): void {
    this.exact = Math.max(0, Math.min(this.last, event));
  }

  play(): void {
    if (this.exact >= this.last) this.exact = 0;
    this.playing = this.last > 0;
  }

  pause(): void {
    this.playing = false;
  }

  /** Time has passed. Whether it plays on. */
  tick(milliseconds: number, longest = LONGEST_MS): boolean {
    if (!this.playing) return false;
    this.exact += (this.rate * Math.min(longest, Math.max(0, milliseconds))) / 1000;
    if (this.exact >= this.last) {
      this.exact = this.last;
      this.playing = false;
    }
    return this.playing;
  }
}
