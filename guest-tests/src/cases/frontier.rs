//! The algebra of frontiers: laws over a set of samples, the wire form, bad input.

use crate::check::{Wrong, check, got};
use crate::world::{Causality, Entry, Refusal, World};
use alloc::vec::Vec;

const fn at(axis: u64, epoch: u64) -> Entry {
    Entry { axis, epoch }
}

/// Frontiers that stand to each other in every way.
fn samples() -> Vec<Vec<Entry>> {
    let mut samples: Vec<Vec<Entry>> = [
        &[][..],
        &[at(1, 1)],
        &[at(1, 5)],
        &[at(2, 3)],
        &[at(1, 1), at(2, 3)],
        &[at(1, 5), at(2, 2)],
        &[at(1, 4), at(2, 4), at(7, u64::MAX)],
        &[at(0, 1), at(u64::MAX, 1)],
        &[at(3, 9), at(4, 9), at(5, 9), at(6, 9), at(8, 9)],
    ]
    .into_iter()
    .map(<[Entry]>::to_vec)
    .collect();
    samples.push((10..265).map(|axis| at(axis, 2)).collect());
    samples
}

pub(super) async fn frontier_order_laws<W: World>(world: &mut W) -> Result<(), Wrong> {
    for a in &samples() {
        check!(world.compare(a, a) == Ok(Causality::Equal), a);
        check!(world.dominates(a, &[]) == Ok(true), a);
        for b in &samples() {
            let (there, back) = (got!(world.compare(a, b)), got!(world.compare(b, a)));
            let reverse = match there {
                Causality::Before => Causality::After,
                Causality::After => Causality::Before,
                same => same,
            };
            check!(back == reverse, a, b, there, back);
            let dominates = matches!(there, Causality::After | Causality::Equal);
            check!(world.dominates(a, b) == Ok(dominates), a, b, there);
        }
    }
    Ok(())
}

pub(super) async fn frontier_join_laws<W: World>(world: &mut W) -> Result<(), Wrong> {
    for a in &samples() {
        for b in &samples() {
            let joined = got!(world.merge(a, b));
            let union = a.len() + b.iter().filter(|e| a.iter().all(|f| f.axis != e.axis)).count();
            check!(joined.is_some() == (union <= 255), a, b);
            let Some((join, second)) = joined else { continue };
            check!(world.dominates(&join, a) == Ok(true), join, a);
            check!(world.dominates(&join, b) == Ok(true), join, b);
            check!(join.len() == union, join, a, b);
            check!(second == got!(world.dominates(b, a)), a, b);
            let swapped = got!(world.merge(b, a));
            check!(swapped.map(|(join, _)| join) == Some(join.clone()), a, b);
            // The least: every entry is one of theirs.
            check!(join.iter().all(|e| a.contains(e) || b.contains(e)), join, a, b);
        }
        check!(got!(world.merge(a, a)) == Some((a.clone(), true)), a);
    }
    Ok(())
}

pub(super) async fn frontier_undominated<W: World>(world: &mut W) -> Result<(), Wrong> {
    for a in &samples() {
        for b in &samples() {
            let ahead = |e: &&Entry| a.iter().all(|f| f.axis != e.axis || f.epoch < e.epoch);
            let expected: Vec<Entry> = b.iter().filter(ahead).copied().collect();
            for limit in [0, 1, 3, u32::MAX] {
                let (found, count) = got!(world.undominated(a, b, limit));
                let shown = expected.len().min(limit as usize);
                check!(found == expected[..shown], a, b, limit, found);
                check!(count as usize == expected.len(), a, b, limit, count);
            }
        }
    }
    Ok(())
}

pub(super) async fn frontier_wire<W: World>(world: &mut W) -> Result<(), Wrong> {
    for frontier in &samples() {
        let bytes = got!(world.encode(frontier));
        check!(bytes.len() == 8 + 16 * frontier.len(), bytes);
        check!(bytes[0] as usize == frontier.len() && bytes[1..8] == [0; 7], bytes);
        if let Some(first) = frontier.first() {
            check!(bytes[8..16] == first.axis.to_le_bytes(), bytes);
            check!(bytes[16..24] == first.epoch.to_le_bytes(), bytes);
        }
        check!(world.decode(&bytes).as_ref() == Ok(frontier), bytes);
        let mut longer = bytes.clone();
        longer.push(0);
        check!(world.decode(&longer).is_err(), longer);
        check!(world.decode(&bytes[..bytes.len() - 1]).is_err(), bytes);
        let mut reserved = bytes;
        reserved[7] = 1;
        check!(world.decode(&reserved).is_err(), reserved);
    }
    Ok(())
}

pub(super) async fn frontier_bad_input<W: World>(world: &mut W) -> Result<(), Wrong> {
    let many: Vec<Entry> = (0..256).map(|axis| at(axis, 1)).collect();
    let bad: [&[Entry]; 4] = [&[at(2, 1), at(1, 1)], &[at(1, 1), at(1, 2)], &[at(1, 0)], &many];
    let good = [at(1, 1)];
    for bad in bad {
        let refused = Err(Refusal::InvalidFrontier);
        check!(world.compare(bad, &good) == refused, bad.len());
        check!(world.compare(&good, bad).is_err(), bad.len());
        check!(world.dominates(bad, &good).is_err(), bad.len());
        check!(world.merge(&good, bad).is_err(), bad.len());
        check!(world.undominated(bad, &good, 1).is_err(), bad.len());
        check!(world.encode(bad).is_err(), bad.len());
    }
    let sorted = got!(world.sort(&[at(2, 1), at(1, 4)]));
    check!(sorted == [at(1, 4), at(2, 1)], sorted);
    check!(world.sort(&[at(2, 1), at(1, 4), at(2, 1)]).is_err());
    check!(world.sort(&[at(2, 0)]).is_err());
    check!(world.sort(&many).is_err());
    Ok(())
}
