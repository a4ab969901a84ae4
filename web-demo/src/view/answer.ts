/**
 * What people open a file for: the peak, who holds it, why a request was refused, whether it fits, and what to paste. Every number is one of
 * the command's.
 */
import type { Analyst, Holder, RunInfo, Told } from "../model.ts";
import { DifferencePanel } from "./difference.ts";
import { el, setText } from "./dom.ts";
import { atLeast, bytes, count, parseBytes } from "./format.ts";

/** Holders that the headline adds up. */
const LINES = 3;

type Json = Record<string, unknown>;

/** A value of nested objects, by its path. */
function at(json: Json | null, path: string): unknown {
  let value: unknown = json;
  for (const key of path.split(".")) value = typeof value === "object" && value !== null ? (value as Json)[key] : undefined;
  return value;
}

const number = (json: Json | null, path: string): number | null => {
  const value = at(json, path);
  return typeof value === "number" ? value : null;
};

/** The first paragraph of what the command prints. */
export function firstParagraph(text: string): string[] {
  return (text.split("\n\n")[0] ?? "").split("\n").filter((line) => line.trim() !== "");
}

/** Whether the current settings meet every request, by the rows of a comparison; null if there is no such row. */
export function currentRow(compared: Json): { ok: boolean; peak: number; failedAt: number | null } | null {
  const rows = (at(compared, "compare.rows") as Json[] | undefined) ?? [];
  const row = rows.filter((row) => row["current"] === true).at(-1);
  if (row === undefined) return null;
  return { ok: row["ok"] === true, peak: Number(row["peak_reserved_bytes"]), failedAt: typeof row["failed_at"] === "number" ? row["failed_at"] : null };
}

/** The smallest row that fits and can be had today. */
export function smallestFit(compared: Json): { allocator: string; settings: string; peak: number } | null {
  const rows = ((at(compared, "compare.rows") as Json[] | undefined) ?? []).filter(
    (row) => row["ok"] === true && row["basis"] !== "computed" && row["basis"] !== "recorded",
  );
  const best = rows.reduce<Json | null>((a, b) => (a === null || Number(b["peak_reserved_bytes"]) < Number(a["peak_reserved_bytes"]) ? b : a), null);
  return best === null ? null : { allocator: String(best["allocator"]), settings: String(best["settings"]), peak: Number(best["peak_reserved_bytes"]) };
}

export class AnswerPanel {
  readonly element: HTMLElement;
  private readonly headline: HTMLElement;
  private readonly verdict: HTMLElement;
  private readonly advice: HTMLElement;
  private readonly whole: HTMLDetailsElement;
  private readonly wholeText: HTMLElement;
  private readonly fit: HTMLInputElement;
  private readonly fitText: HTMLElement;
  private readonly difference = new DifferencePanel();
  private analyst: Analyst | null = null;
  private info: RunInfo | null = null;
  private report: Json | null = null;
  private peak: { event: number; bytes: number } | null = null;
  private holders: readonly Holder[] = [];
  private hasStacks = false;

  constructor() {
    this.headline = el("p", { className: "headline", id: "headline" });
    this.verdict = el("div", { className: "verdict", id: "verdict" });
    this.advice = el("div", { className: "advice", id: "advice", role: "status" });
    this.fit = el("input", { type: "text", id: "fit", placeholder: "16GiB", size: 9, spellcheck: false, autocomplete: "off" });
    this.fitText = el("div", { className: "fit-answer", id: "fit-answer", role: "status" });
    const form = el(
      "form",
      {
        className: "fit",
        onsubmit: (event: Event) => {
          event.preventDefault();
          void this.ask();
        },
      },
      el("label", { for: "fit" }, "Does it fit in "),
      this.fit,
      el("button", { type: "submit" }, "Try"),
      this.fitText,
    );
    this.wholeText = el("pre", { tabIndex: 0, "aria-label": "Explanation" });
    this.whole = el("details", { className: "whole" }, el("summary", {}, "All that ", el("code", {}, "strandline explain"), " and ", el("code", {}, "compare"), " print"), this.wholeText);
    this.element = el("section", { className: "panel answer", "aria-label": "Answer", hidden: true }, this.headline, this.verdict, this.advice, form, this.difference.element, this.whole);
  }

  /** Another run, or none. Whatever takes long comes later. */
  setRun(info: RunInfo | null, analyst: Analyst | null): void {
    this.info = info;
    this.analyst = analyst;
    this.report = null;
    this.peak = null;
    this.holders = [];
    this.hasStacks = false;
    this.fitText.replaceChildren();
    this.advice.replaceChildren();
    this.element.hidden = analyst === null;
    this.difference.setRun(analyst, info?.title ?? "");
    this.whole.hidden = true;
    this.wholeText.textContent = "";
    const told = info?.snapshot?.explained;
    this.verdict.replaceChildren(...(told === undefined ? [] : firstParagraph(told.text).map((line) => el("p", {}, line))));
    if (told !== undefined) this.more(told);
    this.say();
    if (analyst !== null && info !== null) void this.look(analyst, info);
  }

