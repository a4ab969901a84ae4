/**
 * Blocks to rectangles: pure, in device pixels.
 *
 * ```text
 *   blocks   ▐██████▌▐░░░▌▐█▌▌▌▌▌▌▌▌▌▌▌▐████████▌
 *                          └ thinner than two pixels: merged
 *   column   ┌─┐  live   ▇▇      a merged column is stacked by kind, in proportion to the bytes that lie in it;
 *            ├─┤  clean  ▂▂      what is there at all gets at least a pixel
 *            └─┘
 * ```
 * So a row of thin blocks shows how full it is instead of the colour of whichever block was drawn last.
 *
 * Cost: O(blocks in the rows shown + pixels), no allocation.
 */
import type { Frame } from "../model.ts";
import type { Instances } from "./instances.ts";
import type { Geometry, Segment } from "./layout.ts";
import { GROUND_COLOUR, GROUND_PATTERN, KINDS, Kind, MIXED_COLOUR, streamColour, style } from "./palette.ts";

/** How blocks are painted. */
export interface Look {
  by: "state" | "stream";
  /** Blocks that are not to be dimmed; null dims none. */
  keep: ((block: number) => boolean) | null;
}

/** Thinner blocks are merged, in device pixels. */
export const THIN = 2;
/** A block at least this wide is kept apart from its neighbour by a pixel. */
const APART = 4;

const GROUND = style(GROUND_COLOUR, GROUND_PATTERN, false);

/** Nothing of a kind was seen in a column, or several streams were. */
const [NOBODY, SEVERAL] = [-2, -1];

/** Paints rows `first .. end` of a picture so that row `first` lies at the top. */
export function paint(frame: Frame, starts: Uint32Array, geometry: Geometry, first: number, end: number, look: Look, out: Instances): void {
  const column = new Column(frame, look);
  out.fill(end - first, (into) => {
    for (let row = first; row < end; row++) {
      into.open(row - first);
      for (let i = geometry.rowStart[row] as number; i < (geometry.rowStart[row + 1] as number); i++) {
        const segment = geometry.segments[i] as Segment;
        paintSegment(frame, starts, geometry, segment, (row - first) * geometry.pitch, look, column, into);
      }
    }
  });
}

function paintSegment(
  frame: Frame,
  starts: Uint32Array,
  geometry: Geometry,
  segment: Segment,
  top: number,
  look: Look,
  column: Column,
  out: Instances,
): void {
  const { blocks } = frame;
  const { height, bytesPerPixel } = geometry;
  const perByte = 1 / bytesPerPixel;
  out.add(segment.x, top, segment.width, height, GROUND);
  const end = starts[segment.slab + 1] as number;
  let i = firstAfter(blocks.offset, blocks.bytes, starts[segment.slab] as number, end, segment.from);
  const { offset, bytes, requested, state, stream } = blocks;
  const right = segment.x + segment.width;
  // The end of the last merged column, so that two runs never share one.
  let merged = segment.x;
  while (i < end && (offset[i] as number) < segment.to) {
    const from = (offset[i] as number) - segment.from;
    const [x0, x1] = [from * perByte, (from + (bytes[i] as number)) * perByte];
    if (x1 - x0 >= THIN) {
      // What was merged before it keeps its pixel.
      const left = Math.max(merged, segment.x + Math.round(x0));
      const until = Math.min(right, segment.x + Math.round(x1));
      if (until > left) {
        const kind = state[i] as number;
        const dim = look.keep !== null && !look.keep(i);
        const colour = look.by === "state" ? kind : streamColour(stream[i] as number);
        const width = until - left >= APART && x1 < segment.width + 0.5 ? until - left - 1 : until - left;
        let used = width;
        if (kind === Kind.Live && (requested[i] as number) < (bytes[i] as number)) {
          const stop = segment.x + Math.round((from + (requested[i] as number)) * perByte);
          used = Math.min(width, Math.max(0, stop - left));
          if (used < width) {
            const padding = look.by === "state" ? Kind.Padding : colour;
            out.add(left + used, top, width - used, height, style(padding, Kind.Padding, dim));
          }
        }
        if (used > 0) out.add(left, top, used, height, style(colour, kind, dim));
      }
      i++;
      continue;
    }
    // A run of thin blocks, column by column.
    const start = Math.max(merged, segment.x + Math.floor(x0));
    let x = Math.min(start, right - 1);
    column.begin(x, top, height);
    let reach = x;
    while (i < end && (offset[i] as number) < segment.to) {
      const begin = (offset[i] as number) - segment.from;
      const size = bytes[i] as number;
      if (size * perByte >= THIN) break;
      const stop = segment.x + (begin + size) * perByte;
      const at = Math.min(right - 1, Math.max(x, segment.x + Math.floor(begin * perByte)));
      if (at > x) {
        column.next(at, out);
        x = at;
      }
      column.put(i, size);
      // A block that reaches into the next column shows there too.
      const into = Math.min(right - 1, Math.ceil(stop) - 1);
      if (into > x) {
        column.next(into, out);
        x = into;
        column.put(i, Math.max(1, (stop - into) * bytesPerPixel));
      }
      reach = x + 1;
      i++;
    }
    column.end(reach, out);
    merged = reach;
  }
}

