//! The search for a plan within a time: two workers, each on a thread of its own.

use crate::output::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strandline_planner::streams::{Waits, cheaper, frontiers, plan_streams};
use strandline_planner::{Lifetime, Options, Plan, Problem};

/// The stack of a worker: exact search goes as deep as a problem has blocks.
const STACK: usize = 64 << 20;
const WORKERS: u64 = 2;

/// What is searched for, and until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    pub(crate) waits: Waits,
    /// A plan of at most this many bytes is good enough.
    pub(crate) enough: u64,
    /// Of the local search.
    pub(crate) seed: u64,
    pub(crate) start: Instant,
    /// The search ends this long after its start, with the best plan until then.
    pub(crate) limit: Duration,
}

impl Search {
    /// The plan that the rule for waits asks for: with a price the cheaper of two, each searched for half of the time.
    pub(crate) fn run(self, lifetimes: &[Lifetime]) -> Result<Plan, Error> {
        let Waits::Priced(price) = self.waits else { return self.search(lifetimes) };
        let half = Self { limit: self.limit / 2, ..self };
        let apart = Self { waits: Waits::Forbidden, ..half }.search(lifetimes)?;
        let together =
            Self { waits: Waits::Allowed, limit: self.limit, ..self }.search(lifetimes)?;
        Ok(cheaper(lifetimes, price, apart, together))
    }

    /// Searches with two workers beside each other; what one finds ends the other when it is good enough.
    fn search(self, lifetimes: &[Lifetime]) -> Result<Plan, Error> {
        let Self { waits, enough, seed, start, limit } = self;
        let problem = Problem::new(lifetimes)?;
        let best = AtomicU64::new(u64::MAX);
        let goal = enough.max(problem.bound());
        let go_on = |bytes: u64| {
            let best = best.fetch_min(bytes, Ordering::Relaxed).min(bytes);
            start.elapsed() < limit && best > goal
        };
        let work = |worker: u64| {
            // Seeds of two runs do not meet, and each run has an even and an odd one.
            let seed = seed.wrapping_mul(2).wrapping_add(worker);
            let plan = plan_streams(lifetimes, waits, &Options { seed, enough }, &go_on)?;
            if plan.optimal {
                // Proved by search, perhaps, above the goal: the other worker cannot do better.
                best.fetch_min(0, Ordering::Relaxed);
            }
            go_on(plan.bytes);
            Ok::<Plan, Error>(plan)
        };
        let plans: Vec<Result<Plan, String>> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..WORKERS)
                .map(|worker| {
                    let builder =
                        std::thread::Builder::new().name("planner".to_owned()).stack_size(STACK);
                    let work = &work;
                    builder.spawn_scoped(scope, move || {
                        work(worker).map_err(|error| error.to_string())
                    })
                })
                .collect();
            let ended = |worker: std::io::Result<std::thread::ScopedJoinHandle<'_, _>>| match worker
            {
                Ok(worker) => {
                    worker.join().unwrap_or_else(|_| Err("a planning thread panicked".to_owned()))
                }
                Err(error) => Err(format!("cannot start a planning thread: {error}")),
            };
            started.into_iter().map(ended).collect()
        });
        let mut chosen: Option<Plan> = None;
        let mut bound = 0;
        for plan in plans {
            let plan = plan?;
            bound = bound.max(plan.bound);
            if chosen.as_ref().is_none_or(|best| plan.bytes < best.bytes) {
                chosen = Some(plan);
            }
        }
        let mut plan = chosen.ok_or("no worker ran")?;
        if waits == Waits::Allowed {
            plan.bound = bound;
            plan.optimal = plan.bytes == bound;
        }
        Ok(plan)
    }
}

/// How often a stream has to wait for another one in a plan.
pub(crate) fn wait_count(lifetimes: &[Lifetime], plan: &Plan) -> usize {
    frontiers(lifetimes, &plan.offsets).iter().map(Vec::len).sum()
}
