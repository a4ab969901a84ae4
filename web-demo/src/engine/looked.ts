/**
 * An instant that is looked at: its frame, which blocks over time its blocks are, which of them a search takes, and who pins free bytes then.
 *
 * What a search for pinning blocks takes is another thing at every instant: the mask of the blocks over time is that of the instant looked
 * at last.
 */
import { isMomentary, State, type Filter, type Frame, type Matched, type Pinners } from "../model";
import { decodeFrame } from "./decode";
import type { Lives } from "./lives";
import type { Placement } from "./placement";
import type { PackedFrame } from "./protocol";

/** No block. */
const NONE = 0xffffffff;
/** Words of a block that pins: block, line, since, free before, free after. */
const WORDS = 5;

/** Who pins at an instant, as the player gives it. */
export interface PackedPins {
  lines: string;
  blocks: Uint32Array;
}

/** What the player says of an instant; null where nothing is known of pins. */
export type PinsOf = ((event: number) => PackedPins) | null;

export class Looked {
  readonly #lives: Lives;
  readonly #recorded: boolean;
  readonly #pinsOf: PinsOf;
  #filter: Filter | null = null;
  #event = -1;
  /** The frame's slabs and blocks of the instant looked at last. */
  #frame: Pick<Frame, "slabs" | "blocks"> | null = null;
  #pins: { event: number; packed: PackedPins } | null = null;
  /** The plan that the pool follows. */
  #followed: Placement | null = null;

  /** `recorded`: blocks that are not live any more are ones over time too. */
  constructor(lives: Lives, recorded: boolean, pinsOf: PinsOf) {
    this.#lives = lives;
    this.#recorded = recorded;
    this.#pinsOf = pinsOf;
  }

  /** The pool follows a plan: it is told of each live block where that has it. */
  follow(plan: Placement): void {
    this.#followed = plan;
  }

  /** An instant is shown: its packed frame. */
  look(packed: Uint8Array): PackedFrame {
    const looked = this.#look(packed);
    const { rows } = looked;
    const followed = this.#followed;
    if (followed === null || rows === undefined) return looked;
    return { ...looked, planned: Float64Array.from(rows, (row) => (row < 0 ? -1 : (followed.offset[row] as number))) };
  }

  #look(packed: Uint8Array): PackedFrame {
    const frame = decodeFrame(packed);
    const { event, slabs, blocks } = frame;
    const moved = event !== this.#event;
    this.#event = event;
    this.#frame = { slabs, blocks };
    if (isMomentary(this.#filter) && moved) this.#apply();
    const rows = new Int32Array(blocks.count);
    const { mask } = this.#lives;
    const matched = mask === null ? null : new Uint8Array(blocks.count);
    for (let i = 0; i < blocks.count; i++) {
      const row = blocks.state[i] === State.Live || this.#recorded ? this.#rowOf(i, blocks.since[i] as number) : -1;
      rows[i] = row;
      if (matched !== null && mask !== null && row >= 0) matched[i] = mask[row] as number;
    }
    if (matched === null) return { packed, rows };
    if (isMomentary(this.#filter)) this.#showPinned(matched);
    return { packed, rows, matched };
  }

  filter(filter: Filter | null): Matched {
    this.#filter = filter;
    return this.#apply();
  }

  /** Who pins at an instant, most first. */
  pinners(event: number): Pinners | null {
    const pins = this.#pinsAt(event);
    if (pins === null) return null;
    const lines = JSON.parse(pins.lines) as { line: string; bytes: number; pinned_bytes: number; blocks: number }[];
    return { event, lines: lines.map(({ pinned_bytes: pinned, ...line }) => ({ ...line, pinned })) };
  }

  #apply(): Matched {
    return this.#lives.filter(this.#filter, isMomentary(this.#filter) ? this.#pinning() : null);
  }

  #pinsAt(event: number): PackedPins | null {
    if (this.#pinsOf === null) return null;
    if (this.#pins?.event !== event) this.#pins = { event, packed: this.#pinsOf(event) };
    return this.#pins.packed;
  }

  #rowOf(block: number, since: number): number {
    const { slabs, blocks } = this.#frame as Pick<Frame, "slabs" | "blocks">;
    const start = slabs[blocks.slab[block] as number]?.address;
    return this.#lives.rowOf(since, start === undefined ? null : start + (blocks.offset[block] as number));
  }

  /** The blocks over time that pin now. */
  #pinning(): Uint8Array {
    const rows = new Uint8Array(this.#lives.count);
    const pins = this.#frame === null ? null : this.#pinsAt(this.#event);
    if (pins === null) return rows;
    const { blocks } = pins;
    for (let at = 0; at < blocks.length; at += WORDS) {
      const row = this.#rowOf(blocks[at] as number, blocks[at + 2] as number);
      if (row >= 0) rows[row] = 1;
    }
    return rows;
  }

  /** The blocks that pin, also those that wait for a stream, and the free ones that are pinned by what is taken. */
  #showPinned(matched: Uint8Array): void {
    const { mask } = this.#lives;
    const pins = this.#pinsAt(this.#event);
    if (pins === null || mask === null) return;
    const { blocks } = pins;
    for (let at = 0; at < blocks.length; at += WORDS) {
      const [block, , since, before, after] = blocks.subarray(at, at + WORDS) as unknown as [number, number, number, number, number];
      if (mask[this.#rowOf(block, since)] !== 1) continue;
      for (const shown of [block, before, after]) if (shown !== NONE) matched[shown] = 1;
    }
  }
}
