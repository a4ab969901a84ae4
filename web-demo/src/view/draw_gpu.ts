/**
 * Rectangles by WebGPU: one instanced draw, whatever their number. A rectangle is four words in a storage buffer, expanded to
 * two triangles in the vertex shader; the fragment shader looks the point up in its pattern. Only changed ranges are uploaded.
 */
import { makeCanvas, resize, type DrawStats, type Renderer } from "./draw.ts";
import { WORDS, type Instances } from "./instances.ts";
import { COLOURS, DIM, PATTERNS, type Theme } from "./palette.ts";

/** Words of a rectangle in bytes. */
const STRIDE = WORDS * 4;

const SHADER = /* wgsl */ `
struct Look {
  size: vec2f,
  point: f32,
  fade: f32,
  paper: vec4f,
  patterns: array<vec4u, ${PATTERNS.length}>,
  colours: array<vec4f, ${COLOURS * 2}>,
}
@group(0) @binding(0) var<uniform> look: Look;
@group(0) @binding(1) var<storage, read> rects: array<vec4u>;

struct Point {
  @builtin(position) position: vec4f,
  @location(0) @interpolate(flat) style: u32,
}

@vertex fn vertex(@builtin(vertex_index) corner: u32, @builtin(instance_index) which: u32) -> Point {
  let rect = rects[which];
  let at = vec2f(f32(rect.x & 0xffffu), f32(rect.x >> 16u));
  let size = vec2f(f32(rect.y & 0xffffu), f32(rect.y >> 16u));
  let pixel = at + size * vec2f(f32(corner & 1u), f32(corner >> 1u));
  var out: Point;
  out.position = vec4f(pixel / look.size * vec2f(2.0, -2.0) + vec2f(-1.0, 1.0), 0.0, 1.0);
  out.style = rect.z;
  return out;
}

@fragment fn fragment(in: Point) -> @location(0) vec4f {
  let cell = vec2u(in.position.xy / look.point) & vec2u(7u);
  let words = look.patterns[(in.style >> 8u) & 15u];
  let word = select(words.y, words.x, cell.y < 4u);
  let ink = ((word >> ((cell.y & 3u) * 8u + cell.x)) & 1u) == 1u;
  let colour = (in.style & 255u) * 2u;
  let plain = look.colours[select(colour + 1u, colour, ink)];
  return select(plain, mix(plain, look.paper, look.fade), (in.style & 4096u) != 0u);
}
`;

/** Floats and words of the uniform, in the order of the shader's structure. */
const UNIFORM_WORDS = 8 + PATTERNS.length * 4 + COLOURS * 2 * 4;

/** What a device and its adapter are called, for people. */
export interface GpuRenderer extends Renderer {
  /** Settles when the device is gone, with a sentence; never after `close`. */
  readonly lost: Promise<string>;
}

/**
 * A renderer on a device of its own.
 *
 * @throws Error that says what is missing, where there is no WebGPU.
 */
export async function gpuRenderer(): Promise<GpuRenderer> {
  const gpu = (navigator as { gpu?: GPU }).gpu;
  if (gpu === undefined) throw new Error("this browser has no WebGPU");
  const adapter = await gpu.requestAdapter();
  if (adapter === null) throw new Error("WebGPU has no adapter here");
  const device = await adapter.requestDevice();
  let closed = false;
  const canvas = makeCanvas();
  const context = canvas.getContext("webgpu");
  if (context === null) {
    device.destroy();
    throw new Error("WebGPU cannot draw on a canvas here");
  }
  const format = gpu.getPreferredCanvasFormat();
  context.configure({ device, format, alphaMode: "premultiplied" });
  const module = device.createShaderModule({ code: SHADER });
  const pipeline = device.createRenderPipeline({
    layout: "auto",
    vertex: { module, entryPoint: "vertex" },
    fragment: { module, entryPoint: "fragment", targets: [{ format }] },
    primitive: { topology: "triangle-strip" },
  });
  const uniform = device.createBuffer({ size: UNIFORM_WORDS * 4, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
  const uniformData = new ArrayBuffer(UNIFORM_WORDS * 4);
  const floats = new Float32Array(uniformData);
  const words = new Uint32Array(uniformData);
  let rects: GPUBuffer | null = null;
  let bind: GPUBindGroup | null = null;
  let uniformKey = "";
  let themed: Theme | null = null;

  const lost = new Promise<string>((resolve) => {
    void device.lost.then((info) => {
      if (!closed) resolve(info.message === "" ? "its device was lost" : `its device was lost: ${info.message}`);
    });
  });

  const writeLook = (width: number, height: number, theme: Theme, point: number): number => {
    const key = `${width} ${height} ${point}`;
    if (key === uniformKey && theme === themed) return 0;
    uniformKey = key;
    themed = theme;
    floats.set([width, height, point, DIM, ...theme.paper.map((c) => c / 255), 1]);
    PATTERNS.forEach(([low, high], i) => words.set([low, high, 0, 0], 8 + i * 4));
    const at = 8 + PATTERNS.length * 4;
    theme.colours.forEach(({ ink, ground }, i) => {
      floats.set([...ink.map((c) => c / 255), 1, ...ground.map((c) => c / 255), 1], at + i * 8);
    });
    device.queue.writeBuffer(uniform, 0, uniformData);
    return uniformData.byteLength;
  };

  return {
    kind: "webgpu",
    canvas,
    lost,
    draw(instances: Instances, width: number, height: number, theme: Theme, point: number): DrawStats {
      resize(canvas, width, height);
      let uploaded = writeLook(width, height, theme, point);
      const size = Math.max(STRIDE, instances.total * STRIDE);
      if (rects === null || bind === null || rects.size < size) {
        rects?.destroy();
        rects = device.createBuffer({ size: size * 2, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST });
        bind = device.createBindGroup({
          layout: pipeline.getBindGroupLayout(0),
          entries: [
            { binding: 0, resource: { buffer: uniform } },
            { binding: 1, resource: { buffer: rects } },
          ],
        });
        instances.dirty.length = 0;
        if (instances.total > 0) instances.dirty.push(0, instances.total);
      }
      for (let i = 0; i < instances.dirty.length; i += 2) {
        const [from, to] = [instances.dirty[i] as number, instances.dirty[i + 1] as number];
        device.queue.writeBuffer(rects, from * STRIDE, instances.words as Uint32Array<ArrayBuffer>, from * WORDS, (to - from) * WORDS);
        uploaded += (to - from) * STRIDE;
      }
      instances.clean();
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginRenderPass({
        colorAttachments: [
          { view: context.getCurrentTexture().createView(), loadOp: "clear", storeOp: "store", clearValue: { r: 0, g: 0, b: 0, a: 0 } },
        ],
      });
      let draws = 0;
      if (instances.total > 0) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, bind);
        pass.draw(4, instances.total);
        draws = 1;
      }
      pass.end();
      device.queue.submit([encoder.finish()]);
      return { draws, uploaded };
    },
    close() {
      closed = true;
      context.unconfigure();
      device.destroy();
      canvas.remove();
    },
  };
}
