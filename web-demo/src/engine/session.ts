/**
 * One run, from its input to its pictures, in slices that leave time for whatever else its thread has to do.
 *
 * ```text
 *   scan the input ─▶ ┬ ahead: played once to its end, over numbers: series, failure, report
 *                     └ shown: played to the event that is asked for, over real memory: frames
 * ```
 *
 * The run that is shown plays on when a later event is asked for. For an earlier one, or one that is far, a long run has copies on the way, see
 * `past.ts`; until they are made, and for a short run, it begins again, and of the last events before such an earlier one the frames are kept.
 * Runs are deterministic: all see the same.
 *
 * Of a snapshot the recorded run is shown, unless the pools' is asked for; its trace is read and played ahead once nothing is
 * waited for.
 *
 * A synthetic load in WebGPU memory is live: its operations are submitted to the GPU, and are over when the GPU says so. There is no
 * run ahead of it, so series and report come as far as the run that is shown has come; begun again, it goes on with other completions.
 */
import type { Backing, Difference, Failure, Filter, Holder, Input, Life, Matched, OverTime, OverTimeView, Pinners, Placed, Plan, Rules, RunInfo, RunOptions, Told } from "../model";
import { Beside, differenceOf, rulesOf, type Compared } from "./beside";
import { message, start, type Components, type Playing, type Recorded } from "./components";
import { decodeSeries } from "./decode";
import { rowsOf } from "./joined";
import { KEPT, KeptFrames } from "./kept";
import { Lives } from "./lives";
import { Looked } from "./looked";
import { overTime } from "./over_time";
import { playerFile, playerOptions, playerSource, wide } from "./options";
import { recordingOf } from "./pack";
import { SLICE_MS, STEPS } from "./pace";
import { Quiet } from "./quiet";
import { copying, type Past } from "./past";
import { Placement } from "./placement";
import { plannedPicture } from "./planned";
import type { PackedFrame } from "./protocol";
import { comparison, readFailure, RecordedRun } from "./recorded";
import { Fills } from "./live";
import { findMemory, type Memory } from "./memory";
import { dispose } from "./slabs";
import { superseded, type News, type Surroundings } from "./surroundings";
import { Tasks } from "./tasks";

/** Milliseconds between two news of the run ahead. */
const NEWS_MS = 200;
/** Runs of fewer events begin again as fast as they go back to a copy. */
const LONG = 20_000;
/** So many events on, the run that is shown is as soon there as the one that has copies. */
const NEAR = 500;
/** An event that no trace has. */
const FAR = 2 ** 53 - 1;

export type { News } from "./surroundings";

interface Goal {
  event: number;
  resolve: (packed: Uint8Array) => void;
  reject: (error: Error) => void;
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
  #recorded: RecordedRun | null = null;
  /** The recorded run is what is shown. */
  #asRecorded = false;
  #lives: Lives | null = null;
  #looked: Looked | null = null;
  /** A plan beside the blocks. */
  #placement: Placement | null = null;
  readonly #beside: Beside;
  #past: Past | null = null;
  /** What is done once nothing is waited for. */
  readonly #later = new Tasks(() => this.#wake());
  #title = "";
  /** Of the pools' run, as it was packed last. */
  #series: Uint8Array | undefined;
  #failure: Failure | null = null;
  /** Files that the input is compared with, by their numbers. */
  readonly #others = new Map<number, (offset: number, length: number) => Uint8Array>();
  #othersMade = 0;
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
  readonly #kept = new KeptFrames();
  #report: Record<string, unknown> | null = null;
  /** There will be no other report. */
  #reportDone = false;
  #reportWaiters: ((report: Record<string, unknown> | null) => void)[] = [];
  #newsAt = 0;
  readonly #quiet: Quiet;
  #running = false;
  #closed = false;

