/**
 * What the viewer shows and what drives it: the seam between a run (the component in a worker, or data that
 * a command recorded) and its picture.
 *
 * Bytes, events and epochs are plain numbers: all are below 2^53 (the source checks). Events count from 1; event 0 is
 * the empty pool before the first.
 */

/** What a block is doing. The values are those of the packed snapshot of the `inspect` interface. */
export const State = { Live: 0, Clean: 1, Pending: 2, Tainted: 3 } as const;
export type State = (typeof State)[keyof typeof State];

/** A contiguous region of memory that a pool took from its provider. */
export interface Slab {
  /** Position of its pool in `RunInfo.pools`. */
  pool: number;
  /** Its generational id, for people. */
  id: string;
  bytes: number;
  /** Where it begins, if that is known. */
  address?: number;
}

/** Every block of every slab, in order of slab and offset: one entry a column for each. */
export interface Blocks {
  count: number;
  /** Position in `Frame.slabs`. */
  slab: Uint32Array;
  /** First byte, from the slab's start. */
  offset: Float64Array;
  bytes: Float64Array;
  /** Of a live block: the bytes asked for; the rest is padding. 0 for a free one. */
  requested: Float64Array;
  state: Uint8Array;
  /** The stream that holds it, or that freed it last; -1 when nobody knows. */
  stream: Int32Array;
  /** The event since which a live block is live; 0 for a free one. */
  since: Float64Array;
  /** Entries `deathStart[i] .. deathStart[i + 1]` of the two columns below are block i's death frontier. */
  deathStart: Uint32Array;
  /** Position in `Frame.axes`. */
  deathAxis: Uint32Array;
  deathEpoch: Float64Array;
}

/** One source of progress, a stream's queue. */
export interface Axis {
  name: string;
  submitted: number;
  completed: number;
}

/** The pools' counters, summed. Names as in the JSON report where it has them. */
export interface Counters {
  reserves: number;
  releases: number;
  fresh: number;
  dominated: number;
  completed: number;
  waited: number;
  missed: number;
  exhausted: number;
  overBudget: number;
  tainted: number;
  slabs: number;
}

/** Bytes now. */
export interface Bytes {
  committed: number;
  reserved: number;
  live: number;
  pending: number;
  clean: number;
  tainted: number;
  padding: number;
}

/** One instant of a run: all that the picture shows. Never changed after it was given out. */
export interface Frame {
  event: number;
  slabs: readonly Slab[];
  blocks: Blocks;
  axes: readonly Axis[];
  counters: Counters;
  bytes: Bytes;
  /** Of each block its number among those over time, -1 where it has none; absent where nothing is known over time. */
  rows?: Int32Array;
  /** Of each block whether the filter takes it; absent without a filter. */
  matched?: Uint8Array;
  /** Of each block where the plan that the pool follows has it: an offset in the pool's first slab, -1 where it has none. Absent where the pool
   * follows none. */
  planned?: Float64Array;
}

/** Bytes over the events of a run, in at most a few thousand buckets that keep every minimum and maximum. */
export interface Series {
  /** The first event of each bucket, ascending. */
  event: Float64Array;
  committed: MinMax;
  reserved: MinMax;
  live: MinMax;
  pending: MinMax;
}

export interface MinMax {
  min: Float64Array;
  max: Float64Array;
}

/** Why a run ended before its trace did: the first event that could not be satisfied. */
export interface Failure {
  event: number;
  bytesRequested: number;
  liveBytes: number;
  largestHoleBytes: number;
  pendingBytes: number;
  /** One sentence for people. */
  reason: string;
}

/** Where the slabs of a run are. */
export type Backing = "webgpu" | "array-buffer" | "numbers" | "recorded";

/** A device of a snapshot. */
export interface DeviceInfo {
  device: number;
  entries: number;
  /** Requests that were refused. */
  refused: number;
  stateOnly: boolean;
}

/** What the command prints: with `--json`, and without. */
export interface Told {
  json: Record<string, unknown>;
  text: string;
}

/** What a snapshot tells besides the run. */
export interface Snapshot {
  devices: readonly DeviceInfo[];
  device: number;
  /** As `strandline explain` tells it. */
  explained: Told;
}

/** Two runs beside each other. */
export interface Difference {
  /** As `strandline diff` tells it. */
  told: Told;
  before: Series;
  after: Series;
  /** Whose reserved bytes these are, of both runs alike. */
  reservedBy: string;
  /** Most bytes reserved; null where that is not told. */
  reserved: { before: number | null; after: number | null };
}

/** What a block can be searched for by, besides its line, size and stream. */
export const CATEGORIES = {
  forward: "allocated below a frame named forward, by its call stack",
  backward: "allocated by the backward pass, by its call stack",
  optimizer: "allocated by an optimizer, by its call stack",
  before: "was there before the first event",
  kept: "never given back",
  temporary: "given back",
  deferred: "given back while a stream still used it",
  small: "up to 1 MiB: PyTorch has pools of their own for these",
  large: "more than 1 MiB",
  padded: "larger than what was asked for",
  pins: "keeps free bytes from being returned or joined at the instant shown",
} as const;
export type Category = keyof typeof CATEGORIES;

