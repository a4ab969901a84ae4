/**
 * Blocks over time on the page: the picture that a worker made of a view, the view that people move, and what lies under the pointer. Blocks lie
 * on those before them, or where a plan has them.
 *
 * Whoever moves the view sees the last picture moved and stretched until the next one is there: a frame costs the same whatever the
 * number of blocks. One picture is asked for at a time.
 */
import type { Analyst, Life, OverTime, OverTimeView, Planned } from "../model.ts";
import { el, setText } from "./dom.ts";
import { bytes, count } from "./format.ts";
import { save, toPng, toSvg } from "./export.ts";
import { Instances, WORDS } from "./instances.ts";
import { DARK, LIGHT, type Theme } from "./palette.ts";
import { Surface } from "./surface.ts";
import { MERGED, panned, rectAt, rectOf, rectsOf, ticks, zoomed, type Window } from "./window.ts";

/** A pointer that moved less, in CSS pixels, has clicked. */
const CLICK = 4;
const ZOOM_STEP = 1.6;
/** Between two questions for the block under the pointer, in milliseconds. */
const HOVER_MS = 60;

export interface Mark {
  event: number;
  text: string;
}

export interface OverTimeListener {
  /** Somebody wants to see an instant, and a block there, if one was hit. */
  chosen(event: number, row: number | null): void;
  /** The events that are shown. */
  moved(from: number, to: number): void;
}

/** A height that is worth a line, as a plan's size is. */
export interface Level {
  bytes: number;
  text: string;
}

/** What bytes up are: sums of allocated bytes, or the addresses of a plan. */
export interface Upright {
  /** Of the elements' names. */
  id: string;
  title: string;
  hint: string;
  /** What tells its controls from those of another view. */
  suffix: string;
  picture(analyst: Analyst, view: OverTimeView): Promise<OverTime>;
}

/** Blocks on those that were allocated before them. */
export const STACKED: Upright = {
  id: "blocks",
  title: "Blocks over time",
  hint: "Allocated bytes, each block on those before it.",
  suffix: "",
  picture: (analyst, view) => analyst.overTime(view),
};

/** Blocks where the plan has them. */
export const PLANNED: Upright = {
  id: "plan-blocks",
  title: "Blocks as planned",
  hint: "Each block where the plan has it, from its request until it is over: addresses up. No two share a byte at a time.",
  suffix: ", as planned",
  picture: (analyst, view) => analyst.planned(view),
};

export class OverTimePanel {
  readonly element: HTMLElement;
  private readonly stage: HTMLElement;
  private readonly holder: HTMLElement;
  private readonly overlay: HTMLElement;
  private readonly outlines: HTMLElement;
  private readonly brush: HTMLElement;
  private readonly present: HTMLElement;
  private readonly tip: HTMLElement;
  private readonly scaleX: HTMLElement;
  private readonly scaleY: HTMLElement;
  private readonly span: HTMLElement;
  private readonly surface: Surface;
  private readonly instances = new Instances();
  private readonly observer: ResizeObserver;
  private theme: Theme = LIGHT;
  private analyst: Analyst | null = null;
  private events = 0;
  private title = "";
  private view: Window = { from: 0, to: 1, low: 0, high: null };
  private picture: OverTime | null = null;
  private marks: readonly Mark[] = [];
  private event = 0;
  private row: number | null = null;
  /** Where the plan has that block, if this is the view of a plan: it may be thinner than what is drawn. */
  private place: Planned | null = null;
  private levels: readonly Level[] = [];
  private by: OverTimeView["by"] = "line";
  private asking = false;
  private stale = false;
  private scheduled = 0;
  private hovered = 0;
  private drag: { x: number; y: number; view: Window; brush: boolean; moved: boolean } | null = null;

