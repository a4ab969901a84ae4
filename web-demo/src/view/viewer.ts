/**
 * The picture of a run: puts the parts together and moves through the run.
 *
 * ```text
 *   Clock ─▶ event ─▶ Source.frame ─▶ strips, details, lanes, counters, table
 *                     Source.listen ─▶ timeline, failure, backing
 * ```
 */
import { isMomentary, type Failure, type Filter, type Frame, type Plan, type Source } from "../model.ts";
import { AnswerPanel } from "./answer.ts";
import { Clock } from "./clock.ts";
import { Colours } from "./colours.ts";
import { BytesPanel, CountersPanel } from "./counters.ts";
import { Details } from "./details.ts";
import { el, setText } from "./dom.ts";
import { savePage } from "./export.ts";
import { bytes, count, counted } from "./format.ts";
import { HoldersPanel } from "./holders.ts";
import { Instants, nextInstant } from "./instants.ts";
import { Lanes } from "./lanes.ts";
import { DARK, LIGHT } from "./palette.ts";
import { PinnersPanel } from "./pinners.ts";
import { RulesPanel } from "./rules.ts";
import { RunHead } from "./run_head.ts";
import { Strips, type Pointed, type StripsStats } from "./strips.ts";
import { LiveTable } from "./table.ts";
import { TimeViews } from "./time_views.ts";
import { Timeline } from "./timeline.ts";
import { actOnKey, Transport } from "./transport.ts";

/** Between two refreshes of the table while the run plays, in milliseconds. */
const TABLE_MS = 250;
/** From a picture to what is told of all of it, in milliseconds. */
const OVERVIEW_MS = 150;
/** Between two drawings of the timeline while more of the run becomes known. */
const TIMELINE_MS = 200;
/** Between two pictures for who asked for less motion. */
const CALM_MS = 500;

export class Viewer {
  readonly element: HTMLElement;
  private readonly clock = new Clock();
  private readonly strips: Strips;
  private readonly timeline: Timeline;
  private readonly details = new Details();
  private readonly lanes = new Lanes();
  private readonly counters = new CountersPanel();
  private readonly sums = new BytesPanel();
  private readonly table: LiveTable;
  private readonly answer = new AnswerPanel();
  private readonly overTime: TimeViews;
  private readonly holders: HoldersPanel;
  private readonly pinners: PinnersPanel;
  private readonly rules = new RulesPanel();
  private readonly colours = new Colours(() => {
    this.relook();
    this.recolour();
  });
  private readonly instants = new Instants(
    (frame) => this.showFrame(frame),
    (why) => {
      this.clock.pause();
      this.showPlaying();
      setText(this.rendererNote, why);
    },
  );
  private readonly head: RunHead;
  private readonly transport: Transport;
  private readonly zoomText: HTMLElement;
  private readonly memoryTitle = el("h3", { id: "memory-title" });
  private readonly memoryNote = el("p", { className: "quiet", hidden: true }, "The file tells nothing of the segments that its trace is about: these are the ones that stand in it.");
  private readonly runOverTime: HTMLElement;
  private readonly tableButton: HTMLButtonElement;
  private readonly foot: HTMLElement;
  private readonly rendererNote: HTMLElement;
  private readonly report: HTMLDetailsElement;
  private readonly reportText: HTMLElement;
  private readonly dark = matchMedia("(prefers-color-scheme: dark)");
  private readonly calm = matchMedia("(prefers-reduced-motion: reduce)");
  private readonly onKey = (event: KeyboardEvent) => this.key(event);
  private readonly onColours = () => this.recolour();
  private source: Source | null = null;
  private unlisten: (() => void) | null = null;
  private frame: Frame | null = null;
  /** What is searched for is another thing at every instant. */
  private momentary = false;
  private ticking = 0;
  private before = 0;
  private tableAt = 0;
  private pointed: Pointed | null = null;
  /** The block over time that is to be held once its instant is there. */
  private chosenRow: number | null = null;
  private detailsTimer: ReturnType<typeof setTimeout> | undefined;
  /** What taking over the last instant took, in milliseconds. */
  private frameScript = 0;
  private timelineTimer: ReturnType<typeof setTimeout> | undefined;

