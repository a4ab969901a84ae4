/** The transpiled components against the native command: every trace that is shipped, to its end, key by key. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import type { RunOptions } from "../../src/model";
import { native, open, timeless, trace, TRACES } from "./support";

const MEBI = 2 ** 20;
const STREAMS = { streams: 8, inFlight: 64, allowWait: true } as const;

const CASES: [string, Partial<RunOptions>[]][] = [
  [
    "resnet50_train",
    [
      {},
      STREAMS,
      { streams: 4, inFlight: 32, policy: "eager" },
      { streams: 4, inFlight: 32, pool: "tlsf" },
      { pool: "tlsf", capacityBytes: 400 * MEBI },
      { pool: "tlsf", capacityBytes: 520 * MEBI, streams: 3, inFlight: 100 },
      { budgetBytes: 300 * MEBI },
      { pool: "passthrough" },
      { pool: "arena", slabBytes: 64 * MEBI },
      { pool: "fixed", inFlight: 7 },
    ],
  ],
  ["bert_train", [{}, STREAMS]],
  ["gpt2_generate", [{}, { ...STREAMS, inFlight: 16 }]],
  // A capacity alone: the configuration is searched for.
  ["vit_infer", [{}, STREAMS, { capacityBytes: 70 * MEBI }, { capacityBytes: 32 * MEBI }]],
];

/** Without a slab's size the command takes elastic slabs; a page has none. */
function rigid(options: Partial<RunOptions>): Partial<RunOptions> {
  const sized = options.slabBytes !== undefined || options.capacityBytes !== undefined;
  return sized || !["auto", "tlsf"].includes(options.pool ?? "auto") ? options : { ...options, slabBytes: 32 * MEBI };
}

for (const [name, cases] of CASES) {
  for (const options of cases.map(rigid)) {
    test(`${name} ${JSON.stringify(options)}`, async () => {
      const expected = await native(join(TRACES, `${name}.csv.gz`), options);
      const session = await open(await trace(name), options);
      try {
        const report = await session.report();
        assert.deepEqual(timeless(report), timeless(expected.report));
      } finally {
        session.close();
      }
    });
  }
}

test("the first requests of the serving log", async () => {
  const { bytes } = await trace("azure_llm_code_2023");
  const lines = gunzipSync(bytes).toString("utf8").split("\n");
  const text = `${lines.slice(0, 150).join("\n")}\n`;
  const folder = await mkdtemp(join(tmpdir(), "strandline-"));
  try {
    const file = join(folder, "requests.csv");
    await writeFile(file, text);
    for (const options of [{}, STREAMS]) {
      const expected = await native(file, options);
      const session = await open({ name: "requests.csv", bytes: Buffer.from(text) }, options);
      const report = await session.report();
      session.close();
      assert.deepEqual(timeless(report), timeless(expected.report));
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
