//! `rules`: which free neighbours merge decides how much memory a pool takes and how long its streams stand still. The rules
//! side by side, over the shipped traces, the public snapshots where they are present, and synthetic loads.
//!
//! Each load is dealt out to 1, 2, 4 or 8 streams, [`BURST`] allocations in a row to each, on a [simulated clock](crate::clocked).
//! Slabs have 1/64 of the load's peak, at most 2 MiB, and larger requests one of their own size, so that the rounding of slabs does not
//! decide. A request is asked
//! first of what is there; who may wait then lets the streams finish once (a *stall*) if what they free could be enough;
//! only then does the pool grow.
//!
//! A row is a load under a rule. Its ratio is what the pool committed at most over the same under `eager`, the geometric mean
//! over 32, 64 and 1,024 in flight; with 0 in flight every death is reached when it is told, and the rules cannot differ in what is
//! ready. The detail has each of the four: the ratio, the time waited, stalls, and nanoseconds an event (the thread's own time, the
//! simulation included). The first rows are the geometric means over the loads, and the worst of them.

mod load;

use crate::clocked::Streams;
use crate::figures::{Count, Figure};
use crate::harness::Stopwatch;
use crate::slabs::Numbers;
use load::Load;
use std::sync::{Arc, OnceLock};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{Coalescing, TlsfPool, TlsfPoolConfig, Waiting};
use strandline_core::pool::{PoolHost, Reservation};
use strandline_core::{Acquire, Death, FrontierRef, Pool, Request};

/// Allocations in a row that go to one stream, as in a replay that is dealt out.
const BURST: u64 = 16;

/// Most bytes of an ordinary slab, and least.
const SLAB: u64 = 2 << 20;
const LEAST_SLAB: u64 = 64 << 10;

/// Bytes of an ordinary slab.
fn slab_of(load: &Load) -> u64 {
    (load.peak_bytes / 64).next_multiple_of(4096).clamp(LEAST_SLAB, SLAB)
}

const IN_FLIGHT: [u64; 4] = [0, 32, 64, 1024];

/// A rule, by its name.
struct Rule {
    name: &'static str,
    coalescing: Coalescing,
    waiting: Waiting,
}

const EAGER: Rule =
    Rule { name: "eager", coalescing: Coalescing::Eager, waiting: Waiting::LastResort };

/// Those that are compared with [`EAGER`]. The second differs from the first where a request may wait.
const RULES: [Rule; 2] = [
    Rule { name: "readiness", coalescing: Coalescing::Readiness, waiting: Waiting::LastResort },
    Rule {
        name: "readiness, waiting to pack",
        coalescing: Coalescing::Readiness,
        waiting: Waiting::PreferCompact,
    },
];

pub(super) fn cases() -> impl Iterator<Item = Count> {
    let settings = [false, true]
        .into_iter()
        .flat_map(|may_wait| [1, 2, 4, 8].into_iter().map(move |streams| (streams, may_wait)));
    settings.map(|(streams, may_wait)| Count {
        group: "rules",
        name: format!(
            "{streams} stream{}, {}",
            if streams == 1 { "" } else { "s" },
            if may_wait { "waiting permitted" } else { "no waiting" }
        ),
        count: Box::new(move || compared(streams, may_wait)),
    })
}

/// What a run came to.
#[derive(Clone, Copy, Debug)]
struct Run {
    committed: u64,
    /// Makespan over the makespan without waiting.
    waited: f64,
    stalls: u64,
    ns: f64,
}

/// A rule's run, and that of eager merging in the same setting.
#[derive(Clone, Copy, Debug)]
struct Pair {
    run: Run,
    eager: Run,
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.run.committed as f64 / self.eager.committed as f64
    }
}

