/**
 * The slabs on the page: what is drawn when, what lies under the pointer, and moving between blocks with the keyboard.
 *
 * The canvas is a little higher than the part of the picture that can be seen and starts at the edge of a row, so that
 * scrolling within a row only moves it. Labels and outlines are elements above it.
 */
import type { Frame } from "../model.ts";
import { el, setText } from "./dom.ts";
import type { DrawStats } from "./draw.ts";
import { count, counted, shortBytes } from "./format.ts";
import { Instances } from "./instances.ts";
import { arrange, blockAt, hit, locate, segmentAt, slabStarts, type Geometry, type Rect, type Segment } from "./layout.ts";
import { paint, THIN, type Look } from "./paint.ts";
import { drawPlan } from "./plan_marks.ts";
import { DARK, LIGHT, type Theme } from "./palette.ts";
import { Surface } from "./surface.ts";

/** What is pointed at: a block, or the blocks that share a pixel. */
export interface Pointed {
  /** Blocks `first .. end` of the frame. */
  first: number;
  end: number;
  /** Held there by a click or the keyboard. */
  held: boolean;
}

export interface StripsStats extends DrawStats {
  renderer: "webgpu" | "canvas";
  rects: number;
  /** Milliseconds of script that drawing it took. */
  script: number;
}

export interface StripsListener {
  pointed(pointed: Pointed | null): void;
  drawn(stats: StripsStats): void;
  /** The renderer is another one: why. */
  renderer(kind: "webgpu" | "canvas", why: string): void;
  zoomed(zoom: number, canGrow: boolean): void;
}

/** A place of a run that stays what it is while blocks come and go. */
interface Anchor {
  pool: number;
  id: string;
  offset: number;
}

const MOST_OUTLINES = 48;
const MOST_LABELS = 160;
const ZOOM_STEP = 2;
const MOST_ZOOM = 2 ** 20;
/** For the names of slabs, in CSS pixels. */
const GUTTER = 36;
const NARROW_GUTTER = 26;

export class Strips {
  readonly element: HTMLElement;
  private readonly scroller: HTMLElement;
  private readonly spacer: HTMLElement;
  private readonly stage: HTMLElement;
  private readonly labels: HTMLCanvasElement;
  private readonly outlines: HTMLElement;
  private readonly instances = new Instances();
  private readonly empty: HTMLElement;
  private readonly planNote: HTMLElement;
  private readonly planStand: HTMLElement;
  private readonly planElsewhere: HTMLElement;
  private readonly observer: ResizeObserver;
  private readonly surface: Surface;
  private frame: Frame | null = null;
  private starts: Uint32Array = new Uint32Array(1);
  private geometry: Geometry | null = null;
  private geometryKey = "";
  private look: Look = { by: "state", keep: null };
  private theme: Theme = LIGHT;
  private zoomFactor = 1;
  private expected = 0;
  private scheduled = 0;
  private held: Anchor | null = null;
  private hover: { x: number; y: number } | null = null;
  private pointed: Pointed | null = null;
  private closed = false;

