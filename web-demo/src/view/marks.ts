/** The out-of-memories of a run, for views over time. */
import type { Source } from "../model.ts";
import { bytes, count } from "./format.ts";
import type { Mark } from "./over_time.ts";

interface Refusal {
  entry: number;
  requested_bytes: number;
  verdict: string | null;
}

/** Every refusal that is known: those that a snapshot recorded, or where a run ended. */
export function marksOf(source: Source): Mark[] {
  const { info } = source;
  if (info.asRecorded === true && info.snapshot !== undefined) {
    const told = (info.snapshot.explained.json["explain"] as { out_of_memory: Refusal[] }).out_of_memory;
    return told.map(({ entry, requested_bytes: asked, verdict }) => ({
      // Events count from 1, entries from 0.
      event: entry + 1,
      text: `out of memory at entry ${count(entry)}: ${bytes(asked)} asked for${verdict === null ? "" : `, ${verdict.replace("_", " ")}`}`,
    }));
  }
  const failure = source.failure();
  return failure === null ? [] : [{ event: failure.event, text: `event ${count(failure.event)} could not be satisfied` }];
}
