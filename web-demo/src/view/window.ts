/** The arithmetic of a view that is moved: events across, bytes up. Pure. */
import type { OverTime, Planned } from "../model.ts";
import { WORDS } from "./instances.ts";

/** What is shown: events `from .. to`, bytes `low .. high`; null is as high as needed. */
export interface Window {
  from: number;
  to: number;
  low: number;
  high: number | null;
}

/** Events that a view shows at least. */
const LEAST = 4;

function clamped(view: Window, from: number, span: number, end: number): Window {
  const width = Math.min(Math.max(span, Math.min(LEAST, end)), end);
  const start = Math.max(0, Math.min(end - width, from));
  return { ...view, from: start, to: start + width };
}

/** Zoomed in `by` so that what is at the share `at` of the width stays there. */
export function zoomed(view: Window, by: number, at: number, end: number): Window {
  const span = view.to - view.from;
  const next = Math.min(Math.max(span / by, Math.min(LEAST, end)), end);
  return clamped(view, view.from + at * (span - next), next, end);
}

/** Moved by a share of its width. */
export function panned(view: Window, by: number, end: number): Window {
  const span = view.to - view.from;
  return clamped(view, view.from + by * span, span, end);
}

/** Round numbers within a range, about so many: powers of `base` times 1, 2, 5 (of two, if the base is 1024). */
export function ticks(from: number, to: number, about: number, base: 10 | 1024 = 10): number[] {
  const step = (to - from) / about;
  if (!(step > 0)) return [];
  let unit = 1;
  if (base === 1024) while (unit < step) unit *= 2;
  else {
    const power = 10 ** Math.floor(Math.log10(step));
    unit = Math.max(1, [1, 2, 5, 10].map((n) => n * power).find((n) => n >= step) ?? power * 10);
  }
  const out: number[] = [];
  for (let at = Math.ceil(from / unit) * unit; at < to; at += unit) out.push(at);
  return out;
}

/** The fourth word of a rectangle of several blocks; `engine/over_time.ts`. */
export const MERGED = 0xffffffff;

/** The rectangle at a point, -1 where there is none. Blocks do not overlap; where merged ones lie under a block, it is the block. */
export function rectAt(words: Uint32Array, x: number, y: number): number {
  let merged = -1;
  for (let i = 0; i < words.length; i += WORDS) {
    const place = words[i] as number;
    const size = words[i + 1] as number;
    const [left, top] = [place & 0xffff, place >>> 16];
    // A block is kept apart from the next by a pixel: that belongs to it.
    if (x < left || x >= left + (size & 0xffff) || y < top || y >= top + (size >>> 16) + 1) continue;
    if (words[i + 3] !== MERGED) return i / WORDS;
    if (merged < 0) merged = i / WORDS;
  }
  return merged;
}

/** An outline is no smaller, in pixels of the picture. */
const LEAST_OUTLINE = 3;

/** Where a plan has a block, in pixels of a picture of the plan. */
export function rectOf(picture: OverTime, place: Planned): { x: number; y: number; width: number; height: number } {
  const perEvent = picture.width / (picture.to - picture.from);
  const perByte = picture.height / (picture.high - picture.low);
  const height = Math.max(LEAST_OUTLINE, place.bytes * perByte);
  return {
    x: (place.from - picture.from) * perEvent,
    y: picture.height - (place.offset - picture.low) * perByte - height,
    width: Math.max(LEAST_OUTLINE, (place.to - place.from) * perEvent),
    height,
  };
}

/** At most so many of them are outlined. */
const MOST_OUTLINES = 400;

/** Where a block is drawn. */
export function rectsOf(picture: OverTime, row: number): { x: number; y: number; width: number; height: number }[] {
  const out: { x: number; y: number; width: number; height: number }[] = [];
  const { words } = picture;
  for (let i = 0; i < words.length && out.length < MOST_OUTLINES; i += WORDS) {
    if (words[i + 3] !== row) continue;
    const place = words[i] as number;
    const size = words[i + 1] as number;
    out.push({ x: place & 0xffff, y: place >>> 16, width: size & 0xffff, height: size >>> 16 });
  }
  return out;
}
