/**
 * Blocks over time as rectangles: time across, bytes up. A block lies on those that were allocated before it, and steps down as they go.
 *
 * ```text
 *        ┌───────┐                        every column shows one instant: of the events that share a pixel
 *    ┌───┤ c     └──┐                     the one with most bytes, so that no peak is lost
 *    │ b └──┐       └─────
 *    ├──────┤ steps down as b goes        what is thinner than a pixel is merged with its neighbours
 *    │ a    └─────────────
 * ```
 * What is merged has the colour of most of its bytes, and is no thinner than two pixels where colours change.
 *
 * Pure arithmetic over columns, in device pixels from the top left; the fourth word of a rectangle is its block, or `MERGED`.
 *
 * Cost: O(blocks + events in view + columns · live blocks); columns become wider where that would be more than `MOST_STEPS`.
 */
import type { OverTime, OverTimeView } from "../model";
import { STREAM_COLOUR, STREAM_COLOURS, style } from "../view/palette";
import type { Lives } from "./lives";

/** A rectangle of several blocks. */
export const MERGED = 0xffffffff;
/** Blocks that are visited for one picture at most, about. */
const MOST_STEPS = 24e6;
/** Rectangles of a picture, about: a browser without WebGPU draws each by itself. */
export const MOST_RECTS = 100_000;
/** What is merged is at least so high where its neighbours have another colour, in pixels. */
const THIN = 2;
/** A block at least so high is kept apart from the one above by a pixel. */
const APART = 4;

/** Columns of a view: where each begins, in pixels, and which instant it shows. */
export function columnsOf(lives: Lives, from: number, to: number, width: number, least = 1): { x: Uint32Array; event: Uint32Array; count: number } {
  const sums = lives.allocated;
  const span = Math.max(1e-9, to - from);
  const most = Math.max(1, Math.floor(width / least));
  const x = new Uint32Array(most + 2);
  const event = new Uint32Array(most + 2);
  let count = 0;
  const last = lives.events;
  if (span <= most) {
    // Every event has room: it lasts until the next.
    for (let e = Math.max(0, Math.floor(from)); e <= last && e < to; e++) {
      x[count] = Math.max(0, Math.round(((e - from) / span) * width));
      event[count++] = e;
    }
  } else {
    for (let column = 0; column < most; column++) {
      const first = Math.max(0, Math.floor(from + (column / most) * span));
      const end = Math.min(last + 1, Math.max(first + 1, Math.floor(from + ((column + 1) / most) * span)));
      if (first > last) break;
      let best = first;
      for (let e = first + 1; e < end; e++) if ((sums[e] as number) > (sums[best] as number)) best = e;
      x[count] = Math.round((column / most) * width);
      event[count++] = best;
    }
  }
  x[count] = Math.min(width, Math.round(((last + 1 - from) / span) * width));
  return { x, event, count };
}

/** Live blocks in the order of their allocations, while time goes on. */
class Stack {
  readonly next: Int32Array;
  readonly #previous: Int32Array;
  readonly #lives: Lives;
  /** The first row that is not in yet, and the first end that is not taken out yet. */
  #row = 0;
  #end = 0;
  size = 0;

  constructor(lives: Lives) {
    this.#lives = lives;
    // Entry `count` is the ring's own.
    this.next = new Int32Array(lives.count + 1).fill(-1);
    this.#previous = new Int32Array(lives.count + 1).fill(-1);
    this.next[lives.count] = this.#previous[lives.count] = lives.count;
  }

