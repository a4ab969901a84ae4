//! Plans for generated programs: right ones, ones that are right for a program that is somewhat different, and wrong ones.

use super::dice::Dice;
use super::draw::Draw;
use super::program::{Ask, Op};
use std::sync::Arc;
use strandline_core::inspect::BlockView;
use strandline_core::pool::planned::{Plan, PlanBlock, PlannedPool, Recording};
use strandline_core::pool::{PoolId, PoolProperties, ReleaseError};
use strandline_core::slab::Trim;
use strandline_core::{
    Acquire, Death, Notification, Pool, PoolError, PoolStats, Request, Reservation, SlabProvider,
};

/// How far a plan is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    /// Of this very program, if nothing is refused.
    Right,
    /// Some requests are missing, others added, resized or in another place.
    Nearly,
    /// Of the program's sizes, but blocks that are live together are all over each other.
    Lying,
    /// Of another program.
    Foreign,
}

impl Truth {
    pub(crate) const ALL: [Self; 4] = [Self::Right, Self::Nearly, Self::Lying, Self::Foreign];
}

/// A block while it is planned.
struct Life {
    ask: Ask,
    until: usize,
}

/// What a program requests, and when each block is released, if nothing is refused.
fn lives(program: &[Op]) -> Vec<Life> {
    let (mut lives, mut held): (Vec<Life>, Vec<usize>) = (Vec::new(), Vec::new());
    let begin = |ask: Ask, lives: &mut Vec<Life>, held: &mut Vec<usize>| {
        held.push(lives.len());
        lives.push(Life { ask, until: usize::MAX });
    };
    let end = |pick: usize, lives: &mut Vec<Life>, held: &mut Vec<usize>| {
        if !held.is_empty() {
            let block = held.swap_remove(pick % held.len());
            lives[block].until = lives.len();
        }
    };
    for op in program {
        match *op {
            Op::Acquire(ask) => begin(ask, &mut lives, &mut held),
            Op::AcquireEach { ask, count } => {
                (0..count).for_each(|_| begin(ask, &mut lives, &mut held));
            }
            Op::Exchange { pick, ask } => {
                end(pick, &mut lives, &mut held);
                begin(ask, &mut lives, &mut held);
            }
            Op::Release { pick, .. }
            | Op::ReleaseUnknown { pick }
            | Op::ReleaseIdle { pick }
            | Op::Cancel { pick } => end(pick, &mut lives, &mut held),
            Op::ReleaseEach { pick, count } => {
                (0..count).for_each(|_| end(pick, &mut lives, &mut held));
            }
            _ => {}
        }
    }
    lives
}

/// Blocks are dropped, doubled, resized and moved, of a hundred each so many.
fn perturb(lives: &mut Vec<Life>, percent: usize, dice: &mut Dice) {
    let mut at = 0;
    while at < lives.len() {
        if dice.below(100) < percent {
            match dice.below(4) {
                0 => drop(lives.remove(at)),
                1 => {
                    let Life { ask, until } = lives[at];
                    lives.insert(at, Life { ask, until });
                }
                2 => lives[at].ask.size += 1 + dice.below(5000) as u64,
                _ => {
                    let other = (at + dice.below(8)).min(lives.len() - 1);
                    lives.swap(at, other);
                }
            }
        }
        at += 1;
    }
}

/// The lowest offset at which a block shares no bytes with those that are live.
fn first_fit(live: &[(u64, u64, usize)], size: u64, alignment: u64) -> u64 {
    let mut at = 0;
    for &(from, to, _) in live {
        if at + size <= from {
            break;
        }
        at = at.max(to.next_multiple_of(alignment));
    }
    at
}

/// A plan for a program, of offsets that are multiples of `granule`.
pub(crate) fn plan(program: &[Op], granule: u64, truth: Truth, seed: u64) -> Plan {
    let mut dice = Dice::new(seed);
    let mut lives = lives(program);
    match truth {
        Truth::Right | Truth::Lying => {}
        Truth::Nearly => {
            let percent = dice.pick(&[1, 5, 20]);
            perturb(&mut lives, percent, &mut dice);
        }
        Truth::Foreign => {
            for life in &mut lives {
                life.ask.size = 1 + dice.next() % (life.ask.size + granule);
            }
        }
    }
    let count = lives.len();
    let mut live: Vec<(u64, u64, usize)> = Vec::new();
    let (mut blocks, mut bytes) = (Vec::new(), 0);
    for (number, Life { ask, until }) in lives.iter().enumerate() {
        let alignment = (1 << ask.align.min(12)).max(granule);
        live.retain(|&(_, _, until)| until > number);
        let lies = truth == Truth::Lying;
        let (offset, until) = if lies {
            (dice.next() % (1 + bytes / alignment) * alignment, number + 1)
        } else {
            let until = (*until).clamp(number + 1, count);
            (first_fit(&live, ask.size, alignment), until)
        };
        let end = offset + ask.size;
        bytes = bytes.max(end);
        let at = live.partition_point(|&(from, ..)| from < offset);
        live.insert(at, (offset, end, until));
        let (stream, until) = (ask.stream as u32, until as u32);
        blocks.push(PlanBlock { offset, size: ask.size, alignment, stream, until });
    }
    let slack = dice.pick(&[0, 0, granule * 7]);
    Plan::new(bytes + slack, blocks).expect("a generated plan is one, right or wrong")
}

/// A planned pool whose steps begin when it is polled or trimmed, as then slabs may come and go; it plans again at each.
#[derive(Debug)]
pub(crate) struct Replanning {
    pool: PlannedPool,
}

impl Replanning {
    pub(crate) fn new(pool: PlannedPool) -> Self {
        Self { pool: pool.recording() }
    }

    fn begin_step(&self) {
        self.pool.begin_step();
        self.pool.replan(Recording::first_fit).expect("the granule is the pool's");
    }
}

impl Pool for Replanning {
    fn id(&self) -> PoolId {
        self.pool.id()
    }

    fn properties(&self) -> PoolProperties {
        self.pool.properties()
    }

    fn footprint(&self, size: u64, alignment: u64) -> u64 {
        self.pool.footprint(size, alignment)
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        self.pool.acquire(request)
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        self.pool.release(reservation, death)
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        self.pool.cancel(reservation)
    }

    fn poll(&self) {
        self.begin_step();
        self.pool.poll();
    }

    fn quiesce(&self) {
        self.pool.quiesce();
    }

    fn trim(&self, how: Trim) -> Result<u64, PoolError> {
        self.begin_step();
        self.pool.trim(how)
    }

    fn stats(&self) -> PoolStats {
        self.pool.stats()
    }

    fn provider(&self) -> Option<&Arc<dyn SlabProvider>> {
        self.pool.provider()
    }

    fn notification(&self) -> &Arc<Notification> {
        self.pool.notification()
    }

    fn inspect(&self, visit: &mut dyn FnMut(&BlockView<'_>)) {
        self.pool.inspect(visit);
    }
}
