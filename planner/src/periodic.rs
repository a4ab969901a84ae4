//! Steps that repeat: blocks that one step makes and the next one frees have one place, in use at both ends of a step and free between.
//!
//! ```text
//!   step        │ a ──────── freed          made ──── a │ the next step's a has the place of this one's
//!                               └─── gap ───┘             others may stand there meanwhile
//! ```
//!
//! First fit, in several orders, over lifetimes with gaps: the exact search and the skyline know blocks of one lifetime only. Where no block
//! has a gap, [`plan`](crate::plan) is better.
//!
//! Cost: O(n²) for each order.

use crate::{Lifetime, Plan};
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Blocks beyond which nothing is tried: seconds, otherwise.
const MOST: usize = 1 << 14;

/// A block's lifetime as it is in use: before and after its gap, or once. `None` where a gap leaves nothing of a part.
pub fn parts(life: &Lifetime, gap: Option<(u64, u64)>) -> [Option<Lifetime>; 2] {
    let (from, to) = match gap {
        Some((from, to)) if from < to => (from.max(life.lower), to.min(life.upper)),
        _ => return [Some(*life), None],
    };
    let before = Lifetime { upper: from, ..*life };
    let after = Lifetime { lower: to, ..*life };
    [before, after].map(|part| Some(part).filter(|part| part.lower < part.upper))
}

/// The smallest plan that first fit finds. `gaps` has as many entries as there are lifetimes: when a block's place is not in use, in the
/// lifetimes' times. `None` for more than 2^14 blocks, and where sizes do not add up in 64 bits.
pub fn plan(lifetimes: &[Lifetime], gaps: &[Option<(u64, u64)>]) -> Option<Plan> {
    if lifetimes.len() > MOST || lifetimes.len() != gaps.len() {
        return None;
    }
    let parts: Vec<_> = lifetimes.iter().zip(gaps).map(|(life, &gap)| parts(life, gap)).collect();
    let bound = most_live(&parts)?;
    let span = |number: usize| -> u64 {
        parts[number].iter().flatten().map(|part| part.upper - part.lower).sum()
    };
    let size = |number: usize| lifetimes[number].size;
    let mut best: Option<Plan> = None;
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    for by in 0..4 {
        match by {
            0 => order.sort_by_key(|&n| (Reverse(size(n)), Reverse(span(n)), n)),
            1 => order.sort_by_key(|&n| (Reverse(u128::from(size(n)) * u128::from(span(n))), n)),
            2 => order.sort_by_key(|&n| (Reverse(span(n)), Reverse(size(n)), n)),
            _ => order.sort_by_key(|&n| (lifetimes[n].lower, Reverse(size(n)), n)),
        }
        let (offsets, bytes) = first_fit(lifetimes, &parts, &order)?;
        if best.as_ref().is_none_or(|best| bytes < best.bytes) {
            best = Some(Plan { offsets, bytes, bound, optimal: bytes == bound });
        }
    }
    best
}

/// The most bytes in use at once, which no plan is below.
fn most_live(parts: &[[Option<Lifetime>; 2]]) -> Option<u64> {
    let mut events = Vec::with_capacity(parts.len() * 4);
    for part in parts.iter().flatten().flatten() {
        events.push((part.upper, false, part.size));
        events.push((part.lower, true, part.size));
    }
    events.sort_unstable();
    let (mut live, mut most) = (0_u64, 0);
    for (_, begins, size) in events {
        live = if begins { live.checked_add(size)? } else { live - size };
        most = most.max(live);
    }
    Some(most)
}

fn overlap(a: &[Option<Lifetime>; 2], b: &[Option<Lifetime>; 2]) -> bool {
    let meet = |a: &Lifetime, b: &Lifetime| a.lower < b.upper && b.lower < a.upper;
    a.iter().flatten().any(|a| b.iter().flatten().any(|b| meet(a, b)))
}

/// Each block in its order at the lowest place where it shares no byte with one that is in use meanwhile.
fn first_fit(
    lifetimes: &[Lifetime],
    parts: &[[Option<Lifetime>; 2]],
    order: &[usize],
) -> Option<(Vec<u64>, u64)> {
    let mut offsets = alloc::vec![0; lifetimes.len()];
    let mut bytes = 0;
    let mut beside: Vec<(u64, u64)> = Vec::new();
    for (at, &number) in order.iter().enumerate() {
        let life = &lifetimes[number];
        let meanwhile = order[..at].iter().filter(|&&other| overlap(&parts[number], &parts[other]));
        beside.clear();
        beside.extend(
            meanwhile.map(|&other| (offsets[other], offsets[other] + lifetimes[other].size)),
        );
        beside.sort_unstable();
        let alignment = life.alignment.max(1);
        let mut place = 0_u64;
        for &(from, to) in &beside {
            if place.checked_add(life.size)? <= from {
                break;
            }
            place = place.max(to.checked_next_multiple_of(alignment)?);
        }
        offsets[number] = place;
        bytes = bytes.max(place.checked_add(life.size)?);
    }
    Some((offsets, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::check;

    fn life(lower: u64, upper: u64, size: u64) -> Lifetime {
        Lifetime { lower, upper, size, alignment: 1, stream: 0 }
    }

    #[test]
    fn what_is_freed_before_it_is_made_again_leaves_its_place_to_others() {
        // Gradients: freed early, made late; a temporary lives in between.
        let lives = [life(0, 10, 8), life(0, 10, 8), life(3, 6, 16)];
        let gaps = [Some((2, 7)), Some((2, 8)), None];
        let made = plan(&lives, &gaps).unwrap();
        assert_eq!((made.bytes, made.bound, made.optimal), (16, 16, true));
        assert_eq!(plan(&lives, &[None; 3]).unwrap().bytes, 32);
    }

    #[test]
    fn plans_are_sound_and_not_below_the_bound() {
        let mut state = 7_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let count = 2 + next(30);
            let mut lives = Vec::new();
            let mut gaps = Vec::new();
            for _ in 0..count {
                let (lower, alignment) = (next(40), 1 << next(4));
                let upper = lower + 1 + next(40);
                lives.push(Lifetime { lower, upper, size: 1 + next(50), alignment, stream: 0 });
                let from = next(80);
                gaps.push((next(2) == 0).then(|| (from, from + next(30))));
            }
            let made = plan(&lives, &gaps).unwrap();
            assert!(made.bytes >= made.bound);
            let (mut split, mut offsets) = (Vec::new(), Vec::new());
            for ((life, &gap), &offset) in lives.iter().zip(&gaps).zip(&made.offsets) {
                for part in parts(life, gap).into_iter().flatten() {
                    split.push(part);
                    offsets.push(offset);
                }
            }
            check(&split, &offsets, made.bytes).unwrap();
        }
    }
}
