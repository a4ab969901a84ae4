//! Pools with hot slots against a plain model of their bytes; threads that end with blocks in their seats.

use super::super::{TlsfPool, TlsfPoolConfig};
use super::Slots;
use crate::inspect::BlockState;
use crate::offset::tlsf::Config;
use crate::pool::growth::Growth;
use crate::pool::inbox::Ticket;
use crate::pool::{Acquire, Origin, Pool, PoolHost, Request, Reservation, ReuseProof};
use crate::slab::{
    BufferUsage, Grant, MemoryType, Slab, SlabError, SlabProperties, SlabProvider, SlabStats, Trim,
};
use crate::sync::Mutex;
use crate::{Axis, Death, Entry, Epoch, Frontier, FrontierRef, NoProgress, Progress, SlabId};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use proptest::prelude::*;

const GRANULE: u64 = 16;
const SLAB: u64 = 64 << 10;
const AXES: usize = 3;

#[derive(Debug, Default)]
struct Numbers(Mutex<(u64, Vec<SlabId>)>);

impl SlabProvider for Numbers {
    fn properties(&self) -> SlabProperties {
        SlabProperties {
            memory_type: MemoryType::NONE,
            usage: BufferUsage::NONE,
            alignment: 4096,
            granularity: 4096,
            max_slab_size: SLAB,
        }
    }
    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        let (made, out) = &mut *self.0.lock();
        if out.len() == 4 {
            return Ok(Grant::NoCapacity);
        }
        *made += 1;
        let id = SlabId::from_bits(*made);
        out.push(id);
        Ok(Grant::Slab(Slab { id, size }))
    }
    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.0.lock().1.retain(|&out| out != id);
        Ok(())
    }
    fn stats(&self) -> SlabStats {
        SlabStats::default()
    }
}

#[derive(Debug, Default)]
struct Axes([AtomicU64; AXES]);

impl Progress for Axes {
    fn reached(&self, axis: Axis) -> Epoch {
        self.0[axis.to_bits() as usize].load(Ordering::Relaxed)
    }
}

fn pool(axes: Arc<Axes>) -> TlsfPool {
    let host = PoolHost::new(Arc::new(Numbers::default()), axes);
    let config = TlsfPoolConfig {
        offsets: Config { granule: GRANULE, ..Config::default() },
        growth: Growth::slabs_of(SLAB),
        ..TlsfPoolConfig::default()
    };
    TlsfPool::new(host, config).unwrap()
}

fn frontier(epochs: [Epoch; AXES]) -> Frontier {
    let entries = (0..).zip(epochs).filter(|&(_, epoch)| epoch != 0);
    Frontier::from_entries(entries.map(|(axis, epoch)| Entry::new(Axis::from_bits(axis), epoch)))
        .unwrap()
}

/// What is known of one granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Granule {
    Fresh,
    Live,
    Died([Epoch; AXES]),
    Unknown,
}

/// A pool as its bytes are, without blocks, bins, slots or inboxes.
struct Model {
    bytes: BTreeMap<(SlabId, u64), Granule>,
    axes: Arc<Axes>,
    reserved: u64,
    requested: u64,
    peaks: [u64; 3],
    reserves: u64,
    releases: u64,
}

fn granules(size: u64) -> u64 {
    size.div_ceil(GRANULE)
}

impl Model {
    fn range(&mut self, slab: SlabId, offset: u64, size: u64) -> Vec<&mut Granule> {
        let first = offset / GRANULE;
        for at in first..first + granules(size) {
            self.bytes.entry((slab, at)).or_insert(Granule::Fresh);
        }
        let range = (slab, first)..(slab, first + granules(size));
        self.bytes.range_mut(range).map(|(_, granule)| granule).collect()
    }

    fn over(axes: &Axes, died: [Epoch; AXES]) -> bool {
        (0..AXES).all(|axis| axes.0[axis].load(Ordering::Relaxed) >= died[axis])
    }

    fn pending(&self) -> u64 {
        let waits = |granule: &&Granule| matches!(**granule, Granule::Died(died) if !Self::over(&self.axes, died));
        self.bytes.values().filter(waits).count() as u64 * GRANULE
    }

    fn note(&mut self) {
        let now = [self.reserved, self.requested, self.pending()];
        self.peaks = core::array::from_fn(|at| self.peaks[at].max(now[at]));
    }

