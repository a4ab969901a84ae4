/**
 * The search for a plan: the least memory for a trace whose future is known, as `strandline plan` finds it. In a worker of its own, so that the
 * run stays free.
 *
 * ```text
 *   read ─▶ search 0 ─▶ search 1 ─▶ search 2 ────▶ …     each is twice as long as the one before and has a seed of its own;
 *             └ plan      └ plan      └ plan              the last has all the time that is left, half of all or more
 * ```
 * The planner cannot be asked from outside while it searches. Whoever stops it ends its worker and keeps the best plan of the searches before.
 */
import type { Input, Plan, PlanNews } from "../model";
import { message, start, type Components, type CoreModule, type Planning } from "./components";
import { playerSource } from "./options";

/** The first search, in milliseconds. */
const FIRST_MS = 100;
/** Words of a block's place; the interface `planning` of the player. */
const WORDS = 5;

/** What a search needs of where it runs. */
export interface PlanSurroundings {
  core: CoreModule;
  bytes(offset: number, length: number): Uint8Array;
  now(): number;
}

/** Searches until nothing smaller can be, or for so many milliseconds. The last news is the end. */
export async function planning(around: PlanSurroundings, input: Input, device: number | null, limit: number, tell: (news: PlanNews) => void): Promise<void> {
  const began = around.now();
  const passed = () => around.now() - began;
  const begin = () =>
    start(around.core, {
      read: (_input, offset, length) => around.bytes(offset, length),
      now: () => around.now(),
      memory: () => null,
      choosing: () => undefined,
      // What a search has on its way is nobody's plan yet: told is what would be kept.
      searching: (size) => tell({ best: best?.bytes ?? size, seconds: passed() / 1000, plan: null, ended: false }),
    });
  let best: Plan | null = null;
  let components = await begin();
  let problem = opened(components, input, device);
  let slice = FIRST_MS;
  for (let seed = 0; ; seed++) {
    const left = limit - passed();
    const last = 2 * slice >= left;
    let found: Planning.Plan;
    try {
      found = problem.search(BigInt(seed), nanoseconds(last ? left : slice));
    } catch (error) {
      // The exact search goes as deep as there are blocks, which may be more than a browser's stack has room for: without it.
      if (!(error instanceof RangeError || error instanceof WebAssembly.RuntimeError)) throw new Error(message(error));
      if (best !== null) {
        tell({ best: best.bytes, seconds: passed() / 1000, plan: null, ended: true });
        return;
      }
      components = await begin();
      problem = opened(components, input, device);
      found = problem.search(BigInt(seed), 0n);
    }
    const better = best === null || Number(found.bytes) < best.bytes || Number(found.boundBytes) > best.bound;
    if (better) best = planOf(found, problem, passed() / 1000);
    const ended = found.optimal || last;
    tell({ best: Number(found.bytes), seconds: passed() / 1000, plan: better ? best : null, ended });
    if (ended) return;
    slice *= 2;
  }
}

function opened(components: Components, input: Input, device: number | null): Planning.Problem {
  try {
    return components.planning.Problem.open(playerSource(input, device));
  } catch (error) {
    throw new Error(message(error));
  }
}

const nanoseconds = (ms: number) => BigInt(Math.max(0, Math.round(ms * 1e6)));

/** The best plan so far, in columns. */
function planOf(found: Planning.Plan, problem: Planning.Problem, seconds: number): Plan {
  const places = problem.places();
  const { blocks } = found;
  const plan: Plan = {
    bytes: Number(found.bytes),
    bound: Number(found.boundBytes),
    blocks,
    optimal: found.optimal,
    waits: Number(found.waits),
    seconds,
    file: problem.file(),
    offset: new Float64Array(blocks),
    size: new Float64Array(blocks),
    lower: new Uint32Array(blocks),
    upper: new Uint32Array(blocks),
    line: new Uint32Array(blocks),
  };
  for (let block = 0; block < blocks; block++) {
    const at = block * WORDS;
    plan.offset[block] = Number(places[at]);
    plan.size[block] = Number(places[at + 1]);
    plan.lower[block] = Number(places[at + 2]);
    plan.upper[block] = Number(places[at + 3]);
    plan.line[block] = Number(places[at + 4]);
  }
  return plan;
}
