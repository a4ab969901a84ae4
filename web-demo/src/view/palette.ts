/**
 * How things look: one list of patterns and colours from which both renderers draw, so that their pictures are the same.
 *
 * A style is a colour and a pattern. A pattern is 8 × 8 points, set or not; a set point has the colour's ink, another one its
 * ground. States differ by pattern, so that nobody has to tell hues apart; streams differ by hue and are named wherever
 * they are pointed at.
 */
import { State } from "../model.ts";

export const PATTERN_SIDE = 8;

function pattern(set: (x: number, y: number) => boolean): readonly [number, number] {
  const words: [number, number] = [0, 0];
  for (let y = 0; y < PATTERN_SIDE; y++) {
    for (let x = 0; x < PATTERN_SIDE; x++) {
      const bit = y * PATTERN_SIDE + x;
      const word = bit < 32 ? 0 : 1;
      if (set(x, y)) words[word] = (words[word] | (1 << (bit % 32))) >>> 0;
    }
  }
  return words;
}

/** What there is to tell apart: the states, and the padding within live blocks. */
export const Kind = {
  Live: State.Live,
  Clean: State.Clean,
  Pending: State.Pending,
  Tainted: State.Tainted,
  Padding: 4,
} as const;
export const KINDS = 5;

export interface KindText {
  name: string;
  means: string;
}

/** By kind, for the legend and for what is told of a block. */
export const KIND_TEXT: readonly KindText[] = [
  { name: "live", means: "in use" },
  { name: "clean", means: "free, and its last use is over" },
  { name: "pending", means: "free, but its last use is still in flight" },
  { name: "tainted", means: "free, but nobody knows when its last use is over" },
  { name: "padding", means: "the part of a live block that was not asked for" },
];

/** Bit rows of the patterns, by kind, then the ground of a slab: plain. */
export const PATTERNS: readonly (readonly [number, number])[] = [
  pattern(() => true),
  pattern((x, y) => (x === 1 && y === 1) || (x === 5 && y === 5)),
  pattern((x, y) => (x + y) % 8 < 3),
  pattern((x, y) => (x + y) % 8 === 0 || (x - y + 8) % 8 === 4),
  pattern((_x, y) => y % 4 < 2),
  pattern(() => false),
];
export const GROUND_PATTERN = 5;

/** Colours of streams, in turn. */
export const STREAM_COLOURS = 8;

/** First of the colours of streams; before them are the kinds', the ground's, and that of several streams in one place. */
export const GROUND_COLOUR = KINDS;
export const MIXED_COLOUR = KINDS + 1;
export const STREAM_COLOUR = KINDS + 2;
export const COLOURS = STREAM_COLOUR + STREAM_COLOURS;

/** Red, green, blue: 0 to 255. */
export type Rgb = readonly [number, number, number];

export interface Colour {
  ink: Rgb;
  ground: Rgb;
}

export interface Theme {
  dark: boolean;
  colours: readonly Colour[];
  /** What dimmed things fade to. */
  paper: Rgb;
}

function rgb(hex: string): Rgb {
  const n = Number.parseInt(hex.slice(1), 16);
  return [n >> 16, (n >> 8) & 255, n & 255];
}

function mix(a: Rgb, b: Rgb, share: number): Rgb {
  const at = (i: 0 | 1 | 2) => Math.round(a[i] + (b[i] - a[i]) * share);
  return [at(0), at(1), at(2)];
}

function theme(dark: boolean, paper: string, kinds: [string, string][], ground: string, mixed: string, streams: string[]): Theme {
  const background = rgb(paper);
  const colours: Colour[] = kinds.map(([ink, under]) => ({ ink: rgb(ink), ground: rgb(under) }));
  colours.push({ ink: rgb(ground), ground: rgb(ground) });
  for (const hue of [mixed, ...streams]) {
    colours.push({ ink: rgb(hue), ground: mix(rgb(hue), background, dark ? 0.78 : 0.8) });
  }
  return { dark, colours, paper: background };
}

/** Blue, green, amber and purple that stay apart in every colour vision; streams after Okabe and Ito. */
export const LIGHT: Theme = theme(
  false,
  "#ffffff",
  [
    ["#2b6ea3", "#2b6ea3"],
    ["#3f8f63", "#e3f1e8"],
    ["#c06a00", "#fde7c8"],
    ["#a3266e", "#f6dcea"],
    ["#2b6ea3", "#b9d3e6"],
  ],
  "#e9ecef",
  "#5c6670",
  ["#0072b2", "#d55e00", "#009e73", "#b5478f", "#8a6d00", "#3d9bd4", "#7a4fb5", "#6f7a2c"],
);

export const DARK: Theme = theme(
  true,
  "#15181c",
  [
    ["#4f9bd6", "#4f9bd6"],
    ["#58b384", "#1d3328"],
    ["#e5a03c", "#40301a"],
    ["#e27fb4", "#45213a"],
    ["#4f9bd6", "#244a68"],
  ],
  "#262b31",
  "#9aa5b1",
  ["#56b4e9", "#f08a4b", "#2fc89b", "#e08fc4", "#e3c443", "#8ab8ff", "#b69cf0", "#b4c45e"],
);

/** A style as a renderer gets it: colour in bits 0-7, pattern in bits 8-11, bit 12 set where it is dimmed. */
export function style(colour: number, patternOf: number, dim: boolean): number {
  return colour | (patternOf << 8) | (dim ? 1 << 12 : 0);
}

export const STYLE_DIM = 1 << 12;

/** How far a dimmed thing fades to the paper. */
export const DIM = 0.78;

/** The ink and ground of a style in a theme. */
export function inks(of: Theme, styled: number): Colour {
  const colour = of.colours[styled & 255] ?? { ink: of.paper, ground: of.paper };
  if ((styled & STYLE_DIM) === 0) return colour;
  return { ink: mix(colour.ink, of.paper, DIM), ground: mix(colour.ground, of.paper, DIM) };
}

/** The colour of a stream; several or unknown ones share a neutral one. */
export function streamColour(stream: number): number {
  return stream < 0 ? MIXED_COLOUR : STREAM_COLOUR + (stream % STREAM_COLOURS);
}

export function css([r, g, b]: Rgb): string {
  return `rgb(${r} ${g} ${b})`;
}

/** A pattern as a CSS background, for legends: the same points in the same colours. */
export function swatch(of: Theme, styled: number): string {
  const { ink, ground } = inks(of, styled);
  const words = PATTERNS[(styled >> 8) & 15] ?? [0, 0];
  let path = "";
  for (let bit = 0; bit < 64; bit++) {
    const word = words[bit < 32 ? 0 : 1] ?? 0;
    if ((word >>> (bit % 32)) & 1) path += `M${bit % 8} ${bit >> 3}h1v1h-1z`;
  }
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8" shape-rendering="crispEdges"><path fill="${css(ink)}" d="${path}"/></svg>`;
  return `${css(ground)} url("data:image/svg+xml,${encodeURIComponent(svg)}")`;
}
