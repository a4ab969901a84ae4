/** Some instants of a run in one piece of bytes, as `Recording::to_bytes` of `replay/src/recording.rs` makes it. */

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
