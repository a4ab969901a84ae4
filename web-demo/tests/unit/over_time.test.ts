/** Blocks over time: sums, holders, filters, and the picture against a naive one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Lives, NEVER } from "../../src/engine/lives";
import { columnsOf, MERGED, overTime } from "../../src/engine/over_time";
import type { OverTimeView } from "../../src/model";
import { STYLE_DIM } from "../../src/view/palette";
import { parseQuery } from "../../src/view/query";
import { flameOf, type Flame } from "../../src/view/flame";
import { panned, rectAt, rectsOf, ticks, zoomed } from "../../src/view/window";

interface Block {
  from: number;
  retired?: number;
  bytes: number;
  stream?: number;
  stack?: number;
  address?: number;
}

/** As `replay/src/lives.rs` packs them. */
function pack(blocks: readonly Block[]): Uint8Array {
  const n = blocks.length;
  const out = new Uint8Array(16 + 44 * n);
  new Uint32Array(out.buffer, 0, 2).set([0x31424c53, n]);
  let at = 16;
  for (const of of [(b: Block) => b.bytes, (b: Block) => b.bytes, (b: Block) => b.address ?? 0]) {
    new Float64Array(out.buffer, at, n).set(blocks.map(of));
    at += 8 * n;
  }
  const end = (b: Block) => b.retired ?? NEVER;
  for (const of of [(b: Block) => b.from, end, end, (b: Block) => b.stream ?? 0, (b: Block) => b.stack ?? 0]) {
    new Uint32Array(out.buffer, at, n).set(blocks.map(of));
    at += 4 * n;
  }
  return out;
}

/** Frames a:1, b:2; stacks: none, [a], [a b] whose line is b. */
const STACKS = { frames: ["a:1 f", "b:2 g"], packed: Uint32Array.of(3, NEVER, 0, 1, 0, 1, 3, 0, 0, 1) };

