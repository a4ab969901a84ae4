/** The worker of a search for a plan. It is ended from outside. */
import type { Input, PlanNews } from "../model";
import { core, reading } from "./browser";
import { planning } from "./planning";

/** What is to be planned. */
export interface PlanRequest {
  input: Input;
  device: number | null;
  /** Milliseconds that the search may take. */
  limit: number;
}

export type PlanReply = { news: PlanNews } | { error: string };

function post(reply: PlanReply): void {
  const plan = "news" in reply ? reply.news.plan : null;
  const columns = plan === null ? [] : [plan.file, plan.offset, plan.size, plan.lower, plan.upper, plan.line];
  // Columns are handed over, not copied: the search knows its best plan by its numbers.
  (self as unknown as Worker).postMessage(reply, columns.map((column) => column.buffer as ArrayBuffer));
}

self.onmessage = ({ data }: MessageEvent<PlanRequest>) => {
  const { input, device, limit } = data;
  const bytes = input.kind === "file" ? reading(input.data) : () => new Uint8Array();
  planning({ core, bytes, now: () => performance.now() }, input, device, limit, (news) => post({ news })).catch((error: unknown) => {
    post({ error: error instanceof Error ? error.message : String(error) });
  });
};