  constructor(
    private readonly listener: OverTimeListener,
    private readonly upright: Upright = STACKED,
  ) {
    this.surface = new Surface(() => {
      this.instances.dirty.length = 0;
      if (this.instances.total > 0) this.instances.dirty.push(0, this.instances.total);
      this.schedule();
    });
    this.holder = el("div", { className: "blocks-canvas" }, this.surface.canvas);
    this.outlines = el("div", { className: "blocks-outlines" });
    this.overlay = el("div", { className: "blocks-marks" });
    this.present = el("div", { className: "blocks-present" });
    this.brush = el("div", { className: "blocks-brush", hidden: true });
    this.tip = el("div", { className: "blocks-tip", hidden: true, role: "status" });
    this.scaleX = el("div", { className: "blocks-x" });
    this.scaleY = el("div", { className: "blocks-y" });
    this.stage = el(
      "div",
      {
        className: "blocks-stage",
        tabIndex: 0,
        role: "application",
        "aria-roledescription": "chart of blocks",
        "aria-label":
          `${upright.title}: events across, bytes up. Left and right move, plus and minus zoom, 0 shows all. With the pointer: drag moves, shift and drag marks a range, control and wheel zooms, a click shows the instant.`,
      },
      this.holder,
      this.outlines,
      this.overlay,
      this.present,
      this.brush,
    );
    this.span = el("span", { className: "quiet blocks-span" });
    const button = (text: string, label: string, act: () => void) => el("button", { type: "button", "aria-label": label, onclick: act }, text);
    const by = el(
      "select",
      {
        "aria-label": `Colour of ${upright.title.toLowerCase()}`,
        onchange: () => {
          this.by = by.value as OverTimeView["by"];
          this.request();
        },
      },
      el("option", { value: "line" }, "by line"),
      el("option", { value: "stream" }, "by stream"),
    );
    this.element = el(
      "section",
      { className: `panel blocks ${upright.id}-panel`, "aria-labelledby": `${upright.id}-title`, hidden: true },
      el(
        "div",
        { className: "panel-head" },
        el("h3", { id: `${upright.id}-title` }, upright.title),
        this.span,
        el("label", { className: "quiet" }, "Colour ", by),
        el(
          "div",
          { className: "zoom", role: "group", "aria-label": `Zoom of ${upright.title.toLowerCase()}` },
          button("−", `Zoom out in time${upright.suffix}`, () => this.zoom(1 / ZOOM_STEP, 0.5)),
          button("+", `Zoom in in time${upright.suffix}`, () => this.zoom(ZOOM_STEP, 0.5)),
          button("All", `Show all of the run${upright.suffix}`, () => this.showAll()),
        ),
        el(
          "div",
          { className: "zoom", role: "group", "aria-label": `Save this view${upright.suffix}` },
          button("SVG", `Save as SVG${upright.suffix}`, () => void this.export("svg")),
          button("PNG", `Save as PNG${upright.suffix}`, () => void this.export("png")),
        ),
      ),
      el("div", { className: "blocks-frame" }, this.scaleY, this.stage, this.tip, this.scaleX),
      el("p", { className: "quiet hint" }, `${upright.hint} Drag to move, shift and drag to mark a range, control and wheel to zoom (with alt: bytes); a click shows the instant and the block.`),
    );
    this.listenToPointer();
    this.stage.addEventListener("keydown", (event) => this.key(event));
    this.observer = new ResizeObserver(() => this.request());
    this.observer.observe(this.stage);
  }

  /** Another run, or none. */
  setRun(analyst: Analyst | null, events: number, marks: readonly Mark[], title: string): void {
    this.analyst = analyst;
    this.title = title;
    this.events = events;
    this.marks = marks;
    this.picture = null;
    this.row = null;
    this.place = null;
    this.instances.take(new Uint32Array(0));
    this.element.hidden = analyst === null || events === 0;
    delete this.element.dataset["rects"];
    this.tip.hidden = true;
    this.showAll();
    this.schedule();
  }

  /** Saves what is shown as a file of its own. */
  private async export(kind: "svg" | "png"): Promise<void> {
    const { picture, theme, marks, title } = this;
    if (picture === null) return;
    const drawing = { title: `${title}: ${this.upright.hint.replace(/\.$/, "")}`, picture, theme, marks };
    const name = `${title.replace(/[^\w.-]+/g, "_")}${this.upright === PLANNED ? ".plan" : ""}.${kind}`;
    save(name, kind === "png" ? await toPng(drawing) : new Blob([toSvg(drawing).svg], { type: "image/svg+xml" }));
  }

  setMarks(marks: readonly Mark[]): void {
    this.marks = marks;
    this.schedule();
  }

  /** The instant that the other views show. */
  at(event: number): void {
    if (event === this.event) return;
    this.event = event;
    this.schedule();
  }

  /** The block that is pointed at elsewhere. */
  highlight(row: number | null): void {
    if (row === this.row) return;
    this.row = row;
    this.place = null;
    this.schedule();
    this.locate();
  }

