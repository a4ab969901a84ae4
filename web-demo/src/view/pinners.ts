/** Who pins the waste at the instant shown: lines whose blocks keep free bytes from being returned or joined, which can be marked in both views. */
import type { Analyst, Filter, Pinner } from "../model.ts";
import { isMomentary } from "../model.ts";
import { el, setText, setVar } from "./dom.ts";
import { bytes, count, counted } from "./format.ts";
import { quotedLine } from "./query.ts";

/** Rows of the table. */
const MOST = 50;
/** Between two refreshes while a run plays, in milliseconds. */
const CALM_MS = 200;
const ALL = "category:pins";

export class PinnersPanel {
  readonly element: HTMLElement;
  private readonly summary: HTMLElement;
  private readonly mark: HTMLButtonElement;
  private readonly table: HTMLElement;
  private readonly body: HTMLTableSectionElement;
  private analyst: Analyst | null = null;
  private event = 0;
  private marking = false;
  private asked = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** `search` puts a text into the field that both views are searched with. */
  constructor(private readonly search: (text: string) => void) {
    this.summary = el("p", { className: "quiet", role: "status" });
    this.mark = el("button", { type: "button", "aria-pressed": "false", onclick: () => this.search(this.marking ? "" : ALL) }, "Mark them in both views");
    this.body = el("tbody");
    this.table = el(
      "div",
      { className: "table-scroll", tabIndex: 0, role: "group", "aria-label": "Lines that pin free bytes" },
      el("table", {}, el("thead", {}, el("tr", {}, ...["pinned", "by", "blocks", "line"].map((name) => el("th", { scope: "col" }, name)))), this.body),
    );
    this.element = el(
      "section",
      { className: "panel pinners", "aria-labelledby": "pinners-title", hidden: true },
      el("div", { className: "panel-head" }, el("h3", { id: "pinners-title" }, "Who pins the waste at this instant"), this.mark),
      el("p", { className: "quiet" }, "Free bytes that would be returned to the device or joined if the line's blocks were elsewhere. A free block between two lines counts for none of them, one in a segment that a line has for itself counts for that line."),
      this.summary,
      this.table,
    );
  }

  /** Another run, or none: only a recorded one is known to have segments. */
  setRun(analyst: Analyst | null): void {
    this.analyst = analyst;
    this.element.hidden = analyst === null;
    this.body.replaceChildren();
    setText(this.summary, "");
    this.setFilter(null);
  }

  /** What both views are searched for. */
  setFilter(filter: Filter | null): void {
    this.marking = isMomentary(filter);
    this.mark.setAttribute("aria-pressed", String(this.marking));
  }

  /** Another instant. */
  at(event: number): void {
    if (this.analyst === null || (this.event === event && this.element.dataset["event"] === String(event))) return;
    this.event = event;
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      void this.refresh();
    }, CALM_MS);
  }

  private async refresh(): Promise<void> {
    const { analyst, event } = this;
    if (analyst === null) return;
    const mine = ++this.asked;
    try {
      const pinners = await analyst.pinners(event);
      if (mine === this.asked && analyst === this.analyst && pinners !== null) this.show(pinners.lines, event);
    } catch {
      // The run was closed.
    }
  }

  private show(lines: readonly Pinner[], event: number): void {
    const most = lines[0]?.pinned ?? 1;
    const rest = lines.length - MOST;
    this.element.dataset["event"] = String(event);
    this.table.hidden = lines.length === 0;
    this.mark.hidden = lines.length === 0 && !this.marking;
    setText(
      this.summary,
      lines.length === 0
        ? `Nobody, at event ${count(event)}.`
        : `${counted(lines.length, "line")} at event ${count(event)}${rest > 0 ? `; ${count(rest)} more rows not shown` : ""}. A free block that two lines pin is counted for both.`,
    );
    this.body.replaceChildren(
      ...lines.slice(0, MOST).map(({ line, bytes: by, pinned, blocks }) => {
        const share = el("span", { className: "share", "aria-hidden": "true" });
        setVar(share, "--share", String(pinned / Math.max(1, most)));
        const pick = el("button", { type: "button", className: "link", title: `${count(pinned)} B: show these blocks and what they pin`, onclick: () => this.search(`${ALL} ${quotedLine(line)}`) }, bytes(pinned));
        const row = el("tr", {}, el("td", {}, pick, share), el("td", {}, bytes(by)), el("td", {}, count(blocks)), el("td", { className: "line-name", title: line }, line));
        row.dataset["pinned"] = String(pinned);
        row.dataset["bytes"] = String(by);
        row.dataset["blocks"] = String(blocks);
        row.dataset["line"] = line;
        return row;
      }),
    );
  }
}
