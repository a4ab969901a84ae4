/** Jumps through a long run: from copies on the way, the same pictures as on the way there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Session } from "../../src/engine/session";
import { allZero, open, trace } from "./support";

const OPTIONS = { streams: 3, inFlight: 20, allowWait: true } as const;

/** Waits until all copies are made: their number does not change any more and the last events are covered. */
async function copied(session: Session, end: number): Promise<void> {
  await session.report();
  const give = performance.now() + 300_000;
  while (!session.covers(end)) {
    assert.ok(performance.now() < give, `${session.copies} copies`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test("an earlier instant is the same whether it is reached from a copy or from the beginning", async () => {
  const input = { events: 60_000, blocks: 300 };
  const [session, plain] = [await open(input, OPTIONS), await open(input, OPTIONS)];
  // Ascending: the other one never goes back.
  const events = [1, 2, 470, 471, 5_000, 20_000, 20_001, 33_333, 48_000, 59_999];
  const forward: Uint8Array[] = [];
  for (const event of events) forward.push((await plain.frame(event)).slice());
  closed(plain);
  await session.frame(60_000);
  await copied(session, 59_999);
  assert.ok(session.copies >= 32, `${session.copies}`);
  const order = [9, 0, 8, 3, 2, 7, 7, 6, 5, 1, 4, 9, 6, 5];
  for (const i of order) assert.deepEqual(await session.frame(events[i] as number), forward[i], `event ${events[i]}`);
  // Forward again from where it was.
  assert.deepEqual((await session.frame(60_000)).slice(0, 4), forward[0]?.slice(0, 4));
  for (const i of [8, 7, 6]) assert.deepEqual(await session.frame(events[i] as number), forward[i]);
  closed(session);
  // Far on, the run that is shown has not been there yet; and near there.
  const ahead = await open(input, OPTIONS);
  await ahead.frame(1);
  await copied(ahead, 59_999);
  for (const i of [1, 8, 9, 5, 6, 0, 2, 3]) assert.deepEqual(await ahead.frame(events[i] as number), forward[i], `event ${events[i]}`);
  closed(ahead);
});

test("a recorded trace that takes and gives back slabs: the host's side goes back with it", async () => {
  const input = await trace("gpt2_generate");
  const options = { ...OPTIONS, pool: "passthrough" } as const;
  const session = await open(input, options);
  const { events } = session.info;
  assert.ok(events > 20_000, `${events}`);
  const plain = await open(input, options);
  const chosen = [0.1, 0.35, 0.6, 0.9].map((share) => Math.floor(share * events));
  const forward: Uint8Array[] = [];
  for (const event of chosen) forward.push((await plain.frame(event)).slice());
  closed(plain);
  await session.frame(events - 1);
  await copied(session, events - 1);
  for (let round = 0; round < 3; round++) for (const i of [3, 1, 2, 0, 3]) assert.deepEqual(await session.frame(chosen[i] as number), forward[i], `event ${chosen[i]}`);
  closed(session);
});

test("a short run makes no copies, and one that is closed while they are made leaves nothing", async () => {
  const short = await open({ events: 5000 }, OPTIONS);
  await short.report();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(short.copies, 0);
  closed(short);
  const long = await open({ events: 100_000 }, OPTIONS);
  await long.report();
  while (long.copies < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  closed(long);
});

/** A million takes minutes on a shared machine: `STRANDLINE_PAST_EVENTS=1000000` measures it. */
const MANY = Number(process.env["STRANDLINE_PAST_EVENTS"] ?? 60_000);

test(`${MANY} events: what a jump and a step back take`, async () => {
  const session = await open({ events: MANY, blocks: 5000 }, OPTIONS);
  const began = performance.now();
  await session.frame(MANY);
  const there = performance.now();
  await copied(session, MANY - 1);
  const copies = performance.now();
  const [jumps, steps, ahead]: number[][] & [number[], number[], number[]] = [[], [], []];
  for (let i = 1; i <= 12; i++) {
    const from = Math.floor((MANY * (12.5 - i)) / 12.5);
    for (let step = 0; step < 6; step++) {
      const start = performance.now();
      await session.frame(from - step);
      (step === 0 ? jumps : steps).push(performance.now() - start);
    }
  }
  for (let i = 1; i <= 12; i++) {
    const start = performance.now();
    await session.frame(Math.floor((MANY * ((5 * i) % 13)) / 13) + i);
    ahead.push(performance.now() - start);
  }
  const told = (times: number[]) => {
    times.sort((a, b) => a - b);
    return `median ${(times[times.length >> 1] as number).toFixed(0)} ms, most ${(times[times.length - 1] as number).toFixed(0)} ms`;
  };
  console.log(`${MANY} events: to the end ${(there - began).toFixed(0)} ms, ${session.copies} copies after ${(copies - there).toFixed(0)} ms more; far back ${told(jumps)}; a step back ${told(steps)}; anywhere ${told(ahead)}`);
  // The goal is 100 ms at a million events; compilers run beside the tests.
  assert.ok((jumps[6] as number) < 1000, `${jumps}`);
  closed(session);
});

function closed(session: Session): void {
  session.close();
  assert.ok(allZero(session.handles()), JSON.stringify(session.handles()));
}
