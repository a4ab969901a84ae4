/** What the page asks for, in the words of the player. */
import type { Input, RunOptions } from "../model";
import type { Playing, Recorded } from "./components";

/** Bytes as the player counts them; none if there is no limit. */
export const wide = (bytes: number | null): bigint | undefined => (bytes === null ? undefined : BigInt(Math.floor(bytes)));

/** The options as the player has them. */
export function playerOptions(options: RunOptions): Playing.Options {
  const { pool, policy } = options;
  const result: Playing.Options = { inFlight: BigInt(options.inFlight), allowWait: options.allowWait };
  if (pool !== "auto") result.kind = pool;
  const [slab, capacity, budget] = [wide(options.slabBytes), wide(options.capacityBytes), wide(options.budgetBytes)];
  if (slab !== undefined) result.slab = slab;
  if (capacity !== undefined) result.capacity = capacity;
  if (budget !== undefined) result.budget = budget;
  // Other kinds never merge: there the policy says nothing.
  if (policy === "eager" && (pool === "auto" || pool === "tlsf")) result.policy = policy;
  if (options.streams !== null) result.streams = options.streams;
  if (options.plan !== undefined) result.plan = options.plan.file;
  return result;
}

/** A file as the player knows it: the input is the host's only one. */
export function playerFile(name: string, device: number | null): Recorded.File {
  return { name, input: 0, ...(device === null ? {} : { device }) };
}

/** An input as the player knows it. */
export function playerSource(input: Input, device: number | null): Playing.Source {
  if (input.kind === "file") return { tag: "file", val: playerFile(input.name, device) };
  const { seed, blocks, minBytes, maxBytes, events } = input.load;
  return {
    tag: "synthetic",
    val: {
      seed: BigInt(Math.trunc(seed)),
      blocks,
      minBytes: BigInt(Math.trunc(minBytes)),
      maxBytes: BigInt(Math.trunc(maxBytes)),
      events: BigInt(Math.trunc(events)),
    },
  };
}
