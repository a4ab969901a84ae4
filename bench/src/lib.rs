//! Side-by-side benchmarks: strandline and its published peers, interleaved in one run, on the same operations.
//!
//! ```text
//!   case ─┬─ contender 0 (reference) ─┐
//!         ├─ contender 1              ├─▶ round 0: 0 1 2   round 1: 1 2 0   round 2: 2 0 1 …
//!         └─ contender 2 ─────────────┘        │
//!                                              ▼
//!                       ns per operation: median (min–max); ratio to the reference: the same, round by round
//! ```
//!
//! A noisy machine slows a whole round, so ratios are taken within rounds: they move far less than
//! the times. Every contender of a case runs the same pre-generated operations and is checked to succeed
//! at each of them.

pub mod clocked;
pub mod figures;
pub mod groups;
pub mod harness;
pub mod instructions;
pub mod pairs;
pub mod peers;
pub mod pending;
pub mod report;
pub mod slabs;
pub mod stream;
pub mod tape;
