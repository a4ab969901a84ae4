//! While no axis moves, a pool that has looked at all of them asks none again; and once one moves, it looks.

use crate::support::provider::MockProvider;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_core::pool::arena::{ArenaPool, ArenaPoolConfig};
use strandline_core::pool::fixed_block::{FixedBlockPool, FixedBlockPoolConfig};
use strandline_core::pool::passthrough::{PassthroughPool, PassthroughPoolConfig};
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{PoolHost, Request};
use strandline_core::{Acquire, Axis, Death, Entry, Epoch, FrontierRef, Pool, Progress, Tracker};

/// A tracker that counts how often it was asked for an axis.
#[derive(Debug)]
struct Counting {
    tracker: Tracker,
    asked: AtomicU64,
}

impl Progress for Counting {
    fn reached(&self, axis: Axis) -> Epoch {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.tracker.reached(axis)
    }

    fn version(&self) -> Option<u64> {
        self.tracker.version()
    }
}

const AXES: u32 = 40;
const SIZE: u64 = 4096;

fn axis(ordinal: u32) -> Axis {
    Axis::host(ordinal)
}

/// Fills a pool with blocks that wait for two axes each, and has it refuse a request twice. How often the second asked for an axis.
fn asked_again(make: impl FnOnce(PoolHost) -> Arc<dyn Pool>) -> u64 {
    let tracker = Tracker::new(AXES as usize + 1);
    (0..=AXES).for_each(|ordinal| tracker.register(axis(ordinal)).unwrap());
    let progress = Arc::new(Counting { tracker: tracker.clone(), asked: AtomicU64::new(0) });
    let capacity = u64::from(AXES) * SIZE;
    let provider = Arc::new(MockProvider::new(SIZE, SIZE, SIZE, capacity));
    let pool = make(PoolHost::new(provider, progress.clone()));
    let acquire = |may_grow| {
        let request = Request { may_grow, ..Request::new(SIZE) };
        pool.acquire(&request).unwrap()
    };
    let taken = (0..AXES).map(|_| match acquire(true) {
        Acquire::Ready { reservation, .. } => reservation,
        other => panic!("{other:?}"),
    });
    for (reservation, ordinal) in taken.collect::<Vec<_>>().into_iter().zip(0..) {
        let entries = [Entry::new(axis(ordinal), 1), Entry::new(axis(AXES), 2)];
        let death = FrontierRef::try_from_sorted(&entries).unwrap();
        pool.release(reservation, Death::After(death)).unwrap();
    }
    pool.poll();
    assert!(matches!(acquire(false), Acquire::Exhausted { .. }));
    let before = progress.asked.load(Ordering::Relaxed);
    pool.poll();
    assert!(matches!(acquire(false), Acquire::Exhausted { .. }));
    let asked = progress.asked.load(Ordering::Relaxed) - before;
    // Half of what one of them waits for, then all of it.
    tracker.advance(axis(7), 1).unwrap();
    assert!(matches!(acquire(false), Acquire::Exhausted { .. }));
    tracker.advance(axis(AXES), 2).unwrap();
    let stats = |pool: &dyn Pool| {
        pool.poll();
        pool.stats().pending_bytes
    };
    assert_eq!(stats(&*pool), u64::from(AXES - 1) * SIZE);
    // The passthrough pool has given the slab back, and takes another.
    assert!(matches!(acquire(true), Acquire::Ready { .. }));
    asked
}

#[test]
fn a_passthrough_pool_asks_no_axis_twice() {
    let asked = asked_again(|host| {
        Arc::new(PassthroughPool::new(host, PassthroughPoolConfig::default()).unwrap())
    });
    assert_eq!(asked, 0);
}

#[test]
fn a_fixed_block_pool_asks_no_axis_twice() {
    let asked = asked_again(|host| {
        let config = FixedBlockPoolConfig {
            block_size: SIZE,
            max_blocks: AXES,
            growth: strandline_core::pool::growth::Growth::slabs_of(SIZE),
            ..FixedBlockPoolConfig::default()
        };
        Arc::new(FixedBlockPool::new(host, config).unwrap())
    });
    assert_eq!(asked, 0);
}

/// A request still asks for the axes of the bytes that it looks at: one of each generation. The poll asks for none.
#[test]
fn an_arena_asks_no_axis_of_what_it_does_not_look_at() {
    let asked = asked_again(|host| {
        let config = ArenaPoolConfig {
            generations: AXES,
            generation_size: SIZE,
            ..ArenaPoolConfig::default()
        };
        Arc::new(ArenaPool::new(host, config).unwrap())
    });
    assert!(asked <= 4 * u64::from(AXES), "{asked}");
}

#[test]
fn a_tlsf_pool_asks_no_axis_twice() {
    let asked = asked_again(|host| {
        let config = TlsfPoolConfig {
            growth: strandline_core::pool::growth::Growth::slabs_of(SIZE),
            ..TlsfPoolConfig::default()
        };
        Arc::new(TlsfPool::new(host, config).unwrap())
    });
    assert_eq!(asked, 0);
}
