//! The planner: greedy orders first, then rounds of exact and local search over the parts that are above the goal.
//!
//! A part is done when its height is at the goal: the plan's bound, or what the caller is content with. Parts far below the highest need
//! no work. In each round an exact search gets twice the nodes of the round before, and local search a like share of time.

use crate::equal;
use crate::exact::{Exact, Found, Rank};
use crate::first_fit::FirstFit;
use crate::local::Local;
use crate::problem::{Block, Part, Problem};
use crate::random::Random;
use crate::skyline;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// What is asked of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Of the local search. Workers beside each other take seeds of their own; an odd one begins with local search, an even one with
    /// exact search.
    pub seed: u64,
    /// A plan of at most so many bytes is good enough.
    pub enough: u64,
}

/// Where each block stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Offsets in bytes, in the order of the problem's lifetimes.
    pub offsets: Vec<u64>,
    /// The plan's size: the highest end.
    pub bytes: u64,
    /// No plan is below this: the most bytes live at once, or more where exact search proved it.
    pub bound: u64,
    /// `bytes` is `bound`.
    pub optimal: bool,
}

/// A part on its way.
#[derive(Debug)]
struct Work<'p> {
    part: &'p Part,
    height: u64,
    offsets: Vec<u64>,
    /// No placement is below this.
    bound: u64,
    exact: Option<Exact<'p>>,
    prepared: bool,
    local: Option<Local>,
    fit: FirstFit<'p>,
    /// The order that first fit did best with, and its height.
    best_order: (u64, Vec<u32>),
}

/// Plans. `go_on` is told the bytes of the best plan so far (`u64::MAX` at first) and says whether to search on: it is asked at least
/// every few thousand steps. The first plan is made even so, by one skyline greedy. With the same answers the plan is the same.
///
/// Without a limit in `go_on` this may take for ever: the problem is NP-hard.
#[must_use]
pub fn plan(problem: &Problem, options: &Options, go_on: &dyn Fn(u64) -> bool) -> Plan {
    let mut planner = Planner {
        works: problem.parts().iter().map(Work::new).collect(),
        enough: options.enough,
        step: problem.step(),
        random: Random::new(options.seed),
        odd: options.seed % 2 == 1,
        go_on,
    };
    planner.greedy();
    planner.search();
    let mut offsets = alloc::vec![0; problem.lifetimes().len()];
    for work in &planner.works {
        for (&number, &offset) in work.part.members.iter().zip(&work.offsets) {
            offsets[number as usize] = offset;
        }
    }
    let bytes = planner.height();
    let bound = planner.bound();
    Plan { offsets, bytes, bound, optimal: bytes == bound }
}

struct Planner<'p> {
    works: Vec<Work<'p>>,
    enough: u64,
    step: u64,
    random: Random,
    /// Of an odd seed: begins with local search and ranks by other widths than its neighbour.
    odd: bool,
    go_on: &'p dyn Fn(u64) -> bool,
}

impl<'p> Planner<'p> {
    fn height(&self) -> u64 {
        self.works.iter().map(|work| work.height).max().unwrap_or(0)
    }

    fn bound(&self) -> u64 {
        self.works.iter().map(|work| work.bound).max().unwrap_or(0)
    }

    /// At which height a part is low enough.
    fn goal(&self) -> u64 {
        self.bound().max(self.enough)
    }

    fn go_on(&self) -> bool {
        self.height() > self.goal() && (self.go_on)(self.height())
    }

    /// The greedy orders, cheap ones first, until a part is at the goal.
    fn greedy(&mut self) {
        for work in &mut self.works {
            let order = || work.order(Key::Wat);
            let (offsets, height) =
                equal::place(work.part).unwrap_or_else(|| skyline::place(work.part, &order()));
            work.take(&offsets, height);
        }
        let attempts = Key::ALL.into_iter().skip(1).map(|key| (false, key));
        let attempts = attempts.chain(Key::ALL.into_iter().map(|key| (true, key)));
        for (first_fit, key) in attempts {
            for index in 0..self.works.len() {
                let goal = self.goal();
                if self.works[index].height <= goal {
                    continue;
                }
                if !self.go_on() {
                    return;
                }
                let order = self.works[index].order(key);
                let (go_on, height) = (self.go_on, self.height());
                let work = &mut self.works[index];
                if first_fit {
                    work.first_fit(order, &|| go_on(height));
                } else {
                    let (offsets, height) = skyline::place(work.part, &order);
                    work.take(&offsets, height);
                }
            }
        }
    }

    /// Rounds of exact and local search until nothing is above the goal or `go_on` says no.
    fn search(&mut self) {
        let mut nodes = 1000_u64;
        for round in 0_u64.. {
            if !self.go_on() {
                return;
            }
            for index in 0..self.works.len() {
                if self.works[index].height <= self.goal() || !self.go_on() {
                    continue;
                }
                let local = round % 4 == if self.odd { 0 } else { 3 };
                if !local && self.works[index].prepare(self.odd) {
                    self.exact(index, nodes, round % 4 == 2);
                } else {
                    self.local(index, nodes);
                }
            }
            nodes *= 2;
        }
    }

