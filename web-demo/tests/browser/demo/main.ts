/**
 * The viewer over a run that needs no component: `?many=100000`, `?failed`, the small run, or with `?lives` its blocks over time
 * too, with `?lives=1000000` those of a long one. */
import "../../../src/view/style.css";
import { Viewer } from "../../../src/view/viewer.ts";
import { analysed, longRun } from "./analyst.ts";
import { many, running } from "./source.ts";

const query = new URLSearchParams(location.search);
const root = document.querySelector("main") as HTMLElement;
const viewer = new Viewer(root);
const blocks = Number(query.get("many") ?? 0);
const source = blocks > 0 ? many(blocks) : running(1500, query.has("failed"));
const lives = query.get("lives");
if (lives === null) viewer.setSource(source);
else if (lives === "") void analysed(source, 1500).then((run) => viewer.setSource(run, 1000));
else viewer.setSource(longRun(source, Number(lives)));