fn compared(streams: u32, may_wait: bool) -> Result<Vec<Figure>, String> {
    let loads = loads()?;
    // Without waiting the second rule is the first.
    let rules = if may_wait { &RULES[..] } else { &RULES[..1] };
    let mut means: Vec<Vec<(f64, f64, f64)>> = vec![Vec::new(); rules.len()];
    let mut worst: Vec<(f64, String)> = vec![(0.0, String::new()); rules.len()];
    let mut rows = Vec::new();
    for load in loads {
        let mut of_load = vec![Vec::new(); rules.len()];
        for in_flight in IN_FLIGHT {
            let eager = play(load, &EAGER, streams, in_flight, may_wait)?;
            for (number, rule) in rules.iter().enumerate() {
                let run = play(load, rule, streams, in_flight, may_wait)?;
                of_load[number].push(Pair { run, eager });
            }
        }
        for (number, pairs) in of_load.iter().enumerate() {
            let flying = pairs.iter().zip(IN_FLIGHT).filter(|(_, in_flight)| *in_flight > 0);
            for (pair, in_flight) in flying.clone() {
                let ratio = pair.ratio();
                means[number].push((ratio, pair.run.waited, pair.eager.waited));
                if ratio > worst[number].0 {
                    worst[number] = (ratio, format!("{}, {in_flight} in flight", load.name));
                }
            }
            rows.push(Figure {
                name: format!("{}: {}", load.name, rules[number].name),
                ratio: geometric(flying.map(|(pair, _)| pair.ratio())),
                detail: detail(pairs),
                sound: true,
                goal: None,
            });
        }
    }
    let mut summary = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let of = |part: fn(&(f64, f64, f64)) -> f64| geometric(means[number].iter().map(part));
        summary.push(Figure {
            name: format!("geometric mean: {}", rule.name),
            ratio: of(|row| row.0),
            detail: format!(
                "{:.3} if the better of the two were taken each time, {:.3} of that at worst; time waited {:.3}, eager {:.3}",
                of(|row| row.0.min(1.0)),
                means[number].iter().map(|row| row.0 / row.0.min(1.0)).fold(0.0, f64::max),
                of(|row| row.1),
                of(|row| row.2)
            ),
            sound: true,
            goal: None,
        });
        let (ratio, which) = worst[number].clone();
        summary.push(Figure {
            name: format!("worst: {}", rule.name),
            ratio,
            detail: which,
            sound: true,
            goal: None,
        });
    }
    summary.extend(rows);
    Ok(summary)
}

/// The four settings of a row, each `in flight: ratio, time waited (eager's), stalls (eager's), ns (eager's)`.
fn detail(pairs: &[Pair]) -> String {
    let parts = pairs.iter().zip(IN_FLIGHT).map(|(pair, in_flight)| {
        let Pair { run, eager } = pair;
        format!(
            "{in_flight}: {:.3}, waited {:.3} ({:.3}), {} stalls ({}), {:.0} ns ({:.0})",
            pair.ratio(),
            run.waited,
            eager.waited,
            run.stalls,
            eager.stalls,
            run.ns,
            eager.ns
        )
    });
    parts.collect::<Vec<_>>().join("; ")
}

/// 1 of nothing.
fn geometric(ratios: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0_u32);
    for ratio in ratios {
        sum += ratio.ln();
        count += 1;
    }
    (sum / f64::from(count.max(1))).exp()
}

/// The loads, read once.
fn loads() -> Result<&'static [Load], String> {
    static LOADS: OnceLock<Result<Vec<Load>, String>> = OnceLock::new();
    LOADS.get_or_init(load::all).as_deref().map_err(Clone::clone)
}

