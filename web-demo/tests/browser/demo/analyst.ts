/** What a worker knows of a run's blocks over time, for runs of the demo: the same code, without a worker. */
import { Lives, NEVER } from "../../../src/engine/lives.ts";
import { overTime } from "../../../src/engine/over_time.ts";
import type { Analyst, Frame, Source } from "../../../src/model.ts";
import { dice } from "./source.ts";

export interface Block {
  from: number;
  retired: number;
  bytes: number;
  stream: number;
  stack: number;
}

const FRAMES = ["app/model.py:10 forward", "app/model.py:52 attention", "app/train.py:7 step", "app/optim.py:31 update"];

/** Stacks 1 to 4 have a line each, below a common caller. */
const STACKS = {
  frames: [...FRAMES, "app/main.py:3 main"],
  packed: Uint32Array.from([5, NEVER, 0, 1, 2, 3, 0, 2, 4, 6, 8, 0, 4, 1, 4, 2, 4, 3, 4]),
};

/** As `replay/src/lives.rs` packs them. */
export function pack(blocks: readonly Block[]): Uint8Array {
  const n = blocks.length;
  const out = new Uint8Array(16 + 44 * n);
  new Uint32Array(out.buffer, 0, 2).set([0x31424c53, n]);
  let at = 16;
  for (const of of [(b: Block) => b.bytes, (b: Block) => b.bytes, () => 0]) {
    const column = new Float64Array(out.buffer, at, n);
    for (let i = 0; i < n; i++) column[i] = of(blocks[i] as Block);
    at += 8 * n;
  }
  for (const of of [(b: Block) => b.from, (b: Block) => b.retired, (b: Block) => b.retired, (b: Block) => b.stream, (b: Block) => b.stack]) {
    const column = new Uint32Array(out.buffer, at, n);
    for (let i = 0; i < n; i++) column[i] = of(blocks[i] as Block);
    at += 4 * n;
  }
  return out;
}

/** Blocks of every instant of a run. */
function blocksOf(frames: readonly Frame[]): Block[] {
  const known = new Map<number, Block>();
  for (const { event, blocks } of frames) {
    const now = new Set<number>();
    for (let i = 0; i < blocks.count; i++) {
      const since = blocks.since[i] as number;
      if (blocks.state[i] !== 0 || since === 0) continue;
      now.add(since);
      if (!known.has(since)) known.set(since, { from: since, retired: NEVER, bytes: blocks.requested[i] as number, stream: blocks.stream[i] as number, stack: 1 + (since % 4) });
    }
    for (const block of known.values()) if (block.retired === NEVER && !now.has(block.from)) block.retired = event;
  }
  return [...known.values()].sort((a, b) => a.from - b.from);
}

/** So many events of blocks that come and go. */
function manyBlocks(events: number, live: number): Block[] {
  const next = dice(5);
  const [blocks, open]: [Block[], Block[]] = [[], []];
  for (let event = 1; event <= events; event++) {
    if (open.length > live * next() * 2) {
      const at = Math.floor(next() * open.length);
      (open[at] as Block).retired = event;
      open[at] = open[open.length - 1] as Block;
      open.length--;
    } else {
      const block = { from: event, retired: NEVER, bytes: Math.ceil(2 ** (8 + next() * 14)), stream: event % 4, stack: 1 + Math.floor(next() * 4) };
      blocks.push(block);
      open.push(block);
    }
  }
  return blocks;
}

/** The analyst of a run that says every instant. */
function analystOf(lives: Lives): Analyst {
  return {
    stacks: async () => lives.hasStacks,
    peak: async () => lives.peak,
    peaks: async () => [],
    diff: async () => Promise.reject(new Error("the demo has one run")),
    recording: async () => Promise.reject(new Error("the demo is not saved")),
    overTime: async (view) => overTime(lives, view),
    holders: async (event, by) => lives.holders(event, by),
    life: async (row) => lives.life(row),
    filter: async (filter) => lives.filter(filter),
    pinners: async () => null,
    rules: async () => null,
    compare: async () => null,
    plan: (_limit, _told, failed) => {
      queueMicrotask(() => failed(new Error("the demo plans nothing")));
      return () => undefined;
    },
    place: async () => Promise.reject(new Error("the demo plans nothing")),
    planned: async () => Promise.reject(new Error("the demo plans nothing")),
  };
}

/** A run with its blocks over time. */
export async function analysed(source: Source, events: number): Promise<Source> {
  const frames = await Promise.all(Array.from({ length: events + 1 }, (_, event) => source.frame(event)));
  const lives = new Lives(pack(blocksOf(frames)), events, STACKS);
  return { ...source, frame: async (event) => withRows(await source.frame(event), lives), analyst: analystOf(lives) };
}

function withRows(frame: Frame, lives: Lives): Frame {
  const { blocks } = frame;
  const rows = new Int32Array(blocks.count).fill(-1);
  for (let i = 0; i < blocks.count; i++) if (blocks.state[i] === 0) rows[i] = lives.rowOf(blocks.since[i] as number, null);
  const { mask } = lives;
  return mask === null ? { ...frame, rows } : { ...frame, rows, matched: Uint8Array.from(rows, (row) => (row < 0 ? 0 : (mask[row] as number))) };
}

/** A run of so many events over whatever instants another one has. */
export function longRun(source: Source, events: number): Source {
  const lives = new Lives(pack(manyBlocks(events, 2000)), events, null);
  return { ...source, info: { ...source.info, title: `${events} events`, events }, analyst: analystOf(lives) };
}