/** A condition of a search; `not` turns it round. */
export type Term = { not: boolean } & (
  | { kind: "line"; text: string }
  | { kind: "size"; least: number; most: number }
  | { kind: "stream"; stream: number }
  | { kind: "category"; any: readonly Category[] }
);

/** Which blocks are kept undimmed: those that meet every condition. */
export interface Filter {
  terms: readonly Term[];
  /** A line's or a stack's key; see `Holder`. */
  key: number | null;
}

/** Whether what a filter takes changes from instant to instant. */
export function isMomentary(filter: Filter | null): boolean {
  return filter?.terms.some((term) => term.kind === "category" && term.any.includes("pins")) ?? false;
}

/** A line that keeps free bytes from being returned or joined. */
export interface Pinner {
  line: string;
  /** Bytes of its blocks that do so. */
  bytes: number;
  /** Free bytes that would be returned or joined were they elsewhere. */
  pinned: number;
  blocks: number;
}

/** Who pins free bytes at an instant, most first. */
export interface Pinners {
  event: number;
  lines: readonly Pinner[];
}

/** A run by one rule of merging. */
export interface RuleRun {
  /** As `strandline replay --json` prints it. */
  report: Record<string, unknown>;
  series: Series;
}

/** The same requests by both rules of merging. */
export interface Rules {
  readiness: RuleRun;
  eager: RuleRun;
}

export interface Matched {
  blocks: number;
}

/** Who holds memory at an instant. */
export interface Holder {
  /** Names it within the run. */
  key: number;
  /** The line; of a stack its frames, innermost first. */
  name: string;
  bytes: number;
  blocks: number;
  largest: number;
  /** Events of the allocations of its oldest and youngest block; 0: before the first. */
  oldest: number;
  youngest: number;
}

/** A block over time. */
export interface Life {
  row: number;
  from: number;
  retired: number | null;
  over: number | null;
  bytes: number;
  requested: number;
  address: number | null;
  stream: number;
  key: number;
  /** Its line; empty where no stacks were recorded. */
  line: string;
  frames: readonly string[];
  /** Where the plan has it; null without a plan, or where it has no place for the block. */
  planned: Planned | null;
}

/** Where a plan has a block. */
export interface Planned {
  offset: number;
  bytes: number;
  /** Events `from .. to`. */
  from: number;
  to: number;
}

/** The least memory for a run whose future is known, as `strandline plan` tells it, and where each block stands, in the order of their
 * requests. */
export interface Plan {
  bytes: number;
  /** No plan is smaller. */
  bound: number;
  blocks: number;
  optimal: boolean;
  waits: number;
  seconds: number;
  /** As `strandline plan --out` writes it. */
  file: Uint8Array;
  offset: Float64Array;
  size: Float64Array;
  /** The steps of the trace at which a block is requested and by which it is over, counted from 0. */
  lower: Uint32Array;
  upper: Uint32Array;
  /** The line or entry of its request. */
  line: Uint32Array;
}

/** How far the search for a plan has come. */
export interface PlanNews {
  /** The smallest size so far. */
  best: number;
  seconds: number;
  /** A better plan than that of the last news. */
  plan: Plan | null;
  /** There will be no other news. */
  ended: boolean;
}

/** A plan beside the blocks of a run. */
export interface Placed {
  /** Blocks of the run that have a place in it. */
  placed: number;
  /** Blocks of the plan that the run does not show: requests that were refused. */
  others: number;
}

/** What is to be drawn of the blocks over time: events across, bytes up. */
export interface OverTimeView {
  from: number;
  to: number;
  low: number;
  /** null: as high as the view needs. */
  high: number | null;
  /** Device pixels. */
  width: number;
  height: number;
  by: "line" | "stream";
}

/** Its picture: four words a rectangle, as `Instances` has them, the fourth its block. */
export interface OverTime {
  words: Uint32Array;
  from: number;
  to: number;
  low: number;
  high: number;
  width: number;
  height: number;
  columns: number;
}

