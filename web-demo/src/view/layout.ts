/**
 * Where slabs lie: pure arithmetic, in device pixels.
 *
 * ```text
 *   row 0  ▐████ slab 0 ████████████████████▌
 *   row 1  ▐████ the rest ██▌ ▐█ slab 1 █▌            a strip wraps like text; small slabs share a row
 *   row 2  ▐████ slab 2 ██████████████▌
 * ```
 * One scale (bytes a pixel) holds for all slabs, so that lengths compare. With few slabs, the largest fills one or more whole
 * rows; with many, it is
 * the finest at which everything fits the height: one that fills rows with the largest, or of a ladder. It is chosen for the bytes that
 * the pool will hold at most, where that is known, so that a pool that grows does not move the picture. Zooming divides it.
 * Left of the rows is a gutter for names.
 *
 * Cost: O(slabs + rows).
 */
import type { Blocks, Slab } from "../model.ts";

/** A stretch of a slab that lies in one row. */
export interface Segment {
  /** Position in the frame's slabs. */
  slab: number;
  row: number;
  x: number;
  width: number;
  /** Bytes `from .. to` of the slab. */
  from: number;
  to: number;
}

export interface Geometry {
  width: number;
  /** Height of a strip, and from one row to the next. */
  height: number;
  pitch: number;
  bytesPerPixel: number;
  /** In order of slab and offset, which is also that of row and x. */
  segments: readonly Segment[];
  /** Segments `rowStart[r] .. rowStart[r + 1]` lie in row r. */
  rowStart: Uint32Array;
  rows: number;
}

export interface Area {
  width: number;
  height: number;
  /** Device pixels of a CSS pixel. */
  scale: number;
  /** How many times finer than what fits. */
  zoom: number;
  /** Left of the rows, of the width. */
  gutter: number;
  /** Bytes of all slabs at most, in the whole run; 0 when not known. */
  expected: number;
}

/** Heights of a strip, in CSS pixels, the highest that fits first. */
const HEIGHTS = [44, 34, 26, 20, 15] as const;
const SMALLEST = 15;
/** High enough for names. */
const COMFORTABLE = 20;
const ROW_GAP = 6;
const SLAB_GAP = 3;
/** A slab is never thinner, in CSS pixels. */
const LEAST_WIDTH = 2;
/** No more rows than this, however far one zooms. */
const MOST_ROWS = 20_000;

/** Steps of the ladder of scales in an octave. */
const STEPS = 2;

/** Arranges slabs in an area. */
export function arrange(slabs: readonly Slab[], area: Area): Geometry {
  const width = Math.max(1, Math.floor(area.width - area.gutter));
  const px = (n: number) => Math.max(1, Math.round(n * area.scale));
  const row = { width, left: area.gutter, gap: px(SLAB_GAP), least: px(LEAST_WIDTH) };
  const rowGap = px(ROW_GAP);
  const roomAt = (height: number) => Math.max(1, Math.floor((area.height + rowGap) / (px(height) + rowGap)));
  const largest = slabs.reduce((most, slab) => Math.max(most, slab.bytes), 1);
  const held = slabs.reduce((sum, slab) => sum + slab.bytes, 0);
  const total = Math.max(held, area.expected);
  const many = Math.max(slabs.length, Math.ceil(total / largest));
  const each = Math.floor(roomAt(COMFORTABLE) / many);
  const room = roomAt(SMALLEST);
  let scale: number;
  let rows: number;
  if (many <= room) {
    scale = largest / (Math.max(1, each) * width);
    rows = Math.max(1, each) * many;
  } else {
    scale = finestThatFits(slabs, row, room, total, held, largest);
    rows = rowsAt(slabs, row, scale) * Math.max(1, total / Math.max(1, held));
  }
  const height = px(HEIGHTS.find((tall) => rows <= roomAt(tall)) ?? SMALLEST);
  const finest = Math.max(total / (MOST_ROWS * width), 1e-3);
  const bytesPerPixel = Math.min(scale, Math.max(scale / area.zoom, finest));
  return place(slabs, row, bytesPerPixel, height, height + rowGap);
}

/** What rows are like, in device pixels. */
interface Row {
  width: number;
  left: number;
  gap: number;
  least: number;
}

/** The finest scale at which slabs fit: of the ladder, or one at which as many of the largest as must share a row fill it. */
function finestThatFits(slabs: readonly Slab[], row: Row, room: number, total: number, held: number, largest: number): number {
  // Room for those that are still to come.
  const now = Math.max(1, Math.floor((room * held) / Math.max(1, total)));
  const top = Math.ceil(STEPS * Math.log2(largest)) + STEPS;
  let best = 2 ** (top / STEPS);
  for (let rung = Math.floor(STEPS * Math.log2(Math.max(total / (room * row.width), 1e-9))); rung <= top; rung++) {
    const scale = 2 ** (rung / STEPS);
    if (rowsAt(slabs, row, scale) <= now) {
      best = scale;
      break;
    }
  }
  const each = Math.ceil(Math.max(slabs.length, total / largest) / room);
  const pixels = Math.floor((row.width - (each - 1) * row.gap) / each);
  const even = largest / Math.max(1, pixels);
  return pixels >= row.least && even < best && rowsAt(slabs, row, even) <= now ? even : best;
}

/** A slab that fills its rows shall not begin another one for an error of rounding. */
function pixelsOf(slab: Slab, bytesPerPixel: number, least: number): number {
  return Math.max(least, Math.ceil(slab.bytes / bytesPerPixel - 1e-6));
}