  /** The report of the pools' run. */
  reported(report: Json): void {
    this.report = report;
    this.say();
  }

  private more(told: Told): void {
    this.whole.hidden = false;
    this.wholeText.textContent += `${told.text}\n`;
  }

  private async look(analyst: Analyst, info: RunInfo): Promise<void> {
    try {
      this.peak = await analyst.peak();
      if (analyst !== this.analyst) return;
      this.hasStacks = await analyst.stacks();
      if (this.hasStacks) this.holders = await analyst.holders(this.peak.event, "line");
      if (analyst !== this.analyst) return;
      this.say();
      const told = info.format === "synthetic" ? null : await analyst.compare(null);
      if (analyst !== this.analyst || told === null) return;
      this.advice.replaceChildren(...advice(told));
      this.more(told);
    } catch {
      // The run was closed, or there is nothing to compare.
    }
  }

  private async ask(): Promise<void> {
    const { analyst } = this;
    const capacity = parseBytes(this.fit.value);
    if (capacity === null || capacity <= 0) {
      setText(this.fitText, `"${this.fit.value}" is not a size; sizes are like 80GiB, 16GiB or 512MiB.`);
      return;
    }
    if (analyst === null) return;
    setText(this.fitText, "Trying…");
    try {
      const told = await analyst.compare(capacity);
      if (analyst !== this.analyst) return;
      this.fitText.replaceChildren(...(told === null ? ["The file tells a state at one moment: there is no run that could be tried."] : fits(told, capacity)));
    } catch (error) {
      if (analyst === this.analyst) setText(this.fitText, error instanceof Error ? error.message : String(error));
    }
  }

  private say(): void {
    const { info, report, peak, holders } = this;
    if (info === null) {
      this.headline.replaceChildren();
      return;
    }
    const explained = info.snapshot?.explained.json ?? null;
    const allocated = explained === null ? (number(report, "trace.peak_allocated_bytes") ?? peak?.bytes ?? null) : number(explained, "explain.peak_allocated_bytes");
    const ours = number(report, "memory.peak_reserved_bytes");
    const theirs = number(explained, "explain.peak_reserved_bytes");
    const parts: (Node | string)[] = [];
    const value = (key: string, of: number, show = bytes) => el("b", { "data-number": key, "data-value": of, title: `${count(of)} B` }, show(of));
    if (allocated !== null) parts.push("Peak ", value("allocated", allocated), " allocated");
    if (ours !== null) parts.push(", ", value("reserved", ours, atLeast), " reserved by Strandline's pools");
    if (theirs !== null) parts.push(", ", value("recorded", theirs, atLeast), " reserved by PyTorch");
    // Memory without a line is nobody's to change.
    const lines = holders.filter(({ name }) => !name.startsWith("("));
    if (lines.length > 0) {
      const top = lines.slice(0, LINES);
      const held = top.reduce((sum, holder) => sum + holder.bytes, 0);
      parts.push("; ", value("held", held), ` held by ${top.length === 1 ? "1 line" : `${top.length} lines`}`);
      if (lines.length > top.length) parts.push(` of ${count(lines.length)}`);
    }
    if (parts.length > 0) parts.push(".");
    this.headline.replaceChildren(...parts);
    this.element.dataset["peak"] = peak === null ? "" : String(peak.event);
  }
}

/** The line of a comparison, with what to paste. */
function advice(told: Told): HTMLElement[] {
  const out: HTMLElement[] = [];
  const paste = at(told.json, "compare.best.paste");
  for (const line of firstParagraph(told.text)) {
    // What is to be pasted stands below, with a button.
    if (line.startsWith("    ")) continue;
    out.push(el("p", {}, line));
  }
  if (typeof paste === "string" && paste !== "") {
    const button = el(
      "button",
      {
        type: "button",
        onclick: () => {
          navigator.clipboard.writeText(paste).then(
            () => setText(button, "Copied"),
            () => setText(button, "Select it and copy"),
          );
        },
      },
      "Copy",
    );
    out.push(el("div", { className: "paste" }, el("pre", { tabIndex: 0, "aria-label": "To paste" }, paste), button));
  }
  return out;
}

/** Whether it fits into a capacity. */
function fits(told: Told, capacity: number): HTMLElement[] {
  const now = currentRow(told.json);
  const best = smallestFit(told.json);
  const into = bytes(capacity);
  const answer =
    now !== null && now.ok
      ? `Yes: with the current settings it takes ${atLeast(now.peak)} of ${into}.`
      : best === null
        ? `No: nothing that was tried fits in ${into}.`
        : now === null
          ? `It can: ${best.allocator} (${best.settings}) takes ${atLeast(best.peak)} of ${into}.`
          : `Not with the current settings${now.failedAt === null ? "" : `, which fail at entry ${count(now.failedAt)}`}; ${best.allocator} (${best.settings}) takes ${atLeast(best.peak)} of ${into}.`;
  return [el("p", { className: "fit-line" }, answer), ...advice(told)];
}
