//! Completions in any order, epochs in theirs: pure bookkeeping.
//!
//! ```text
//!   submitted   1  2  3  4  5  6
//!   over        ✓  ✓     ✓  ✗          ─▶ reached 2
//!   3 is over   ✓  ✓  ✓  ✓  ✗          ─▶ reached 4, then failed: 5 and 6 never are
//! ```
//!
//! Cost: constant per completion, amortized; memory by the epochs between the oldest that is open and the newest.

use std::collections::VecDeque;
use strandline_core::{Epoch, Failure};

#[derive(Debug)]
enum Slot {
    Open,
    Done,
    Failed(Failure),
}

/// The epochs of one axis that are submitted and not reached.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The last epoch that was reached.
    reached: Epoch,
    /// Of the epochs after it.
    slots: VecDeque<Slot>,
    failed: Option<Failure>,
}

/// What a completion means for the axis.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// It has come to here.
    pub(super) reached: Option<Epoch>,
    /// It will not get any further.
    pub(super) failed: Option<Failure>,
}

impl Window {
    /// The epoch that [`open`](Self::open) gives out next.
    pub(super) fn next(&self) -> Epoch {
        self.reached + self.slots.len() as u64 + 1
    }

    pub(super) fn open(&mut self) -> Epoch {
        let epoch = self.next();
        self.slots.push_back(Slot::Open);
        epoch
    }

    /// Why nothing is given out any more.
    pub(super) const fn failure(&self) -> Option<&Failure> {
        self.failed.as_ref()
    }

    /// Nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        !self.slots.iter().any(|slot| matches!(slot, Slot::Open))
    }

    /// `epoch`, which was given out and is not over, is over: done, or failed.
    pub(super) fn close(&mut self, epoch: Epoch, result: Result<(), Failure>) -> Step {
        let index =
            epoch.checked_sub(self.reached + 1).and_then(|index| usize::try_from(index).ok());
        if let Some(slot) = index.and_then(|index| self.slots.get_mut(index)) {
            *slot = result.map_or_else(Slot::Failed, |()| Slot::Done);
        }
        let mut step = Step::default();
        while self.failed.is_none() {
            match self.slots.front() {
                Some(Slot::Done) => {
                    self.slots.pop_front();
                    self.reached += 1;
                    step.reached = Some(self.reached);
                }
                Some(Slot::Failed(failure)) => {
                    self.failed = Some(failure.clone());
                    step.failed = Some(failure.clone());
                }
                Some(Slot::Open) | None => break,
            }
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_picture() {
        let mut window = Window::default();
        assert!((1..=6).eq((0..6).map(|_| window.open())));
        let failure = Failure::message("a full disk");
        let mut close = |epoch, result| {
            let step = window.close(epoch, result);
            (step.reached, step.failed.is_some())
        };
        assert_eq!(close(2, Ok(())), (None, false));
        assert_eq!(close(1, Ok(())), (Some(2), false));
        assert_eq!(close(4, Ok(())), (None, false));
        assert_eq!(close(5, Err(failure)), (None, false));
        assert_eq!(close(3, Ok(())), (Some(4), true));
        assert!(!window.is_idle());
        assert_eq!(window.close(6, Ok(())).reached, None);
        assert!(window.is_idle() && window.failure().is_some());
    }

    proptest! {
        /// Whatever the order: what is reached is the longest run of done epochs, and the first failure ends it.
        #[test]
        fn epochs_are_reached_in_order_and_without_gaps(
            order in Just((1..=40_u64).collect::<Vec<_>>()).prop_shuffle(),
            failing in proptest::collection::btree_set(1..=60_u64, 0..4),
            ahead in 1..40_usize,
        ) {
            let mut window = Window::default();
            let (mut reached, mut over) = (0, std::collections::BTreeSet::new());
            // Some are given out only after others are over.
            for _ in 0..ahead { window.open(); }
            let (early, late): (Vec<u64>, Vec<u64>) =
                order.into_iter().partition(|&epoch| epoch <= ahead as u64);
            let mut told = None;
            for (index, epoch) in early.iter().chain(&late).copied().enumerate() {
                if index == early.len() {
                    for _ in ahead..40 { window.open(); }
                }
                let result = match failing.contains(&epoch) {
                    true => Err(Failure::message(epoch.to_string())),
                    false => Ok(()),
                };
                over.insert(epoch);
                let step = window.close(epoch, result);
                if let Some(now) = step.reached {
                    prop_assert!(now > reached);
                    reached = now;
                }
                if let Some(failure) = step.failed {
                    prop_assert!(told.is_none());
                    told = Some(failure.to_string());
                }
                let bad = failing.first().copied().unwrap_or(u64::MAX);
                let run = (1..=40).find(|e| !over.contains(e)).unwrap_or(41) - 1;
                prop_assert_eq!(reached, run.min(bad - 1));
                prop_assert_eq!(&told, &(run >= bad).then(|| bad.to_string()));
            }
            prop_assert!(window.is_idle());
        }
    }
}
