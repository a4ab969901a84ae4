/** Plans on the page are those of `strandline plan`, and a pool that follows one does what `strandline replay --plan` does. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { planning } from "../../src/engine/planning";
import { NEVER } from "../../src/engine/lives";
import { decodeFrame } from "../../src/engine/decode";
import { State, type Input, type Plan, type PlanNews } from "../../src/model";
import { brimful } from "../brimful";
import { allZero, core, DEFAULTS, HOME, open, STRANDLINE, timeless, TRACES } from "./support";

const RUN = promisify(execFile);
/** Of searches that do not end by themselves. */
const SECONDS = 2;

/** Searches for a plan as the page does; all news of it. */
async function searched(name: string, bytes: Uint8Array, limit = SECONDS * 1000): Promise<{ plan: Plan; news: PlanNews[] }> {
  const news: PlanNews[] = [];
  const input: Input = { kind: "file", name, data: new Blob() };
  await planning({ core, bytes: (offset, length) => bytes.subarray(offset, offset + length), now: () => performance.now() }, input, null, limit, (told) => news.push(told));
  const plan = news.flatMap((told) => told.plan ?? []).pop();
  assert.ok(plan !== undefined, name);
  assert.deepEqual(news.map(({ ended }) => ended).indexOf(true), news.length - 1, "the last news is the end, and no other");
  return { plan, news };
}

interface Told {
  bytes: number;
  bound_bytes: number;
  blocks: number;
  optimal: boolean;
  waits: number;
}

async function told(file: string): Promise<Told> {
  const { stdout } = await RUN(STRANDLINE, ["plan", file, "--json", "--for", String(SECONDS)]);
  return (JSON.parse(stdout) as { plan: Told }).plan;
}

/** Recorded runs that are not of this project, where they are beside it. */
const shared = (name: string) => join(HOME, "../../shared", name);

const FILES = [
  ...["resnet50_train", "bert_train", "vit_infer", "gpt2_generate"].map((name) => join(TRACES, `${name}.csv.gz`)),
  join(HOME, "../docs/plan/step.csv"),
  ...["transformer_train", "transformer_infer", "four_streams_completed_only", "small_train_marks", "transformer_forward_80gb"].map((name) => shared(`snapshots/${name}.pickle.gz`)),
  shared("cases/pt/oom_device1.pickle"),
];

for (const file of FILES) {
  test(`${basename(file)}: the plan of the command, and every block of the run has its place`, async (t) => {
    if (!existsSync(file)) return t.skip(`no ${file}`);
    const bytes = await readFile(file);
    const [{ plan }, command] = [await searched(basename(file), bytes), await told(file)];
    assert.equal(plan.bound, command.bound_bytes);
    assert.equal(plan.blocks, command.blocks);
    if (command.optimal) {
      assert.deepEqual([plan.bytes, plan.optimal], [command.bytes, true]);
    } else {
      // Out of time: how far each came is a matter of the machine, but not by much.
      assert.ok(plan.bytes >= plan.bound && plan.bytes < 1.1 * command.bytes, `${plan.bytes} ${command.bytes}`);
    }
    for (const show of ["recorded", "played"] as const) {
      const session = await open({ name: basename(file), bytes }, { show });
      const placed = session.place(plan);
      const { info } = session;
      const refused = plan.blocks - placed.placed;
      assert.equal(placed.others, refused);
      const failures = info.snapshot?.devices.find(({ device }) => device === info.snapshot?.device)?.refused ?? 0;
      assert.equal(refused, failures, "what has a place but no block was refused");
      sound(session, plan.bytes);
      session.close();
      assert.ok(allZero(session.handles()));
    }
  });
}

