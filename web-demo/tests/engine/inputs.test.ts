/** Inputs that are no traces: the message is the reader's own, as the command prints it. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { native, open, trace } from "./support";

const HEAD = "time_ns,action,id,size,stream,thread\n";

async function bad(): Promise<Record<string, Uint8Array>> {
  const { bytes } = await trace("resnet50_train");
  const noise = Uint8Array.from({ length: 5000 }, (_, i) => (i * i * 31 + 7 * i + 1) & 0xff);
  return {
    "empty.csv": new Uint8Array(),
    "noise.bin": noise,
    "noise.gz": gzipSync(noise),
    "cut.csv.gz": bytes.subarray(0, bytes.length >> 1),
    "damaged.csv.gz": bytes.map((byte, i) => (i === 5000 ? byte ^ 0x55 : byte)),
    "twice.csv": Buffer.from(`${HEAD}0,alloc,1,64,0,0\n5,free,1,64,0,0\n9,free,1,64,0,0\n`),
    "nothing.csv": Buffer.from(HEAD),
    "page.html": Buffer.from("<!doctype html><title>x</title>"),
    "short.pickle": Uint8Array.of(0x80, 4, 0x95),
    "line.csv": Buffer.from(`${HEAD}${"x".repeat(10000)}\n`),
  };
}

test("every fault is told as the command tells it", async () => {
  const folder = await mkdtemp(join(tmpdir(), "strandline-"));
  try {
    for (const [name, bytes] of Object.entries(await bad())) {
      await writeFile(join(folder, name), bytes);
      const { complaint, report } = await native(join(folder, name));
      assert.deepEqual(Object.keys(report as object), ["error"], name);
      const told = complaint.replaceAll(`${folder}/`, "").replace(/^error: /, "").trim();
      await assert.rejects(open({ name, bytes }), (error: Error) => {
        assert.equal(error.message, told, name);
        return true;
      });
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("an input that cannot be read says so", async () => {
  const bytes = new Proxy(new Uint8Array(10), {
    get(target, key) {
      if (key === "subarray") throw new Error("the file is gone");
      return Reflect.get(target, key) as unknown;
    },
  });
  await assert.rejects(open({ name: "gone.csv", bytes }), /gone\.csv: .*the file is gone/);
});

test("options that do not fit are refused with a reason", async () => {
  await assert.rejects(open({ events: 0 }), /events must be between/);
  await assert.rejects(open({ events: 10 }, { streams: 0 }), /at least 1/);
  await assert.rejects(open({ events: 10 }, { backing: "webgpu" }), /no WebGPU/);
});
