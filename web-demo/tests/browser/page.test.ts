/** The page with the components, as it is shipped: static files below some path, in a real browser. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import type { Page } from "playwright-core";
import { done, opened, stage } from "./stage.ts";
import { drawnBy, facts, losable, numbers, REPOSITORY, shoot, shown, strandline } from "./support.ts";

const site = stage("page", "webgpu", "none");

type Report = Record<string, unknown> & { trace: { events: number }; failure: null | { event: number; reason: string } };

/** Without a slab's size the command takes elastic slabs; a page has none. */
const native = async (...args: string[]) => {
  const sized = args.some((arg) => ["--slab", "--capacity", "passthrough", "arena", "fixed"].includes(arg));
  return JSON.parse(await strandline("replay", ...args, "--as-recorded", "--json", ...(sized ? [] : ["--slab", "32MiB"]))) as Report;
};
const trace = (name: string) => join(REPOSITORY, "traces", name);

/** The report of the whole run, which is there once all was played. */
async function report(page: Page): Promise<Report> {
  await page.locator(".report").waitFor();
  return JSON.parse((await page.locator(".report pre").textContent()) ?? "") as Report;
}

async function slide(page: Page, knob: string, text: string): Promise<void> {
  const range = page.locator(`#knob-${knob}`);
  const stops = Number(await range.getAttribute("max"));
  for (let at = 0; at <= stops; at++) {
    await range.evaluate((input: HTMLInputElement, value) => {
      input.value = String(value);
      input.dispatchEvent(new Event("input", { bubbles: true }));
    }, at);
    if ((await range.getAttribute("aria-valuetext")) === text) {
      await range.dispatchEvent("change");
      return;
    }
  }
  assert.fail(`${knob} has no ${text}`);
}

/** As if on several streams: an experiment that is switched on. The command's words for where the knobs stand at first. */
const EXPERIMENT = ["--streams", "4", "--in-flight", "32"];
const experiment = async (page: Page) => page.locator("#experiment").click();

const options = async (page: Page) => page.locator(".inputs details summary").click();

test("a shipped trace played to its end has the command's numbers, in WebGPU buffers and in ArrayBuffers", async () => {
  const expected = await native("traces/resnet50_train.csv.gz", "--in-flight", "0");
  for (const [from, backing, renderer] of [
    [site.gpu, "webgpu", "webgpu"],
    [site.plain, "array-buffer", "canvas"],
  ] as const) {
    const watched = await site.start({}, undefined, from);
    const { page } = watched;
    await drawnBy(page, renderer);
    // No GPU memory is taken unless it is asked for.
    assert.equal(await page.locator(".backing").getAttribute("data-backing"), "array-buffer");
    if (backing === "webgpu") {
      await options(page);
      await page.locator("#backing").selectOption("webgpu");
      await page.locator('.backing[data-backing="webgpu"]').waitFor();
    }
    await page.getByLabel("Speed").selectOption("10000");
    await page.getByRole("button", { name: "Play" }).click();
    await shown(page, expected.trace.events);
    assert.deepEqual(numbers(await report(page)), numbers(expected));
    // What the picture says of the end is what the report says of it.
    const reuse = expected["reuse"] as Record<string, number>;
    for (const key of ["fresh", "dominated", "completed", "waited", "missed", "tainted"]) {
      assert.equal(await page.textContent(`[data-counter="${key}"]`), (reuse[key] ?? -1).toLocaleString("en-US"), key);
    }
    await shoot(page, `page-${backing}`);
    await done(watched);
  }
});

test("options do as the command's do", async () => {
  const watched = await site.start();
  const { page } = watched;
  await options(page);
  await page.locator("#trace").selectOption({ label: "ViT, inference" });
  await opened(page, "vit_infer.csv.gz");
  // The report of this run, not that of the next.
  await report(page);
  for (const [change, args] of [
    [() => experiment(page), EXPERIMENT],
    [() => slide(page, "streams", "those of the file"), ["--in-flight", "32"]],
    [() => slide(page, "inFlight", "0"), ["--in-flight", "0"]],
    [() => page.locator("#pool").selectOption("passthrough"), ["--in-flight", "0", "--pool", "passthrough"]],
    [() => page.locator("#pool").selectOption("arena"), ["--in-flight", "0", "--pool", "arena"]],
    [() => page.locator("#pool").selectOption("tlsf"), ["--in-flight", "0", "--pool", "tlsf"]],
    [() => slide(page, "inFlight", "64"), ["--in-flight", "64", "--pool", "tlsf"]],
    [() => page.locator("#eager").click(), ["--in-flight", "64", "--pool", "tlsf", "--policy", "eager"]],
    [() => slide(page, "streams", "8"), ["--in-flight", "64", "--pool", "tlsf", "--policy", "eager", "--streams", "8"]],
    [() => page.locator("#wait").click(), ["--in-flight", "64", "--pool", "tlsf", "--policy", "eager", "--streams", "8", "--allow-wait"]],
    [() => slide(page, "slab", "16.00 MiB"), ["--in-flight", "64", "--pool", "tlsf", "--policy", "eager", "--streams", "8", "--allow-wait", "--slab", "16MiB"]],
  ] as [() => Promise<unknown>, string[]][]) {
    const old = await page.locator(".report pre").textContent();
    await change();
    await page.waitForFunction((before) => {
      const text = document.querySelector(".report pre")?.textContent ?? "";
      return text !== "" && text !== before;
    }, old);
    assert.deepEqual(numbers(await report(page)), numbers(await native("traces/vit_infer.csv.gz", ...args)), args.join(" "));
  }
  await done(watched);
});

