//! One process of the fleet, and its device, which goes on when the process does not.

use crate::dice::Dice;
use crate::oracle::Grant;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use strandline_core::fleet::{CallId, Member, MemberConfig, Time};
use strandline_core::{Axis, Epoch, Frontier, Tracker};

/// A clock: where it began, and by how much it is too fast.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) begin: Time,
    pub(crate) ppm: i64,
}

impl Clock {
    pub(crate) fn draw(dice: &mut Dice, drift_ppm: u32) -> Self {
        let drift = i64::from(drift_ppm);
        // The extremes are where a bound breaks.
        let ppm = match dice.below(3) {
            0 => drift,
            1 => -drift,
            _ => dice.below(2 * drift as u64 + 1) as i64 - drift,
        };
        Self { begin: dice.below(1 << 40), ppm }
    }

    pub(crate) fn at(self, real: Time) -> Time {
        (i128::from(self.begin)
            + i128::from(real)
            + i128::from(real) * i128::from(self.ppm) / 1_000_000) as Time
    }

    /// The longest that so much real time can be on this clock.
    pub(crate) fn at_most(self, time: Time) -> Time {
        time + time * self.ppm.unsigned_abs() / 1_000_000 + 1
    }
}

/// Whether work may begin that touches what another holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Shut,
    Open,
    /// It does nothing.
    Skip,
}

#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) epoch: Epoch,
    pub(crate) after: Frontier,
    pub(crate) touches: Vec<Grant>,
    pub(crate) time: Time,
    pub(crate) gate: Rc<Cell<Gate>>,
}

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) axis: Axis,
    pub(crate) submitted: Epoch,
    pub(crate) works: VecDeque<Work>,
    pub(crate) is_busy: bool,
}

/// A reservation that the process has.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) grant: Grant,
    /// What its first use comes after.
    pub(crate) after: Frontier,
    /// What its uses have yet to reach.
    pub(crate) uses: Frontier,
    pub(crate) is_used: bool,
    /// Shares that are not answered.
    pub(crate) shares: Rc<Cell<u32>>,
}

/// What a part of a call was for.
#[derive(Debug)]
pub(crate) enum Intent {
    Acquire(Frontier),
    GiveBack,
    Share(Rc<Cell<Gate>>, Rc<Cell<u32>>),
    Open,
    Write,
}

#[derive(Debug)]
pub(crate) struct Process {
    /// Counts the processes of this place.
    pub(crate) life: u64,
    pub(crate) member: Member,
    pub(crate) clock: Clock,
    pub(crate) is_alive: bool,
    pub(crate) is_leaving: bool,
    /// The run of the owner that it joined.
    pub(crate) run: u64,
    pub(crate) queues: Vec<Queue>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) calls: BTreeMap<CallId, Vec<Intent>>,
}

impl Process {
    pub(crate) fn new(life: u64, clock: Clock) -> Self {
        let config = MemberConfig {
            retry: 2_000_000,
            retry_most: 20_000_000,
            refresh: 15_000_000,
            gap: 300_000,
            ..MemberConfig::new(life)
        };
        Self {
            life,
            member: Member::new(config, Tracker::new(256)),
            clock,
            is_alive: true,
            is_leaving: false,
            run: 0,
            queues: Vec::new(),
            blocks: Vec::new(),
            calls: BTreeMap::new(),
        }
    }

    /// It is no more. What it was to share it never will.
    pub(crate) fn die(&mut self) {
        self.is_alive = false;
        for intent in std::mem::take(&mut self.calls).into_values().flatten() {
            if let Intent::Share(gate, _) = intent {
                gate.set(Gate::Skip);
            }
        }
        self.queues.clear();
        self.blocks.clear();
    }

    /// Nothing is to be done, or waited for.
    pub(crate) fn is_idle(&self) -> bool {
        self.queues.iter().all(|queue| queue.works.is_empty() && !queue.is_busy)
    }
}