    fn acquired(&mut self, held: &Reservation, known: [Epoch; AXES], origin: Option<Origin>) {
        let axes = self.axes.clone();
        let reached = |axis: usize| axes.0[axis].load(Ordering::Relaxed);
        let (mut fresh, mut waited_for) = (true, false);
        for granule in self.range(held.slab(), held.offset(), held.size()) {
            match *granule {
                Granule::Fresh => {}
                Granule::Live => panic!("{held:?} is in use"),
                Granule::Unknown => panic!("{held:?}: nobody knows what uses it"),
                Granule::Died(died) => {
                    fresh = false;
                    for axis in 0..AXES {
                        waited_for |= reached(axis) < died[axis];
                        assert!(
                            origin.is_none() || reached(axis).max(known[axis]) >= died[axis],
                            "{held:?} dies at {died:?}, and is ready for {known:?}"
                        );
                    }
                }
            }
            *granule = Granule::Live;
        }
        if let Some(origin) = origin {
            let expected = match (fresh, waited_for) {
                (true, _) => Origin::Fresh,
                (_, true) => Origin::Reused(ReuseProof::Dominance),
                _ => Origin::Reused(ReuseProof::Completion),
            };
            assert_eq!(origin, expected, "{held:?}");
        }
        self.reserves += 1;
        self.reserved += granules(held.size()) * GRANULE;
        self.requested += held.size();
        self.note();
    }

    fn released(&mut self, slab: SlabId, offset: u64, size: u64, died: Option<[Epoch; AXES]>) {
        for granule in self.range(slab, offset, size) {
            *granule = died.map_or(Granule::Unknown, Granule::Died);
        }
        self.releases += 1;
        self.reserved -= granules(size) * GRANULE;
        self.requested -= size;
        self.note();
    }

