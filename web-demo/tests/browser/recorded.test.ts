/** The pages that the command writes, opened as files: they show the run that the command reports. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import type { Browser } from "playwright-core";
import { browser, drawnBy, facts, numbers, open, shoot, shown, strandline } from "./support.ts";

let gpu: Browser;
let folder: string;

before(async () => {
  gpu = await browser("webgpu");
  folder = await mkdtemp(join(tmpdir(), "strandline-recorded-"));
});
after(async () => {
  await gpu?.close();
  await rm(folder, { recursive: true, force: true });
});

interface Report extends Record<string, unknown> {
  trace: { events: number; peak_live_bytes: number };
  pool: { final_committed_bytes: number };
  reuse: Record<string, number>;
  failure: null | { event: number; reason: string };
}

async function written(name: string, ...args: string[]): Promise<{ url: string; report: Report }> {
  const file = join(folder, `${name}.html`);
  const report = JSON.parse(await strandline("replay", ...args, "--json", "--plot", file)) as Report;
  return { url: pathToFileURL(file).href, report };
}

/** Asked for nothing but itself. */
async function openFile(url: string, dark = false) {
  const asked: string[] = [];
  const watched = await open(gpu, url, { dark }, async (page) => {
    page.on("request", (request) => asked.push(request.url()));
  });
  return { ...watched, asked };
}

test("a recorded run opens from a file, without a network, and ends with the reported numbers", async () => {
  const { url, report } = await written("resnet", "traces/resnet50_train.csv.gz", "--streams", "4", "--in-flight", "32");
  const { page, faults, asked, close } = await openFile(url);
  await drawnBy(page, "webgpu");
  // It opens at the peak.
  await page.waitForFunction(() => Number(document.querySelector<HTMLElement>(".viewer")?.dataset["event"]) > 0);
  const exact = (n: number) => n.toLocaleString("en-US");
  const counter = async (key: string) => page.textContent(`[data-counter="${key}"]`);
  const live = await page.textContent('[data-bytes="live"]');
  assert.equal(live, `${(report.trace.peak_live_bytes / 2 ** 20).toFixed(2)} MiB`);
  await shoot(page, "recorded-peak");
  await page.getByRole("button", { name: "To the end" }).click();
  await shown(page, report.trace.events);
  for (const key of ["fresh", "dominated", "completed", "waited", "missed", "tainted"]) {
    assert.equal(await counter(key), exact(report.reuse[key] ?? -1), key);
  }
  assert.equal(await page.textContent('[data-bytes="committed"]'), `${(report.pool.final_committed_bytes / 2 ** 20).toFixed(2)} MiB`);
  await page.locator(".report summary").click();
  const there = JSON.parse((await page.textContent(".report pre")) ?? "") as Report;
  assert.deepEqual(numbers(there), numbers(report));
  // Steps go from instant to instant, and play gets through them all.
  await page.getByRole("button", { name: "One instant back" }).click();
  await page.waitForFunction((end) => Number(document.querySelector<HTMLElement>(".viewer")?.dataset["event"]) < end, report.trace.events);
  await page.getByLabel("Speed").selectOption("10000");
  await page.getByRole("button", { name: "To the beginning" }).click();
  await shown(page, 0);
  await page.getByRole("button", { name: "Play" }).click();
  await shown(page, report.trace.events);
  assert.deepEqual(asked.filter((address) => !address.startsWith("data:") && address !== url), []);
  assert.deepEqual(faults, []);
  await close();
});

test("a run that failed opens at the failure and explains it", async () => {
  const { url, report } = await written("failed", "traces/bert_train.csv.gz", "--capacity", "96MiB", "--streams", "8", "--in-flight", "32");
  assert.ok(report.failure !== null);
  const { page, faults, close } = await openFile(url, true);
  await shown(page, report.failure.event);
  const told = (await page.getByRole("alert").first().textContent()) ?? "";
  assert.ok(told.includes(`Event ${report.failure.event.toLocaleString("en-US")} could not be satisfied`), told);
  assert.ok(told.includes(report.failure.reason), told);
  assert.equal(await page.textContent('[data-counter="exhausted"]'), "1");
  await shoot(page, "recorded-failure");
  assert.deepEqual(faults, []);
  await close();
});

test("a page is small, also of a long trace", async () => {
  const { url, report } = await written("generate", "traces/gpt2_generate.csv.gz", "--streams", "8", "--in-flight", "64");
  assert.ok(report.trace.events > 10_000);
  const size = (await readFile(new URL(url))).length;
  assert.ok(size < 4 * 2 ** 20, `${size} bytes`);
  const { page, faults, close } = await openFile(url);
  await drawnBy(page, "webgpu");
  await page.getByRole("button", { name: "To the end" }).click();
  await shown(page, report.trace.events);
  assert.equal((await facts(page))["draws"], "1");
  assert.deepEqual(faults, []);
  await close();
});

test("a page whose data is damaged says so", async () => {
  const { url } = await written("damaged", "traces/vit_infer.csv.gz");
  const file = new URL(url);
  const text = await readFile(file, "utf8");
  // Cut short, and gone.
  for (const damaged of [text.replace(/(id="recording">.{2000})[^<]*/, "$1"), text.replace(/(id="recording">)[^<]*/, "$1")]) {
    assert.ok(damaged.length < text.length);
    await writeFile(file, damaged);
    const { page, close } = await openFile(url);
    await page.getByRole("alert").filter({ hasText: "cannot show its run" }).waitFor();
    await close();
  }
});
