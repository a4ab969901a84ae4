/**
 * A lane for every axis: what was submitted, what is complete, and where the block that is pointed at waits on it.
 *
 * ```text
 *   queue:0.1  ██████████▒▒▒▒▒▒│      completed 118 · submitted 124      in flight hatched, ▲ what is waited for
 * ```
 */
import type { Axis, Frame } from "../model.ts";
import { el, setText, setVar } from "./dom.ts";
import { count, counted } from "./format.ts";
import { missing } from "./details.ts";

/** Lanes on the page; a run may have thousands of axes. */
const MOST_LANES = 48;
/** Epochs that a lane shows at least. */
const LEAST_SPAN = 16;

/** The epochs that lanes show: `span` up to what was submitted, the same for all. Shrinks and grows in powers of two. */
export function laneSpan(axes: readonly Axis[]): number {
  const most = axes.reduce((most, axis) => Math.max(most, axis.submitted - axis.completed), 0);
  return 2 ** Math.ceil(Math.log2(Math.max(LEAST_SPAN, most * 1.25)));
}

interface Lane {
  item: HTMLElement;
  name: HTMLElement;
  track: HTMLElement;
  numbers: HTMLElement;
}

export class Lanes {
  readonly element: HTMLElement;
  private readonly list: HTMLElement;
  private readonly note: HTMLElement;
  private readonly lanes: Lane[] = [];

  constructor() {
    this.list = el("ul", { className: "lanes-list" });
    this.note = el("p", { className: "quiet" });
    this.element = el(
      "section",
      { className: "panel lanes", "aria-labelledby": "lanes-title" },
      el("h3", { id: "lanes-title" }, "Axes"),
      this.list,
      this.note,
    );
  }

  show(frame: Frame | null, block: number | null): void {
    const axes = frame?.axes ?? [];
    this.element.hidden = axes.length === 0;
    // Those with work in flight first, where not all can be shown.
    let shown = axes.map((_axis, i) => i);
    if (axes.length > MOST_LANES) {
      const busy = (i: number) => Number((axes[i] as Axis).submitted > (axes[i] as Axis).completed);
      shown = shown.sort((a, b) => busy(b) - busy(a) || a - b).slice(0, MOST_LANES).sort((a, b) => a - b);
    }
    while (this.lanes.length < shown.length) this.add();
    while (this.lanes.length > shown.length) this.lanes.pop()?.item.remove();
    const span = laneSpan(axes);
    const waits = new Map<number, number>();
    if (frame !== null && block !== null) {
      for (const { axis, epoch } of missing(frame, block)) waits.set(axis, epoch);
    }
    shown.forEach((index, i) => {
      const lane = this.lanes[i] as Lane;
      const axis = axes[index] as Axis;
      const from = Math.max(0, axis.submitted - span);
      const share = (epoch: number) => String(Math.max(0, Math.min(1, (epoch - from) / span)));
      setText(lane.name, axis.name);
      setVar(lane.track, "--done", share(axis.completed));
      setVar(lane.track, "--sent", share(axis.submitted));
      const flying = axis.submitted - axis.completed;
      setText(lane.numbers, `${count(axis.completed)} of ${count(axis.submitted)}${flying > 0 ? `, ${count(flying)} in flight` : ""}`);
      const wait = waits.get(index);
      lane.item.classList.toggle("waited", wait !== undefined);
      if (wait !== undefined) {
        setVar(lane.track, "--wait", share(wait));
        lane.track.title = `the block waits for ${count(wait)}`;
      } else lane.track.title = "";
    });
    const inFlight = axes.reduce((sum, axis) => sum + axis.submitted - axis.completed, 0);
    const rest = axes.length - shown.length;
    setText(
      this.note,
      axes.length === 0
        ? ""
        : `Completed of submitted; the last ${count(span)} epochs. ${count(inFlight)} in flight${rest > 0 ? `; ${counted(rest, "more axis", "more axes")} not shown` : ""}.`,
    );
  }

  private add(): void {
    const name = el("span", { className: "lane-name" });
    const track = el("span", { className: "lane-track" });
    const numbers = el("span", { className: "lane-numbers" });
    const item = el("li", {}, name, track, numbers);
    this.list.append(item);
    this.lanes.push({ item, name, track, numbers });
  }
}
