/** The page of one recorded run, as `strandline replay --plot FILE.html` writes it: the viewer, with its data beside it. */
import { unpack, recordedSource } from "./view/recorded.ts";
import { Viewer } from "./view/viewer.ts";
import { el } from "./view/dom.ts";

const root = document.querySelector("main") as HTMLElement;

async function open(): Promise<void> {
  const data = document.getElementById("recording")?.textContent ?? "";
  const { source, firstShown } = recordedSource(await unpack(data));
  new Viewer(root).setSource(source, firstShown);
}

open().catch((error: unknown) => {
  const why = error instanceof Error ? error.message : String(error);
  root.append(el("p", { className: "message", role: "alert" }, `This page cannot show its run: ${why}`));
});
