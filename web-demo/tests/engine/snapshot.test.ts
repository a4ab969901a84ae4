/** Snapshots: what the page is told is what the command prints, key by key, and every picture agrees with it. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { State, type Snapshot } from "../../src/model";
import { decodeFrame } from "../../src/engine/decode";
import type { Session } from "../../src/engine/session";
import { allZero, HOME, native, open, timeless } from "./support";

const OWN = ["fuzz/corpus/trace_pickle/oom.pickle", "fuzz/corpus/trace_pickle/pending.pickle", "replay/tests/formats/snapshot0.pickle"];
const STRANDLINE = process.env["STRANDLINE"] ?? join(HOME, "../target/release/strandline");
/** Recorded runs that are not of this project, where they are beside it. */
const REAL = ["../../shared/snapshots", "../../shared/cases/pt"].map((folder) => join(HOME, folder));

async function files(): Promise<string[]> {
  const found = OWN.map((file) => join(HOME, "..", file)).filter(existsSync);
  for (const folder of REAL) {
    if (!existsSync(folder)) console.log(`skipped: no ${folder}`);
    else for (const name of await readdir(folder)) if (/\.pickle/.test(name)) found.push(join(folder, name));
  }
  return found;
}

/** What the command prints; null if it refuses the file. */
async function command(...args: string[]): Promise<Record<string, unknown> | null> {
  try {
    return JSON.parse((await promisify(execFile)(STRANDLINE, [...args, "--json"], { maxBuffer: 2 ** 28 })).stdout) as Record<string, unknown>;
  } catch (error) {
    const { stdout, code } = error as { stdout?: string; code?: unknown };
    return code === 1 && stdout !== undefined ? (JSON.parse(stdout) as Record<string, unknown>) : null;
  }
}

const snapshotOf = (session: Session): Snapshot => {
  const { snapshot } = session.info;
  assert.ok(snapshot !== undefined);
  return snapshot;
};

interface Pinned {
  line: string;
  bytes: number;
  pinned_bytes: number;
  blocks: number;
}

/** At some instants and the one that is opened with: the pinners of the command, and in both views the blocks that it counts. */
async function pinnersAgree(session: Session, file: string, entries: number, device: number): Promise<void> {
  const { instants, first } = session.info;
  assert.ok(instants !== "every");
  const stops = [...instants].filter((stop) => stop > 0 && stop <= entries);
  const chosen = new Set([first ?? 0, ...[0.2, 0.5, 0.8, 1].map((share) => stops[Math.ceil(share * stops.length) - 1] ?? 0)]);
  for (const event of chosen) {
    if (event === 0) continue;
    const told = (await command("explain", file, "--device", String(device), "--at", String(event - 1), "--top", "1000000")) as { explain: { pinners: Pinned[] } };
    const pinners = session.pinners(event)?.lines ?? [];
    assert.deepEqual(pinners.map(({ pinned, ...rest }) => ({ ...rest, pinned_bytes: pinned })), told.explain.pinners, `event ${event}`);
    const { packed } = await session.look(event);
    const { blocks } = decodeFrame(packed);
    for (const { line, bytes, pinned, blocks: count } of pinners.slice(0, 5)) {
      session.filter({ terms: [{ not: false, kind: "category", any: ["pins"] }, { not: false, kind: "line", text: line }], key: null });
      const { matched } = await session.look(event);
      const of = (free: boolean) => blocks.bytes.reduce((sum, size, i) => sum + (matched?.[i] === 1 && (blocks.state[i] === State.Clean) === free ? size : 0), 0);
      // A line's name may be a part of another's.
      const same = pinners.filter((other) => other.line.toLowerCase().includes(line.toLowerCase()));
      if (same.length > 1) continue;
      assert.equal(of(false), bytes, `${line} at ${event}`);
      assert.equal(of(true), pinned, `${line} at ${event}`);
      assert.equal(blocks.state.filter((state, i) => matched?.[i] === 1 && state !== State.Clean).length, count);
      // Over time it is the same blocks.
      assert.equal(session.filter({ terms: [{ not: false, kind: "category", any: ["pins"] }, { not: false, kind: "line", text: line }], key: null }).blocks, count);
    }
    session.filter(null);
  }
}

