/** What is told of the block that is pointed at: where it is, whose it is, and what it still waits for. */
import type { Analyst, Frame } from "../model.ts";
import { el } from "./dom.ts";
import { bytes, count, counted } from "./format.ts";
import { KIND_TEXT, KINDS, Kind } from "./palette.ts";
import type { Pointed } from "./strips.ts";

/** An entry of a death frontier that is not there yet. */
export interface Missing {
  axis: number;
  epoch: number;
  reached: number;
}

/** The entries of a block's death that its axes have not reached. */
export function missing(frame: Frame, block: number): Missing[] {
  const { deathStart, deathAxis, deathEpoch } = frame.blocks;
  const out: Missing[] = [];
  for (let i = deathStart[block] ?? 0; i < (deathStart[block + 1] ?? 0); i++) {
    const axis = deathAxis[i] as number;
    const epoch = deathEpoch[i] as number;
    const reached = frame.axes[axis]?.completed ?? 0;
    if (reached < epoch) out.push({ axis, epoch, reached });
  }
  return out;
}

/** What free bytes of a frame wait for: an axis that is not there yet. */
export interface Waited {
  axis: number;
  /** The farthest epoch that is waited for. */
  epoch: number;
  reached: number;
  /** Free bytes that wait for it, perhaps for others too. */
  bytes: number;
  blocks: number;
}

/** What the pending bytes wait for, most bytes first. O(blocks + entries of deaths). */
export function waitedFor(frame: Frame): Waited[] {
  const { count: blocks, state, bytes: sizes, deathStart, deathAxis, deathEpoch } = frame.blocks;
  const axes = new Map<number, Waited>();
  for (let block = 0; block < blocks; block++) {
    if (state[block] !== Kind.Pending) continue;
    for (let i = deathStart[block] as number; i < (deathStart[block + 1] as number); i++) {
      const axis = deathAxis[i] as number;
      const epoch = deathEpoch[i] as number;
      const reached = frame.axes[axis]?.completed ?? 0;
      if (reached >= epoch) continue;
      const waited = axes.get(axis) ?? { axis, epoch, reached, bytes: 0, blocks: 0 };
      waited.epoch = Math.max(waited.epoch, epoch);
      waited.bytes += sizes[block] as number;
      waited.blocks++;
      axes.set(axis, waited);
    }
  }
  return [...axes.values()].sort((a, b) => b.bytes - a.bytes || a.axis - b.axis);
}

/** Axes that are named where many are waited for. */
const MOST_WAITED = 8;

/** A block in words: one line for each fact. */
export function describe(frame: Frame, block: number): [string, string][] {
  const { blocks } = frame;
  const state = blocks.state[block] as number;
  const slab = frame.slabs[blocks.slab[block] as number];
  const [size, asked] = [blocks.bytes[block] as number, blocks.requested[block] as number];
  const stream = blocks.stream[block] as number;
  const since = blocks.since[block] as number;
  const facts: [string, string][] = [["size", `${bytes(size)} (${count(size)} B)`]];
  if (state === Kind.Live) {
    const padding = size - asked;
    facts.push(["asked for", padding === 0 ? "all of it" : `${bytes(asked)}; ${bytes(padding)} padding`]);
  }
  facts.push(["offset", `${count(blocks.offset[block] as number)} in slab ${slab?.id ?? "?"} of ${bytes(slab?.bytes ?? 0)}`]);
  if (state === Kind.Live) {
    facts.push(["stream", stream < 0 ? "not known" : String(stream)]);
    facts.push(["age", since > 0 ? `${counted(frame.event - since, "event")}, since event ${count(since)}` : "not known"]);
  } else {
    facts.push(["freed by", stream < 0 ? "not known any more" : `stream ${stream}`]);
  }
  return facts;
}

export class Details {
  readonly element: HTMLElement;
  private last = "";
  private readonly about: HTMLElement;
  private readonly life: HTMLElement;
  private row: number | null = null;

  constructor() {
    this.about = el("div", {});
    this.life = el("div", { className: "life", hidden: true });
    this.element = el(
      "section",
      { className: "details", id: "details", tabIndex: 0, "aria-label": "Block", "aria-live": "polite", "aria-atomic": "true" },
      this.about,
      this.life,
    );
    this.show(null, null);
  }

  /** What was told of a block over time may be another thing now. */
  forget(): void {
    this.row = null;
  }

  /** Shows what is pointed at. */
  show(frame: Frame | null, pointed: Pointed | null): void {
    const { key, build } = frame === null || pointed === null ? this.nothing(frame) : this.something(frame, pointed);
    if (key === this.last) return;
    this.last = key;
    this.about.replaceChildren(...build());
  }