  private constructor(around: Surroundings, options: Playing.Options, tell: (news: News) => void) {
    this.#around = around;
    this.#options = options;
    this.#tell = tell;
    this.#quiet = new Quiet(around.now);
    this.#beside = new Beside((work) => this.#slice(work), around.rest, dispose);
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
    this.#memory = await findMemory(options.plan === undefined ? options.backing : "array-buffer", (backing: Backing, why: string) => {
      if (this.#info !== null) this.#info = { ...this.#info, backing };
      tell({ type: "backing", backing, why });
    });
    const memory = this.#memory;
    this.#components = await start(around.core, {
      read: (input, offset, length) => {
        if (input !== 0) return this.#others.get(input)?.(offset, length) ?? new Uint8Array();
        this.#tellRead(offset);
        return around.bytes(offset, length);
      },
      now: () => around.now(),
      memory: () => memory,
      choosing: (tried, of) => tell({ type: "opening", done: tried, total: of, unit: "configuration" }),
    });
    this.#title = input.kind === "file" ? input.name : "synthetic load";
    if (input.kind === "file") {
      this.#recorded = RecordedRun.open(this.#components, playerFile(input.name, options.device), options.device);
      this.#lives = this.#recorded?.lives ?? null;
    }
    const recorded = this.#recorded;
    const device = recorded?.device ?? options.device;
    if (recorded !== null && (options.show === "recorded" || recorded.stateOnly)) {
      this.#asRecorded = true;
      this.#info = recorded.info(this.#title);
      this.#looked = new Looked(recorded.lives, true, (event) => recorded.pins(event));
      tell({ type: "series", series: recorded.series });
      if (recorded.failure !== null) tell({ type: "failure", failure: recorded.failure });
      if (!recorded.stateOnly) this.#playLater(input, device);
      return;
    }
    const trace = this.#components.playing.Trace.open(playerSource(input, device), true);
    this.#trace = trace;
    const total = input.kind === "synthetic" ? input.load.events : 0;
    while (!this.#slice(() => trace.scan(STEPS * 4))) {
      tell({ type: "opening", done: Number(trace.events()), total, unit: "event" });
      await around.rest();
      if (this.#closed) throw superseded();
    }
    const about = this.#scanned(trace);
    this.#lives = new Lives(trace.lives() ?? new Uint8Array(), Number(about.events), null);
    if (recorded !== null) this.#lives.takeStacks(recorded.lives, rowsOf(this.#lives, recorded.lives));
    this.#looked = new Looked(this.#lives, false, null);
    if (options.plan !== undefined) {
      this.#placement = new Placement(this.#lives, options.plan, false);
      this.#looked.follow(this.#placement);
    }
    // A pool that follows a plan is over numbers.
    const backing = options.plan === undefined ? memory.backing : "numbers";
    this.#live = input.kind === "synthetic" && backing === "webgpu" && options.inFlight > 0;
    const shown = this.#begin(trace);
    this.#info = {
      title: this.#title,
      format: about.format,
      events: Number(about.events),
      streams: shown.streams(),
      synthesized: shown.synthesized(),
      pools: shown.pools(),
      backing,
      instants: "every",
      first: this.#lives.peak.event,
    };
    if (recorded !== null) {
      const { device, devices, explained } = recorded;
      this.#info = { ...this.#info, snapshot: { device, devices, explained } };
    }
    tell({ type: "backing", backing, why: backing === "numbers" ? "the pool follows a plan" : memory.why });
    if (!this.#live) this.#ahead = trace.play(this.#options, "report");
    // A configuration that has to be searched for is not searched for twice.
    const searched = this.#options.capacity !== undefined && this.#options.slab === undefined;
    if (!this.#live && !searched && this.#info.events >= LONG) this.#copyLater(input, device);
    this.#wake();
  }

  /** What a trace holds that was read to its end. */
  #scanned(trace: Playing.Trace): Playing.About {
    const about = trace.about();
    if (about === undefined) throw new Error("the trace was not read to its end");
    if (about.streams > 1) delete this.#options.streams;
    return about;
  }

  /** How far an input was read, now and then. */
  #tellRead(offset: number): void {
    const { size } = this.#around;
    const now = this.#around.now();
    if (size === undefined || this.#info !== null || now - this.#newsAt < NEWS_MS) return;
    this.#newsAt = now;
    this.#tell({ type: "opening", done: offset, total: size, unit: "byte" });
  }

  /** The pools' run of a snapshot that is shown as recorded: for its report. What is wrong with it is no matter of the picture. */
  #playLater(input: Input, device: number | null): void {
    let trace: Playing.Trace | null = null;
    this.#later.push(() => {
      if (this.#closed) return true;
      try {
        trace ??= this.#trace = this.#components.playing.Trace.open(playerSource(input, device), false);
        const reading = trace;
        if (!this.#slice(() => reading.scan(STEPS * 4))) return false;
        this.#scanned(trace);
        this.#ahead = trace.play(this.#options, "report");
      } catch {
        this.#reportDone = true;
        for (const resolve of this.#reportWaiters.splice(0)) resolve(null);
      }
      return true;
    });
  }

  /** The copies of a long run: made once nothing is waited for and the run ahead is over. Without them it begins again. */
  #copyLater(input: Input, device: number | null): void {
    this.#later.push(() => {
      if (this.#closed) return true;
      const pools = this.#components.pools.reduce((sum, { memory }) => sum + memory.buffer.byteLength, 0);
      copying(this.#around, this.#beside, playerSource(input, device), this.#options, this.info.events, pools, (past) => (this.#past = past)).catch(() => this.#forget());
      return true;
    });
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
    }
    return (this.#shown = trace.play(this.#options, this.#live ? "live" : "show"));
  }

  /** What is known of the run. */
  get info(): RunInfo {
    if (this.#info === null) throw new Error("the run is not open");
    return this.#info;
  }

  /** The frame of an event, with what is known of its blocks over time. */
  async look(event: number): Promise<PackedFrame> {
    this.#quiet.asked();
    const packed = await this.frame(event);
    return this.#looked?.look(packed) ?? { packed };
  }

  /** Whether blocks have call stacks. */
  stacks(): boolean {
    return this.#lives?.hasStacks ?? false;
  }

  peak(): { event: number; bytes: number } {
    return this.#lives?.peak ?? { event: 0, bytes: 0 };
  }

  get #known(): Lives {
    if (this.#lives === null) throw new Error("the run is not open");
    return this.#lives;
  }

  overTime(view: OverTimeView): OverTime {
    this.#quiet.asked();
    return overTime(this.#known, view);
  }

  holders(event: number, by: "line" | "stack"): Holder[] {
    this.#quiet.asked();
    return this.#lives?.holders(event, by) ?? [];
  }

  life(row: number): Life | null {
    const life = this.#lives?.life(row) ?? null;
    return life === null ? null : { ...life, planned: this.#placement?.of(row) ?? null };
  }

  /** Lays a plan beside the blocks, or takes it away. */
  place(plan: Plan | null): Placed {
    this.#placement = plan === null ? null : new Placement(this.#known, plan, this.#asRecorded);
    return this.#placement?.placed ?? { placed: 0, others: 0 };
  }

  /** Blocks where the plan has them. */
  planned(view: OverTimeView): OverTime {
    if (this.#placement === null) throw new Error("no plan lies beside the run");
    return plannedPicture(this.#known, this.#placement, view);
  }

  filter(filter: Filter | null): Matched {
    return this.#looked?.filter(filter) ?? { blocks: 0 };
  }

  /** Who pins free bytes at an instant; null of a run that was not recorded. */
  pinners(event: number): Pinners | null {
    return this.#looked?.pinners(event) ?? null;
  }

  /** The pools' run by both rules of merging; null where they do the same: where nothing is in flight, or no pool merges. */
  async rules(): Promise<Rules | null> {
    const { kind, inFlight } = this.#options;
    if (this.#asRecorded || this.#live || inFlight === 0n || (kind ?? "tlsf") !== "tlsf") return null;
    const played = await this.#played();
    return played === null ? null : rulesOf(this.#beside, this.#components, played, this.#options);
  }

  /** The pools' run, once it is over; null if there is none. */
  async #played(): Promise<Compared | null> {
    const report = await this.report();
    const [trace, series] = [this.#trace, this.#series];
    return report === null || trace === null || series === undefined ? null : { trace, run: { report, series: decodeSeries(series) } };
  }

  /** What other allocators would need, a row a slice; null where there is nothing to compare. */
  compare(capacity: number | null): Promise<Told | null> {
    const { work, failed } = comparison(this.#components, this.#title, () => this.#compared(wide(capacity)));
    return this.#later.soon(work, failed);
  }

  /** The run as the page of a file shows it: some instants, this one among them. Whoever asks for another instant meanwhile breaks it off. */
  async recording(event: number): Promise<Uint8Array> {
    const failure = this.#asRecorded ? (this.#recorded?.failure ?? null) : this.#failure;
    const told = this.#asRecorded ? (this.info.snapshot?.explained.json ?? {}) : (this.#report ?? {});
    const series = this.#asRecorded ? this.#recorded?.packedSeries : this.#series;
    return recordingOf({ info: this.info, failure, told, series }, event, (at) => this.frame(at));
  }

  /** What changed since another file, as `strandline diff` tells it: of two snapshots their lines, else the requests of both. */
  async diff(name: string, bytes: (offset: number, length: number) => Uint8Array): Promise<Difference> {
    if (this.#live) throw new Error("a load whose work is done by the GPU is another run every time: play it in ArrayBuffers to compare it");
    const input = ++this.#othersMade;
    this.#others.set(input, bytes);
    try {
      const file = { name, input };
      const snapshots = this.#recorded?.diff(this.#components, file) ?? null;
      if (snapshots !== null) return snapshots;
      if (this.#recorded?.stateOnly === true) throw new Error(`${this.#title} tells a state at one moment, without a trace: it can be compared with another PyTorch snapshot only`);
      const played = await this.#played();
      if (played === null) throw new Error(`${this.#title} could not be played: only another PyTorch snapshot can be compared with it`);
      return await differenceOf(this.#beside, this.#components, played, file, this.#options);
    } catch (error) {
      throw new Error(message(error));
    } finally {
      this.#others.delete(input);
    }
  }

  /** Most bytes allocated on each device, as `strandline explain` has them, in the order of the devices. */
  peaks(): Promise<number[]> {
    const recorded = this.#recorded;
    return recorded === null ? Promise.resolve([]) : this.#later.soon(recorded.peaks());
  }

  #compared(capacity: bigint | undefined): Recorded.Comparing | null {
    if (this.#recorded !== null) return this.#recorded.compare(capacity);
    return this.#trace === null ? null : this.#components.recorded.compareTrace(this.#trace, capacity);
  }

  /** The packed frame of an event. The newest call wins. */
  frame(event: number): Promise<Uint8Array> {
    this.#goal?.reject(superseded());
    this.#goal = null;
    if (this.#closed) return Promise.reject(new Error("the run is closed"));
    if (this.#asRecorded && this.#recorded !== null) {
      this.#wake();
      return Promise.resolve(this.#recorded.frame(event));
    }
    const kept = this.#kept.get(event);
    if (kept !== undefined) return Promise.resolve(kept.slice());
    if (this.#end !== null && event >= this.#end.event) return Promise.resolve(this.#end.packed.slice());
    const past = this.#past;
    const far = event < this.#at || event > this.#at + NEAR;
    if (past !== null && far && past.covers(event)) {
      if (past.worn) this.#forget();
      else return Promise.resolve(past.frame(event));
    }
    return new Promise((resolve, reject) => {
      this.#goal = { event, resolve, reject };
      this.#wake();
    });
  }

  /** The report, once all was played that can be; null if the run is closed before. */
  report(): Promise<Record<string, unknown> | null> {
    const none = this.#reportDone || (this.#asRecorded && this.#recorded?.stateOnly === true);
    if (this.#report !== null || this.#closed || none) return Promise.resolve(this.#report);
    this.#wake();
    return new Promise((resolve) => this.#reportWaiters.push(resolve));
  }

  /** Copies of a long run, from which an earlier instant is reached. */
  get copies(): number {
    return this.#past?.copies ?? 0;
  }

  /** Whether an event is reached from a copy. */
  covers(event: number): boolean {
    return this.#past?.covers(event) ?? false;
  }

  /** Gives up the copies. */
  #forget(): void {
    this.#past?.close();
    this.#past = null;
  }

  /** Live handles, by kind. */
  handles(): Record<string, number> {
    const own = {
      traces: this.#trace === null ? 0 : 1,
      snapshots: this.#recorded?.handles ?? 0,
      runs: Number(this.#shown !== null) + Number(this.#ahead !== null),
      beside: this.#beside.handles,
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
    this.#forget();
    this.#beside.close();
    this.#recorded?.close();
    this.#later.close();
    this.#lives = this.#looked = null;
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
      // Whoever asked is answered first.
      if (this.#goal === null) await this.#around.rest();
      while (!this.#closed && (this.#goal !== null || this.#ahead !== null || this.#later.some)) {
        try {
          if (this.#goal !== null) this.#pursue(this.#goal);
          else if (this.#ahead !== null) this.#playAhead();
          else {
            const ended = () => this.#goal !== null || this.#closed;
            await this.#quiet.come(this.#lives?.count ?? 0, ended);
            if (!ended()) this.#later.work();
          }
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
      if (this.#back) this.#kept.keep(this.#at, shown.frame());
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
    const series = run.series();
    this.#series = series;
    // What is shown is another run.
    if (this.#asRecorded) return;
    this.#tell({ type: "progress", played: Number(run.event()), events: this.info.events });
    this.#tell({ type: "series", series: decodeSeries(series) });
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
    const told = failure === undefined ? null : readFailure(failure);
    this.#failure = told;
    if (told !== null && !this.#asRecorded) this.#tell({ type: "failure", failure: told });
    this.#report = JSON.parse(this.#components.playing.Run.finish(run)) as Record<string, unknown>;
    for (const resolve of this.#reportWaiters.splice(0)) resolve(this.#report);
  }
}
