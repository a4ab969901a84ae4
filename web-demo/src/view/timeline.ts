/**
 * Bytes over the run, with the present marked; moving the mark moves through the run.
 *
 * The lines are drawn when they change and lie under the mark, which moves alone.
 */
import type { Failure, RunInfo, Series } from "../model.ts";
import { el, setVar } from "./dom.ts";
import { bytes, count } from "./format.ts";

export interface TimelineData {
  series: Series;
  events: number;
  failure: Failure | null;
}

/** A line: how it is named, and drawn. */
export interface LineLook {
  key: "committed" | "reserved" | "live" | "pending";
  /** As the report calls it; of a recorded run, if that has another word. */
  name: string;
  recorded?: string;
  means: string;
  width: number;
  dash: number[];
  fill: number;
}

/** Later ones lie above. Lines differ by width, dashes and filling too. */
export const LINES: readonly LineLook[] = [
  { key: "committed", name: "reserved", means: "taken from the device", width: 1.5, dash: [], fill: 0.1 },
  { key: "reserved", name: "handed out", recorded: "active", means: "handed out, with padding", width: 3.5, dash: [], fill: 0 },
  { key: "live", name: "allocated", means: "asked for by live blocks", width: 1.5, dash: [], fill: 0.18 },
  { key: "pending", name: "pending", means: "freed, last use not over", width: 1.5, dash: [5, 3], fill: 0 },
];

export class Timeline {
  readonly element: HTMLElement;
  private readonly canvas: HTMLCanvasElement;
  private readonly mark: HTMLElement;
  private readonly range: HTMLElement;
  private readonly hover: HTMLElement;
  private readonly top: HTMLElement;
  private readonly flag: HTMLElement;
  private readonly observer: ResizeObserver;
  private data: TimelineData | null = null;
  private lines: readonly LineLook[] = LINES;
  private scheduled = 0;
  private events = 1;
  /** The events that another view shows. */
  private shown = { from: 0, to: Infinity };

