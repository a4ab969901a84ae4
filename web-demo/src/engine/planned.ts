/**
 * Blocks where a plan has them, as rectangles: time across, addresses up. No two meet, so a block is one rectangle from its request until it is over.
 *
 * ```text
 *   ┌───────────┐┌──────┐
 *   │     b     ││  d   │      what is thinner than a cell of the grid, either way, is merged into it: a cell has the colour
 *   └───────────┘└──────┘      of most of what lies in it
 *   ┌────┐┌───────────┐
 *   │ a  ││     c     │
 * ```
 * Pure arithmetic, in device pixels from the top left, as `over_time.ts`; merged cells come first, so that blocks lie above them.
 *
 * Cost: O(blocks + cells); cells become larger where a picture would have more than `MOST_RECTS` rectangles.
 */
import type { OverTime, OverTimeView } from "../model";
import { style } from "../view/palette";
import type { Lives } from "./lives";
import { byStyle, colours, MERGED, MOST_RECTS } from "./over_time";
import { endOf, type Placement } from "./placement";

/** A block at least so high, in pixels, is kept apart from the one above by a pixel. */
const APART = 4;
/** The largest cell, in pixels. */
const LARGEST = 64;
/** Cells that merged blocks may touch, about: beyond, they are coarser. */
const MOST_TOUCHED = 24e6;

/** The picture of a view. */
export function plannedPicture(lives: Lives, placement: Placement, view: OverTimeView): OverTime {
  for (let cell = 1; ; cell *= 2) {
    const words = drawn(lives, placement, view, cell);
    if (words === null && cell < LARGEST) continue;
    const [from, to] = spanOf(lives, view);
    const { low, width, height } = view;
    return { words: words ?? new Uint32Array(0), from, to, low, high: topOf(placement, view), width, height, columns: Math.ceil(width / cell) };
  }
}

const spanOf = (lives: Lives, view: OverTimeView): [number, number] => [Math.max(0, view.from), Math.min(lives.events + 1, view.to)];
const topOf = (placement: Placement, view: OverTimeView) => view.high ?? Math.max(1, placement.bytes * 1.02);

/** Null where it is too much for cells of that size. */
function drawn(lives: Lives, placement: Placement, view: OverTimeView, cell: number): Uint32Array | null {
  const { width, height, low } = view;
  const [from, to] = spanOf(lives, view);
  const perEvent = width / Math.max(1e-9, to - from);
  const perByte = height / Math.max(1e-9, topOf(placement, view) - low);
  const colour = colours(lives, view.by);
  const { mask } = lives;
  const own = new Rects();
  const grid = new Grid(Math.ceil(width / cell), Math.ceil(height / cell));
  const last = cell >= LARGEST;
  for (let row = 0; row < lives.count; row++) {
    const offset = placement.offset[row] as number;
    if (offset < 0) continue;
    const left = ((lives.from[row] as number) - from) * perEvent;
    const right = (endOf(lives, row) - from) * perEvent;
    const bottom = height - (offset - low) * perByte;
    const top = bottom - (placement.size[row] as number) * perByte;
    if (right <= 0 || left >= width || bottom <= 0 || top >= height) continue;
    const [x0, x1] = [Math.max(0, Math.round(left)), Math.min(width, Math.round(right))];
    const [y0, y1] = [Math.max(0, Math.round(top)), Math.min(height, Math.round(bottom))];
    const dim = mask !== null && mask[row] !== 1;
    if (right - left >= cell && bottom - top >= cell && x1 > x0 && y1 > y0) {
      const tall = y1 - y0;
      own.add(x0, y0, x1 - x0, tall >= APART ? tall - 1 : tall, style(colour(row), 0, dim), row);
      if (own.count > MOST_RECTS && !last) return null;
    } else {
      grid.cover(Math.max(0, left) / cell, Math.min(width, right) / cell, Math.max(0, top) / cell, Math.min(height, bottom) / cell, colour(row), dim);
      if (grid.touched > MOST_TOUCHED && !last) return null;
    }
  }
  const merged = new Rects();
  grid.runs((x, y, cells, styled) => merged.add(x * cell, y * cell, Math.min(cells * cell, width - x * cell), Math.min(cell, height - y * cell), styled, MERGED));
  if (merged.count + own.count > MOST_RECTS && !last) return null;
  const words = new Uint32Array(merged.length + own.length);
  words.set(byStyle(merged.words.subarray(0, merged.length)));
  words.set(byStyle(own.words.subarray(0, own.length)), merged.length);
  return words;
}

/** Which colour has most of a cell, and whether something in it is kept. */
class Grid {
  readonly #columns: number;
  readonly #colour: Uint8Array;
  readonly #lead: Float32Array;
  /** 0: nothing is there; 1: all of it is dimmed; 2: some is kept. */
  readonly #there: Uint8Array;
  touched = 0;

  constructor(columns: number, rows: number) {
    this.#columns = columns;
    this.#colour = new Uint8Array(columns * rows);
    this.#lead = new Float32Array(columns * rows);
    this.#there = new Uint8Array(columns * rows);
  }

  /** A block lies on these cells, of which it may cover parts. */
  cover(left: number, right: number, top: number, bottom: number, colour: number, dim: boolean): void {
    const columns = this.#columns;
    const there = dim ? 1 : 2;
    const [x0, x1] = [Math.floor(left), Math.min(columns, Math.max(Math.ceil(right), Math.floor(left) + 1))];
    const [y0, y1] = [Math.floor(top), Math.min(this.#there.length / columns, Math.max(Math.ceil(bottom), Math.floor(top) + 1))];
    this.touched += Math.max(0, x1 - x0) * Math.max(0, y1 - y0);
    for (let y = y0; y < y1; y++) {
      const high = Math.min(bottom, y + 1) - Math.max(top, y);
      for (let x = x0; x < x1; x++) {
        const at = y * columns + x;
        const area = high * (Math.min(right, x + 1) - Math.max(left, x));
        // Whoever has more than all others together leads in the end.
        const lead = (this.#lead[at] as number) + (this.#colour[at] === colour ? area : -area);
        this.#lead[at] = Math.abs(lead);
        if (lead < 0) this.#colour[at] = colour;
        if (there > (this.#there[at] as number)) this.#there[at] = there;
      }
    }
  }

  /** Cells side by side that look alike. */
  runs(out: (x: number, y: number, cells: number, styled: number) => void): void {
    const columns = this.#columns;
    for (let start = 0; start < this.#there.length; ) {
      const there = this.#there[start] as number;
      const colour = this.#colour[start] as number;
      const edge = start - (start % columns) + columns;
      let end = start + 1;
      while (end < edge && this.#there[end] === there && (there === 0 || this.#colour[end] === colour)) end++;
      if (there > 0) out(start % columns, Math.floor(start / columns), end - start, style(colour, 0, there === 1));
      start = end;
    }
  }
}

/** Rectangles, four words each. */
class Rects {
  words = new Uint32Array(4096);
  length = 0;

  get count(): number {
    return this.length / 4;
  }

  add(x: number, y: number, width: number, height: number, styled: number, row: number): void {
    if (this.length + 4 > this.words.length) {
      const more = new Uint32Array(this.words.length * 2);
      more.set(this.words);
      this.words = more;
    }
    this.words[this.length] = x | (y << 16);
    this.words[this.length + 1] = width | (height << 16);
    this.words[this.length + 2] = styled;
    this.words[this.length + 3] = row;
    this.length += 4;
  }
}
