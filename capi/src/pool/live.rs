//! A pool behind its handle, found without a lock where a thread uses the same one again.
//!
//! ```text
//!   call ─▶ the pool that this thread used last? ─ yes ─▶ still open? ─▶ use it
//!                                                └ no ─▶ the table of all (a lock), and remember it
//! ```
//!
//! A destroyed pool gives its slabs back at once. What little is left of it, its books, goes when no thread remembers it.

use crate::handle::Registry;
use crate::slabs::Source;
use crate::status::{Fault, strandline_status};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strandline_core::slab::Trim;
use strandline_core::{Pool, PoolError};

pub(super) static POOLS: Registry<Live> = Registry::new("pool");

/// A pool, and where its slabs are.
pub(super) struct Live {
    pub(super) pool: Box<dyn Pool>,
    pub(super) source: Arc<Source>,
    /// Not destroyed yet.
    open: AtomicBool,
}

impl Live {
    pub(super) const fn new(pool: Box<dyn Pool>, source: Arc<Source>) -> Self {
        Self { pool, source, open: AtomicBool::new(true) }
    }
}

thread_local! {
    static LAST: Cell<Option<(u64, Arc<Live>)>> = const { Cell::new(None) };
}

/// Does something with a pool.
#[inline]
pub(super) fn with<R>(
    handle: u64,
    work: impl FnOnce(&Live) -> Result<R, Fault>,
) -> Result<R, Fault> {
    // Taken out meanwhile: a device's functions may use other pools within this call.
    let last = LAST.try_with(Cell::take).ok().flatten();
    let live = match last {
        // Acquire: with what the destroying thread did before. A handle is never used again, so the pool is the right one.
        Some((id, live)) if id == handle && live.open.load(Ordering::Acquire) => live,
        _ => POOLS.get(handle)?,
    };
    let result = work(&live);
    // A thread that ends remembers nothing.
    let _ = LAST.try_with(|last| last.set(Some((handle, live))));
    result
}

/// Destroys a pool without live reservations.
pub(super) fn destroy(handle: u64) -> Result<(), Result<Fault, PoolError>> {
    let live = POOLS
        .remove(handle, |live| match live.pool.stats().live {
            0 => Ok(()),
            count => Err(Fault::new(
                strandline_status::IN_USE,
                format_args!("the pool has {count} live reservations"),
            )),
        })
        .map_err(Ok)?;
    live.open.store(false, Ordering::Release);
    // The other threads' memory of it does not hold the slabs.
    live.pool.quiesce();
    let given = live.pool.trim(Trim::All).map_err(Err);
    // Nor does this thread's.
    drop(LAST.try_with(Cell::take));
    given.map(drop)
}
