//! Fitting: the smallest capacity at which a trace succeeds, and the configuration that gets there.
//!
//! ```text
//!   for each candidate:   does it play below the best so far?  no ─▶ next
//!                                   │ yes
//!                         bisect (peak live, that capacity) ─▶ the new best
//! ```
//!
//! Candidates are online policies: none knows the future. A candidate that cannot beat the best costs one replay. Replays
//! are over numbers only (no memory, no oracle); whoever reports a fit plays it once more for real.
//!
//! Whether a trace plays is not strictly monotone in the capacity. The bisection finds a capacity at which it plays, one
//! page below which it does not.

use crate::build::{Backing, DEFAULT_GRANULE, DEFAULT_PLACEMENT};
use crate::config::{Config, Kind, PoolSpec};
use crate::engine::Options;
use crate::session::{Scan, SessionError, TraceFile};
use crate::size::Bytes;
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
#[must_use]
pub fn candidates(scan: &Scan) -> Vec<Config> {
    let one = |pool| Config { pools: vec![pool], ..Config::default() };
    if scan.sizes.are_equal() {
        return vec![one(PoolSpec::of(Kind::Fixed))];
    }
    let tlsf = |placement: Placement, granule: u64, classes: u32| {
        one(PoolSpec {
            placement: (placement != DEFAULT_PLACEMENT).then(|| placement.into()),
            granule: (granule != DEFAULT_GRANULE).then_some(Bytes(granule)),
            size_classes: (classes != 32).then_some(classes),
            ..PoolSpec::of(Kind::Tlsf)
        })
    };
    let packed = Placement::PACKED;
    let best = Search::Best { scan: 16, tie: Tie::Low };
    let mut configs = vec![tlsf(DEFAULT_PLACEMENT, DEFAULT_GRANULE, 32)];
    for granule in [DEFAULT_GRANULE, 256] {
        for classes in [32, 64] {
            for search in [Search::Head, best] {
                for threshold in [1 << 20, 3 << 20, 8 << 20] {
                    configs.push(tlsf(Placement { search, threshold, ..packed }, granule, classes));
                }
                // Best fit, and two ends by size.
                configs.push(tlsf(Placement { search, ..Placement::FAST }, granule, classes));
                let two_ended =
                    Placement { search, threshold: 1 << 20, large: Carve::Low, small: Carve::High };
                configs.push(tlsf(two_ended, granule, classes));
            }
        }
    }
    let mut unique: Vec<Config> = Vec::with_capacity(configs.len());
    for config in configs {
        if !unique.contains(&config) {
            unique.push(config);
        }
    }
    unique
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
    let mut replays = 0;
    let mut best: Option<Fit> = None;
    let least = scan.totals.peak_live_bytes.next_multiple_of(STEP).max(STEP);
    for (number, candidate) in candidates.iter().enumerate() {
        let mut plays = |capacity| {
            replays += 1;
            progress(replays, number);
            plays_at(trace, scan, candidate, capacity, options)
        };
        let mut high = match &best {
            Some(best) if best.capacity == least => break,
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
        // Below peak live nothing plays; `high` does.
        let mut low = least - STEP;
        while high - low > STEP {
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

/// A capacity that plays: peak live and a little, then more and more.
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
///
/// # Errors
/// As of [`TraceFile::play`].
pub fn plays_at(
    trace: &TraceFile,
    scan: &Scan,
    config: &Config,
    capacity: u64,
    options: Options,
) -> Result<bool, SessionError> {
    let config = Config { capacity: Some(Bytes(capacity)), ..config.clone() };
    let options = Options { unchecked: true, ..options };
    let backing = Backing::numbers(Some(capacity));
    let outcome = trace.play(scan, &config, &backing, options, &mut |_| ())?;
    Ok(outcome.failure.is_none())
}

/// The first of `candidates` that plays at a capacity, if any does.
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
    for (number, candidate) in candidates.iter().enumerate() {
        progress(number);
        if plays_at(trace, scan, candidate, capacity, options)? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}
