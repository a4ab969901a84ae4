// Builds the viewer as one file: script and style inside, a place for the data of a run.
//
//   node tools/viewer.mjs           writes replay/assets/viewer.html
//   node tools/viewer.mjs --check   compares it with what is there
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = join(dirname(fileURLToPath(import.meta.url)), "..");
const file = join(here, "..", "replay", "assets", "viewer.html");

export async function viewer() {
  const bundle = async (entry, loader) => {
    const result = await build({
      absWorkingDir: here,
      entryPoints: [entry],
      bundle: true,
      minify: true,
      write: false,
      format: "iife",
      target: "es2022",
      charset: "utf8",
      legalComments: "none",
      loader,
    });
    return result.outputFiles[0].text.trim();
  };
  const [script, style] = await Promise.all([bundle("src/viewer.ts", {}), bundle("src/view/style.css", { ".css": "css" })]);
  // What would end its element cannot stand in it.
  for (const [text, end] of [
    [script, "</script"],
    [style, "</style"],
  ]) {
    if (text.toLowerCase().includes(end)) throw new Error(`the bundle holds ${end}`);
  }
  return [
    "<!DOCTYPE html>",
    '<html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width,initial-scale=1">',
    "<title>{title} – strandline</title>",
    `<style>${style}</style></head>`,
    '<body><main class="page"><noscript>{picture}</noscript></main>',
    '<script type="text/plain" id="recording">{recording}</script>',
    `<script>${script}</script>`,
    "</body></html>",
    "",
  ].join("\n");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const built = await viewer();
  if (process.argv.includes("--check")) {
    const there = await readFile(file, "utf8").catch(() => "");
    if (there !== built) {
      console.error("replay/assets/viewer.html is not what its sources make; run: npm run build:viewer");
      process.exit(1);
    }
  } else {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, built);
    console.log(`replay/assets/viewer.html: ${built.length} bytes`);
  }
}
