/**
 * One run, from its input to its pictures, in slices that leave time for whatever else its thread has to do.
 *
 * ```text
 *   scan the input ─▶ ┬ ahead: played once to its end, over numbers: series, failure, report
 *                     └ shown: played to the event that is asked for, over real memory: frames
 * ```
 *
 * The run that is shown plays on when a later event is asked for, and begins again for an earlier one. Of the last events before
 * such an earlier one the frames are kept, so that stepping back does not begin again every time. Runs are deterministic: both
 * see the same.
 *
 * A synthetic load in WebGPU memory is live: its operations are submitted to the GPU, and are over when the GPU says so. There is no
 * run ahead of it, so series and report come as far as the run that is shown has come; begun again, it goes on with other completions.
 */
import type { Backing, Failure, Input, RunInfo, RunOptions, SourceEvent } from "../model";
import { message, start, type Components, type CoreModule, type Playing } from "./components";
import { decodeSeries } from "./decode";
import { Fills } from "./live";
import { findMemory, type Memory } from "./memory";
import { DISPOSE } from "./slabs";

/** Longest slice, in milliseconds. */
const SLICE_MS = 12;
/** Steps that are played between two looks at the clock. */
const STEPS = 200;
/** Milliseconds between two news of the run ahead. */
const NEWS_MS = 200;
/** Frames that are kept on the way back to a goal, and most bytes of them. */
const KEPT = 32;
const KEPT_BYTES = 32 * 2 ** 20;
/** An event that no trace has. */
const FAR = 2 ** 53 - 1;

/** What a session needs of where it runs. */
export interface Surroundings {
  core: CoreModule;
  /** The bytes of a file, synchronously. */
  bytes(offset: number, length: number): Uint8Array;
  now(): number;
  /** Lets other work of this thread happen. */
  rest(): Promise<void>;
}

/** News for the page. */
export type News =
  | SourceEvent
  | { type: "opening"; done: number; total: number };

/** A request that was given up for a newer one. */
function superseded(): Error {
  return Object.assign(new Error("a newer instant was asked for"), { name: "AbortError" });
}

interface Goal {
  event: number;
  resolve: (packed: Uint8Array) => void;
  reject: (error: Error) => void;
}

const wide = (bytes: number | null): bigint | undefined => (bytes === null ? undefined : BigInt(Math.floor(bytes)));

/** The options as the player has them. */
function playerOptions(options: RunOptions): Playing.Options {
  const { pool, policy } = options;
  const result: Playing.Options = { inFlight: BigInt(options.inFlight), allowWait: options.allowWait };
  if (pool !== "auto") result.kind = pool;
  const [slab, capacity, budget] = [wide(options.slabBytes), wide(options.capacityBytes), wide(options.budgetBytes)];
  if (slab !== undefined) result.slab = slab;
  if (capacity !== undefined) result.capacity = capacity;
  if (budget !== undefined) result.budget = budget;
  // Other kinds never merge: there the policy says nothing.
  if (policy === "eager" && (pool === "auto" || pool === "tlsf")) result.policy = policy;
  if (options.streams !== null) result.streams = options.streams;
  return result;
}

function playerSource(input: Input): Playing.Source {
  if (input.kind === "file") return { tag: "file", val: { name: input.name, input: 0 } };
  const { seed, blocks, minBytes, maxBytes, events } = input.load;
  return {
    tag: "synthetic",
    val: {
      seed: BigInt(Math.trunc(seed)),
      blocks,
      minBytes: BigInt(Math.trunc(minBytes)),
      maxBytes: BigInt(Math.trunc(maxBytes)),
      events: BigInt(Math.trunc(events)),
    },
  };
}

function dispose(handle: unknown): void {
  (handle as { [DISPOSE]?: () => void } | null)?.[DISPOSE]?.();
}

/** A run, and what drives it. */
export class Session {
  readonly #around: Surroundings;
  readonly #tell: (news: News) => void;
  readonly #options: Playing.Options;
  #components!: Components;
  #memory: Memory | null = null;
  #trace: Playing.Trace | null = null;
  #shown: Playing.Run | null = null;
  #ahead: Playing.Run | null = null;
  #info: RunInfo | null = null;
  /** The work of a live run; null when completion is counted. */
  #fills: Fills | null = null;
  #live = false;
  /** The last frame of a live run whose report was made. */
  #end: { event: number; packed: Uint8Array } | null = null;
  #goal: Goal | null = null;
  /** The run that is shown has come to this event: to its last step at or before it. */
  #at = 0;
  /** The goal lies before where the run was. */
  #back = false;
  #kept = new Map<number, Uint8Array>();
  #keptBytes = 0;
  #report: Record<string, unknown> | null = null;
  #reportWaiters: ((report: Record<string, unknown> | null) => void)[] = [];
  #newsAt = 0;
  #running = false;
  #closed = false;