  constructor(private readonly seek: (event: number) => void) {
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.mark = el("div", { className: "timeline-mark", "aria-hidden": "true" });
    this.range = el("div", { className: "timeline-range", "aria-hidden": "true", hidden: true });
    this.hover = el("div", { className: "timeline-hover", "aria-hidden": "true", hidden: true });
    this.top = el("div", { className: "timeline-top", "aria-hidden": "true" });
    this.flag = el("div", { className: "timeline-flag", "aria-hidden": "true", hidden: true }, "✕");
    this.element = el(
      "div",
      {
        className: "timeline",
        tabIndex: 0,
        role: "slider",
        "aria-label": "Instant of the run",
        "aria-valuemin": "0",
        "aria-valuemax": "1",
        "aria-valuenow": "0",
      },
      this.canvas,
      this.range,
      this.hover,
      this.top,
      this.flag,
      this.mark,
    );
    let dragging = false;
    const to = (event: PointerEvent) => {
      const box = this.element.getBoundingClientRect();
      const share = Math.max(0, Math.min(1, (event.clientX - box.left) / Math.max(1, box.width)));
      this.seek(Math.round(share * this.events));
    };
    this.element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      dragging = true;
      this.element.setPointerCapture(event.pointerId);
      to(event);
    });
    this.element.addEventListener("pointermove", (event) => {
      this.point(event);
      if (dragging) to(event);
    });
    this.element.addEventListener("pointerleave", () => {
      this.hover.hidden = true;
    });
    const stop = () => {
      dragging = false;
    };
    this.element.addEventListener("pointerup", stop);
    this.element.addEventListener("pointercancel", stop);
    this.observer = new ResizeObserver(() => this.schedule());
    this.observer.observe(this.element);
  }

  /** Another run: what is not told of it has no line. */
  setRun(info: RunInfo | null): void {
    const lines = LINES.filter(({ key }) => key !== "committed" || info?.reservedNotTold !== true);
    this.lines = lines.map((line) => (info?.asRecorded === true ? { ...line, name: line.recorded ?? line.name } : line));
    this.hover.hidden = true;
  }

  show(data: TimelineData): void {
    this.data = data;
    this.events = Math.max(1, data.events);
    this.window(this.shown.from, this.shown.to);
    this.element.setAttribute("aria-valuemax", String(this.events));
    this.flag.hidden = data.failure === null;
    if (data.failure !== null) {
      setVar(this.flag, "--at", String(data.failure.event / this.events));
      this.flag.title = `failed at event ${count(data.failure.event)}`;
    }
    this.schedule();
  }

  /** Marks what another view shows: nothing where that is all. */
  window(from: number, to: number): void {
    this.shown = { from, to };
    this.range.hidden = from <= 0 && to > this.events;
    setVar(this.range, "--from", String(Math.max(0, from / this.events)));
    setVar(this.range, "--to", String(Math.min(1, to / this.events)));
  }

  /** The values under the pointer. */
  private point(event: PointerEvent): void {
    const { data } = this;
    const box = this.element.getBoundingClientRect();
    const share = Math.max(0, Math.min(1, (event.clientX - box.left) / Math.max(1, box.width)));
    const at = share * this.events;
    const series = data?.series;
    if (series === undefined || series.event.length === 0) return;
    let bucket = 0;
    while (bucket + 1 < series.event.length && (series.event[bucket + 1] as number) <= at) bucket++;
    const words = this.lines.map(({ key, name }) => `${name} ${bytes(series[key].max[bucket] ?? 0)}`);
    this.hover.hidden = false;
    this.hover.textContent = `event ${count(Math.round(at))}: ${words.join(", ")}`;
    this.hover.classList.toggle("right", share > 0.5);
    setVar(this.hover, "--at", String(share));
  }

  /** Marks the present. */
  at(event: number, text: string): void {
    setVar(this.mark, "--at", String(Math.min(1, event / this.events)));
    this.element.setAttribute("aria-valuenow", String(event));
    this.element.setAttribute("aria-valuetext", text);
  }

  /** Draws again, in new colours. */
  recolour(): void {
    this.schedule();
  }

  close(): void {
    this.observer.disconnect();
    cancelAnimationFrame(this.scheduled);
  }

  private schedule(): void {
    if (this.scheduled !== 0) return;
    this.scheduled = requestAnimationFrame(() => {
      this.scheduled = 0;
      this.draw();
    });
  }

  private draw(): void {
    const { canvas, data } = this;
    const scale = Math.max(1, window.devicePixelRatio || 1);
    const [width, height] = [this.element.clientWidth, this.element.clientHeight];
    if (width === 0 || height === 0) return;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    if (context === null || data === null) return;
    context.scale(scale, scale);
    const { series } = data;
    const length = series.event.length;
    let most = 1;
    for (const line of this.lines) for (const value of series[line.key].max) most = Math.max(most, value);
    this.top.textContent = `${bytes(most)}`;
    const colours = getComputedStyle(this.element);
    const x = (event: number) => (event / this.events) * width;
    const y = (value: number) => height - 1 - (value / most) * (height - 16);
    for (const line of this.lines) {
      const { min, max } = series[line.key];
      const colour = colours.getPropertyValue(`--${line.key}`);
      if (length === 0) continue;
      const end = (i: number) => (i + 1 < length ? (series.event[i + 1] as number) : Math.max(series.event[i] as number, this.last(series)));
      const path = new Path2D();
      path.moveTo(x(series.event[0] as number), y(max[0] as number));
      for (let i = 0; i < length; i++) {
        path.lineTo(x(series.event[i] as number), y(max[i] as number));
        path.lineTo(x(end(i)), y(max[i] as number));
      }
      // Where a bucket holds more than one value, a band from the least to the most.
      const band = new Path2D();
      for (let i = 0; i < length; i++) {
        if (min[i] === max[i]) continue;
        const [from, top] = [x(series.event[i] as number), y(max[i] as number)];
        band.rect(from, top, Math.max(0.5, x(end(i)) - from), y(min[i] as number) - top);
      }
      context.fillStyle = colour;
      context.globalAlpha = 0.3;
      context.fill(band);
      context.strokeStyle = colour;
      context.lineJoin = "round";
      context.lineWidth = line.width;
      context.setLineDash(line.dash);
      context.globalAlpha = line.width > 2 ? 0.6 : 1;
      context.stroke(path);
      if (line.fill > 0) {
        const area = new Path2D();
        area.moveTo(x(series.event[0] as number), y(0));
        for (let i = 0; i < length; i++) {
          area.lineTo(x(series.event[i] as number), y(max[i] as number));
          area.lineTo(x(end(i)), y(max[i] as number));
        }
        area.lineTo(x(end(length - 1)), y(0));
        context.globalAlpha = line.fill;
        context.fillStyle = colour;
        context.fill(area);
      }
      context.globalAlpha = 1;
    }
  }

  /** Where the last bucket ends: as far as the others reach, or the end of the run. */
  private last(series: Series): number {
    const n = series.event.length;
    const stride = n > 1 ? (series.event[n - 1] as number) - (series.event[n - 2] as number) : 1;
    const end = this.data?.failure?.event ?? this.events;
    return Math.min(end, (series.event[n - 1] ?? 0) + stride);
  }
}
