// From the components to modules that a page can load: node scripts/components.mjs SUBSTRATE.wasm PLAYER.wasm
//
//   core's component   ─ transpile ─▶ src/engine/generated/substrate/*
//   the player (a core module with its interface inside) ─ component ─ transpile ─▶ src/engine/generated/player/*
//
// What only async calls need is taken out, see synchronous.mjs. The files are written only where they changed, so that a server that watches them has nothing to do otherwise.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { componentNew, transpile } from "@bytecodealliance/jco";
import { synchronous } from "./synchronous.mjs";

const [substrate, player] = process.argv.slice(2);
if (player === undefined) {
  console.error("usage: node scripts/components.mjs SUBSTRATE.wasm PLAYER.wasm");
  process.exit(2);
}
const generated = join(dirname(fileURLToPath(import.meta.url)), "../src/engine/generated");

/** Who instantiates says where the core modules are. A default that can name any file makes a bundler ship them all. */
function withoutDefault(code) {
  const line = /^ *if \(!getCoreModule\) getCoreModule = .*import\.meta\.url.*\n/m;
  if (!line.test(code)) throw new Error("the generated code has no default for core modules: has jco changed?");
  return code.replace(line, "");
}

async function generate(name, component) {
  const { files } = await transpile(component, {
    name,
    instantiation: "async",
    // Neither component imports WASI.
    wasiShim: false,
    nodejsCompat: false,
    base64Cutoff: 0,
    validLiftingOptimization: true,
  });
  for (let [file, content] of Array.isArray(files) ? files : Object.entries(files)) {
    if (file === `${name}.js`) content = Buffer.from(synchronous(withoutDefault(Buffer.from(content).toString("utf8")), file));
    const path = join(generated, name, file);
    await mkdir(dirname(path), { recursive: true });
    const old = await readFile(path).catch(() => null);
    if (old === null || !old.equals(Buffer.from(content))) await writeFile(path, content);
    if (!file.endsWith(".d.ts")) console.log(`${name}/${file}: ${content.length} bytes`);
  }
}

await generate("substrate", await readFile(substrate));
await generate("player", await componentNew(await readFile(player)));