function rowsAt(slabs: readonly Slab[], { width, gap, least }: Row, bytesPerPixel: number): number {
  let [row, x] = [0, 0];
  for (const slab of slabs) {
    const pixels = pixelsOf(slab, bytesPerPixel, least);
    if (x > 0 && x + pixels > width) {
      row++;
      x = 0;
    }
    const full = Math.ceil(pixels / width) - 1;
    row += full;
    x += pixels - full * width + gap;
  }
  return row + 1;
}

function place(slabs: readonly Slab[], { width, left, gap, least }: Row, bytesPerPixel: number, height: number, pitch: number): Geometry {
  const segments: Segment[] = [];
  let [row, x] = [0, 0];
  slabs.forEach((slab, index) => {
    let pixels = pixelsOf(slab, bytesPerPixel, least);
    if (x > 0 && x + pixels > width) {
      row++;
      x = 0;
    }
    let from = 0;
    while (pixels > width) {
      const to = from + width * bytesPerPixel;
      segments.push({ slab: index, row, x: left, width, from, to });
      from = to;
      pixels -= width;
      row++;
    }
    segments.push({ slab: index, row, x: left + x, width: pixels, from, to: slab.bytes });
    x += pixels + gap;
  });
  const rows = segments.length === 0 ? 0 : row + 1;
  const rowStart = new Uint32Array(rows + 1);
  for (const segment of segments) rowStart[segment.row + 1] = (rowStart[segment.row + 1] ?? 0) + 1;
  for (let r = 0; r < rows; r++) rowStart[r + 1] = (rowStart[r + 1] ?? 0) + (rowStart[r] ?? 0);
  return { width: left + width, height, pitch, bytesPerPixel, segments, rowStart, rows };
}

/** Blocks `starts[s] .. starts[s + 1]` are those of slab s. O(slabs · log blocks). */
export function slabStarts(blocks: Blocks, slabs: number): Uint32Array {
  const starts = new Uint32Array(slabs + 1);
  let at = 0;
  for (let slab = 0; slab < slabs; slab++) {
    starts[slab] = at;
    let [low, high] = [at, blocks.count];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((blocks.slab[middle] as number) <= slab) low = middle + 1;
      else high = middle;
    }
    at = low;
  }
  starts[slabs] = at;
  return starts;
}

/** The block of a slab that holds byte `offset`, or -1. O(log blocks). */
export function blockAt(blocks: Blocks, starts: Uint32Array, slab: number, offset: number): number {
  let low = starts[slab] ?? 0;
  const first = low;
  let high = starts[slab + 1] ?? low;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((blocks.offset[middle] as number) <= offset) low = middle + 1;
    else high = middle;
  }
  const block = low - 1;
  if (block < first) return -1;
  return offset < (blocks.offset[block] as number) + (blocks.bytes[block] as number) ? block : -1;
}

/** What lies under a point: the segment, and the bytes that its pixel stands for. */
export interface Hit {
  segment: Segment;
  from: number;
  to: number;
}

/** Finds what lies under a point of the whole picture. O(segments of the row). */
export function hit(geometry: Geometry, x: number, y: number): Hit | null {
  const row = Math.floor(y / geometry.pitch);
  if (row < 0 || row >= geometry.rows || y - row * geometry.pitch >= geometry.height) return null;
  for (let i = geometry.rowStart[row] ?? 0; i < (geometry.rowStart[row + 1] ?? 0); i++) {
    const segment = geometry.segments[i] as Segment;
    if (x >= segment.x && x < segment.x + segment.width) {
      const from = segment.from + Math.floor(x - segment.x) * geometry.bytesPerPixel;
      return { segment, from, to: Math.min(from + geometry.bytesPerPixel, segment.to) };
    }
  }
  return null;
}

/** The first segment of a slab that reaches beyond byte `offset`, or -1. O(log segments). */
export function segmentAt(geometry: Geometry, slab: number, offset: number): number {
  let [low, high] = [0, geometry.segments.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const segment = geometry.segments[middle] as Segment;
    if (segment.slab < slab || (segment.slab === slab && segment.to <= offset)) low = middle + 1;
    else high = middle;
  }
  const found = geometry.segments[low];
  return found !== undefined && found.slab === slab && found.from <= offset ? low : -1;
}

/** A rectangle of the whole picture. */
export interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Where bytes of a slab lie: a rectangle a row, at most `most`. At least a pixel wide. */
export function locate(geometry: Geometry, slab: number, offset: number, bytes: number, most: number): Rect[] {
  const out: Rect[] = [];
  const first = segmentAt(geometry, slab, offset);
  if (first < 0) return out;
  const end = offset + bytes;
  for (let i = first; i < geometry.segments.length && out.length < most; i++) {
    const segment = geometry.segments[i] as Segment;
    if (segment.slab !== slab || (segment.from >= end && out.length > 0)) break;
    const left = Math.round((Math.max(offset, segment.from) - segment.from) / geometry.bytesPerPixel);
    const right = Math.round((Math.min(end, segment.to) - segment.from) / geometry.bytesPerPixel);
    out.push({
      x: segment.x + Math.min(left, segment.width - 1),
      y: segment.row * geometry.pitch,
      width: Math.max(1, Math.min(right, segment.width) - left),
      height: geometry.height,
    });
  }
  return out;
}