    /// The pool says of each byte and each number what the model says.
    fn check(&self, pool: &TlsfPool, stands_still: bool) {
        let stats = pool.stats();
        assert_eq!(stats.reserved_bytes, self.reserved);
        assert_eq!(stats.requested_bytes, self.requested);
        assert_eq!(stats.peak_reserved_bytes, self.peaks[0]);
        assert_eq!(stats.peak_requested_bytes, self.peaks[1]);
        assert_eq!((stats.reserves, stats.releases), (self.reserves, self.releases));
        assert_eq!(stats.live, self.reserves - self.releases);
        let origins = stats.fresh + stats.dominated + stats.completed + stats.waited;
        assert_eq!(origins, stats.reserves);
        assert_eq!(stats.committed_bytes, stats.reserved_bytes + stats.free_bytes);
        assert!(stats.peak_pending_bytes >= stats.pending_bytes);
        if stands_still {
            assert_eq!(stats.pending_bytes, self.pending());
            assert_eq!(stats.peak_pending_bytes, self.peaks[2]);
        }
        let mut pending = 0;
        pool.inspect(&mut |block| {
            for at in block.offset / GRANULE..(block.offset + block.size) / GRANULE {
                let told = match block.state {
                    BlockState::Live { .. } => Granule::Live,
                    BlockState::Tainted => Granule::Unknown,
                    BlockState::Clean => Granule::Died([0; AXES]),
                    BlockState::Pending(death) => {
                        pending += GRANULE;
                        Granule::Died(core::array::from_fn(|axis| {
                            death.get(Axis::from_bits(axis as u64))
                        }))
                    }
                };
                let known = self.bytes.get(&(block.slab, at)).copied().unwrap_or(Granule::Fresh);
                let left = |died: [Epoch; AXES]| -> [Epoch; AXES] {
                    core::array::from_fn(|axis| {
                        let reached = self.axes.0[axis].load(Ordering::Relaxed);
                        if reached >= died[axis] { 0 } else { died[axis] }
                    })
                };
                let same = match (told, known) {
                    (Granule::Died(told), Granule::Died(known)) => left(told) == left(known),
                    (Granule::Died(told), Granule::Fresh) => left(told) == [0; AXES],
                    (told, known) => told == known,
                };
                assert!(same, "{block:?} at {at}: {known:?}");
            }
        });
        assert_eq!(pending, stats.pending_bytes);
        assert_eq!(pool.stats(), stats, "who looks changes nothing");
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Acquire { size: u64, known: [Epoch; AXES], wait: bool, align: u32 },
    Release { which: usize, died: [Epoch; AXES], unknown: bool },
    Cancel { which: usize },
    Advance { axis: usize },
    Poll,
    Trim,
    Quiesce,
}

fn steps(moves: bool) -> impl Strategy<Value = Vec<Step>> {
    let sizes = prop_oneof![8 => prop::sample::select(vec![16_u64, 60, 64, 256]), 1 => 1_u64..2000];
    let epochs = || {
        prop_oneof![
            4 => (0_u64..12).prop_map(|epoch| [epoch, 0, 0]),
            1 => prop::array::uniform3(0_u64..12),
            1 => Just([0; AXES]),
        ]
    };
    let moving = if moves { 2 } else { 0 };
    let step = prop_oneof![
        12 => (sizes, epochs(), prop::bool::weighted(0.1), prop_oneof![6 => Just(0_u32), 1 => 0_u32..9])
            .prop_map(|(size, known, wait, align)| Step::Acquire { size, known, wait, align }),
        12 => (any::<usize>(), epochs(), prop::bool::weighted(0.02))
            .prop_map(|(which, died, unknown)| Step::Release { which, died, unknown }),
        1 => any::<usize>().prop_map(|which| Step::Cancel { which }),
        moving => (0..AXES).prop_map(|axis| Step::Advance { axis }),
        1 => Just(Step::Poll),
        1 => Just(Step::Trim),
        moving => Just(Step::Quiesce),
    ];
    prop::collection::vec(step, 1..200)
}

fn play(steps: Vec<Step>, moves: bool) -> (u64, u64) {
    let axes = Arc::new(Axes::default());
    let pool = pool(axes.clone());
    let mut model = Model {
        bytes: BTreeMap::new(),
        axes: axes.clone(),
        reserved: 0,
        requested: 0,
        peaks: [0; 3],
        reserves: 0,
        releases: 0,
    };
    // With what each granule was before, for a cancel.
    let mut held: Vec<(Reservation, Vec<Granule>)> = Vec::new();
    for step in steps {
        match step {
            Step::Acquire { size, known, wait, align } => {
                let after = frontier(known);
                let request = Request {
                    may_wait: wait,
                    ..Request::new(size).aligned(1 << align).after(after.as_ref()).or_grow()
                };
                let answer = pool.acquire(&request).unwrap();
                let (reservation, origin) = match answer {
                    Acquire::Ready { reservation, origin } => (reservation, Some(origin)),
                    Acquire::AfterWait { reservation, .. } => (reservation, None),
                    other => panic!("{other:?}"),
                };
                assert!(reservation.offset().is_multiple_of(1 << align));
                let (slab, offset) = (reservation.slab(), reservation.offset());
                let before = model.range(slab, offset, size).into_iter().map(|g| *g).collect();
                model.acquired(&reservation, known, origin);
                held.push((reservation, before));
            }
            Step::Release { which, died, unknown } if !held.is_empty() => {
                let at = if which % 3 == 0 { which % held.len() } else { held.len() - 1 };
                let (reservation, _) = held.swap_remove(at);
                let place = (reservation.slab(), reservation.offset(), reservation.size());
                let after = frontier(died);
                let death = if unknown { Death::Unknown } else { Death::from(after.as_ref()) };
                pool.release(reservation, death).unwrap();
                model.released(place.0, place.1, place.2, (!unknown).then_some(died));
            }
            Step::Cancel { which } if !held.is_empty() => {
                let (reservation, before) = held.swap_remove(which % held.len());
                let place = (reservation.slab(), reservation.offset(), reservation.size());
                pool.cancel(reservation).unwrap();
                model.released(place.0, place.1, place.2, Some([0; AXES]));
                for (granule, before) in
                    model.range(place.0, place.1, place.2).into_iter().zip(before)
                {
                    // Not used, but handed out.
                    let fresh = before == Granule::Fresh;
                    *granule = if fresh { Granule::Died([0; AXES]) } else { before };
                }
                model.note();
            }
            Step::Advance { axis } => {
                model.axes.0[axis].fetch_add(1, Ordering::Relaxed);
            }
            Step::Trim => {
                pool.trim(Trim::Excess).unwrap();
            }
            Step::Quiesce => {
                pool.quiesce();
                for granule in model.bytes.values_mut() {
                    if let Granule::Died(_) | Granule::Unknown = granule {
                        *granule = Granule::Died([0; AXES]);
                    }
                }
            }
            _ => {}
        }
        pool.poll();
        model.check(&pool, !moves);
        if let Step::Trim = step {
            // What was given back may come again, as new.
            let mut there = alloc::collections::BTreeSet::new();
            pool.inspect(&mut |block| {
                there.insert(block.slab);
            });
            model.bytes.retain(|(slab, _), _| there.contains(slab));
        }
    }
    let passed = pool.passed();
    (passed.dominated, passed.completed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 192 }))]

    #[test]
    fn a_pool_with_slots_is_what_its_bytes_are(steps in steps(true)) {
        play(steps, true);
    }

    #[test]
    fn peaks_of_what_waits_are_exact_while_axes_stand_still(steps in steps(false)) {
        play(steps, false);
    }
}

