/**
 * Where the slabs of the run that is shown are: one GPU buffer a slab, or one ArrayBuffer a slab.
 *
 * What a pool decides depends on numbers alone, so a run goes the same way in either. A memory that fails therefore
 * gives way to ArrayBuffers while the run goes on, and says so. ArrayBuffers are made up to `REAL_BYTES` in all: slabs beyond that are
 * numbers only, as a trace may need more than a page can have.
 */
import type { Backing } from "../model";

/** Most bytes of ArrayBuffers that are really made. */
export const REAL_BYTES = 256 * 2 ** 20;
/** Most bytes of GPU buffers: more than most machines would like to lose to a page. */
export const GPU_BYTES = 2 * 2 ** 30;

/** Tells that slabs are somewhere else from now on, and why. */
export type Moved = (backing: Backing, why: string) => void;

const MEBI = 2 ** 20;
const mebibytes = (bytes: number): string => `${Math.ceil(bytes / MEBI)} MiB`;

/** The memory of one run. Slabs are named by their ids. */
export class Memory {
  #device: GPUDevice | null;
  #moved: Moved;
  #why: string;
  #buffers = new Map<bigint, GPUBuffer>();
  #arrays = new Map<bigint, ArrayBuffer>();
  #sizes = new Map<bigint, number>();
  #bytes = 0;
  #arrayBytes = 0;
  #closed = false;

  /** Slabs on a device, or in ArrayBuffers for a reason. */
  constructor(device: GPUDevice | null, why: string, moved: Moved) {
    this.#device = device;
    this.#why = why;
    this.#moved = moved;
    void device?.lost.then(({ message }) => this.#leave(`the GPU was lost${message === "" ? "" : `: ${message}`}`));
  }

  get backing(): Backing {
    return this.#device === null ? "array-buffer" : "webgpu";
  }

  /** Why the slabs are where they are, in a sentence. */
  get why(): string {
    return this.#why;
  }

  get device(): GPUDevice | null {
    return this.#device;
  }

  /** The GPU buffer of a slab, if it has one. */
  buffer(id: bigint): GPUBuffer | undefined {
    return this.#buffers.get(id);
  }

  /** The ArrayBuffer of a slab, if it has one. */
  array(id: bigint): ArrayBuffer | undefined {
    return this.#arrays.get(id);
  }

  /** A slab of whole pages. */
  acquire(id: bigint, bytes: number): void {
    this.#sizes.set(id, bytes);
    this.#bytes += bytes;
    this.#place(id, bytes);
  }

  release(id: bigint): void {
    const bytes = this.#sizes.get(id);
    if (bytes === undefined) return;
    this.#sizes.delete(id);
    this.#bytes -= bytes;
    this.#buffers.get(id)?.destroy();
    this.#buffers.delete(id);
    if (this.#arrays.delete(id)) this.#arrayBytes -= bytes;
  }

  /** Live buffers, by kind. */
  counts(): { gpuBuffers: number; arrayBuffers: number; devices: number } {
    return { gpuBuffers: this.#buffers.size, arrayBuffers: this.#arrays.size, devices: this.#device === null ? 0 : 1 };
  }

  /** Gives everything back. */
  close(): void {
    this.#closed = true;
    for (const id of [...this.#sizes.keys()]) this.release(id);
    this.#device?.destroy();
    this.#device = null;
  }

  #place(id: bigint, bytes: number): void {
    const device = this.#device;
    if (device === null) return this.#placeInArray(id, bytes);
    const limit = device.limits.maxBufferSize;
    if (bytes > limit) {
      return this.#leave(`a slab of ${mebibytes(bytes)} is more than the GPU's largest buffer, ${mebibytes(limit)}`);
    }
    if (this.#bytes > GPU_BYTES) {
      return this.#leave(`the run needs more than the ${mebibytes(GPU_BYTES)} of GPU memory that the page takes`);
    }
    device.pushErrorScope("out-of-memory");
    device.pushErrorScope("validation");
    const { STORAGE, COPY_DST, COPY_SRC } = GPUBufferUsage;
    this.#buffers.set(id, device.createBuffer({ label: `slab ${id}`, size: bytes, usage: STORAGE | COPY_DST | COPY_SRC }));
    for (const what of ["the GPU refused a slab", "the GPU is out of memory"]) {
      // A device that is lost rejects nothing and reports nothing here: `lost` does.
      void device.popErrorScope().then(
        (error) => {
          if (error !== null && this.#device === device) this.#leave(`${what} of ${mebibytes(bytes)}: ${error.message}`);
        },
        () => undefined,
      );
    }
  }

  #placeInArray(id: bigint, bytes: number): void {
    if (this.#arrayBytes + bytes > REAL_BYTES) return;
    try {
      this.#arrays.set(id, new ArrayBuffer(bytes));
      this.#arrayBytes += bytes;
    } catch {
      // No memory for it: the slab is a number, as those beyond the limit.
    }
  }

  /** Everything moves into ArrayBuffers. */
  #leave(why: string): void {
    if (this.#device === null || this.#closed) return;
    const device = this.#device;
    this.#device = null;
    this.#why = why;
    for (const buffer of this.#buffers.values()) buffer.destroy();
    this.#buffers.clear();
    device.destroy();
    for (const [id, bytes] of this.#sizes) this.#placeInArray(id, bytes);
    this.#moved("array-buffer", why);
  }
}

/**
 * Finds the memory that was asked for. `auto` takes a GPU where there is one.
 *
 * Rejects when WebGPU was asked for by name and there is none.
 */
export async function findMemory(wish: "auto" | "webgpu" | "array-buffer", moved: Moved): Promise<Memory> {
  if (wish === "array-buffer") return new Memory(null, "as asked", moved);
  const missing = async (): Promise<string | GPUDevice> => {
    const gpu = (globalThis.navigator as Navigator | undefined)?.gpu as GPU | undefined;
    if (gpu === undefined) return "this browser has no WebGPU";
    try {
      const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
      if (adapter === null) return "WebGPU found no adapter";
      const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
      return await adapter.requestDevice({
        label: "slabs",
        requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
      });
    } catch (error) {
      return `WebGPU gave no device: ${error instanceof Error ? error.message : String(error)}`;
    }
  };
  const found = await missing();
  if (typeof found !== "string") return new Memory(found, "an adapter was found", moved);
  if (wish === "webgpu") throw new Error(`${found}; choose ArrayBuffers, or leave the choice to the page`);
  return new Memory(null, found, moved);
}
