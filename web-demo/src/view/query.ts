/**
 * What people type to find blocks: words with spaces between them, all of which must hold.
 *
 * ```text
 *   adam.py            part of the line's name        line:"my file.py"   the same, where it has spaces
 *   size:>1MiB         4MiB, >1MiB, <=64KiB, 1MiB..2MiB
 *   stream:0           by its number
 *   category:kept      one of several: category:kept,large
 *   -category:before   a minus turns a word round
 * ```
 */
import { CATEGORIES, type Category, type Term } from "../model.ts";
import { parseSizes } from "./format.ts";

export const PLACEHOLDER = "adam.py  size:>1MiB  stream:0  category:kept";

/** How each kind of word is written, and what it means: for the help. */
export const SYNTAX: readonly (readonly [string, string])[] = [
  ["adam.py", 'part of the line\'s name; in quotes where it has spaces: "my file.py"'],
  ["size:>1MiB", "4MiB, >1MiB, <=64KiB or 1MiB..2MiB: asked for, or what it became"],
  ["stream:0", "the stream's number, 0 the first"],
  ["category:kept,large", "any of these, listed below"],
  ["-stream:0", "a minus turns a word round"],
];

export type Parsed = { terms: readonly Term[] } | { fault: string };

/** A minus, a key and its colon, and a value, which may stand in quotes. */
const WORD = /(-?)(?:(line|size|stream|category):)?("[^"]*"?|\S+)/giy;

/** Reads a search. Empty text has no terms. */
export function parseQuery(text: string): Parsed {
  const terms: Term[] = [];
  const rest = text.trim();
  WORD.lastIndex = 0;
  while (WORD.lastIndex < rest.length) {
    const match = WORD.exec(rest);
    if (match === null) break;
    while (rest[WORD.lastIndex] === " ") WORD.lastIndex++;
    const [, minus = "", key = "line", quoted = ""] = match;
    const value = quoted.replace(/^"|"$/g, "");
    const term = readTerm(key.toLowerCase(), value);
    if (typeof term === "string") return { fault: term };
    if (term !== null) terms.push({ ...term, not: minus !== "" } as Term);
  }
  return { terms };
}

type Bare = Term extends infer T ? (T extends Term ? Omit<T, "not"> : never) : never;

/** A term, a fault in words, or null for what takes everything. */
function readTerm(key: string, value: string): Bare | string | null {
  switch (key) {
    case "size": {
      const range = value === "" ? null : parseSizes(value);
      return range === null ? `size:${value} – sizes are like 4MiB, >1MiB, <=64KiB or 1MiB..2MiB.` : { kind: "size", ...range };
    }
    case "stream":
      return /^\d{1,9}$/.test(value) ? { kind: "stream", stream: Number(value) } : `stream:${value} – a stream is a number, 0 the first.`;
    case "category": {
      const any = value.toLowerCase().split(",").filter((name) => name !== "");
      const unknown = any.find((name) => !Object.hasOwn(CATEGORIES, name));
      if (any.length === 0 || unknown !== undefined) return `category:${value} – categories are ${Object.keys(CATEGORIES).join(", ")}.`;
      return { kind: "category", any: any as Category[] };
    }
    default:
      return value === "" ? null : { kind: "line", text: value };
  }
}

/** A line's name as a word. */
export function quotedLine(line: string): string {
  return `line:"${line.replaceAll('"', "")}"`;
}
