/** A run that a command recorded: some of its instants, its series and its report, all in one piece of bytes. */
import { decodeFrame, decodeRecording } from "../engine/decode.ts";
import type { Failure, Frame, RunInfo, Source } from "../model.ts";

/** What a recording says of itself besides its columns; `replay/src/plot/html.rs` writes it. */
interface About {
  title: string;
  pools: string[];
  /** The event of each frame, ascending. */
  instants: number[];
  /** The event to open with. */
  first_shown: number;
  /** As `strandline replay --json` prints it. */
  report: Record<string, unknown> & {
    trace: { format: string; events: number; streams: number; streams_synthesized: boolean };
    failure: null | {
      event: number;
      bytes_requested: number;
      live_bytes: number;
      largest_hole_bytes: number;
      pending_bytes: number;
      reason: string;
    };
  };
}

/** Base64 of gzip to bytes. Works from `file://`: it asks for nothing. */
export async function unpack(text: string): Promise<Uint8Array> {
  const binary = atob(text.trim());
  const packed = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) packed[i] = binary.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * A source over a packed recording, and the event to open it with.
 *
 * @throws Error when the bytes are no recording.
 */
export function recordedSource(packed: Uint8Array): { source: Source; firstShown: number } {
  const { about, series, frames } = decodeRecording(packed);
  const { title, pools, instants, first_shown: firstShown, report } = about as About;
  if (instants.length !== frames.length || frames.length === 0) throw new Error("recording: its instants and frames do not match");
  const events = Float64Array.from(instants);
  const { trace, failure: failed } = report;
  const info: RunInfo = {
    title,
    format: trace.format,
    events: trace.events,
    streams: trace.streams,
    synthesized: trace.streams_synthesized,
    pools,
    backing: "recorded",
    instants: events,
  };
  const failure: Failure | null =
    failed === null
      ? null
      : {
          event: failed.event,
          bytesRequested: failed.bytes_requested,
          liveBytes: failed.live_bytes,
          largestHoleBytes: failed.largest_hole_bytes,
          pendingBytes: failed.pending_bytes,
          reason: failed.reason,
        };
  // The last few instants: playing back and forth decodes each once.
  const known = new Map<number, Frame>();
  const frameAt = (at: number): Frame => {
    const before = known.get(at);
    if (before !== undefined) return before;
    const frame = decodeFrame(frames[at] as Uint8Array);
    if (known.size >= 16) known.delete(known.keys().next().value as number);
    known.set(at, frame);
    return frame;
  };
  const source: Source = {
    info,
    frame: async (event) => frameAt(instantAt(events, event)),
    series: () => series,
    failure: () => failure,
    report: async () => report,
    listen: () => () => undefined,
    handles: async () => ({}),
    close: async () => known.clear(),
  };
  return { source, firstShown };
}

/** Position of the last instant at or before an event; the first one where there is none. */
export function instantAt(instants: Float64Array | Uint32Array, event: number): number {
  let [low, high] = [0, instants.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((instants[middle] as number) <= event) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
