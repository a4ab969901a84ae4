use super::super::Oracle;
use super::*;
use proptest::prelude::*;
use strandline_core::{Axis, Death, Entry, Frontier, FrontierRef, Progress};

const SIZE: u64 = 1 << 10;
const GRANULE: u64 = 16;

fn axis(i: u8) -> Axis {
    Axis::queue(0, i)
}

#[derive(Debug, Default, Clone, Copy)]
struct Reached([u64; 2]);

impl Progress for Reached {
    fn reached(&self, axis: Axis) -> u64 {
        axis.queue_index().and_then(|i| self.0.get(usize::from(i)).copied()).unwrap_or(0)
    }
}

fn frontier(epochs: [u64; 2]) -> Frontier {
    let entries = (0..).zip(epochs).filter(|(_, epoch)| *epoch > 0);
    Frontier::from_entries(entries.map(|(i, epoch)| Entry::new(axis(i), epoch))).unwrap()
}

fn slabs(pool: PoolId, count: u32) -> Slabs {
    Slabs { pool, sizes: (0..count).map(|i| (SlabId::new(i, 0), SIZE)).collect() }
}

fn demand(pool: PoolId, footprint: u64) -> Demand {
    Demand { pool, footprint, granule: GRANULE, whole_slabs: false }
}

fn range(slab: u32, offset: u64, size: u64) -> Range {
    Range { slab: SlabId::new(slab, 0), offset, size }
}

#[test]
fn half_covered_and_half_reached_is_free_memory() {
    let pool = PoolId::next();
    let mut oracle = Oracle::new();
    oracle.slabs(&slabs(pool, 1));
    let nothing = Reached::default();
    assert!(oracle.begin_taking(range(0, 0, SIZE), SIZE, FrontierRef::EMPTY, &nothing));
    assert!(!oracle.missed(&demand(pool, 16), FrontierRef::EMPTY, &nothing), "it is live");
    assert!(oracle.end(range(0, 0, SIZE), Death::After(frontier([1, 1]).as_ref())));
    let knows = frontier([1, 0]);
    for (known, reached, missed) in [
        (FrontierRef::EMPTY, [0, 0], false),
        (knows.as_ref(), [0, 0], false),
        (FrontierRef::EMPTY, [0, 1], false),
        (knows.as_ref(), [0, 1], true),
        (FrontierRef::EMPTY, [1, 1], true),
    ] {
        let before = oracle.verdict().missed_fits;
        assert_eq!(oracle.missed(&demand(pool, SIZE / 2), known, &Reached(reached)), missed);
        assert_eq!(oracle.verdict().missed_fits, before + u64::from(missed));
    }
    let all = Reached([1, 1]);
    assert!(!oracle.missed(&demand(pool, SIZE / 2 + 1), knows.as_ref(), &all), "not twice");
    assert!(!oracle.missed(&demand(PoolId::next(), 16), knows.as_ref(), &all), "not its slab");
    assert!(oracle.verdict().is_sound());
}

#[test]
fn of_an_arena_only_whole_slabs_count() {
    let pool = PoolId::next();
    let mut oracle = Oracle::new();
    oracle.slabs(&slabs(pool, 1));
    let whole = Demand { whole_slabs: true, ..demand(pool, SIZE) };
    let nothing = Reached::default();
    assert!(oracle.missed(&whole, FrontierRef::EMPTY, &nothing));
    assert!(oracle.begin_taking(range(0, 0, 16), 16, FrontierRef::EMPTY, &nothing));
    let small = Demand { footprint: 16, ..whole };
    assert!(!oracle.missed(&small, FrontierRef::EMPTY, &nothing));
    assert!(oracle.end(range(0, 0, 16), Death::After(frontier([3, 0]).as_ref())));
    assert!(!oracle.missed(&small, FrontierRef::EMPTY, &nothing));
    assert!(oracle.missed(&small, FrontierRef::EMPTY, &Reached([3, 0])));
}

#[test]
fn slabs_come_and_go() {
    let pool = PoolId::next();
    let mut fits = Fits::default();
    fits.slabs(&slabs(pool, 3));
    fits.take(range(2, 0, 16), 16);
    fits.slabs(&slabs(pool, 1));
    assert_eq!(fits.by_length.iter().copied().collect::<Vec<_>>(), [(SIZE, SlabId::new(0, 0), 0)]);
    // Of a slab that is gone, or was never there, nothing comes back.
    fits.give_back(range(2, 0, 16));
    fits.take(range(7, 0, 16), 16);
    fits.slabs(&slabs(pool, 3));
    assert_eq!(fits.by_length.len(), 3);
}

