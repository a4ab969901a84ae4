// Makes a component of chain.js: npm ci && node componentize.mjs WIT OUTPUT
// It imports preview2-shim without saying so, which is why package.json does.
import { componentize } from "@bytecodealliance/componentize-js";
import { readFile, writeFile } from "node:fs/promises";

const [wit, output] = process.argv.slice(2);
const { component } = await componentize(await readFile(new URL("chain.js", import.meta.url), "utf8"), {
  witPath: wit,
  worldName: "guest-sync",
  // No clock, no randomness, no streams, no network: a guest has what the host lends, and nothing else.
  disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});
await writeFile(output, component);
console.log(`${output}: ${component.length} bytes`);
