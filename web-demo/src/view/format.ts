/** Numbers for people, and what people type about sizes. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Sizes below are printed to the byte, as the command prints them. */
const EXACT = 10 * 1024;

/** A size in its largest unit of which there is at least one, and that unit's name. */
function inUnits(n: number): [number, string] {
  let unit = 0;
  let value = n;
  while (Math.abs(value) >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return [value, UNITS[unit] as string];
}

/** Bytes in the largest unit of which there is at least one, as the command prints them. */
export function bytes(n: number): string {
  if (Math.abs(n) < EXACT) return `${count(n)} B`;
  const [value, unit] = inUnits(n);
  return `${value.toFixed(2)} ${unit}`;
}

/** The same, but rounded up where digits are left out, as the command prints what is needed: typed again, it is enough. */
export function atLeast(n: number): string {
  if (n < EXACT) return bytes(n);
  const [value, unit] = inUnits(n);
  return `${(Math.ceil(value * 100) / 100).toFixed(2)} ${unit}`;
}

/** Bytes in as few characters as a small label has room for. */
export function shortBytes(n: number): string {
  const [value, unit] = inUnits(n);
  return `${value >= 100 || Number.isInteger(value) ? Math.round(value) : value.toFixed(1)} ${unit}`;
}

const GROUPED = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** A count, thousands grouped. */
export function count(n: number): string {
  return GROUPED.format(n);
}

/** A count and what is counted. */
export function counted(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** Reads "4096", "512KiB", "1.5 GiB"; null when it is not a size. The units of the command, letters of either case. */
export function parseBytes(text: string): number | null {
  const match = /^(\d+(?:\.\d+)?)\s*(b|kib|mib|gib|tib|k|m|g|t|kb|mb|gb|tb)?$/i.exec(text.trim());
  if (match === null) return null;
  const letter = (match[2] ?? "b")[0]?.toLowerCase() ?? "b";
  const value = Number(match[1]) * 1024 ** "bkmgt".indexOf(letter);
  return Number.isSafeInteger(Math.round(value)) ? Math.round(value) : null;
}

/** Which sizes a search takes. */
export interface SizeRange {
  least: number;
  most: number;
}

/**
 * Reads a search for sizes: "4MiB" (that size, to the digits given), "> 1MiB", "<=64KiB", "1MiB..2MiB". Empty text takes
 * everything; null says that it cannot be read.
 */
export function parseSizes(text: string): SizeRange | null {
  const all = { least: 0, most: Number.MAX_SAFE_INTEGER };
  const trimmed = text.trim();
  if (trimmed === "") return all;
  const range = /^(.+?)\s*(?:\.\.|…|–)\s*(.+)$/.exec(trimmed);
  if (range !== null) {
    const [least, most] = [parseBytes(range[1] ?? ""), parseBytes(range[2] ?? "")];
    return least === null || most === null || least > most ? null : { least, most };
  }
  const bound = /^(<=|>=|≤|≥|<|>)\s*(.+)$/.exec(trimmed);
  if (bound !== null) {
    const value = parseBytes(bound[2] ?? "");
    if (value === null) return null;
    switch (bound[1]) {
      case "<":
        return { ...all, most: value - 1 };
      case ">":
        return { ...all, least: value + 1 };
      case "<=":
      case "≤":
        return { ...all, most: value };
      default:
        return { ...all, least: value };
    }
  }
  const value = parseBytes(trimmed);
  if (value === null) return null;
  // What is shown is rounded, so a search for what is shown must find it.
  const decimals = /\.(\d+)/.exec(trimmed)?.[1]?.length ?? 0;
  const unit = /[kmgt]/i.exec(trimmed)?.[0]?.toLowerCase() ?? "b";
  const half = (1024 ** "bkmgt".indexOf(unit) * 0.1 ** decimals) / 2;
  return { least: Math.ceil(value - half), most: Math.floor(value + half) };
}