/** Blocks of a run of so many events that come and go by chance, the same every time. */
function chance(events: number, live: number): Block[] {
  let seed = 7;
  const random = () => ((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32);
  const blocks: Block[] = [];
  const open: Block[] = [];
  for (let event = 1; event <= events; event++) {
    if (open.length > live * random() * 2) {
      const at = Math.floor(random() * open.length);
      (open[at] as Block).retired = event;
      open[at] = open[open.length - 1] as Block;
      open.length--;
    } else {
      const block: Block = { from: event, bytes: 1 + Math.floor(2 ** (random() * 20)), stream: Math.floor(random() * 3), stack: Math.floor(random() * 3) };
      blocks.push(block);
      open.push(block);
    }
  }
  return blocks;
}

const naive = (blocks: readonly Block[], event: number) => blocks.filter((b) => b.from <= event && event < (b.retired ?? Infinity));
const total = (blocks: readonly Block[]) => blocks.reduce((sum, b) => sum + b.bytes, 0);
const VIEW: OverTimeView = { from: 0, to: 1001, low: 0, high: null, width: 400, height: 200, by: "line" };

test("sums, the peak and holders are those of the blocks", () => {
  const blocks = [{ from: 0, bytes: 5, address: 4096, stack: 1 }, { from: 0, bytes: 3, retired: 4 }, ...chance(1000, 40)];
  const lives = new Lives(pack(blocks), 1000, STACKS);
  let peak = { event: 0, bytes: 0 };
  for (let event = 0; event <= 1000; event++) {
    const bytes = total(naive(blocks, event));
    assert.equal(lives.allocated[event], bytes, `event ${event}`);
    if (bytes > peak.bytes) peak = { event, bytes };
  }
  assert.deepEqual(lives.peak, peak);
  const held = lives.holders(peak.event, "line");
  assert.equal(held.reduce((sum, h) => sum + h.bytes, 0), peak.bytes);
  const ofB = naive(blocks, peak.event).filter((b) => b.stack === 2);
  assert.equal(held.find((h) => h.name === "b:2 g")?.bytes, total(ofB));
  assert.equal(lives.holders(peak.event, "stack").find((h) => h.name === "a:1 f\nb:2 g")?.blocks, ofB.length);
  assert.equal(lives.holders(1, "line").find((h) => h.name === "(allocated before the recording began)")?.bytes, 3);
  assert.equal(lives.rowOf(0, 4096), 0);
  assert.equal(lives.rowOf(0, 8192), -1);
  const { from } = blocks[50] as Block;
  assert.equal(lives.rowOf(from, null), 50);
  assert.deepEqual(lives.life(0)?.frames, ["a:1 f"]);
});

test("a flame graph adds up, and common callers are one", () => {
  const blocks = chance(500, 30);
  const lives = new Lives(pack(blocks), 500, STACKS);
  const holders = lives.holders(400, "stack");
  const root = flameOf(holders);
  assert.equal(root.bytes, total(naive(blocks, 400)));
  const adds = (part: Flame): void => {
    const called = part.calls.reduce((sum, call) => sum + call.bytes, 0);
    assert.ok(called <= part.bytes);
    part.calls.forEach(adds);
  };
  adds(root);
  // Stack 2 is a called by b; stack 1 is a alone.
  const b = root.calls.find(({ frame }) => frame === "b:2 g");
  assert.deepEqual(b?.calls.map(({ frame, bytes }) => [frame, bytes]), [["a:1 f", total(naive(blocks, 400).filter((block) => block.stack === 2))]]);
  assert.equal(b?.key, -2);
  assert.equal(root.key, null);
});

test("a filter takes what its words say, and holders are of those alone", () => {
  const blocks = chance(500, 30);
  const lives = new Lives(pack(blocks), 500, STACKS);
  const of = (keep: (b: Block) => boolean) => blocks.filter(keep).length;
  const taken = (text: string, key: number | null = null) => {
    const parsed = parseQuery(text);
    assert.ok("terms" in parsed, text);
    return lives.filter({ terms: parsed.terms, key }).blocks;
  };
  assert.equal(taken("B:2"), of((b) => b.stack === 2));
  assert.equal(lives.holders(400, "line").every((h) => h.name === "b:2 g"), true);
  assert.equal(taken("stream:1 size:>=100"), of((b) => b.stream === 1 && b.bytes >= 100));
  assert.equal(taken("-stream:1 b:2"), of((b) => b.stream !== 1 && b.stack === 2));
  assert.equal(taken("", 0), of((b) => b.stack === 1));
  assert.equal(taken("", -2), of((b) => b.stack === 2));
  assert.equal(taken("category:kept"), of((b) => b.retired === undefined));
  assert.equal(taken("category:temporary category:large"), of((b) => b.retired !== undefined && b.bytes > 2 ** 20));
  assert.equal(taken("category:kept,temporary"), blocks.length);
  assert.equal(taken("-category:kept"), of((b) => b.retired !== undefined));
  assert.equal(lives.filter(null).blocks, blocks.length);
  assert.equal(lives.mask, null);
});

test("a column shows the instant of most bytes, and a block lies on those before it", () => {
  const blocks = chance(1000, 12);
  const lives = new Lives(pack(blocks), 1000, null);
  const picture = overTime(lives, VIEW);
  const { x, event, count } = columnsOf(lives, 0, 1001, VIEW.width);
  const perByte = VIEW.height / (picture.high - picture.low);
  for (let column = 0; column < count; column++) {
    let bottom = 0;
    for (const block of naive(blocks, event[column] as number)) {
      const [top, tall] = [VIEW.height - Math.round((bottom + block.bytes) * perByte), Math.round(block.bytes * perByte)];
      // Thin ones are merged: looked at together below.
      if (block.bytes * perByte >= 3) {
        const hit = rectAt(picture.words, (x[column] as number) + 0.5, top + tall / 2);
        assert.equal(blocks[picture.words[hit * 4 + 3] as number], block, `column ${column}`);
      }
      bottom += block.bytes;
    }
    // From the ground to the top without a gap that is a pixel high.
    const height = Math.round(bottom * perByte);
    let covered = 0;
    for (let i = 0; i < picture.words.length; i += 4) {
      const [left, width] = [(picture.words[i] as number) & 0xffff, (picture.words[i + 1] as number) & 0xffff];
      if (left <= (x[column] as number) && (x[column] as number) < left + width) covered += ((picture.words[i + 1] as number) >>> 16) + Number(((picture.words[i + 1] as number) >>> 16) >= 3 && picture.words[i + 3] !== MERGED);
    }
    assert.ok(Math.abs(covered - height) <= 14, `column ${column}: ${covered} of ${height}`);
  }
  // No peak is lost, however narrow.
  const peak = lives.peak.event;
  assert.ok([...event.subarray(0, count)].includes(peak));
});

test("what the filter leaves out is dimmed, also where blocks are merged", () => {
  const blocks = chance(1000, 60);
  const lives = new Lives(pack(blocks), 1000, STACKS);
  lives.filter({ terms: [], key: 0 });
  const { words } = overTime(lives, VIEW);
  let [dimmed, kept] = [0, 0];
  for (let i = 0; i < words.length; i += 4) {
    const row = words[i + 3] as number;
    const dim = ((words[i + 2] as number) & STYLE_DIM) !== 0;
    if (row !== MERGED) assert.equal(dim, blocks[row]?.stack !== 1);
    dimmed += Number(dim);
    kept += Number(!dim);
  }
  assert.ok(dimmed > 0 && kept > 0);
});

test("a part of the bytes and of the events", () => {
  const lives = new Lives(pack([{ from: 1, bytes: 100 }, { from: 2, bytes: 100, retired: 4 }, { from: 3, bytes: 100 }]), 5, null);
  const picture = overTime(lives, { from: 2, to: 6, low: 100, high: 300, width: 400, height: 200, by: "line" });
  assert.deepEqual(rectsOf(picture, 0), [], "below the view");
  assert.deepEqual(rectsOf(picture, 1), [{ x: 0, y: 100, width: 200, height: 99 }]);
  // It steps down as the one below goes.
  assert.deepEqual(rectsOf(picture, 2), [{ x: 100, y: 0, width: 100, height: 99 }, { x: 200, y: 100, width: 200, height: 99 }]);
});

test("a million blocks: bounded work, and the picture has what is large", () => {
  const blocks = chance(1_000_000, 3000);
  const lives = new Lives(pack(blocks), 1_000_000, null);
  const began = performance.now();
  const picture = overTime(lives, { ...VIEW, to: 1_000_001, width: 1900, height: 320 });
  const first = performance.now() - began;
  const again = performance.now();
  overTime(lives, { ...VIEW, from: 500_000, to: 501_000, width: 1900, height: 320 });
  console.log(`a million events, ${blocks.length} blocks: ${picture.words.length / 4} rectangles in ${first.toFixed(0)} ms, zoomed in ${(performance.now() - again).toFixed(0)} ms`);
  assert.ok(picture.words.length / 4 > 100 && picture.words.length / 4 < 600_000);
});

test("the view stays within the run, and what is under the pointer stays there", () => {
  const all = { from: 0, to: 1000, low: 0, high: null };
  const into = zoomed(all, 4, 0.25, 1000);
  assert.deepEqual([into.from, into.to], [187.5, 437.5]);
  assert.equal(into.from + 0.25 * 250, 250);
  assert.deepEqual(zoomed(into, 1 / 100, 0.5, 1000), all);
  assert.deepEqual([panned(into, -5, 1000).from, panned(into, 50, 1000).to], [0, 1000]);
  const least = zoomed(all, 1e9, 0.5, 1000);
  assert.equal(least.to - least.from, 4);
  assert.deepEqual(ticks(0, 1000, 5), [0, 200, 400, 600, 800]);
  assert.deepEqual(ticks(0, 1000, 4, 1024), [0, 256, 512, 768]);
});