test("merging as IREE does keeps the instant, so that the two can be compared", async () => {
  const watched = await site.start();
  const { page } = watched;
  await page.getByLabel("Event", { exact: true }).fill("4264");
  await page.getByLabel("Event", { exact: true }).press("Enter");
  await shown(page, 4264);
  await page.locator("#eager").click();
  // Both rules may commit as many bytes at this instant.
  await page.waitForFunction(() => {
    const now = document.querySelector('[data-bytes="committed"]')?.textContent;
    return now !== "–" && document.querySelector<HTMLElement>(".viewer")?.dataset["event"] === "4264";
  });
  await done(watched);
});

test("files are dropped or chosen: plain, gzip, and the name stays on them", async () => {
  const watched = await site.start();
  const { page } = watched;
  const csv = gunzipSync(await readFile(trace("vit_infer.csv.gz")));
  await page.evaluate((text) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([text], "dropped.csv"));
    for (const type of ["dragenter", "dragover", "drop"]) {
      document.body.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
    }
  }, csv.toString("utf8"));
  await opened(page, "dropped.csv");
  const expected = await native("traces/vit_infer.csv.gz", "--in-flight", "0");
  assert.deepEqual(numbers(await report(page)), numbers(expected));
  assert.equal(await page.locator("#trace").inputValue(), "file");
  await page.locator("#file").setInputFiles(trace("bert_train.csv.gz"));
  await opened(page, "bert_train.csv.gz");
  assert.equal(await page.locator(".message").isVisible(), false);
  // A PyTorch memory snapshot: the same reader as the command's.
  const snapshot = "fuzz/corpus/trace_pickle/snapshot0.pickle";
  await page.locator("#file").setInputFiles(join(REPOSITORY, snapshot));
  await opened(page, "snapshot0.pickle");
  // It has streams of its own, and keeps them.
  assert.deepEqual(numbers(await report(page)), numbers(await native(snapshot, "--in-flight", "0")));
  await done(watched);
});

test("bad files give a readable message and leave the page at work", async () => {
  const watched = await site.start();
  const { page } = watched;
  const gzip = await readFile(trace("vit_infer.csv.gz"));
  const header = "Thread,Time,Action,Pointer,Size,Stream\n";
  for (const [name, bytes, message] of [
    ["empty.csv", Buffer.alloc(0), /empty\.csv/],
    ["garbage.bin", Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7919) % 256)), /garbage\.bin/],
    ["cut.csv.gz", gzip.subarray(0, gzip.length / 2), /cut\.csv\.gz/],
    ["line.csv", Buffer.from(`${header}1,10:00:00.000001,allocate,0x10,many,0\n`), /line\.csv.*line 2/],
    ["twice.csv", Buffer.from(`${header}1,10:00:00.000001,allocate,0x10,64,0\n1,10:00:00.000002,free,0x10,64,0\n1,10:00:00.000003,free,0x10,64,0\n`), /twice\.csv.*line 4/],
  ] as const) {
    await page.locator("#file").setInputFiles({ name, mimeType: "application/octet-stream", buffer: Buffer.from(bytes) });
    await page.locator(".message", { hasText: name }).waitFor();
    const text = (await page.locator(".message").textContent()) ?? "";
    assert.match(text, message);
    assert.doesNotMatch(text, /undefined|\[object|at .*\.ts|unreachable/);
    console.log(`${name}: ${text}`);
    // The run before is still there.
    assert.equal(await page.locator(".run h2").textContent(), "resnet50_train.csv.gz");
  }
  await shoot(page, "bad-file");
  await page.locator("#capacity").evaluate((input: HTMLInputElement) => {
    input.value = "lots";
    input.dispatchEvent(new Event("change"));
  });
  await page.locator(".message", { hasText: "is not a size" }).waitFor();
  await done(watched);
});

test("a trace that does not fit ends at the command's failure, explained", async () => {
  const expected = await native("traces/bert_train.csv.gz", ...EXPERIMENT, "--capacity", "96MiB");
  assert.ok(expected.failure !== null);
  const watched = await site.start({ dark: true });
  const { page } = watched;
  await options(page);
  await page.locator("#trace").selectOption({ label: "BERT, training" });
  await opened(page, "bert_train.csv.gz");
  await experiment(page);
  await page.locator("#capacity").fill("96MiB");
  await page.locator("#capacity").press("Enter");
  await page.locator(".failure").waitFor();
  const told = (await page.locator(".failure").textContent()) ?? "";
  assert.ok(told.includes(`Event ${expected.failure.event.toLocaleString("en-US")} could not be satisfied`), told);
  assert.ok(told.includes(expected.failure.reason), told);
  await page.getByRole("button", { name: "Show that instant" }).click();
  await shown(page, expected.failure.event);
  await shoot(page, "page-failure");
  assert.deepEqual(numbers(await report(page)), numbers(expected));
  await done(watched);
});

