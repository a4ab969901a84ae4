/**
 * Runs that need no component, for tests of the picture: a first-fit heap over a few slabs, on streams that run behind, and still
 * pictures with as many blocks as one likes. The same numbers every time.
 */
import type { Axis, Blocks, Failure, Frame, RunInfo, Series, Slab, Source, SourceEvent } from "../../../src/model.ts";

interface Block {
  offset: number;
  bytes: number;
  requested: number;
  state: number;
  stream: number;
  since: number;
  death: [number, number][];
}

/** The same numbers in the same order everywhere. */
export function dice(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

function columns(slabs: Block[][]): Blocks {
  const flat = slabs.flatMap((blocks, slab) => blocks.map((block) => ({ ...block, slab })));
  const of = (f: (block: Block & { slab: number }) => number) => flat.map(f);
  const starts = [0];
  for (const block of flat) starts.push((starts[starts.length - 1] ?? 0) + block.death.length);
  return {
    count: flat.length,
    slab: Uint32Array.from(of((b) => b.slab)),
    offset: Float64Array.from(of((b) => b.offset)),
    bytes: Float64Array.from(of((b) => b.bytes)),
    requested: Float64Array.from(of((b) => b.requested)),
    state: Uint8Array.from(of((b) => b.state)),
    stream: Int32Array.from(of((b) => b.stream)),
    since: Float64Array.from(of((b) => b.since)),
    deathStart: Uint32Array.from(starts),
    deathAxis: Uint32Array.from(flat.flatMap((b) => b.death.map(([axis]) => axis))),
    deathEpoch: Float64Array.from(flat.flatMap((b) => b.death.map(([, epoch]) => epoch))),
  };
}

function frameOf(event: number, slabs: Slab[], blocks: Blocks, axes: Axis[], counters: Partial<Frame["counters"]>): Frame {
  const bytes = { committed: 0, reserved: 0, live: 0, pending: 0, clean: 0, tainted: 0, padding: 0 };
  for (const slab of slabs) bytes.committed += slab.bytes;
  for (let i = 0; i < blocks.count; i++) {
    const size = blocks.bytes[i] ?? 0;
    const asked = blocks.requested[i] ?? 0;
    const state = blocks.state[i];
    if (state === 0) {
      bytes.reserved += size;
      bytes.live += asked;
      bytes.padding += size - asked;
    } else if (state === 1) bytes.clean += size;
    else if (state === 2) bytes.pending += size;
    else bytes.tainted += size;
  }
  const none = { reserves: 0, releases: 0, fresh: 0, dominated: 0, completed: 0, waited: 0, missed: 0, exhausted: 0, overBudget: 0, tainted: 0 };
  return { event, slabs, blocks, axes, counters: { ...none, slabs: slabs.length, ...counters }, bytes };
}

const MIB = 2 ** 20;

/** Every instant of a small run. */
function playAll(events: number, streams: number, inFlight: number): Frame[] {
  const next = dice(7);
  const slabs: Slab[] = Array.from({ length: 6 }, (_, i) => ({ pool: 0, id: `${i}.0`, bytes: 32 * MIB }));
  const heaps: Block[][] = slabs.map((slab) => [
    { offset: 0, bytes: slab.bytes, requested: 0, state: 1, stream: -1, since: 0, death: [] },
  ]);
  const axes = Array.from({ length: streams }, (_, i) => ({ name: `queue:0.${i}`, submitted: 0, completed: 0 }));
  const counters = { reserves: 0, releases: 0, fresh: 0, dominated: 0, completed: 0, missed: 0 };
  const frames = [frameOf(0, slabs, columns(heaps), axes.map((axis) => ({ ...axis })), counters)];
  for (let event = 1; event <= events; event++) {
    const stream = Math.floor(next() * streams);
    const axis = axes[stream] as Axis;
    axis.submitted++;
    axis.completed = Math.max(0, axis.submitted - inFlight);
    const live = heaps.flatMap((blocks, slab) => blocks.flatMap((block) => (block.state === 0 ? [{ slab, block }] : [])));
    if (live.length > 90 && next() < 0.52) {
      const { block } = live[Math.floor(next() * live.length)] as { block: Block };
      const tainted = next() < 0.02;
      block.state = tainted ? 3 : inFlight === 0 ? 1 : 2;
      block.death = block.state === 2 ? [[stream, axis.submitted]] : [];
      block.stream = stream;
      block.requested = block.since = 0;
      counters.releases++;
    } else {
      const asked = Math.ceil(2 ** (10 + next() * 12));
      const size = Math.ceil(asked / 4096) * 4096;
      for (const blocks of heaps) {
        const at = blocks.findIndex((block) => block.bytes >= size && (block.state === 1 || (block.state === 2 && block.stream === stream)));
        const found = blocks[at];
        if (found === undefined) continue;
        counters.reserves++;
        if (found.state === 2) counters.dominated++;
        else if (found.stream >= 0) counters.completed++;
        else counters.fresh++;
        const rest = { ...found, offset: found.offset + size, bytes: found.bytes - size };
        const taken: Block = { ...found, bytes: size, requested: asked, state: 0, stream, since: event, death: [] };
        blocks.splice(at, 1, taken, ...(rest.bytes > 0 ? [rest] : []));
        break;
      }
    }
    for (const blocks of heaps) {
      for (const block of blocks) {
        if (block.state === 2 && block.death.every(([which, epoch]) => (axes[which] as Axis).completed >= epoch)) {
          block.state = 1;
          block.death = [];
        }
      }
      for (let i = blocks.length - 1; i > 0; i--) {
        const [left, right] = [blocks[i - 1] as Block, blocks[i] as Block];
        if (left.state === 1 && right.state === 1) {
          left.bytes += right.bytes;
          blocks.splice(i, 1);
        }
      }
    }
    frames.push(frameOf(event, slabs, columns(heaps), axes.map((axis) => ({ ...axis })), counters));
  }
  return frames;
}

/** A still picture of `count` small blocks over eight slabs; `event` changes one in a hundred of them. */
export function still(count: number, event: number): Frame {
  const next = dice(11);
  const perSlab = Math.ceil(count / 8);
  const slabs: Slab[] = [];
  const heaps: Block[][] = [];
  for (let slab = 0; slab < 8; slab++) {
    const blocks: Block[] = [];
    let offset = 0;
    for (let i = 0; i < perSlab; i++) {
      const bytes = next() < 0.01 ? MIB : 256 * (1 + Math.floor(next() * 8));
      const turn = Math.floor(next() * 100);
      const roll = next();
      const state = roll < 0.7 ? 0 : roll < 0.85 ? 1 : roll < 0.98 ? 2 : 3;
      const now = turn === event % 100 && state === 0 ? 2 : state;
      blocks.push({
        offset,
        bytes,
        requested: now === 0 ? bytes - (i % 3 === 0 ? 100 : 0) : 0,
        state: now,
        stream: i % 4,
        since: now === 0 ? 1 : 0,
        death: now === 2 ? [[i % 4, 20]] : [],
      });
      offset += bytes;
    }
    slabs.push({ pool: 0, id: `${slab}.0`, bytes: offset });
    heaps.push(blocks);
  }
  const axes = [0, 1, 2, 3].map((i) => ({ name: `queue:0.${i}`, submitted: 24, completed: 10 + i }));
  return frameOf(event, slabs, columns(heaps), axes, { reserves: count });
}

function seriesOf(frames: readonly Frame[]): Series {
  const of = (key: "committed" | "reserved" | "live" | "pending") => {
    const values = Float64Array.from(frames, (frame) => frame.bytes[key]);
    return { min: values, max: values };
  };
  return {
    event: Float64Array.from(frames, (frame) => frame.event),
    committed: of("committed"),
    reserved: of("reserved"),
    live: of("live"),
    pending: of("pending"),
  };
}

function source(info: RunInfo, frames: (event: number) => Frame, series: Series, failure: Failure | null): Source {
  let open = true;
  return {
    info,
    frame: async (event) => frames(event),
    series: () => series,
    failure: () => failure,
    report: async () => null,
    listen: (_listener: (event: SourceEvent) => void) => () => undefined,
    handles: async () => ({ demo: open ? 1 : 0 }),
    close: async () => {
      open = false;
    },
  };
}

const INFO: Omit<RunInfo, "title" | "events"> = {
  format: "demo",
  streams: 4,
  synthesized: false,
  pools: ["tlsf"],
  backing: "array-buffer",
  instants: "every",
};

/** A small run that plays. */
export function running(events = 1500, failed = false): Source {
  const frames = playAll(events, 4, 24);
  const failure = failed
    ? {
        event: events,
        bytesRequested: 40 * MIB,
        liveBytes: frames[events]?.bytes.live ?? 0,
        largestHoleBytes: 9 * MIB,
        pendingBytes: frames[events]?.bytes.pending ?? 0,
        reason: "exhausted: 40.00 MiB requested; 71.20 MiB of 192.00 MiB committed are free, in 61 holes",
      }
    : null;
  const at = (event: number) => frames[Math.max(0, Math.min(events, Math.floor(event)))] as Frame;
  return source({ ...INFO, title: "a small run", events }, at, seriesOf(frames), failure);
}

/** Many blocks, of which some change from each of a hundred instants to the next; the pictures are made before the first is shown. */
export function many(count: number): Source {
  const events = 100;
  const pictures = [0, 1, 2, 3].map((event) => still(count, event));
  const at = (event: number) => {
    const which = Math.max(0, Math.min(events, Math.floor(event)));
    return { ...(pictures[which % pictures.length] as Frame), event: which };
  };
  return source({ ...INFO, title: `${count} blocks`, events }, at, seriesOf([at(0)]), null);
}
