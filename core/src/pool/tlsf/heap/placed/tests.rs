//! A map of granules says what may be taken; the heap has to say the same of any place, and of no other.

use super::*;
use crate::death::Death;
use crate::offset::tlsf::Config;
use crate::pool::tlsf::Coalescing;
use crate::pool::tlsf::heap::Taken;
use crate::progress::Progress;
use crate::{Axis, Epoch, Frontier};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

const GRANULES: u32 = 96;
const AXES: usize = 3;

#[derive(Debug, Default)]
struct Reached([AtomicU64; AXES]);

impl Progress for Reached {
    fn reached(&self, axis: Axis) -> Epoch {
        self.0[axis.to_bits() as usize].load(Ordering::Relaxed)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Granule {
    Live,
    Free(Vec<(u64, Epoch)>),
    Tainted,
}

struct World {
    heap: Heap,
    region: RegionId,
    reached: Reached,
    map: Vec<Granule>,
    held: Vec<(Taken, u32, u32)>,
}

impl World {
    fn new() -> Self {
        let mut heap =
            Heap::new(Config { granule: 16, ..Config::default() }, Coalescing::Readiness).unwrap();
        let region = heap.add_region(u64::from(GRANULES) * 16).unwrap();
        let map = alloc::vec![Granule::Free(Vec::new()); GRANULES as usize];
        Self { heap, region, reached: Reached::default(), map, held: Vec::new() }
    }

    fn may_take(&self, start: u32, units: u32, waits: bool, known: &[Epoch; AXES]) -> bool {
        (start..start + units).all(|at| match self.map.get(at as usize) {
            Some(Granule::Free(death)) => {
                let usable = |&(axis, epoch): &(u64, Epoch)| {
                    let reached = self.reached.0[axis as usize].load(Ordering::Relaxed);
                    known[axis as usize].max(reached) >= epoch
                };
                waits || death.iter().all(usable)
            }
            Some(Granule::Live | Granule::Tainted) | None => false,
        })
    }

    /// Takes a place, if the map says so.
    fn take(&mut self, start: u32, units: u32, waits: bool, known: &[Epoch; AXES], near: bool) {
        let frontier = frontier(known.iter().copied().enumerate());
        let need = self.heap.need(u64::from(units) * 16, 1).unwrap();
        let mut begins = self.held.iter().filter(|(_, from, _)| *from <= start);
        let near = begins.next().filter(|_| near).map(|(taken, ..)| taken.block);
        let mut death = BlockDeath::new();
        let at = At { region: self.region, start, near, may_wait: waits };
        let progress = &self.reached;
        let ask = Ask { need, frontier: frontier.as_ref(), progress, requested: 7 };
        let taken = self.heap.acquire_at(at, &ask, &mut death);
        let expected = self.may_take(start, units, waits, known);
        assert_eq!(taken.is_some(), expected, "{start} + {units}, {known:?}: {:?}", self.map);
        if let Some(taken) = taken {
            assert_eq!(taken.offset, u64::from(start) * 16);
            self.hold(taken, start, units);
        }
    }

    fn hold(&mut self, taken: Taken, start: u32, units: u32) {
        self.map[start as usize..(start + units) as usize].fill(Granule::Live);
        self.held.push((taken, start, units));
    }
}

fn frontier(epochs: impl Iterator<Item = (usize, Epoch)>) -> Frontier {
    let mut frontier = Frontier::new();
    for (axis, epoch) in epochs.filter(|&(_, epoch)| epoch != 0) {
        let _ = frontier.advance(Axis::from_bits(axis as u64), epoch);
    }
    frontier
}

#[test]
fn a_place_is_taken_if_and_only_if_all_of_it_may_be() {
    for seed in 0..if cfg!(miri) { 3 } else { 120_u64 } {
        let mut state = seed;
        let mut below = |end: u64| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((z ^ z >> 27) >> 8) % end
        };
        let mut world = World::new();
        for _ in 0..250 {
            match below(10) {
                0..=3 => {
                    let (start, units) = (below(u64::from(GRANULES)) as u32, 1 + below(12) as u32);
                    let known = core::array::from_fn(|_| below(9));
                    let (waits, near) = (below(5) == 0, below(2) == 0);
                    world.take(start, units, waits, &known, near);
                }
                4 => {
                    let units = 1 + below(10) as u32;
                    let need = world.heap.need(u64::from(units) * 16, 1).unwrap();
                    let mut death = BlockDeath::new();
                    let (frontier, progress) = (FrontierRef::EMPTY, &world.reached);
                    let ask = Ask { need, frontier, progress, requested: 7 };
                    let taken = world.heap.acquire(&ask, &mut death);
                    if let Some(taken) = taken {
                        let start = (taken.offset / 16) as u32;
                        world.hold(taken, start, units);
                    }
                }
                5..=8 if !world.held.is_empty() => {
                    let at = below(world.held.len() as u64) as usize;
                    let (taken, start, units) = world.held.swap_remove(at);
                    let epochs: [Epoch; AXES] =
                        core::array::from_fn(|_| if below(2) == 0 { below(12) } else { 0 });
                    let is_unknown = below(20) == 0;
                    let after = frontier(epochs.into_iter().enumerate());
                    let death =
                        if is_unknown { Death::Unknown } else { Death::After(after.as_ref()) };
                    world.heap.free(taken.block, death, &world.reached);
                    let waits = (0..).zip(epochs).filter(|&(_, epoch)| epoch != 0).collect();
                    let now = if is_unknown { Granule::Tainted } else { Granule::Free(waits) };
                    world.map[start as usize..(start + units) as usize].fill(now);
                }
                _ => {
                    let axis = &world.reached.0[below(AXES as u64) as usize];
                    axis.store(axis.load(Ordering::Relaxed) + below(2), Ordering::Relaxed);
                }
            }
            world.heap.check();
        }
    }
}
