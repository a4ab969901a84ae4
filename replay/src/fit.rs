//! Fitting: the smallest capacity at which a trace succeeds, and the configuration that gets there.
//!
//! ```text
//!   for each candidate:   does it play below the best so far?  no ─▶ next
//!                                   │ yes
//!                         bisect (peak active, that capacity) ─▶ the new best
//! ```
//!
//! Candidates are online policies: none knows the future. A candidate that cannot beat the best costs one replay, up to its first
//! refusal, and several are judged side by side. Replays are over numbers only (no memory, no oracle); whoever reports a fit
//! plays it once more for real.
//!
//! **Time.** A search may be limited ([`Effort`]); then the best so far is the answer, and says so. On a trace of half a million events
//! or more, candidates are tried in an order that is spread over all of them, a candidate has to be better by a 1024th of peak
//! active, and only the best one is narrowed down to a page.
//!
//! Whether a trace plays is not strictly monotone in the capacity. The bisection finds a capacity at which it plays, one
//! page below which it does not, unless it was stopped.

use crate::build::{DEFAULT_GRANULE, DEFAULT_PLACEMENT, Small};
use crate::clock::Instant;
use crate::config::{Config, Kind, PoolSpec};
use crate::engine::Options;
use crate::session::{Scan, SessionError, Tape, TraceFile};
use crate::size::Bytes;
use core::num::NonZero;
use core::time::Duration;
use search::Search;
use strandline_core::offset::tlsf::{Carve, Placement, Search as Pick, Tie};

mod queue;
mod search;

pub use queue::least_for_queue;

/// Capacities are multiples of this: slabs are whole pages.
pub const STEP: u64 = 4096;

/// A configuration that plays a trace, and its capacity.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The smallest capacity found, in bytes: a multiple of [`STEP`].
    pub capacity: u64,
    /// What plays at it; its capacity is set.
    pub config: Config,
    /// Replays that it took.
    pub replays: u32,
    /// Candidates that were judged.
    pub judged: usize,
    /// Candidates that there were.
    pub candidates: usize,
    /// Time was up before all were judged, and narrowed down to a page.
    pub stopped: bool,
}

/// Configurations worth trying, the default first: what `--pool auto` stands for.
///
/// They go over placement (which block, which end, and from which size on), size-class granularity, and sets of two pools.
/// Families come in the order in which they are likely to win, so that the first good capacity is found early and whoever cannot
/// beat it is passed over after one replay.
#[must_use]
pub fn candidates(scan: &Scan) -> Vec<Config> {
    if scan.sizes.are_equal() {
        return vec![one(PoolSpec::of(Kind::Fixed))];
    }
    let mut configs = vec![one(PoolSpec::of(Kind::Tlsf))];
    let mut add = |config: Config| {
        if !configs.contains(&config) {
            configs.push(config);
        }
    };
    let packed = Placement::PACKED;
    let searches = [Pick::Head, BEST_LOW, BEST_LAST];
    for (large, small, classes) in FAMILIES {
        for search in searches {
            for threshold in thresholds() {
                let placement = Placement { search, threshold, large, small };
                add(one(tlsf(placement, DEFAULT_GRANULE, classes)));
            }
        }
    }
    for granule in [DEFAULT_GRANULE, 256] {
        for classes in [32, 64] {
            for search in [Pick::Head, BEST_LOW] {
                for threshold in [1 << 20, 3 << 20, 8 << 20] {
                    add(one(tlsf(Placement { search, threshold, ..packed }, granule, classes)));
                }
                // Best fit, and two ends by size.
                add(one(tlsf(Placement { search, ..Placement::FAST }, granule, classes)));
                let two_ended =
                    Placement { search, threshold: 1 << 20, large: Carve::Low, small: Carve::High };
                add(one(tlsf(two_ended, granule, classes)));
            }
        }
    }
    for small in &scan.sizes.small {
        pairs(scan, small, &mut add);
    }
    configs
}

const BEST_LOW: Pick = Pick::Best { scan: 16, tie: Tie::Low };
const BEST_LAST: Pick = Pick::Best { scan: 16, tie: Tie::Last };

/// Where large and small requests are cut from, and size classes for each power of two.
const FAMILIES: [(Carve, Carve, u32); 4] = [
    (Carve::Older, Carve::Bigger, 32),
    (Carve::Older, Carve::Low, 32),
    (Carve::Low, Carve::Younger, 16),
    (Carve::Older, Carve::Similar, 32),
];

