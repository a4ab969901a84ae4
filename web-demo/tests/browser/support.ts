/** What the browser tests share: a browser with or without WebGPU, a server, screenshots, and waiting for what is true. */
import { createServer } from "node:http";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join, normalize, sep } from "node:path";
import { build } from "esbuild";
import { chromium, type Browser, type Page } from "playwright-core";

/** The folder of the page. */
export const WEB_DEMO = process.env["WEB_DEMO"] ?? process.cwd();
export const REPOSITORY = join(WEB_DEMO, "..");
/** Where screenshots are kept. */
const SHOTS = process.env["STRANDLINE_SHOTS"] ?? join(REPOSITORY, "target", "web-shots");

/** How long anything may take that is waited for. */
export const PATIENCE = 60_000;

const FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** WebGPU in software, also for what is drawn on a canvas. */
const WITH_GPU = ["--enable-unsafe-webgpu", "--use-angle=swiftshader", "--enable-features=Vulkan", "--use-vulkan=swiftshader"];
const WITHOUT_GPU = ["--disable-gpu", "--disable-features=WebGPU"];

export type Gpu = "webgpu" | "none";

/** Starts Debian's Chromium, or the one that CHROMIUM names. */
export async function browser(gpu: Gpu): Promise<Browser> {
  const executablePath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
  if (!existsSync(executablePath)) throw new Error(`there is no ${executablePath}: install Debian's chromium, or name one in CHROMIUM`);
  return chromium.launch({ executablePath, args: [...FLAGS, ...(gpu === "webgpu" ? WITH_GPU : WITHOUT_GPU)] });
}

/** A page that fails its test when a script of it fails. */
export interface Watched {
  page: Page;
  faults: string[];
  close(): Promise<void>;
}

export interface Look {
  width?: number;
  height?: number;
  dark?: boolean;
  calm?: boolean;
}

/** A page in a context of its own: nothing is kept from another test. */
export async function open(from: Browser, url: string, look: Look = {}, before?: (page: Page) => Promise<void>): Promise<Watched> {
  const context = await from.newContext({
    viewport: { width: look.width ?? 1280, height: look.height ?? 900 },
    colorScheme: look.dark === true ? "dark" : "light",
    reducedMotion: look.calm === true ? "reduce" : "no-preference",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(error.stack ?? error.message));
  if (before !== undefined) await before(page);
  await page.goto(url);
  return { page, faults, close: () => context.close() };
}

/** What the viewer says of itself. */
export async function facts(page: Page): Promise<Record<string, string>> {
  return page.evaluate(() => ({ ...(document.querySelector(".viewer") as HTMLElement).dataset }) as Record<string, string>);
}

/** Waits until the viewer shows an event. */
export async function shown(page: Page, event: number): Promise<void> {
  await page.waitForFunction((wanted) => document.querySelector<HTMLElement>(".viewer")?.dataset["event"] === String(wanted), event);
}

/** Waits until the viewer draws with a renderer. */
export async function drawnBy(page: Page, renderer: "webgpu" | "canvas"): Promise<void> {
  await page.waitForFunction((wanted) => document.querySelector<HTMLElement>(".viewer")?.dataset["renderer"] === wanted, renderer);
}

/** Keeps a picture of the page for people to look at. */
export async function shoot(page: Page, name: string): Promise<void> {
  await mkdir(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
}

/** The command's binary. */
export function command(): string {
  const path = process.env["STRANDLINE"] ?? join(REPOSITORY, "target", "release", "strandline");
  if (!existsSync(path)) throw new Error(`there is no ${path}: build the command, or name it in STRANDLINE`);
  return path;
}

/** Runs the command; resolves with what it printed, whether the trace was satisfied (status 0) or not (status 1). */
export async function strandline(...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(command(), args, { cwd: REPOSITORY, maxBuffer: 2 ** 28 }, (error, stdout, stderr) => {
      if (error !== null && error.code !== 1) reject(new Error(stderr));
      else resolve(stdout);
    });
  });
}

/** What two runs of the same trace must have in common: all of a report but times. */
export function numbers(report: Record<string, unknown>): Record<string, unknown> {
  const { latency_ns, throughput, boundary, gpu, oracle, ...rest } = report;
  // The page's pools do not say what a request takes of them, so missed fits are told differently there.
  const { missed_fits, ...sound } = oracle as Record<string, unknown>;
  return { ...rest, oracle: sound };
}

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".wasm": "application/wasm",
};

export interface Server {
  url: string;
  close(): Promise<void>;
}

/** Serves a folder below a path that nobody would guess: whatever is not relative is not found. */
export async function serve(folder: string): Promise<Server> {
  const prefix = "/a/path/of/its own/";
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://x").pathname);
    const inside = normalize(join(folder, path.startsWith(prefix) ? path.slice(prefix.length) || "index.html" : "\0"));
    const read = inside.startsWith(folder + sep) && !inside.includes("\0") ? readFile(inside) : Promise.reject(new Error("outside"));
    read.then(
      (bytes) => {
        response.writeHead(200, { "content-type": TYPES[extname(inside)] ?? "application/octet-stream" });
        response.end(bytes);
      },
      () => {
        response.writeHead(404);
        response.end();
      },
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${encodeURI(prefix)}`,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

/** The demo page, bundled and served: the viewer over runs that need no component. */
export async function serveDemo(): Promise<Server> {
  const folder = await mkdtemp(join(tmpdir(), "strandline-demo-"));
  await build({
    absWorkingDir: WEB_DEMO,
    entryPoints: ["tests/browser/demo/main.ts"],
    bundle: true,
    format: "iife",
    target: "es2022",
    outfile: join(folder, "main.js"),
  });
  await writeFile(
    join(folder, "index.html"),
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,"><title>Demo</title><link rel="stylesheet" href="main.css"><body><main class="page"><h1>Demo</h1></main><script src="main.js"></script></body></html>',
  );
  const server = await serve(folder);
  return {
    url: server.url,
    close: async () => {
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Runs before the page's scripts: devices that the page is given can be destroyed by `window.loseDevices()`. */
export async function losable(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const devices: GPUDevice[] = [];
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...args) {
      const device = await request.apply(this, args);
      devices.push(device);
      return device;
    };
    (window as unknown as { loseDevices: () => number }).loseDevices = () => {
      for (const device of devices) device.destroy();
      return devices.length;
    };
  });
}
