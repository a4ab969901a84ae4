/** The blocks over time as a picture that stands alone: SVG, or PNG made from it. No link, no font, no script. */
import type { OverTime, Source } from "../model.ts";
import { bytes, count } from "./format.ts";
import { WORDS } from "./instances.ts";
import { css, inks, type Theme } from "./palette.ts";
import { ticks } from "./window.ts";

const LEFT = 84;
const TOP = 28;
const BOTTOM = 28;
const RIGHT = 12;

export interface Drawing {
  title: string;
  picture: OverTime;
  theme: Theme;
  /** Events to mark, with what there is to say. */
  marks: readonly { event: number; text: string }[];
}

const escape = (text: string) => text.replace(/[&<>"]/g, (letter) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[letter] ?? "");

/** As SVG. Rectangles of a colour are one path. */
export function toSvg({ title, picture, theme, marks }: Drawing): { svg: string; width: number; height: number } {
  const [width, height] = [picture.width + LEFT + RIGHT, picture.height + TOP + BOTTOM];
  const ink = theme.dark ? "#e4e8ec" : "#1b2026";
  const paths = new Map<string, string[]>();
  const { words } = picture;
  for (let i = 0; i < words.length; i += WORDS) {
    const colour = css(inks(theme, words[i + 2] as number).ink);
    const [place, size] = [words[i] as number, words[i + 1] as number];
    let path = paths.get(colour);
    if (path === undefined) paths.set(colour, (path = []));
    const wide = size & 0xffff;
    path.push(`M${place & 0xffff} ${place >>> 16}h${wide}v${size >>> 16}h-${wide}z`);
  }
  const x = (event: number) => LEFT + ((event - picture.from) / (picture.to - picture.from)) * picture.width;
  const y = (at: number) => TOP + picture.height - ((at - picture.low) / (picture.high - picture.low)) * picture.height;
  const text = (at: number, up: number, anchor: string, words: string) => `<text x="${at.toFixed(1)}" y="${up.toFixed(1)}" text-anchor="${anchor}">${escape(words)}</text>`;
  const parts = [
    `<rect width="${width}" height="${height}" fill="${css(theme.paper)}"/>`,
    `<g transform="translate(${LEFT} ${TOP})" shape-rendering="crispEdges">`,
    ...[...paths].map(([colour, path]) => `<path fill="${colour}" d="${path.join("")}"/>`),
    "</g>",
    `<g font-family="system-ui, sans-serif" font-size="12" fill="${ink}">`,
    text(LEFT, 18, "start", title),
    ...ticks(picture.from, picture.to, 8).map((event) => text(x(event), height - 10, "middle", count(event))),
    ...ticks(picture.low, picture.high, 5, 1024).map((at) => text(LEFT - 6, y(at) + 4, "end", bytes(at))),
    "</g>",
    ...marks
      .filter(({ event }) => event >= picture.from && event < picture.to)
      .map(({ event, text: told }) => `<path d="M${x(event).toFixed(1)} ${TOP}v${picture.height}" stroke="${theme.dark ? "#ff8a80" : "#b3261e"}" stroke-dasharray="4 3"><title>${escape(told)}</title></path>`),
  ];
  return { svg: `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${parts.join("")}</svg>`, width, height };
}

/** As PNG. */
export async function toPng(drawing: Drawing): Promise<Blob> {
  const { svg, width, height } = toSvg(drawing);
  const url = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.setAttribute("src", url);
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    canvas.getContext("2d")?.drawImage(image, 0, 0);
    return await new Promise((resolve, reject) => canvas.toBlob((blob) => (blob === null ? reject(new Error("the browser makes no PNG of it")) : resolve(blob)), "image/png"));
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** The viewer as one file that needs no other: the page that `--plot FILE.html` writes, with a recording inside. */
export async function toHtml(viewer: string, title: string, recording: Uint8Array): Promise<string> {
  const zipped = new Blob([recording as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new CompressionStream("gzip"));
  const packed = new Uint8Array(await new Response(zipped).arrayBuffer());
  let binary = "";
  for (let i = 0; i < packed.length; i += 0x8000) binary += String.fromCharCode(...packed.subarray(i, i + 0x8000));
  // Each place is looked for after the one before: what was filled in may hold anything.
  let [out, rest] = ["", viewer];
  for (const [name, text] of [["title", escape(title)], ["picture", ""], ["recording", btoa(binary)]] as const) {
    // Put together here: this code is in the viewer too, where each place stands once.
    const place = `{${name}}`;
    const at = rest.indexOf(place);
    if (at < 0) throw new Error(`the viewer has no place for its ${name}`);
    out += rest.slice(0, at) + text;
    rest = rest.slice(at + place.length);
  }
  return out + rest;
}

/** Saves a run as a page that opens at an event. Says how that went. */
export async function savePage(source: Source, viewer: () => Promise<string>, event: number): Promise<string> {
  const { analyst, info } = source;
  if (analyst === undefined) return "not saved: the run has no more than what is in this file";
  try {
    const [page, recording] = await Promise.all([viewer(), analyst.recording(event)]);
    const html = await toHtml(page, info.title, recording);
    save(`${info.title.replace(/[^\w.-]+/g, "_")}.html`, new Blob([html], { type: "text/html" }));
    return "saved: some instants of the run, this one among them";
  } catch (error) {
    return `not saved: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Hands a file to the reader. */
export function save(name: string, data: Blob): void {
  const url = URL.createObjectURL(data);
  const link = document.createElement("a");
  link.setAttribute("href", url);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
