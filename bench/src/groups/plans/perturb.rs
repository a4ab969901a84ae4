//! A program as what it acquires and releases, and what is changed in it.

use crate::stream::Rng;
use std::collections::{BTreeMap, HashMap, HashSet};
use strandline_planner::Lifetime;

/// What a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Acquire { block: u32, size: u64 },
    Release { block: u32 },
}

/// How a request is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Another one comes before it, as large as one nearby, and lives as long as that one.
    Inserted,
    /// It does not come.
    Dropped,
    /// It asks for half to twice as much.
    Resized,
    /// It changes places with the next one.
    Swapped,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Inserted, Self::Dropped, Self::Resized, Self::Swapped];
}

/// Another request is as large as one that is at most so many requests away.
const NEARBY: u64 = 64;

/// The operations of lifetimes: releases come before what is acquired at the same time. What lives to the end is not released.
pub(super) fn ops(lifetimes: &[Lifetime]) -> Vec<Op> {
    let end = lifetimes.iter().map(|life| life.upper).max().unwrap_or(0);
    let mut events: Vec<(u64, bool, u32)> = Vec::new();
    for (block, life) in (0..).zip(lifetimes) {
        events.push((life.lower, true, block));
        if life.upper < end {
            events.push((life.upper, false, block));
        }
    }
    events.sort_unstable();
    let op = |(_, begins, block): (u64, bool, u32)| match begins {
        true => Op::Acquire { block, size: lifetimes[block as usize].size },
        false => Op::Release { block },
    };
    events.into_iter().map(op).collect()
}

/// The most bytes live at once.
pub(super) fn peak(ops: &[Op]) -> u64 {
    let mut sizes: Vec<u64> = Vec::new();
    let (mut live, mut peak) = (0, 0);
    for &op in ops {
        match op {
            Op::Acquire { block, size } => {
                sizes.resize(sizes.len().max(block as usize + 1), 0);
                sizes[block as usize] = size;
                live += size;
                peak = peak.max(live);
            }
            Op::Release { block } => live -= sizes[block as usize],
        }
    }
    peak
}

/// The same program with so many of a thousand requests changed.
pub(super) fn perturb(ops: &[Op], per_mille: u64, kinds: &[Kind], seed: u64) -> Vec<Op> {
    let mut rng = Rng::new(seed);
    let requests: Vec<(usize, u32, u64)> = ops
        .iter()
        .enumerate()
        .filter_map(|(at, op)| match *op {
            Op::Acquire { block, size } => Some((at, block, size)),
            Op::Release { .. } => None,
        })
        .collect();
    // How long each block lives, in operations; to the end where it is not released.
    let mut lives = vec![usize::MAX; requests.len()];
    let order: HashMap<u32, usize> =
        requests.iter().enumerate().map(|(n, &(_, block, _))| (block, n)).collect();
    for (at, op) in ops.iter().enumerate() {
        if let Op::Release { block } = op
            && let Some(&n) = order.get(block)
        {
            lives[n] = at - requests[n].0;
        }
    }
    let mut next_block = requests.iter().map(|&(_, block, _)| block + 1).max().unwrap_or(0);
    let mut out: Vec<Op> = Vec::with_capacity(ops.len() + ops.len() / 8);
    let mut dropped: HashSet<u32> = HashSet::new();
    // Releases of what was inserted, by operation.
    let mut due: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    // A request that changed places: it comes behind the next one.
    let mut later: Option<Op> = None;
    let mut n = 0;
    for (at, &op) in ops.iter().enumerate() {
        for block in due.remove(&at).unwrap_or_default() {
            out.push(Op::Release { block });
        }
        match op {
            Op::Acquire { block, size } => {
                let this = n;
                n += 1;
                let held_back = later.take();
                let kind = (rng.below(1000) < per_mille)
                    .then(|| kinds[rng.below(kinds.len() as u64) as usize]);
                match kind {
                    None => out.push(op),
                    Some(Kind::Inserted) => {
                        let from = (this as u64).saturating_sub(NEARBY);
                        let to = (this as u64 + NEARBY).min(requests.len() as u64);
                        let model = (from + rng.below(to - from)) as usize;
                        out.push(Op::Acquire { block: next_block, size: requests[model].2 });
                        if let Some(end) =
                            at.checked_add(lives[model]).filter(|&end| end < ops.len())
                        {
                            due.entry(end).or_default().push(next_block);
                        }
                        next_block += 1;
                        out.push(op);
                    }
                    Some(Kind::Dropped) => drop(dropped.insert(block)),
                    Some(Kind::Resized) => {
                        let size = (size / 2 + rng.below(size + size / 2 + 1)).max(1);
                        out.push(Op::Acquire { block, size });
                    }
                    Some(Kind::Swapped) if held_back.is_none() => later = Some(op),
                    Some(Kind::Swapped) => out.push(op),
                }
                out.extend(held_back);
            }
            Op::Release { block } if dropped.contains(&block) => {}
            Op::Release { block } => {
                // It is released before the next one comes: it cannot come behind that.
                if later
                    .is_some_and(|held| matches!(held, Op::Acquire { block: b, .. } if b == block))
                {
                    out.extend(later.take());
                }
                out.push(op);
            }
        }
    }
    out.extend(later);
    out
}