/// From 256 KiB to 16 MiB, four for each power of two.
fn thresholds() -> impl Iterator<Item = u64> {
    (18..24).flat_map(|k| (4..8).map(move |quarters| quarters << (k - 2))).chain([16 << 20])
}

fn one(pool: PoolSpec) -> Config {
    Config { pools: vec![pool], ..Config::default() }
}

fn tlsf(placement: Placement, granule: u64, classes: u32) -> PoolSpec {
    PoolSpec {
        placement: (placement != DEFAULT_PLACEMENT).then(|| placement.into()),
        granule: (granule != DEFAULT_GRANULE).then_some(Bytes(granule)),
        size_classes: (classes != 32).then_some(classes),
        ..PoolSpec::of(Kind::Tlsf)
    }
}

/// Sets of two pools: small blocks have one slab of their own, as large as their own peak (and a little), and the others have
/// the rest of the capacity.
fn pairs(scan: &Scan, small: &Small, add: &mut dyn FnMut(Config)) {
    if small.largest == 0 || small.up_to >= scan.sizes.largest {
        return;
    }
    let slab =
        |bytes: u64| Some(Bytes(bytes.max(1).checked_next_multiple_of(STEP).unwrap_or(bytes)));
    let block = small.largest.next_multiple_of(DEFAULT_GRANULE);
    let blocks = block.saturating_mul(small.peak_blocks.into());
    let up_to = Some(Bytes(small.up_to));
    let mut firsts = Vec::new();
    // Blocks of one size waste nothing if the sizes hardly differ.
    if blocks <= small.peak_bytes + small.peak_bytes / 16 {
        firsts.push(PoolSpec {
            up_to,
            slab: slab(blocks),
            block: Some(Bytes(block)),
            ..PoolSpec::of(Kind::Fixed)
        });
    }
    for spare in [0, small.peak_bytes / 16] {
        let slab = slab(small.peak_bytes.saturating_add(spare));
        firsts.push(PoolSpec { up_to, slab, ..PoolSpec::of(Kind::Tlsf) });
    }
    let packed = Placement::PACKED;
    for placement in [
        packed,
        Placement { search: BEST_LOW, ..packed },
        Placement { search: BEST_LOW, ..Placement::FAST },
    ] {
        for first in &firsts {
            let rest = tlsf(placement, DEFAULT_GRANULE, 32);
            add(Config { pools: vec![first.clone(), rest], ..Config::default() });
        }
    }
}

/// How much a search may do.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    start: Instant,
    limit: Option<Duration>,
    threads: usize,
}

impl Effort {
    /// From now on for `limit`, if there is one, on as many threads as there are processors.
    #[must_use]
    pub fn from_now(limit: Option<Duration>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { start: Instant::now(), limit, threads }
    }

    /// The same on `threads` threads, at least one. What is found does not depend on it, unless time is up.
    #[must_use]
    pub const fn on_threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    fn is_spent(&self) -> bool {
        self.limit.is_some_and(|limit| self.start.elapsed() >= limit)
    }
}

/// How far a search is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Replays done.
    pub replays: u32,
    /// Candidates judged.
    pub judged: usize,
    /// The smallest capacity found so far, in bytes.
    pub best: Option<u64>,
}

/// Steps from which on a trace is long: then capacities are told apart by a part of peak active, and in the end the best one's is
/// narrowed down.
const LONG: u64 = 1 << 19;

/// The part of peak active, of a long trace.
const COARSE: u64 = 1024;

