/** The recorded run of a snapshot: the device that is looked at, its moments, and what the command says of it. */
import type { DeviceInfo, Difference, Failure, RunInfo, Series, Told } from "../model";
import type { Components, Recorded } from "./components";
import { decodeSeries } from "./decode";
import { Lives } from "./lives";
import { dispose } from "./slabs";

/** Holders, stacks and pinners that are told, and lines of a difference, as by the command. */
const TOP = 10;
export const TOP_LINES = 20;

/** An answer of the player in JSON and in text. */
export function readTold(told: Recorded.Told): Told {
  return { json: JSON.parse(told.json) as Record<string, unknown>, text: told.text };
}

/** What the report's `failure` says. */
export function readFailure(text: string): Failure | null {
  const told = JSON.parse(text) as Record<string, unknown> | null;
  if (told === null) return null;
  return {
    event: told["event"],
    bytesRequested: told["bytes_requested"],
    liveBytes: told["live_bytes"],
    largestHoleBytes: told["largest_hole_bytes"],
    pendingBytes: told["pending_bytes"],
    reason: told["reason"],
  } as Failure;
}

/** `failure` as the report has it. */
export function writeFailure(failure: Failure): Record<string, unknown> {
  const { event, bytesRequested, liveBytes, largestHoleBytes, pendingBytes, reason } = failure;
  return { event, bytes_requested: bytesRequested, live_bytes: liveBytes, largest_hole_bytes: largestHoleBytes, pending_bytes: pendingBytes, reason };
}

/** A comparison, a row a slice; nothing where nothing is begun. `failed` gives back what it holds. */
export function comparison(components: Components, title: string, begin: () => Recorded.Comparing | null): { work: () => { done: Told | null } | null; failed: () => void } {
  let comparing: Recorded.Comparing | null = null;
  const work = () => {
    if (comparing === null) {
      comparing = begin();
      return comparing === null ? { done: null } : null;
    }
    if (comparing.step()) return null;
    const told = components.recorded.Comparing.finish(comparing, title);
    comparing = null;
    return { done: readTold(told) };
  };
  return { work, failed: () => dispose(comparing) };
}

export class RecordedRun {
  readonly device: number;
  readonly devices: readonly DeviceInfo[];
  readonly explained: Told;
  readonly failure: Failure | null;
  readonly series: Series;
  /** The series as it was packed. */
  readonly packedSeries: Uint8Array;
  readonly lives: Lives;
  readonly #snapshot: Recorded.Snapshot;
  readonly #moments: Recorded.Moments;
  readonly #stops: Uint32Array;
  readonly #at: number;
  #closed = false;

  private constructor(snapshot: Recorded.Snapshot, device: number | null) {
    this.#snapshot = snapshot;
    this.device = device ?? snapshot.defaultDevice();
    const devices = JSON.parse(snapshot.devices()) as { device: number; entries: number; refused: number; state_only: boolean }[];
    this.devices = devices.map(({ state_only: stateOnly, ...rest }) => ({ ...rest, stateOnly }));
    const [{ told, series, at, failure }, moments] = snapshot.look(this.device, TOP);
    this.explained = readTold(told);
    this.failure = readFailure(failure);
    this.packedSeries = series;
    this.series = decodeSeries(series);
    this.#at = at;
    this.#moments = moments;
    this.#stops = this.#moments.stops();
    const events = this.#stops[this.#stops.length - 1] ?? 0;
    this.lives = new Lives(this.#moments.lives(), events, { frames: snapshot.frames(), packed: snapshot.stacks() });
  }

  /** Reads a file; null if it is no snapshot, or none that can be read as a whole: then whoever reads it as a trace says what is wrong. */
  static open(components: Components, file: Recorded.File, device: number | null): RecordedRun | null {
    let snapshot: Recorded.Snapshot | undefined;
    try {
      snapshot = components.recorded.Snapshot.open(file);
    } catch {
      return null;
    }
    return snapshot === undefined ? null : new RecordedRun(snapshot, device);
  }

  get stateOnly(): boolean {
    return this.devices.find(({ device }) => device === this.device)?.stateOnly ?? false;
  }

  info(title: string): RunInfo {
    const { device, devices, explained } = this;
    let streams = 0;
    for (const stream of this.lives.stream) streams = Math.max(streams, stream + 1);
    return {
      title,
      format: this.stateOnly ? "PyTorch snapshot of a state" : "PyTorch snapshot",
      events: this.lives.events,
      streams,
      synthesized: false,
      pools: ["PyTorch's own"],
      backing: "recorded",
      instants: this.#stops,
      first: this.#at,
      snapshot: { device, devices, explained },
      asRecorded: true,
      stateOnly: this.stateOnly,
      reservedNotTold: (explained.json["explain"] as { peak_reserved_bytes: number | null }).peak_reserved_bytes === null,
    };
  }

  frame(event: number): Uint8Array {
    return this.#moments.frame(Math.min(event, this.lives.events));
  }

  /** Who pins free bytes at an instant. */
  pins(event: number): Recorded.Pins {
    return this.#moments.pins(Math.min(event, this.lives.events));
  }

  /** What changed since another snapshot: of that, the device that the command takes. Null if the file is none. */
  diff(components: Components, file: Recorded.File): Difference | null {
    const other = components.recorded.Snapshot.open(file);
    if (other === undefined) return null;
    try {
      const device = other.defaultDevice();
      const told = readTold(this.#snapshot.diff(this.device, other, device, TOP_LINES));
      const { a, b } = (told.json["diff"] as { peak_reserved_bytes: { a: number | null; b: number | null } }).peak_reserved_bytes;
      return {
        told,
        before: decodeSeries(other.explain(device, undefined, 0).series),
        after: this.series,
        reservedBy: "PyTorch",
        reserved: { before: a, after: b },
      };
    } finally {
      dispose(other);
    }
  }

  /** Most bytes allocated on each device, a device a slice. */
  peaks(): () => { done: number[] } | null {
    const peaks: number[] = [];
    return () => {
      const next = this.devices[peaks.length];
      if (next === undefined) return { done: peaks };
      peaks.push(this.peakOf(next.device));
      return null;
    };
  }

  /** Most bytes allocated on a device. */
  peakOf(device: number): number {
    const told = device === this.device ? this.explained : readTold(this.#snapshot.explain(device, undefined, 0).told);
    return (told.json["explain"] as { peak_allocated_bytes: number }).peak_allocated_bytes;
  }

  compare(capacity: bigint | undefined): Recorded.Comparing | null {
    return this.stateOnly ? null : this.#snapshot.compare(this.device, capacity);
  }

  /** Live handles. */
  get handles(): number {
    return this.#closed ? 0 : 2;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const handle of [this.#moments, this.#snapshot]) dispose(handle);
  }
}
