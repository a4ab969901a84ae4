/** Some instants of a run in one piece of bytes, as `Recording::to_bytes` of `replay/src/recording.rs` makes it. */
import type { Failure, RunInfo } from "../model";
import { decodeFrame } from "./decode";
import { writeFailure } from "./recorded";

const RECORDING = 0x31524c53;

/** What is said of the run is JSON; series and frames are packed already. */
export function packRecording(about: unknown, series: Uint8Array, frames: readonly Uint8Array[]): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(about));
  const parts = [text, series, ...frames];
  const aligned = (n: number) => (n + 7) & ~7;
  const head = 16 + 4 * frames.length;
  const out = new Uint8Array(parts.reduce((at, part) => aligned(at) + part.length, head));
  const view = new DataView(out.buffer);
  [RECORDING, text.length, series.length, frames.length, ...frames.map((frame) => frame.length)].forEach((word, i) => view.setUint32(4 * i, word, true));
  let at = head;
  for (const part of parts) {
    at = aligned(at);
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Instants that a file shows: about so many of all, and the one that it opens with. */
export function chosenInstants(events: number, instants: "every" | Float64Array | Uint32Array, first: number, about = 100): number[] {
  const all = instants === "every" ? events + 1 : instants.length;
  const chosen = new Set([first]);
  const step = Math.max(1, Math.ceil(all / about));
  for (let i = 0; i < all; i += step) chosen.add(instants === "every" ? i : (instants[i] as number));
  chosen.add(instants === "every" ? events : (instants[all - 1] ?? first));
  return [...chosen].sort((a, b) => a - b);
}

/** What a recording says of a run. */
export interface Said {
  info: RunInfo;
  failure: Failure | null;
  /** The report of the pools' run, or the explanation of a recorded one. */
  told: Record<string, unknown>;
  /** Packed; undefined of a run that was not played far enough. */
  series: Uint8Array | undefined;
}

/** Some instants of a run, `event` among them and the one that is shown first. */
export async function recordingOf({ info, failure, told, series }: Said, event: number, frame: (event: number) => Promise<Uint8Array>): Promise<Uint8Array> {
  const { title, format, events, streams, synthesized, pools, instants } = info;
  const asRecorded = info.asRecorded === true;
  const frames: Uint8Array[] = [];
  const shown: number[] = [];
  for (const at of chosenInstants(failure !== null && !asRecorded ? failure.event : events, instants, event)) {
    const packed = await frame(at);
    const { event: came } = decodeFrame(packed);
    if (came === shown[shown.length - 1]) continue;
    shown.push(came);
    frames.push(packed.slice());
  }
  const trace = { format: asRecorded ? `${format}, as recorded` : format, events, streams, streams_synthesized: synthesized };
  const report = { ...told, trace: { ...(told["trace"] as object | undefined), ...trace }, failure: failure === null ? null : writeFailure(failure) };
  if (series === undefined) throw new Error("the run was not played far enough to be saved");
  return packRecording({ title, pools, instants: shown, first_shown: event, report }, series, frames);
}
