//! Pools under one or several threads that share them: what each thread does, and how it is timed.

use crate::harness::{Contender, Stopwatch};
use crate::peers::{OffsetAllocator, Peer};
use crate::slabs::Numbers;
use crate::stream::Churn;
use std::fmt;
use std::hint::black_box;
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use strandline_core::inspect::EventSink;
use strandline_core::pool::fixed_block::{FixedBlockPool, FixedBlockPoolConfig};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{Coalescing, TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{PoolHost, Reservation};
use strandline_core::{Acquire, Axis, Death, Entry, FrontierRef, NoProgress, Pool, Request};

/// The axis that everything in these cases dies on.
const AXIS: Axis = Axis::queue(0, 0).with_session(1);

/// What blocks wait for when they are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// Nothing, and the requester knows nothing.
    Idle,
    /// A frontier of one entry that is never reached; the requester's frontier dominates it.
    After,
}

/// One thread's part of a case: it keeps its own live blocks between runs.
pub trait Worker: Send {
    /// Performs this many pairs.
    fn run(&mut self, pairs: u64);
}

/// Takes a block and gives it back at once.
pub struct Same<P> {
    pool: Arc<P>,
    size: u64,
    released: Released,
    epoch: u64,
}

impl<P> fmt::Debug for Same<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Same").field("size", &self.size).finish_non_exhaustive()
    }
}

impl<P: Pool> Same<P> {
    /// Blocks of `size` bytes.
    #[must_use]
    pub const fn new(pool: Arc<P>, size: u64, released: Released) -> Self {
        Self { pool, size, released, epoch: 0 }
    }
}

impl<P: Pool> Worker for Same<P> {
    fn run(&mut self, pairs: u64) {
        for _ in 0..pairs {
            let reservation = acquire(&*self.pool, self.size, self.released);
            black_box(reservation.offset());
            self.epoch += 1;
            release(&*self.pool, reservation, self.released, self.epoch);
        }
    }
}

/// Keeps a number of blocks of mixed sizes and replaces a random one in each pair.
pub struct Mixed<P> {
    pool: Arc<P>,
    churn: Churn,
    live: Vec<Option<Reservation>>,
    at: usize,
    released: Released,
    epoch: u64,
}

impl<P> fmt::Debug for Mixed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mixed").field("live", &self.live.len()).finish_non_exhaustive()
    }
}

impl<P: Pool> Mixed<P> {
    /// `live` blocks, reserved now.
    #[must_use]
    pub fn new(pool: Arc<P>, live: u32, released: Released) -> Self {
        let churn = Churn::mixed(live);
        let start = churn.start.iter().map(|&size| Some(acquire(&*pool, size.into(), released)));
        let live = start.collect();
        Self { pool, churn, live, at: 0, released, epoch: 0 }
    }
}

impl<P: Pool> Worker for Mixed<P> {
    fn run(&mut self, pairs: u64) {
        for _ in 0..pairs {
            let swap = self.churn.swaps[self.at];
            self.at = if self.at + 1 == self.churn.swaps.len() { 0 } else { self.at + 1 };
            let slot = &mut self.live[swap.slot as usize];
            if let Some(old) = slot.take() {
                self.epoch += 1;
                release(&*self.pool, old, self.released, self.epoch);
            }
            let reservation = acquire(&*self.pool, swap.size.into(), self.released);
            black_box(reservation.offset());
            *slot = Some(reservation);
        }
    }
}

#[inline]
fn acquire<P: Pool>(pool: &P, size: u64, released: Released) -> Reservation {
    // Half of all epochs: beyond whatever a run reaches.
    let entry = Entry::new(AXIS, u64::MAX / 2);
    let request = match released {
        Released::Idle => Request::new(size),
        Released::After => Request::new(size).after(FrontierRef::single(&entry)),
    };
    match pool.acquire(&request.or_grow()) {
        Ok(Acquire::Ready { reservation, .. }) => reservation,
        other => panic!("{size} bytes: {other:?}"),
    }
}

#[inline]
fn release<P: Pool>(pool: &P, reservation: Reservation, released: Released, epoch: u64) {
    let entry = Entry::new(AXIS, epoch);
    let death = match released {
        Released::Idle => Death::Idle,
        Released::After => Death::After(FrontierRef::single(&entry)),
    };
    if let Err(error) = pool.release(reservation, death) {
        panic!("{error}");
    }
}

/// What one would write with what is published: offset-allocator behind a mutex. It knows no frontier.
pub struct Locked {
    allocator: Arc<Mutex<OffsetAllocator>>,
    churn: Option<Churn>,
    /// The thread's slots in the shared table begin here.
    first: u32,
    at: usize,
}

impl fmt::Debug for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locked").field("first", &self.first).finish_non_exhaustive()
    }
}

