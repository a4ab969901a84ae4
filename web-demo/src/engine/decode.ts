/**
 * Reads what `replay/src/recording.rs` packs: frames, series and recordings. The layouts are described there.
 *
 * Columns are looked at in place: what is returned shares the bytes that were given, which must be aligned to 8 and must not
 * change afterwards. A decoder checks that what it is given has the length that its head promises.
 */
import { State, type Axis, type Blocks, type Bytes, type Counters, type Frame, type MinMax, type Series, type Slab } from "../model";

const FRAME = 0x31464c53;
const SERIES = 0x31534c53;
const RECORDING = 0x31524c53;

/** Hands out one column after the other. */
class Columns {
  #buffer: ArrayBufferLike;
  #at: number;
  #end: number;

  constructor(bytes: Uint8Array, magic: number, what: string) {
    if (bytes.byteOffset % 8 !== 0) throw new Error(`${what}: the bytes are not aligned to 8`);
    this.#buffer = bytes.buffer;
    this.#at = bytes.byteOffset;
    this.#end = bytes.byteOffset + bytes.byteLength;
    if (this.words(1)[0] !== magic) throw new Error(`${what}: the bytes are something else, or of another version`);
  }

  #take(bytes: number): number {
    const at = this.#at;
    if (at + bytes > this.#end) throw new Error("the bytes end too early");
    this.#at = at + bytes;
    return at;
  }

  words(count: number): Uint32Array {
    return new Uint32Array(this.#buffer, this.#take(4 * count), count);
  }

  signed(count: number): Int32Array {
    return new Int32Array(this.#buffer, this.#take(4 * count), count);
  }

  floats(count: number): Float64Array {
    return new Float64Array(this.#buffer, this.#take(8 * count), count);
  }

  bytes(count: number): Uint8Array {
    return new Uint8Array(this.#buffer, this.#take(count), count);
  }

  /** A part that begins at the next multiple of 8. */
  part(count: number): Uint8Array {
    this.#take(-this.#at & 7);
    return this.bytes(count);
  }

  end(): void {
    if (this.#at !== this.#end) throw new Error("there are bytes left");
  }
}

/** A frame. */
export function decodeFrame(packed: Uint8Array): Frame {
  const columns = new Columns(packed, FRAME, "frame");
  const [slabs, axes, count, deaths, nameBytes, addresses] = columns.words(7) as unknown as [number, number, number, number, number, number];
  const event = columns.floats(1)[0]!;
  const [reserves, releases, fresh, dominated, completed, waited, missed, exhausted, overBudget, tainted, held] = columns.floats(
    11,
  ) as unknown as number[] as [number, number, number, number, number, number, number, number, number, number, number];
  const counters: Counters = {
    reserves, releases, fresh, dominated, completed, waited, missed, exhausted, overBudget, tainted, slabs: held,
  };
  const sums = columns.floats(7);
  const bytes: Bytes = {
    committed: sums[0]!,
    reserved: sums[1]!,
    live: sums[2]!,
    pending: sums[3]!,
    clean: sums[4]!,
    tainted: sums[5]!,
    padding: sums[6]!,
  };
  const slabBytes = columns.floats(slabs);
  const slabAddress = columns.floats(addresses);
  const submitted = columns.floats(axes);
  const reached = columns.floats(axes);
  const offset = columns.floats(count);
  const blockBytes = columns.floats(count);
  const requested = columns.floats(count);
  const since = columns.floats(count);
  const deathEpoch = columns.floats(deaths);
  const slabPool = columns.words(slabs);
  const slabIndex = columns.words(slabs);
  const slabGeneration = columns.words(slabs);
  const nameEnd = columns.words(axes);
  const slab = columns.words(count);
  const stream = columns.signed(count);
  const deathEnd = columns.words(count);
  const deathAxis = columns.words(deaths);
  const state = columns.bytes(count);
  const names = columns.bytes(nameBytes);
  columns.end();

  const deathStart = new Uint32Array(count + 1);
  deathStart.set(deathEnd, 1);
  const blocks: Blocks = {
    count, slab, offset, bytes: blockBytes, requested, state: state.slice(), stream, since, deathStart, deathAxis, deathEpoch,
  };
  settle(blocks, reached, bytes);
  const slabList: Slab[] = [];
  for (let i = 0; i < slabs; i++) {
    const address = slabAddress[i];
    const id = address === undefined ? `${slabIndex[i]}.${slabGeneration[i]}` : String(slabIndex[i]);
    slabList.push({ pool: slabPool[i]!, id, bytes: slabBytes[i]!, ...(address === undefined ? {} : { address }) });
  }
  const text = new TextDecoder();
  const axisList: Axis[] = [];
  for (let i = 0; i < axes; i++) {
    const name = text.decode(names.slice(i === 0 ? 0 : nameEnd[i - 1], nameEnd[i]));
    axisList.push({ name, submitted: submitted[i]!, completed: reached[i]! });
  }
  return { event, slabs: slabList, blocks, axes: axisList, counters, bytes };
}

/**
 * What waited for work that is over by now can be used, whether or not a pool has looked: such blocks are clean, in the picture and in the sums.
 * A recorded run has no axes; there nothing changes.
 */
function settle(blocks: Blocks, reached: Float64Array, bytes: Bytes): void {
  const { deathStart, deathAxis, deathEpoch } = blocks;
  for (let i = 0; i < blocks.count; i++) {
    const [start, end] = [deathStart[i] as number, deathStart[i + 1] as number];
    if (blocks.state[i] !== State.Pending || start === end) continue;
    let over = true;
    for (let at = start; at < end; at++) over &&= (reached[deathAxis[at] as number] as number) >= (deathEpoch[at] as number);
    if (!over) continue;
    blocks.state[i] = State.Clean;
    bytes.pending -= blocks.bytes[i] as number;
    bytes.clean += blocks.bytes[i] as number;
  }
}

/** A series. */
export function decodeSeries(packed: Uint8Array): Series {
  const columns = new Columns(packed, SERIES, "series");
  const buckets = columns.words(1)[0]!;
  const event = columns.floats(buckets);
  const both = (): MinMax => ({ min: columns.floats(buckets), max: columns.floats(buckets) });
  const series: Series = { event, committed: both(), reserved: both(), live: both(), pending: both() };
  columns.end();
  return series;
}

/** Some instants of a run. */
export interface Recording {
  /** What is said about it: the text is JSON. */
  about: unknown;
  series: Series;
  /** Packed frames, for `decodeFrame`. */
  frames: Uint8Array[];
}

/** A recording. Its frames are decoded when they are needed. */
export function decodeRecording(packed: Uint8Array): Recording {
  const columns = new Columns(packed, RECORDING, "recording");
  const [aboutBytes, seriesBytes, count] = columns.words(3) as unknown as [number, number, number];
  const lengths = columns.words(count);
  const about: unknown = JSON.parse(new TextDecoder().decode(columns.part(aboutBytes).slice()));
  const series = decodeSeries(columns.part(seriesBytes));
  const frames = Array.from(lengths, (length) => columns.part(length));
  columns.end();
  return { about, series, frames };
}
