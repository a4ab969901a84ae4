//! A pool with many free blocks that no one may use yet.
//!
//! ```text
//!   │ 64 KiB │256│ 64 KiB │256│ 64 KiB │256│ …  │ 64 KiB or more │
//!    pending  live  live  live pending  live      clean, or live
//! ```
//! Whatever the number of pending blocks, as many blocks lie in the slab: the others are live. Live blocks of 256
//! bytes stand between, so that pending ones cannot merge.

use crate::pairs;
use std::hint::black_box;
use std::sync::Arc;
use strandline_core::pool::Reservation;
use strandline_core::pool::tlsf::{Coalescing, TlsfPool};
use strandline_core::{Acquire, Axis, Death, Entry, FrontierRef, Pool, Request};

/// Bytes of a pending block, and of the request.
const BLOCK: u64 = 64 << 10;
/// Blocks that are pending or live.
const BLOCKS: u64 = 10_000;

/// What the pool can do for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// A clean block serves it.
    Clean,
    /// Nothing does: the answer is `Exhausted`.
    Nothing,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Pending {
    pool: Arc<TlsfPool>,
    serves: Serves,
    /// Held so that they stay live.
    _live: Vec<Reservation>,
}

impl Pending {
    /// A pool with `pending` blocks that wait for `axes` axes, none of which ever moves.
    ///
    /// # Panics
    /// When the blocks cannot be laid out, which would be a fault of the pool.
    #[must_use]
    pub fn new(pending: u64, axes: u8, serves: Serves, coalescing: Coalescing) -> Self {
        let pool = pairs::tlsf_pool(coalescing);
        let take = |size: u64| match pool.acquire(&Request::new(size).or_grow()) {
            Ok(Acquire::Ready { reservation, .. }) => reservation,
            other => panic!("{size} bytes: {other:?}"),
        };
        let mut live = Vec::new();
        let mut blocks = Vec::new();
        for _ in 0..BLOCKS {
            blocks.push(take(BLOCK));
            live.push(take(256));
        }
        if serves == Serves::Nothing {
            // The pool has one slab and does not grow without leave: take the rest of it.
            let left = pool.stats().free_bytes;
            live.push(take(left));
        }
        for (index, block) in blocks.into_iter().enumerate() {
            let index = index as u64;
            if index >= pending {
                live.push(block);
                continue;
            }
            let axis = Axis::queue(1, (index % u64::from(axes)) as u8).with_session(1);
            let entry = Entry::new(axis, index + 1);
            let death = Death::After(FrontierRef::single(&entry));
            assert!(pool.release(block, death).is_ok(), "a block of this pool");
        }
        pool.poll();
        let stats = pool.stats();
        assert_eq!(stats.pending_bytes, pending * BLOCK, "nothing of it is ready");
        Self { pool, serves, _live: live }
    }

    /// Acquires and, when that gave something, releases idle. The requester is ordered after its own axis only.
    ///
    /// # Panics
    /// When the pool answers something else than was set up.
    pub fn run(&mut self, count: u64) {
        let entry = Entry::new(Axis::queue(0, 0).with_session(1), u64::MAX / 2);
        let request = Request::new(BLOCK).after(FrontierRef::single(&entry)).without_growth();
        for _ in 0..count {
            match (self.pool.acquire(&request), self.serves) {
                (Ok(Acquire::Ready { reservation, .. }), Serves::Clean) => {
                    black_box(reservation.offset());
                    assert!(self.pool.release(reservation, Death::Idle).is_ok());
                }
                (Ok(Acquire::Exhausted { observed, .. }), Serves::Nothing) => {
                    black_box(observed);
                }
                (other, serves) => panic!("{serves:?} expected, got {other:?}"),
            }
        }
    }
}