  /** `viewer` is the page that a run is saved into; without, it cannot be. */
  constructor(
    private readonly root: HTMLElement,
    private readonly page?: () => Promise<string>,
    /** Plays the run once more, through a pool that follows a plan, or none; without, it cannot be. */
    follow?: (plan: Plan | null) => void,
  ) {
    this.strips = new Strips({
      pointed: (pointed) => this.point(pointed),
      drawn: (stats) => this.drawn(stats),
      renderer: (_kind, why) => setText(this.rendererNote, why),
      zoomed: (zoom, canGrow) => this.zoomed(zoom, canGrow),
    });
    this.timeline = new Timeline((event) => this.seek(event));
    this.overTime = new TimeViews(
      {
        chosen: (event, row) => void this.choose(event, row),
        moved: (from, to) => this.timeline.window(from, to),
        follow: (plan) => follow?.(plan),
        laid: () => this.relaid(),
      },
      follow !== undefined,
    );
    this.holders = new HoldersPanel((filter) => this.filtered(filter));
    this.pinners = new PinnersPanel((text) => this.holders.search(text));
    this.table = new LiveTable(
      () => this.relook(),
      (block) => {
        this.strips.holdBlock(block);
        this.strips.element.scrollIntoView({ block: "nearest" });
      },
      () => {
        this.tableButton.setAttribute("aria-expanded", "false");
        this.tableButton.focus();
      },
    );
    this.head = new RunHead(
      () => this.toFailure(),
      () => void this.savePage(),
    );
    this.transport = new Transport({
      seek: (event) => this.seek(event),
      step: (by) => this.step(by),
      toggle: () => this.toggle(),
      end: () => this.seek(this.clock.last),
      speed: (speed) => {
        this.clock.speed = speed;
      },
    });
    this.zoomText = el("span", { className: "zoom-text" }, "1×");
    this.tableButton = el(
      "button",
      {
        type: "button",
        className: "live-button",
        "aria-expanded": "false",
        "aria-controls": "live-table",
        onclick: () => this.openTable(!this.table.isOpen),
      },
      "What is live now?",
    );
    this.reportText = el("pre", { tabIndex: 0, "aria-label": "Report" });
    this.report = el("details", { className: "panel report", hidden: true }, el("summary", {}, "The run's report, as ", el("code", {}, "strandline replay --json"), " prints it"), this.reportText);
    this.rendererNote = el("span", { className: "renderer-note", role: "status" });
    this.foot = el("span", { className: "foot-stats" });
    this.runOverTime = el("section", { className: "panel over-time", "aria-label": "Over time" }, this.transport.element, this.timeline.element, this.sums.element);
    this.element = el(
      "div",
      { className: "viewer" },
      this.head.element,
      this.answer.element,
      this.head.failure,
      this.runOverTime,
      this.overTime.blocks.element,
      this.overTime.plan.element,
      el(
        "div",
        { className: "core" },
        el(
          "section",
          { className: "panel memory", "aria-labelledby": "memory-title" },
          el(
            "div",
            { className: "panel-head" },
            this.memoryTitle,
            this.colours.choice,
            el(
              "div",
              { className: "zoom", role: "group", "aria-label": "Zoom" },
              el("button", { type: "button", "aria-label": "Zoom out", onclick: () => this.strips.zoomOut() }, "−"),
              this.zoomText,
              el("button", { type: "button", "aria-label": "Zoom in", onclick: () => this.strips.zoomIn() }, "+"),
            ),
            this.tableButton,
          ),
          this.memoryNote,
          this.strips.element,
          this.colours.legend,
        ),
        this.holders.element,
        this.pinners.element,
        this.table.element,
        this.lanes.element,
      ),
      el("div", { className: "side" }, this.details.element, this.counters.element),
      this.rules.element,
      this.report,
      el("footer", { className: "foot" }, this.rendererNote, this.foot),
    );
    root.append(this.element);
    this.timeline.element.addEventListener("keydown", (event) => this.timelineKey(event));
    document.addEventListener("keydown", this.onKey);
    this.dark.addEventListener("change", this.onColours);
    this.recolour();
    this.showFrame(null);
    this.setSource(null);
  }

  /** The instant that is shown. */
  get event(): number {
    return this.frame?.event ?? 0;
  }

