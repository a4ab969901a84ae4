/** Two snapshots beside each other: which lines hold more or less at the peak, and both runs' allocated bytes on one scale. */
import type { Analyst, Difference, Series } from "../model.ts";
import { el, setText } from "./dom.ts";
import { bytes } from "./format.ts";

const WIDTH = 900;
const HEIGHT = 120;

interface Line {
  line: string;
  a_bytes: number;
  b_bytes: number;
}

/** Points of a curve: the most allocated bytes, stretched to the width. */
export function curve(series: Series, most: number): string {
  const { event, live } = series;
  const last = event[event.length - 1] ?? 1;
  const points: string[] = [];
  for (let i = 0; i < event.length; i++) {
    points.push(`${(((event[i] as number) / last) * WIDTH).toFixed(1)},${(HEIGHT - ((live.max[i] as number) / most) * HEIGHT).toFixed(1)}`);
  }
  return points.join(" ");
}

export class DifferencePanel {
  readonly element: HTMLElement;
  private readonly picker: HTMLInputElement;
  private readonly out: HTMLElement;
  private analyst: Analyst | null = null;
  private title = "";

  constructor() {
    this.picker = el("input", { type: "file", id: "other-file", hidden: true, "aria-label": "Another snapshot", onchange: () => void this.picked() });
    this.out = el("div", { className: "difference-out", role: "status" });
    this.element = el(
      "div",
      { className: "difference", hidden: true },
      el("button", { type: "button", onclick: () => this.picker.click() }, "What changed since another snapshot…"),
      this.picker,
      this.out,
    );
  }

  /** Another run: only a snapshot can be compared. */
  setRun(analyst: Analyst | null, snapshot: boolean, title: string): void {
    this.analyst = analyst;
    this.title = title;
    this.element.hidden = analyst === null || !snapshot;
    this.out.replaceChildren();
  }

  private async picked(): Promise<void> {
    const file = this.picker.files?.[0];
    this.picker.value = "";
    const { analyst } = this;
    if (file === undefined || analyst === null) return;
    setText(this.out, `reading ${file.name}…`);
    try {
      const difference = await analyst.diff(file.name, file);
      if (analyst === this.analyst) this.show(difference, file.name);
    } catch (error) {
      if (analyst === this.analyst) setText(this.out, error instanceof Error ? error.message : String(error));
    }
  }

  private show({ told, before, after }: Difference, other: string): void {
    const { lines } = told.json["diff"] as { lines: Line[] };
    const rows = lines
      .filter((line) => line.a_bytes !== line.b_bytes)
      .map(({ line, a_bytes: a, b_bytes: b }) => {
        const change = b - a;
        const row = el("tr", {}, ...[bytes(a), bytes(b), `${change > 0 ? "+" : "−"}${bytes(Math.abs(change))}`].map((text) => el("td", {}, text)), el("td", { className: "line-name" }, line));
        row.dataset["a"] = String(a);
        row.dataset["b"] = String(b);
        return row;
      });
    const head = ["before", "now", "change", "line"].map((name) => el("th", { scope: "col" }, name));
    this.out.replaceChildren(
      el("p", { className: "fit-line" }, told.text.split("\n")[0] ?? ""),
      el("p", { className: "quiet" }, `Before: ${other}, dashed. Now: ${this.title}. Both runs are stretched to the same width.`),
      this.picture(before, after),
      el(
        "div",
        { className: "table-scroll holders-table", tabIndex: 0, role: "group", "aria-label": "Lines that changed" },
        el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)),
      ),
      ...(rows.length === 0 ? [el("p", { className: "quiet" }, "No line holds more or less at the peak.")] : []),
    );
  }

  private picture(before: Series, after: Series): SVGSVGElement {
    const most = Math.max(1, ...before.live.max, ...after.live.max);
    const make = (name: string, attributes: Record<string, string>) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
      return node;
    };
    const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "curves", role: "img", "aria-label": `Allocated bytes of both runs, up to ${bytes(most)}`, preserveAspectRatio: "none" }) as SVGSVGElement;
    svg.append(make("polyline", { points: curve(before, most), class: "before" }), make("polyline", { points: curve(after, most), class: "after" }));
    return svg;
  }
}
