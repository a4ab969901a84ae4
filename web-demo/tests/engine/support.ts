/** Runs without a browser: the components from their files, inputs from memory, and the command to compare with. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { RunOptions } from "../../src/model";
import { Session, type News } from "../../src/engine/session";

/** The folder `web-demo`. */
export const HOME = process.env["WEB_DEMO"] ?? ".";
export const TRACES = join(HOME, "../traces");

export const DEFAULTS: RunOptions = {
  show: "played",
  device: null,
  pool: "auto",
  slabBytes: null,
  capacityBytes: null,
  budgetBytes: null,
  streams: null,
  inFlight: 0,
  allowWait: false,
  policy: "readiness",
  backing: "array-buffer",
};

export async function core(file: string): Promise<WebAssembly.Module> {
  const name = file.slice(0, file.indexOf("."));
  return WebAssembly.compile(new Uint8Array(await readFile(join(HOME, "src/engine/generated", name, file))));
}

/** A session over bytes, or over a synthetic load. */
export function open(
  input: { name: string; bytes: Uint8Array } | { events: number; seed?: number; blocks?: number },
  options: Partial<RunOptions> = {},
  tell: (news: News) => void = () => undefined,
): Promise<Session> {
  const bytes = "bytes" in input ? input.bytes : new Uint8Array();
  return Session.open(
    {
      core,
      bytes: (offset, length) => bytes.subarray(offset, offset + length),
      now: () => performance.now(),
      rest: () => new Promise((resolve) => setImmediate(resolve)),
    },
    "bytes" in input
      ? { kind: "file", name: input.name, data: new Blob() }
      : {
          kind: "synthetic",
          load: { seed: input.seed ?? 1, blocks: input.blocks ?? 500, minBytes: 256, maxBytes: 4 << 20, events: input.events },
        },
    { ...DEFAULTS, ...options },
    tell,
  );
}

export async function trace(name: string): Promise<{ name: string; bytes: Uint8Array }> {
  const file = `${name}.csv.gz`;
  return { name: file, bytes: await readFile(join(TRACES, file)) };
}

/** The command's arguments for the same options. */
function flags(options: Partial<RunOptions>): string[] {
  const { pool, slabBytes, capacityBytes, budgetBytes, streams, inFlight, allowWait, policy } = { ...DEFAULTS, ...options };
  const given = (flag: string, value: number | null) => (value === null ? [] : [flag, String(value)]);
  return [
    ...["--pool", pool],
    ...given("--slab", slabBytes),
    ...given("--capacity", capacityBytes),
    ...given("--budget", budgetBytes),
    ...given("--streams", streams),
    ...["--in-flight", String(inFlight)],
    ...(allowWait ? ["--allow-wait"] : []),
    ...(policy === "eager" ? ["--policy", "eager"] : []),
  ];
}

/** The command. */
export const STRANDLINE = process.env["STRANDLINE"] ?? join(HOME, "../target/release/strandline");

/** `strandline replay --json`: what it printed, and its complaint if it printed nothing. */
export async function native(path: string, options: Partial<RunOptions> = {}): Promise<{ report: unknown; complaint: string }> {
  const args = ["replay", path, "--json", ...flags(options)];
  try {
    const { stdout, stderr } = await promisify(execFile)(STRANDLINE, args);
    return { report: JSON.parse(stdout), complaint: stderr };
  } catch (error) {
    // Status 1 is a trace that was not satisfied, with its report.
    const { stdout, stderr, code } = error as { stdout?: string; stderr?: string; code?: unknown };
    if (code !== 1 && code !== 2) throw error;
    return { report: stdout === undefined || stdout === "" ? null : JSON.parse(stdout), complaint: stderr ?? "" };
  }
}

/** A report without what a clock says. */
export function timeless(report: unknown): Record<string, unknown> {
  const { latency_ns: _latency, throughput: _throughput, oracle, ...rest } = report as Record<string, unknown>;
  // The page's pools do not say what a request takes of them, so missed fits are told differently there.
  const { missed_fits: _missed, ...sound } = oracle as Record<string, unknown>;
  return { ...rest, oracle: sound };
}

/** No handle is left. */
export function allZero(handles: Record<string, number>): boolean {
  return Object.values(handles).every((count) => count === 0);
}
