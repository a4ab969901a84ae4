/** Instants, seeking, failures, handles. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { State, type Frame, type RunOptions } from "../../src/model";
import { decodeFrame } from "../../src/engine/decode";
import type { News, Session } from "../../src/engine/session";
import { missing, waitedFor } from "../../src/view/details";
import { allZero, open, trace } from "./support";

const OPTIONS: Partial<RunOptions> = { streams: 3, inFlight: 20, allowWait: true };

async function at(session: Session, event: number): Promise<Frame> {
  return decodeFrame(await session.frame(event));
}

/** What holds of every frame. */
function check(frame: Frame): void {
  const { blocks, bytes, slabs, axes } = frame;
  const sums = [0, 0, 0, 0];
  let [death, asked] = [0, 0];
  for (let i = 0; i < blocks.count; i++) {
    const state = blocks.state[i]!;
    sums[state]! += blocks.bytes[i]!;
    asked += blocks.requested[i]!;
    assert.ok(blocks.offset[i]! + blocks.bytes[i]! <= slabs[blocks.slab[i]!]!.bytes);
    assert.ok(blocks.since[i]! <= frame.event);
    assert.equal(blocks.deathStart[i], death);
    death = blocks.deathStart[i + 1]!;
    // A block whose death is reached is clean, collected or not.
    const reached = (at: number) => axes[blocks.deathAxis[at]!]!.completed >= blocks.deathEpoch[at]!;
    const deaths = Array.from({ length: death - blocks.deathStart[i]! }, (_, at) => blocks.deathStart[i]! + at);
    assert.equal(deaths.some((at) => !reached(at)), state === State.Pending);
    assert.ok(blocks.stream[i]! < axes.length);
    if (state === State.Live) assert.ok(blocks.stream[i]! >= 0 && blocks.since[i]! > 0);
  }
  assert.equal(death, blocks.deathEpoch.length);
  assert.deepEqual(sums, [bytes.reserved, bytes.clean, bytes.pending, bytes.tainted]);
  assert.equal(asked, bytes.live);
  assert.equal(slabs.reduce((sum, slab) => sum + slab.bytes, 0), bytes.committed);
}

test("an instant is the same whichever way it is come to", async () => {
  const events = 3000;
  const straight = await open({ events }, OPTIONS);
  const goals = [0, 1, 2, 500, 1499, 1500, 2999, 3000];
  const expected = new Map<number, Uint8Array>();
  for (const goal of goals) expected.set(goal, await straight.frame(goal));
  straight.close();
  for (const [goal, packed] of expected) {
    const frame = decodeFrame(packed);
    assert.equal(frame.event, goal);
    check(frame);
  }
  const seeking = await open({ events }, OPTIONS);
  for (const goal of [3000, 1500, 1499, 500, 2999, 1500, 2, 1, 0, 3000]) {
    assert.deepEqual(await seeking.frame(goal), expected.get(goal), `event ${goal}`);
  }
  // One step back after the other.
  let last = 3000;
  for (let event = 2999; event > 2900; event--) {
    const frame = await at(seeking, event);
    assert.ok(frame.event === event && frame.event < last);
    last = frame.event;
  }
  assert.deepEqual(await seeking.frame(10 ** 9), expected.get(3000), "behind the end is the end");
  seeking.close();
});

test("details and counters agree at every event of a trace", async () => {
  const session = await open(await trace("vit_infer"), { streams: 4, inFlight: 32, slabBytes: 16 << 20 });
  const { events } = session.info;
  assert.ok(events > 500);
  let waiting = 0;
  for (let event = 0; event <= events; event++) {
    const frame = await at(session, event);
    check(frame);
    // What is shown as waiting waits for something, and what waits for nothing is not.
    for (let i = 0; i < frame.blocks.count; i++) {
      assert.equal(missing(frame, i).length > 0, frame.blocks.state[i] === State.Pending, `event ${event}, block ${i}`);
    }
    const told = waitedFor(frame);
    assert.equal(told.length > 0, frame.bytes.pending > 0, `event ${event}`);
    waiting += Number(told.length > 0);
  }
  assert.ok(waiting > events / 4, `${waiting}`);
  session.close();
});

