// A guest in JavaScript, of the world `guest-sync`: a chain of transient buffers on a queue, checked byte by byte.
//
//   round r:   alloca a ─ write pattern(r) to a ─ alloca b ─ copy a to b ─ dealloca a ─ read b ─ dealloca b
//                                                                                       │
//              next round ◀── compare ◀── ask for the bytes until they are there ◀──────┘
//
// Arguments: BYTES ROUNDS. The same program as guest-c/chain.c, but that it cannot wait. Resources are objects, refusals are exceptions
// with a payload, outcomes have a tag. Before the rounds it asks for what it cannot have.

import { lentPools, openQueue } from "strandline:substrate/device@0.1.0";

const request = (size, alignment = 256n) => ({ size, alignment, after: [], may: { wait: true, grow: true } });

const pattern = (bytes, round) => Uint8Array.from({ length: bytes }, (_, at) => (round * 31 + at * 7 + 1) & 0xff);

// The payload's tag of what `call` throws; undefined where it throws nothing.
function refusal(call) {
  try {
    call();
  } catch (error) {
    return error.payload?.tag ?? String(error);
  }
}

// What it cannot have is refused with a reason, and costs nothing.
function cannotHave(pool) {
  for (const [wanted, tag] of [
    [request(0n), "zero-size"],
    [request(64n, 3n), "invalid-alignment"],
    [request(1n << 40n), "too-large"],
  ]) {
    const said = refusal(() => pool.acquire(wanted));
    if (said !== tag) throw `${tag} was to be told, not ${said}`;
  }
}

function round(pool, queue, bytes, number) {
  const expected = pattern(bytes, number);
  const slice = (buffer) => ({ memory: { tag: "transient", val: buffer }, offset: 0n, len: BigInt(bytes) });
  const a = queue.alloca(pool, request(BigInt(bytes))).buffer;
  queue.write(slice(a), expected, []);
  const b = queue.alloca(pool, request(BigInt(bytes))).buffer;
  queue.copy(slice(a), slice(b), []);
  queue.dealloca(a, []);
  const readback = queue.read(slice(b), []);
  queue.dealloca(b, []);
  let read;
  while ((read = readback.take()) === undefined);
  if (read.length !== bytes || read.some((byte, at) => byte !== expected[at])) throw `round ${number}: wrong bytes`;
}

export function run(args) {
  const [bytes, rounds] = args.map(Number);
  if (!(args.length === 2 && bytes > 0 && rounds > 0)) throw "usage: BYTES ROUNDS";
  const [pool] = lentPools();
  cannotHave(pool);
  const queue = openQueue();
  for (let number = 0; number < rounds; number += 1) round(pool, queue, bytes, number);
  return "every byte came back";
}
