//! Frames that repeat: when a plan is made of some, and how many of them are one step of it.
//!
//! ```text
//!   Recorded ──a step ends──▶ Judged ──two good in a row──▶ Followed ──two bad in a row, or a quarter──▶ planned again: Judged
//!      ▲                         │ no                          └ now and then it is looked for a smaller plan
//!      ├──── a longer step ◀─────┤ planned twice already
//!      └──── Rests, no plan ◀────┘ no longer one left
//! ```
//! A step is good when nineteen of twenty requests stand where the plan has them.
//!
//! A step of one frame is what a program repeats that records one frame after the other. One that records the next while the last is still
//! open, or several on several threads, or different ones in turn, repeats several; which, shows only by trying.
//!
//! # Cost
//! A frame: a lock. A step: for each class two or three short locks. A plan is made on the thread that begins a frame: O(n log n) for a step of
//! one frame, O(n²) for up to [`MOST`] requests of several, which is about a millisecond, and none beyond; other frames wait to begin. It is made
//! when the frames have changed, and when nothing repeats, ever more rarely.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use strandline_core::pool::planned::{
    Plan, PlanBlock, PlannedPool, PlannedStats, Recording, Replan,
};
use strandline_core::slab::Trim;
use strandline_core::{Epoch, Pool};

/// Frames of a step, in the order in which they are tried.
const LENGTHS: [u32; 6] = [1, 2, 3, 4, 6, 8];

/// How often a length is tried: a program's first frames are like no other.
const TRIES: u32 = 2;

/// Steps in a row after which a plan is good, or bad.
const RUN: u32 = 2;

/// Further steps in which a plan may prove good.
const SETTLING: u32 = 3;

/// Where nothing repeats, it is tried again after so many steps, then after twice as many, and so on up to the second.
const RESTS: (u32, u32) = (256, 1 << 14);

/// The most requests of a step of several frames that is planned.
const MOST: usize = 1 << 10;

/// What the steps are about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The step that runs is recorded; a plan is made of it when it ends.
    Recorded,
    /// A plan is followed, and has so many steps after this one to prove good: while a frame is open across its first step, what stands where the
    /// plan before had it is in the way.
    Judged(u32),
    /// The plan is good; after so many steps it is looked for a smaller one, and whether it still is.
    Followed(u32),
    /// Nothing repeats: for so many steps there is no plan.
    Rests(u32),
}

#[derive(Debug)]
struct Turn {
    /// Frames that have begun in the step that runs.
    frames: u32,
    /// Of [`LENGTHS`].
    length: usize,
    tries: u32,
    phase: Phase,
    /// How long the next rest is.
    rest: u32,
    /// So many steps in a row were as the last one: good, or not.
    run: u32,
    was_good: bool,
    /// While a plan is followed: how many steps were bad, and the most requests of one.
    bad: u32,
    most: u64,
    /// What the counters were as the step began: planned, strayed.
    before: (u64, u64),
    /// As the next step begins, slabs that the plan does not need are to go.
    tidies: bool,
}

/// The pools that follow plans, and what is known of the frames.
#[derive(Debug)]
pub(super) struct Steps {
    pools: Vec<Arc<PlannedPool>>,
    retain: u32,
    /// What a class may hold beside a plan before it moves to a slab that fits.
    slack: u64,
    turn: Mutex<Turn>,
}

/// What is live in one frame is live at once: side by side, in the order of the requests, nothing is lost.
fn plan_of(recording: &Recording) -> Option<Plan> {
    let end = recording.requests.len() as u32;
    let is_one_frame =
        recording.fixed.is_empty() && recording.requests.iter().all(|request| request.until == end);
    if !is_one_frame {
        return if recording.requests.len() <= MOST { recording.first_fit() } else { None };
    }
    let mut bytes = 0_u64;
    let mut blocks = Vec::with_capacity(recording.requests.len());
    for request in &recording.requests {
        let offset = bytes.checked_next_multiple_of(request.alignment)?;
        bytes = offset.checked_add(request.size)?;
        blocks.push(PlanBlock {
            offset,
            size: request.size,
            alignment: request.alignment,
            stream: request.stream,
            until: request.until,
        });
    }
    Plan::new(bytes, blocks).ok()
}

/// Nothing stands anywhere in particular.
fn no_plan() -> Option<Plan> {
    Plan::new(0, Vec::new()).ok()
}

impl Steps {
    pub(super) fn new(pools: Vec<Arc<PlannedPool>>, retain: u32, slack: u64) -> Self {
        let turn = Turn {
            frames: u32::MAX,
            length: 0,
            tries: 0,
            phase: Phase::Recorded,
            rest: RESTS.0,
            run: 0,
            was_good: false,
            bad: 0,
            most: 0,
            before: (0, 0),
            tidies: false,
        };
        Self { pools, retain: retain.max(1), slack, turn: Mutex::new(turn) }
    }

