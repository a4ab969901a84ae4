/** The viewer that the command writes is the one that is built from these sources. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const here = process.env["WEB_DEMO"] ?? process.cwd();

test("replay/assets/viewer.html is up to date: npm run build:viewer", async () => {
  const { viewer } = (await import(pathToFileURL(join(here, "tools", "viewer.mjs")).href)) as { viewer: () => Promise<string> };
  const built = await viewer();
  assert.ok(built === (await readFile(join(here, "..", "replay", "assets", "viewer.html"), "utf8")), "run: npm run build:viewer");
  // It asks for nothing: no address but those of namespaces.
  const addresses = built.match(/https?:\/\/[^"'`\s)]+/g) ?? [];
  assert.deepEqual([...new Set(addresses)].filter((address) => !address.startsWith("http://www.w3.org/")), []);
  for (const reference of ["src=", "href=", "url(http", "@import", "fetch(", "import("]) assert.ok(!built.includes(reference), reference);
});
