//! What each byte of a generation still waits for, from before the batch that fills it now.
//!
//! ```text
//!   0          300     400                     1024
//!   │ after a@3 │ over │ after {a@3, b@7}  │ fresh │        runs of bytes with one fate
//! ```
//!
//! When a batch is over, each of its parts leaves its death on its own bytes, whatever they waited for before: whoever got
//! them was ordered after that. All others keep what they had. So nothing piles up that is over for every byte, however many
//! queues hand a generation on.
//!
//! # Invariants
//! Runs cover the generation in order, and none is empty. Neighbours differ, and there are at most [`MOST_RUNS`], except where
//! joining neighbours would give more axes than a frontier holds, or make bytes of a known death unknown.
//!
//! # Cost
//! A byte's run is found by a binary search; the rest is linear in the runs that are asked about. The end of a batch also moves
//! the runs behind it, if it leaves more or fewer than there were.

use crate::pool::counters::Kind;
use crate::pool::inbox::{to_wait_for, unreached};
use crate::{Death, Entry, Frontier, FrontierRef, Merge};
use alloc::vec::Vec;

/// Runs of a generation, above which neighbours are joined: some hundred KiB of them. A batch that comes to its end, and a poll,
/// may have to look at all.
const MOST_RUNS: usize = 4096;

/// What bytes wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing: they were never handed out.
    Fresh,
    /// Nothing any more.
    Over,
    After(Frontier),
    Unknown,
}

impl From<Death<'_>> for Fate {
    fn from(death: Death<'_>) -> Self {
        match death.frontier() {
            None => Self::Unknown,
            Some(after) if after.is_empty() => Self::Over,
            Some(after) => Self::After(after.to_frontier()),
        }
    }
}

impl Fate {
    /// The fate of bytes of both; `None` where there is none that says enough and not too much.
    fn join(&self, other: &Self) -> Option<Self> {
        Some(match (self, other) {
            (Self::Unknown, _) | (_, Self::Unknown) => {
                return (self == other).then(|| self.clone());
            }
            (Self::Fresh, Self::Fresh) => Self::Fresh,
            (Self::Fresh | Self::Over, Self::Fresh | Self::Over) => Self::Over,
            (Self::After(one), Self::After(other)) => {
                let mut both = one.clone();
                if both.merge(other.as_ref()) == Merge::Overflow {
                    return None;
                }
                Self::After(both)
            }
            (after @ Self::After(_), _) | (_, after) => after.clone(),
        })
    }
}

#[derive(Clone, Debug)]
struct Run {
    end: u64,
    fate: Fate,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Past {
    runs: Vec<Run>,
    /// Room for the next.
    spare: Vec<Run>,
}

impl Past {
    /// Bytes that were never handed out.
    pub(super) fn fresh(size: u64) -> Self {
        let mut past = Self::default();
        push(&mut past.runs, size, Fate::Fresh);
        past
    }

    /// The runs that share bytes with a range: their ends within it, and their fates.
    pub(super) fn over(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, &Fate)> {
        let first = self.runs.partition_point(|run| run.end <= start);
        let mut from = start;
        self.runs[first..].iter().map_while(move |run| {
            let begins = core::mem::replace(&mut from, run.end);
            (begins < end).then_some((run.end.min(end), &run.fate))
        })
    }

    /// Whether there are bytes of different fates.
    pub(super) const fn differs(&self) -> bool {
        self.runs.len() > 1
    }

    /// How many bytes of a range are pending, and how many are tainted.
    pub(super) fn bytes(&self, start: u64, end: u64) -> [u64; 2] {
        let (mut pending, mut tainted, mut from) = (0, 0, start);
        for (to, fate) in self.over(start, end) {
            match fate {
                Fate::Fresh | Fate::Over => {}
                Fate::After(_) => pending += to - from,
                Fate::Unknown => tainted += to - from,
            }
            from = to;
        }
        [pending, tainted]
    }

    /// Whether whoever knows `known` may use a range at once, and what makes it so; otherwise where the bytes end that it
    /// may not use.
    pub(super) fn judge(
        &self,
        start: u64,
        end: u64,
        known: FrontierRef<'_>,
        reached: &dyn Fn(Entry) -> bool,
    ) -> Result<Kind, u64> {
        let (mut fresh, mut over) = (true, true);
        for (to, fate) in self.over(start, end) {
            match fate {
                Fate::Fresh => continue,
                Fate::Over => {}
                Fate::Unknown => return Err(to),
                Fate::After(after) => {
                    for &entry in after.as_ref().entries() {
                        if known.get(entry.axis) < entry.epoch {
                            if !reached(entry) {
                                return Err(to);
                            }
                        } else {
                            over = over && reached(entry);
                        }
                    }
                }
            }
            fresh = false;
        }
        Ok(match (fresh, over) {
            (true, _) => Kind::Fresh,
            (false, true) => Kind::Completed,
            (false, false) => Kind::Dominated,
        })
    }

    /// What is left to wait for before a range may be used; where that cannot be said, where those bytes end.
    pub(super) fn wait(
        &self,
        start: u64,
        end: u64,
        known: FrontierRef<'_>,
        reached: &dyn Fn(Entry) -> bool,
    ) -> Result<Frontier, u64> {
        let mut wait = Frontier::new();
        for (to, fate) in self.over(start, end) {
            match fate {
                Fate::Fresh | Fate::Over => {}
                Fate::Unknown => return Err(to),
                Fate::After(after) => {
                    let left = to_wait_for(after.as_ref(), known, reached);
                    if wait.merge(left.as_ref()) == Merge::Overflow {
                        return Err(to);
                    }
                }
            }
        }
        Ok(wait)
    }