  /** To an event that is not before the last one. */
  to(event: number): void {
    const { count, from, retired, ending } = this.#lives;
    const ring = count;
    while (this.#row < count && (from[this.#row] as number) <= event) {
      const row = this.#row++;
      if ((retired[row] as number) <= event) continue;
      const before = this.#previous[ring] as number;
      this.next[before] = row;
      this.#previous[row] = before;
      this.next[row] = ring;
      this.#previous[ring] = row;
      this.size++;
    }
    while (this.#end < ending.length) {
      const row = ending[this.#end] as number;
      if ((retired[row] as number) > event) break;
      this.#end++;
      // What came and went between two instants was never in.
      if ((this.next[row] as number) < 0) continue;
      const [before, after] = [this.#previous[row] as number, this.next[row] as number];
      this.next[before] = after;
      this.#previous[after] = before;
      this.next[row] = this.#previous[row] = -1;
      this.size--;
    }
  }

  get first(): number {
    return this.next[this.#lives.count] as number;
  }
}

/** Colours blocks: those of a line, or a stream, are alike. */
export function colours(lives: Lives, by: OverTimeView["by"]): (row: number) => number {
  if (by === "stream") return (row) => STREAM_COLOUR + ((lives.stream[row] as number) % STREAM_COLOURS);
  const spread = (n: number) => STREAM_COLOUR + ((Math.imul(n + 1, 0x9e3779b1) >>> 16) % STREAM_COLOURS);
  // Lines are few: neighbours in the file's own order differ.
  return lives.hasStacks ? (row) => STREAM_COLOUR + (lives.key(row) % STREAM_COLOURS) : spread;
}

/** The picture of a view: with wider columns where it would have more than `MOST_RECTS` rectangles. */
export function overTime(lives: Lives, view: OverTimeView): OverTime {
  const picture = drawn(lives, view, 1);
  const rects = picture.words.length / 4;
  return rects <= MOST_RECTS ? picture : drawn(lives, view, Math.ceil(rects / MOST_RECTS));
}

function drawn(lives: Lives, view: OverTimeView, wide: number): OverTime {
  const { width, height } = view;
  const [from, to] = [Math.max(0, view.from), Math.min(lives.events + 1, view.to)];
  let { x, event, count } = columnsOf(lives, from, to, width);
  let most = 0;
  for (let i = 0; i < count; i++) most = Math.max(most, lives.allocated[event[i] as number] as number);
  const low = view.low;
  const high = view.high ?? Math.max(1, most * 1.02);
  const perByte = height / Math.max(1e-9, high - low);
  const stack = new Stack(lives);
  if (count > 0) stack.to(event[0] as number);
  // A guess from where it begins and where most is: blocks that live at once are not known before.
  const middle = count > 0 ? liveAt(lives, event[count >> 1] as number) : 0;
  const least = Math.max(wide, Math.ceil((count * Math.max(stack.size, middle)) / MOST_STEPS));
  if (least > 1) ({ x, event, count } = columnsOf(lives, from, to, width, least));
  const colour = colours(lives, view.by);
  const { mask } = lives;
  const out = new Rects(height);
  const { next } = stack;
  for (let column = 0; column < count; column++) {
    const left = x[column] as number;
    const right = x[column + 1] as number;
    if (column > 0 || least > 1) stack.to(event[column] as number);
    if (right <= left) continue;
    out.column(left, right);
    let bottom = 0;
    // Of blocks that are merged: where they begin, the colour of most bytes and by how much, and whether one of them is kept.
    let [run, runColour, lead, runKept] = [-1, 0, 0, false];
    const flush = (top: number) => {
      if (run < 0) return;
      out.add(height - (top - low) * perByte, height - (run - low) * perByte, style(runColour, 0, !runKept), MERGED, false);
      run = -1;
    };
    for (let row = stack.first; row !== lives.count; row = next[row] as number) {
      const size = lives.bytes[row] as number;
      const top = bottom + size;
      const kept = mask === null || mask[row] === 1;
      if (top > low && bottom < high) {
        if (size * perByte < 1) {
          const own = colour(row);
          if (run >= 0 && (own !== runColour || kept !== runKept) && (bottom - run) * perByte >= THIN) flush(bottom);
          if (run < 0) [run, runColour, lead, runKept] = [bottom, own, 0, kept];
          lead += own === runColour ? size : -size;
          if (lead < 0) [runColour, lead] = [own, -lead];
          runKept ||= kept;
        } else {
          flush(bottom);
          out.add(height - (top - low) * perByte, height - (bottom - low) * perByte, style(colour(row), 0, !kept), row, true);
        }
      }
      bottom = top;
    }
    flush(bottom);
  }
  return { words: byStyle(out.words.subarray(0, out.length)), from, to, low, high, width, height, columns: count };
}

/** Rectangles of a style together: a canvas changes its colour seldom then. None lies on another. */
export function byStyle(words: Uint32Array): Uint32Array {
  const starts = new Map<number, number>();
  for (let i = 2; i < words.length; i += 4) starts.set(words[i] as number, (starts.get(words[i] as number) ?? 0) + 4);
  let end = 0;
  for (const [styled, length] of starts) {
    starts.set(styled, end);
    end += length;
  }
  const out = new Uint32Array(words.length);
  for (let i = 0; i < words.length; i += 4) {
    const at = starts.get(words[i + 2] as number) as number;
    starts.set(words[i + 2] as number, at + 4);
    for (let word = 0; word < 4; word++) out[at + word] = words[i + word] as number;
  }
  return out;
}

function liveAt(lives: Lives, event: number): number {
  let live = 0;
  const end = lives.firstFrom(event + 1);
  for (let row = 0; row < end; row++) live += Number((lives.retired[row] as number) > event);
  return live;
}

/** Rectangles; one that goes on in the next column grows. */
class Rects {
  words = new Uint32Array(4096);
  length = 0;
  readonly #height: number;
  /** By its top, the rectangle that ended at the last column. */
  #before: Int32Array;
  #now: Int32Array;
  #left = 0;
  #right = 0;

  constructor(height: number) {
    this.#height = height;
    this.#before = new Int32Array(height + 1).fill(-1);
    this.#now = new Int32Array(height + 1).fill(-1);
  }

  column(left: number, right: number): void {
    const spare = this.#before;
    this.#before = this.#now;
    this.#now = spare.fill(-1);
    this.#left = left;
    this.#right = right;
  }

  add(y0: number, y1: number, styled: number, row: number, apart: boolean): void {
    const top = Math.max(0, Math.round(y0));
    let tall = Math.min(this.#height, Math.round(y1)) - top;
    if (apart && tall >= APART) tall--;
    if (tall <= 0) return;
    const { words } = this;
    const known = this.#before[top] as number;
    if (
      known >= 0 &&
      (words[known + 1] as number) >>> 16 === tall &&
      words[known + 2] === styled &&
      words[known + 3] === row &&
      ((words[known] as number) & 0xffff) + ((words[known + 1] as number) & 0xffff) === this.#left
    ) {
      words[known + 1] = (this.#right - ((words[known] as number) & 0xffff)) | (tall << 16);
      this.#now[top] = known;
      return;
    }
    if (this.length + 4 > words.length) {
      const more = new Uint32Array(words.length * 2);
      more.set(words);
      this.words = more;
    }
    this.words[this.length] = this.#left | (top << 16);
    this.words[this.length + 1] = (this.#right - this.#left) | (tall << 16);
    this.words[this.length + 2] = styled;
    this.words[this.length + 3] = row;
    this.#now[top] = this.length;
    this.length += 4;
  }
}
