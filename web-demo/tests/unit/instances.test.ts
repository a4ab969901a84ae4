/** Whoever takes over only what is dirty has the whole picture. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Instances, WORDS } from "../../src/view/instances.ts";
import { dice } from "../browser/demo/source.ts";

type Rects = number[][];

function fill(instances: Instances, rows: Rects[]): void {
  instances.fill(rows.length, (out) => {
    rows.forEach((rects, row) => {
      // Rows that hold nothing need not be opened.
      if (rects.length === 0) return;
      out.open(row);
      for (const [x, y, w, h, style] of rects) out.add(x!, y!, w!, h!, style!);
    });
  });
}

/** What draws something, in order of rows. */
function shown(words: Uint32Array, total: number): number[][] {
  const out: number[][] = [];
  for (let i = 0; i < total * WORDS; i += WORDS) {
    const [place, size, style] = [words[i]!, words[i + 1]!, words[i + 2]!];
    if ((size & 0xffff) > 0) out.push([place & 0xffff, place >>> 16, size & 0xffff, size >>> 16, style]);
  }
  return out;
}

test("dirty ranges carry every change, and little else", () => {
  const next = dice(3);
  const instances = new Instances();
  let copy = new Uint32Array(0);
  let rows: Rects[] = [];
  for (let turn = 0; turn < 400; turn++) {
    if (turn % 50 === 0) rows = Array.from({ length: 1 + Math.floor(next() * 12) }, () => []);
    const row = rows[Math.floor(next() * rows.length)]!;
    const rect = () => [Math.floor(next() * 60_000), Math.floor(next() * 60_000), 1 + Math.floor(next() * 90), 1 + Math.floor(next() * 90), Math.floor(next() * 8000)];
    const roll = next();
    if (roll < 0.5) row.splice(Math.floor(next() * (row.length + 1)), 0, rect());
    else if (roll < 0.7) row.splice(Math.floor(next() * row.length), 1);
    else if (roll < 0.75) row.length = 0;
    else if (roll < 0.85) for (let i = 0; i < 200; i++) row.push(rect());
    fill(instances, rows);
    if (instances.replaced) copy = new Uint32Array(instances.words.length);
    let sent = 0;
    for (let i = 0; i < instances.dirty.length; i += 2) {
      const [from, to] = [instances.dirty[i]! * WORDS, instances.dirty[i + 1]! * WORDS];
      assert.ok(to > from && to <= instances.words.length);
      copy.set(instances.words.subarray(from, to), from);
      sent += to - from;
    }
    assert.deepEqual(copy, instances.words);
    assert.deepEqual(shown(copy, instances.total), rows.flat());
    assert.equal(instances.shown, rows.flat().length);
    instances.clean();
    fill(instances, rows);
    assert.equal(instances.dirty.length, 0, "the same picture again sends nothing");
    assert.ok(sent <= instances.words.length);
  }
});

test("a change in one row sends nothing of the others", () => {
  const rows: Rects[] = Array.from({ length: 10 }, (_, y) => Array.from({ length: 1000 }, (_, x) => [x, y, 1, 1, 0]));
  const instances = new Instances();
  fill(instances, rows);
  instances.clean();
  rows[4]!.splice(500, 0, [7, 7, 7, 7, 7]);
  fill(instances, rows);
  const sent = instances.dirty.reduce((sum, at, i) => sum + (i % 2 === 0 ? -at : at), 0);
  assert.ok(!instances.replaced && sent <= 501, `${sent}`);
});
