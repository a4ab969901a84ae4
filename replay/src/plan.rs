//! Which pools a trace is played through when nobody wrote a configuration: what `--pool auto` stands for.

use crate::config::{Config, Kind, Policy, PoolSpec};
use crate::engine::Options;
use crate::fit;
use crate::session::{Scan, SessionError, TraceFile};
use crate::size::Bytes;

/// What is asked for. Everything may be left open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The kind of pool; none is picked by the trace.
    pub kind: Option<Kind>,
    /// Bytes of an ordinary slab.
    pub slab: Option<Bytes>,
    /// The provider refuses slabs beyond this; given alone, the first of fit's configurations that plays is used.
    pub capacity: Option<Bytes>,
    /// The most bytes reserved at once.
    pub budget: Option<Bytes>,
    /// What merges with what.
    pub policy: Option<Policy>,
}

/// A configuration, and in a few words why it is this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The configuration.
    pub config: Config,
    /// Why, for people.
    pub choice: String,
}

/// Decides. `progress` is told how many configurations were tried, of how many. Where the capacity alone is given this replays the trace
/// over numbers until a configuration plays; else it costs nothing.
///
/// # Errors
/// The wish contradicts itself, or the trace cannot be read again.
pub fn plan(
    wish: &Wish,
    trace: &TraceFile,
    scan: &Scan,
    options: Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Plan, SessionError> {
    let limits = |config: Config| Config {
        capacity: wish.capacity.or(config.capacity),
        budget: wish.budget.or(config.budget),
        ..config
    };
    let one = |kind| {
        let policy = wish.policy.unwrap_or_default();
        let spec = PoolSpec { slab: wish.slab, policy, ..PoolSpec::of(kind) };
        limits(Config { pools: vec![spec], ..Config::default() })
    };
    let plan = |config, choice: &str| Ok(Plan { config, choice: choice.to_owned() });
    if wish.policy.is_some() && !matches!(wish.kind, None | Some(Kind::Tlsf)) {
        let error = "--policy is about merging blocks, which only --pool tlsf does";
        return Err(SessionError::Options(error.to_owned()));
    }
    if let Some(kind) = wish.kind {
        return plan(one(kind), "as asked");
    }
    if wish.policy.is_some() {
        return plan(one(Kind::Tlsf), "for the policy");
    }
    if scan.sizes.are_equal() {
        return plan(one(Kind::Fixed), "all blocks are of one size");
    }
    let (Some(capacity), None, None) = (wish.capacity, wish.slab, wish.budget) else {
        return plan(one(Kind::Tlsf), "sizes differ");
    };
    // All of a capacity is asked for: what fit would try, in the same order.
    let candidates = fit::candidates(scan);
    let of = candidates.len();
    let found =
        fit::first_that_plays(trace, scan, &candidates, capacity.0, options, &mut |number| {
            progress(number, of);
        })?;
    let (number, choice) = match found {
        Some(0) => (0, "sizes differ".to_owned()),
        Some(n) => (
            n,
            format!(
                "{}; number {} of {of}, the first that fits the capacity",
                candidates[n],
                n + 1
            ),
        ),
        None if capacity.0 < scan.totals.peak_active_bytes => (
            0,
            "sizes differ; the capacity is below peak active, which no pool can serve".to_owned(),
        ),
        None => (0, format!("sizes differ; none of {of} configurations fits the capacity")),
    };
    let config = candidates.into_iter().nth(number).unwrap_or_else(|| one(Kind::Tlsf));
    Ok(Plan { config: limits(config), choice })
}
