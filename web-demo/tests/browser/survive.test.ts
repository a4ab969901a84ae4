/** What a page has to get over: no workers, a part of it that is not there, files cut anywhere, twenty files one after the other. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { choose, done, opened, stage } from "./stage.ts";
import { open, REPOSITORY } from "./support.ts";

const site = stage("page", "none");
const own = (name: string) => join(REPOSITORY, "fuzz/corpus/trace_pickle", name);
const trace = (name: string) => join(REPOSITORY, "traces", name);

test("without workers the page says so, and what to do", async () => {
  const watched = await open(site.plain, site.url, {}, async (page) => {
    await page.addInitScript(() => {
      Object.defineProperty(window, "Worker", { value: undefined });
    });
  });
  await watched.page.locator(".message", { hasText: /runs no workers.*current browser/ }).waitFor();
  await watched.page.locator(".busy").waitFor({ state: "hidden" });
  await done(watched);
});

test("a part of the page that is not there is named, and what to do", async () => {
  const watched = await open(site.plain, site.url, {}, async (page) => {
    await page.route("**/*.wasm", (route) => route.abort());
  });
  await watched.page.locator(".message", { hasText: /core\w*\.wasm, a part of this page, could not be loaded.*reload/ }).waitFor();
  await done(watched);
});

test("a file cut anywhere says that it is, and the run before stays", async () => {
  const watched = await site.start();
  const { page } = watched;
  const whole = await readFile(own("oom.pickle"));
  for (const share of [0, 0.01, 0.3, 0.7, 0.999]) {
    const name = `cut-${share}.pickle`;
    await page.locator("#file").setInputFiles({ name, mimeType: "application/octet-stream", buffer: whole.subarray(0, Math.floor(whole.length * share)) });
    await page.locator(".message", { hasText: name }).waitFor();
    assert.match((await page.textContent(".message")) ?? "", share === 0 ? /an empty file/ : /the file is cut short: copy it again/);
    assert.equal(await page.textContent(".run h2"), "resnet50_train.csv.gz");
    assert.doesNotMatch((await page.getAttribute(".viewer", "class")) ?? "", /stale/);
  }
  await choose(page, own("oom.pickle"));
  assert.equal(await page.locator(".message").isVisible(), false);
  await done(watched);
});

test("twenty files one after the other: nothing grows", async () => {
  const watched = await site.start();
  const { page } = watched;
  const inside = await page.context().newCDPSession(page);
  const taken = async () => {
    // What was the last run's is given up within a moment.
    await page.waitForTimeout(500);
    await inside.send("HeapProfiler.collectGarbage");
    const { usedSize } = await inside.send("Runtime.getHeapUsage");
    const { nodes, jsEventListeners } = await inside.send("Memory.getDOMCounters");
    return { heap: usedSize, nodes, listeners: jsEventListeners, workers: page.workers().length };
  };
  let early: Awaited<ReturnType<typeof taken>> | null = null;
  for (let load = 1; load <= 20; load++) {
    const file = load % 2 === 0 ? own("oom.pickle") : trace("vit_infer.csv.gz");
    await choose(page, file);
    if (load === 4) early = await taken();
  }
  const late = await taken();
  console.log(`after 4 files ${JSON.stringify(early)}, after 20 ${JSON.stringify(late)}`);
  assert.ok(early !== null);
  assert.equal(late.workers, 1);
  assert.ok(late.heap < early.heap + 1e6, "a file leaves less than 64 kB");
  assert.ok(late.nodes < early.nodes + 160 && late.listeners < early.listeners + 16, "nor elements or listeners");
  await opened(page, "oom.pickle");
  await done(watched);
});

test("of two files that are dropped at once the first is opened, and the page says so", async () => {
  const watched = await site.start();
  const { page } = watched;
  await page.evaluate(() => {
    const dropped = new DataTransfer();
    for (const name of ["a.csv", "b.csv"]) dropped.items.add(new File(["id,lower,upper,size\n1,0,3,64\n"], name));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true }));
  });
  await opened(page, "a.csv");
  assert.match((await page.textContent(".message")) ?? "", /2 files were dropped: a\.csv is opened/);
  await done(watched);
});
