/**
 * The plan of a run: how little memory would do if its future were known, beside what the run's pool holds, and where each block would stand.
 *
 * ```text
 *   switch ─▶ search, in a worker of its own ─▶ size over the bound ─▶ view of the plan, places in details and slabs
 *                └ Stop, or out of time: the best so far
 * ```
 */
import type { Analyst, Plan, PlanNews, RunInfo } from "../model.ts";
import { el, setText } from "./dom.ts";
import { save } from "./export.ts";
import { bytes, count, counted } from "./format.ts";
import { OverTimePanel, PLANNED, type Mark, type OverTimeListener } from "./over_time.ts";

/** Seconds that are searched unless told otherwise, as by `strandline plan`. */
const SECONDS = 10;
const MOST_SECONDS = 3600;

export interface PlanListener extends OverTimeListener {
  /** The run is to be played through a pool that follows the plan; null: through one that follows none. */
  follow(plan: Plan | null): void;
  /** The plan lies beside the blocks, or does no more. */
  laid(): void;
}

/** What the pool of a run holds at most, and whose it is. */
interface Held {
  whose: string;
  bytes: number;
}

export class PlanPanel {
  readonly element: HTMLElement;
  /** The view of the plan, from the first plan on. */
  view: OverTimePanel | null = null;
  private readonly on: HTMLInputElement;
  private readonly seconds: HTMLInputElement;
  private readonly stopButton: HTMLButtonElement;
  private readonly bar: HTMLProgressElement;
  private readonly progress: HTMLElement;
  private readonly out: HTMLElement;
  private readonly actions: HTMLElement;
  private readonly followButton: HTMLButtonElement;
  private readonly place: HTMLElement;
  private analyst: Analyst | null = null;
  private info: RunInfo | null = null;
  private marks: readonly Mark[] = [];
  private held: Held | null = null;
  private plan: Plan | null = null;
  /** Refused requests that have a place in the plan. */
  private others = 0;
  private stopSearch: (() => void) | null = null;
  private dark = false;
  private span: [number, number] | null = null;
  private event = 0;

  /** `canFollow`: whoever listens can play the run once more. */
  constructor(
    private readonly listener: PlanListener,
    private readonly canFollow: boolean,
  ) {
    this.on = el("input", { type: "checkbox", role: "switch", id: "plan-on", onchange: () => (this.on.checked ? this.begin() : this.off()) });
    this.seconds = el("input", { type: "number", id: "plan-seconds", min: "0.1", max: String(MOST_SECONDS), step: "any", value: String(SECONDS) });
    this.stopButton = el("button", { type: "button", hidden: true, onclick: () => this.stop("stopped") }, "Stop");
    this.bar = el("progress", { max: 1, value: 0, hidden: true, "aria-label": "Time of the search" });
    this.progress = el("span", { className: "quiet plan-progress", role: "status" });
    this.out = el("div", { className: "plan-out" });
    this.followButton = el("button", { type: "button", onclick: () => this.listener.follow(this.info?.plan === undefined ? this.plan : null) });
    this.actions = el(
      "div",
      { className: "plan-actions", hidden: true },
      this.followButton,
      el("button", { type: "button", onclick: () => this.plan !== null && save("step.plan", new Blob([this.plan.file as BlobPart])) }, "Save the plan"),
    );
    this.place = el("div", { className: "plan-view" });
    const panel = el(
      "section",
      { className: "panel plan", "aria-labelledby": "plan-title" },
      el(
        "div",
        { className: "panel-head" },
        el("h3", { id: "plan-title" }, "The least memory, with the future known"),
        el("label", { className: "switch", for: "plan-on" }, this.on, " Plan this step"),
        el("label", { className: "quiet", for: "plan-seconds" }, "searching for ", this.seconds, " s at most"),
        this.bar,
        this.stopButton,
        this.progress,
      ),
      this.out,
      this.actions,
    );
    this.element = el("div", { className: "plan-area", hidden: true }, panel, this.place);
  }