test("a synthetic load, the same every time", async () => {
  const watched = await site.start();
  const { page } = watched;
  const play = async () => {
    await page.locator("#trace").selectOption("synthetic");
    await page.locator(".run-facts", { hasText: "synthetic" }).waitFor();
    return numbers(await report(page));
  };
  const first = await play();
  await page.locator("#trace").selectOption({ label: "ViT, inference" });
  await opened(page, "vit_infer.csv.gz");
  assert.deepEqual(await play(), first);
  await page.getByRole("button", { name: "To the end" }).click();
  await shown(page, 20_000);
  await shoot(page, "synthetic");
  await done(watched);
});

test("opened and closed again and again, nothing is left", async () => {
  for (const from of [site.gpu, site.plain]) {
    const watched = await site.start({}, undefined, from);
    const { page } = watched;
    for (const label of ["ViT, inference", "BERT, training", "ViT, inference"]) {
      await page.locator("#trace").selectOption({ label });
      await page.waitForFunction(() => /^\d/.test(document.querySelector(".handles")?.textContent ?? ""));
      await page.getByRole("button", { name: "To the end" }).click();
      await page.getByRole("button", { name: "Close the run" }).click();
      await page.locator('#left[data-handles="0"]').waitFor();
      assert.equal(await page.textContent("#left"), "Closed: 0 handles left.");
      assert.equal(await page.locator(".viewer").isVisible(), false);
      await page.locator("#left").evaluate((left) => left.removeAttribute("data-handles"));
      await page.locator("#trace").selectOption("synthetic");
      await page.locator(".run-facts", { hasText: "synthetic" }).waitFor();
    }
    await done(watched);
  }
});

test("the device of the picture is lost while it plays: it goes on", async () => {
  const watched = await site.start({}, losable, site.gpu);
  const { page } = watched;
  await drawnBy(page, "webgpu");
  await page.getByRole("button", { name: "Play" }).click();
  await page.waitForFunction(() => Number(document.querySelector<HTMLElement>(".viewer")?.dataset["event"]) > 0);
  await page.evaluate(() => (window as unknown as { loseDevices: () => number }).loseDevices());
  await drawnBy(page, "canvas");
  const at = Number((await facts(page))["event"]);
  await page.waitForFunction((from) => Number(document.querySelector<HTMLElement>(".viewer")?.dataset["event"]) > from, at);
  await done(watched);
});

/** Half of a thousand blocks that are freed and asked for again, a million times. */
function millionEvents(): string {
  const lines = ["Thread,Time,Action,Pointer,Size,Stream"];
  const two = (n: number) => String(n).padStart(2, "0");
  for (let i = 0; i < 1_000_000; i++) {
    const time = `10:${two(Math.floor(i / 60e6))}:${two(Math.floor(i / 1e6) % 60)}.${String(i % 1e6).padStart(6, "0")}`;
    const slot = i < 500 ? i : (i >> 1) % 500;
    lines.push(`1,${time},${i < 500 || i % 2 === 1 ? "allocate" : "free"},0x${(4096 * (slot + 1)).toString(16)},${256 * (1 + (slot % 64))},0`);
  }
  return `${lines.join("\n")}\n`;
}

test("a million events: a first picture soon, and the page never freezes", async () => {
  const folder = await mkdtemp(join(tmpdir(), "strandline-million-"));
  const file = join(folder, "million.csv");
  await writeFile(file, millionEvents());
  const watched = await site.start();
  const { page } = watched;
  await report(page);
  await page.evaluate(() => {
    const seen = { began: performance.now(), first: 0, longest: 0 };
    (window as unknown as { seen: typeof seen }).seen = seen;
    let before = performance.now();
    const watch = () => {
      const now = performance.now();
      seen.longest = Math.max(seen.longest, now - before);
      before = now;
      const { textContent } = document.querySelector(".run h2") as HTMLElement;
      if (seen.first === 0 && textContent === "million.csv" && document.querySelector<HTMLElement>(".viewer")?.dataset["event"] !== "") seen.first = now - seen.began;
      setTimeout(watch, 0);
    };
    watch();
  });
  await page.locator("#file").setInputFiles(file);
  await opened(page, "million.csv");
  await page.locator(".report pre", { hasText: '"events": 1000000' }).waitFor({ state: "attached" });
  const { first, longest } = await page.evaluate(() => (window as unknown as { seen: { first: number; longest: number } }).seen);
  console.log(`a million events: first picture after ${first.toFixed(0)} ms, longest task of the page ${longest.toFixed(0)} ms`);
  // On a desk, 3 s and 100 ms. A machine that tests runs other things beside: only what is wrong by two orders of magnitude is told.
  assert.ok(first > 0 && first < 60_000, `${first}`);
  assert.ok(longest < 10_000, `${longest}`);
  await rm(folder, { recursive: true });
  await done(watched);
});
