/** The views of a run over time: its blocks on each other, and where a plan has them. They show the same events, the same instant and the same block. */
import type { Source } from "../model.ts";
import { marksOf } from "./marks.ts";
import { OverTimePanel } from "./over_time.ts";
import { PlanPanel, type PlanListener } from "./plan.ts";

export class TimeViews {
  readonly blocks: OverTimePanel;
  readonly plan: PlanPanel;

  /** `canFollow`: whoever listens can play the run once more. */
  constructor(listener: PlanListener, canFollow: boolean) {
    const all: PlanListener = {
      ...listener,
      moved: (from, to) => {
        listener.moved(from, to);
        this.blocks.follow(from, to);
        this.plan.follow(from, to);
      },
    };
    this.blocks = new OverTimePanel(all);
    this.plan = new PlanPanel(all, canFollow);
  }

  /** Another run, or none. */
  setRun(source: Source | null): void {
    const analyst = source?.analyst ?? null;
    const marks = source === null ? [] : marksOf(source);
    this.blocks.setRun(analyst, source?.info.events ?? 0, marks, source?.info.title ?? "");
    this.plan.setRun(source?.info ?? null, analyst, marks);
  }

  /** The run could not go on. */
  failed(source: Source): void {
    const marks = marksOf(source);
    this.blocks.setMarks(marks);
    this.plan.setMarks(marks);
  }

  /** The instant that the other views show. */
  at(event: number): void {
    this.blocks.at(event);
    this.plan.at(event);
  }

  /** The block that is pointed at. */
  highlight(row: number | null): void {
    this.blocks.highlight(row);
    this.plan.highlight(row);
  }

  /** What is drawn is not what it was: the filter changed. */
  refresh(): void {
    this.blocks.refresh();
    this.plan.refresh();
  }

  setDark(dark: boolean): void {
    this.blocks.setDark(dark);
    this.plan.setDark(dark);
  }

  close(): void {
    this.blocks.close();
    this.plan.close();
  }
}
