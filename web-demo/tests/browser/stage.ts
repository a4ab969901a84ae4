/** What every test of a page begins and ends with. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before } from "node:test";
import type { Browser, Page } from "playwright-core";
import { browser, open, serve, serveDemo, WEB_DEMO, type Gpu, type Look, type Server, type Watched } from "./support.ts";

/** Browsers, and where they find the page. */
export interface Stage {
  /** With WebGPU. */
  readonly gpu: Browser;
  /** Without. */
  readonly plain: Browser;
  readonly url: string;
  /** The page with its first trace open; without WebGPU unless a browser is named. */
  start(look?: Look, prepare?: (page: Page) => Promise<void>, from?: Browser): Promise<Watched>;
  /** The page with a file open. */
  startWith(file: string, look?: Look, prepare?: (page: Page) => Promise<void>): Promise<Watched>;
}

/** The page as it is built. */
export async function servePage(): Promise<Server> {
  const dist = join(WEB_DEMO, "dist");
  if (!existsSync(join(dist, "index.html"))) throw new Error("there is no dist/index.html: run npm run build first");
  return serve(dist);
}

/** Browsers of these kinds for all tests of a file, and the page as it is shipped or the viewer over runs that need no component. */
export function stage(what: "page" | "demo", ...kinds: Gpu[]): Stage {
  const browsers = new Map<Gpu, Browser>();
  let server: Server | undefined;
  before(async () => {
    const starting = kinds.map(async (kind) => browsers.set(kind, await browser(kind)));
    [server] = await Promise.all([what === "page" ? servePage() : serveDemo(), ...starting]);
  });
  after(async () => {
    await Promise.all([...[...browsers.values()].map((started) => started.close()), server?.close()]);
  });
  const started = <T>(part: T | undefined): T => {
    if (part === undefined) throw new Error("it is not started");
    return part;
  };
  const self: Stage = {
    get gpu() {
      return started(browsers.get("webgpu"));
    },
    get plain() {
      return started(browsers.get("none"));
    },
    get url() {
      return started(server).url;
    },
    async start(look = {}, prepare, from = self.plain) {
      const watched = await open(from, self.url, look, prepare);
      await opened(watched.page, "resnet50_train.csv.gz");
      return watched;
    },
    async startWith(file, look, prepare) {
      const watched = await self.start(look, prepare);
      await choose(watched.page, file);
      return watched;
    },
  };
  return self;
}

/** Waits until a run is open, and nothing is being read. */
export async function opened(page: Page, title: string): Promise<void> {
  await page.locator(".run h2", { hasText: title }).waitFor();
  await page.locator(".busy").waitFor({ state: "hidden" });
}

/** Opens a file, by its button. */
export async function choose(page: Page, file: string): Promise<void> {
  await page.locator("#file").setInputFiles(file);
  await opened(page, file.slice(file.lastIndexOf("/") + 1));
}

/** Closes a page; no script of it has failed. */
export async function done({ faults, close }: Watched): Promise<void> {
  await close();
  assert.deepEqual(faults, []);
}

/** axe finds nothing on the page as it is now. */
export async function accessible(page: Page, where = ""): Promise<void> {
  await page.evaluate(await readFile(createRequire(join(WEB_DEMO, "package.json")).resolve("axe-core/axe.min.js"), "utf8"));
  const found = await page.evaluate(async () => {
    const { violations } = await (window as unknown as { axe: { run: () => Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> } }).axe.run();
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
  });
  assert.deepEqual(found, [], where);
}

/** Runs before the page's scripts: tasks of its thread that take long are kept. */
export async function watchTasks(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const tasks: number[] = [];
    (window as unknown as { tasks: number[] }).tasks = tasks;
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
  });
}

/** Forgets the tasks so far. */
export async function forgetTasks(page: Page): Promise<void> {
  await page.evaluate(() => ((window as unknown as { tasks: number[] }).tasks.length = 0));
}

/** The longest of them, in milliseconds. */
export function longestTask(page: Page): Promise<number> {
  return page.evaluate(() => Math.max(0, ...(window as unknown as { tasks: number[] }).tasks));
}
