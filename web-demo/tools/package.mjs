// Builds the npm packages: the viewer, one module and one style sheet in package/dist; and the core's component with its bindings, in
// component/dist. `npm pack ./package ./component` makes the archives.
import { cp, rm } from "node:fs/promises";
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

/** The component as `cargo xtask web --build` generates it for the page. */
export async function componentPackage(folder = join(here, "component", "dist")) {
  await rm(folder, { recursive: true, force: true });
  await cp(join(here, "src/engine/generated/substrate"), folder, { recursive: true });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await Promise.all([viewerPackage(), componentPackage()]);
