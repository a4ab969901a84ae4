/**
 * Where the plan has the live blocks, as bars below the slabs' blocks: of a pool that follows the plan.
 *
 * ```text
 *   ▐███ a ███▌   ▐█ x █▌
 *    ▔▔▔▔▔▔▔▔▔     ▔▔▔▔▔▔      a stands where the plan has it; x strayed: the plan has it elsewhere, where a bar in red is
 * ```
 * The plan's addresses are those of the pool's first slab. Cost: O(blocks), as painting them.
 */
import { State, type Frame } from "../model.ts";
import { locate, type Geometry } from "./layout.ts";

/** Height of a bar, in CSS pixels. */
const HIGH = 4;
/** Rows that a block's bar has at most. */
const MOST_ROWS = 400;

export interface PlanMarks {
  /** Live blocks where the plan has them. */
  stand: number;
  /** Live blocks that the plan has elsewhere. */
  elsewhere: number;
  /** Live blocks without a place in the plan. */
  without: number;
}

/** Where a block is, by the plan: of a live block that has a place in it. */
function standing(frame: Frame, planned: Float64Array, block: number): boolean {
  return frame.blocks.slab[block] === 0 && frame.blocks.offset[block] === planned[block];
}

/** Draws the bars of rows `first .. end`; null where the pool follows no plan. */
export function drawPlan(context: CanvasRenderingContext2D, frame: Frame, geometry: Geometry, rows: [number, number], scale: number, colours: { stand: string; elsewhere: string }): PlanMarks | null {
  const { planned, blocks } = frame;
  if (planned === undefined) return null;
  const [first, end] = [rows[0] * geometry.pitch, rows[1] * geometry.pitch];
  const high = Math.max(1, Math.round(HIGH * scale));
  const told: PlanMarks = { stand: 0, elsewhere: 0, without: 0 };
  // Bars side by side are drawn as one.
  let bar = { x: 0, y: -1, width: 0, stands: true };
  const flush = () => {
    if (bar.y < 0) return;
    context.fillStyle = bar.stands ? colours.stand : colours.elsewhere;
    context.fillRect(bar.x, bar.y - first + geometry.height - high, bar.width, high);
    bar.y = -1;
  };
  for (let block = 0; block < blocks.count; block++) {
    if (blocks.state[block] !== State.Live) continue;
    const offset = planned[block] as number;
    if (offset < 0) {
      told.without++;
      continue;
    }
    const stands = standing(frame, planned, block);
    if (stands) told.stand++;
    else told.elsewhere++;
    for (const { x, y, width } of locate(geometry, 0, offset, blocks.bytes[block] as number, MOST_ROWS)) {
      if (y < first || y >= end) continue;
      if (bar.y === y && bar.stands === stands && x >= bar.x && x <= bar.x + bar.width) {
        bar.width = Math.max(bar.width, x + width - bar.x);
        continue;
      }
      flush();
      bar = { x, y, width, stands };
    }
  }
  flush();
  return told;
}
