//! The owner's oracle: it is told of every turn in order, and judges by its own record of how far the streams are.
//!
//! It shares nothing with the pool, the owner's tracker or the fleet: a stream's work is as far as the player says that it has done it.

use super::ReplayError;
use super::player::Played;
use super::script::{Play, Turn};
use std::collections::HashMap;
use strandline_core::{Axis, Death, Entry, Epoch, Frontier, Tracker};
use strandline_replay::oracle::{Oracle, Range, Verdict};
use strandline_replay::streams;

/// What was asked and given back, as the players say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) refused: u64,
    pub(super) releases: u64,
}

/// See the [module](self).
pub(super) struct Judge {
    oracle: Oracle,
    tracker: Tracker,
    /// Of each stream the last operation.
    submitted: Vec<Epoch>,
    /// Blocks that are there, by slot.
    ranges: HashMap<u32, Range>,
    counts: Counts,
}

impl Judge {
    pub(super) fn new(streams: u32) -> Result<Self, ReplayError> {
        let tracker = Tracker::new(streams as usize);
        for stream in 0..streams {
            let registered = tracker.register(streams::axis(stream));
            registered.map_err(|error| ReplayError::Worker(error.to_string()))?;
        }
        Ok(Self {
            oracle: Oracle::new(),
            tracker,
            submitted: vec![0; streams as usize],
            ranges: HashMap::new(),
            counts: Counts::default(),
        })
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.oracle.verdict()
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// Blocks that are there.
    pub(super) fn live(&self) -> u64 {
        self.ranges.len() as u64
    }

    /// Blocks whose stamp was gone.
    pub(super) fn corrupted(&mut self, many: u64) {
        (0..many).for_each(|_| self.oracle.corrupted());
    }

    /// A turn was played; what it did in the meantime counted on nothing that was done in it.
    pub(super) fn turn(&mut self, turn: &Turn, played: &Played) -> Result<(), ReplayError> {
        let axis = streams::axis(turn.stream);
        let stream = turn.stream as usize;
        let mut grants = played.grants.iter();
        for play in &turn.plays {
            let known = self.submitted[stream];
            self.submitted[stream] += 1;
            match *play {
                Play::Acquire { slot, .. } => {
                    let grant = grants.next().ok_or_else(|| off(turn))?;
                    self.counts.requests += 1;
                    let Some(range) = *grant else {
                        self.counts.refused += 1;
                        continue;
                    };
                    let frontier = Frontier::from_entry(axis, known);
                    self.oracle.begin(range, frontier.as_ref(), &self.tracker);
                    self.ranges.insert(slot, range);
                }
                Play::Release { slot } => self.release(slot, axis, known + 1),
            }
        }
        if grants.next().is_some() || played.reached > self.submitted[stream] {
            return Err(off(turn));
        }
        self.corrupted(played.wrong);
        let advanced = self.tracker.advance(axis, played.reached);
        advanced.map_err(|error| ReplayError::Worker(error.to_string()))?;
        self.oracle.tidy(&self.tracker);
        Ok(())
    }

    fn release(&mut self, slot: u32, axis: Axis, epoch: Epoch) {
        // One that was refused is not given back.
        if let Some(range) = self.ranges.remove(&slot) {
            self.counts.releases += 1;
            self.oracle.end(range, Death::from(&Entry::new(axis, epoch)));
        }
    }
}

fn off(turn: &Turn) -> ReplayError {
    ReplayError::Worker(format!("turn {} was not played as it stands in the trace", turn.number))
}
