// The page as static files that work from any path: every address in them is relative.
import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  // A component is loaded as it was built, never inlined.
  build: { target: "es2022", assetsInlineLimit: 0, chunkSizeWarningLimit: 2000 },
  worker: { format: "es" },
});