/** No two blocks of the run share a byte at a time, by the picture's own numbers. */
function sound(session: Awaited<ReturnType<typeof open>>, most: number): void {
  const all = [];
  for (let row = 0; ; row++) {
    const life = session.life(row);
    if (life === null) break;
    assert.ok(life.planned !== null, `row ${row} has no place`);
    assert.ok(life.planned.offset + life.planned.bytes <= most);
    all.push({ ...life.planned, over: life.over ?? NEVER });
  }
  assert.ok(all.length > 0);
  const events = all.flatMap((block) => [
    { at: block.to, ends: true, block },
    { at: block.from, ends: false, block },
  ]);
  events.sort((a, b) => a.at - b.at || Number(b.ends) - Number(a.ends));
  const live = new Map<number, number>();
  const starts: number[] = [];
  const place = (offset: number) => {
    let [low, high] = [0, starts.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((starts[middle] as number) < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  for (const { ends, block } of events) {
    if (block.to <= block.from) continue;
    const at = place(block.offset);
    if (ends) {
      if (starts[at] === block.offset) starts.splice(at, 1);
      live.delete(block.offset);
      continue;
    }
    const before = starts[at - 1];
    assert.ok(before === undefined || before + (live.get(before) as number) <= block.offset, `bytes at ${block.offset} are taken at event ${block.from}`);
    const after = starts[at];
    assert.ok(after === undefined || block.offset + block.bytes <= after, `bytes behind ${block.offset} are taken at event ${block.from}`);
    starts.splice(at, 0, block.offset);
    live.set(block.offset, block.bytes);
  }
}

test("a pool that follows the plan: the report of replay --plan, and every block stands where the plan has it", async () => {
  const folder = await mkdtemp(join(tmpdir(), "strandline-plan-"));
  const file = join(TRACES, "resnet50_train.csv.gz");
  const bytes = await readFile(file);
  const { plan } = await searched("resnet50_train.csv.gz", bytes);
  const path = join(folder, "step.plan");
  await writeFile(path, plan.file);
  for (const options of [{}, { streams: 3, inFlight: 16 }]) {
    const session = await open({ name: "resnet50_train.csv.gz", bytes }, { ...options, plan });
    assert.equal(session.info.backing, "numbers");
    const report = timeless(await session.report());
    const flags = Object.entries({ "--streams": options.streams, "--in-flight": options.inFlight }).flatMap(([flag, value]) => (value === undefined ? [] : [flag, String(value)]));
    const { stdout } = await RUN(STRANDLINE, ["replay", file, "--plan", path, "--json", ...flags]);
    const native = timeless(JSON.parse(stdout));
    assert.deepEqual(report["pool"], native["pool"]);
    assert.deepEqual(report["memory"], native["memory"]);
    let [stands, strays] = [0, 0];
    const { events } = session.info;
    for (const event of [100, Math.floor(events / 2), session.peak().event, events]) {
      const { packed, planned } = await session.look(event);
      const { blocks } = decodeFrame(packed);
      assert.ok(planned !== undefined);
      for (let i = 0; i < blocks.count; i++) {
        if (blocks.state[i] !== State.Live) {
          assert.equal(planned[i], -1);
          continue;
        }
        assert.ok((planned[i] as number) >= 0, "every request of the trace is one of the plan");
        if (planned[i] === blocks.offset[i] && blocks.slab[i] === 0) stands++;
        else strays++;
      }
    }
    const { strayed } = report["pool"] as { strayed: number };
    assert.ok(stands > 100, `${stands}`);
    if (strayed === 0) assert.equal(strays, 0);
    else assert.ok(strays <= strayed);
    if (options.streams === undefined) assert.equal(strayed, 0, "on the very trace nothing strays");
    session.close();
    assert.ok(allZero(session.handles()), JSON.stringify(session.handles()));
  }
  await rm(folder, { recursive: true });
});

test("out of time: the best so far, with the bound; news while it searches", async () => {
  // Blocks of mixed lifetimes that fill their memory to the brim: no order finds the placement at once.
  const { plan, news } = await searched("brimful.csv", new TextEncoder().encode(brimful(400, 5, 4096, 1 << 20)), 1500);
  assert.ok(plan.bytes >= plan.bound);
  assert.equal(plan.optimal, plan.bytes === plan.bound);
  const sizes = news.map(({ best }) => best);
  assert.deepEqual(sizes, [...sizes].sort((a, b) => b - a), "it becomes no worse");
  if (!plan.optimal) assert.ok((news.at(-1) as PlanNews).seconds < 4, "the limit is kept");
});

test("what cannot be planned is told", async () => {
  const none = new TextEncoder().encode("no trace at all\n");
  await assert.rejects(() => searched("none.txt", none), /none\.txt/);
  assert.equal(DEFAULTS.plan, undefined);
});
