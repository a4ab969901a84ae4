/** Loads whose best plan is known. */

/** The same numbers below `n` every time, one a call. */
function dice(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

/** Cuts a rectangle of memory and time into so many blocks: a placement without a gap exists. A list of lifetimes. */
export function brimful(blocks: number, seed: number, steps: number, bytes: number): string {
  const roll = dice(seed);
  const parts = [{ from: 0, to: steps, low: 0, high: bytes }];
  while (parts.length < blocks) {
    const at = roll(parts.length);
    const { from, to, low, high } = parts[at] as (typeof parts)[0];
    const across = roll(2) === 0;
    if (across ? to - from < 8 : high - low < 512) continue;
    const cut = across ? from + 1 + roll(to - from - 1) : low + 64 * (1 + roll((high - low) / 64 - 1));
    const halves = across ? [{ from, to: cut, low, high }, { from: cut, to, low, high }] : [{ from, to, low, high: cut }, { from, to, low: cut, high }];
    parts.splice(at, 1, ...halves);
  }
  return `id,lower,upper,size\n${parts.map(({ from, to, low, high }, i) => `${i},${from},${to},${high - low}`).join("\n")}\n`;
}
