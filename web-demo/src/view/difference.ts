/** Two runs beside each other: both peaks, which lines hold more or less at them, and both runs' allocated and reserved bytes on one axis. */
import type { Analyst, Difference } from "../model.ts";
import { curvesPicture, numbersTable } from "./curves.ts";
import { el, setText } from "./dom.ts";
import { bytes } from "./format.ts";

interface Line {
  line: string;
  a_bytes: number;
  b_bytes: number;
}

interface Both {
  a: number | null;
  b: number | null;
}

export class DifferencePanel {
  readonly element: HTMLElement;
  private readonly picker: HTMLInputElement;
  private readonly out: HTMLElement;
  private analyst: Analyst | null = null;
  private title = "";

  constructor() {
    this.picker = el("input", { type: "file", id: "other-file", hidden: true, "aria-label": "Another file", onchange: () => void this.picked() });
    this.out = el("div", { className: "difference-out", role: "status" });
    this.element = el(
      "div",
      { className: "difference", hidden: true },
      el("button", { type: "button", onclick: () => this.picker.click() }, "What changed since another file…"),
      this.picker,
      this.out,
    );
  }

  /** Another run, or none. */
  setRun(analyst: Analyst | null, title: string): void {
    this.analyst = analyst;
    this.title = title;
    this.element.hidden = analyst === null;
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

  private show({ told, before, after, reservedBy, reserved }: Difference, other: string): void {
    const { lines, peak_allocated_bytes: allocated, peak_active_bytes: active } = told.json["diff"] as { lines: Line[]; peak_allocated_bytes: Both; peak_active_bytes: Both };
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
      el("p", { className: "quiet" }, `Before: ${other}, dashed. Now: ${this.title}. Allocated bytes, and above them those that ${reservedBy} reserved, thinner. Both runs are stretched to the same width.`),
      curvesPicture("Allocated and reserved bytes of both runs", [
        { series: before, of: "committed", className: "before reserved" },
        { series: after, of: "committed", className: "after reserved" },
        { series: before, of: "live", className: "before" },
        { series: after, of: "live", className: "after" },
      ]),
      numbersTable(["before", "now"], [
        { name: "allocated at most", key: "allocated", ...allocated, show: bytes },
        { name: "active at most", key: "active", ...active, show: bytes },
        { name: `reserved at most by ${reservedBy}`, key: "reserved", a: reserved.before, b: reserved.after, show: bytes },
      ]),
      el(
        "div",
        { className: "table-scroll holders-table", tabIndex: 0, role: "group", "aria-label": "Lines that changed" },
        el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)),
      ),
      ...(rows.length === 0 ? [el("p", { className: "quiet" }, "No line holds more or less at the peak.")] : []),
    );
  }
}