  /** Where the plan has the block that is pointed at. */
  private locate(): void {
    const { row } = this;
    if (this.upright !== PLANNED || row === null) return;
    this.analyst?.life(row).then(
      (life) => {
        if (row !== this.row) return;
        this.place = life?.planned ?? null;
        this.schedule();
      },
      () => undefined,
    );
  }

  /** Heights that are worth a line. */
  setLevels(levels: readonly Level[]): void {
    this.levels = levels;
    this.schedule();
  }

  /** Shows the events that another view over time shows. */
  follow(from: number, to: number): void {
    if (from === this.view.from && to === this.view.to) return;
    this.view = { ...this.view, from, to };
    this.request();
    this.schedule();
  }

  /** What is drawn is not what it was: the filter changed, or the plan. */
  refresh(): void {
    this.request();
    this.locate();
  }

  setDark(dark: boolean): void {
    this.theme = dark ? DARK : LIGHT;
    if (this.picture !== null) this.instances.take(this.picture.words);
    this.schedule();
  }

  close(): void {
    this.observer.disconnect();
    cancelAnimationFrame(this.scheduled);
    this.surface.close();
  }

  private showAll(): void {
    this.move({ from: 0, to: Math.max(1, this.events + 1), low: 0, high: null });
  }

  private zoom(by: number, at: number): void {
    this.move(zoomed(this.view, by, at, this.events + 1));
  }

  private move(view: Window): void {
    this.view = view;
    this.listener.moved(view.from, view.to);
    this.request();
    this.schedule();
  }

  private get scale(): number {
    return Math.max(1, Math.min(3, window.devicePixelRatio || 1));
  }

  private request(): void {
    if (this.analyst === null) return;
    this.stale = true;
    if (!this.asking) void this.ask();
  }

  private async ask(): Promise<void> {
    this.asking = true;
    while (this.stale && this.analyst !== null) {
      this.stale = false;
      const { analyst, scale, view } = this;
      const [width, height] = [Math.floor(this.stage.clientWidth * scale), Math.floor(this.stage.clientHeight * scale)];
      if (width < 2 || height < 2) break;
      try {
        const picture = await this.upright.picture(analyst, { ...view, width, height, by: this.by });
        if (analyst !== this.analyst) continue;
        this.picture = picture;
        this.instances.take(picture.words);
        this.schedule();
      } catch {
        // The run was closed.
        break;
      }
    }
    this.asking = false;
  }

  private schedule(): void {
    if (this.scheduled !== 0) return;
    this.scheduled = requestAnimationFrame(() => {
      this.scheduled = 0;
      this.draw();
    });
  }

  private draw(): void {
    const { picture, view, scale, stage } = this;
    if (this.element.hidden) return;
    const began = performance.now();
    const [width, height] = [stage.clientWidth, stage.clientHeight];
    if (picture !== null && this.instances.dirty.length > 0) {
      const stats = this.surface.draw(this.instances, picture.width, picture.height, this.theme, Math.max(1, Math.round(scale)));
      this.element.dataset["draws"] = String(stats.draws);
      this.element.dataset["renderer"] = this.surface.kind;
      this.element.dataset["rects"] = String(this.instances.total);
    }
    if (this.holder.firstElementChild !== this.surface.canvas) this.holder.replaceChildren(this.surface.canvas);
    const high = view.high ?? picture?.high ?? 1;
    if (picture !== null && width > 0) {
      const sx = (picture.to - picture.from) / (view.to - view.from);
      const sy = (picture.high - picture.low) / (high - view.low);
      const dx = ((picture.from - view.from) / (view.to - view.from)) * width;
      const dy = ((high - picture.high) / (high - view.low)) * height;
      const { style } = this.surface.canvas;
      style.width = `${picture.width / scale}px`;
      style.height = `${picture.height / scale}px`;
      style.transform = `translate(${dx}px, ${dy}px) scale(${sx}, ${sy})`;
    }
    this.drawOutlines();
    this.drawMarks(width);
    this.drawScales(high);
    this.element.dataset["script"] = (performance.now() - began).toFixed(2);
  }

  private x(event: number): number {
    return (event - this.view.from) / (this.view.to - this.view.from);
  }