  /** Shows a run from the beginning, or from an event; the one before is left alone: who opened it closes it. */
  setSource(source: Source | null, at = 0): void {
    this.unlisten?.();
    this.source = source;
    this.unlisten = null;
    this.clock.pause();
    this.strips.reset();
    this.showFrame(null);
    this.head.fail(null, false);
    this.report.hidden = true;
    setText(this.reportText, "");
    this.element.classList.toggle("empty", source === null);
    this.element.classList.toggle("as-recorded", source?.info.asRecorded === true);
    this.counters.element.hidden = source?.info.asRecorded === true;
    const info = source?.info ?? null;
    setText(this.memoryTitle, info?.asRecorded === true ? "Segments" : "Slabs");
    this.memoryNote.hidden = info?.reservedNotTold !== true;
    // A state has no time.
    this.element.classList.toggle("state-only", info?.stateOnly === true);
    this.sums.setRun(info);
    this.timeline.setRun(info);
    this.instants.setSource(source);
    this.momentary = false;
    this.chosenRow = null;
    const analyst = source?.analyst ?? null;
    this.head.setRun(source, analyst !== null && this.page !== undefined);
    this.answer.setRun(source?.info ?? null, analyst);
    this.holders.setRun(analyst);
    this.pinners.setRun(source?.info.asRecorded === true ? analyst : null);
    this.rules.setRun(analyst);
    this.overTime.setRun(source);
    if (source === null) {
      this.showPlaying();
      return;
    }
    this.describeRun();
    this.unlisten = source.listen((event) => {
      if (source !== this.source) return;
      switch (event.type) {
        case "series":
        case "progress":
          this.laterTimeline();
          break;
        case "failure":
          this.showFailure(event.failure);
          break;
        case "backing":
          this.head.showBacking(event.backing, event.why);
          break;
      }
    });
    this.clock.last = this.lastEvent();
    const failed = source.failure();
    if (failed !== null) this.showFailure(failed);
    this.refreshTimeline();
    this.head.showHandles();
    this.seek(at);
    this.showPlaying();
    source.report().then(
      (report) => {
        if (source !== this.source || report === null) return;
        this.answer.reported(report);
        this.overTime.plan.reported(report);
        setText(this.reportText, JSON.stringify(report, null, 2));
        this.report.hidden = false;
      },
      // A run that was closed has none.
      () => undefined,
    );
  }

  play(): void {
    this.clock.last = this.lastEvent();
    this.clock.play();
    this.before = performance.now();
    this.tick();
    this.showPlaying();
  }

  close(): void {
    this.setSource(null);
    cancelAnimationFrame(this.ticking);
    clearTimeout(this.timelineTimer);
    this.instants.close();
    clearTimeout(this.detailsTimer);
    document.removeEventListener("keydown", this.onKey);
    this.dark.removeEventListener("change", this.onColours);
    this.strips.close();
    this.overTime.close();
    this.timeline.close();
    this.element.remove();
  }

  /** What can be shown at most: up to the failure, or to the end. */
  private lastEvent(): number {
    const { source } = this;
    if (source === null) return 0;
    const { instants } = source.info;
    if (source.info.asRecorded === true) return source.info.events;
    const end = instants === "every" ? source.info.events : (instants[instants.length - 1] ?? 0);
    return Math.min(end, source.failure()?.event ?? end);
  }

  private describeRun(): void {
    const info = this.source?.info;
    if (info === undefined) return;
    this.head.describe(info);
    this.transport.setEvents(info.events);
  }

  private showFailure(failure: Failure): void {
    this.clock.last = this.lastEvent();
    this.head.fail(failure, this.source?.info.asRecorded === true);
    if (this.source !== null) this.overTime.failed(this.source);
    this.refreshTimeline();
  }

  private toFailure(): void {
    const failure = this.source?.failure();
    if (failure === null || failure === undefined) return;
    this.clock.pause();
    this.showPlaying();
    this.seek(failure.event);
  }

  private refreshTimeline(): void {
    const { source } = this;
    if (source === null) return;
    this.clock.last = this.lastEvent();
    const series = source.series();
    this.strips.setExpected(series.committed.max.reduce((most, bytes) => Math.max(most, bytes), 0));
    const failure = source.failure();
    // What was never played needs no room.
    this.timeline.show({ series, events: Math.min(source.info.events, this.lastEvent()), failure });
    this.describeRun();
    this.mark();
  }

  /** News of a run that is still being played come often: they are gathered. */
  private laterTimeline(): void {
    this.timelineTimer ??= setTimeout(() => {
      this.timelineTimer = undefined;
      this.refreshTimeline();
      this.head.showHandles();
    }, TIMELINE_MS);
  }

