/**
 * The same requests by both rules of merging, where that makes a difference: merging what is free only where nothing that is ready waits for it
 * (Strandline's), or every free neighbour at once (IREE's). One axis for both, and the difference in bytes and in waiting.
 */
import type { Analyst, RuleRun, Rules } from "../model.ts";
import { curvesPicture, numbersTable } from "./curves.ts";
import { el } from "./dom.ts";
import { atLeast, bytes, count } from "./format.ts";

type Show = (n: number) => string;

interface Report {
  memory: { peak_reserved_bytes: number };
  pool: { peak_pending_bytes: number };
  reuse: { waited: number; missed: number; stalled: number };
}

/** What is compared, by both rules. */
export function compared({ readiness, eager }: Rules): { name: string; key: string; a: number; b: number; show: Show }[] {
  const [a, b] = [readiness, eager].map(({ report }: RuleRun) => report as unknown as Report) as [Report, Report];
  return [
    { name: "reserved at most", key: "memory.peak_reserved_bytes", a: a.memory.peak_reserved_bytes, b: b.memory.peak_reserved_bytes, show: atLeast },
    { name: "free but still in flight, at most", key: "pool.peak_pending_bytes", a: a.pool.peak_pending_bytes, b: b.pool.peak_pending_bytes, show: bytes },
    { name: "requests that waited", key: "reuse.waited", a: a.reuse.waited, b: b.reuse.waited, show: count },
    { name: "requests that found nothing ready", key: "reuse.missed", a: a.reuse.missed, b: b.reuse.missed, show: count },
    { name: "requests that held up their stream", key: "reuse.stalled", a: a.reuse.stalled, b: b.reuse.stalled, show: count },
  ];
}

/** Whether the rule decides anything: how much is reserved, or who waits. */
export function decides(rules: Rules): boolean {
  return compared(rules).some(({ key, a, b }) => key !== "pool.peak_pending_bytes" && a !== b);
}

export class RulesPanel {
  readonly element: HTMLElement;
  private readonly out: HTMLElement;
  private analyst: Analyst | null = null;

  constructor() {
    this.out = el("div", {});
    this.element = el("section", { className: "panel rules", "aria-labelledby": "rules-title", hidden: true }, el("div", { className: "panel-head" }, el("h3", { id: "rules-title" }, "What the rule of merging decides")), this.out);
  }

  /** Another run, or none. */
  setRun(analyst: Analyst | null): void {
    this.analyst = analyst;
    this.element.hidden = true;
    this.element.dataset["asked"] = "";
    this.out.replaceChildren();
    analyst?.rules().then(
      (rules) => {
        if (analyst !== this.analyst) return;
        if (rules !== null && decides(rules)) this.show(rules);
        this.element.dataset["asked"] = "yes";
      },
      // The run was closed, or cannot be played by the other rule.
      () => undefined,
    );
  }

  private show(rules: Rules): void {
    this.out.replaceChildren(
      el("p", { className: "quiet" }, "Reserved bytes by Strandline's rule, which merges what is free unless something that is ready would have to wait (solid), and by IREE's, which merges every free neighbour at once (dashed)."),
      curvesPicture("Reserved bytes by both rules of merging", [
        { series: rules.readiness.series, of: "committed", className: "after" },
        { series: rules.eager.series, of: "committed", className: "before" },
      ]),
      numbersTable(["Strandline's", "IREE's"], compared(rules)),
    );
    this.element.hidden = false;
  }
}
