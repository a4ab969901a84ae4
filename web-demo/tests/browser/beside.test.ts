/** Who pins the waste, both rules of merging, and two traces beside each other: as the command tells them, on the page as it is shipped. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { accessible, choose, done, stage } from "./stage.ts";
import { REPOSITORY, shoot, strandline } from "./support.ts";

const site = stage("page", "none");

const OOM = "fuzz/corpus/trace_pickle/oom.pickle";
const trace = (name: string) => join(REPOSITORY, "traces", name);

interface Pinner {
  line: string;
  bytes: number;
  pinned_bytes: number;
  blocks: number;
}

async function pinners(...args: string[]): Promise<Pinner[]> {
  const told = JSON.parse(await strandline("explain", OOM, "--json", "--top", "1000", ...args)) as { explain: { pinners: Pinner[] } };
  return told.explain.pinners;
}

async function shownPinners(page: Page): Promise<Pinner[]> {
  return page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>(".pinners tbody tr")].map(({ dataset }) => ({
      line: dataset["line"] ?? "",
      bytes: Number(dataset["bytes"]),
      pinned_bytes: Number(dataset["pinned"]),
      blocks: Number(dataset["blocks"]),
    })),
  );
}

const at = (page: Page, event: number) => page.locator(`.pinners[data-event="${event}"]`).waitFor();

test("who pins the waste: at the failure and at another instant, and marked in both views", async () => {
  const watched = await site.start();
  const { page } = watched;
  // A run of pools has none.
  assert.equal(await page.locator(".pinners").isVisible(), false);
  await choose(page, join(REPOSITORY, OOM));
  const failed = Number(await page.locator(".viewer").getAttribute("data-event"));
  await at(page, failed);
  const expected = await pinners();
  assert.ok(expected.length > 0);
  assert.deepEqual(await shownPinners(page), expected);
  const views = [page.locator(".strips"), page.locator(".blocks-canvas")] as const;
  const pictures = async () => {
    await page.waitForTimeout(400);
    return Promise.all(views.map((view) => view.screenshot()));
  };
  const before = await pictures();
  const mark = page.getByRole("button", { name: "Mark them in both views" });
  await mark.click();
  await page.locator('.pinners [aria-pressed="true"]').waitFor();
  assert.equal(await page.locator("#search").inputValue(), "category:pins");
  // What holds memory is now what pins: so many blocks and bytes.
  const sum = expected.reduce((total, { bytes }) => total + bytes, 0);
  await page.locator(`.holders[data-bytes="${sum}"]`).waitFor();
  const marked = await pictures();
  marked.forEach((picture, i) => assert.notDeepEqual(picture, before[i], `view ${i}`));
  await shoot(page, "pinners");
  await page.locator(".pinners tbody button").first().click();
  await page.locator(`.holders[data-bytes="${expected[0]?.bytes}"]`).waitFor();
  assert.match(await page.locator("#search").inputValue(), /^category:pins line:"/);
  await mark.click();
  await page.locator('.pinners [aria-pressed="false"]').waitFor();
  const after = await pictures();
  after.forEach((picture, i) => assert.notDeepEqual(picture, marked[i], `view ${i}`));
  assert.equal(await page.locator("#search").inputValue(), "");
  // An instant before, and with the marks on.
  await mark.click();
  await page.getByRole("button", { name: "One instant back" }).click();
  await page.waitForFunction((old) => document.querySelector<HTMLElement>(".viewer")?.dataset["event"] !== String(old), failed);
  const event = Number(await page.locator(".viewer").getAttribute("data-event"));
  await at(page, event);
  const earlier = await pinners("--at", String(event - 1));
  assert.deepEqual(await shownPinners(page), earlier);
  await page.locator(`.holders[data-event="${event}"][data-bytes="${earlier.reduce((total, { bytes }) => total + bytes, 0)}"]`).waitFor();
  await accessible(watched.page);
  await done(watched);
});

async function numbers(page: Page, place: string): Promise<Record<string, [number, number]>> {
  return page.evaluate(
    (where) => Object.fromEntries([...document.querySelectorAll<HTMLElement>(`${where} .two-runs tbody tr`)].map(({ dataset }) => [dataset["key"], [Number(dataset["a"]), Number(dataset["b"])]])),
    place,
  ) as Promise<Record<string, [number, number]>>;
}

test("the rule of merging: on one axis with what differs where it decides something, and not shown where it does not", async () => {
  const watched = await site.start();
  const { page } = watched;
  // Nothing is in flight: both rules do the same.
  await page.locator('.rules[data-asked="yes"]').waitFor({ state: "attached" });
  assert.equal(await page.locator(".rules").isVisible(), false);
  await page.locator("#experiment").click();
  await page.locator(".rules .curves").waitFor();
  const play = async (...args: string[]) =>
    JSON.parse(await strandline("replay", "traces/resnet50_train.csv.gz", "--streams", "4", "--in-flight", "32", "--slab", "32MiB", "--as-recorded", "--json", ...args)) as Record<string, Record<string, number>>;
  const [ours, theirs] = [await play(), await play("--policy", "eager")];
  const shown = await numbers(page, ".rules");
  assert.equal(Object.keys(shown).length, 5);
  for (const [key, pair] of Object.entries(shown)) {
    const [group = "", name = ""] = key.split(".");
    assert.deepEqual(pair, [ours[group]?.[name], theirs[group]?.[name]], key);
  }
  // Numbers stand below their words.
  const edges = await page.evaluate(() => ["thead th:last-child", "tbody tr td:last-child"].map((cell) => document.querySelector(`.rules .two-runs ${cell}`)?.getBoundingClientRect().right ?? -1));
  assert.equal(edges[0], edges[1]);
  const [a = 0, b = 0] = shown["memory.peak_reserved_bytes"] ?? [];
  assert.equal(await page.locator(".rules .curves-place").getAttribute("data-most"), String(Math.max(a, b)));
  assert.match((await page.locator('.rules tr[data-key="memory.peak_reserved_bytes"] td').last().textContent()) ?? "", a === b ? /the same/ : /^[+−]\d/);
  // The same comparison, whichever of them is played.
  await page.locator("#eager").click();
  await page.waitForFunction(() => document.querySelector<HTMLElement>(".rules")?.dataset["asked"] === "");
  await page.locator(".rules .curves").waitFor();
  assert.deepEqual(await numbers(page, ".rules"), shown);
  await shoot(page, "rules");
  await accessible(watched.page);
  await done(watched);
});

test("two traces that are no snapshots: peaks, sizes and curves of both; a file that is none says so", async () => {
  const watched = await site.start();
  const { page } = watched;
  await page.locator("#trace").selectOption({ label: "ViT, inference" });
  await page.locator(".run h2", { hasText: "vit_infer" }).waitFor();
  await page.locator("#other-file").setInputFiles(trace("bert_train.csv.gz"));
  await page.locator(".difference-out .curves").waitFor();
  const diff = JSON.parse(await strandline("diff", "traces/bert_train.csv.gz", "traces/vit_infer.csv.gz", "--json")) as {
    diff: { lines: { a_bytes: number; b_bytes: number }[]; peak_allocated_bytes: { a: number; b: number }; peak_active_bytes: { a: number; b: number } };
  };
  const reserved = async (name: string) => {
    const report = JSON.parse(await strandline("replay", `traces/${name}`, "--in-flight", "0", "--slab", "32MiB", "--as-recorded", "--json")) as { memory: { peak_reserved_bytes: number } };
    return report.memory.peak_reserved_bytes;
  };
  const { peak_allocated_bytes: allocated, peak_active_bytes: active, lines } = diff.diff;
  assert.deepEqual(await numbers(page, ".difference-out"), {
    allocated: [allocated.a, allocated.b],
    active: [active.a, active.b],
    reserved: [await reserved("bert_train.csv.gz"), await reserved("vit_infer.csv.gz")],
  });
  const changed = lines.filter((line) => line.a_bytes !== line.b_bytes).map(({ a_bytes: a, b_bytes: b }) => [a, b]);
  assert.deepEqual(await page.evaluate(() => [...document.querySelectorAll<HTMLElement>('.difference-out [aria-label="Lines that changed"] tbody tr')].map((row) => [Number(row.dataset["a"]), Number(row.dataset["b"])])), changed);
  await shoot(page, "difference");
  await page.locator("#other-file").setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("not a trace\n") });
  await page.locator(".difference-out", { hasText: "notes.txt" }).filter({ hasNotText: "reading" }).waitFor();
  assert.equal(await page.locator(".difference-out .curves").count(), 0);
  await accessible(watched.page);
  await done(watched);
});
