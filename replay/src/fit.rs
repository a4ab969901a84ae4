//! Fitting: the smallest capacity at which a trace succeeds, and the configuration that gets there.
//!
//! ```text
//!   for each candidate:   does it play below the best so far?  no ─▶ next
//!                                   │ yes
//!                         bisect (peak active, that capacity) ─▶ the new best
//! ```
//!
//! Candidates are online policies: none knows the future. A candidate that cannot beat the best costs one replay. Replays
//! are over numbers only (no memory, no oracle); whoever reports a fit plays it once more for real.
//!
//! Whether a trace plays is not strictly monotone in the capacity. The bisection finds a capacity at which it plays, one
//! page below which it does not.

use crate::build::{Backing, DEFAULT_GRANULE, DEFAULT_PLACEMENT, Small};
use crate::config::{Config, Kind, PoolSpec};
use crate::engine::Options;
use crate::session::{Scan, SessionError, Tape, TraceFile};
use crate::size::Bytes;
use core::cell::Cell;
use strandline_core::offset::tlsf::{Carve, Placement, Search, Tie};

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
    let searches = [Search::Head, BEST_LOW, BEST_LAST];
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
            for search in [Search::Head, BEST_LOW] {
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

const BEST_LOW: Search = Search::Best { scan: 16, tie: Tie::Low };
const BEST_LAST: Search = Search::Best { scan: 16, tie: Tie::Last };

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

/// Searches the smallest capacity over `candidates`. `progress` is told how far it is: replays done, and the candidate's
/// number.
///
/// # Errors
/// The trace, a configuration or the options are not sound, or no candidate plays the trace at any capacity.
pub fn fit(
    trace: &TraceFile,
    scan: &Scan,
    candidates: &[Config],
    options: Options,
    progress: &mut dyn FnMut(u32, usize),
) -> Result<Fit, SessionError> {
    fit_while(trace, scan, candidates, options, &mut |replays, number| {
        progress(replays, number);
        true
    })
}

/// As [`fit`], for as long as `go_on` says so: it is told how far the search is before each replay. Once something plays, the search
/// ends at the first no, with the best so far.
///
/// # Errors
/// As of [`fit`].
pub fn fit_while(
    trace: &TraceFile,
    scan: &Scan,
    candidates: &[Config],
    options: Options,
    go_on: &mut dyn FnMut(u32, usize) -> bool,
) -> Result<Fit, SessionError> {
    let tape = Tape::new(trace, scan)?;
    let enough = Cell::new(false);
    let mut replays = 0;
    let mut best: Option<Fit> = None;
    let least = scan.totals.peak_active_bytes.next_multiple_of(STEP).max(STEP);
    for (number, candidate) in candidates.iter().enumerate() {
        let mut plays = |capacity| {
            replays += 1;
            enough.set(enough.get() | !go_on(replays, number));
            plays_at(&tape, candidate, capacity, options)
        };
        let mut high = match &best {
            Some(best) if best.capacity == least || enough.get() => break,
            Some(best) => {
                let below = best.capacity - STEP;
                if !plays(below)? {
                    continue;
                }
                below
            }
            None => match some_capacity(least, &mut plays)? {
                Some(capacity) => capacity,
                None => continue,
            },
        };
        // Below peak active nothing plays; `high` does.
        let mut low = least - STEP;
        while high - low > STEP && !enough.get() {
            let middle = low + (high - low) / STEP / 2 * STEP;
            if plays(middle)? {
                high = middle;
            } else {
                low = middle;
            }
        }
        let config = Config { capacity: Some(Bytes(high)), ..candidate.clone() };
        best = Some(Fit { capacity: high, config, replays: 0 });
    }
    match best {
        Some(fit) => Ok(Fit { replays, ..fit }),
        None => Err(SessionError::Options(
            "no candidate plays this trace at any capacity; with --in-flight, try --allow-wait"
                .to_owned(),
        )),
    }
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

/// Whether a trace plays at a capacity, without touching memory.
fn plays_at(
    tape: &Tape<'_>,
    config: &Config,
    capacity: u64,
    options: Options,
) -> Result<bool, SessionError> {
    let config = Config { capacity: Some(Bytes(capacity)), ..config.clone() };
    let options = Options { unchecked: true, ..options };
    let outcome = tape.play(&config, &Backing::numbers(Some(capacity)), options)?;
    Ok(outcome.failure.is_none())
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
    for (number, candidate) in candidates.iter().enumerate() {
        progress(number);
        if plays_at(&tape, candidate, capacity, options)? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ReadOptions;
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
            let plays = plays_at(&tape, config, 2 * live, Options::default());
            assert!(plays.unwrap(), "{config}");
            assert!(!plays_at(&tape, config, live / 2, Options::default()).unwrap(), "{config}");
        }
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
                let outcome = tape.play(&config, &backing, Options::default()).unwrap();
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
                tape.play(&config, &Backing::numbers(Some(capacity)), options).unwrap().failure
            };
            let checked = play(false);
            assert!(checked.is_some());
            assert_eq!(checked, play(true), "{config}");
        }
    }
}
