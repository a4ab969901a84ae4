/** What the page and the worker of a run say to each other. */
import type { Difference, Filter, Holder, Input, Life, Matched, OverTime, OverTimeView, Pinners, Placed, Plan, Rules, RunInfo, RunOptions, Told } from "../model";
import type { News } from "./session";

/** From the page. Every request has a number of its own; its answer has the same. */
export type Request =
  | { id: number; what: "open"; input: Input; options: RunOptions }
  | { id: number; what: "frame"; event: number }
  | { id: number; what: "report" }
  | { id: number; what: "stacks" }
  | { id: number; what: "peak" }
  | { id: number; what: "peaks" }
  | { id: number; what: "recording"; event: number }
  | { id: number; what: "diff"; name: string; data: Blob }
  | { id: number; what: "overTime"; view: OverTimeView }
  | { id: number; what: "planned"; view: OverTimeView }
  | { id: number; what: "place"; plan: Plan | null }
  | { id: number; what: "holders"; event: number; by: "line" | "stack" }
  | { id: number; what: "life"; row: number }
  | { id: number; what: "filter"; filter: Filter | null }
  | { id: number; what: "pinners"; event: number }
  | { id: number; what: "rules" }
  | { id: number; what: "compare"; capacity: number | null }
  | { id: number; what: "handles" }
  | { id: number; what: "close" };

/** A frame, and what is known of its blocks over time. */
export interface PackedFrame {
  packed: Uint8Array;
  rows?: Int32Array;
  matched?: Uint8Array;
  planned?: Float64Array;
}

/** What each request is answered with. */
export interface Answers {
  open: RunInfo;
  frame: PackedFrame;
  stacks: boolean;
  peak: { event: number; bytes: number };
  peaks: number[];
  recording: Uint8Array;
  diff: Difference;
  overTime: OverTime;
  planned: OverTime;
  place: Placed;
  holders: Holder[];
  life: Life | null;
  filter: Matched;
  pinners: Pinners | null;
  rules: Rules | null;
  compare: Told | null;
  report: Record<string, unknown> | null;
  handles: Record<string, number>;
  /** The handles that are left: none. */
  close: Record<string, number>;
}

/** From the worker. */
export type Reply =
  | { id: number; value: Answers[keyof Answers] }
  | { id: number; error: { name: string; message: string } }
  | { news: News };
