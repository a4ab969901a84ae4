//! Places blocks with known lifetimes: offsets for the least memory, with the bound beside it.
//!
//! ```text
//!   lifetimes ─▶ Problem ─▶ parts by time ─▶ greedy orders ─▶ search ⇄ local search ─▶ Plan ─▶ check ─▶ file, CSV
//!                   │                                          until optimal, good enough or out of time
//!                   └ bound: most bytes live at once
//! ```
//!
//! The crate is arithmetic: it knows no clock, thread or file. Whoever calls [`plan`] says in a callback whether to go on; with a
//! callback that counts, the same problem and seed give the same plan.
//!
//! ```
//! use strandline_planner::{Lifetime, Options, Problem, check, plan};
//! let block = |lower, upper, size| Lifetime { lower, upper, size, alignment: 1, stream: 0 };
//! let problem = Problem::new(&[block(0, 2, 8), block(1, 3, 8), block(2, 4, 8)])?;
//! let made = plan(&problem, &Options::default(), &|_| true);
//! assert_eq!((made.bytes, made.bound), (16, 16));
//! check::check(problem.lifetimes(), &made.offsets, made.bytes).expect("the planner is right");
//! # Ok::<(), strandline_planner::Refused>(())
//! ```
//!
//! Cost: greedy orders O(n log n + k log k) each, with k pairs of blocks that are live together; the searches are anytime.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod check;
pub mod csv;
mod equal;
mod exact;
pub mod file;
mod first_fit;
mod local;
pub mod periodic;
mod problem;
mod random;
mod skyline;
mod solve;
pub mod streams;

pub use problem::{Lifetime, Problem, Refused};
pub use solve::{Options, Plan, plan};
