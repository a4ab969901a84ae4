/** Rectangles by Canvas2D. A style's pattern is made once a theme. */
import { makeCanvas, resize, type DrawStats, type Renderer } from "./draw.ts";
import { WORDS, type Instances } from "./instances.ts";
import { css, inks, PATTERN_SIDE, PATTERNS, type Theme } from "./palette.ts";

/** Cost: one fill a rectangle, and a change of fill where the style changes. */
export function canvasRenderer(): Renderer {
  const canvas = makeCanvas();
  const context = canvas.getContext("2d", { alpha: true });
  if (context === null) throw new Error("this browser draws neither by WebGPU nor by Canvas2D");
  let theme: Theme | null = null;
  let point = 0;
  const fills = new Map<number, CanvasPattern | string>();

  const fillOf = (styled: number): CanvasPattern | string => {
    const known = fills.get(styled);
    if (known !== undefined) return known;
    const made = makeFill(context, theme as Theme, styled, point);
    fills.set(styled, made);
    return made;
  };

  return {
    kind: "canvas",
    canvas,
    draw(instances: Instances, width: number, height: number, of: Theme, side: number): DrawStats {
      resize(canvas, width, height);
      if (of !== theme || side !== point) {
        theme = of;
        point = side;
        fills.clear();
      }
      context.clearRect(0, 0, width, height);
      const { words, total } = instances;
      let current = -1;
      let draws = 0;
      for (let i = 0; i < total * WORDS; i += WORDS) {
        const size = words[i + 1] as number;
        if ((size & 0xffff) === 0) continue;
        const styled = words[i + 2] as number;
        if (styled !== current) {
          current = styled;
          context.fillStyle = fillOf(styled);
        }
        const place = words[i] as number;
        context.fillRect(place & 0xffff, place >>> 16, size & 0xffff, size >>> 16);
        draws++;
      }
      instances.clean();
      return { draws, uploaded: 0 };
    },
    close() {
      canvas.remove();
    },
  };
}

function makeFill(context: CanvasRenderingContext2D, theme: Theme, styled: number, point: number): CanvasPattern | string {
  const { ink, ground } = inks(theme, styled);
  const [low, high] = PATTERNS[(styled >> 8) & 15] ?? [0, 0];
  if ((low | high) === 0) return css(ground);
  if ((low & high) >>> 0 === 0xffffffff) return css(ink);
  const tile = document.createElement("canvas");
  tile.width = tile.height = PATTERN_SIDE * point;
  const tiled = tile.getContext("2d");
  if (tiled === null) return css(ground);
  tiled.fillStyle = css(ground);
  tiled.fillRect(0, 0, tile.width, tile.height);
  tiled.fillStyle = css(ink);
  for (let bit = 0; bit < 64; bit++) {
    if (((bit < 32 ? low : high) >>> (bit % 32)) & 1) tiled.fillRect((bit % 8) * point, (bit >> 3) * point, point, point);
  }
  return context.createPattern(tile, "repeat") ?? css(ground);
}
