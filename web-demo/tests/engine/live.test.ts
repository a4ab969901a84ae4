/** Memory that fails, and live runs, on a device that does what the test says. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { decodeFrame } from "../../src/engine/decode";
import { findMemory, Memory, REAL_BYTES } from "../../src/engine/memory";
import type { News } from "../../src/engine/session";
import { allZero, open } from "./support";

Object.assign(globalThis, { GPUBufferUsage: { STORAGE: 128, COPY_DST: 8, COPY_SRC: 4 } });

/** What of a GPU device the engine uses. */
class Device {
  limits = { maxBufferSize: 256 << 20, maxStorageBufferBindingSize: 128 << 20 };
  live = new Set<object>();
  destroyed = false;
  submissions = 0;
  filled = 0;
  /** What error scopes are told. */
  error: { message: string } | null = null;
  /** Works of which nobody said that they are over; null: they are over at once. */
  held: (() => void)[] | null = null;
  lose!: (info: { message: string }) => void;
  lost = new Promise<{ message: string }>((resolve) => (this.lose = resolve));
  #scopes = 0;
  queue = {
    submit: (buffers: unknown[]) => {
      this.submissions += buffers.length;
    },
    onSubmittedWorkDone: () =>
      new Promise<void>((resolve) => {
        if (this.held === null) setImmediate(resolve);
        else this.held.push(resolve);
      }),
  };

  pushErrorScope(): void {
    this.#scopes++;
  }

