/** What is played beside a run: another trace, and the same by the other rule of merging. Every number is the command's. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { compared, decides } from "../../src/view/rules";
import type { Session } from "../../src/engine/session";
import { allZero, HOME, native, open, timeless, trace, TRACES } from "./support";

const STRANDLINE = process.env["STRANDLINE"] ?? join(HOME, "../target/release/strandline");
const MEBI = 2 ** 20;
const SNAPSHOT = join(HOME, "../fuzz/corpus/trace_pickle/oom.pickle");
const STATE = join(HOME, "../fuzz/corpus/trace_pickle/state.pickle");

/** Bytes as a file of the host gives them. */
const reading = (bytes: Uint8Array) => (offset: number, length: number) => bytes.subarray(offset, offset + length);
const most = (values: Float64Array) => values.reduce((a, b) => Math.max(a, b), 0);

async function printed(...args: string[]): Promise<Record<string, unknown>> {
  return JSON.parse((await promisify(execFile)(STRANDLINE, [...args, "--json"], { maxBuffer: 2 ** 28 })).stdout) as Record<string, unknown>;
}

function closed(session: Session): void {
  session.close();
  assert.ok(allZero(session.handles()), JSON.stringify(session.handles()));
}

interface Reported {
  memory: { peak_reserved_bytes: number; peak_allocated_bytes: number };
}

test("two traces that are no snapshots: lines, both peaks, and curves that reach them", async () => {
  const options = { slabBytes: 32 * MEBI };
  const [now, before] = await Promise.all([trace("vit_infer"), trace("gpt2_generate")]);
  const session = await open(now, options);
  const { told, reserved, reservedBy, ...series } = await session.diff(before.name, reading(before.bytes));
  assert.deepEqual(told.json, await printed("diff", join(TRACES, before.name), join(TRACES, now.name)));
  assert.match(told.text, /^peak allocated went from /);
  assert.equal(reservedBy, "Strandline's pools");
  for (const [side, file] of [["before", before], ["after", now]] as const) {
    const { memory } = (await native(join(TRACES, file.name), options)).report as Reported;
    assert.equal(reserved[side], memory.peak_reserved_bytes);
    assert.equal(most(series[side].committed.max), memory.peak_reserved_bytes);
    assert.equal(most(series[side].live.max), memory.peak_allocated_bytes);
  }
  closed(session);
});

test("a snapshot beside another trace, either way; two snapshots by their lines", async () => {
  const snapshot = await readFile(SNAPSHOT);
  const other = await trace("vit_infer");
  const recorded = await open({ name: SNAPSHOT, bytes: snapshot }, { show: "recorded" });
  const shown = await recorded.diff(other.name, reading(other.bytes));
  assert.deepEqual(shown.told.json, await printed("diff", join(TRACES, other.name), SNAPSHOT));
  const same = await recorded.diff("again.pickle", reading(snapshot));
  assert.deepEqual(same.told.json, await printed("diff", SNAPSHOT, SNAPSHOT));
  assert.equal(same.reservedBy, "PyTorch");
  assert.equal(same.reserved.before, same.reserved.after);
  closed(recorded);
  const played = await open(other);
  assert.deepEqual((await played.diff(SNAPSHOT, reading(snapshot))).told.json, await printed("diff", SNAPSHOT, join(TRACES, other.name)));
  closed(played);
});

test("what cannot be compared says why, and what can", async () => {
  const state = await readFile(STATE);
  const other = await trace("vit_infer");
  const session = await open(other);
  await assert.rejects(session.diff("state.pickle", reading(state)), /state\.pickle tells a state at one moment.*another PyTorch snapshot only/);
  await assert.rejects(session.diff("noise.csv", reading(Buffer.from("nothing,that\nis,a trace\n"))), /noise\.csv/);
  await assert.rejects(session.diff("empty.csv", reading(new Uint8Array())), /empty\.csv/);
  closed(session);
  const recorded = await open({ name: "state.pickle", bytes: state }, { show: "recorded" });
  await assert.rejects(recorded.diff(other.name, reading(other.bytes)), /state\.pickle tells a state at one moment.*another PyTorch snapshot only/);
  closed(recorded);
});

test("closed while another trace is played: nothing is left, and whoever waits is told", async () => {
  const [now, before] = await Promise.all([trace("vit_infer"), trace("bert_train")]);
  const session = await open(now, { slabBytes: 32 * MEBI });
  await session.report();
  const difference = session.diff(before.name, reading(before.bytes));
  const told = assert.rejects(difference, /closed/);
  await new Promise((resolve) => setImmediate(resolve));
  session.close();
  await told;
  assert.ok(allZero(session.handles()), JSON.stringify(session.handles()));
});

test("both rules of merging as the command plays them, from either side; nothing where nothing is in flight", async () => {
  const options = { streams: 4, inFlight: 32, slabBytes: 32 * MEBI, pool: "tlsf" } as const;
  const input = await trace("resnet50_train");
  const file = join(TRACES, input.name);
  const expected = [(await native(file, options)).report, (await native(file, { ...options, policy: "eager" })).report].map(timeless);
  for (const policy of ["readiness", "eager"] as const) {
    const session = await open(input, { ...options, policy });
    const rules = await session.rules();
    assert.ok(rules !== null);
    assert.deepEqual([rules.readiness.report, rules.eager.report].map(timeless), expected);
    assert.ok(decides(rules));
    const [reserved] = compared(rules);
    assert.deepEqual([most(rules.readiness.series.committed.max), most(rules.eager.series.committed.max)], [reserved?.a, reserved?.b]);
    closed(session);
  }
  for (const without of [{ slabBytes: 32 * MEBI }, { ...options, pool: "fixed" }] as const) {
    const session = await open(input, without);
    assert.equal(await session.rules(), null);
    closed(session);
  }
});
