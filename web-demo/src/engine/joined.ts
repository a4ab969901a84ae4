/**
 * The blocks of a snapshot's trace beside those of the recorded run: the same ones, but counted by events of the trace there, and by entries here.
 *
 * Both have those of the recording in the order of their requests. Those that were there before come first in both, in orders of their own:
 * those that end are in the order of their ends, and of those that never end, any of the same size is as good as another.
 *
 * Cost: O(blocks), and O(n log n) for those that were there before.
 */
import { NEVER, type Lives } from "./lives";

/** Which block of the trace each block of the recorded run is; -1 where they differ. */
export function rowsOf(trace: Lives, recorded: Lives): Int32Array {
  const rows = new Int32Array(recorded.count).fill(-1);
  const { before } = recorded;
  const pair = (mine: number | undefined, theirs: number) => {
    if (mine !== undefined && mine < trace.count && trace.requested[mine] === recorded.requested[theirs]) rows[theirs] = mine;
  };
  for (let i = before; i < recorded.count; i++) pair(i, i);
  const [ours, theirs] = [endings(trace, before), endings(recorded, before)];
  theirs.forEach((row, i) => pair(ours[i], row));
  const staying = new Map<number, number[]>();
  for (let row = Math.min(before, trace.count) - 1; row >= 0; row--) {
    if (trace.over[row] !== NEVER) continue;
    const alike = staying.get(trace.requested[row] as number);
    if (alike === undefined) staying.set(trace.requested[row] as number, [row]);
    else alike.push(row);
  }
  for (let i = 0; i < before; i++) if (recorded.over[i] === NEVER) pair(staying.get(recorded.requested[i] as number)?.pop(), i);
  return rows;
}

/** Of the first `count` blocks those that end, in the order of their ends. */
function endings(lives: Lives, count: number): number[] {
  const rows = Array.from({ length: Math.min(count, lives.count) }, (_, row) => row).filter((row) => lives.over[row] !== NEVER);
  return rows.sort((a, b) => (lives.over[a] as number) - (lives.over[b] as number));
}