  private mark(): void {
    const event = this.frame?.event ?? 0;
    this.timeline.at(event, `event ${count(event)}${this.frame === null ? "" : `, ${bytes(this.frame.bytes.live)} allocated`}`);
    this.transport.at(event);
  }

  private seek(event: number): void {
    this.clock.seek(event);
    this.instants.ask(this.clock.event);
  }

  /** To the next or last instant that can be shown. */
  private step(by: number): void {
    const instants = this.source?.info.instants ?? "every";
    this.clock.pause();
    this.showPlaying();
    // From where it was sent to last: steps that come faster than pictures add up.
    const from = this.clock.event;
    this.seek(instants === "every" ? from + by : nextInstant(instants, from, by));
  }

  private showFrame(frame: Frame | null): void {
    const began = performance.now();
    const moved = frame?.event !== this.frame?.event;
    this.frame = frame;
    this.strips.setLook({ by: this.colours.by, keep: this.keep(frame) });
    this.strips.show(frame);
    this.showChosen(frame);
    if (frame !== null) {
      this.overTime.at(frame.event);
      this.holders.at(frame.event);
      this.pinners.at(frame.event);
      if (this.momentary && moved) this.overTime.refresh();
    }
    this.sums.show(frame);
    this.counters.show(frame);
    this.lanes.show(frame, null);
    const now = performance.now();
    if (!this.clock.playing || now - this.tableAt > TABLE_MS) {
      this.tableAt = now;
      this.table.show(frame);
    }
    this.mark();
    this.element.dataset["event"] = frame === null ? "" : String(frame.event);
    if (!this.clock.playing) this.head.showHandles();
    this.frameScript = performance.now() - began;
  }

  /** Both views are searched for something else. */
  private filtered(filter: Filter | null): void {
    this.momentary = isMomentary(filter);
    this.pinners.setFilter(filter);
    this.overTime.refresh();
    this.instants.ask(this.event);
  }

  /** Another plan lies beside the blocks, or none does any more: what is told of a block says so. */
  private relaid(): void {
    this.details.forget();
    this.point(this.pointed);
  }

  private relook(): void {
    this.strips.setLook({ by: this.colours.by, keep: this.keep(this.frame) });
  }

  /** Blocks that are not dimmed: what the table searches for and the filter takes; null for all. */
  private keep(frame: Frame | null): ((block: number) => boolean) | null {
    if (frame === null) return null;
    const searched = this.table.keep(frame);
    const { matched } = frame;
    if (matched === undefined) return searched;
    return (block) => matched[block] === 1 && (searched === null || searched(block));
  }

  /** To an instant, and to a block over time that lives then. */
  private async choose(event: number, row: number | null): Promise<void> {
    const { source } = this;
    this.clock.pause();
    this.showPlaying();
    this.chosenRow = row;
    let at = event;
    const life = row === null ? null : ((await source?.analyst?.life(row).catch(() => null)) ?? null);
    if (source !== this.source) return;
    // A column shows the instant of most bytes, which is not always the one that was hit.
    if (life !== null && (at < life.from || (life.retired !== null && at >= life.retired))) at = Math.max(life.from, Math.min(at, (life.retired ?? at + 1) - 1));
    this.seek(at);
  }

  /** Holds the block that was chosen over time. */
  private showChosen(frame: Frame | null): void {
    const row = this.chosenRow;
    if (row === null || frame?.rows === undefined) return;
    this.chosenRow = null;
    const block = frame.rows.indexOf(row);
    if (block >= 0) this.strips.holdBlock(block);
  }

  /** The run in a file of its own, which opens at this instant. */
  private async savePage(): Promise<void> {
    if (this.source === null || this.page === undefined) return;
    this.clock.pause();
    this.showPlaying();
    this.head.saving(true);
    setText(this.rendererNote, await savePage(this.source, this.page, this.event));
    this.head.saving(false);
  }

  private openTable(open: boolean): void {
    if (open) {
      this.clock.pause();
      this.showPlaying();
      this.table.show(this.frame);
    }
    this.table.toggle(open);
    this.tableButton.setAttribute("aria-expanded", String(open));
  }

