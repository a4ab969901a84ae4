/** Which blocks a search takes. Cost: O(blocks), and O(frames) once for each line and stack. */
import type { Category, Filter, Term } from "../model";
import type { Lives } from "./lives";

/** Up to here PyTorch serves a request from its pools of small blocks. */
const SMALL = 2 ** 20;

type Role = "forward" | "backward" | "optimizer" | null;

const OPTIMIZER = /[/\\.]optim(?:izers?)?[/\\._]|\boptimizer\b/i;
const BACKWARD = /\bbackward\b|_engine_run_backward|autograd::Engine/;
const FORWARD = /\bforward\b|\b_call_impl\b/;

/** What a call stack does: an optimizer may run below the backward pass, and the backward pass names the forward one's functions. */
export function roleOf(frames: readonly string[]): Role {
  for (const [role, names] of [["optimizer", OPTIMIZER], ["backward", BACKWARD], ["forward", FORWARD]] as const) {
    if (frames.some((frame) => names.test(frame))) return role;
  }
  return null;
}

/** A bit for each block that is taken; `pinning` has one for each that pins at the instant shown. */
export function maskOf(lives: Lives, filter: Filter, pinning: Uint8Array | null): Uint8Array {
  const roles = new Map<number, Role>();
  const role = (row: number): Role => {
    const stack = lives.stack[row] as number;
    let known = roles.get(stack);
    if (known === undefined) roles.set(stack, (known = roleOf(lives.frames(stack))));
    return known;
  };
  const is: Record<Category, (row: number) => boolean> = {
    forward: (row) => role(row) === "forward",
    backward: (row) => role(row) === "backward",
    optimizer: (row) => role(row) === "optimizer",
    before: (row) => row < lives.before,
    kept: (row) => (lives.retired[row] as number) > lives.events,
    temporary: (row) => (lives.retired[row] as number) <= lives.events,
    // PyTorch records both entries of a block that no stream used any more one after the other.
    deferred: (row) => (lives.retired[row] as number) + 1 < (lives.over[row] as number),
    small: (row) => (lives.bytes[row] as number) <= SMALL,
    large: (row) => (lives.bytes[row] as number) > SMALL,
    padded: (row) => (lives.bytes[row] as number) > (lives.requested[row] as number),
    pins: (row) => pinning?.[row] === 1,
  };
  const test = (term: Term): ((row: number) => boolean) => {
    switch (term.kind) {
      case "line": {
        const text = term.text.toLowerCase();
        const named = new Map<number, boolean>();
        return (row) => {
          const key = lives.key(row);
          let known = named.get(key);
          if (known === undefined) named.set(key, (known = lives.name(key).toLowerCase().includes(text)));
          return known;
        };
      }
      case "size": {
        const { least, most } = term;
        // What was asked for, or what it became: people know one or the other.
        return (row) => [lives.bytes[row] as number, lives.requested[row] as number].some((size) => size >= least && size <= most);
      }
      case "stream":
        return (row) => lives.stream[row] === term.stream;
      case "category":
        return (row) => term.any.some((category) => is[category](row));
    }
  };
  const tests = filter.terms.map((term) => ({ not: term.not, test: test(term) }));
  const { key } = filter;
  const mask = new Uint8Array(lives.count);
  for (let row = 0; row < lives.count; row++) {
    if (key !== null && (key < 0 ? lives.stack[row] !== -key : lives.key(row) !== key)) continue;
    if (tests.every(({ not, test }) => test(row) !== not)) mask[row] = 1;
  }
  return mask;
}