  private constructor(around: Surroundings, options: Playing.Options, tell: (news: News) => void) {
    this.#around = around;
    this.#options = options;
    this.#tell = tell;
  }

  /** Reads an input and makes pools for it. Rejects with the sentence that the reader, the plan or the memory has for it. */
  static async open(
    around: Surroundings,
    input: Input,
    options: RunOptions,
    tell: (news: News) => void,
  ): Promise<Session> {
    const session = new Session(around, playerOptions(options), tell);
    try {
      await session.#open(input, options);
      return session;
    } catch (error) {
      session.close();
      throw new Error(message(error));
    }
  }

  async #open(input: Input, options: RunOptions): Promise<void> {
    const around = this.#around;
    const tell = this.#tell;
    this.#memory = await findMemory(options.backing, (backing: Backing, why: string) => {
      if (this.#info !== null) this.#info = { ...this.#info, backing };
      tell({ type: "backing", backing, why });
    });
    const memory = this.#memory;
    this.#components = await start(around.core, {
      read: (_input, offset, length) => around.bytes(offset, length),
      now: () => around.now(),
      memory: () => memory,
      choosing: (tried, of) => tell({ type: "opening", done: tried, total: of }),
    });
    const { playing } = this.#components;
    const trace = playing.Trace.open(playerSource(input));
    this.#trace = trace;
    const total = input.kind === "synthetic" ? input.load.events : 0;
    while (!this.#slice(() => trace.scan(STEPS * 4))) {
      tell({ type: "opening", done: Number(trace.events()), total });
      await around.rest();
      if (this.#closed) throw superseded();
    }
    const about = trace.about();
    if (about === undefined) throw new Error("the trace was not read to its end");
    if (about.streams > 1) delete this.#options.streams;
    this.#live = input.kind === "synthetic" && memory.backing === "webgpu" && options.inFlight > 0;
    const shown = this.#begin(trace);
    this.#info = {
      title: input.kind === "file" ? input.name : "synthetic load",
      format: about.format,
      events: Number(about.events),
      streams: shown.streams(),
      synthesized: shown.synthesized(),
      pools: shown.pools(),
      backing: memory.backing,
      instants: "every",
    };
    tell({ type: "backing", backing: memory.backing, why: memory.why });
    if (!this.#live) this.#ahead = trace.play(this.#options, false, false);
    this.#wake();
  }

  /** Begins the run that is shown. */
  #begin(trace: Playing.Trace): Playing.Run {
    dispose(this.#shown);
    this.#shown = null;
    this.#fills?.close();
    this.#fills = this.#live && this.#memory !== null ? new Fills(this.#memory, this.#around.rest) : null;
    this.#end = null;
    this.#at = 0;
    if (this.#live) {
      // What completes when is another matter now.
      this.#kept.clear();
      this.#keptBytes = 0;
    }
    return (this.#shown = trace.play(this.#options, true, this.#live));
  }

  /** What is known of the run. */
  get info(): RunInfo {
    if (this.#info === null) throw new Error("the run is not open");
    return this.#info;
  }

  /** The packed frame of an event. The newest call wins. */
  frame(event: number): Promise<Uint8Array> {
    this.#goal?.reject(superseded());
    this.#goal = null;
    if (this.#closed) return Promise.reject(new Error("the run is closed"));
    const kept = this.#kept.get(event);
    if (kept !== undefined) return Promise.resolve(kept.slice());
    if (this.#end !== null && event >= this.#end.event) return Promise.resolve(this.#end.packed.slice());
    return new Promise((resolve, reject) => {
      this.#goal = { event, resolve, reject };
      this.#wake();
    });
  }

  /** The report, once all was played that can be; null if the run is closed before. */
  report(): Promise<Record<string, unknown> | null> {
    if (this.#report !== null || this.#closed) return Promise.resolve(this.#report);
    return new Promise((resolve) => this.#reportWaiters.push(resolve));
  }

  /** Live handles, by kind. */
  handles(): Record<string, number> {
    const own = {
      traces: this.#trace === null ? 0 : 1,
      runs: Number(this.#shown !== null) + Number(this.#ahead !== null),
    };
    const memory = this.#memory?.counts() ?? { gpuBuffers: 0, arrayBuffers: 0, devices: 0 };
    // Before the components are there, none of theirs is either.
    const components = this.#components as Components | undefined;
    const { pools, ledgers, trackers } = components?.playing.heldNow() ?? { pools: 0, ledgers: 0, trackers: 0 };
    const { providers, slabs } = components?.host ?? { providers: 0, slabs: 0 };
    return { ...own, pools, ledgers, trackers, providers, slabs, ...memory };
  }

  /** Gives everything back. Safe to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#goal?.reject(superseded());
    this.#goal = null;
    for (const handle of [this.#shown, this.#ahead, this.#trace]) dispose(handle);
    this.#shown = this.#ahead = this.#trace = null;
    this.#fills?.close();
    this.#memory?.close();
    this.#kept.clear();
    for (const resolve of this.#reportWaiters.splice(0)) resolve(this.#report);
  }

  /** Repeats `work` until it is done (true) or the slice is over (false). */
  #slice(work: () => boolean): boolean {
    const end = this.#around.now() + SLICE_MS;
    do {
      if (work()) return true;
    } while (this.#around.now() < end);
    return false;
  }

  /** Works until there is nothing to do. */
  #wake(): void {
    if (this.#running) return;
    this.#running = true;
    void (async () => {
      while (!this.#closed && (this.#goal !== null || this.#ahead !== null)) {
        try {
          if (this.#goal !== null) this.#pursue(this.#goal);
          else this.#playAhead();
        } catch (error) {
          this.#fail(new Error(message(error)));
        }
        await this.#around.rest();
        // A run that waits for its device has nothing to do meanwhile, and is not asked all the time.
        if (this.#fills !== null && this.#shown?.waiting() === true) await this.#fills.over;
      }
      this.#running = false;
    })();
  }

  /** What cannot go on: the trace changed while it was read, or a component trapped. */
  #fail(error: Error): void {
    this.#goal?.reject(error);
    this.#goal = null;
    dispose(this.#ahead);
    this.#ahead = null;
    for (const resolve of this.#reportWaiters.splice(0)) resolve(null);
  }

  /** A slice on the way to a goal. */
  #pursue(goal: Goal): void {
    if (this.#trace === null) throw new Error("the run is closed");
    let run = this.#shown;
    // On the way to a goal that was given up, it may have come farther than to the last one that was reached.
    if (run !== null) this.#at = Math.max(this.#at, Number(run.event()));
    if (run === null || this.#at > goal.event) {
      run = this.#begin(this.#trace);
      this.#back = true;
    }
    const shown = run;
    const arrived = this.#slice(() => {
      const near = this.#back ? goal.event - KEPT : goal.event;
      const next = this.#at < near ? near : Math.min(this.#at + 1, goal.event);
      // Only who plays on behind the last event learns that it was the last.
      const more = shown.play(BigInt(next < this.info.events ? next : FAR), STEPS);
      this.#fills?.submit(shown.work(), (reached) => {
        if (this.#shown === shown) shown.complete(reached);
      });
      if (shown.waiting()) return true;
      if (more) return false;
      this.#at = shown.ended() ? goal.event : next;
      if (this.#back) this.#keep(this.#at, shown.frame());
      return this.#at === goal.event;
    });
    if (this.#live) this.#tellLive(shown);
    if (!arrived || shown.waiting()) return;
    this.#goal = null;
    this.#back = false;
    const packed = shown.frame();
    if (this.#live && shown.ended()) {
      this.#end = { event: Number(shown.event()), packed: packed.slice() };
      this.#finish(shown);
      this.#shown = null;
    }
    goal.resolve(packed);
  }

  /** News of a live run. */
  #tellLive(run: Playing.Run): void {
    const now = this.#around.now();
    if (run.ended() || now - this.#newsAt >= NEWS_MS) this.#news(run, now);
  }

  #news(run: Playing.Run, now: number): void {
    this.#newsAt = now;
    this.#tell({ type: "progress", played: Number(run.event()), events: this.info.events });
    this.#tell({ type: "series", series: decodeSeries(run.series()) });
  }

  #keep(event: number, packed: Uint8Array): void {
    if (packed.length > KEPT_BYTES / 4 || this.#kept.has(event)) return;
    this.#kept.set(event, packed);
    this.#keptBytes += packed.length;
    for (const [oldest, bytes] of this.#kept) {
      if (this.#kept.size <= 2 * KEPT && this.#keptBytes <= KEPT_BYTES) break;
      this.#kept.delete(oldest);
      this.#keptBytes -= bytes.length;
    }
  }

  /** A slice of the run that is played to its end. */
  #playAhead(): void {
    const run = this.#ahead;
    if (run === null) return;
    const ended = this.#slice(() => !run.play(BigInt(FAR), STEPS));
    const now = this.#around.now();
    if (!ended && now - this.#newsAt < NEWS_MS) return;
    this.#news(run, now);
    if (!ended) return;
    this.#ahead = null;
    this.#finish(run);
  }

  /** Tells how a run ended. The report takes its handle. */
  #finish(run: Playing.Run): void {
    const failure = run.failure();
    if (failure !== undefined) {
      const told = JSON.parse(failure) as Record<string, unknown>;
      this.#tell({
        type: "failure",
        failure: {
          event: told["event"], bytesRequested: told["bytes_requested"], liveBytes: told["live_bytes"],
          largestHoleBytes: told["largest_hole_bytes"], pendingBytes: told["pending_bytes"], reason: told["reason"],
        } as Failure,
      });
    }
    this.#report = JSON.parse(this.#components.playing.Run.finish(run)) as Record<string, unknown>;
    for (const resolve of this.#reportWaiters.splice(0)) resolve(this.#report);
  }
}