  private point(pointed: Pointed | null): void {
    // What all free memory waits for is a walk over the blocks: not within a picture, and not at every one.
    if (pointed === null && this.frame !== null) this.detailsTimer ??= setTimeout(() => this.overview(), OVERVIEW_MS);
    else this.details.show(this.frame, pointed);
    this.pointed = pointed;
    const row = pointed !== null && pointed.end === pointed.first + 1 ? (this.frame?.rows?.[pointed.first] ?? -1) : -1;
    this.overTime.highlight(row < 0 ? null : row);
    void this.details.showLife(row < 0 ? null : row, this.source?.analyst ?? null);
    this.lanes.show(this.frame, pointed !== null && pointed.end === pointed.first + 1 ? pointed.first : null);
  }

  private overview(): void {
    this.detailsTimer = undefined;
    if (this.pointed === null) this.details.show(this.frame, null);
  }

  private drawn(stats: StripsStats): void {
    const { element } = this;
    const script = stats.script + this.frameScript;
    this.frameScript = 0;
    element.dataset["renderer"] = stats.renderer;
    element.dataset["draws"] = String(stats.draws);
    element.dataset["rects"] = String(stats.rects);
    element.dataset["uploaded"] = String(stats.uploaded);
    element.dataset["script"] = script.toFixed(2);
    const blocks = this.frame?.blocks.count ?? 0;
    setText(
      this.foot,
      `${counted(blocks, "block")} as ${counted(stats.rects, "rectangle")} in ${counted(stats.draws, "draw")}${stats.renderer === "webgpu" ? `, ${bytes(stats.uploaded)} uploaded` : ""}, ${script.toFixed(1)} ms of script`,
    );
  }

  private zoomed(zoom: number, canGrow: boolean): void {
    setText(this.zoomText, `${count(zoom)}×`);
    const [out, , into] = this.zoomText.parentElement?.children ?? [];
    (out as HTMLButtonElement).disabled = zoom <= 1;
    (into as HTMLButtonElement).disabled = !canGrow;
  }

  private toggle(): void {
    if (this.clock.playing) {
      this.clock.pause();
      this.showPlaying();
      this.table.show(this.frame);
    } else this.play();
  }

  private showPlaying(): void {
    const { playing } = this.clock;
    this.transport.showPlaying(playing);
    this.element.dataset["playing"] = String(playing);
  }

  /** One step of the clock; the browser calls it only while the page can be seen. */
  private tick(): void {
    cancelAnimationFrame(this.ticking);
    this.ticking = requestAnimationFrame((now) => {
      const gap = now - this.before;
      // A source that has not answered holds the clock: it would run ahead of what can be shown.
      if (this.instants.busy || (this.calm.matches && gap < CALM_MS)) {
        this.tick();
        return;
      }
      this.before = now;
      if (!this.clock.playing) return;
      const on = this.clock.tick(gap, this.calm.matches ? 2 * CALM_MS : undefined);
      this.instants.ask(this.clock.event);
      if (on) this.tick();
      else this.showPlaying();
    });
  }

  private timelineKey(event: KeyboardEvent): void {
    const far = Math.max(1, Math.round(this.clock.last / 20));
    actOnKey(event, {
      ArrowLeft: () => this.step(-1),
      ArrowDown: () => this.step(-1),
      ArrowRight: () => this.step(1),
      ArrowUp: () => this.step(1),
      PageDown: () => this.seek(this.event - far),
      PageUp: () => this.seek(this.event + far),
      Home: () => this.seek(0),
      End: () => this.seek(this.clock.last),
    });
  }

  /** Keys that work wherever nothing else wants them. */
  private key(event: KeyboardEvent): void {
    if (event.defaultPrevented || this.source === null) return;
    const target = event.target as HTMLElement | null;
    // Whoever types into a field means the field; a button has its own idea of space alone.
    const typing = 'textarea, select, input:not([type="range"]):not([type="checkbox"]):not([type="radio"])';
    const wanting = event.key.length === 1 && event.key !== " " ? typing : "input, select, textarea, button, a, summary";
    if (target !== document.body && target?.closest(wanting) !== null) return;
    actOnKey(event, {
      " ": () => this.toggle(),
      ",": () => this.step(-1),
      ".": () => this.step(1),
      Home: () => this.seek(0),
      End: () => this.seek(this.clock.last),
      l: () => this.openTable(!this.table.isOpen),
    });
  }

  private recolour(): void {
    const theme = this.dark.matches ? DARK : LIGHT;
    this.strips.setDark(theme.dark);
    this.timeline.recolour();
    this.overTime.setDark(theme.dark);
    this.colours.show(this.root, theme);
  }
}