fn ready(pool: &TlsfPool, size: u64) -> (Reservation, Origin) {
    match pool.acquire(&Request::new(size).or_grow()).unwrap() {
        Acquire::Ready { reservation, origin } => (reservation, origin),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_block_goes_from_hand_to_hand() {
    let pool = pool(Arc::default());
    let (held, _) = ready(&pool, 64);
    pool.release(held, Death::Idle).unwrap();
    for turn in 1..100 {
        let (held, origin) = ready(&pool, 64);
        assert_eq!(origin, Origin::Reused(ReuseProof::Completion));
        pool.release(held, Death::Idle).unwrap();
        assert_eq!(pool.stats().releases, turn + 1);
    }
    // The first of them asked for the size; from then on none took the lock.
    assert!(pool.passed().completed >= 98, "{:?}", pool.passed());
    assert_eq!((pool.stats().live, pool.stats().reserves), (0, 100));
}

fn known(pool: &TlsfPool, size: u64, epochs: [Epoch; AXES]) -> Reservation {
    let after = frontier(epochs);
    let request = Request::new(size).after(after.as_ref()).or_grow();
    match pool.acquire(&request).unwrap() {
        Acquire::Ready { reservation, .. } => reservation,
        other => panic!("{other:?}"),
    }
}

fn die(pool: &TlsfPool, held: Reservation, epochs: [Epoch; AXES]) {
    pool.release(held, Death::from(frontier(epochs).as_ref())).unwrap();
}

#[test]
fn a_cancel_restores_what_the_last_holder_said_and_not_the_one_before() {
    let pool = pool(Arc::default());
    let all: Vec<_> = (0..SLAB / 32).map(|_| known(&pool, 32, [0; AXES])).collect();
    let mut all = all.into_iter();
    die(&pool, all.next().unwrap(), [3, 0, 0]);
    die(&pool, all.next().unwrap(), [0, 7, 0]);
    // Of two parts with different deaths; from now on the thread keeps blocks of this size.
    for _ in 0..3 {
        let both = known(&pool, 64, [9, 9, 0]);
        die(&pool, both, [9, 0, 0]);
    }
    pool.cancel(known(&pool, 64, [9, 0, 0])).unwrap();
    let early = frontier([8, 8, 0]);
    for size in [16, 32, 64] {
        let request = Request::new(size).after(early.as_ref()).without_growth();
        let answer = pool.acquire(&request).unwrap();
        assert!(matches!(answer, Acquire::Exhausted { .. }), "{answer:?}");
    }
    drop(all);
}

#[test]
fn a_peak_of_what_waits_is_noted_though_nobody_looks() {
    let pool = pool(Arc::default());
    let mut held = [known(&pool, 64, [0; AXES]), known(&pool, 64, [0; AXES])];
    for waits in [1, 2, 2] {
        for one in &mut held[..waits] {
            let dead = core::mem::replace(
                one,
                Reservation::foreign(pool.id(), SlabId::from_bits(0), 0, 1, 0),
            );
            die(&pool, dead, [9, 0, 0]);
        }
        for one in &mut held[..waits] {
            *one = known(&pool, 64, [9, 0, 0]);
        }
    }
    assert_eq!(pool.stats().peak_pending_bytes, 128);
    held.into_iter().for_each(|held| die(&pool, held, [9, 0, 0]));
}

#[test]
fn thousands_of_threads_one_after_another_leave_nothing_behind() {
    let pool = pool(Arc::default());
    for _ in 0..if cfg!(miri) { 20 } else { 3000 } {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..3 {
                    let (held, _) = ready(&pool, 256);
                    pool.release(held, Death::Idle).unwrap();
                }
            });
        });
    }
    let stats = pool.stats();
    assert_eq!((stats.live, stats.reserved_bytes), (0, 0));
    assert_eq!(stats.reserves, stats.releases);
    // They all lived on what the first had.
    assert_eq!((stats.slabs, stats.peak_reserved_bytes), (1, 256));
    assert_eq!(pool.trim(Trim::All), Ok(SLAB));
}