test("the newest call wins", async () => {
  const session = await open({ events: 20_000 }, OPTIONS);
  const [first, second, third] = [20_000, 15_000, 700].map((event) => session.frame(event));
  await assert.rejects(first!, { name: "AbortError" });
  await assert.rejects(second!, { name: "AbortError" });
  assert.equal(decodeFrame(await third!).event, 700);
  // Given up on the way: what was come past is not where it stands.
  const far = session.frame(20_000).catch(() => null);
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(decodeFrame(await session.frame(710)).event, 710);
  await far;
  const late = session.frame(20_000);
  session.close();
  await assert.rejects(late, { name: "AbortError" });
  await assert.rejects(session.frame(1));
});

test("a provider that refuses ends the run at an event, and the picture of it stays", async () => {
  const news: News[] = [];
  const session = await open({ events: 5000 }, { pool: "tlsf", capacityBytes: 64 << 20 }, (told) => news.push(told));
  const report = (await session.report()) as { ok: boolean; failure: { event: number; reason: string } };
  assert.equal(report.ok, false);
  const told = news.find((one) => one.type === "failure");
  assert.ok(told?.type === "failure");
  assert.equal(told.failure.event, report.failure.event);
  assert.match(told.failure.reason, /exhausted/);
  assert.ok(told.failure.bytesRequested > told.failure.largestHoleBytes);
  const frame = await at(session, 5000);
  assert.equal(frame.event, report.failure.event);
  assert.equal(frame.counters.exhausted, 1);
  assert.ok(frame.bytes.committed <= 64 << 20);
  check(frame);
  assert.equal((await at(session, 10)).event, 10, "and one can go back from there");
  session.close();
});

test("the series covers the run, and progress never goes back", async () => {
  const news: News[] = [];
  const session = await open({ events: 30_000 }, {}, (told) => news.push(told));
  await session.report();
  const last = news.filter((one) => one.type === "series").at(-1);
  assert.ok(last?.type === "series");
  assert.equal(last.series.event[0], 1);
  assert.ok(last.series.event.length >= 500 && last.series.event.length <= 1000);
  const frame = await at(session, 30_000);
  assert.equal(last.series.committed.max.at(-1), frame.bytes.committed);
  const played = news.flatMap((one) => (one.type === "progress" ? [one.played] : []));
  assert.deepEqual(played, [...played].sort((a, b) => a - b));
  assert.equal(played.at(-1), 30_000);
  session.close();
});

test("no handle is left behind, however often runs are opened, moved and closed", async () => {
  for (let round = 0; round < 8; round++) {
    const session = await open({ events: 4000, seed: round }, round % 2 === 0 ? OPTIONS : { pool: "passthrough" });
    const open_ = session.handles();
    assert.ok(open_["pools"]! >= 2 && open_["ledgers"]! >= 2 && open_["trackers"]! >= 2, JSON.stringify(open_));
    await session.frame(3000);
    await session.frame(100);
    const during = session.handles();
    assert.ok(during["slabs"]! > 0 && during["providers"]! > 0 && during["arrayBuffers"]! > 0, JSON.stringify(during));
    assert.ok(during["pools"]! <= 2, "a run that is begun again replaces the one before");
    // Every other time in the middle of the run ahead.
    if (round % 4 < 2) await session.report();
    const half = session.frame(4000);
    session.close();
    await assert.rejects(half);
    assert.ok(allZero(session.handles()), JSON.stringify(session.handles()));
    session.close();
    assert.equal(await session.report().then((report) => report === null), round % 4 >= 2);
  }
});

test("a million events: the first picture comes long before the end, and the thread is never held for long", async () => {
  const start = performance.now();
  let [longest, last] = [0, start];
  const watch = setInterval(() => undefined, 1);
  const beat = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (!done) setImmediate(beat);
  };
  let done = false;
  const session = await open({ events: 1_000_000, blocks: 5000 }, OPTIONS);
  const opened = performance.now() - start;
  const frame = await at(session, 1000);
  const first = performance.now() - start;
  last = performance.now();
  beat();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  done = true;
  clearInterval(watch);
  console.log(`opened ${opened.toFixed(0)} ms, first picture ${first.toFixed(0)} ms, longest slice ${longest.toFixed(0)} ms`);
  assert.equal(frame.event, 1000);
  assert.equal(session.info.events, 1_000_000);
  // On any machine that can run the tests at all.
  assert.ok(first < 30_000, `${first} ms`);
  assert.ok(longest < 10_000, `${longest} ms`);
  session.close();
  assert.ok(allZero(session.handles()));
});