/** Through the pools, counted by the trace's events: every live block is the one over time that was requested there, with the recorded stacks. */
async function playedAgrees(input: { name: string; bytes: Uint8Array }, recorded: Session): Promise<void> {
  const played = await open(input, { show: "played" }).catch(() => null);
  // What cannot be played says so elsewhere.
  if (played === null) return;
  const { events } = played.info;
  let live = 0;
  for (const event of new Set([1, Math.floor(events / 3), Math.floor(events / 2), played.peak().event, events])) {
    const { packed, rows } = await played.look(event);
    const { blocks } = decodeFrame(packed);
    for (let i = 0; i < blocks.count; i++) {
      if (blocks.state[i] !== State.Live) continue;
      const life = played.life(rows?.[i] ?? -1);
      assert.ok(life !== null, `block ${i} at ${event}`);
      assert.deepEqual([life.requested, life.from], [blocks.requested[i], blocks.since[i]], `block ${i} at ${event}`);
      live++;
    }
  }
  assert.ok(live > 0 || events < 4, `${events} events`);
  const lines = (session: Session) => {
    const sums = new Map<string, number>();
    for (let row = 0, life = session.life(0); life !== null; life = session.life(++row)) sums.set(life.line, (sums.get(life.line) ?? 0) + 1);
    return [...sums].sort(([a], [b]) => (a < b ? -1 : 1));
  };
  assert.deepEqual(lines(played), lines(recorded));
  played.close();
}

for (const file of await files()) {
  test(`${basename(file)}: explain, compare and replay`, async () => {
    const explained = await command("explain", file);
    if (explained === null) return;
    const input = { name: file, bytes: await readFile(file) };
    const session = await open(input, { show: "recorded" });
    const { explained: told, device, devices } = snapshotOf(session);
    assert.deepEqual(told.json, explained);
    const { explain } = explained as { explain: Record<string, number> & { at: { entry: number | null; allocated_bytes: number; reserved_bytes: number | null }; holders: { line: string; bytes: number; blocks: number }[] } };
    assert.equal(device, explain["device"]);
    // The picture opens where the command looks, with its bytes.
    assert.equal(session.info.first, (explain.at.entry ?? -1) + 1);
    const event = session.info.first ?? 0;
    const { packed, rows } = await session.look(event);
    const frame = decodeFrame(packed);
    assert.equal(frame.event, event);
    if (explain.at.reserved_bytes !== null) {
      assert.equal(frame.bytes.committed, explain.at.reserved_bytes);
      assert.equal(frame.bytes.live, explain.at.allocated_bytes);
      const live = frame.blocks.bytes.reduce((sum, bytes, i) => sum + (frame.blocks.state[i] === State.Live ? bytes : 0), 0);
      // Blocks that lie in no segment of the file are counted, and stand nowhere.
      const { whole } = (explained as { certificate: { whole: boolean } }).certificate;
      assert.ok(whole ? live === explain.at.allocated_bytes : live <= explain.at.allocated_bytes, `${live} of ${explain.at.allocated_bytes}`);
    }
    // Every live block is one over time.
    frame.blocks.state.forEach((state, i) => assert.ok(state !== State.Live || (rows?.[i] ?? -1) >= 0, `block ${i}`));
    // Who holds it, as the command says.
    const held = session.holders(event, "line");
    assert.equal(held.reduce((sum, h) => sum + h.bytes, 0), explain.at.allocated_bytes);
    assert.deepEqual(held.slice(0, explain.holders.length).map(({ name, bytes, blocks }) => ({ line: name, bytes, blocks })), explain.holders.map(({ line, bytes, blocks }) => ({ line, bytes, blocks })));
    if (!devices.some(({ stateOnly }) => stateOnly)) assert.equal(session.peak().bytes, explain["peak_allocated_bytes"]);
    await pinnersAgree(session, file, Number(explain["entries"]), device);
    const stateOnly = devices.find((of) => of.device === device)?.stateOnly;
    for (const capacity of stateOnly === true ? [] : [null, 2 ** 30]) {
      const args = capacity === null ? [] : ["--capacity", String(capacity)];
      const compared = await session.compare(capacity);
      assert.deepEqual(compared?.json, await command("compare", file, "--fit-seconds", "0", "--plan-seconds", "0", ...args));
    }
    // The pools' run behind it.
    if (stateOnly !== true) {
      const report = await session.report();
      const { report: expected } = await native(file, { slabBytes: null });
      if (report !== null && (expected as { error?: unknown }).error === undefined) {
        assert.deepEqual((report["trace"] as Record<string, unknown>)["peak_allocated_bytes"], ((expected as Record<string, unknown>)["trace"] as Record<string, unknown>)["peak_allocated_bytes"]);
      }
    }
    if (stateOnly !== true) await playedAgrees(input, session);
    // Other devices, by their numbers.
    const peaks = await session.peaks();
    assert.equal(peaks.length, devices.length);
    session.close();
    assert.ok(allZero(session.handles()), JSON.stringify(session.handles()));
    for (const [i, other] of devices.entries()) {
      const of = (await command("explain", file, "--device", String(other.device))) as { explain: { peak_allocated_bytes: number } };
      assert.equal(peaks[i], of.explain.peak_allocated_bytes, `device ${other.device}`);
      const chosen = await open(input, { show: "recorded", device: other.device });
      assert.equal(snapshotOf(chosen).device, other.device);
      assert.deepEqual(snapshotOf(chosen).explained.json, of);
      chosen.close();
    }
  });
}

