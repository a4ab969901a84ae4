/** The viewer over a run that needs no component: `?many=100000`, `?failed`, or the small run. */
import "../../../src/view/style.css";
import { Viewer } from "../../../src/view/viewer.ts";
import { many, running } from "./source.ts";

const query = new URLSearchParams(location.search);
const root = document.querySelector("main") as HTMLElement;
const viewer = new Viewer(root);
const blocks = Number(query.get("many") ?? 0);
viewer.setSource(blocks > 0 ? many(blocks) : running(1500, query.has("failed")));
