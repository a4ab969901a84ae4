/**
 * Allocated bytes by call stack as a flame graph: callers above, what they call below, as wide as the bytes that were allocated there. Pure but
 * for `flame`, which makes the elements.
 */
import type { Holder } from "../model.ts";
import { el } from "./dom.ts";
import { bytes, count } from "./format.ts";

/** Parts thinner than this share of the whole are not drawn. */
const LEAST = 0.003;
/** Rows at most. */
const DEEPEST = 40;

export interface Flame {
  frame: string;
  bytes: number;
  /** The stack that ends here or goes through here alone; null where several do. */
  key: number | null;
  calls: Flame[];
}

/** Stacks with common callers together, most bytes first. What has no stack stands by itself. */
export function flameOf(holders: readonly Holder[]): Flame {
  const root: Flame = { frame: "all", bytes: 0, key: null, calls: [] };
  for (const { name, bytes: size, key } of holders) {
    let node = root;
    node.bytes += size;
    // Innermost first in the name; the outermost caller is the first row.
    for (const frame of name.split("\n").reverse()) {
      let next = node.calls.find((call) => call.frame === frame);
      if (next === undefined) {
        next = { frame, bytes: 0, key, calls: [] };
        node.calls.push(next);
      } else if (next.key !== key) next.key = null;
      next.bytes += size;
      node = next;
    }
  }
  const sort = (node: Flame) => {
    node.calls.sort((a, b) => b.bytes - a.bytes);
    node.calls.forEach(sort);
  };
  sort(root);
  return root;
}

/** The elements of a graph. `chosen` gets the stack that was clicked, or the part where several go through. */
export function flame(root: Flame, chosen: (part: Flame) => void): HTMLElement {
  const whole = Math.max(1, root.bytes);
  const rows: HTMLElement[] = [];
  const place = (node: Flame, from: number, depth: number) => {
    if (node.bytes / whole < LEAST || depth >= DEEPEST) return;
    const part = el("button", { type: "button", className: "flame-part", title: `${node.frame}: ${bytes(node.bytes)} (${count(node.bytes)} B)`, onclick: () => chosen(node) }, node.frame);
    part.style.left = `${(from / whole) * 100}%`;
    part.style.width = `${(node.bytes / whole) * 100}%`;
    part.dataset["bytes"] = String(node.bytes);
    let row = rows[depth];
    if (row === undefined) rows[depth] = row = el("div", { className: "flame-row" });
    row.append(part);
    let at = from;
    for (const call of node.calls) {
      place(call, at, depth + 1);
      at += call.bytes;
    }
  };
  place(root, 0, 0);
  return el("div", { className: "flame", role: "group", "aria-label": "Allocated bytes by call stack, callers above" }, ...rows);
}