test("a recorded run: stepping back is as stepping forward, and what is counted is what is drawn at every event", async () => {
  const file = join(HOME, "..", OWN[0] as string);
  const session = await open({ name: "oom.pickle", bytes: await readFile(file) }, { show: "recorded" });
  const { instants } = session.info;
  assert.ok(instants !== "every");
  const forward: Uint8Array[] = [];
  for (const event of instants) forward.push((await session.look(event)).packed.slice());
  for (let i = instants.length - 1; i >= 0; i--) {
    assert.deepEqual((await session.look(instants[i] as number)).packed, forward[i]);
    const { blocks, bytes } = decodeFrame(forward[i] as Uint8Array);
    const of = (state: number) => blocks.bytes.reduce((sum, size, block) => sum + (blocks.state[block] === state ? size : 0), 0);
    assert.deepEqual([of(State.Live) + of(State.Pending), of(State.Pending), of(State.Clean)], [bytes.reserved, bytes.pending, bytes.clean], `event ${instants[i]}`);
  }
  session.close();
});

test("a file of another format is no snapshot, and its requests are compared by the rules", async () => {
  const file = join(HOME, "../traces/vit_infer.csv.gz");
  const session = await open({ name: file, bytes: await readFile(file) }, { show: "recorded" });
  assert.equal(session.info.snapshot, undefined);
  const told = await session.compare(64 << 20);
  assert.deepEqual(told?.json, await command("compare", file, "--fit-seconds", "0", "--plan-seconds", "0", "--capacity", "64MiB"));
  const report = await session.report();
  assert.equal(session.peak().bytes, (timeless(report)["trace"] as Record<string, number>)["peak_allocated_bytes"]);
  session.close();
});

test("the first picture waits for nothing else: the trace is read again once it is answered", async () => {
  const bytes = await readFile(join(HOME, "..", OWN[0] as string));
  let reads = 0;
  const counted = new Proxy(bytes, { get: (of, key) => (key === "subarray" ? (from: number, to: number) => (reads++, of.subarray(from, to)) : (of as unknown as Record<PropertyKey, unknown>)[key]) });
  const session = await open({ name: "oom.pickle", bytes: counted }, { show: "recorded" });
  const opened = reads;
  await session.look(session.info.first ?? 0);
  assert.equal(reads, opened);
  assert.ok((await session.report()) !== null);
  assert.ok(reads > opened, "and then it is");
  session.close();
});