/** The first block that ends beyond byte `from`. O(log blocks). */
function firstAfter(offset: Float64Array, bytes: Float64Array, low: number, high: number, from: number): number {
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((offset[middle] as number) + (bytes[middle] as number) <= from) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Order of kinds in a merged column, from the bottom. */
const STACK = [Kind.Live, Kind.Padding, Kind.Tainted, Kind.Pending, Kind.Clean] as const;

/** The merged column that is being summed up; alike neighbours become one rectangle. */
class Column {
  private readonly state: Uint8Array;
  private readonly stream: Int32Array;
  private readonly requested: Float64Array;
  private readonly bytes: Float64Array;
  private readonly sums = new Float64Array(KINDS);
  /** Looked at only where colours are those of streams. */
  private readonly streams = new Int32Array(KINDS);
  private readonly byStream: boolean;
  private kept = false;
  private x = 0;
  private top = 0;
  private height = 0;
  /** The pending rectangle of columns that hold one kind alone. */
  private plainStyle = -1;
  private plainFrom = 0;

  constructor(
    { blocks }: Frame,
    private readonly look: Look,
  ) {
    this.state = blocks.state;
    this.stream = blocks.stream;
    this.requested = blocks.requested;
    this.bytes = blocks.bytes;
    this.byStream = look.by === "stream";
  }

  begin(x: number, top: number, height: number): void {
    this.x = x;
    this.top = top;
    this.height = height;
    this.plainStyle = -1;
    this.clear();
  }

  /** Adds bytes of a block. */
  put(block: number, size: number): void {
    const kind = this.state[block] as number;
    let whole = size;
    if (kind === Kind.Live) {
      const asked = this.requested[block] as number;
      const bytes = this.bytes[block] as number;
      if (asked < bytes) {
        const padding = size * (1 - asked / bytes);
        this.sums[Kind.Padding] = (this.sums[Kind.Padding] as number) + padding;
        if (this.byStream) this.see(Kind.Padding, this.stream[block] as number);
        whole -= padding;
      }
    }
    this.sums[kind] = (this.sums[kind] as number) + whole;
    if (this.byStream) this.see(kind, this.stream[block] as number);
    if (!this.kept) this.kept = this.look.keep === null || this.look.keep(block);
  }

  /** The column is complete; the next one with anything in it is `x`. */
  next(x: number, out: Instances): void {
    this.flush(x, out);
    this.x = x;
    this.clear();
  }

  /** The run is complete and ends before `x`. */
  end(x: number, out: Instances): void {
    this.flush(x, out);
    this.settle(x, out);
  }

  private see(kind: number, stream: number): void {
    const seen = this.streams[kind] as number;
    this.streams[kind] = seen === NOBODY || seen === stream ? stream : SEVERAL;
  }

  private clear(): void {
    // A call of `fill` costs more than these few elements, and there is a column for every few blocks.
    for (let kind = 0; kind < KINDS; kind++) this.sums[kind] = 0;
    if (this.byStream) for (let kind = 0; kind < KINDS; kind++) this.streams[kind] = NOBODY;
    this.kept = false;
  }

  private styled(kind: number): number {
    if (!this.byStream) return style(kind, kind, !this.kept);
    const seen = this.streams[kind] as number;
    return style(seen < 0 ? MIXED_COLOUR : streamColour(seen), kind, !this.kept);
  }

  /** Columns `this.x .. end` are alike: a column between two blocks belongs to the one before. */
  private flush(end: number, out: Instances): void {
    let total = 0;
    let kinds = 0;
    let only = 0;
    for (let kind = 0; kind < KINDS; kind++) {
      if ((this.sums[kind] as number) > 0) {
        total += this.sums[kind] as number;
        kinds++;
        only = kind;
      }
    }
    if (kinds === 0 || end <= this.x) return;
    if (kinds === 1) {
      const styled = this.styled(only);
      if (this.plainStyle !== styled) {
        this.settle(this.x, out);
        this.plainStyle = styled;
        this.plainFrom = this.x;
      }
      return;
    }
    this.settle(this.x, out);
    // From the bottom, each kind up to its share of what is left, at least a pixel while there are any.
    let bottom = this.top + this.height;
    let left = this.height;
    for (const kind of STACK) {
      const sum = this.sums[kind] as number;
      if (sum <= 0 || left <= 0) continue;
      kinds--;
      const share = kinds === 0 ? left : Math.max(1, Math.min(left - kinds, Math.round((left * sum) / total)));
      total -= sum;
      bottom -= share;
      left -= share;
      out.add(this.x, bottom, end - this.x, share, this.styled(kind));
    }
  }

  private settle(x: number, out: Instances): void {
    if (this.plainStyle >= 0 && x > this.plainFrom) {
      out.add(this.plainFrom, this.top, x - this.plainFrom, this.height, this.plainStyle);
    }
    this.plainStyle = -1;
  }
}