    fn exact(&mut self, index: usize, nodes: u64, half_way: bool) {
        for rank in Rank::ALL {
            let goal = self.goal();
            let (go_on, step, best) = (self.go_on, self.step, self.height());
            let work = &mut self.works[index];
            let capacity = goal + if half_way { (work.height - goal) / 2 } else { 0 };
            if let Some(exact) = work.exact.as_mut() {
                let (found, offsets) = exact.search(capacity, rank, nodes, &|| go_on(best));
                match found {
                    Found::Yes => {
                        let height = height(work.part, offsets);
                        let offsets = offsets.to_vec();
                        work.take(&offsets, height);
                    }
                    Found::No => work.bound = work.bound.max(next(capacity, step)).min(work.height),
                    Found::CutShort => {}
                }
            }
            if self.works[index].height <= self.goal() || !self.go_on() {
                return;
            }
        }
    }

    fn local(&mut self, index: usize, nodes: u64) {
        // A first fit looks at all blocks, a node at about as many.
        let steps = nodes.div_ceil(32);
        for _ in 0..steps {
            let goal = self.goal();
            if self.works[index].height <= goal || !self.go_on() {
                return;
            }
            let (go_on, best) = (self.go_on, self.height());
            let work = &mut self.works[index];
            let mut local = match work.local.take() {
                Some(local) => local,
                None => {
                    let order = work.best_order.1.clone();
                    let order = if order.is_empty() { work.order(Key::ALL[0]) } else { order };
                    let Some(height) = work.fit.place(&order, u64::MAX, &|| go_on(best)) else {
                        return;
                    };
                    let offsets = work.fit.offsets.clone();
                    Local::new(order, offsets, height)
                }
            };
            let better =
                local.step(work.part, &mut work.fit, goal, &mut self.random, &|| go_on(best));
            let better = better.map(<[u64]>::to_vec);
            let (height, stale) = (local.height, local.stale());
            work.local = Some(local);
            if let Some(offsets) = better {
                work.take(&offsets, height);
            }
            if stale > 3000 {
                self.restart(index);
            }
        }
    }

    /// Another order to begin with: a greedy one, shaken.
    fn restart(&mut self, index: usize) {
        let key = Key::ALL[self.random.below(Key::ALL.len())];
        let mut order = self.works[index].order(key);
        let count = order.len();
        for place in 0..count {
            let other = (place + self.random.below(1 + count / 16)).min(count - 1);
            order.swap(place, other);
        }
        let work = &mut self.works[index];
        work.local = None;
        work.best_order = (u64::MAX, order);
    }
}

/// The least size of a plan above `capacity`, if all sizes are multiples of `step`.
const fn next(capacity: u64, step: u64) -> u64 {
    (capacity / step + 1) * step
}

fn height(part: &Part, offsets: &[u64]) -> u64 {
    let tops = part.blocks.iter().zip(offsets).map(|(block, &offset)| offset + block.size);
    tops.max().unwrap_or(0)
}

impl<'p> Work<'p> {
    fn new(part: &'p Part) -> Self {
        Self {
            part,
            height: u64::MAX,
            offsets: Vec::new(),
            bound: part.bound,
            exact: None,
            prepared: false,
            local: None,
            fit: FirstFit::new(part),
            best_order: (u64::MAX, Vec::new()),
        }
    }

    fn take(&mut self, offsets: &[u64], height: u64) {
        if height < self.height {
            self.height = height;
            self.offsets = offsets.to_vec();
        }
    }

    fn first_fit(&mut self, order: Vec<u32>, go_on: &dyn Fn() -> bool) {
        let Some(height) = self.fit.place(&order, u64::MAX, go_on) else { return };
        let offsets = core::mem::take(&mut self.fit.offsets);
        self.take(&offsets, height);
        self.fit.offsets = offsets;
        if height < self.best_order.0 {
            self.best_order = (height, order);
        }
    }

    /// Whether exact search can be used.
    fn prepare(&mut self, by_sections: bool) -> bool {
        if !self.prepared {
            self.prepared = true;
            self.exact = Exact::new(self.part, by_sections);
        }
        self.exact.is_some()
    }

    /// The blocks by falling preference.
    fn order(&self, key: Key) -> Vec<u32> {
        let blocks = &self.part.blocks;
        let mut order: Vec<u32> = (0..blocks.len() as u32).collect();
        order.sort_by_cached_key(|&number| (Reverse(key.of(&blocks[number as usize])), number));
        order
    }
}

/// What makes a block be placed early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// Width, then size.
    Wat,
    /// Size, then width.
    Size,
    /// Size times width.
    Area,
    /// Size times the square root of the width.
    SizeMore,
    /// Early ends: as they come.
    Time,
}

impl Key {
    const ALL: [Self; 5] = [Self::Wat, Self::Size, Self::Area, Self::SizeMore, Self::Time];

    fn of(self, block: &Block) -> (u128, u128) {
        let (width, size) = (u128::from(block.width()), u128::from(block.size));
        match self {
            Self::Wat => (width, size),
            Self::Size => (size, width),
            Self::Area => (size * width, size),
            Self::SizeMore => (size * u128::from(block.width().isqrt()), width),
            Self::Time => (u128::from(u32::MAX - block.first), width),
        }
    }
}
