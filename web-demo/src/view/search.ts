/** The one field that blocks are searched with, its help, and what is wrong with what stands in it. */
import { CATEGORIES, type Term } from "../model.ts";
import { el, setText } from "./dom.ts";
import { parseQuery, PLACEHOLDER, SYNTAX } from "./query.ts";

/** After the last key, in milliseconds. */
const TYPING_MS = 200;

export class SearchField {
  readonly element: HTMLElement;
  private readonly input: HTMLInputElement;
  private readonly fault: HTMLElement;
  private typing: ReturnType<typeof setTimeout> | undefined;

  /** `changed` is called with what can be read. */
  constructor(private readonly changed: () => void) {
    this.fault = el("p", { className: "fault", id: "search-fault", role: "alert", hidden: true });
    this.input = el("input", {
      type: "search",
      id: "search",
      placeholder: PLACEHOLDER,
      spellcheck: false,
      autocomplete: "off",
      "aria-describedby": "search-fault",
      oninput: () => {
        clearTimeout(this.typing);
        this.typing = setTimeout(() => this.read(), TYPING_MS);
      },
    });
    const list = (entries: readonly (readonly [string, string])[]) =>
      el("dl", { className: "facts" }, ...entries.flatMap(([word, means]) => [el("dt", {}, el("code", {}, word)), el("dd", {}, means)]));
    this.element = el(
      "div",
      { className: "search" },
      el("label", { className: "field search-field", for: "search" }, "Search blocks", this.input),
      this.fault,
      el(
        "details",
        { className: "search-help" },
        el("summary", {}, "How to search"),
        el("p", { className: "quiet" }, "Words with spaces between them, all of which must hold. Both views keep what is found and dim the rest."),
        list(SYNTAX),
        el("h4", {}, "Categories"),
        list(Object.entries(CATEGORIES)),
      ),
    );
  }

  /** What stands in it; null if it cannot be read. */
  get terms(): readonly Term[] | null {
    const parsed = parseQuery(this.input.value);
    return "terms" in parsed ? parsed.terms : null;
  }

  /** Puts a text into it, without a call of `changed`. */
  set(text: string): void {
    clearTimeout(this.typing);
    this.input.value = text;
    this.tellFault();
  }

  private read(): void {
    if (this.tellFault()) this.changed();
  }

  private tellFault(): boolean {
    const parsed = parseQuery(this.input.value);
    const fault = "fault" in parsed ? parsed.fault : "";
    this.fault.hidden = fault === "";
    setText(this.fault, fault);
    this.input.setAttribute("aria-invalid", String(fault !== ""));
    return fault === "";
  }
}
