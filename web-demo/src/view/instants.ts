/**
 * Instants of a run, asked for one at a time: the next when the last one has arrived, so that a slow source slows the picture and nothing
 * piles up.
 */
import type { Frame, Source } from "../model.ts";
import { instantAt } from "./recorded.ts";

/** How long an instant may take before a newer one is asked for besides, in milliseconds. */
const IMPATIENT_MS = 250;

export class Instants {
  private source: Source | null = null;
  private wanted: number | null = null;
  private asking = false;
  private pulls = 0;
  private impatience: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly arrived: (frame: Frame) => void,
    private readonly failed: (why: string) => void,
  ) {}

  /** Whether one was asked for that has not arrived. */
  get busy(): boolean {
    return this.asking;
  }

  /** Another run: what was wanted of the last one is not any more. */
  setSource(source: Source | null): void {
    this.source = source;
    this.wanted = null;
  }

  /** Asks for an instant; of those asked for while one is under way, only the newest is fetched: when that one has come, or has kept us waiting. */
  ask(event: number): void {
    this.wanted = event;
    if (!this.asking) void this.pull();
    else
      this.impatience ??= setTimeout(() => {
        this.impatience = undefined;
        if (this.wanted !== null) void this.pull();
      }, IMPATIENT_MS);
  }

  close(): void {
    clearTimeout(this.impatience);
  }

  private async pull(): Promise<void> {
    const mine = ++this.pulls;
    this.asking = true;
    while (this.wanted !== null && this.source !== null && mine === this.pulls) {
      const { source, wanted } = this;
      this.wanted = null;
      try {
        const frame = await source.frame(wanted);
        if (source === this.source) this.arrived(frame);
      } catch (error) {
        // A newer call took its place.
        if (error instanceof Error && error.name === "AbortError") continue;
        if (source === this.source) this.failed(error instanceof Error ? error.message : String(error));
      }
    }
    if (mine === this.pulls) this.asking = false;
  }
}

/** The recorded instant after or before an event. */
export function nextInstant(instants: Float64Array | Uint32Array, event: number, by: number): number {
  const at = Math.max(0, Math.min(instants.length - 1, instantAt(instants, event) + by));
  return instants[at] ?? 0;
}
