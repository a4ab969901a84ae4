/** Traces that are read and runs that are played beside the one that is shown, over numbers, in slices; what is held meanwhile goes with the session. */
import { decodeSeries } from "./decode";
import type { Components, Playing, Recorded } from "./components";
import type { Difference, RuleRun, Rules } from "../model";
import { STEPS } from "./pace";
import { readTold, TOP_LINES } from "./recorded";

/** Repeats work until it is done (true) or the slice is over (false). */
export type Slice = (work: () => boolean) => boolean;

/** The report of a run, as far as it is compared. */
interface Reported {
  memory: { peak_reserved_bytes: number };
}

export class Beside {
  readonly #slice: Slice;
  readonly #rest: () => Promise<void>;
  readonly #dispose: (handle: unknown) => void;
  readonly #held = new Set<unknown>();
  #closed = false;

  constructor(slice: Slice, rest: () => Promise<void>, dispose: (handle: unknown) => void) {
    this.#slice = slice;
    this.#rest = rest;
    this.#dispose = dispose;
  }

  /** Handles that are held. */
  get handles(): number {
    return this.#held.size;
  }

  /** Repeats `work` until it is done, a slice at a time. */
  async slices(work: () => boolean): Promise<void> {
    for (;;) {
      if (this.#closed) throw new Error("the run is closed");
      if (this.#slice(work)) return;
      await this.#rest();
    }
  }

  /** Plays a trace that was read to its end. */
  async play(components: Components, trace: Playing.Trace, options: Playing.Options): Promise<RuleRun> {
    const run = this.hold(trace.play(options, "report"));
    try {
      await this.slices(() => !run.play(BigInt(Number.MAX_SAFE_INTEGER), STEPS));
      const series = decodeSeries(run.series());
      // The report takes the run's handle.
      this.#held.delete(run);
      return { report: JSON.parse(components.playing.Run.finish(run)) as Record<string, unknown>, series };
    } finally {
      this.release(run);
    }
  }

  /** Reads a trace to its end. */
  async read(source: Playing.Source, components: Components): Promise<Playing.Trace> {
    const trace = this.hold(components.playing.Trace.open(source, false));
    try {
      await this.slices(() => trace.scan(4 * STEPS));
      return trace;
    } catch (error) {
      this.release(trace);
      throw error;
    }
  }

  hold<T>(handle: T): T {
    this.#held.add(handle);
    return handle;
  }

  release(handle: unknown): void {
    if (this.#held.delete(handle)) this.#dispose(handle);
  }

  close(): void {
    this.#closed = true;
    for (const handle of [...this.#held]) this.release(handle);
  }
}

/** One of two traces that are compared: read to its end, with how it is played; its run if that is known. */
export interface Compared {
  trace: Playing.Trace;
  run: RuleRun;
}

/** What changed since another trace, both played by the same options. `now` is as `Compared`, and stays its owner's. */
export async function differenceOf(
  beside: Beside,
  components: Components,
  now: Compared,
  file: Recorded.File,
  options: Playing.Options,
): Promise<Difference> {
  const before = await beside.read({ tag: "file", val: file }, components);
  try {
    if (before.stateOnly()) throw new Error(`${file.name} tells a state at one moment, without a trace: it can be compared with another PyTorch snapshot only`);
    const told = readTold(components.recorded.diffTraces(now.trace, before, TOP_LINES));
    const own = { ...options };
    if ((before.about()?.streams ?? 1) > 1) delete own.streams;
    const run = await beside.play(components, before, own);
    const reserved = ({ report }: RuleRun) => (report as unknown as Reported).memory.peak_reserved_bytes;
    return {
      told,
      before: run.series,
      after: now.run.series,
      reservedBy: "Strandline's pools",
      reserved: { before: reserved(run), after: reserved(now.run) },
    };
  } finally {
    beside.release(before);
  }
}

/** A run by the other rule of merging than its own, beside it. */
export async function rulesOf(beside: Beside, components: Components, { trace, run }: Compared, options: Playing.Options): Promise<Rules> {
  const { policy, ...rest } = options;
  if (policy === "eager") return { readiness: await beside.play(components, trace, rest), eager: run };
  return { readiness: run, eager: await beside.play(components, trace, { ...rest, policy: "eager" }) };
}
