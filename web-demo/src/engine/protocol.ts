/** What the page and the worker of a run say to each other. */
import type { Input, RunInfo, RunOptions } from "../model";
import type { News } from "./session";

/** From the page. Every request has a number of its own; its answer has the same. */
export type Request =
  | { id: number; what: "open"; input: Input; options: RunOptions }
  | { id: number; what: "frame"; event: number }
  | { id: number; what: "report" }
  | { id: number; what: "handles" }
  | { id: number; what: "close" };

/** What each request is answered with. */
export interface Answers {
  open: RunInfo;
  frame: Uint8Array;
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