  /** What is known over time of the block that is pointed at: when, where, and by which lines. */
  async showLife(row: number | null, analyst: Analyst | null): Promise<void> {
    if (row === this.row) return;
    this.row = row;
    this.life.hidden = true;
    if (row === null || analyst === null) return;
    const life = await analyst.life(row).catch(() => null);
    if (life === null || row !== this.row) return;
    const facts: [string, string][] = [];
    if (life.address !== null) facts.push(["address", `0x${life.address.toString(16)}`]);
    facts.push(["given back", life.retired === null ? "never" : `event ${count(life.retired)}`]);
    if (life.over !== null && life.over !== life.retired) facts.push(["over", `event ${count(life.over)}`]);
    if (life.planned !== null) facts.push(["planned at", `${bytes(life.planned.offset)} to ${bytes(life.planned.offset + life.planned.bytes)}`]);
    this.life.replaceChildren(
      el("dl", { className: "facts" }, ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
      ...(life.frames.length === 0
        ? []
        : [el("h4", {}, "Call stack, innermost first"), el("ol", { className: "stack" }, ...life.frames.map((frame) => el("li", { className: frame === life.line ? "own-line" : "" }, frame)))]),
    );
    this.life.hidden = false;
  }

  private nothing(frame: Frame | null) {
    // A recorded run tells of no axes.
    const known = frame !== null && frame.axes.length > 0;
    const waited = known ? waitedFor(frame) : [];
    const rows = waited
      .slice(0, MOST_WAITED)
      .map(({ axis, epoch, reached, bytes: size, blocks }): [string, string] => [
        frame?.axes[axis]?.name ?? "?",
        `${bytes(size)} in ${counted(blocks, "block")}, until ${count(epoch)}; now at ${count(reached)}`,
      ]);
    const rest = waited.length - rows.length;
    return {
      key: JSON.stringify([known, rows]),
      build: () => [
        el("h3", {}, known ? "What free memory waits for" : "Block"),
        !known
          ? ""
          : rows.length === 0
          ? el("p", { className: "quiet" }, "Nothing at this instant: all that is free can be used by everyone.")
          : el("dl", { className: "facts" }, ...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
        ...(rest > 0 ? [el("p", { className: "quiet" }, `And for ${counted(rest, "more axis", "more axes")}.`)] : []),
        el("p", { className: "quiet hint" }, "Point at a block, or give the slabs the focus and use the arrow keys: here stands what it is, and what it waits for."),
      ],
    };
  }

  private something(frame: Frame, pointed: Pointed) {
    const { first, end } = pointed;
    if (end - first > 1) return this.several(frame, first, end);
    const state = frame.blocks.state[first] as number;
    const text = KIND_TEXT[state] ?? { name: "unknown", means: "" };
    const facts = describe(frame, first);
    const waits = state === Kind.Pending ? this.waits(frame, first) : [];
    const key = JSON.stringify([state, facts, waits]);
    const build = () => [
      el("h3", {}, el("span", { className: `swatch kind-${state}`, "aria-hidden": "true" }), `${text.name} block`),
      el("p", { className: "quiet" }, text.means + "."),
      el("dl", { className: "facts" }, ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
      ...(waits.length === 0
        ? []
        : [
            el("h4", {}, "Death frontier: usable by all when"),
            el(
              "ul",
              { className: "waits" },
              ...waits.map(({ name, epoch, reached, there }) =>
                el(
                  "li",
                  { className: there ? "there" : "" },
                  el("b", {}, name),
                  ` reaches ${count(epoch)}: `,
                  there ? `✓ there (${count(reached)})` : `✗ at ${count(reached)}, ${count(epoch - reached)} to go`,
                ),
              ),
            ),
            el("p", { className: "quiet" }, "A request that is ordered after all of these may have it now."),
          ]),
    ];
    return { key, build };
  }

  /** The entries of a death frontier, at most twelve. */
  private waits(frame: Frame, block: number) {
    const { deathStart, deathAxis, deathEpoch } = frame.blocks;
    const out: { name: string; epoch: number; reached: number; there: boolean }[] = [];
    const start = deathStart[block] ?? 0;
    for (let i = start; i < (deathStart[block + 1] ?? start) && out.length < 12; i++) {
      const axis = frame.axes[deathAxis[i] as number];
      const epoch = deathEpoch[i] as number;
      const reached = axis?.completed ?? 0;
      out.push({ name: axis?.name ?? "?", epoch, reached, there: reached >= epoch });
    }
    return out;
  }

  private several(frame: Frame, first: number, end: number) {
    const { blocks } = frame;
    const numbers = new Array<number>(KINDS).fill(0);
    const sums = new Array<number>(KINDS).fill(0);
    for (let i = first; i < end; i++) {
      const state = blocks.state[i] as number;
      numbers[state] = (numbers[state] ?? 0) + 1;
      sums[state] = (sums[state] ?? 0) + (blocks.bytes[i] as number);
    }
    const rows = numbers.flatMap((n, kind): [number, string, string][] =>
      n === 0 ? [] : [[kind, KIND_TEXT[kind]?.name ?? "", `${counted(n, "block")}, ${bytes(sums[kind] ?? 0)}`]],
    );
    const from = blocks.offset[first] as number;
    const slab = frame.slabs[blocks.slab[first] as number];
    const key = JSON.stringify([rows, from, slab?.id]);
    const build = () => [
      el("h3", {}, counted(end - first, "block")),
      el("p", { className: "quiet" }, `Thinner than a pixel, from offset ${count(from)} in slab ${slab?.id ?? "?"}. Zoom in to see each.`),
      el(
        "dl",
        { className: "facts" },
        ...rows.flatMap(([kind, name, value]) => [
          el("dt", {}, el("span", { className: `swatch kind-${kind}`, "aria-hidden": "true" }), name),
          el("dd", {}, value),
        ]),
      ),
    ];
    return { key, build };
  }
}
