// Runs the tests: bundles each file of tests/unit (or tests/browser with --browser) for node, and hands them to its test runner.
import { mkdtemp, readdir, rm, mkdir } from "node:fs/promises";
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = join(dirname(fileURLToPath(import.meta.url)), "..");
const browser = process.argv.includes("--browser");
const engine = process.argv.includes("--engine");
const folder = join(here, "tests", browser ? "browser" : engine ? "engine" : "unit");
const only = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const names = (await readdir(folder)).filter((name) => name.endsWith(".test.ts") && (only.length === 0 || only.some((part) => name.includes(part))));
if (names.length === 0) {
  console.error(`no tests in ${folder}`);
  process.exit(1);
}
// Below node_modules, so that packages are found from there.
const cache = join(here, "node_modules", ".cache");
await mkdir(cache, { recursive: true });
const out = await mkdtemp(join(cache, "tests-"));
try {
  await build({
    absWorkingDir: here,
    entryPoints: names.map((name) => join(folder, name)),
    bundle: true,
    platform: "node",
    format: "esm",
    packages: "external",
    target: "node18",
    outdir: out,
    outExtension: { ".js": ".mjs" },
    sourcemap: "inline",
  });
  const files = names.map((name) => join(out, name.replace(/\.ts$/, ".mjs")));
  const run = spawn(process.execPath, ["--enable-source-maps", "--test", ...files], {
    stdio: "inherit",
    env: { ...process.env, WEB_DEMO: here },
  });
  const status = await new Promise((resolve) => run.on("close", (code) => resolve(code ?? 1)));
  process.exitCode = status;
} finally {
  await rm(out, { recursive: true, force: true });
}
