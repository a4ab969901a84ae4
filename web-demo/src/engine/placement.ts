/**
 * A plan beside the blocks of a run: which of them stands where.
 *
 * A plan's blocks are those of the trace as its reader has them. Of a run of the pools they are found by their steps, which are the run's events.
 * A recorded run counts entries: there they are found by the entry of their request; those that were there before by that of their end; and
 * of those that never end, any of the same size is as good as another.
 *
 * Cost: O(blocks) once.
 */
import type { Placed, Plan, Planned } from "../model";
import { NEVER, type Lives } from "./lives";

export class Placement {
  /** The plan's size. */
  readonly bytes: number;
  /** By row: where it stands; -1 for a block without a place. */
  readonly offset: Float64Array;
  /** By row: the bytes that it has there. */
  readonly size: Float64Array;
  readonly placed: Placed;
  readonly #lives: Lives;

  constructor(lives: Lives, plan: Plan, recorded: boolean) {
    this.#lives = lives;
    this.bytes = plan.bytes;
    this.offset = new Float64Array(lives.count).fill(-1);
    this.size = new Float64Array(lives.count);
    const rowOf = recorded ? entryOf(lives, plan) : (block: number) => lives.rowOf((plan.lower[block] as number) + 1, null);
    let placed = 0;
    for (let block = 0; block < plan.blocks; block++) {
      const row = rowOf(block);
      if (row < 0) continue;
      placed++;
      this.offset[row] = plan.offset[block] as number;
      this.size[row] = plan.size[block] as number;
    }
    this.placed = { placed, others: plan.blocks - placed };
  }

  /** Where a block stands, and when. */
  of(row: number): Planned | null {
    const offset = this.offset[row] ?? -1;
    if (offset < 0) return null;
    return { offset, bytes: this.size[row] as number, from: this.#lives.from[row] as number, to: endOf(this.#lives, row) };
  }
}

/** The event by which a block is over. */
export function endOf(lives: Lives, row: number): number {
  const over = lives.over[row] as number;
  return over === NEVER ? lives.events + 1 : over;
}

/** Rows of a recorded run by the entries of a plan. */
function entryOf(lives: Lives, plan: Plan): (block: number) => number {
  const ended = new Map<number, number>();
  const never = new Map<number, number[]>();
  for (let row = lives.count - 1; row >= 0; row--) {
    if (lives.from[row] !== 0) continue;
    const over = lives.over[row] as number;
    const retired = lives.retired[row] as number;
    // A recorder that writes no completions ends a block by its request.
    if (over !== NEVER) ended.set(over, row);
    if (retired !== NEVER && retired > 0 && !ended.has(retired)) ended.set(retired, row);
    if (over !== NEVER || (retired !== NEVER && retired > 0)) continue;
    const size = lives.requested[row] as number;
    const alike = never.get(size);
    if (alike === undefined) never.set(size, [row]);
    else alike.push(row);
  }
  return (block) => {
    const line = plan.line[block] as number;
    if (line === 0) return never.get(plan.size[block] as number)?.pop() ?? -1;
    const row = lives.rowOf(line, null);
    return row >= 0 ? row : (ended.get(line) ?? -1);
  };
}
