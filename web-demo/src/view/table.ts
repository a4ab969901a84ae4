/**
 * What is live at an instant: a table that can be sorted by every column and searched by size and stream.
 *
 * The search is pure and works on columns: 100,000 blocks are sorted as an array of positions. Only the rows that were asked
 * for become elements.
 */
import type { Frame } from "../model.ts";
import { el, setText } from "./dom.ts";
import { bytes, count, counted, parseSizes } from "./format.ts";

export type Column = "slab" | "offset" | "bytes" | "requested" | "stream" | "age";

const COLUMNS: readonly [Column, string][] = [
  ["bytes", "size"],
  ["requested", "asked for"],
  ["slab", "slab"],
  ["offset", "offset"],
  ["stream", "stream"],
  ["age", "age in events"],
];

const PAGE = 200;

export interface Query {
  sizes: string;
  stream: string;
  sort: Column;
  descending: boolean;
}

export interface Found {
  /** Blocks of the frame, sorted. */
  blocks: Uint32Array;
  bytes: number;
  /** What could not be read in the query. */
  fault: string | null;
}

/** Which live blocks a query takes; null when it takes all or cannot be read. */
export function filterOf(frame: Frame, query: Pick<Query, "sizes" | "stream">): ((block: number) => boolean) | null {
  const sizes = parseSizes(query.sizes);
  const stream = parseStream(query.stream);
  if (sizes === null || stream === undefined) return null;
  if (query.sizes.trim() === "" && stream === null) return null;
  const { blocks } = frame;
  return (block) => {
    const asked = blocks.requested[block] as number;
    const size = blocks.bytes[block] as number;
    return (
      blocks.state[block] === 0 &&
      // What was asked for, or what it became: people know one or the other.
      ((asked >= sizes.least && asked <= sizes.most) || (size >= sizes.least && size <= sizes.most)) &&
      (stream === null || blocks.stream[block] === stream)
    );
  };
}

/** A stream's number, null for any, undefined when it cannot be read. */
function parseStream(text: string): number | null | undefined {
  const trimmed = text.trim();
  if (trimmed === "") return null;
  return /^\d{1,9}$/.test(trimmed) ? Number(trimmed) : undefined;
}

/** The live blocks of a frame that a query takes. O(blocks + found · log found). */
export function search(frame: Frame, query: Query): Found {
  const fault =
    parseSizes(query.sizes) === null
      ? "Sizes are like 4MiB, >1MiB, <=64KiB or 1MiB..2MiB."
      : parseStream(query.stream) === undefined
        ? "A stream is a number, 0 the first."
        : null;
  if (fault !== null) return { blocks: new Uint32Array(0), bytes: 0, fault };
  const keep = filterOf(frame, query);
  const { blocks } = frame;
  const found: number[] = [];
  let sum = 0;
  for (let i = 0; i < blocks.count; i++) {
    if (blocks.state[i] !== 0 || (keep !== null && !keep(i))) continue;
    found.push(i);
    sum += blocks.bytes[i] as number;
  }
  const sorted = Uint32Array.from(found);
  const sign = query.descending ? -1 : 1;
  const key: ArrayLike<number> = query.sort === "age" ? blocks.since : blocks[query.sort];
  // The older, the smaller the event since which it lives.
  const turn = query.sort === "age" ? -sign : sign;
  sorted.sort((a, b) => turn * ((key[a] as number) - (key[b] as number)) || a - b);
  return { blocks: sorted, bytes: sum, fault: null };
}

export class LiveTable {
  readonly element: HTMLElement;
  readonly query: Query = { sizes: "", stream: "", sort: "bytes", descending: true };
  private readonly summary: HTMLElement;
  private readonly fault: HTMLElement;
  private readonly body: HTMLTableSectionElement;
  private readonly more: HTMLButtonElement;
  private readonly heads = new Map<Column, HTMLElement>();
  private frame: Frame | null = null;
  private found: Found | null = null;
  private shown = PAGE;
  private open = false;

