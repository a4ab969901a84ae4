/** The component's npm package, as it is packed and installed: its example runs, and its types say what it exports. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const WEB_DEMO = process.env["WEB_DEMO"] ?? "";

test("the packed component makes a pool in an example of its own", async () => {
  const { componentPackage } = (await import(pathToFileURL(join(WEB_DEMO, "tools", "package.mjs")).href)) as { componentPackage: () => Promise<void> };
  await componentPackage();
  const folder = await mkdtemp(join(tmpdir(), "strandline-component-"));
  try {
    await run("npm", ["pack", join(WEB_DEMO, "component"), "--pack-destination", folder, "--silent"]);
    const [archive] = (await readdir(folder)).filter((name) => name.endsWith(".tgz"));
    await run("tar", ["-xzf", join(folder, archive ?? ""), "-C", folder]);
    await mkdir(join(folder, "node_modules"));
    const installed = join(folder, "node_modules/strandline-substrate");
    await rename(join(folder, "package"), installed);
    const files = (await readdir(join(installed, "dist"))).sort();
    assert.ok(files.includes("substrate.core.wasm") && files.includes("substrate.d.ts") && files.includes("interfaces"), files.join(" "));
    const types = await readFile(join(installed, "dist/substrate.d.ts"), "utf8");
    for (const name of ["authority", "frontiers", "inspect", "pools", "tracker"]) assert.match(types, new RegExp(`export const ${name}\\b|${name}: typeof`), name);
    const { stdout } = await run(process.execPath, [join(installed, "example.mjs")]);
    assert.deepEqual(stdout.trim().split("\n"), [
      "a block of 1048576 bytes: ready, fresh",
      "another, after nothing: exhausted",
      "another, after epoch 3 of the queue: ready, dominated",
      "after nothing, once epoch 4 is reached: ready, completed",
    ]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