    /// What came of the plans, of all classes together.
    pub(super) fn stats(&self) -> PlannedStats {
        let mut sum = PlannedStats::default();
        for stats in self.pools.iter().map(|pool| pool.planned_stats()) {
            sum.planned += stats.planned;
            sum.strayed += stats.strayed;
            sum.occupied += stats.occupied;
            sum.resynchronised += stats.resynchronised;
            sum.replanned += stats.replanned;
            // They begin together.
            sum.steps = sum.steps.max(stats.steps);
        }
        sum
    }

    /// A frame begins. `issued` is the last epoch that wgpu has, `done` how far the pools take the device to be.
    pub(super) fn frame(&self, issued: impl FnOnce() -> Epoch, done: &AtomicU64) {
        // Nothing panics with it held.
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if turn.frames < LENGTHS[turn.length] {
            turn.frames += 1;
            return;
        }
        turn.frames = 1;
        let tidies = core::mem::take(&mut turn.tidies);
        if tidies {
            // Requests come after what is issued, and wgpu keeps a buffer that is dropped until the device is done with it: so empty slabs
            // may go at once, and the next plan has one of its own from its first request on.
            done.fetch_max(issued(), Ordering::Relaxed);
        }
        for pool in &self.pools {
            pool.begin_step();
            let held = pool.stats().committed_bytes;
            if tidies && held > pool.planned_bytes() + pool.planned_bytes() / 4 + self.slack {
                // What is not taken back serves on.
                let _ = pool.trim(Trim::All);
            }
        }
        let stats = self.stats();
        let (planned, strayed) = (stats.planned - turn.before.0, stats.strayed - turn.before.1);
        turn.before = (stats.planned, stats.strayed);
        if planned + strayed > 0 {
            // Nineteen of twenty stand where the plan has them.
            self.ended(&mut turn, planned + strayed, planned >= 19 * strayed);
        }
    }

    /// A step has ended in which something was requested.
    fn ended(&self, turn: &mut Turn, requests: u64, is_good: bool) {
        if is_good != turn.was_good {
            (turn.was_good, turn.run) = (is_good, 0);
        }
        turn.run += 1;
        // One step alone says little: of several kinds in turn one may be the plan's, and of equal ones one may be another.
        let is_sure = turn.run >= RUN;
        turn.phase = match turn.phase {
            Phase::Recorded => {
                self.plan(turn);
                Phase::Judged(SETTLING)
            }
            Phase::Judged(_) if is_good && is_sure => {
                (turn.tries, turn.rest, turn.tidies) = (0, RESTS.0, true);
                self.follow(turn)
            }
            Phase::Judged(0) => self.next_try(turn),
            Phase::Judged(left) => Phase::Judged(left - 1),
            Phase::Followed(left) => {
                turn.bad += u32::from(!is_good);
                turn.most = turn.most.max(requests);
                if !is_good && is_sure || left == 0 && turn.bad > self.retain / 4 {
                    self.plan(turn);
                    Phase::Judged(SETTLING)
                } else if left == 0 && is_good && requests == turn.most {
                    // As large as any of late: if a smaller plan holds it, the larger one was for a burst.
                    if self.plan(turn) { Phase::Judged(SETTLING) } else { self.follow(turn) }
                } else {
                    Phase::Followed(left.saturating_sub(1))
                }
            }
            Phase::Rests(0) => {
                turn.length = 0;
                Phase::Recorded
            }
            Phase::Rests(left) => Phase::Rests(left - 1),
        };
    }

    /// The plan is good.
    fn follow(&self, turn: &mut Turn) -> Phase {
        (turn.bad, turn.most) = (0, 0);
        Phase::Followed(self.retain)
    }

    /// Has plans made of the step that ended. Whether another is followed from the next step on.
    fn plan(&self, turn: &mut Turn) -> bool {
        let mut is_next = false;
        for pool in &self.pools {
            match pool.replan(plan_of) {
                Ok(Replan::Next) => is_next = true,
                // A class without requests has nothing to plan.
                Ok(Replan::Kept | Replan::Nothing) => {}
                Err(error) => log::warn!("planning frames: {error}"),
            }
        }
        turn.run = 0;
        turn.tidies |= is_next;
        is_next
    }

    /// The plan was not followed: once more, or a longer step, or none for a while.
    fn next_try(&self, turn: &mut Turn) -> Phase {
        turn.tries += 1;
        if turn.tries < TRIES {
            self.plan(turn);
            return Phase::Judged(SETTLING);
        }
        turn.tries = 0;
        turn.length += 1;
        if turn.length < LENGTHS.len() {
            return Phase::Recorded;
        }
        turn.length = 0;
        let rest = turn.rest;
        turn.rest = (rest * 2).min(RESTS.1);
        for pool in &self.pools {
            turn.tidies |= matches!(pool.replan(|_| no_plan()), Ok(Replan::Next));
        }
        Phase::Rests(rest)
    }
}
