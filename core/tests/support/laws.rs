//! What a kind of pool hands out, and by which laws the oracle judges it.

use strandline_core::frontier::MAX_ENTRIES;
use strandline_core::pool::MAX_DEATH_AXES;

/// What a pool hands out: the granularity of the oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Ranges of whole granules, anywhere.
    Range { granule: u64 },
    /// Blocks of `stride` bytes at multiples of it.
    Block { stride: u64 },
    /// A whole slab, to requests that come to just its size.
    Slab,
    /// Ranges of a slab that is filled from the left and comes back as a whole.
    Batch,
}

impl Unit {
    /// The most axes of a death that the pool must remember.
    pub(crate) const fn most_axes(self) -> usize {
        match self {
            Self::Range { .. } => MAX_DEATH_AXES,
            Self::Block { .. } | Self::Slab | Self::Batch => MAX_ENTRIES,
        }
    }
}

/// Laws that can be switched, each for a kind of pool. What is not here holds always: no byte is handed out twice or too
/// early, a wait is enough, counters add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Laws {
    /// An origin says what is true for every axis; `Fresh` bytes were never used.
    pub(crate) labels: bool,
    /// A wait names only what is neither reached nor covered, and what some byte waits for.
    pub(crate) minimal_wait: bool,
    /// Nothing is refused, grown for or waited for while a range is there that the requester may use.
    pub(crate) complete: bool,
    /// Nothing is refused to a requester who may wait while a range is there that could be waited for.
    pub(crate) complete_wait: bool,
    /// `growth_required` says whether everything released would be enough.
    pub(crate) growth_required: bool,
    /// Growth takes no more than is needed: into an elastic slab the least that any place lacks, elsewhere an ordinary slab
    /// or one of the request's size.
    pub(crate) minimal_growth: bool,
    /// Peaks are of what was.
    pub(crate) peaks: bool,
    /// The pool shows no byte to wait for more than it does.
    pub(crate) exact_deaths: bool,
    /// After `poll`, whatever could serve a refused request now has moved on the observation it was refused with.
    pub(crate) wakes: bool,
}

impl Laws {
    pub(crate) const ALL: Self = Self {
        labels: true,
        minimal_wait: true,
        complete: true,
        complete_wait: true,
        growth_required: true,
        minimal_growth: true,
        peaks: true,
        exact_deaths: true,
        wakes: true,
    };

    pub(crate) const NONE: Self = Self {
        labels: false,
        minimal_wait: false,
        complete: false,
        complete_wait: false,
        growth_required: false,
        minimal_growth: false,
        peaks: false,
        exact_deaths: false,
        wakes: false,
    };

    /// The laws `now` in force for a kind of pool, unless `STRANDLINE_LAWS` names others: `all`, or a list of those above
    /// with commas between them.
    fn in_force(now: Self) -> Self {
        let Ok(list) = std::env::var("STRANDLINE_LAWS") else { return now };
        let mut laws = Self::NONE;
        for name in list.split(',') {
            match name {
                "all" => return Self::ALL,
                "labels" => laws.labels = true,
                "minimal_wait" => laws.minimal_wait = true,
                "complete" => laws.complete = true,
                "complete_wait" => laws.complete_wait = true,
                "growth_required" => laws.growth_required = true,
                "minimal_growth" => laws.minimal_growth = true,
                "peaks" => laws.peaks = true,
                "exact_deaths" => laws.exact_deaths = true,
                "wakes" => laws.wakes = true,
                other => panic!("STRANDLINE_LAWS names no law: {other}"),
            }
        }
        laws
    }

    /// Of the TLSF pool.
    pub(crate) fn tlsf() -> Self {
        Self::in_force(Self::ALL)
    }

    /// Of the TLSF pool with eager merging, which joins deaths of neighbours and is there to be compared with.
    pub(crate) fn tlsf_eager() -> Self {
        let Self { growth_required, minimal_growth, peaks, labels, .. } = Self::tlsf();
        Self { growth_required, minimal_growth, peaks, labels, ..Self::NONE }
    }

    /// Of the fixed-block pool.
    pub(crate) fn fixed_block() -> Self {
        Self::in_force(Self::ALL)
    }

    /// Of the arena. What was released counts as pending, and is shown so, until its batch is over.
    pub(crate) fn arena() -> Self {
        Self { exact_deaths: false, ..Self::in_force(Self::ALL) }
    }

    /// Of the passthrough pool.
    pub(crate) fn passthrough() -> Self {
        Self::in_force(Self::ALL)
    }
}
