/** Who holds the allocated bytes at an instant: a table by line or by call stack, which filters what the other views show. */
import type { Analyst, Filter, Holder } from "../model.ts";
import { el, setText, setVar } from "./dom.ts";
import { flame, flameOf, type Flame } from "./flame.ts";
import { bytes, count, counted, parseSizes } from "./format.ts";

/** Rows of the table. */
const MOST = 100;
/** Between two refreshes while a run plays, in milliseconds. */
const CALM_MS = 200;

export class HoldersPanel {
  readonly element: HTMLElement;
  private readonly body: HTMLTableSectionElement;
  private readonly table: HTMLElement;
  private readonly graph: HTMLElement;
  private readonly summary: HTMLElement;
  private readonly fault: HTMLElement;
  private readonly clear: HTMLButtonElement;
  private readonly by: HTMLSelectElement;
  private readonly fields: Record<"text" | "sizes" | "stream", HTMLInputElement>;
  private analyst: Analyst | null = null;
  private event = 0;
  private key: number | null = null;
  private filtered = false;
  private asked = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** Key of the filter that was asked for last: a row that is clicked again lets go. */
  private typing: ReturnType<typeof setTimeout> | undefined;

  /** `changed` is called when the filter is another one. */
  constructor(private readonly changed: () => void) {
    const field = (label: string, placeholder: string, mode: string) => {
      const input = el("input", { type: "search", placeholder, inputMode: mode, spellcheck: false, oninput: () => this.later() });
      return { input, label: el("label", { className: "field" }, label, input) };
    };
    const text = field("Line", "part of its name", "text");
    const sizes = field("Size", "4MiB, >1MiB, 1MiB..2MiB", "text");
    const stream = field("Stream", "any", "numeric");
    this.fields = { text: text.input, sizes: sizes.input, stream: stream.input };
    this.by = el("select", { "aria-label": "Held by", onchange: () => this.rekey() }, el("option", { value: "line" }, "by line"), el("option", { value: "stack" }, "by call stack"), el("option", { value: "flame" }, "as a flame graph"));
    this.summary = el("p", { className: "quiet", role: "status" });
    this.fault = el("p", { className: "fault", role: "alert", hidden: true });
    this.body = el("tbody");
    this.table = el(
      "div",
      { className: "table-scroll", tabIndex: 0, role: "group", "aria-label": "Holders" },
      el("table", {}, el("thead", {}, el("tr", {}, ...["allocated", "blocks", "largest", "line"].map((name) => el("th", { scope: "col" }, name)))), this.body),
    );
    this.graph = el("div", { className: "flame-place", hidden: true });
    this.clear = el("button", { type: "button", hidden: true, onclick: () => this.reset() }, "Show all again");
    this.element = el(
      "section",
      { className: "panel holders", "aria-labelledby": "holders-title", hidden: true },
      el("div", { className: "panel-head" }, el("h3", { id: "holders-title" }, "Who holds it at this instant"), this.by, this.clear),
      el("div", { className: "fields" }, text.label, sizes.label, stream.label),
      this.fault,
      this.summary,
      this.table,
      this.graph,
    );
  }

  /** Another run, or none: without a filter. */
  setRun(analyst: Analyst | null): void {
    this.analyst = analyst;
    this.event = 0;
    this.key = null;
    this.filtered = false;
    for (const input of Object.values(this.fields)) input.value = "";
    this.clear.hidden = true;
    this.fault.hidden = true;
    this.element.hidden = analyst === null;
    this.body.replaceChildren();
    setText(this.summary, "");
    if (analyst === null) return;
    analyst.stacks().then(
      (stacks) => {
        if (analyst !== this.analyst) return;
        this.by.hidden = !stacks;
        this.by.value = "line";
      },
      () => undefined,
    );
  }

