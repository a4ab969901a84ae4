/** The viewer's npm package, as it is packed: its example page shows a run that the command wrote. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { browser, open, serve, strandline, WEB_DEMO } from "./support.ts";

const run = promisify(execFile);

test("the packed viewer shows a run in a page of ten lines", async () => {
  const { viewerPackage } = (await import(pathToFileURL(join(WEB_DEMO, "tools", "package.mjs")).href)) as { viewerPackage: () => Promise<void> };
  await viewerPackage();
  const folder = await mkdtemp(join(tmpdir(), "strandline-package-"));
  const chromium = await browser("none");
  const server = await serve(join(folder, "package"));
  try {
    await run("npm", ["pack", join(WEB_DEMO, "package"), "--pack-destination", folder, "--silent"]);
    const [archive] = (await readdir(folder)).filter((name) => name.endsWith(".tgz"));
    await run("tar", ["-xzf", join(folder, archive ?? ""), "-C", folder]);
    const files = (await readdir(join(folder, "package"))).sort();
    assert.deepEqual(files, ["README.md", "dist", "example.html", "package.json", "viewer.d.ts"]);
    const example = (await readFile(join(folder, "package/example.html"), "utf8")).trim().split("\n");
    assert.ok(example.length <= 12, "as short as it is said to be");
    const told = JSON.parse(await strandline("explain", "fuzz/corpus/trace_pickle/oom.pickle", "--json", "--plot", join(folder, "package/run.html"))) as { explain: { at: { entry: number } } };
    const { page, faults, close } = await open(chromium, `${server.url}example.html`);
    await page.waitForFunction((event) => document.querySelector<HTMLElement>(".viewer")?.dataset["event"] === String(event), told.explain.at.entry + 1);
    await page.waitForFunction(() => Number(document.querySelector<HTMLElement>(".viewer")?.dataset["rects"]) > 0);
    await close();
    assert.deepEqual(faults, []);
  } finally {
    await Promise.all([chromium.close(), server.close()]);
    await rm(folder, { recursive: true, force: true });
  }
});
