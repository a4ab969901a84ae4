/** Snapshots of PyTorch on the page: the answer, devices, out-of-memories, states; small ones always, real ones where they are. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import type { Page } from "playwright-core";
import { accessible, choose, done, stage } from "./stage.ts";
import { open, REPOSITORY, shoot, strandline } from "./support.ts";

const site = stage("page", "none");

const own = (name: string) => join(REPOSITORY, "fuzz/corpus/trace_pickle", name);
const real = (name: string) => join(REPOSITORY, "../shared", name);

interface Explained {
  explain: Record<string, number> & {
    peak_reserved_bytes: number | null;
    at: { entry: number | null; reserved_bytes: number | null; allocated_bytes: number };
    out_of_memory: { entry: number; verdict: string | null }[];
    holders: { line: string; bytes: number }[];
  };
}

const explain = async (...args: string[]) => JSON.parse(await strandline("explain", ...args, "--json")) as Explained;
const value = async (page: Page, key: string) => Number(await page.locator(`[data-number="${key}"]`).getAttribute("data-value"));

test("the first screen says what it is for, and shows a run at its peak", async () => {
  const watched = await open(site.plain, site.url);
  const { page } = watched;
  await page.locator(".run h2", { hasText: "resnet50" }).waitFor();
  assert.match((await page.textContent(".lead")) ?? "", /Drop a PyTorch memory snapshot/);
  const report = JSON.parse(await strandline("replay", "traces/resnet50_train.csv.gz", "--as-recorded", "--json", "--in-flight", "0", "--slab", "32MiB")) as {
    trace: { peak_allocated_bytes: number };
    memory: { peak_reserved_bytes: number };
  };
  await page.locator('[data-number="reserved"]').waitFor();
  assert.equal(await value(page, "allocated"), report.trace.peak_allocated_bytes);
  assert.equal(await value(page, "reserved"), report.memory.peak_reserved_bytes);
  // The picture is at that peak.
  const peak = await page.locator(".answer").getAttribute("data-peak");
  assert.equal(await page.locator(".viewer").getAttribute("data-event"), peak);
  assert.ok(Number(peak) > 0);
  // As recorded: one stream, nothing made up.
  assert.match((await page.textContent(".run-facts")) ?? "", /· 1 stream ·/);
  assert.equal(await page.locator(".as-if").isVisible(), false);
  await page.locator("#experiment").click();
  await page.locator(".run-facts", { hasText: "4 streams (made up: the trace has one)" }).waitFor();
  await shoot(page, "first-screen");
  await done(watched);
});

test("an out-of-memory: the verdict, the mark, the instant, and whether it fits", async () => {
  const file = own("oom.pickle");
  const told = await explain(file);
  const text = await strandline("explain", file);
  const watched = await site.startWith(file);
  const { page } = watched;
  const verdict = (await page.locator("#verdict p").allTextContents()).join("\n");
  assert.equal(verdict, text.split("\n\n")[0]);
  assert.equal(await value(page, "allocated"), told.explain["peak_allocated_bytes"]);
  if (told.explain.peak_reserved_bytes !== null) assert.equal(await value(page, "recorded"), told.explain.peak_reserved_bytes);
  const refused = told.explain.out_of_memory.length;
  await page.waitForFunction((marks) => document.querySelectorAll(".blocks-oom").length === marks, refused);
  assert.ok(refused > 0);
  // Entries are those of the file, as the command counts them; the words are PyTorch's.
  assert.match((await page.textContent(".failure")) ?? "", new RegExp(`^Out of memory at entry ${told.explain.out_of_memory[0]?.entry}\\.`));
  assert.deepEqual(await page.locator(".sums > div:visible dt").allTextContents(), ["reserved", "active", "allocated", "padding", "pending", "free"]);
  assert.equal(await page.textContent("#memory-title"), "Segments");
  // All of the run is shown, whatever the run before was like.
  assert.equal(await page.locator(".timeline-range").isVisible(), false);
  assert.equal(await page.locator(".viewer").getAttribute("data-event"), String((told.explain.at.entry ?? -1) + 1));
  // What to paste, as the command says it.
  const compared = JSON.parse(await strandline("compare", file, "--fit-seconds", "0", "--plan-seconds", "0", "--capacity", "1TiB", "--json")) as {
    compare: { rows: { current: boolean; ok: boolean; peak_reserved_bytes: number }[] };
  };
  await page.locator("#fit").fill("1TiB");
  await page.locator("#fit").press("Enter");
  await page.locator("#fit-answer .fit-line").waitFor();
  const current = compared.compare.rows.filter((row) => row.current).at(-1);
  assert.ok(current?.ok === true);
  assert.match((await page.textContent("#fit-answer .fit-line")) ?? "", /^Yes: with the current settings it takes/);
  await page.locator("#fit").fill("lots");
  await page.locator("#fit").press("Enter");
  await page.locator("#fit-answer", { hasText: "is not a size" }).waitFor();
  await shoot(page, "snapshot-oom");
  await done(watched);
});

test("a run is saved as one file, which opens at the same instant with the same bytes", async () => {
  const watched = await site.startWith(own("oom.pickle"));
  const { page } = watched;
  await page.getByRole("button", { name: "One instant back" }).click();
  const event = await page.locator(".viewer").getAttribute("data-event");
  const bytes = await page.textContent('[data-bytes="committed"]');
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save as one HTML file" }).click()]);
  const folder = await mkdtemp(join(tmpdir(), "strandline-saved-"));
  const file = join(folder, "saved.html");
  await download.saveAs(file);
  const asked: string[] = [];
  const saved = await open(site.plain, pathToFileURL(file).href, {}, async (there) => {
    there.on("request", (request) => asked.push(request.url()));
  });
  await saved.page.waitForFunction((wanted) => document.querySelector<HTMLElement>(".viewer")?.dataset["event"] === wanted, event);
  assert.equal(await saved.page.textContent('[data-bytes="committed"]'), bytes);
  assert.match((await saved.page.textContent(".failure")) ?? "", /could not be satisfied|Out of memory/);
  // It asks for nothing but itself.
  assert.deepEqual(asked.filter((url) => !url.startsWith("data:")), [pathToFileURL(file).href]);
  await done(saved);
  await done(watched);
  await rm(folder, { recursive: true });
});

test("a state without a trace shows its segments", async () => {
  const file = own("state.pickle");
  const told = await explain(file);
  const watched = await site.startWith(file);
  const { page } = watched;
  await page.waitForFunction(() => Number(document.querySelector<HTMLElement>(".viewer")?.dataset["rects"]) > 0);
  const reserved = (await page.textContent('[data-bytes="committed"]')) ?? "";
  assert.notEqual(reserved, "0 B");
  for (const part of [".transport", ".timeline", ".blocks-panel"]) assert.equal(await page.locator(part).first().isVisible(), false, `${part}: a state has no time`);
  assert.equal(await page.locator(".sums").isVisible(), true);
  assert.equal(await value(page, "allocated"), told.explain["peak_allocated_bytes"]);
  await page.locator("#fit").fill("1GiB");
  await page.locator("#fit").press("Enter");
  await page.locator("#fit-answer", { hasText: "a state at one moment" }).waitFor();
  await done(watched);
});

test("what a file does not tell of its segments is not made up", async () => {
  const file = own("deferred.pickle");
  const told = await explain(file);
  assert.equal(told.explain.peak_reserved_bytes, null);
  const watched = await site.startWith(file);
  const { page } = watched;
  await page.locator("#memory-title", { hasText: "Segments" }).waitFor();
  for (const key of ["committed", "reserved", "padding", "pending", "clean"]) assert.equal(await page.textContent(`[data-bytes="${key}"]`), "not told", key);
  assert.match((await page.textContent('[data-bytes="live"]')) ?? "", / B$/);
  assert.equal(await page.getByText("The file tells nothing of the segments").isVisible(), true);
  assert.doesNotMatch((await page.textContent("#headline")) ?? "", /reserved by PyTorch/);
  // The next file tells.
  await choose(page, own("oom.pickle"));
  assert.notEqual(await page.textContent('[data-bytes="committed"]'), "not told");
  await done(watched);
});

test("the device that failed is shown, and another can be picked", async (t) => {
  const file = real("cases/pt/oom_device1.pickle");
  if (!existsSync(file)) return t.skip(`no ${file}`);
  const watched = await site.startWith(file);
  const { page } = watched;
  assert.match((await page.textContent(".run-facts")) ?? "", /device 1/);
  await page.locator("#device option", { hasText: "peak" }).first().waitFor({ state: "attached" });
  const options = await page.locator("#device option").allTextContents();
  assert.equal(options.length, 2);
  assert.match(options[1] ?? "", /✕ 1 out-of-memory/);
  await page.locator("#device").selectOption("0");
  await page.locator(".run-facts", { hasText: "device 0" }).waitFor();
  const told = await explain(file, "--device", "0");
  assert.equal(await value(page, "allocated"), told.explain["peak_allocated_bytes"]);
  await done(watched);
});

test("a real training run: lines, stacks, the pools' run beside it, two files compared, a picture saved; axe finds nothing", async (t) => {
  const file = real("snapshots/transformer_train.pickle.gz");
  const other = real("snapshots/transformer_infer.pickle.gz");
  if (!existsSync(file) || !existsSync(other)) return t.skip(`no ${file}`);
  const told = await explain(file);
  const watched = await site.startWith(file, { width: 1280, height: 900 });
  const { page } = watched;
  const event = (told.explain.at.entry ?? -1) + 1;
  await page.locator(`.holders[data-event="${event}"] tbody tr`).first().waitFor();
  const rows = await page.evaluate(() => [...document.querySelectorAll<HTMLElement>(".holders tbody tr")].map((row) => ({ line: row.dataset["line"], bytes: Number(row.dataset["bytes"]) })));
  const expected = told.explain.holders.map(({ line, bytes }) => ({ line, bytes }));
  assert.deepEqual(rows.slice(0, expected.length), expected);
  await page.locator('[data-number="reserved"]').waitFor();
  // The same digits in the headline and in the command's line below it.
  const words = /at most (.*) allocated, (.*) reserved/.exec((await page.textContent("#verdict")) ?? "");
  const headline = (await page.textContent("#headline")) ?? "";
  assert.ok(words !== null && headline.includes(`Peak ${words[1]} allocated`) && headline.includes(`${words[2]} reserved by PyTorch`), headline);
  await page.locator("#advice p").first().waitFor();
  const compared = await strandline("compare", file, "--fit-seconds", "0", "--plan-seconds", "0");
  const advised = (await page.locator("#advice > p").allTextContents()).map((line) => line.trim());
  assert.deepEqual(advised, (compared.split("\n\n")[0] ?? "").split("\n").filter((line) => !line.startsWith("    ")).map((line) => line.trim()));
  // A block in the details, with its stack.
  await page.locator(".strips-scroller").focus();
  await page.locator(".life .stack li").first().waitFor();
  // Stepping back is as stepping on, and keys that come fast add up.
  await page.locator(".blocks-stage").focus();
  for (let i = 0; i < 10; i++) await page.keyboard.press(",");
  await page.waitForFunction((from) => Number(document.querySelector<HTMLElement>(".viewer")?.dataset["event"]) <= from - 10, event);
  for (let i = 0; i < 10; i++) await page.keyboard.press(".");
  await page.waitForFunction((from) => document.querySelector<HTMLElement>(".viewer")?.dataset["event"] === String(from), event);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save as SVG" }).click()]);
  const svg = await readFile(await download.path(), "utf8");
  assert.match(svg, /^<svg .*<path fill="rgb.*<\/svg>$/s);
  assert.doesNotMatch(svg, /href|<script|url\(/);
  await page.locator("#other-file").setInputFiles(other);
  await page.locator('.difference-out [aria-label="Lines that changed"] tbody tr').first().waitFor();
  const diff = JSON.parse(await strandline("diff", other, file, "--json")) as { diff: { lines: { a_bytes: number; b_bytes: number }[] } };
  const changed = diff.diff.lines.filter((line) => line.a_bytes !== line.b_bytes).map(({ a_bytes: a, b_bytes: b }) => [a, b]);
  assert.deepEqual(await page.evaluate(() => [...document.querySelectorAll<HTMLElement>('.difference-out [aria-label="Lines that changed"] tbody tr')].map((row) => [Number(row.dataset["a"]), Number(row.dataset["b"])])), changed);
  await accessible(page);
  await shoot(page, "snapshot-train");
  // The same requests through the pools.
  await page.locator("#show").selectOption("played");
  await page.locator(".run-facts", { hasText: "pool tlsf" }).waitFor();
  await page.locator(".report pre").waitFor({ state: "attached" });
  await done(watched);
});