  /** Another instant. */
  at(event: number): void {
    if (this.event === event && this.body.childElementCount > 0) return;
    this.event = event;
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      void this.refresh();
    }, CALM_MS);
  }

  private rekey(): void {
    if (this.key === null) void this.refresh();
    else {
      this.key = null;
      void this.apply();
    }
  }

  private reset(): void {
    this.key = null;
    for (const input of Object.values(this.fields)) input.value = "";
    void this.apply();
  }

  private later(): void {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => void this.apply(), CALM_MS);
  }

  /** What the fields say; undefined if one cannot be read. */
  private filter(): Filter | null | undefined {
    const { text, sizes, stream } = this.fields;
    const range = parseSizes(sizes.value);
    const number = stream.value.trim();
    if (range === null || (number !== "" && !/^\d{1,9}$/.test(number))) return undefined;
    const all = text.value.trim() === "" && sizes.value.trim() === "" && number === "" && this.key === null;
    return all ? null : { text: text.value, key: this.key, ...range, stream: number === "" ? null : Number(number) };
  }

  private async apply(): Promise<void> {
    const { analyst } = this;
    const filter = this.filter();
    this.fault.hidden = filter !== undefined;
    if (filter === undefined) setText(this.fault, "Sizes are like 4MiB, >1MiB, <=64KiB or 1MiB..2MiB; a stream is a number, 0 the first.");
    if (analyst === null || filter === undefined) return;
    try {
      await analyst.filter(filter);
    } catch {
      // The run was closed.
      return;
    }
    if (analyst !== this.analyst) return;
    this.filtered = filter !== null;
    this.clear.hidden = filter === null;
    this.changed();
    await this.refresh();
  }

  private async refresh(): Promise<void> {
    const { analyst, event } = this;
    if (analyst === null) return;
    const mine = ++this.asked;
    try {
      const holders = await analyst.holders(event, this.by.value === "line" ? "line" : "stack");
      if (mine === this.asked && analyst === this.analyst) this.show(holders, event);
    } catch {
      // The run was closed.
    }
  }

  private show(holders: readonly Holder[], event: number): void {
    const total = holders.reduce((sum, holder) => sum + holder.bytes, 0);
    const blocks = holders.reduce((sum, holder) => sum + holder.blocks, 0);
    const most = holders[0]?.bytes ?? 1;
    const rest = holders.length - MOST;
    setText(
      this.summary,
      `${bytes(total)} in ${counted(blocks, "block")}${this.filtered ? " that the filter takes" : ""}, at event ${count(event)}${rest > 0 ? `; ${count(rest)} more rows not shown` : ""}`,
    );
    this.element.dataset["event"] = String(event);
    this.element.dataset["bytes"] = String(total);
    const asFlame = this.by.value === "flame";
    this.table.hidden = asFlame;
    this.graph.hidden = !asFlame;
    if (asFlame) {
      this.showFlame(flameOf(holders));
      return;
    }
    const rows = holders.slice(0, MOST).map((holder) => {
      const name = holder.name.split("\n");
      const share = el("span", { className: "share", "aria-hidden": "true" });
      setVar(share, "--share", String(holder.bytes / most));
      const pick = el(
        "button",
        { type: "button", className: "link", title: `${count(holder.bytes)} B: show these blocks alone`, "aria-pressed": String(holder.key === this.key), onclick: () => this.pick(holder.key) },
        bytes(holder.bytes),
      );
      const line = el("td", { className: "line-name", title: holder.name }, name[0] ?? "");
      for (const frame of name.slice(1, 4)) line.append(el("span", { className: "quiet" }, frame));
      const row = el("tr", {}, el("td", {}, pick, share), el("td", {}, count(holder.blocks)), el("td", {}, bytes(holder.largest)), line);
      row.dataset["bytes"] = String(holder.bytes);
      row.dataset["line"] = holder.name;
      return row;
    });
    this.body.replaceChildren(...rows);
  }

  /** A part with one stack filters by it; one with several becomes the whole. */
  private showFlame(root: Flame): void {
    this.graph.replaceChildren(
      flame(root, (part) => {
        if (part.key !== null) this.pick(part.key);
        else if (part === root) void this.refresh();
        else this.showFlame(part);
      }),
    );
  }

  private pick(key: number): void {
    this.key = this.key === key ? null : key;
    void this.apply();
  }
}