    /// A batch is over: each of its parts, in order of their starts, leaves its death on its bytes.
    pub(super) fn succeed(&mut self, parts: impl Iterator<Item = (u64, u64, Fate)>) {
        let mut runs = core::mem::take(&mut self.spare);
        let (mut touched, mut last) = (0, None);
        for (start, end, fate) in parts {
            if let Some(at) = last {
                self.copy(at, start, &mut runs);
            } else {
                touched = self.runs.partition_point(|run| run.end < start);
                // The run before the first part ends there, and may be one with it.
                if let Some(before) = self.runs.get(touched).filter(|_| start > 0) {
                    push(&mut runs, start, before.fate.clone());
                }
            }
            push(&mut runs, end, fate);
            last = Some(end);
        }
        let Some(at) = last else {
            self.spare = runs;
            return;
        };
        // What is left of the run at the end begins where the last part ends, or is one with it.
        let behind = self.runs.partition_point(|run| run.end <= at);
        if self.runs.get(behind).is_some_and(|next| is_of(&runs, &next.fate)) {
            runs.pop();
        }
        runs.extend(self.runs.drain(behind..));
        self.runs.truncate(touched);
        self.runs.append(&mut runs);
        self.spare = runs;
    }

    /// [`succeed`](Self::succeed) of one part, should a run be just its bytes: in place. `false`: not done.
    pub(super) fn succeed_in_place(&mut self, start: u64, end: u64, fate: &mut Fate) -> bool {
        let at = self.runs.partition_point(|run| run.end <= start);
        let begins = if at == 0 { 0 } else { self.runs[at - 1].end };
        match self.runs.get_mut(at) {
            Some(run) if begins == start && run.end == end => {
                if run.fate != *fate {
                    run.fate = core::mem::replace(fate, Fate::Over);
                    self.merge_equals();
                }
                true
            }
            _ => false,
        }
    }

    fn copy(&self, start: u64, end: u64, to: &mut Vec<Run>) {
        if start < end {
            self.over(start, end).for_each(|(end, fate)| push(to, end, fate.clone()));
        }
    }

    /// Drops what has been reached. Whether anything was.
    pub(super) fn refresh(&mut self, reached: &dyn Fn(Entry) -> bool) -> bool {
        let mut changed = false;
        for run in &mut self.runs {
            if let Fate::After(after) = &run.fate
                && after.as_ref().entries().iter().any(|&entry| reached(entry))
            {
                let left = unreached(after.as_ref(), reached);
                run.fate = if left.is_empty() { Fate::Over } else { Fate::After(left) };
                changed = true;
            }
        }
        if changed {
            self.merge_equals();
        }
        changed
    }

    fn merge_equals(&mut self) {
        // The later of two equal neighbours stays: it has the end of both.
        let mut last: Option<usize> = None;
        let mut kept = 0;
        for at in 0..self.runs.len() {
            match last {
                Some(before) if self.runs[before].fate == self.runs[at].fate => {
                    self.runs[before].end = self.runs[at].end;
                }
                _ => {
                    self.runs.swap(kept, at);
                    last = Some(kept);
                    kept += 1;
                }
            }
        }
        self.runs.truncate(kept);
    }

    /// Joins neighbours while there are more than [`MOST_RUNS`], what has been reached apart.
    pub(super) fn compact(&mut self, reached: &dyn Fn(Entry) -> bool) {
        if self.runs.len() > MOST_RUNS {
            self.refresh(reached);
        }
        while self.runs.len() > MOST_RUNS {
            let mut runs: Vec<Run> = Vec::with_capacity(self.runs.len());
            let before = self.runs.len();
            let mut all = core::mem::take(&mut self.runs).into_iter();
            while let Some(one) = all.next() {
                let Some(two) = all.next() else {
                    push(&mut runs, one.end, one.fate);
                    break;
                };
                match one.fate.join(&two.fate) {
                    Some(both) => push(&mut runs, two.end, both),
                    None => {
                        push(&mut runs, one.end, one.fate);
                        push(&mut runs, two.end, two.fate);
                    }
                }
            }
            self.runs = runs;
            if self.runs.len() == before {
                return;
            }
        }
    }

    /// Nothing waits any more.
    pub(super) fn quiesce(&mut self) {
        for run in &mut self.runs {
            if run.fate != Fate::Fresh {
                run.fate = Fate::Over;
            }
        }
        self.merge_equals();
    }

    /// Nothing waits.
    pub(super) fn is_clean(&self) -> bool {
        self.runs.iter().all(|run| matches!(run.fate, Fate::Fresh | Fate::Over))
    }
}

/// Whether a list of runs ends with one of this fate.
fn is_of(runs: &[Run], fate: &Fate) -> bool {
    runs.last().is_some_and(|last| last.fate == *fate)
}

/// Lengthens a list of runs up to `end`.
fn push(runs: &mut Vec<Run>, end: u64, fate: Fate) {
    match runs.last_mut() {
        Some(last) if last.fate == fate => last.end = end,
        _ => runs.push(Run { end, fate }),
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