  /** Another run, or none. One that follows a plan shows it. */
  setRun(info: RunInfo | null, analyst: Analyst | null, marks: readonly Mark[]): void {
    this.stop("");
    this.forget();
    this.info = info;
    this.analyst = analyst;
    this.marks = marks;
    this.held = null;
    this.event = 0;
    this.element.hidden = analyst === null || info === null || info.events === 0 || info.snapshot?.devices.find(({ device }) => device === info.snapshot?.device)?.stateOnly === true;
    this.on.checked = info?.plan !== undefined;
    const recorded = info?.asRecorded === true ? info.snapshot?.explained.json : undefined;
    const theirs = (recorded?.["explain"] as { peak_reserved_bytes?: number | null } | undefined)?.peak_reserved_bytes ?? null;
    if (theirs !== null) this.held = { whose: "PyTorch reserved", bytes: theirs };
    if (info?.plan !== undefined) void this.lay(info.plan);
  }

  setMarks(marks: readonly Mark[]): void {
    this.marks = marks;
    this.view?.setMarks(marks);
  }

  /** The report of the pools' run. */
  reported(report: Record<string, unknown>): void {
    // What was saved of a recorded run has the explanation's report, and no plan.
    const { memory } = report as { memory?: { peak_reserved_bytes: number } };
    if (this.info?.asRecorded === true || memory === undefined) return;
    this.held = { whose: this.info?.plan === undefined ? "Strandline's pools hold" : "The pool that follows the plan holds", bytes: memory.peak_reserved_bytes };
    this.say();
  }

  at(event: number): void {
    this.event = event;
    this.view?.at(event);
  }

  highlight(row: number | null): void {
    this.view?.highlight(row);
  }

  /** Shows the events that the other view over time shows. */
  follow(from: number, to: number): void {
    this.span = [from, to];
    this.view?.follow(from, to);
  }

  /** What is drawn is not what it was: the filter changed. */
  refresh(): void {
    this.view?.refresh();
  }

  setDark(dark: boolean): void {
    this.dark = dark;
    this.view?.setDark(dark);
  }

  close(): void {
    this.stop("");
    this.view?.close();
  }

  private begin(): void {
    const { analyst } = this;
    const seconds = Math.max(0.1, Math.min(MOST_SECONDS, this.seconds.valueAsNumber || SECONDS));
    if (analyst === null) return;
    this.element.dataset["state"] = "searching";
    setText(this.progress, "reading the trace");
    this.bar.hidden = this.stopButton.hidden = false;
    this.bar.removeAttribute("value");
    const current = () => analyst === this.analyst && this.on.checked;
    this.stopSearch = analyst.plan(
      seconds * 1000,
      (news) => current() && this.heard(news, seconds),
      (error) => current() && this.stop(error.message),
    );
  }

  private heard(news: PlanNews, limit: number): void {
    if (news.plan !== null) void this.lay(news.plan);
    this.bar.value = Math.min(1, news.seconds / limit);
    const known = this.plan ?? news.plan;
    const over = known === null ? "" : `, ${overText(news.best, known.bound)} over the bound`;
    // Nothing is known before the first plan is whole.
    const size = news.best >= Number.MAX_SAFE_INTEGER ? "the first plan is made" : `${bytes(news.best)}${over}`;
    if (!news.ended) setText(this.progress, `${news.seconds.toFixed(1)} s: ${size}`);
    else this.stop(known?.optimal === true ? `proved to be the smallest in ${news.seconds.toFixed(2)} s` : `the best of ${news.seconds.toFixed(1)} s`);
  }

  /** The search is over, or is ended; what was found until now stays. */
  private stop(why: string): void {
    this.stopSearch?.();
    this.stopSearch = null;
    this.bar.hidden = this.stopButton.hidden = true;
    setText(this.progress, why === "stopped" ? (this.plan === null ? "stopped before there was a plan" : "stopped: the best until then") : why);
    this.element.dataset["state"] = why === "" ? "" : "ended";
  }

