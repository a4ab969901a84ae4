/**
 * The rectangles of a picture as one array for one draw, and which parts of it changed.
 *
 * ```text
 *   row 0 ▏r r r r · · · ·▏ row 1 ▏r r · ·▏ row 2 ▏r r r r r r · ·▏      · width 0: draws nothing
 * ```
 * Every row of the picture has a region of its own with room to spare: a block that appears moves what stands in its row, and
 * nothing else, so that only changed ranges go to the GPU. Four words a rectangle: x | y << 16, width | height << 16, style, 0;
 * all in device pixels.
 *
 * Cost: O(rectangles) a picture, no allocation once the regions are large enough.
 */
export const WORDS = 4;

/** Rectangles that a region has at least. */
const LEAST = 32;

export class Instances {
  /** All regions. */
  words: Uint32Array = new Uint32Array(0);
  /** Rectangles to draw, those of width 0 included. */
  total = 0;
  /** Rectangles that show something. */
  shown = 0;
  /** Changed since the last `clean`: pairs of first and end, in rectangles. */
  readonly dirty: number[] = [];
  /** The array is another one than at the last `clean`. */
  replaced = false;

  private start: number[] = [];
  private counts: number[] = [];
  private row: Uint32Array = new Uint32Array(256 * WORDS);
  private filled = 0;
  private current = 0;
  private overflow = false;

  /** Writes a picture: `write` opens rows 0 to `rows - 1` in order and adds rectangles. It is called again if a region was too small. */
  fill(rows: number, write: (out: Instances) => void): void {
    if (rows + 1 !== this.start.length) this.reserve(new Array<number>(rows).fill(0));
    for (;;) {
      this.overflow = false;
      this.shown = 0;
      this.current = -1;
      write(this);
      if (this.current >= 0) this.close();
      for (let row = this.current + 1; row < rows; row++) {
        this.current = row;
        this.filled = 0;
        this.close();
      }
      if (!this.overflow) return;
      this.reserve(this.counts);
    }
  }

  /** Takes over a picture that was made elsewhere: four words a rectangle. */
  take(words: Uint32Array): void {
    this.words = words;
    this.total = this.shown = words.length / WORDS;
    this.start = [];
    this.counts = [];
    this.dirty.length = 0;
    if (this.total > 0) this.dirty.push(0, this.total);
    this.replaced = true;
  }

  /** Begins row `row`; rows between the last one and this are empty. */
  open(row: number): void {
    if (this.current >= 0) this.close();
    for (let between = this.current + 1; between < row; between++) {
      this.current = between;
      this.filled = 0;
      this.close();
    }
    this.current = row;
    this.filled = 0;
  }

  /** Adds a rectangle to the open row. Later ones lie above earlier ones. */
  add(x: number, y: number, width: number, height: number, style: number): void {
    const at = this.filled * WORDS;
    if (at === this.row.length) {
      const more = new Uint32Array(this.row.length * 2);
      more.set(this.row);
      this.row = more;
    }
    this.row[at] = x | (y << 16);
    this.row[at + 1] = width | (height << 16);
    this.row[at + 2] = style;
    this.filled++;
  }

  /** Forgets what changed: it was uploaded. */
  clean(): void {
    this.dirty.length = 0;
    this.replaced = false;
  }

  /** Compares the row with its region and takes over what differs. */
  private close(): void {
    const row = this.current;
    const count = this.filled;
    const first = this.start[row] ?? 0;
    const capacity = (this.start[row + 1] ?? first) - first;
    this.shown += count;
    if (count > capacity) {
      this.overflow = true;
      this.counts[row] = count;
      return;
    }
    const before = this.counts[row] ?? 0;
    this.counts[row] = count;
    const { words, row: fresh } = this;
    const base = first * WORDS;
    const length = count * WORDS;
    let low = 0;
    while (low < length && words[base + low] === fresh[low]) low++;
    let high = length;
    while (high > low && words[base + high - 1] === fresh[high - 1]) high--;
    for (let i = low; i < high; i++) words[base + i] = fresh[i] as number;
    let from = Math.floor(low / WORDS);
    let to = Math.ceil(high / WORDS);
    if (before > count) {
      words.fill(0, base + length, base + before * WORDS);
      from = high > low ? from : count;
      to = before;
    }
    if (to > from) this.mark(first + from, first + to);
  }

  private mark(from: number, to: number): void {
    // All of a new array is dirty already.
    if (this.replaced) return;
    const { dirty } = this;
    const end = dirty[dirty.length - 1];
    // A few rectangles too many are cheaper than another call.
    if (end !== undefined && from >= end && from - end < 64) dirty[dirty.length - 1] = to;
    else dirty.push(from, to);
  }

  private reserve(counts: number[]): void {
    this.start = [0];
    let end = 0;
    for (const count of counts) {
      end += Math.max(LEAST, 2 ** Math.ceil(Math.log2(count * 1.25 + 1)));
      this.start.push(end);
    }
    this.counts = new Array<number>(counts.length).fill(0);
    this.words = new Uint32Array(end * WORDS);
    this.total = end;
    this.dirty.length = 0;
    this.dirty.push(0, end);
    this.replaced = true;
  }
}