  private drawOutlines(): void {
    const { picture, row, place } = this;
    const rects = picture === null || row === null ? [] : place === null ? rectsOf(picture, row) : [rectOf(picture, place)];
    while (this.outlines.childElementCount > rects.length) this.outlines.lastElementChild?.remove();
    const { scale } = this;
    rects.forEach((rect, i) => {
      const box = (this.outlines.children[i] as HTMLElement | undefined) ?? this.outlines.appendChild(el("div", { className: "blocks-outline" }));
      box.style.cssText = `left:${rect.x / scale}px;top:${rect.y / scale}px;width:${rect.width / scale}px;height:${rect.height / scale}px`;
    });
    this.outlines.style.transform = this.surface.canvas.style.transform;
    this.element.dataset["row"] = row === null ? "" : String(row);
  }

  private drawMarks(width: number): void {
    const present = this.x(this.event + 0.5);
    this.present.hidden = present < 0 || present > 1;
    this.present.style.left = `${present * 100}%`;
    const inside = this.marks.filter(({ event }) => this.x(event) >= 0 && this.x(event) <= 1).slice(0, 200);
    const { low } = this.view;
    const high = this.view.high ?? this.picture?.high ?? 1;
    const lines = this.levels.filter(({ bytes: at }) => at > low && at < high);
    this.overlay.replaceChildren(
      ...lines.map(({ bytes: at, text }) => {
        const line = el("div", { className: "blocks-level" }, el("span", {}, text));
        line.style.bottom = `${((at - low) / (high - low)) * 100}%`;
        return line;
      }),
      ...inside.map(({ event, text }) => {
        const mark = el("button", { type: "button", className: "blocks-oom", title: text, "aria-label": text, onclick: () => this.listener.chosen(event, null) }, "✕");
        mark.style.left = `${this.x(event) * width}px`;
        return mark;
      }),
    );
  }

  private drawScales(high: number): void {
    const { view } = this;
    const across = ticks(view.from, view.to, 6).map((at) => {
      const tick = el("span", {}, count(at));
      tick.style.left = `${this.x(at) * 100}%`;
      return tick;
    });
    this.scaleX.replaceChildren(...across);
    const up = ticks(view.low, high, 4, 1024).map((at) => {
      const tick = el("span", {}, bytes(at));
      tick.style.bottom = `${((at - view.low) / (high - view.low)) * 100}%`;
      return tick;
    });
    this.scaleY.replaceChildren(...up);
    const last = Math.min(this.events, Math.ceil(view.to) - 1);
    setText(this.span, `events ${count(Math.max(0, Math.floor(view.from)))} to ${count(last)}`);
  }