#[test]
fn what_another_thread_has_in_its_seat_serves_before_the_pool_refuses_or_grows() {
    let pool = pool(Arc::default());
    let all: Vec<_> = (0..SLAB / 1024).map(|_| ready(&pool, 1024).0).collect();
    assert_eq!(pool.stats().slabs, 1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // This thread asks for the size, and so keeps what it gives back.
            let refused = pool.acquire(&Request::new(1024).without_growth()).unwrap();
            assert!(matches!(refused, Acquire::Exhausted { .. }));
            all.into_iter().for_each(|held| pool.release(held, Death::Idle).unwrap());
        });
    });
    let all: Vec<_> = (0..SLAB / 1024).map(|_| ready(&pool, 1024).0).collect();
    assert_eq!(pool.stats().slabs, 1);
    drop(all);
}

#[test]
fn who_was_refused_is_told_of_a_release_into_a_slot() {
    let pool = pool(Arc::default());
    let all: Vec<_> = (0..SLAB / 1024).map(|_| ready(&pool, 1024).0).collect();
    let mut all = all.into_iter();
    for _ in 0..4 {
        let request = Request::new(1024).without_growth();
        let Acquire::Exhausted { observed, .. } = pool.acquire(&request).unwrap() else {
            panic!("there is something left");
        };
        assert!(!pool.notification().changed_since(observed));
        pool.release(all.next().unwrap(), Death::Idle).unwrap();
        assert!(pool.notification().changed_since(observed));
        let again = pool.acquire(&Request::new(1024)).unwrap();
        let Acquire::Ready { reservation, .. } = again else { panic!("{again:?}") };
        drop(reservation);
    }
}

/// The model checker does not come between these two reads, so this is tried.
#[test]
fn who_counts_beside_an_owner_counts_no_less_than_nothing() {
    const BLOCK: u64 = 256;
    let slots = Slots::new(GRANULE, 4 * BLOCK);
    let nothing = |_: Box<Ticket>| panic!("all blocks have one size");
    let take = || slots.take(0, &Request::new(BLOCK), &NoProgress, nothing);
    assert!(take().is_none());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let mut ticket = Ticket::new();
                ticket.requested = BLOCK;
                assert!(slots.put(0, ticket).is_none());
                assert!(take().is_some());
            }
        });
        let looks = if cfg!(miri) { 100 } else { 1_000_000 };
        let wrong = (0..looks).map(|_| slots.held()).find(|held| *held > u64::MAX / 2);
        over.store(true, Ordering::Relaxed);
        assert_eq!(wrong, None);
    });
}

#[test]
fn threads_that_share_a_pool_count_right() {
    let pool = pool(Arc::default());
    let entry = Entry::new(Axis::from_bits(0), 9);
    let turns = if cfg!(miri) { 50 } else { 20_000 };
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let pool = &pool;
            scope.spawn(move || {
                let known = FrontierRef::single(&entry);
                let mut kept = Vec::new();
                for turn in 0..turns {
                    let size = 16 << ((turn + thread) % 3);
                    let answer = pool.acquire(&Request::new(size).after(known).or_grow()).unwrap();
                    let Acquire::Ready { reservation, .. } = answer else { panic!("{answer:?}") };
                    kept.push(reservation);
                    if kept.len() > 3 {
                        let death = if turn % 2 == 0 { Death::Idle } else { Death::After(known) };
                        pool.release(kept.remove(0), death).unwrap();
                    }
                    if turn % 1024 == 0 {
                        let stats = pool.stats();
                        assert_eq!(stats.live, stats.reserves - stats.releases);
                        assert!(stats.peak_pending_bytes >= stats.pending_bytes);
                        assert!(stats.peak_reserved_bytes >= stats.reserved_bytes);
                    }
                }
                kept.into_iter().for_each(|held| pool.release(held, Death::Idle).unwrap());
            });
        }
    });
    let stats = pool.stats();
    assert_eq!((stats.live, stats.reserved_bytes, stats.requested_bytes), (0, 0, 0));
    assert_eq!((stats.reserves, stats.releases), (4 * turns, 4 * turns));
    assert_eq!(stats.fresh + stats.dominated + stats.completed, stats.reserves);
    drop(pool);
}