impl Locked {
    /// One per thread, all over one allocator. With `live`, blocks of mixed sizes, that many per thread; without,
    /// one block of 4 KiB at a time.
    #[must_use]
    pub fn team(threads: u32, live: Option<u32>) -> Vec<Box<dyn Worker>> {
        let each = live.unwrap_or(1);
        let allocator = Arc::new(Mutex::new(OffsetAllocator::new(1 << 32, threads * each)));
        let worker = |thread: u32| -> Box<dyn Worker> {
            let allocator = Arc::clone(&allocator);
            let churn = live.map(Churn::mixed);
            let worker = Self { allocator, churn, first: thread * each, at: 0 };
            for (slot, &size) in
                worker.churn.iter().flat_map(|churn| churn.start.iter().enumerate())
            {
                worker.allocate(slot as u32, size);
            }
            Box::new(worker)
        };
        (0..threads).map(worker).collect()
    }

    fn allocate(&self, slot: u32, size: u32) {
        let mut allocator = self.allocator.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(allocator.allocate(self.first + slot, size), "{size} bytes do not fit");
    }

    fn free(&self, slot: u32) {
        let mut allocator = self.allocator.lock().unwrap_or_else(PoisonError::into_inner);
        allocator.free(self.first + slot);
    }
}

impl Worker for Locked {
    fn run(&mut self, pairs: u64) {
        for _ in 0..pairs {
            if let Some(churn) = &self.churn {
                let swap = churn.swaps[self.at];
                self.at = if self.at + 1 == churn.swaps.len() { 0 } else { self.at + 1 };
                self.free(swap.slot);
                self.allocate(swap.slot, swap.size);
            } else {
                self.allocate(0, 4096);
                self.free(0);
            }
        }
    }
}

/// A TLSF pool with one slab of 16 GiB, over slabs that are numbers.
///
/// # Panics
/// Never: the configuration is valid.
#[must_use]
pub fn tlsf_pool(coalescing: Coalescing) -> Arc<TlsfPool> {
    tlsf_pool_told(coalescing, None)
}

/// The same, and `sink` is told of what happens.
///
/// # Panics
/// Never: the configuration is valid.
#[must_use]
pub fn tlsf_pool_told(coalescing: Coalescing, sink: Option<Arc<dyn EventSink>>) -> Arc<TlsfPool> {
    let mut host = PoolHost::new(Arc::new(Numbers::default()), Arc::new(NoProgress));
    host.sink = sink;
    let config =
        TlsfPoolConfig { growth: Growth::slabs_of(16 << 30), coalescing, ..Default::default() };
    match TlsfPool::new(host, config) {
        Ok(pool) => grown(pool),
        Err(error) => panic!("{error}"),
    }
}

/// A fixed-block pool of 1,024 blocks in one slab.
///
/// # Panics
/// Never: the configuration is valid.
#[must_use]
pub fn fixed_pool(block_size: u64) -> Arc<FixedBlockPool> {
    let host = PoolHost::new(Arc::new(Numbers::default()), Arc::new(NoProgress));
    let config = FixedBlockPoolConfig {
        block_size,
        max_blocks: 1024,
        growth: Growth::slabs_of(1024 * block_size),
        ..Default::default()
    };
    match FixedBlockPool::new(host, config) {
        Ok(pool) => grown(pool),
        Err(error) => panic!("{error}"),
    }
}

/// The pool with its first slab. Of two threads that find a pool empty, one may be told that it is exhausted while
/// the other fetches the slab.
fn grown<P: Pool>(pool: P) -> Arc<P> {
    release(&pool, acquire(&pool, 256, Released::Idle), Released::Idle, 0);
    Arc::new(pool)
}

/// A contender of one worker per thread. One thread is timed by its own clock; several by the wall's, from when
/// all are ready to when the last has performed its pairs, so that waiting for a lock counts. The time
/// is per pair of one thread.
pub fn contender(name: impl Into<String>, mut workers: Vec<Box<dyn Worker>>) -> Contender {
    Contender::new(name, move |pairs| match &mut workers[..] {
        [one] => {
            let clock = Stopwatch::start();
            one.run(pairs);
            clock.elapsed()
        }
        several => together(several, pairs),
    })
}

fn together(workers: &mut [Box<dyn Worker>], pairs: u64) -> Duration {
    let ready = Barrier::new(workers.len());
    thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter_mut()
            .map(|worker| {
                scope.spawn(|| {
                    ready.wait();
                    let begin = Instant::now();
                    worker.run(pairs);
                    (begin, Instant::now())
                })
            })
            .collect();
        let times: Vec<(Instant, Instant)> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        let begin = times.iter().map(|&(begin, _)| begin).min();
        let end = times.iter().map(|&(_, end)| end).max();
        match (begin, end) {
            (Some(begin), Some(end)) => end - begin,
            _ => Duration::ZERO,
        }
    })
}