  constructor(
    private readonly changed: () => void,
    private readonly chosen: (block: number) => void,
    private readonly closed: () => void,
  ) {
    this.summary = el("p", { className: "quiet", role: "status" });
    this.fault = el("p", { className: "fault", role: "alert", hidden: true });
    this.body = el("tbody");
    this.more = el("button", { type: "button", hidden: true, onclick: () => this.grow() });
    const input = (label: string, placeholder: string, key: "sizes" | "stream", mode: string) =>
      el(
        "label",
        { className: "field" },
        label,
        el("input", {
          type: "search",
          placeholder,
          inputMode: mode,
          spellcheck: false,
          "data-search": key,
          oninput: (event: Event) => {
            this.query[key] = (event.target as HTMLInputElement).value;
            this.shown = PAGE;
            this.refresh();
            this.changed();
          },
        }),
      );
    const head = el(
      "tr",
      {},
      ...COLUMNS.map(([column, name]) => {
        const cell = el("th", { scope: "col" }, el("button", { type: "button", onclick: () => this.sort(column) }, name));
        this.heads.set(column, cell);
        return cell;
      }),
    );
    this.element = el(
      "section",
      { className: "panel live-table", id: "live-table", "aria-labelledby": "live-title", hidden: true },
      el(
        "div",
        { className: "panel-head" },
        el("h3", { id: "live-title", tabIndex: -1 }, "Live at this instant"),
        el("button", { type: "button", className: "quiet-button", onclick: () => this.toggle(false) }, "Close"),
      ),
      el("div", { className: "fields" }, input("Size", "4MiB, >1MiB, 1MiB..2MiB", "sizes", "text"), input("Stream", "any", "stream", "numeric")),
      this.fault,
      this.summary,
      el("div", { className: "table-scroll", tabIndex: 0, role: "group", "aria-label": "Live blocks" }, el("table", {}, el("thead", {}, head), this.body)),
      this.more,
    );
  }

  get isOpen(): boolean {
    return this.open;
  }

  toggle(open: boolean): void {
    if (open === this.open) return;
    this.open = open;
    this.element.hidden = !open;
    this.shown = PAGE;
    if (open) {
      this.refresh();
      this.element.querySelector<HTMLElement>("#live-title")?.focus();
    } else {
      this.closed();
    }
    this.changed();
  }

  show(frame: Frame | null): void {
    if (frame === this.frame) return;
    this.frame = frame;
    if (this.open) this.refresh();
  }

  /** Blocks that the picture is to leave undimmed; null for all. */
  keep(frame: Frame): ((block: number) => boolean) | null {
    return this.open ? filterOf(frame, this.query) : null;
  }

  private sort(column: Column): void {
    this.query.descending = this.query.sort === column ? !this.query.descending : true;
    this.query.sort = column;
    this.refresh();
  }

  private grow(): void {
    this.shown += PAGE * 5;
    this.rows();
  }

  private refresh(): void {
    const { frame } = this;
    for (const [column, cell] of this.heads) {
      cell.setAttribute("aria-sort", column !== this.query.sort ? "none" : this.query.descending ? "descending" : "ascending");
    }
    this.found = frame === null ? null : search(frame, this.query);
    this.fault.hidden = this.found?.fault == null;
    setText(this.fault, this.found?.fault ?? "");
    this.rows();
  }

  private rows(): void {
    const { frame, found } = this;
    if (frame === null || found === null) {
      this.body.replaceChildren();
      setText(this.summary, "");
      return;
    }
    const { blocks } = frame;
    setText(this.summary, `${counted(found.blocks.length, "block")}, ${bytes(found.bytes)}, at event ${count(frame.event)}`);
    const rows: HTMLElement[] = [];
    for (const block of found.blocks.subarray(0, this.shown)) {
      const since = blocks.since[block] as number;
      const cell = (text: string, title = "") => el("td", { title }, text);
      const size = blocks.bytes[block] as number;
      const asked = blocks.requested[block] as number;
      const choose = el(
        "button",
        { type: "button", className: "link", title: `${count(size)} B: show it in its slab`, onclick: () => this.chosen(block) },
        bytes(size),
      );
      rows.push(
        el(
          "tr",
          {},
          el("td", {}, choose),
          cell(bytes(asked), `${count(asked)} B`),
          cell(frame.slabs[blocks.slab[block] as number]?.id ?? "?"),
          cell(count(blocks.offset[block] as number)),
          cell((blocks.stream[block] as number) < 0 ? "?" : String(blocks.stream[block])),
          cell(since > 0 ? count(frame.event - since) : "?"),
        ),
      );
    }
    this.body.replaceChildren(...rows);
    const rest = found.blocks.length - rows.length;
    this.more.hidden = rest <= 0;
    setText(this.more, `Show ${count(Math.min(rest, PAGE * 5))} more of ${count(rest)}`);
  }
}
