/** The small pure parts: sizes that people type, the search, the clock, patterns, instants. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Clock } from "../../src/view/clock.ts";
import { atLeast, bytes, parseBytes, parseSizes, shortBytes } from "../../src/view/format.ts";
import { laneSpan } from "../../src/view/lanes.ts";
import { DARK, inks, KINDS, LIGHT, PATTERNS, style, type Rgb } from "../../src/view/palette.ts";
import { instantAt } from "../../src/view/recorded.ts";
import { search, type Column } from "../../src/view/table.ts";
import { nextInstant } from "../../src/view/instants.ts";
import { describe as facts, missing } from "../../src/view/details.ts";
import { dice, running, still } from "../browser/demo/source.ts";

test("sizes are printed as the command prints them, and read as it reads them", () => {
  for (const [n, text] of [
    [0, "0 B"],
    [1023, "1,023 B"],
    [1024, "1,024 B"],
    [10_239, "10,239 B"],
    [10_240, "10.00 KiB"],
    [518_125_568, "494.12 MiB"],
  ] as const) {
    assert.equal(bytes(n), text);
  }
  for (const [n, text] of [
    [0, "0 B"],
    [10_239, "10,239 B"],
    [10_240, "10.00 KiB"],
    [10_241, "10.01 KiB"],
    [518_125_568, "494.13 MiB"],
    [2 ** 30, "1.00 GiB"],
    [2 ** 30 + 1, "1.01 GiB"],
  ] as const) {
    assert.equal(atLeast(n), text);
  }
  assert.equal(shortBytes(32 * 2 ** 20), "32 MiB");
  assert.equal(shortBytes(1.5 * 2 ** 20), "1.5 MiB");
  for (const [text, n] of [
    ["4096", 4096],
    ["512KiB", 524_288],
    ["1.5 gib", 1_610_612_736],
    ["2m", 2_097_152],
    ["", null],
    ["many", null],
    ["-1", null],
    ["1e9", null],
    ["99999999TiB", null],
  ] as const) {
    assert.equal(parseBytes(text), n, text);
  }
});

test("a search for what is shown finds it", () => {
  const next = dice(9);
  for (let i = 0; i < 2000; i++) {
    const n = Math.floor(2 ** (next() * 40));
    const range = parseSizes(bytes(n).replaceAll(",", ""));
    assert.ok(range !== null && range.least <= n && n <= range.most, `${n}: ${bytes(n)}`);
  }
  assert.deepEqual(parseSizes("> 1KiB"), { least: 1025, most: Number.MAX_SAFE_INTEGER });
  assert.deepEqual(parseSizes("<=1KiB"), { least: 0, most: 1024 });
  assert.deepEqual(parseSizes("1KiB..2KiB"), { least: 1024, most: 2048 });
  for (const text of [">", "2KiB..1KiB", "..", "x..y", "4MiBs"]) assert.equal(parseSizes(text), null, text);
});

test("the search finds what a plain filter finds, in order", () => {
  const frame = still(3000, 2);
  const { blocks } = frame;
  for (const sort of ["bytes", "requested", "slab", "offset", "stream", "age"] as Column[]) {
    for (const descending of [true, false]) {
      const found = search(frame, { sizes: "1KiB..2KiB", stream: "2", sort, descending });
      const plain: number[] = [];
      for (let i = 0; i < blocks.count; i++) {
        const within = (n: number) => n >= 1024 && n <= 2048;
        if (blocks.state[i] === 0 && blocks.stream[i] === 2 && (within(blocks.bytes[i]!) || within(blocks.requested[i]!))) plain.push(i);
      }
      assert.ok(plain.length > 10);
      assert.deepEqual(Array.from(found.blocks).sort((a, b) => a - b), plain);
      assert.equal(found.bytes, plain.reduce((sum, i) => sum + blocks.bytes[i]!, 0));
      const key = (i: number) => (sort === "age" ? frame.event - blocks.since[i]! : blocks[sort][i]!);
      for (let i = 1; i < found.blocks.length; i++) {
        const [a, b] = [key(found.blocks[i - 1]!), key(found.blocks[i]!)];
        assert.ok(descending ? a >= b : a <= b, sort);
      }
    }
  }
  assert.match(search(frame, { sizes: "big", stream: "", sort: "bytes", descending: true }).fault ?? "", /Sizes/);
  assert.match(search(frame, { sizes: "", stream: "two", sort: "bytes", descending: true }).fault ?? "", /number/);
});

test("the clock ends at the end and does not jump after a pause", () => {
  const clock = new Clock();
  clock.last = 1000;
  clock.speed = 100;
  clock.play();
  assert.ok(clock.tick(50));
  assert.equal(clock.event, 5);
  // A tab that was hidden for an hour.
  clock.tick(3_600_000);
  assert.equal(clock.event, 15);
  clock.seek(5000);
  assert.equal(clock.event, 1000);
  clock.seek(999);
  assert.ok(!clock.tick(100));
  assert.deepEqual([clock.event, clock.playing], [1000, false]);
  clock.play();
  assert.equal(clock.event, 0, "playing from the end begins again");
  clock.last = 0;
  clock.play();
  assert.ok(!clock.playing, "nothing to play");
});

test("states differ by pattern, and ink stands out from ground", () => {
  const seen = new Set(PATTERNS.map(String));
  assert.equal(seen.size, PATTERNS.length);
  const light = (colour: Rgb) => {
    const [r, g, b] = colour.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
  };
  const contrast = (a: Rgb, b: Rgb) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  for (const theme of [LIGHT, DARK]) {
    for (let kind = 0; kind < KINDS; kind++) {
      const { ink, ground } = inks(theme, style(kind, kind, false));
      // Graphics need 3:1 to their surroundings.
      assert.ok(contrast(ink, theme.paper) >= 3, `${theme.dark ? "dark" : "light"} kind ${kind}: ${contrast(ink, theme.paper)}`);
      if (kind !== 0) assert.ok(contrast(ink, ground) >= 2.5, `kind ${kind}: ${contrast(ink, ground)}`);
    }
  }
});

test("instants are found, stepped through, and clamped", () => {
  const instants = Float64Array.from([0, 10, 25, 40]);
  assert.deepEqual([0, 9, 10, 39, 99].map((event) => instantAt(instants, event)), [0, 0, 1, 2, 3]);
  assert.equal(nextInstant(instants, 10, 1), 25);
  assert.equal(nextInstant(instants, 10, -1), 0);
  assert.equal(nextInstant(instants, 40, 1), 40);
  assert.equal(nextInstant(instants, 0, -1), 0);
});

test("a pending block names exactly the axes that are not there yet", async () => {
  const frame = await running(600).frame(600);
  const { blocks } = frame;
  let pending = 0;
  for (let i = 0; i < blocks.count; i++) {
    const gone = missing(frame, i);
    if (blocks.state[i] === 2) {
      pending++;
      assert.ok(gone.length > 0);
      for (const { axis, epoch, reached } of gone) assert.ok(reached === frame.axes[axis]!.completed && reached < epoch);
    } else assert.equal(gone.length, 0);
    assert.ok(facts(frame, i).length >= 3);
  }
  assert.ok(pending > 5);
});

test("lanes show at least all that is in flight", () => {
  for (const flying of [0, 1, 16, 17, 100, 5000]) {
    const span = laneSpan([{ name: "a", submitted: 9000, completed: 9000 - flying }]);
    assert.ok(span >= Math.max(16, flying) && span <= Math.max(16, flying * 2.5), `${span}`);
  }
});