/** The blocks of a run over time, and what is to be said of its memory. */
export interface Analyst {
  /** Whether blocks have call stacks. */
  stacks(): Promise<boolean>;
  /** The event after which most bytes are allocated. */
  peak(): Promise<{ event: number; bytes: number }>;
  /** Of a snapshot: most bytes allocated on each device, in the order of the devices. */
  peaks(): Promise<readonly number[]>;
  /** Who pins free bytes at an instant; null where that is not known. */
  pinners(event: number): Promise<Pinners | null>;
  /** The run by both rules of merging; null where they are bound to do the same. */
  rules(): Promise<Rules | null>;
  /** What changed since another file. */
  diff(name: string, data: Blob): Promise<Difference>;
  /** Some instants of the run, this one among them, packed for `--plot`'s viewer. */
  recording(event: number): Promise<Uint8Array>;
  overTime(view: OverTimeView): Promise<OverTime>;
  holders(event: number, by: "line" | "stack"): Promise<readonly Holder[]>;
  life(row: number): Promise<Life | null>;
  /** What frames, pictures and holders are filtered by from now on. */
  filter(filter: Filter | null): Promise<Matched>;
  /** Searches for a plan, for so many milliseconds at most. Returns what stops it: no news comes after that. */
  plan(limit: number, told: (news: PlanNews) => void, failed: (error: Error) => void): () => void;
  /** Lays a plan beside the blocks, or takes it away. */
  place(plan: Plan | null): Promise<Placed>;
  /** As `overTime`, but each block where the plan has it: bytes up are addresses. */
  planned(view: OverTimeView): Promise<OverTime>;
  /** As `strandline compare` tells it, into a capacity; null where there is nothing to compare. */
  compare(capacity: number | null): Promise<Told | null>;
}

/** What is known of a run once its input was read. */
export interface RunInfo {
  title: string;
  /** The trace's format, or "synthetic". */
  format: string;
  /** Events in all; grows with a synthetic load that has no end. */
  events: number;
  streams: number;
  /** The streams were made up: the trace has one. */
  synthesized: boolean;
  pools: readonly string[];
  backing: Backing;
  /** Which instants can be shown: every event, or only those recorded (ascending). */
  instants: "every" | Float64Array | Uint32Array;
  /** The event to open with, if that is known. */
  first?: number;
  /** Of a snapshot. */
  snapshot?: Snapshot;
  /** What is shown is what was recorded, not a run of Strandline's pools. */
  asRecorded?: boolean;
  /** The file tells nothing of the segments that its trace is about: what was reserved is not known. */
  reservedNotTold?: boolean;
  /** There is no run, but the state at one moment. */
  stateOnly?: boolean;
  /** The plan that the pool follows. */
  plan?: Plan;
}

/** What a source tells by itself. */
export type SourceEvent =
  | { type: "progress"; played: number; events: number }
  | { type: "series"; series: Series }
  | { type: "failure"; failure: Failure }
  | { type: "backing"; backing: Backing; why: string };

/** A run that can be looked at. Made by reading an input; see `Opener`. */
export interface Source {
  readonly info: RunInfo;
  /** The instant of an event (the last one at or before it that can be shown). The newest call wins: an older one that was not
   * answered yet rejects with an `AbortError`. */
  frame(event: number): Promise<Frame>;
  /** The series so far. */
  series(): Series;
  /** The run's failure, once it was met. */
  failure(): Failure | null;
  /** The whole run's report, as `strandline replay --json` prints it, once all was played; null for recorded runs without one. */
  report(): Promise<Record<string, unknown> | null>;
  listen(listener: (event: SourceEvent) => void): () => void;
  /** Live handles of the components and of the GPU, by kind; all zero after `close`. */
  handles(): Promise<Record<string, number>>;
  /** Gives back everything. Safe to call twice. */
  close(): Promise<void>;
  /** Absent where only some instants were recorded. */
  readonly analyst?: Analyst;
}

/** How a run is to be played. Absent members: as the command does it. */
export interface RunOptions {
  pool: "auto" | "tlsf" | "fixed" | "arena" | "passthrough";
  slabBytes: number | null;
  capacityBytes: number | null;
  budgetBytes: number | null;
  /** Of a snapshot: the run that was recorded, or its requests played through Strandline's pools. */
  show: "recorded" | "played";
  /** The device of a snapshot; null is the one that the command takes. */
  device: number | null;
  /** On how many streams a trace of one is played; a trace of several keeps its own. */
  streams: number | null;
  inFlight: number;
  allowWait: boolean;
  /** "eager" merges every free neighbour at once, as IREE does. */
  policy: "readiness" | "eager";
  /** "auto" takes WebGPU where there is an adapter. */
  backing: "auto" | "webgpu" | "array-buffer";
  /** The pool is TLSF and follows this plan of the same input; its slabs are numbers. */
  plan?: Plan;
}

/** A load without a recording: what the sliders say. */
export interface Synthetic {
  seed: number;
  /** Blocks live at once, about. */
  blocks: number;
  minBytes: number;
  maxBytes: number;
  /** Events until it ends. */
  events: number;
}

export type Input =
  | { kind: "file"; name: string; data: Blob }
  | { kind: "synthetic"; load: Synthetic };

/** Reads an input and makes a run of it. Rejects with an `Error` whose message names the fault, its line, and the remedy. */
export type Opener = (
  input: Input,
  options: RunOptions,
  progress: (done: number, total: number, unit: "event" | "byte" | "configuration") => void,
) => Promise<Source>;
