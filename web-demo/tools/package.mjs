// Builds the viewer's npm package: one module and one style sheet in package/dist. `npm pack ./package` makes the archive.
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = join(dirname(fileURLToPath(import.meta.url)), "..");

/** Builds it into a folder. */
export async function viewerPackage(folder = join(here, "package", "dist")) {
  await rm(folder, { recursive: true, force: true });
  await build({
    absWorkingDir: here,
    entryPoints: { viewer: "src/package.ts" },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    charset: "utf8",
    legalComments: "none",
    outdir: folder,
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await viewerPackage();
