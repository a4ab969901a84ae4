// A block that a queue still uses serves whoever comes after that use: node example.mjs
import { readFile } from "node:fs/promises";
import { instantiate } from "strandline-substrate";

const PAGE = 4096n;

/** Slabs of nothing but numbers. A real one keeps a buffer for each. */
class Provider {
  #held = new Map();
  #made = 0n;
  properties() {
    const memoryType = { deviceLocal: true };
    return { memoryType, usage: { storage: true, transfer: true }, alignment: PAGE, granularity: PAGE, maxSlabSize: 1n << 30n };
  }
  acquire(size) {
    const id = ++this.#made;
    this.#held.set(id, size);
    return { id, size };
  }
  release(id) {
    this.#held.delete(id);
  }
  prefault() {}
  trim() {
    return 0n;
  }
  stats() {
    const committedBytes = [...this.#held.values()].reduce((sum, size) => sum + size, 0n);
    return { identity: 1n, slabs: BigInt(this.#held.size), committedBytes, peakCommittedBytes: committedBytes, cachedBytes: 0n, acquires: this.#made, releases: this.#made - BigInt(this.#held.size), refusals: 0n };
  }
  queryEpoch() {
    return undefined;
  }
}

const core = async (file) => WebAssembly.compile(await readFile(new URL(import.meta.resolve(`strandline-substrate/${file}`))));
const { authority } = await instantiate(core, {
  "strandline:substrate/slabs": { Provider },
  "strandline:substrate/types": {},
  "strandline:substrate/notify": { reached: () => 0n, changed() {} },
});

const tracker = authority.makeTracker(16);
const queue = 7n;
tracker.register(queue, 0n);
const pool = authority.makePassthrough(
  { provider: new Provider(), progress: { tag: "tracker", val: tracker } },
  { maxSlabs: 1, budget: 0xffff_ffff_ffff_ffffn },
);

const ask = (after) => pool.acquire({ size: 1n << 20n, alignment: 256n, after, may: { grow: true } });
const first = ask([]);
console.log(`a block of ${first.val.place.size} bytes: ${first.tag}, ${first.val.origin}`);
pool.release(first.val.reservation, { tag: "after", val: [{ axis: queue, epoch: 3n }] });
console.log(`another, after nothing: ${ask([]).tag}`);
const next = ask([{ axis: queue, epoch: 3n }]);
console.log(`another, after epoch 3 of the queue: ${next.tag}, ${next.val.origin}`);
pool.release(next.val.reservation, { tag: "after", val: [{ axis: queue, epoch: 4n }] });
tracker.advance(queue, 4n);
const last = ask([]);
console.log(`after nothing, once epoch 4 is reached: ${last.tag}, ${last.val.origin}`);
