//! The routing decision and the sums: pure functions over plain values.

use crate::pool::stats::add_fields;
use crate::slab::{BufferUsage, MemoryType, SlabStats};

/// What is needed of a pool.
///
/// ```
/// use strandline_core::pool_set::Need;
/// use strandline_core::slab::{BufferUsage, MemoryType};
/// let need = Need::new(4096).of(MemoryType::DEVICE_LOCAL).used_for(BufferUsage::STORAGE);
/// assert_eq!(need.size, 4096);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Flags that the memory must have, except for [`MemoryType::OPTIMAL`], which is a wish.
    pub memory_type: MemoryType,
    /// Uses that it must permit.
    pub usage: BufferUsage,
    /// Bytes.
    pub size: u64,
}

impl Need {
    /// `size` bytes of any memory for any use.
    #[must_use]
    pub const fn new(size: u64) -> Self {
        Self { memory_type: MemoryType::NONE, usage: BufferUsage::NONE, size }
    }

    /// With these flags.
    #[must_use]
    pub const fn of(mut self, memory_type: MemoryType) -> Self {
        self.memory_type = memory_type;
        self
    }

    /// For these uses.
    #[must_use]
    pub const fn used_for(mut self, usage: BufferUsage) -> Self {
        self.usage = usage;
        self
    }
}

/// What routing knows of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Higher is considered first.
    pub priority: i32,
    /// How its memory can be reached.
    pub memory_type: MemoryType,
    /// What its memory may be used for.
    pub usage: BufferUsage,
    /// The smallest request routed here, in bytes.
    pub min_size: u64,
    /// The largest request routed here, in bytes.
    pub max_size: u64,
    /// Considered only for requests that are too large for the others.
    pub oversized: bool,
}

/// The requirement that no pool met: the one that ruled out the pools that had met all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMatch {
    /// No pool has memory of this type (or there is no pool).
    MemoryType,
    /// No pool of this memory type permits the use.
    Usage,
    /// No pool of this memory type and use takes the size.
    Size {
        /// The largest size that one of them takes, in bytes.
        largest: u64,
    },
}

impl core::fmt::Display for NoMatch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::MemoryType => f.write_str("no pool has memory of the required type"),
            Self::Usage => f.write_str("no pool of the memory type permits the use"),
            Self::Size { largest } => {
                write!(f, "no pool that fits takes the size (the largest it could be: {largest})")
            }
        }
    }
}

impl core::error::Error for NoMatch {}

/// What [`route`] decides: a position among the rules, or why none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// The pool at this position.
    Pool(usize),
    /// The pool for oversized requests at this position.
    Oversized(usize),
    /// No pool fits.
    NoMatch(NoMatch),
}

/// How far a rule goes along with a need.
enum Fit {
    NotMemoryType,
    NotUsage,
    TooSmall,
    TooLarge,
    Yes,
}

fn fit(rule: &Rule, need: &Need) -> Fit {
    // No pool is for no bytes, which would be no reason: the pool that is for one says it.
    let size = need.size.max(1);
    if !rule.memory_type.contains(need.memory_type.without(MemoryType::OPTIMAL)) {
        Fit::NotMemoryType
    } else if !rule.usage.contains(need.usage) {
        Fit::NotUsage
    } else if size < rule.min_size {
        Fit::TooSmall
    } else if size > rule.max_size {
        Fit::TooLarge
    } else {
        Fit::Yes
    }
}

/// The first rule that fits, hint considered, among those that are (not) for oversized requests.
fn first(rules: &[Rule], need: &Need, oversized: bool) -> Option<usize> {
    let wished = need.memory_type.contains(MemoryType::OPTIMAL);
    let mut found: Option<usize> = None;
    for (index, rule) in rules.iter().enumerate() {
        if found.is_some_and(|found| rules[found].priority != rule.priority) {
            break;
        }
        if rule.oversized != oversized || !matches!(fit(rule, need), Fit::Yes) {
            continue;
        }
        if !wished || rule.memory_type.contains(MemoryType::OPTIMAL) {
            return Some(index);
        }
        // It fits but is not optimal: only an optimal one of the same priority comes before it.
        found = found.or(Some(index));
    }
    found
}

/// Which of `rules`, in descending priority, serves `need`. Pure; one pass over the rules for each
/// question, no allocation.
///
/// A request is oversized when it is too large for every ordinary pool that fits otherwise, and there
/// is at least one: a set without pools for a memory type has no opinion on what is large in it.
///
/// ```
/// use strandline_core::pool_set::{Decision, Need, Rule, route};
/// use strandline_core::slab::{BufferUsage, MemoryType};
/// let rule = Rule {
///     priority: 0,
///     memory_type: MemoryType::DEVICE_LOCAL,
///     usage: BufferUsage::STORAGE,
///     min_size: 1,
///     max_size: 1024,
///     oversized: false,
/// };
/// let need = Need::new(100).of(MemoryType::DEVICE_LOCAL.union(MemoryType::OPTIMAL));
/// assert_eq!(route(&[rule], &need), Decision::Pool(0));
/// ```
pub fn route(rules: &[Rule], need: &Need) -> Decision {
    if let Some(index) = first(rules, need, false) {
        return Decision::Pool(index);
    }
    // Why not: the furthest that any ordinary rule came along, the largest size among those that
    // only the size rules out, and whether it rules all of them out by being too large.
    let mut why = NoMatch::MemoryType;
    let mut oversized = true;
    for rule in rules.iter().filter(|rule| !rule.oversized) {
        match fit(rule, need) {
            Fit::NotMemoryType => {}
            Fit::NotUsage => {
                if why == NoMatch::MemoryType {
                    why = NoMatch::Usage;
                }
            }
            reason @ (Fit::TooSmall | Fit::TooLarge | Fit::Yes) => {
                oversized &= matches!(reason, Fit::TooLarge);
                let largest = match why {
                    NoMatch::Size { largest } => largest.max(rule.max_size),
                    NoMatch::MemoryType | NoMatch::Usage => rule.max_size,
                };
                why = NoMatch::Size { largest };
            }
        }
    }
    let NoMatch::Size { largest } = why else { return Decision::NoMatch(why) };
    if !oversized {
        return Decision::NoMatch(why);
    }
    if let Some(index) = first(rules, need, true) {
        return Decision::Oversized(index);
    }
    let largest = rules
        .iter()
        .filter(|rule| rule.oversized && matches!(fit(rule, need), Fit::TooLarge))
        .fold(largest, |largest, rule| largest.max(rule.max_size));
    Decision::NoMatch(NoMatch::Size { largest })
}

/// Adds every counter but the identity.
pub(super) fn add_slab_stats(sum: &mut SlabStats, one: &SlabStats) {
    add_fields!(SlabStats {
        slabs,
        committed_bytes,
        peak_committed_bytes,
        cached_bytes,
        acquires,
        releases,
        refusals,
    } but identity)(sum, one);
}