  constructor(private readonly listener: StripsListener) {
    this.surface = new Surface((kind, why) => {
      this.listener.renderer(kind, why);
      // What was uploaded is gone with what it was uploaded to.
      this.instances.dirty.length = 0;
      if (this.instances.total > 0) this.instances.dirty.push(0, this.instances.total);
      this.schedule();
    });
    this.labels = el("canvas", { className: "strips-labels", "aria-hidden": "true" });
    this.outlines = el("div", { className: "strips-outlines", "aria-hidden": "true" });
    this.stage = el("div", { className: "strips-stage" }, this.surface.canvas, this.labels, this.outlines);
    this.spacer = el("div", { className: "strips-spacer" }, this.stage);
    this.scroller = el(
      "div",
      {
        className: "strips-scroller",
        tabIndex: 0,
        role: "application",
        "aria-roledescription": "memory map",
        "aria-label":
          "Slabs. Left and right go from block to block, up and down from row to row, Page Up and Page Down from slab to slab, plus and minus zoom, Escape lets go.",
        "aria-describedby": "details",
      },
      this.spacer,
    );
    this.empty = el("p", { className: "strips-empty quiet", hidden: true }, "No slab is held at this instant. Play, or move the mark above.");
    this.planStand = el("span", {});
    this.planElsewhere = el("span", {});
    this.planNote = el("p", { className: "quiet strips-plan", hidden: true }, el("span", {}, el("i", {}), this.planStand), el("span", {}, el("i", { className: "elsewhere" }), this.planElsewhere));
    this.element = el("div", { className: "strips" }, this.scroller, this.empty, this.planNote);
    this.scroller.addEventListener("scroll", () => this.schedule(), { passive: true });
    this.scroller.addEventListener("pointermove", (event) => this.point(event));
    this.scroller.addEventListener("pointerleave", () => {
      this.hover = null;
      this.refreshPointed();
    });
    this.scroller.addEventListener("click", (event) => this.hold(event));
    this.scroller.addEventListener("keydown", (event) => this.key(event));
    this.scroller.addEventListener("focus", () => {
      if (this.pointed === null && this.frame !== null && this.frame.blocks.count > 0) this.holdBlock(0);
    });
    this.scroller.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey) return;
        event.preventDefault();
        this.zoom(event.deltaY < 0 ? this.zoomFactor * ZOOM_STEP : this.zoomFactor / ZOOM_STEP);
      },
      { passive: false },
    );
    this.observer = new ResizeObserver(() => this.schedule());
    this.observer.observe(this.scroller);
  }

  /** Shows an instant. */
  show(frame: Frame | null): void {
    this.frame = frame;
    if (frame !== null) this.starts = slabStarts(frame.blocks, frame.slabs.length);
    this.schedule();
  }

  setLook(look: Look): void {
    this.look = look;
    this.schedule();
  }

  /** Bytes of all slabs at most, in the whole run. */
  setExpected(bytes: number): void {
    if (bytes === this.expected) return;
    this.expected = bytes;
    this.schedule();
  }

  setDark(dark: boolean): void {
    this.theme = dark ? DARK : LIGHT;
    this.schedule();
  }

  /** Another run: nothing of the last one is pointed at. */
  reset(): void {
    this.held = null;
    this.zoomFactor = 1;
    this.expected = 0;
    this.scroller.scrollTop = 0;
    this.show(null);
    this.tellZoom();
  }

  zoomIn(): void {
    this.zoom(this.zoomFactor * ZOOM_STEP);
  }

  zoomOut(): void {
    this.zoom(this.zoomFactor / ZOOM_STEP);
  }

  /** Points at a block and brings it into view. */
  holdBlock(block: number): void {
    const { frame } = this;
    if (frame === null || block < 0 || block >= frame.blocks.count) return;
    const slab = frame.slabs[frame.blocks.slab[block] as number];
    if (slab === undefined) return;
    this.held = { pool: slab.pool, id: slab.id, offset: frame.blocks.offset[block] as number };
    this.hover = null;
    this.refreshPointed();
    this.reveal();
  }

  close(): void {
    this.closed = true;
    this.observer.disconnect();
    cancelAnimationFrame(this.scheduled);
    this.surface.close();
    this.element.remove();
  }

  private schedule(): void {
    if (this.scheduled !== 0 || this.closed) return;
    this.scheduled = requestAnimationFrame(() => {
      this.scheduled = 0;
      this.draw();
    });
  }

  private get scale(): number {
    return Math.max(1, Math.min(3, window.devicePixelRatio || 1));
  }

  private draw(): void {
    const { frame, scale } = this;
    const began = performance.now();
    const [cssWidth, cssHeight] = [this.scroller.clientWidth, this.scroller.clientHeight];
    if (cssWidth === 0 || cssHeight === 0) return;
    const slabs = frame?.slabs ?? [];
    this.empty.hidden = frame === null || slabs.length > 0;
    const key = `${this.expected} ${cssWidth} ${cssHeight} ${scale} ${this.zoomFactor} ${slabs.map((slab) => slab.bytes).join(" ")}`;
    if (key !== this.geometryKey || this.geometry === null) {
      this.geometryKey = key;
      this.geometry = arrange(slabs, {
        width: Math.floor(cssWidth * scale),
        height: Math.floor(cssHeight * scale),
        scale,
        zoom: this.zoomFactor,
        gutter: Math.round((cssWidth < 600 ? NARROW_GUTTER : GUTTER) * scale),
        expected: this.expected,
      });
      this.spacer.style.height = `${Math.max(0, (this.geometry.rows * this.geometry.pitch) / scale - 1)}px`;
    }
    const { geometry } = this;
    const top = this.scroller.scrollTop * scale;
    const first = Math.min(Math.max(0, geometry.rows - 1), Math.floor(top / geometry.pitch));
    const end = Math.min(geometry.rows, Math.ceil((top + cssHeight * scale) / geometry.pitch) + 1);
    const [width, height] = [geometry.width, Math.max(1, (end - first) * geometry.pitch)];
    if (frame !== null) paint(frame, this.starts, geometry, first, end, this.look, this.instances);
    else this.instances.fill(0, () => undefined);
    const stats = this.surface.draw(this.instances, width, height, this.theme, Math.max(1, Math.round(scale)));
    this.stage.style.transform = `translateY(${(first * geometry.pitch) / scale}px)`;
    for (const canvas of [this.surface.canvas, this.labels]) {
      canvas.style.width = `${width / scale}px`;
      canvas.style.height = `${height / scale}px`;
    }
    this.label(first, end, width, height);
    this.refreshPointed();
    this.listener.drawn({
      ...stats,
      renderer: this.surface.kind,
      rects: this.instances.shown,
      script: performance.now() - began,
    });
  }

  /** Sizes on blocks that have room for them. */
  private label(first: number, end: number, width: number, height: number): void {
    const { labels, geometry, frame, scale } = this;
    if (labels.width !== width) labels.width = width;
    if (labels.height !== height) labels.height = height;
    const context = labels.getContext("2d");
    if (context === null || geometry === null || frame === null) return;
    context.clearRect(0, 0, width, height);
    this.markPlan(context, frame, geometry, [first, end]);
    this.nameSlabs(context, first, end);
    if (geometry.height < 18 * scale) return;
    const least = 62 * scale;
    context.font = `${11 * scale}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    const { blocks } = frame;
    let drawn = 0;
    for (let i = geometry.rowStart[first] ?? 0; i < (geometry.rowStart[end] ?? 0) && drawn < MOST_LABELS; i++) {
      const segment = geometry.segments[i] as Segment;
      if (segment.width < least) continue;
      // Looked for at every step of a label's width: no block with room for one is missed.
      let x = 0;
      while (x < segment.width && drawn < MOST_LABELS) {
        const block = blockAt(blocks, this.starts, segment.slab, segment.from + (x + 0.5) * geometry.bytesPerPixel);
        if (block < 0) {
          x += least;
          continue;
        }
        const from = Math.max(0, ((blocks.offset[block] as number) - segment.from) / geometry.bytesPerPixel);
        const until = Math.min(
          segment.width,
          ((blocks.offset[block] as number) + (blocks.bytes[block] as number) - segment.from) / geometry.bytesPerPixel,
        );
        if (until - from >= least && (this.look.keep === null || this.look.keep(block))) {
          const live = blocks.state[block] === 0;
          const text = shortBytes(live ? (blocks.requested[block] as number) : (blocks.bytes[block] as number));
          const middle = (segment.row - first) * geometry.pitch + geometry.height / 2;
          const wide = context.measureText(text).width;
          if (wide + 12 * scale <= until - from) {
            this.write(context, text, segment.x + from + 5 * scale, middle, wide, live);
            drawn++;
          }
        }
        x = until - from >= least ? Math.max(until, x + 1) : x + least;
      }
    }
  }

  /** Where the plan has the live blocks, if the pool follows one. */
  private markPlan(context: CanvasRenderingContext2D, frame: Frame, geometry: Geometry, rows: [number, number]): void {
    const marks = drawPlan(context, frame, geometry, rows, this.scale, this.theme.dark ? { stand: "#7be0bd", elsewhere: "#ff8a80" } : { stand: "#00694f", elsewhere: "#b3261e" });
    this.planNote.hidden = marks === null;
    if (marks === null) return;
    const { stand, elsewhere, without } = marks;
    setText(this.planStand, `${counted(stand, "live block")} where the plan has ${stand === 1 ? "it" : "them"}`);
    setText(this.planElsewhere, `planned places of ${count(elsewhere)} that strayed${without > 0 ? `; ${count(without)} without a place` : ""}`);
    this.element.dataset["stand"] = String(stand);
    this.element.dataset["strayed"] = String(elsewhere);
  }

  /** Names of the slabs that begin a row, left of it. */
  private nameSlabs(context: CanvasRenderingContext2D, first: number, end: number): void {
    const { geometry, frame, scale } = this;
    if (geometry === null || frame === null) return;
    context.font = `${10.5 * scale}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.textAlign = "right";
    context.fillStyle = this.theme.dark ? "#98a2ad" : "#59636e";
    for (let row = first; row < end; row++) {
      const segment = geometry.segments[geometry.rowStart[row] as number];
      if (segment === undefined || segment.from > 0) continue;
      const middle = (row - first) * geometry.pitch + geometry.height / 2;
      context.fillText(frame.slabs[segment.slab]?.id ?? "", segment.x - 6 * scale, middle + 0.5 * scale, segment.x - 6 * scale);
    }
    context.textAlign = "left";
  }

  private write(context: CanvasRenderingContext2D, text: string, x: number, y: number, wide: number, live: boolean): void {
    const { dark } = this.theme;
    if (!live) {
      // A pattern under letters is hard to read.
      context.fillStyle = dark ? "rgb(21 24 28 / 0.8)" : "rgb(255 255 255 / 0.85)";
      const half = 7.5 * this.scale;
      context.fillRect(x - 3 * this.scale, y - half, wide + 6 * this.scale, half * 2);
      context.fillStyle = dark ? "#d8dee6" : "#2d333a";
    } else {
      context.fillStyle = dark ? "#06121c" : "#ffffff";
    }
    context.fillText(text, x, y + 0.5 * this.scale);
  }

  private point(event: PointerEvent): void {
    const box = this.spacer.getBoundingClientRect();
    this.hover = { x: (event.clientX - box.left) * this.scale, y: (event.clientY - box.top) * this.scale };
    this.refreshPointed();
  }

  private hold(event: MouseEvent): void {
    const box = this.spacer.getBoundingClientRect();
    const at = this.under((event.clientX - box.left) * this.scale, (event.clientY - box.top) * this.scale);
    if (at === null) {
      this.held = null;
      this.refreshPointed();
    } else if (this.frame !== null) {
      const slab = this.frame.slabs[this.frame.blocks.slab[at.first] as number];
      if (slab === undefined) return;
      const same = this.anchored()?.first === at.first;
      this.held = same ? null : { pool: slab.pool, id: slab.id, offset: this.frame.blocks.offset[at.first] as number };
      this.refreshPointed();
    }
  }

  /** Blocks under a point of the picture. */
  private under(x: number, y: number): Pointed | null {
    const { frame, geometry } = this;
    if (frame === null || geometry === null) return null;
    const found = hit(geometry, x, y);
    if (found === null) return null;
    const { segment, from, to } = found;
    const middle = blockAt(frame.blocks, this.starts, segment.slab, (from + to) / 2);
    if (middle < 0) return null;
    if ((frame.blocks.bytes[middle] as number) >= THIN * geometry.bytesPerPixel) {
      return { first: middle, end: middle + 1, held: false };
    }
    const first = Math.max(0, blockAt(frame.blocks, this.starts, segment.slab, from));
    const last = blockAt(frame.blocks, this.starts, segment.slab, Math.max(from, to - 1));
    return { first, end: Math.max(first, last) + 1, held: false };
  }

  /** The block that is held, where it is now. */
  private anchored(): Pointed | null {
    const { held, frame } = this;
    if (held === null || frame === null) return null;
    const slab = frame.slabs.findIndex((slab) => slab.id === held.id && slab.pool === held.pool);
    if (slab < 0) return null;
    const block = blockAt(frame.blocks, this.starts, slab, held.offset);
    return block < 0 ? null : { first: block, end: block + 1, held: true };
  }

  private refreshPointed(): void {
    const next = (this.hover === null ? null : this.under(this.hover.x, this.hover.y)) ?? this.anchored();
    this.pointed = next;
    this.outline(next);
    this.listener.pointed(next);
  }

  private outline(pointed: Pointed | null): void {
    const { frame, geometry, scale } = this;
    const rects: Rect[] = [];
    if (pointed !== null && frame !== null && geometry !== null) {
      const { blocks } = frame;
      const from = blocks.offset[pointed.first] as number;
      const last = pointed.end - 1;
      const to = (blocks.offset[last] as number) + (blocks.bytes[last] as number);
      rects.push(...locate(geometry, blocks.slab[pointed.first] as number, from, to - from, MOST_OUTLINES));
    }
    const top = this.scroller.scrollTop;
    const stageTop = geometry === null ? 0 : (Math.floor((top * scale) / geometry.pitch) * geometry.pitch) / scale;
    while (this.outlines.childElementCount > rects.length) this.outlines.lastElementChild?.remove();
    rects.forEach((rect, i) => {
      let box = this.outlines.children[i] as HTMLElement | undefined;
      if (box === undefined) {
        box = el("div", { className: "strips-outline" });
        this.outlines.append(box);
      }
      box.style.cssText = `left:${rect.x / scale}px;top:${rect.y / scale - stageTop}px;width:${rect.width / scale}px;height:${rect.height / scale}px`;
    });
  }

  private zoom(to: number): void {
    const zoom = Math.max(1, Math.min(MOST_ZOOM, to));
    const { geometry, scroller, scale } = this;
    if (zoom === this.zoomFactor || geometry === null) return;
    // What is in the middle, or held, stays where it is.
    const held = this.pointed;
    const middle = hitRow(geometry, (scroller.scrollTop + scroller.clientHeight / 2) * scale);
    this.zoomFactor = zoom;
    this.draw();
    if (held !== null) this.reveal();
    else if (middle !== null) this.scrollTo(middle.slab, middle.from);
    this.tellZoom();
  }

  private tellZoom(): void {
    this.listener.zoomed(this.zoomFactor, this.zoomFactor < MOST_ZOOM);
  }

  private scrollTo(slab: number, offset: number): void {
    const { geometry, scroller, scale } = this;
    if (geometry === null) return;
    const at = geometry.segments[segmentAt(geometry, slab, offset)];
    if (at === undefined) return;
    scroller.scrollTop = (at.row * geometry.pitch) / scale - scroller.clientHeight / 2;
  }

  /** Scrolls as little as shows the held block. */
  private reveal(): void {
    const { frame, geometry, scroller, scale, pointed } = this;
    if (frame === null || geometry === null || pointed === null) return;
    const { blocks } = frame;
    const [rect] = locate(geometry, blocks.slab[pointed.first] as number, blocks.offset[pointed.first] as number, 1, 1);
    if (rect === undefined) return;
    const [top, bottom] = [rect.y / scale, (rect.y + geometry.pitch) / scale];
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (bottom > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = bottom - scroller.clientHeight;
    this.schedule();
  }

  private key(event: KeyboardEvent): void {
    const { frame } = this;
    if (frame === null || frame.blocks.count === 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.anchored()?.first ?? this.pointed?.first ?? 0;
    const last = frame.blocks.count - 1;
    switch (event.key) {
      case "ArrowLeft":
        this.holdBlock(Math.max(0, at - 1));
        break;
      case "ArrowRight":
        this.holdBlock(Math.min(last, at + 1));
        break;
      case "ArrowUp":
      case "ArrowDown":
        this.holdBlock(this.besides(at, event.key === "ArrowUp" ? -1 : 1));
        break;
      case "PageUp":
      case "PageDown": {
        const slab = (frame.blocks.slab[at] as number) + (event.key === "PageUp" ? -1 : 1);
        if (slab >= 0 && slab < frame.slabs.length) this.holdBlock(Math.min(last, this.starts[slab] as number));
        break;
      }
      case "Home":
        this.holdBlock(0);
        break;
      case "End":
        this.holdBlock(last);
        break;
      case "+":
      case "=":
        this.zoomIn();
        break;
      case "-":
        this.zoomOut();
        break;
      case "Escape":
        this.held = null;
        this.refreshPointed();
        break;
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** The block above or below. */
  private besides(block: number, rows: number): number {
    const { frame, geometry } = this;
    if (frame === null || geometry === null) return block;
    const { blocks } = frame;
    const [rect] = locate(geometry, blocks.slab[block] as number, blocks.offset[block] as number, blocks.bytes[block] as number, 1);
    if (rect === undefined) return block;
    const row = Math.round(rect.y / geometry.pitch) + rows;
    if (row < 0 || row >= geometry.rows) return block;
    // The row's last segment where it ends before this x.
    const x = rect.x + rect.width / 2;
    let found = geometry.segments[geometry.rowStart[row] ?? 0] as Segment;
    for (let i = geometry.rowStart[row] ?? 0; i < (geometry.rowStart[row + 1] ?? 0); i++) {
      const segment = geometry.segments[i] as Segment;
      if (segment.x <= x) found = segment;
    }
    const into = Math.min(Math.max(0, x - found.x), found.width - 1);
    const beside = blockAt(blocks, this.starts, found.slab, Math.min(found.to - 1, found.from + into * geometry.bytesPerPixel));
    return beside < 0 ? block : beside;
  }
}

function hitRow(geometry: Geometry, y: number): Segment | null {
  const row = Math.max(0, Math.min(geometry.rows - 1, Math.floor(y / geometry.pitch)));
  return geometry.segments[geometry.rowStart[row] ?? 0] ?? null;
}