/// One run of a load.
fn play(
    load: &Load,
    rule: &Rule,
    streams: u32,
    in_flight: u64,
    may_wait: bool,
) -> Result<Run, String> {
    let failed = |what: &str| format!("{}, {}: {what}", load.name, rule.name);
    let mut streams_run =
        Streams::new(streams, in_flight).map_err(|error| failed(&error.to_string()))?;
    let host = PoolHost::new(Arc::new(Numbers::default()), Arc::new(streams_run.tracker().clone()));
    let config = TlsfPoolConfig {
        growth: Growth::slabs_of(slab_of(load)),
        coalescing: rule.coalescing,
        waiting: rule.waiting,
        ..TlsfPoolConfig::default()
    };
    let pool = TlsfPool::new(host, config).map_err(|error| failed(&error.to_string()))?;
    let mut live: Vec<Option<(Reservation, u32)>> = Vec::new();
    live.resize_with(load.slots as usize, || None);
    let (mut allocations, mut stalls) = (0_u64, 0);
    let clock = Stopwatch::start();
    for event in &load.events {
        let slot = &mut live[event.slot as usize];
        if event.size == 0 {
            let Some((reservation, stream)) = slot.take() else {
                return Err(failed("a free of nothing"));
            };
            let entry = streams_run.submit(stream);
            let death = Death::After(FrontierRef::single(&entry));
            pool.release(reservation, death).map_err(|error| failed(&error.to_string()))?;
            continue;
        }
        let stream = (allocations / BURST % u64::from(streams)) as u32;
        allocations += 1;
        let (mut may_grow, mut stalled) = (!may_wait, false);
        let reservation = loop {
            let request = Request {
                size: event.size,
                alignment: 1,
                frontier: streams_run.known(stream),
                may_wait,
                may_grow,
            };
            match pool.acquire(&request).map_err(|error| failed(&error.to_string()))? {
                Acquire::Ready { reservation, .. } => break reservation,
                Acquire::AfterWait { reservation, wait } => {
                    streams_run.wait(stream, wait.as_ref());
                    break reservation;
                }
                Acquire::Exhausted { .. } if !may_grow => {
                    let stats = pool.stats();
                    let could_suffice = stats.pending_bytes > 0
                        && stats.pending_bytes + stats.clean_bytes() >= event.size;
                    if could_suffice && !stalled {
                        stalled = true;
                        stalls += 1;
                        streams_run.drain();
                    } else {
                        may_grow = true;
                    }
                }
                Acquire::Exhausted { .. } | Acquire::OverBudget { .. } => {
                    return Err(failed("refused, although the provider has no bound"));
                }
            }
        };
        streams_run.submit(stream);
        *slot = Some((reservation, stream));
    }
    let ns = clock.elapsed().as_nanos() as f64 / load.events.len().max(1) as f64;
    let committed = pool.stats().peak_committed_bytes;
    Ok(Run { committed, waited: streams_run.time_waited(), stalls, ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_nothing_and_of_opposites_is_one() {
        assert_eq!(geometric(std::iter::empty()), 1.0);
        assert!((geometric([0.5, 2.0].into_iter()) - 1.0).abs() < 1e-12);
    }

    /// A load that no rule can place differently: nothing is in flight, so all runs commit the same and nobody waits.
    #[test]
    fn with_nothing_in_flight_no_rule_waits_and_all_commit_as_much() {
        let load = load::synthetic("test", 64, 1 << 10, 1 << 20, 2_000).unwrap();
        let runs = RULES.iter().chain([&EAGER]).map(|rule| play(&load, rule, 4, 0, true).unwrap());
        let runs: Vec<_> = runs.collect();
        for run in &runs {
            assert_eq!((run.waited, run.stalls), (1.0, 0), "{run:?}");
        }
        assert_eq!(runs[0].committed, runs[2].committed);
        // With much in flight they differ, and waiting takes time.
        let eager = play(&load, &EAGER, 4, 1024, true).unwrap();
        let ready = play(&load, &RULES[0], 4, 1024, true).unwrap();
        assert!(eager.waited > 1.0 && ready.waited > 1.0, "{eager:?} {ready:?}");
        assert_ne!((eager.committed, eager.stalls), (ready.committed, ready.stalls));
    }
}
