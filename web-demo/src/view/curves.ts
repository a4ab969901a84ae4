/** Curves of several runs on one axis of bytes, each stretched to the same width. */
import type { Series } from "../model.ts";
import { el } from "./dom.ts";
import { bytes, shortBytes } from "./format.ts";

const WIDTH = 900;
const HEIGHT = 120;

export interface Curve {
  series: Series;
  of: "live" | "committed";
  /** How it is drawn: a class of the style sheet. */
  className: string;
}

/** Points of a curve: the most bytes of each bucket. */
export function points({ series, of }: Curve, most: number): string {
  const { event } = series;
  const { max } = series[of];
  const last = Math.max(1, event[event.length - 1] ?? 1);
  const out: string[] = [];
  for (let i = 0; i < event.length; i++) out.push(`${(((event[i] as number) / last) * WIDTH).toFixed(1)},${(HEIGHT - ((max[i] as number) / most) * HEIGHT).toFixed(1)}`);
  return out.join(" ");
}

/** The most bytes of any: the top of the axis. */
export function topOf(curves: readonly Curve[]): number {
  return curves.reduce((most, { series, of }) => series[of].max.reduce((a, b) => Math.max(a, b), most), 1);
}

/** The picture, with the axis that they have in common. */
export function curvesPicture(label: string, curves: readonly Curve[]): HTMLElement {
  const most = topOf(curves);
  const make = (name: string, attributes: Record<string, string>) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "curves", role: "img", "aria-label": `${label}, up to ${bytes(most)}`, preserveAspectRatio: "none" });
  svg.append(...curves.map((curve) => make("polyline", { points: points(curve, most), class: curve.className })));
  const place = el("div", { className: "curves-place" }, el("span", { className: "curves-axis quiet", "aria-hidden": "true" }, el("span", {}, shortBytes(most)), el("span", {}, "0")));
  place.dataset["most"] = String(most);
  place.append(svg);
  return place;
}

/** A table of numbers of two runs and what differs: one row each, of bytes or of counts. */
export function numbersTable(heads: readonly string[], rows: readonly { name: string; key: string; a: number | null; b: number | null; show: (n: number) => string }[]): HTMLElement {
  const signed = (n: number, show: (n: number) => string) => (n === 0 ? "the same" : `${n > 0 ? "+" : "−"}${show(Math.abs(n))}`);
  return el(
    "table",
    { className: "two-runs" },
    el("thead", {}, el("tr", {}, ...["", ...heads, "difference"].map((name) => (name === "" ? el("td", {}) : el("th", { scope: "col" }, name))))),
    el(
      "tbody",
      {},
      ...rows.map(({ name, key, a, b, show }) => {
        const told = (n: number | null) => (n === null ? "not told" : show(n));
        const row = el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, told(a)), el("td", {}, told(b)), el("td", {}, a === null || b === null ? "" : signed(b - a, show)));
        row.dataset["key"] = key;
        row.dataset["a"] = String(a);
        row.dataset["b"] = String(b);
        return row;
      }),
    ),
  );
}
