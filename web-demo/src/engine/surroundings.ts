/** What a session needs of where it runs, and what it tells. */
import type { SourceEvent } from "../model";
import type { CoreModule } from "./components";

export interface Surroundings {
  core: CoreModule;
  /** The bytes of a file, synchronously. */
  bytes(offset: number, length: number): Uint8Array;
  /** How many there are, if that is known. */
  size?: number;
  now(): number;
  /** Lets other work of this thread happen. */
  rest(): Promise<void>;
}

/** News for the page. */
export type News =
  | SourceEvent
  | { type: "opening"; done: number; total: number; unit: "event" | "byte" | "configuration" };

/** A request that was given up for a newer one. */
export function superseded(): Error {
  return Object.assign(new Error("a newer instant was asked for"), { name: "AbortError" });
}
