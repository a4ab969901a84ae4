//! Several streams: who may take whose bytes, and what a plan assumes to be over.
//!
//! ```text
//!   stream 0   ──[ a ]──────────        b takes bytes of a: before b is used, stream 1 has to know of a's death.
//!   stream 1   ─────────[ b ]───        The plan says so: b comes after a.
//! ```
//!
//! The lifetimes' times are one order of all streams' requests. Within a stream the order of the queue is enough. From another stream's
//! block, bytes may be taken only after its death is known; what a plan assumes of that is its [`frontiers`].

use crate::solve::{Options, Plan, plan};
use crate::{Lifetime, Problem, Refused};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Whether a block may take bytes that another stream's block had before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waits {
    /// It may: the least memory.
    #[default]
    Allowed,
    /// It may not: each stream has bytes of its own, and nothing ever waits.
    Forbidden,
    /// The cheaper of those two plans, where each wait counts as so many bytes.
    Priced(u64),
}

/// Plans with a rule for waits. `go_on` is as in [`plan`]; it is told `u64::MAX` where a single stream is planned.
///
/// With `Forbidden` the streams' plans stand one above the other, and the bound is the sum of their bounds: no plan without waits is
/// below that. Streams are planned one after the other, so where time runs out the later ones have greedy plans. `Options::enough`
/// holds for `Allowed` only.
///
/// # Errors
/// As [`Problem::new`].
pub fn plan_streams(
    lifetimes: &[Lifetime],
    waits: Waits,
    options: &Options,
    go_on: &dyn Fn(u64) -> bool,
) -> Result<Plan, Refused> {
    let together = || Ok(plan(&Problem::new(lifetimes)?, options, go_on));
    match waits {
        Waits::Allowed => together(),
        Waits::Forbidden => apart(lifetimes, options, go_on),
        Waits::Priced(price) => {
            Ok(cheaper(lifetimes, price, apart(lifetimes, options, go_on)?, together()?))
        }
    }
}

/// The cheaper of two plans of the same lifetimes, where each wait counts as `price` bytes: `a` if they cost the same.
#[must_use]
pub fn cheaper(lifetimes: &[Lifetime], price: u64, a: Plan, b: Plan) -> Plan {
    let cost = |plan: &Plan| {
        let waits = frontiers(lifetimes, &plan.offsets).iter().map(Vec::len).sum::<usize>();
        u128::from(plan.bytes) + u128::from(price) * waits as u128
    };
    if cost(&a) <= cost(&b) { a } else { b }
}

fn apart(
    lifetimes: &[Lifetime],
    options: &Options,
    go_on: &dyn Fn(u64) -> bool,
) -> Result<Plan, Refused> {
    // The sum of all sizes is checked here once.
    Problem::new(lifetimes)?;
    let mut streams: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (number, block) in lifetimes.iter().enumerate() {
        streams.entry(block.stream).or_default().push(number);
    }
    let mut whole =
        Plan { offsets: alloc::vec![0; lifetimes.len()], bytes: 0, bound: 0, optimal: true };
    for members in streams.values() {
        let own: Vec<Lifetime> = members.iter().map(|&number| lifetimes[number]).collect();
        let options = Options { enough: 0, ..*options };
        let made = plan(&Problem::new(&own)?, &options, &|_| go_on(u64::MAX));
        // A base that suits each alignment of the stream.
        let common = own.iter().map(|block| block.alignment).fold(1, lcm);
        let base = whole.bytes.checked_next_multiple_of(common).unwrap_or(whole.bytes);
        for (&number, &offset) in members.iter().zip(&made.offsets) {
            whole.offsets[number] = base + offset;
        }
        whole.bytes = base + made.bytes;
        whole.bound += made.bound;
    }
    whole.optimal = whole.bytes == whole.bound;
    Ok(whole)
}

/// Least common multiple; stops growing at 2^62.
const fn lcm(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    let product = (a / x).saturating_mul(b);
    if product > 1 << 62 { a } else { product }
}

/// For each block, the blocks of other streams whose death a plan assumes to be known when the block begins: of each other stream the
/// last to end among those that had its bytes last. What an earlier wait of the same stream covers is left out.
///
/// Cost: O((n + k) log n) with k changes of hands.
///
/// # Panics
/// `offsets` is not as long as `lifetimes`.
#[must_use]
pub fn frontiers(lifetimes: &[Lifetime], offsets: &[u64]) -> Vec<Vec<u32>> {
    // What a stream has waited for, by (stream, other stream): the end of a lifetime.
    let mut known: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let mut frontiers = alloc::vec![Vec::new(); lifetimes.len()];
    changes_of_hands(lifetimes, offsets, |number, before| {
        for (&stream, &who) in before {
            let upper = lifetimes[who].upper;
            let seen = known.entry((lifetimes[number].stream, stream)).or_insert(0);
            if *seen < upper {
                *seen = upper;
                frontiers[number].push(who as u32);
            }
        }
    });
    frontiers
}

/// A block that takes bytes of another stream's block which nothing in `after` waits for, and that block: `None` where waits are stated for all. Stated
/// waits hold for everything later on the same stream.
///
/// Cost and panics as [`frontiers`].
#[must_use]
pub fn unwaited(
    lifetimes: &[Lifetime],
    offsets: &[u64],
    after: &[&[u32]],
) -> Option<(usize, usize)> {
    let mut known: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let mut found = None;
    changes_of_hands(lifetimes, offsets, |number, before| {
        let stream = lifetimes[number].stream;
        for other in after[number].iter().filter_map(|&other| lifetimes.get(other as usize)) {
            let seen = known.entry((stream, other.stream)).or_insert(0);
            *seen = other.upper.max(*seen);
        }
        for (&other, &who) in before {
            let seen = known.get(&(stream, other)).copied().unwrap_or(0);
            if seen < lifetimes[who].upper && found.is_none() {
                found = Some((number, who));
            }
        }
    });
    found
}

/// Visits the blocks by their beginnings, each with those of other streams that had its bytes last: of each stream the last to end.
fn changes_of_hands(
    lifetimes: &[Lifetime],
    offsets: &[u64],
    mut visit: impl FnMut(usize, &BTreeMap<u32, usize>),
) {
    assert_eq!(lifetimes.len(), offsets.len(), "one offset a block");
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&number| lifetimes[number].lower);
    // Start of each range: its end, and who had it last.
    let mut last: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    for number in order {
        let block = lifetimes[number];
        let (start, end) = (offsets[number], offsets[number] + block.size);
        let mut before: BTreeMap<u32, usize> = BTreeMap::new();
        let below = last.range(..start).next_back().map(|(&key, _)| key);
        let keys: Vec<u64> =
            below.into_iter().chain(last.range(start..end).map(|(&key, _)| key)).collect();
        for key in keys {
            let Some((its_end, who)) = last.remove(&key) else { continue };
            if key < start {
                last.insert(key, (its_end.min(start), who));
            }
            if its_end > end {
                last.insert(end, (its_end, who));
            }
            let that = lifetimes[who];
            if its_end > start && that.stream != block.stream {
                let entry = before.entry(that.stream).or_insert(who);
                if lifetimes[*entry].upper < that.upper {
                    *entry = who;
                }
            }
        }
        last.insert(start, (end, number));
        visit(number, &before);
    }
}
