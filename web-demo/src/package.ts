/**
 * The viewer for other pages: shows a run that `strandline replay`, `explain` or this page wrote into one HTML file. `package/` is what is packed
 * for npm; `tools/package.mjs` builds it.
 */
import { recordedSource, unpack } from "./view/recorded.ts";
import { Viewer } from "./view/viewer.ts";
import "./view/style.css";

/** A run on a page. */
export interface Shown {
  /** The event that is shown. */
  readonly event: number;
  /** Takes it off the page. */
  close(): void;
}

/** The data in a page that was written for a run. */
function dataOf(page: string): string {
  const data = new DOMParser().parseFromString(page, "text/html").getElementById("recording")?.textContent ?? "";
  if (data.trim() === "") throw new Error("the page holds no run: it is to be one that strandline wrote with --plot FILE.html, or that was saved as one HTML file");
  return data;
}

/**
 * Shows a run in an element.
 *
 * @param page the text of an HTML file that holds a run
 * @throws Error when it holds none, or one of another version
 */
export async function show(element: HTMLElement, page: string): Promise<Shown> {
  const { source, firstShown } = recordedSource(await unpack(dataOf(page)));
  const viewer = new Viewer(element);
  viewer.setSource(source, firstShown);
  return {
    get event() {
      return viewer.event;
    },
    close: () => viewer.close(),
  };
}
