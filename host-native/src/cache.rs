//! The slab cache with its thread: [`CachedSlabs`].
//!
//! ```text
//!   pools ──acquire/release──▶ SlabCache ◀──refill()── thread "strandline-slabs"
//!                                  │ refill_wanted         ▲
//!                                  └───────────────────────┘ sleeps until signaled
//! ```
//!
//! The policy is core's [`SlabCache`]; this file owns the thread that drives it. The thread sleeps while
//! there is nothing to do. Dropping the cache stops and joins it, then gives the ready slabs back.

use crate::wake::{thread_wake, wait};
use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use strandline_core::slab::cache::{CacheConfig, CacheStats, Refill, SlabCache};
use strandline_core::slab::{
    Grant, SlabError, SlabId, SlabMap, SlabProperties, SlabProvider, SlabStats, Trim,
};
use strandline_core::{Axis, Epoch};

/// Why a cache with a thread could not be started.
#[derive(Debug)]
#[non_exhaustive]
pub enum CacheStartError {
    /// The provider has no slabs of the cached size.
    Slab(SlabError),
    /// The system has no thread to give.
    Thread(io::Error),
}

impl core::fmt::Display for CacheStartError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Slab(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "cannot start the slab thread: {error}"),
        }
    }
}

impl core::error::Error for CacheStartError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Slab(error) => Some(error),
            Self::Thread(error) => Some(error),
        }
    }
}

/// A provider whose slabs a thread of its own prepares ahead.
///
/// ```
/// use std::sync::Arc;
/// use strandline_core::slab::cache::CacheConfig;
/// use strandline_core::{Grant, SlabProvider};
/// use strandline_host_native::{CachedSlabs, MmapSlabProvider};
///
/// let provider = Arc::new(MmapSlabProvider::builder().build()?);
/// let cache = CachedSlabs::start(provider, CacheConfig::new(1 << 20).prefaulted())?;
/// let Grant::Slab(slab) = cache.acquire(1 << 20)? else { panic!("out of memory") };
/// cache.release(slab.id)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CachedSlabs<P: SlabProvider + ?Sized + 'static = dyn SlabProvider> {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    cache: Arc<SlabCache<P>>,
}

impl<P: SlabProvider + ?Sized + 'static> CachedSlabs<P> {
    /// Starts the thread, which begins to fill the cache.
    ///
    /// # Errors
    /// [`CacheStartError`].
    pub fn start(provider: Arc<P>, config: CacheConfig) -> Result<Self, CacheStartError> {
        let cache = SlabCache::new(provider, config, Some(thread_wake()));
        let cache = Arc::new(cache.map_err(CacheStartError::Slab)?);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (cache, stop) = (cache.clone(), stop.clone());
            thread::Builder::new()
                .name("strandline-slabs".into())
                .spawn(move || refill_until(&cache, &stop))
                .map_err(CacheStartError::Thread)?
        };
        Ok(Self { thread: Some(thread), stop, cache })
    }

    /// The cache's own counters.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.cache_stats()
    }

    /// The provider behind the cache.
    #[must_use]
    pub fn provider(&self) -> &Arc<P> {
        self.cache.provider()
    }
}

fn refill_until<P: SlabProvider + ?Sized>(cache: &SlabCache<P>, stop: &AtomicBool) {
    loop {
        // Observed before the look at the cache and at `stop`: a change of either ends the wait.
        let seen = cache.refill_wanted().observe();
        if stop.load(Ordering::Acquire) {
            return;
        }
        let step = cache.refill();
        log::trace!("slab cache: {step:?}");
        if step != Refill::Added {
            // Without a deadline it ends by a signal only.
            let _ = wait(cache.refill_wanted(), seen, None);
        }
    }
}

/// Stops and joins the thread; a refill under way is finished first.
impl<P: SlabProvider + ?Sized + 'static> Drop for CachedSlabs<P> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.cache.refill_wanted().signal();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the slab provider panicked during a refill");
        }
    }
}

impl<P: SlabProvider + ?Sized + 'static> SlabProvider for CachedSlabs<P> {
    fn properties(&self) -> SlabProperties {
        self.cache.properties()
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        self.cache.acquire(size)
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.cache.release(id)
    }

    fn prefault(&self, id: SlabId, offset: u64, len: u64) -> Result<(), SlabError> {
        self.cache.prefault(id, offset, len)
    }

    fn trim(&self, how: Trim) -> u64 {
        self.cache.trim(how)
    }

    fn stats(&self) -> SlabStats {
        self.cache.stats()
    }

    fn capacity(&self) -> Option<u64> {
        self.cache.capacity()
    }

    fn query_epoch(&self, axis: Axis, epoch: Epoch) -> Option<bool> {
        self.cache.query_epoch(axis, epoch)
    }

    fn answers_epochs(&self) -> bool {
        self.cache.answers_epochs()
    }
}

impl<P: SlabMap + ?Sized + 'static> SlabMap for CachedSlabs<P> {
    type Buffer = P::Buffer;

    fn map(&self, id: SlabId, offset: u64, len: u64) -> Result<Self::Buffer, SlabError> {
        self.cache.map(id, offset, len)
    }
}

#[cfg(test)]
mod tests;