/// Searches the smallest capacity over `candidates`. `progress` is told how far it is.
///
/// When the effort is spent, the best so far is the answer. There is always one if any candidate plays at all: the first that does is
/// looked for without a limit.
///
/// # Errors
/// The trace, a configuration or the options are not sound, or no candidate plays the trace at any capacity.
pub fn fit(
    trace: &TraceFile,
    scan: &Scan,
    candidates: &[Config],
    options: Options,
    effort: &Effort,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Fit, SessionError> {
    let tape = Tape::new(trace, scan)?;
    let is_long = scan.totals.events >= LONG;
    let least = scan.totals.peak_active_bytes.next_multiple_of(STEP).max(STEP);
    let grain = if is_long { (least / COARSE).next_multiple_of(STEP) } else { STEP };
    let order = if is_long { spread(candidates.len()) } else { (0..candidates.len()).collect() };
    let search = Search { tape: &tape, candidates, order: &order, options, effort };
    let mut so_far = Progress::default();
    // The best so far: its position, and its capacity.
    let mut best: Option<(usize, u64)> = None;
    let mut stopped = false;
    let mut from = 0;
    while from < order.len() && !stopped {
        let (position, mut high) = match best {
            Some((_, capacity)) if capacity < least + grain => break,
            Some((_, capacity)) => {
                let below = capacity - grain;
                let before = so_far;
                let found = search.first(from, below, &mut |replays, position| {
                    progress(&Progress {
                        replays: before.replays + replays,
                        judged: position,
                        ..before
                    });
                })?;
                so_far.replays += found.replays;
                so_far.judged += found.judged;
                stopped = found.stopped;
                match found.first {
                    Some(position) => (position, below),
                    None => break,
                }
            }
            None => {
                so_far.judged += 1;
                let mut plays = |capacity| {
                    so_far.replays += 1;
                    progress(&so_far);
                    let played = search.plays_at(from, capacity, &|| false)?;
                    Ok(played == Some(true))
                };
                match some_capacity(least, &mut plays)? {
                    Some(capacity) => (from, capacity),
                    None => {
                        from += 1;
                        continue;
                    }
                }
            }
        };
        so_far.best = Some(high);
        stopped |=
            !narrow(&search, position, least - STEP, &mut high, grain, &mut so_far, progress)?;
        best = Some((position, high));
        from = position + 1;
    }
    let Some((position, mut high)) = best else {
        return Err(SessionError::Options(
            "no candidate plays this trace at any capacity; with --in-flight, try --allow-wait"
                .to_owned(),
        ));
    };
    if !stopped && grain > STEP {
        let low = high.saturating_sub(grain).max(least - STEP);
        stopped = !narrow(&search, position, low, &mut high, STEP, &mut so_far, progress)?;
    }
    let config = &candidates[order[position]];
    Ok(Fit {
        capacity: high,
        config: Config { capacity: Some(Bytes(high)), ..config.clone() },
        replays: so_far.replays,
        judged: so_far.judged,
        candidates: candidates.len(),
        stopped,
    })
}

/// Bisects between `low`, which does not play, and `high`, which does, until they are `grain` apart. False if there was no time to.
fn narrow(
    search: &Search<'_>,
    position: usize,
    mut low: u64,
    high: &mut u64,
    grain: u64,
    so_far: &mut Progress,
    progress: &mut dyn FnMut(&Progress),
) -> Result<bool, SessionError> {
    while *high - low > grain {
        let middle = low + (*high - low) / STEP / 2 * STEP;
        progress(so_far);
        match search.plays_at(position, middle, &|| search.effort.is_spent())? {
            Some(true) => *high = middle,
            Some(false) => low = middle,
            None => return Ok(false),
        }
        so_far.replays += 1;
        so_far.best = Some(*high);
    }
    Ok(true)
}

/// All positions below `count`, the first one first, so that any beginning of them is spread over all: families differ more than their
/// members.
fn spread(count: usize) -> Vec<usize> {
    // Near the golden section, and without a common factor, so that it comes by all of them.
    let gcd = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let golden = count * 618 / 1000;
    let stride = (golden.max(1)..).find(|&stride| gcd(stride, count) == 1).unwrap_or(1);
    (0..count).map(|i| i * stride % count).collect()
}

/// A capacity that plays: peak active and a little, then more and more.
fn some_capacity(
    least: u64,
    plays: &mut dyn FnMut(u64) -> Result<bool, SessionError>,
) -> Result<Option<u64>, SessionError> {
    // Blocks of one size, and some traces of few, need no more than what is live.
    if plays(least)? {
        return Ok(Some(least));
    }
    let mut extra = (least / 16).next_multiple_of(STEP);
    while let Some(capacity) = least.checked_add(extra).filter(|&capacity| capacity / 64 <= least) {
        if plays(capacity)? {
            return Ok(Some(capacity));
        }
        extra *= 2;
    }
    Ok(None)
}

/// The first of `candidates` that plays at a capacity, if any does. None is tried below peak active.
///
/// # Errors
/// As of [`TraceFile::play`].
pub fn first_that_plays(
    trace: &TraceFile,
    scan: &Scan,
    candidates: &[Config],
    capacity: u64,
    options: Options,
    progress: &mut dyn FnMut(usize),
) -> Result<Option<usize>, SessionError> {
    if capacity < scan.totals.peak_active_bytes {
        return Ok(None);
    }
    let tape = Tape::new(trace, scan)?;
    let order: Vec<usize> = (0..candidates.len()).collect();
    let effort = &Effort::from_now(None);
    let search = Search { tape: &tape, candidates, order: &order, options, effort };
    let found = search.first(0, capacity, &mut |_, position| progress(position))?;
    Ok(found.first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Backing;
    use crate::format::ReadOptions;
    use crate::synthetic::Synthetic;
    use std::collections::HashSet;

    fn shipped(name: &str) -> (TraceFile, Scan) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../traces/");
        let trace = TraceFile::new(format!("{path}{name}.csv.gz"), ReadOptions::default());
        let scan = trace.scan(&mut |_| ()).unwrap();
        (trace, scan)
    }

    #[test]
    fn the_default_is_first_and_none_is_tried_twice() {
        let (_, scan) = shipped("resnet50_train");
        let candidates = candidates(&scan);
        assert_eq!(candidates[0], one(PoolSpec::of(Kind::Tlsf)));
        let texts: HashSet<String> = candidates.iter().map(Config::to_toml).collect();
        assert_eq!(texts.len(), candidates.len());
        assert!(candidates.iter().all(|config| config.check().is_ok()));
        assert!(candidates.iter().any(|config| config.pools.len() == 2));
        let grid: Vec<u64> = thresholds().collect();
        assert_eq!((grid.len(), grid[0], grid[24]), (25, 256 << 10, 16 << 20));
        assert!(grid.is_sorted() && grid.contains(&3_670_016));
    }

    #[test]
    fn every_set_of_two_pools_plays_where_there_is_room() {
        let (trace, scan) = shipped("vit_infer");
        let tape = Tape::new(&trace, &scan).unwrap();
        let live = scan.totals.peak_live_bytes;
        let candidates = candidates(&scan);
        let sets: Vec<_> = candidates.iter().filter(|config| config.pools.len() == 2).collect();
        assert!(!sets.is_empty());
        for config in sets {
            assert!(plays_at(&tape, config, 2 * live), "{config}");
            assert!(!plays_at(&tape, config, live / 2), "{config}");
        }
    }

    fn plays_at(tape: &Tape<'_>, config: &Config, capacity: u64) -> bool {
        let config = Config { capacity: Some(Bytes(capacity)), ..config.clone() };
        let options = Options { unchecked: true, ..Options::default() };
        let backing = Backing::numbers(Some(capacity));
        let outcome = tape.play_until(&config, &backing, options, &|| false).unwrap();
        outcome.unwrap().failure.is_none()
    }

    fn load(events: u64) -> (TraceFile, Scan) {
        let load = Synthetic { events, max_bytes: 1 << 20, ..Synthetic::default() };
        let trace = TraceFile::of("load", load.into_input().unwrap(), ReadOptions::default());
        let scan = trace.scan(&mut |_| ()).unwrap();
        (trace, scan)
    }

    /// The plain search: one after the other, each to its end.
    fn plainly(trace: &TraceFile, scan: &Scan, candidates: &[Config]) -> (u64, Config) {
        let tape = Tape::new(trace, scan).unwrap();
        let least = scan.totals.peak_active_bytes.next_multiple_of(STEP);
        let mut best: Option<(u64, Config)> = None;
        for candidate in candidates {
            let mut high = match &best {
                Some((capacity, _)) => capacity - STEP,
                None => some_capacity(least, &mut |at| Ok(plays_at(&tape, candidate, at)))
                    .unwrap()
                    .unwrap(),
            };
            if high < least || !plays_at(&tape, candidate, high) {
                continue;
            }
            let mut low = least - STEP;
            while high - low > STEP {
                let middle = low + (high - low) / STEP / 2 * STEP;
                let end = if plays_at(&tape, candidate, middle) { &mut high } else { &mut low };
                *end = middle;
            }
            best = Some((high, Config { capacity: Some(Bytes(high)), ..candidate.clone() }));
        }
        best.unwrap()
    }

    #[test]
    fn threads_and_early_ends_change_nothing() {
        let (trace, scan) = load(3000);
        let candidates: Vec<Config> = candidates(&scan).into_iter().step_by(5).collect();
        let (capacity, config) = plainly(&trace, &scan, &candidates);
        for threads in [1, 2, 5] {
            let effort = Effort::from_now(None).on_threads(threads);
            let options = Options::default();
            let found = fit(&trace, &scan, &candidates, options, &effort, &mut |_| ()).unwrap();
            assert_eq!((found.capacity, &found.config), (capacity, &config), "{threads}");
            assert_eq!((found.judged, found.stopped), (candidates.len(), false));
        }
    }

    #[test]
    fn when_time_is_up_the_best_so_far_plays_and_says_so() {
        let (trace, scan) = load(3000);
        let candidates = candidates(&scan);
        let effort = Effort::from_now(Some(Duration::ZERO));
        let mut told = Vec::new();
        let mut progress = |at: &Progress| told.push(*at);
        let found =
            fit(&trace, &scan, &candidates, Options::default(), &effort, &mut progress).unwrap();
        assert!(found.stopped && found.judged < candidates.len(), "{found:?}");
        let tape = Tape::new(&trace, &scan).unwrap();
        assert!(plays_at(&tape, &found.config, found.capacity));
        assert_eq!(told.last().unwrap().best, Some(found.capacity));
    }

    /// A long trace is searched coarsely, then narrowed down: a page less does not play.
    #[test]
    fn a_long_trace_is_narrowed_down_in_the_end() {
        let (trace, scan) = load(LONG);
        let candidates = &candidates(&scan)[..3];
        let effort = Effort::from_now(None);
        let options = Options::default();
        let found = fit(&trace, &scan, candidates, options, &effort, &mut |_| ()).unwrap();
        let tape = Tape::new(&trace, &scan).unwrap();
        assert!(!found.stopped && plays_at(&tape, &found.config, found.capacity));
        assert!(!plays_at(&tape, &found.config, found.capacity - STEP));
    }

    #[test]
    fn an_order_that_is_spread_has_each_once_and_the_first_first() {
        for count in [1, 2, 3, 10, 385, 618] {
            let mut order = spread(count);
            assert_eq!(order[0], 0);
            order.sort_unstable();
            assert!(order.into_iter().eq(0..count), "{count}");
        }
        assert!(spread(0).is_empty());
    }

    #[test]
    fn a_tape_says_what_the_file_says() {
        let (trace, scan) = shipped("vit_infer");
        let held = Tape::new(&trace, &scan).unwrap();
        assert!(held.held.is_some());
        let mut read = Tape::new(&trace, &scan).unwrap();
        read.held = None;
        let config = one(PoolSpec::of(Kind::Tlsf));
        for capacity in [scan.totals.peak_live_bytes * 2, scan.totals.peak_live_bytes / 2] {
            let play = |tape: &Tape<'_>| {
                let backing = Backing::numbers(Some(capacity));
                let options = Options::default();
                let outcome = tape.play_until(&config, &backing, options, &|| false).unwrap();
                let outcome = outcome.unwrap();
                (outcome.events, outcome.stats, outcome.failure)
            };
            assert_eq!(play(&held), play(&read));
        }
    }

    /// The search counts on it: what it found is what a checked replay does.
    #[test]
    fn a_search_and_a_checked_replay_fail_at_the_same_event() {
        let (trace, scan) = shipped("resnet50_train");
        let tape = Tape::new(&trace, &scan).unwrap();
        for number in [0, 40, 116, 200] {
            let config = &candidates(&scan)[number];
            let capacity = scan.totals.peak_live_bytes / 100 * 101;
            let config = Config { capacity: Some(Bytes(capacity)), ..config.clone() };
            let play = |unchecked| {
                let options = Options { unchecked, ..Options::default() };
                let backing = Backing::numbers(Some(capacity));
                let outcome = tape.play_until(&config, &backing, options, &|| false).unwrap();
                outcome.unwrap().failure
            };
            let checked = play(false);
            assert!(checked.is_some());
            assert_eq!(checked, play(true), "{config}");
        }
    }
}
