/** Blocks where a plan has them: the picture against the blocks' own numbers, and a snapshot's trace beside its recorded run. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { rowsOf } from "../../src/engine/joined";
import { Lives, NEVER } from "../../src/engine/lives";
import { MERGED, MOST_RECTS } from "../../src/engine/over_time";
import { Placement } from "../../src/engine/placement";
import { plannedPicture } from "../../src/engine/planned";
import { State, type Frame, type OverTimeView, type Plan } from "../../src/model";
import { arrange } from "../../src/view/layout";
import { STYLE_DIM } from "../../src/view/palette";
import { overText } from "../../src/view/plan";
import { drawPlan } from "../../src/view/plan_marks";
import { rectAt, rectOf } from "../../src/view/window";

interface Block {
  from: number;
  over: number;
  bytes: number;
  offset: number;
  stack?: number;
}

/** As `replay/src/lives.rs` packs them. */
function livesOf(blocks: readonly Block[], events: number): Lives {
  const n = blocks.length;
  const out = new Uint8Array(16 + 44 * n);
  new Uint32Array(out.buffer, 0, 2).set([0x31424c53, n]);
  [blocks.map((b) => b.bytes), blocks.map((b) => b.bytes), blocks.map((b) => 4096 + b.offset)].forEach((column, i) => new Float64Array(out.buffer, 16 + 8 * n * i, n).set(column));
  [blocks.map((b) => b.from), blocks.map((b) => b.over), blocks.map((b) => b.over), blocks.map(() => 0), blocks.map((b) => b.stack ?? 0)].forEach((column, i) =>
    new Uint32Array(out.buffer, 16 + 24 * n + 4 * n * i, n).set(column),
  );
  return new Lives(out, events, null);
}

function planOf(blocks: readonly Block[], events: number): Plan {
  const bytes = Math.max(...blocks.map((b) => b.offset + b.bytes));
  return {
    ...{ bytes, bound: bytes, blocks: blocks.length, optimal: true, waits: 0, seconds: 0, file: new Uint8Array() },
    offset: Float64Array.from(blocks, (b) => b.offset),
    size: Float64Array.from(blocks, (b) => b.bytes),
    lower: Uint32Array.from(blocks, (b) => b.from - 1),
    upper: Uint32Array.from(blocks, (b) => (b.over === NEVER ? events : b.over - 1)),
    line: Uint32Array.from(blocks, (b) => b.from),
  };
}

