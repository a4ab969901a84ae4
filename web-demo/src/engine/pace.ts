/** How far the player is driven before somebody looks at the clock, or at what else is to be done. */

/** Longest slice of work, in milliseconds. */
export const SLICE_MS = 12;
/** Steps that are played between two looks at the clock. */
export const STEPS = 200;
