/** The bytes of the present, and where blocks came from so far. */
import type { Bytes, Counters, Frame } from "../model.ts";
import { el, setText, setVar } from "./dom.ts";
import { bytes, count } from "./format.ts";

const ORIGINS: readonly [keyof Counters, string, string][] = [
  ["fresh", "fresh", "memory that nobody had used"],
  ["dominated", "dominated", "reused at once: the request is ordered after the block's death"],
  ["completed", "completed", "reused: the device had got past the block's death"],
  ["waited", "waited", "handed out with a frontier to wait for"],
];

const REFUSED: readonly [keyof Counters, string, string][] = [
  ["missed", "missed", "free memory was there, but not ready for the request"],
  ["exhausted", "exhausted", "nothing fitted"],
  ["overBudget", "over budget", "the budget did not allow it"],
  ["tainted", "tainted", "freed with nobody knowing when the last use is over"],
];

const SUMS: readonly [keyof Bytes, string, string][] = [
  ["committed", "reserved", "taken from the device"],
  ["reserved", "handed out", "active bytes, with padding"],
  ["live", "allocated", "asked for by live blocks"],
  ["padding", "padding", "handed out, not asked for"],
  ["pending", "pending", "freed, last use not over"],
  ["clean", "clean", "free for everyone"],
  ["tainted", "tainted", "free, of unknown death"],
];

export class CountersPanel {
  readonly element: HTMLElement;
  private readonly values = new Map<keyof Counters, HTMLElement>();
  private readonly parts: [keyof Counters, HTMLElement][] = [];

  constructor() {
    const bar = el("div", { className: "origins", "aria-hidden": "true" });
    for (const [key] of ORIGINS) {
      const part = el("span", { className: `origin-${key}` });
      bar.append(part);
      this.parts.push([key, part]);
    }
    const list = (rows: typeof ORIGINS, marked: boolean) =>
      el(
        "dl",
        { className: "numbers" },
        ...rows.flatMap(([key, name, means]) => {
          const value = el("dd", { "data-counter": key });
          this.values.set(key, value);
          return [el("dt", { title: means }, marked && el("span", { className: `dot origin-${key}`, "aria-hidden": "true" }), name), value];
        }),
      );
    this.element = el(
      "section",
      { className: "panel counters", "aria-labelledby": "counters-title" },
      el("h3", { id: "counters-title" }, "Reuse"),
      bar,
      list(ORIGINS, true),
      list(REFUSED, false),
      list(
        [
          ["reserves", "handed out so far", "blocks handed out"],
          ["releases", "released so far", "blocks given back"],
          ["slabs", "slabs", "slabs held"],
        ],
        false,
      ),
    );
  }

  show(frame: Frame | null): void {
    const counters = frame?.counters;
    for (const [key, value] of this.values) setText(value, counters === undefined ? "–" : count(counters[key]));
    const total = ORIGINS.reduce((sum, [key]) => sum + (counters?.[key] ?? 0), 0);
    for (const [key, part] of this.parts) setVar(part, "--share", String(total === 0 ? 0 : (counters?.[key] ?? 0) / total));
  }
}

/** The sums under the timeline: its legend, with the values of the present. */
export class BytesPanel {
  readonly element: HTMLElement;
  private readonly values = new Map<keyof Bytes, HTMLElement>();

  constructor() {
    this.element = el(
      "dl",
      { className: "sums" },
      ...SUMS.map(([key, name, means]) => {
        const value = el("dd", { "data-bytes": key });
        this.values.set(key, value);
        return el("div", { title: means }, el("dt", {}, el("span", { className: `line line-${key}`, "aria-hidden": "true" }), name), value);
      }),
    );
  }

  show(frame: Frame | null): void {
    for (const [key, value] of this.values) setText(value, frame === null ? "–" : bytes(frame.bytes[key]));
  }
}