  private listenToPointer(): void {
    const { stage } = this;
    stage.addEventListener(
      "wheel",
      (event) => {
        const box = stage.getBoundingClientRect();
        const at = (event.clientX - box.left) / box.width;
        if (event.ctrlKey || event.metaKey) {
          event.preventDefault();
          const by = Math.exp(-Math.max(-100, Math.min(100, event.deltaY)) / 200);
          if (event.altKey) this.zoomBytes(by, 1 - (event.clientY - box.top) / box.height);
          else this.zoom(by, at);
        } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
          event.preventDefault();
          this.move(panned(this.view, (event.deltaX || event.deltaY) / box.width, this.events + 1));
        }
      },
      { passive: false },
    );
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || (event.target as HTMLElement).closest("button") !== null) return;
      stage.setPointerCapture(event.pointerId);
      const box = stage.getBoundingClientRect();
      this.drag = { x: event.clientX - box.left, y: event.clientY - box.top, view: this.view, brush: event.shiftKey, moved: false };
    });
    stage.addEventListener("pointermove", (event) => this.pointed(event));
    stage.addEventListener("pointerleave", () => {
      this.tip.hidden = true;
    });
    stage.addEventListener("pointerup", (event) => this.released(event));
    stage.addEventListener("pointercancel", () => {
      this.drag = null;
      this.brush.hidden = true;
    });
  }

  private zoomBytes(by: number, at: number): void {
    const high = this.view.high ?? this.picture?.high;
    if (high === undefined) return;
    const { low } = this.view;
    const middle = low + at * (high - low);
    const next = { low: Math.max(0, middle - (middle - low) / by), high: middle + (high - middle) / by };
    this.move({ ...this.view, ...next });
  }

  private pointed(event: PointerEvent): void {
    const box = this.stage.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const { drag } = this;
    if (drag === null) {
      this.hover(x, y, box.width, box.height);
      return;
    }
    drag.moved ||= Math.abs(x - drag.x) > CLICK || Math.abs(y - drag.y) > CLICK;
    if (!drag.moved) return;
    this.tip.hidden = true;
    if (drag.brush) {
      this.brush.hidden = false;
      this.brush.style.left = `${Math.min(x, drag.x)}px`;
      this.brush.style.width = `${Math.abs(x - drag.x)}px`;
    } else {
      let view = panned(drag.view, (drag.x - x) / box.width, this.events + 1);
      if (view.high !== null) {
        const by = Math.max(-view.low, ((y - drag.y) / box.height) * (view.high - view.low));
        view = { ...view, low: view.low + by, high: view.high + by };
      }
      this.move(view);
    }
  }

  private released(event: PointerEvent): void {
    const { drag } = this;
    this.drag = null;
    this.brush.hidden = true;
    if (drag === null) return;
    const box = this.stage.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const span = this.view.to - this.view.from;
    if (!drag.moved) {
      const row = this.rowAt(x, y, box.width, box.height);
      this.highlight(row);
      this.listener.chosen(this.eventAt(x, box.width), row);
    } else if (drag.brush) {
      const [a, b] = [Math.min(x, drag.x), Math.max(x, drag.x)].map((at) => this.view.from + (at / box.width) * span) as [number, number];
      this.move(zoomed({ ...this.view, from: a, to: Math.max(b, a + 1e-6) }, 1, 0.5, this.events + 1));
    }
  }

  private eventAt(x: number, width: number): number {
    const { from, to } = this.view;
    return Math.max(0, Math.min(this.events, Math.floor(from + (x / width) * (to - from))));
  }

  /** The block at a point of the stage: of the picture, which may be of another view for a moment. */
  private rowAt(x: number, y: number, width: number, height: number): number | null {
    const { picture, view } = this;
    if (picture === null) return null;
    const high = view.high ?? picture.high;
    const event = view.from + (x / width) * (view.to - view.from);
    const at = view.low + (1 - y / height) * (high - view.low);
    const px = ((event - picture.from) / (picture.to - picture.from)) * picture.width;
    const py = (1 - (at - picture.low) / (picture.high - picture.low)) * picture.height;
    const found = rectAt(picture.words, px, py);
    return found < 0 || picture.words[found * WORDS + 3] === MERGED ? null : (picture.words[found * WORDS + 3] as number);
  }

  private hover(x: number, y: number, width: number, height: number): void {
    const now = performance.now();
    const { picture, view, analyst } = this;
    if (picture === null || analyst === null || now - this.hovered < HOVER_MS) return;
    this.hovered = now;
    const high = view.high ?? picture.high;
    const at = `event ${count(this.eventAt(x, width))}, ${bytes(Math.max(0, view.low + (1 - y / height) * (high - view.low)))}`;
    const row = this.rowAt(x, y, width, height);
    this.tip.hidden = false;
    this.tip.style.left = `${Math.min(x + 14, width - 260)}px`;
    this.tip.style.top = `${Math.max(0, y - 10)}px`;
    if (row === null) {
      setText(this.tip, at);
      return;
    }
    analyst.life(row).then(
      (life) => {
        if (this.hovered === now && life !== null) setText(this.tip, `${at}\n${lifeText(life)}`);
      },
      () => undefined,
    );
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves: Record<string, () => void> = {
      ArrowLeft: () => this.move(panned(this.view, -0.1, this.events + 1)),
      ArrowRight: () => this.move(panned(this.view, 0.1, this.events + 1)),
      "+": () => this.zoom(ZOOM_STEP, 0.5),
      "=": () => this.zoom(ZOOM_STEP, 0.5),
      "-": () => this.zoom(1 / ZOOM_STEP, 0.5),
      "0": () => this.showAll(),
    };
    const move = moves[event.key];
    if (move === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    move();
  }
}

/** A block in a few words. */
export function lifeText(life: Life): string {
  const until = life.retired === null ? "to the end" : `to event ${count(life.retired)}`;
  const since = life.from === 0 ? "from before the recording" : `from event ${count(life.from)}`;
  return `${bytes(life.bytes)} ${since} ${until}${life.line === "" ? "" : `\n${life.line}`}`;
}