  private off(): void {
    this.stop("");
    this.forget();
    void this.analyst?.place(null).then(
      () => this.listener.laid(),
      () => undefined,
    );
    if (this.info?.plan !== undefined) this.listener.follow(null);
  }

  /** Nothing is shown of a plan. */
  private forget(): void {
    this.plan = null;
    this.others = 0;
    this.out.replaceChildren();
    this.actions.hidden = true;
    this.view?.close();
    this.view = null;
    this.place.replaceChildren();
    for (const key of ["bytes", "bound", "optimal"]) delete this.element.dataset[key];
  }

  /** Lays a plan beside the run. */
  private async lay(plan: Plan): Promise<void> {
    const { analyst, info } = this;
    this.plan = plan;
    this.say();
    if (analyst === null || info === null) return;
    try {
      const placed = await analyst.place(plan);
      if (analyst !== this.analyst || plan !== this.plan) return;
      this.others = placed.others;
    } catch {
      // The run was closed.
      return;
    }
    this.say();
    if (this.view === null) {
      this.view = new OverTimePanel(this.listener, PLANNED);
      this.place.replaceChildren(this.view.element);
      this.view.setDark(this.dark);
      this.view.setRun(analyst, info.events, this.marks, info.title);
      if (this.span !== null) this.view.follow(...this.span);
      this.view.at(this.event);
    } else this.view.refresh();
    this.view.setLevels([
      { bytes: plan.bytes, text: plan.optimal ? `plan and bound ${bytes(plan.bytes)}` : `plan ${bytes(plan.bytes)}` },
      ...(plan.optimal ? [] : [{ bytes: plan.bound, text: `bound ${bytes(plan.bound)}` }]),
    ]);
    this.listener.laid();
  }

  private say(): void {
    const { plan, held, info } = this;
    if (plan === null) return;
    const { dataset } = this.element;
    dataset["bytes"] = String(plan.bytes);
    dataset["bound"] = String(plan.bound);
    dataset["optimal"] = String(plan.optimal);
    const value = (key: string, of: number) => el("b", { "data-plan": key, "data-value": of, title: `${count(of)} B` }, bytes(of));
    const parts: (Node | string)[] = ["The plan needs ", value("bytes", plan.bytes), `, ${overText(plan.bytes, plan.bound)} over the bound of `, value("bound", plan.bound), plan.optimal ? ": no plan is smaller." : "."];
    if (held !== null) {
      const more = held.bytes - plan.bytes;
      const share = `${Math.abs((100 * more) / Math.max(1, plan.bytes)).toFixed(1)} %`;
      parts.push(` ${held.whose} `, value("held", held.bytes), more > 0 ? `, ${bytes(more)} more (${share}).` : more < 0 ? `, ${bytes(-more)} less (${share}): a smaller peak than the trace asks for.` : ", the same.");
    }
    const facts = [counted(plan.blocks, "block")];
    if (plan.waits > 0) facts.push(`${counted(plan.waits, "wait")} for another stream`);
    if (this.others > 0) facts.push(`${counted(this.others, "refused request")} among them, which no view shows`);
    this.out.replaceChildren(el("p", { className: "plan-line" }, ...parts), el("p", { className: "quiet" }, `${facts.join(", ")}. The plan knows the whole of this run and nothing of another.`));
    this.actions.hidden = false;
    const following = info?.plan !== undefined;
    this.followButton.hidden = !this.canFollow;
    setText(this.followButton, following ? "Play it without the plan" : "Play it through a pool that follows the plan");
  }
}

/** By how much a plan is larger than the bound, as the command prints it. */
export function overText(size: number, bound: number): string {
  return `+${(100 * (size / Math.max(1, bound) - 1)).toFixed(3)} %`;
}
