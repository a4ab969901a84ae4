/** Laws of the layout: slabs are covered once and whole, nothing overlaps, everything fits, and what is drawn is found again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Slab } from "../../src/model.ts";
import { arrange, blockAt, hit, locate, slabStarts, type Area, type Geometry } from "../../src/view/layout.ts";
import { dice, still } from "../browser/demo/source.ts";

const AREA: Area = { width: 900, height: 400, scale: 1, zoom: 1, gutter: 36, expected: 0 };

function someSlabs(seed: number): Slab[] {
  const next = dice(seed);
  const count = 1 + Math.floor(2 ** (next() * 9));
  const alike = next() < 0.5;
  const bytes = () => Math.ceil(2 ** (12 + next() * 18));
  const one = bytes();
  return Array.from({ length: count }, (_, i) => ({ pool: 0, id: `${i}.0`, bytes: alike ? one : bytes() }));
}

function check(slabs: Slab[], area: Area, geometry: Geometry): void {
  let at = 0;
  slabs.forEach((slab, i) => {
    let byte = 0;
    for (; at < geometry.segments.length && geometry.segments[at]?.slab === i; at++) {
      const segment = geometry.segments[at]!;
      assert.equal(segment.from, byte, "a slab has no gap");
      assert.ok(segment.to > segment.from);
      byte = segment.to;
      assert.ok(segment.x >= area.gutter && segment.width >= 1);
      assert.ok(segment.x + segment.width <= area.width, `${segment.x} + ${segment.width} of ${area.width}`);
    }
    assert.equal(byte, slab.bytes, "a slab is whole");
  });
  assert.equal(at, geometry.segments.length);
  for (let row = 0; row < geometry.rows; row++) {
    let end = 0;
    for (let i = geometry.rowStart[row]!; i < geometry.rowStart[row + 1]!; i++) {
      const segment = geometry.segments[i]!;
      assert.equal(segment.row, row);
      assert.ok(segment.x >= end, "segments of a row do not overlap");
      end = segment.x + segment.width;
    }
  }
}

test("every slab is laid out once and whole, at every zoom and size", () => {
  for (let seed = 1; seed <= 120; seed++) {
    const slabs = someSlabs(seed);
    for (const [width, zoom, scale] of [
      [900, 1, 1],
      [330, 1, 2],
      [900, 64, 1],
      [120, 4096, 3],
    ] as const) {
      const area = { ...AREA, width, zoom, scale };
      check(slabs, area, arrange(slabs, area));
    }
  }
});

test("at no zoom everything fits, unless there are more slabs than pixels", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const slabs = someSlabs(seed);
    const geometry = arrange(slabs, AREA);
    const height = geometry.rows * geometry.pitch - (geometry.pitch - geometry.height);
    assert.ok(height <= AREA.height, `${slabs.length} slabs: ${height}`);
  }
});

test("a pool that grows as expected does not move what is there", () => {
  const all = Array.from({ length: 12 }, (_, i) => ({ pool: 0, id: `${i}.0`, bytes: 2 ** 25 }));
  const area = { ...AREA, expected: 12 * 2 ** 25 };
  const last = arrange(all, area);
  for (let n = 1; n < 12; n++) {
    const geometry = arrange(all.slice(0, n), area);
    assert.equal(geometry.bytesPerPixel, last.bytesPerPixel);
    assert.deepEqual(geometry.segments, last.segments.slice(0, geometry.segments.length));
  }
});

test("no slab, no row", () => {
  const geometry = arrange([], AREA);
  assert.equal(geometry.rows, 0);
  assert.equal(hit(geometry, 10, 10), null);
  assert.deepEqual(locate(geometry, 0, 0, 10, 5), []);
});

test("what lies under a block's own pixels is the block", () => {
  const frame = still(2000, 3);
  const starts = slabStarts(frame.blocks, frame.slabs.length);
  for (const zoom of [1, 16]) {
    const geometry = arrange(frame.slabs, { ...AREA, zoom });
    for (let block = 0; block < frame.blocks.count; block += 7) {
      const [slab, offset, bytes] = [frame.blocks.slab[block]!, frame.blocks.offset[block]!, frame.blocks.bytes[block]!];
      assert.equal(blockAt(frame.blocks, starts, slab, offset), block);
      assert.equal(blockAt(frame.blocks, starts, slab, offset + bytes - 1), block);
      const rects = locate(geometry, slab, offset, bytes, 100);
      assert.ok(rects.length >= 1);
      for (const rect of rects) {
        const found = hit(geometry, rect.x + Math.floor(rect.width / 2), rect.y + 1);
        assert.equal(found?.segment.slab, slab);
        // A pixel stands for the bytes of at least one of them: within a pixel of the block.
        assert.ok(found!.from < offset + bytes + geometry.bytesPerPixel && found!.to > offset - geometry.bytesPerPixel);
      }
    }
  }
  assert.equal(blockAt(frame.blocks, starts, 0, frame.slabs[0]!.bytes), -1);
});
