/** A canvas that draws by WebGPU where there is one, and by Canvas2D where there is none or its device was lost. */
import type { DrawStats, Renderer } from "./draw.ts";
import { canvasRenderer } from "./draw_canvas.ts";
import { gpuRenderer } from "./draw_gpu.ts";
import type { Instances } from "./instances.ts";
import type { Theme } from "./palette.ts";

export class Surface {
  private renderer: Renderer = canvasRenderer();
  private closed = false;

  /** `changed` is called when the canvas is another one, with the reason in a sentence: what was drawn is to be drawn again. */
  constructor(private readonly changed: (kind: Renderer["kind"], why: string) => void) {
    void this.tryGpu();
  }

  get kind(): Renderer["kind"] {
    return this.renderer.kind;
  }

  get canvas(): HTMLCanvasElement {
    return this.renderer.canvas;
  }

  draw(instances: Instances, width: number, height: number, theme: Theme, point: number): DrawStats {
    return this.renderer.draw(instances, width, height, theme, point);
  }

  close(): void {
    this.closed = true;
    this.renderer.close();
  }

  private async tryGpu(): Promise<void> {
    try {
      const gpu = await gpuRenderer();
      if (this.closed) {
        gpu.close();
        return;
      }
      this.swap(gpu, "drawn with WebGPU");
      const why = await gpu.lost;
      if (!this.closed) this.swap(canvasRenderer(), `WebGPU stopped (${why}); drawn with Canvas2D since`);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (!this.closed) this.changed("canvas", `drawn with Canvas2D: ${why}`);
    }
  }

  private swap(next: Renderer, why: string): void {
    const old = this.renderer;
    this.renderer = next;
    old.canvas.replaceWith(next.canvas);
    old.close();
    this.changed(next.kind, why);
  }
}