  popErrorScope(): Promise<unknown> {
    assert.ok(this.#scopes-- > 0);
    return Promise.resolve(this.error);
  }

  createBuffer({ size }: { size: number }): object {
    assert.ok(size <= this.limits.maxBufferSize);
    const buffer = { size, destroy: () => this.live.delete(buffer) };
    this.live.add(buffer);
    return buffer;
  }

  createCommandEncoder(): object {
    return {
      clearBuffer: (buffer: { size: number }, offset: number, size: number) => {
        assert.ok(this.live.has(buffer) && offset % 4 === 0 && size % 4 === 0 && offset + size <= buffer.size);
        this.filled += size;
      },
      finish: () => ({}),
    };
  }

  destroy(): void {
    this.destroyed = true;
  }
}

/** A browser with this device, or with none. */
function withDevice(device: Device | null): void {
  const adapter = device === null ? null : { limits: device.limits, requestDevice: () => Promise.resolve(device) };
  Object.defineProperty(globalThis, "navigator", {
    configurable: true,
    value: { gpu: { requestAdapter: () => Promise.resolve(adapter) } },
  });
}

const original = Object.getOwnPropertyDescriptor(globalThis, "navigator");
afterEach(() => {
  if (original === undefined) Reflect.deleteProperty(globalThis, "navigator");
  else Object.defineProperty(globalThis, "navigator", original);
});

const turn = () => new Promise((resolve) => setImmediate(resolve));

async function until(what: string, holds: () => boolean): Promise<void> {
  const end = performance.now() + 30_000;
  while (!holds()) {
    assert.ok(performance.now() < end, what);
    await turn();
  }
}

test("memory is found where it is, and the reason is told", async () => {
  withDevice(new Device());
  assert.equal((await findMemory("auto", () => undefined)).backing, "webgpu");
  assert.equal((await findMemory("array-buffer", () => undefined)).backing, "array-buffer");
  withDevice(null);
  const without = await findMemory("auto", () => undefined);
  assert.deepEqual([without.backing, without.why], ["array-buffer", "WebGPU found no adapter"]);
  await assert.rejects(findMemory("webgpu", () => undefined), /no adapter/);
});

test("a slab beyond the limits, a refusal and a loss each move everything, once, with their reason", async () => {
  const cases: [RegExp, (device: Device, memory: Memory) => void][] = [
    [/largest buffer, 256 MiB/, (_, memory) => memory.acquire(2n, 257 << 20)],
    [/2048 MiB/, (_, memory) => [...Array(9).keys()].forEach((id) => memory.acquire(BigInt(10 + id), 250 << 20))],
    [/refused a slab of 1 MiB: no more/, (device, memory) => { device.error = { message: "no more" }; memory.acquire(2n, 1 << 20); }],
    [/was lost: unplugged/, (device) => device.lose({ message: "unplugged" })],
  ];
  for (const [reason, fail] of cases) {
    const device = new Device();
    const told: string[] = [];
    const memory = new Memory(device as unknown as GPUDevice, "", (_, why) => told.push(why));
    memory.acquire(1n, 1 << 20);
    await turn();
    assert.equal(device.live.size, 1);
    fail(device, memory);
    await turn();
    assert.equal(told.length, 1, told.join());
    assert.match(told[0]!, reason);
    assert.deepEqual([memory.backing, device.live.size, device.destroyed], ["array-buffer", 0, true]);
    assert.equal(memory.array(1n)?.byteLength, 1 << 20);
    memory.close();
    assert.ok(allZero(memory.counts()));
    assert.equal(told.length, 1);
  }
});

test("ArrayBuffers are made up to a limit, and made again when there is room", () => {
  const memory = new Memory(null, "", () => undefined);
  const half = REAL_BYTES / 2;
  for (const id of [1n, 2n, 3n]) memory.acquire(id, half);
  assert.deepEqual([1n, 2n, 3n].map((id) => memory.array(id)?.byteLength), [half, half, undefined]);
  memory.release(1n);
  memory.acquire(4n, half);
  assert.equal(memory.array(4n)?.byteLength, half);
  memory.close();
  assert.ok(allZero(memory.counts()));
});

test("a live run goes no further than its device", async () => {
  const device = new Device();
  device.held = [];
  withDevice(device);
  const options = { backing: "webgpu", streams: 2, inFlight: 10, allowWait: true } as const;
  const session = await open({ events: 2000 }, options);
  assert.equal(session.info.backing, "webgpu");
  // Up to here nothing has to be waited for: both streams have room.
  const early = decodeFrame(await session.frame(10));
  assert.deepEqual(early.axes.map((axis) => axis.completed), [0, 0]);
  assert.equal(early.axes[0]!.submitted + early.axes[1]!.submitted, 10);
  let come = false;
  const later = session.frame(200).then((packed) => {
    come = true;
    return packed;
  });
  let batches = 0;
  while (!come) {
    await until("work is submitted", () => come || device.held!.length > 0);
    for (let i = 0; i < 20; i++) await turn();
    if (device.held.length === 0) continue;
    assert.equal(come, false, "the device was not asked");
    batches++;
    device.held.splice(0).forEach((over) => over());
    for (let i = 0; i < 20; i++) await turn();
  }
  const frame = decodeFrame(await later);
  assert.ok(batches >= 5, `${batches} batches for 200 operations, 20 at once`);
  for (const { submitted, completed } of frame.axes) {
    assert.ok(completed > 0 && submitted - completed <= 10, `${submitted} ${completed}`);
  }
  assert.ok(device.submissions >= batches && device.filled > 0);
  session.close();
  assert.ok(allZero(session.handles()), JSON.stringify(session.handles()));
  assert.equal(device.live.size, 0);
});

test("a live run comes to its end and has a report; begun again it is another run", async () => {
  withDevice(new Device());
  const session = await open({ events: 3000 }, { backing: "auto", streams: 3, inFlight: 30, allowWait: true });
  const end = decodeFrame(await session.frame(3000));
  const report = (await session.report()) as { ok: boolean; oracle: object; reuse: { dominated: number; completed: number } };
  assert.ok(report.ok, JSON.stringify(report));
  assert.deepEqual(report.oracle, { overlaps: 0, early_reuse: 0, corruptions: 0, missed_fits: 0 });
  assert.deepEqual([report.reuse.dominated, report.reuse.completed], [end.counters.dominated, end.counters.completed]);
  assert.deepEqual(decodeFrame(await session.frame(5000)).counters, end.counters, "the end stays");
  assert.equal(decodeFrame(await session.frame(1000)).event, 1000);
  assert.equal(decodeFrame(await session.frame(999)).event, 999);
  session.close();
  assert.ok(allZero(session.handles()), JSON.stringify(session.handles()));
});

test("a device that is lost while it works is replaced, and the run goes on", async () => {
  const device = new Device();
  withDevice(device);
  const news: News[] = [];
  const session = await open({ events: 2000 }, { backing: "webgpu", streams: 2, inFlight: 8 }, (told) => news.push(told));
  await session.frame(500);
  device.held = [];
  const rest = session.frame(1990);
  await until("work is under way", () => device.held!.length > 0);
  device.lose({ message: "reset" });
  // Work of a lost device is over too.
  device.held.splice(0).forEach((over) => over());
  device.held = null;
  const frame = decodeFrame(await rest);
  assert.equal(frame.event, 1990);
  const told = news.flatMap((one) => (one.type === "backing" ? [[one.backing, one.why]] : []));
  assert.deepEqual(told, [["webgpu", "an adapter was found"], ["array-buffer", "the GPU was lost: reset"]]);
  assert.equal(session.info.backing, "array-buffer");
  assert.ok(session.handles()["arrayBuffers"]! > 0);
  session.close();
  assert.ok(allZero(session.handles()));
});