#[test]
fn holes_are_no_memory_until_some_is_put_in() {
    let pool = PoolId::next();
    let mut oracle = Oracle::new();
    oracle.slabs(&slabs(pool, 1));
    let slab = SlabId::new(0, 0);
    let nothing = Reached::default();
    let known = FrontierRef::EMPTY;
    let ask = demand(pool, 256);
    let room = |bytes| Room { bytes, step: 64 };
    oracle.committed(slab, 0, SIZE, false);
    assert!(!oracle.missed(&ask, known, &nothing), "there is no memory");
    // 512 bytes, and a step at each end.
    assert!(oracle.missed_growth(&ask, room(640), known, &nothing));
    assert!(!oracle.missed_growth(&ask, room(639), known, &nothing), "the provider has no room");
    assert!(!oracle.missed_growth(&demand(pool, 513), room(u64::MAX), known, &nothing));
    oracle.committed(slab, 256, 768, true);
    assert!(oracle.missed(&ask, known, &nothing), "half of it has memory");
    assert!(!oracle.missed(&demand(pool, 257), known, &nothing));
    // Free, and a hole on either side: 256 more bytes are enough, of which two steps may be lost.
    let larger = demand(pool, 384);
    assert!(oracle.missed_growth(&larger, room(640), known, &nothing));
    assert!(!oracle.missed_growth(&larger, room(600), known, &nothing));
    // What is live, or waits, is in the way.
    assert!(oracle.begin_taking(range(0, 512, 64), 64, known, &nothing));
    assert!(oracle.missed_growth(&ask, room(u64::MAX), known, &nothing), "left of it");
    assert!(!oracle.missed_growth(&larger, room(u64::MAX), known, &nothing));
    assert!(oracle.end(range(0, 512, 64), Death::After(frontier([5, 0]).as_ref())));
    assert!(!oracle.missed_growth(&larger, room(u64::MAX), known, &nothing));
    assert!(oracle.missed_growth(&larger, room(u64::MAX), known, &Reached([5, 0])));
    // Memory is taken out of the middle, and of parts twice.
    oracle.committed(slab, 320, 384, false);
    assert!(!oracle.missed(&demand(pool, 193), known, &Reached([5, 0])));
    assert!(oracle.missed(&demand(pool, 192), known, &Reached([5, 0])), "384 to 768");
    oracle.committed(slab, 0, SIZE, true);
    assert!(oracle.missed(&demand(pool, SIZE / 2), known, &Reached([5, 0])));
    assert!(!oracle.missed_growth(&ask, room(u64::MAX), known, &Reached([5, 0])), "no holes");
}

/// A range is taken or given back; or what is reached rises.
#[derive(Clone, Copy, Debug)]
enum Op {
    Take { slab: u32, at: u64, size: u64 },
    Give { pick: usize, epochs: [u64; 2] },
    Reach { axis: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let granules = SIZE / GRANULE;
    prop_oneof![
        4 => (0..2u32, 0..granules, 1..160u64).prop_map(|(slab, at, size)| Op::Take { slab, at, size }),
        4 => (any::<usize>(), [0..9u64, 0..9u64]).prop_map(|(pick, epochs)| Op::Give { pick, epochs }),
        1 => (0..2usize).prop_map(|axis| Op::Reach { axis }),
    ]
}

proptest! {
    /// The runs against a map of granules: each taken, or with its death.
    #[test]
    fn a_map_of_granules_finds_the_same(
        ops in prop::collection::vec(op(), 1..120),
        footprint in 1..40u64,
        known in [0..9u64, 0..9u64],
    ) {
        #[derive(Clone, Copy, PartialEq)]
        enum Cell { Taken, Dead([u64; 2]) }
        let granules = (SIZE / GRANULE) as usize;
        let pool = PoolId::next();
        let mut oracle = Oracle::new();
        oracle.slabs(&slabs(pool, 2));
        let mut cells = vec![vec![Cell::Dead([0, 0]); granules]; 2];
        let (mut held, mut reached) = (Vec::new(), Reached::default());
        let everything = frontier([9, 9]);
        for op in ops {
            match op {
                Op::Take { slab, at, size } => {
                    let (first, count) = (at as usize, size.div_ceil(GRANULE) as usize);
                    let room = cells[slab as usize].get_mut(first..first + count);
                    let Some(room) = room.filter(|room| !room.contains(&Cell::Taken)) else { continue };
                    room.fill(Cell::Taken);
                    let range = range(slab, at * GRANULE, size);
                    let bytes = count as u64 * GRANULE;
                    prop_assert!(oracle.begin_taking(range, bytes, everything.as_ref(), &reached));
                    held.push(range);
                }
                Op::Give { pick, epochs } if !held.is_empty() => {
                    let range = held.swap_remove(pick % held.len());
                    let first = (range.offset / GRANULE) as usize;
                    let count = range.size.div_ceil(GRANULE) as usize;
                    cells[range.slab.index() as usize][first..first + count].fill(Cell::Dead(epochs));
                    prop_assert!(oracle.end(range, Death::from(frontier(epochs).as_ref())));
                }
                Op::Give { .. } => {}
                Op::Reach { axis } => reached.0[axis] += 1,
            }
            oracle.tidy(&reached);
            let usable = |cell: &Cell| match cell {
                Cell::Taken => false,
                Cell::Dead(epochs) => (0..2).all(|i| epochs[i] <= known[i] || epochs[i] <= reached.0[i]),
            };
            let longest = cells.iter().flat_map(|slab| slab.split(|cell| !usable(cell))).map(<[_]>::len).max();
            let bytes = longest.unwrap_or(0) as u64 * GRANULE;
            let footprint = footprint * GRANULE;
            let missed = oracle.missed(&demand(pool, footprint), frontier(known).as_ref(), &reached);
            prop_assert_eq!(missed, bytes >= 2 * footprint, "{} bytes in a row, {} needed", bytes, footprint);
        }
    }
}
