/** What draws rectangles: the same picture by WebGPU, or by Canvas2D where there is none or its device was lost. */
import type { Instances } from "./instances.ts";
import type { Theme } from "./palette.ts";

/** What the last picture cost, for the page's foot and for tests. */
export interface DrawStats {
  /** Draw calls. */
  draws: number;
  /** Bytes sent to the GPU; 0 on Canvas2D. */
  uploaded: number;
}

export interface Renderer {
  readonly kind: "webgpu" | "canvas";
  readonly canvas: HTMLCanvasElement;
  /** Device pixels of a pattern's point. */
  draw(instances: Instances, width: number, height: number, theme: Theme, point: number): DrawStats;
  close(): void;
}

/** A canvas for a renderer: a canvas keeps the first kind of context that it was asked for. */
export function makeCanvas(): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.className = "strips-canvas";
  canvas.setAttribute("aria-hidden", "true");
  return canvas;
}

export function resize(canvas: HTMLCanvasElement, width: number, height: number): void {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}
