/** The bytes of the present, and where blocks came from so far. */
import type { Bytes, Counters, Frame, RunInfo } from "../model.ts";
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

/** A sum: its word and what it means; of a recorded run, in PyTorch's words, if that has others. */
interface Sum {
  key: keyof Bytes;
  name: string;
  means: string;
  recorded?: { name: string; means: string } | null;
  /** It is known only where the segments of a trace are. */
  ofSegments?: boolean;
}

const SUMS: readonly Sum[] = [
  { key: "committed", name: "reserved", means: "taken from the device", ofSegments: true },
  { key: "reserved", name: "handed out", means: "active bytes, with padding", recorded: { name: "active", means: "allocated, or given back while a stream still uses it" }, ofSegments: true },
  { key: "live", name: "allocated", means: "asked for by live blocks", recorded: { name: "allocated", means: "handed out and not given back" } },
  { key: "padding", name: "padding", means: "handed out, not asked for", ofSegments: true },
  { key: "pending", name: "pending", means: "freed, last use not over", ofSegments: true },
  { key: "clean", name: "clean", means: "free for everyone", recorded: { name: "free", means: "reserved, and in nobody's use" }, ofSegments: true },
  { key: "tainted", name: "tainted", means: "free, of unknown death", recorded: null },
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
  private readonly parts: { sum: Sum; part: HTMLElement; name: HTMLElement; value: HTMLElement }[];
  private notTold = false;

  constructor() {
    this.parts = SUMS.map((sum) => {
      const name = el("span", {});
      const value = el("dd", { "data-bytes": sum.key });
      const part = el("div", {}, el("dt", {}, el("span", { className: `line line-${sum.key}`, "aria-hidden": "true" }), name), value);
      return { sum, part, name, value };
    });
    this.element = el("dl", { className: "sums" }, ...this.parts.map(({ part }) => part));
    this.setRun(null);
  }

  /** Another run, or none: a recorded one has PyTorch's words. */
  setRun(info: RunInfo | null): void {
    this.notTold = info?.reservedNotTold === true;
    for (const { sum, part, name } of this.parts) {
      const words = info?.asRecorded === true ? sum.recorded : undefined;
      part.hidden = words === null;
      setText(name, words?.name ?? sum.name);
      part.title = words?.means ?? sum.means;
    }
  }

  show(frame: Frame | null): void {
    for (const { sum, value } of this.parts) {
      const told = !(this.notTold && sum.ofSegments === true);
      setText(value, frame === null ? "–" : told ? bytes(frame.bytes[sum.key]) : "not told");
    }
  }
}
