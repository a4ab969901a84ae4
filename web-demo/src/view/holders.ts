/** Who holds the allocated bytes at an instant: a table by line or by call stack, which filters what the other views show. */
import type { Analyst, Filter, Holder } from "../model.ts";
import { el, setText, setVar } from "./dom.ts";
import { flame, flameOf, type Flame } from "./flame.ts";
import { bytes, count, counted } from "./format.ts";
import { SearchField } from "./search.ts";

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
  private readonly clear: HTMLButtonElement;
  private readonly by: HTMLSelectElement;
  private readonly field = new SearchField(() => void this.apply());
  private analyst: Analyst | null = null;
  private event = 0;
  /** Of the row that was clicked: clicked again, it lets go. */
  private key: number | null = null;
  private filtered = false;
  private asked = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** `changed` is called when the filter is another one. */
  constructor(private readonly changed: (filter: Filter | null) => void) {
    this.by = el("select", { "aria-label": "Held by", onchange: () => this.rekey() }, el("option", { value: "line" }, "by line"), el("option", { value: "stack" }, "by call stack"), el("option", { value: "flame" }, "as a flame graph"));
    this.summary = el("p", { className: "quiet", role: "status" });
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
      this.field.element,
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
    this.field.set("");
    this.clear.hidden = true;
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
    this.search("");
  }

  /** Searches both views for a text, whatever was clicked before. */
  search(text: string): void {
    this.key = null;
    this.field.set(text);
    void this.apply();
  }

  private async apply(): Promise<void> {
    const { analyst } = this;
    const { terms } = this.field;
    if (analyst === null || terms === null) return;
    const filter: Filter | null = terms.length === 0 && this.key === null ? null : { terms, key: this.key };
    try {
      await analyst.filter(filter);
    } catch {
      // The run was closed.
      return;
    }
    if (analyst !== this.analyst) return;
    this.filtered = filter !== null;
    this.clear.hidden = filter === null;
    this.changed(filter);
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