/** Blocks on shelves: no two share a byte at a time; those of a shelf are of one height, one after the other. */
function shelves(events: number, heights: readonly number[], least: number, most: number): Block[] {
  let seed = 3;
  const random = () => ((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32);
  const all: Block[] = [];
  let offset = 0;
  for (const bytes of heights) {
    for (let from = 1; from < events; ) {
      const over = from + least + Math.floor(random() * (most - least));
      all.push({ from, over: over > events ? NEVER : over, bytes, offset });
      from = over + Math.floor(random() * least);
    }
    offset += bytes;
  }
  // Each event requests one block at most.
  const taken = new Set<number>();
  return all.sort((a, b) => a.from - b.from).filter(({ from }) => !taken.has(from) && taken.add(from));
}

const VIEW: OverTimeView = { from: 0, to: 1001, low: 0, high: null, width: 400, height: 200, by: "line" };

test("a block that has room is one rectangle where the plan has it; what has none is merged where it is", () => {
  const blocks = shelves(1000, [4000, 30, 9000, 20, 10, 6000, 700], 2, 160);
  const lives = livesOf(blocks, 1000);
  const plan = planOf(blocks, 1000);
  for (const view of [VIEW, { ...VIEW, from: 200, to: 430, low: 3000, high: 14_000 }]) {
    const placement = new Placement(lives, plan, false);
    assert.deepEqual(placement.placed, { placed: blocks.length, others: 0 });
    const picture = plannedPicture(lives, placement, view);
    const perEvent = view.width / (picture.to - picture.from);
    const perByte = view.height / (picture.high - picture.low);
    const drawn = new Map<number, number[]>();
    for (let i = 0; i < picture.words.length; i += 4) {
      const [place, size, , row] = picture.words.subarray(i, i + 4) as unknown as [number, number, number, number];
      assert.ok((place & 0xffff) + (size & 0xffff) <= view.width && (place >>> 16) + (size >>> 16) <= view.height);
      if (row === MERGED) continue;
      assert.ok(!drawn.has(row), "once");
      drawn.set(row, [place & 0xffff, place >>> 16, size & 0xffff, size >>> 16]);
    }
    let [own, merged] = [0, 0];
    blocks.forEach((block, row) => {
      const end = Math.min(block.over, 1001);
      const left = (block.from - picture.from) * perEvent;
      const right = (end - picture.from) * perEvent;
      const bottom = view.height - (block.offset - picture.low) * perByte;
      const top = bottom - block.bytes * perByte;
      const seen = right > 0 && left < view.width && bottom > 0 && top < view.height;
      const rect = drawn.get(row);
      if (rect !== undefined) {
        own++;
        assert.ok(seen && right - left >= 1 && bottom - top >= 1);
        assert.ok(Math.abs((rect[0] as number) - Math.max(0, left)) <= 0.5 && Math.abs((rect[1] as number) - Math.max(0, top)) <= 0.5);
        assert.ok(Math.abs((rect[0] as number) + (rect[2] as number) - Math.min(view.width, right)) <= 0.5);
        return;
      }
      if (!seen) return;
      merged++;
      const [x, y] = [(Math.max(0, left) + Math.min(view.width, right)) / 2, (Math.max(0, top) + Math.min(view.height, bottom)) / 2];
      assert.ok(rectAt(picture.words, Math.min(x, view.width - 1), Math.min(y, view.height - 1)) >= 0, `block ${row} at ${x} ${y}`);
    });
    assert.ok(own > (view === VIEW ? 30 : 5) && (merged > 5 || view !== VIEW), `${own} ${merged}`);
  }
});

test("a filter dims, the outline is where the block is, and what is hit is the block above merged ones", () => {
  const blocks: Block[] = [{ from: 1, over: 500, bytes: 5000, offset: 5000 }, { from: 2, over: NEVER, bytes: 10, offset: 0 }, { from: 3, over: 700, bytes: 4990, offset: 10 }];
  const lives = livesOf(blocks, 1000);
  const placement = new Placement(lives, planOf(blocks, 1000), false);
  lives.filter({ terms: [{ kind: "size", least: 5000, most: 5000, not: false }], key: null });
  const picture = plannedPicture(lives, placement, { ...VIEW, high: 10_000 });
  const at = (x: number, y: number) => {
    const found = rectAt(picture.words, x, y);
    return found < 0 ? null : { row: picture.words[found * 4 + 3], dim: ((picture.words[found * 4 + 2] as number) & STYLE_DIM) !== 0 };
  };
  assert.deepEqual(at(100, 50), { row: 0, dim: false });
  assert.deepEqual(at(100, 150), { row: 2, dim: true });
  assert.deepEqual(at(390, 199), { row: MERGED, dim: true });
  assert.equal(at(390, 50), null);
  const place = placement.of(0);
  assert.deepEqual(place, { offset: 5000, bytes: 5000, from: 1, to: 500 });
  assert.ok(place !== null);
  const outline = rectOf(picture, place);
  assert.ok(Math.abs(outline.y) < 1e-6 && Math.abs(outline.height - 100) < 1e-6 && Math.abs(outline.x - 0.4) < 0.01);
  assert.equal(placement.of(7), null);
});

test("many blocks: no more rectangles than a canvas draws, within the time of a picture", () => {
  const blocks = shelves(1_000_000, Array.from({ length: 300 }, (_, i) => 64 * (1 + (i % 50))), 2, 9000);
  assert.ok(blocks.length > 40_000, `${blocks.length}`);
  const lives = livesOf(blocks, 1_000_000);
  const placement = new Placement(lives, planOf(blocks, 1_000_000), false);
  const began = performance.now();
  const picture = plannedPicture(lives, placement, { ...VIEW, to: 1_000_001, width: 3000, height: 900 });
  assert.ok(performance.now() - began < 5000);
  assert.ok(picture.words.length / 4 <= MOST_RECTS && picture.words.length > 4000, `${picture.words.length / 4}`);
});

test("a recorded run is found by its entries: what was there before by its end, or by its size", () => {
  // Entries: 2 frees a block that was there, 5 requests one, 9 ends it; two of 64 bytes stay.
  const recorded = livesOf([{ from: 0, over: NEVER, bytes: 64, offset: 64 }, { from: 0, over: 2, bytes: 32, offset: 128 }, { from: 0, over: NEVER, bytes: 64, offset: 256 }, { from: 5, over: 9, bytes: 16, offset: 0 }], 10);
  const plan = planOf([{ from: 2, over: 4, bytes: 32, offset: 700 }, { from: 1, over: NEVER, bytes: 64, offset: 0 }, { from: 3, over: NEVER, bytes: 64, offset: 64 }, { from: 5, over: 9, bytes: 16, offset: 128 }, { from: 6, over: 7, bytes: 999, offset: 900 }], 10);
  plan.line.set([2, 0, 0, 5, 7]);
  const placement = new Placement(recorded, plan, true);
  assert.deepEqual(placement.placed, { placed: 4, others: 1 });
  assert.deepEqual([0, 1, 2, 3].map((row) => placement.of(row)?.offset), [0, 700, 64, 128]);
  // The same blocks as the trace has them: those that end first, by events of its own.
  const trace = livesOf([{ from: 1, over: 4, bytes: 32, offset: 0 }, { from: 2, over: NEVER, bytes: 64, offset: 0 }, { from: 3, over: NEVER, bytes: 64, offset: 0 }, { from: 5, over: 6, bytes: 16, offset: 0 }], 6);
  assert.deepEqual([...rowsOf(trace, recorded)], [1, 0, 2, 3]);
  const other = livesOf([{ from: 1, over: 4, bytes: 33, offset: 0 }], 6);
  assert.deepEqual([...rowsOf(other, recorded)], [-1, -1, -1, -1]);
});

test("how far a plan is above its bound is said as the command says it", () => {
  assert.equal(overText(100, 100), "+0.000 %");
  assert.equal(overText(1001, 1000), "+0.100 %");
});

test("bars are where the plan has live blocks: of one colour where they stand, of another where they strayed", () => {
  const slabs = [{ pool: 0, id: "0.0", bytes: 1000 }, { pool: 0, id: "1.0", bytes: 1000 }];
  const blocks = {
    count: 5,
    slab: Uint32Array.of(0, 0, 0, 1, 1),
    offset: Float64Array.of(0, 100, 300, 0, 400),
    bytes: Float64Array.of(100, 200, 700, 400, 600),
    state: Uint8Array.of(State.Live, State.Live, State.Clean, State.Live, State.Live),
  } as unknown as Frame["blocks"];
  // The first two stand; the third live one is to be at 500 of the first slab; the last has no place.
  const frame = { slabs, blocks, planned: Float64Array.of(0, 100, -1, 500, -1) } as unknown as Frame;
  const geometry = arrange(slabs, { width: 1000, height: 200, scale: 1, zoom: 1, gutter: 0, expected: 2000 });
  const bars: { x: number; width: number; colour: string }[] = [];
  const context = { fillStyle: "", fillRect: (x: number, _y: number, width: number) => bars.push({ x, width, colour: context.fillStyle }) };
  const draw = (of: Frame) => drawPlan(context as unknown as CanvasRenderingContext2D, of, geometry, [0, geometry.rows], 1, { stand: "green", elsewhere: "red" });
  assert.deepEqual(draw(frame), { stand: 2, elsewhere: 1, without: 1 });
  const pixels = (colour: string) => bars.filter((bar) => bar.colour === colour).reduce((sum, { width }) => sum + width, 0) * geometry.bytesPerPixel;
  assert.ok(Math.abs(pixels("green") - 300) <= 2 * geometry.bytesPerPixel && Math.abs(pixels("red") - 400) <= 2 * geometry.bytesPerPixel, JSON.stringify(bars));
  const { planned: _planned, ...plain } = frame;
  bars.length = 0;
  assert.equal(draw(plain as Frame), null);
  assert.deepEqual(bars, []);
});
