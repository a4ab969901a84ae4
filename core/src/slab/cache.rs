//! A slab cache: slabs made ready ahead of need, and kept for a while after it.
//!
//! ```text
//!               refill()  one slab a step, on a host's thread
//!                  │
//!   provider ──────┴──▶ ready ──acquire──▶ out ──release──┐
//!      ▲                  ▲     (a miss asks the provider) │
//!      │                  └────── ready < kept ────────────┤
//!      └───────────────────────── otherwise ───────────────┘
//!
//!   0 ······ target ······ kept ······ maximum      target: prepared ahead
//!               └── by the reuse average ──┘        kept:   held back at release
//! ```
//!
//! Making a slab costs a system call, page faults, or a driver's round trip. The cache moves that to a
//! thread which has nothing else to do. There is no thread in here: the host sleeps on
//! [`SlabCache::refill_wanted`] and calls [`SlabCache::refill`] until it answers that there is nothing
//! to do.
//!
//! A request larger than the cached size bypasses the cache. What the provider fails with during a
//! refill reaches the next caller of [`acquire`](SlabProvider::acquire), and refilling rests until
//! someone has seen it; a refusal (no capacity) makes it rest until the next acquire or release.
//!
//! How many released slabs are kept beyond the target follows an exponential moving average of
//! reuse: taking a slab that was used before, or missing one that was given back too early, counts 1;
//! a release that finds enough slabs ready counts 0. So a workload that breathes keeps its slabs, and
//! one that shrinks gives them back.
//!
//! # Invariants
//! - Ids are the cache's own. A slab that comes back and goes out again gets a new id, so a stale
//!   id never resolves, although the memory is the same (with the old contents in it).
//! - `ready + being refilled ≤ maximum`.
//! - The provider is never called with the lock held.
//!
//! # Cost
//! A hit, a release and a lookup take the lock once and are O(1).

use super::{
    Grant, Slab, SlabError, SlabId, SlabMap, SlabProperties, SlabProvider, SlabStats, SlabTable,
    Trim,
};
use crate::notification::{Notification, Wake};
use crate::sync::Mutex;
use crate::{Axis, Epoch};
use alloc::sync::Arc;
use alloc::vec::Vec;

mod ema;

pub use ema::Ema;

/// What a cache holds ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// Bytes of a cached slab. Smaller requests get a slab of this size, larger ones bypass the cache.
    pub slab_size: u64,
    /// Slabs to prepare ahead.
    pub target: u32,
    /// The most slabs to hold ready; below `target` it counts as `target`.
    pub maximum: u32,
    /// Touch the pages of a slab when it is prepared, so that first use does not fault.
    pub prefault: bool,
}

impl CacheConfig {
    /// Two slabs of `slab_size` bytes ahead, at most eight held, not prefaulted.
    #[must_use]
    pub const fn new(slab_size: u64) -> Self {
        Self { slab_size, target: 2, maximum: 8, prefault: false }
    }

    /// Prepare `target` slabs ahead and hold at most `maximum`.
    #[must_use]
    pub const fn counts(mut self, target: u32, maximum: u32) -> Self {
        self.target = target;
        self.maximum = maximum;
        self
    }

    /// Touch the pages of slabs while they are prepared.
    #[must_use]
    pub const fn prefaulted(mut self) -> Self {
        self.prefault = true;
        self
    }

    /// How many ready slabs a release may bring the cache to, at this average of reuse: from the
    /// target (never reused) to the maximum (always).
    #[must_use]
    pub fn kept(&self, reuse: Ema) -> u32 {
        let spread = u64::from(self.maximum.saturating_sub(self.target));
        let extra = (spread * u64::from(reuse.0)).div_ceil(u64::from(Ema::ONE));
        // At most `spread`, so the sum is at most the larger of the two counts.
        self.target + extra as u32
    }
}

/// What one step of [`SlabCache::refill`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "call again after `Added`; wait on `refill_wanted` after the others"]
pub enum Refill {
    /// One more slab is ready; there may be more to do.
    Added,
    /// Enough slabs are ready, or refilling rests until someone acquires.
    Idle,
    /// The provider has no capacity; refilling rests until the next acquire or release.
    Refused,
    /// The provider failed; the next acquire returns the error, and refilling rests until then.
    Failed,
}

/// The cache's own counters, beside [`SlabStats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Slabs ready now.
    pub ready: u64,
    /// Acquires served by a ready slab.
    pub hits: u64,
    /// Acquires of the cached size that had to ask the provider.
    pub misses: u64,
    /// Acquires too large for the cache.
    pub bypassed: u64,
    /// Slabs prepared ahead.
    pub refilled: u64,
    /// Released slabs that were kept.
    pub recycled: u64,
    /// The average of reuse.
    pub reuse: Ema,
}

/// A slab that the provider knows as `inner`.
#[derive(Clone, Copy, Debug)]
struct Held {
    inner: Slab,
    /// Of the cached size, so worth keeping.
    cached: bool,
}

#[derive(Clone, Copy, Debug)]
struct Ready {
    inner: Slab,
    /// Was out before, as opposed to prepared by a refill.
    used: bool,
}

#[derive(Debug)]
struct State {
    /// The slab taken last is the one most likely still in the caches of the processor.
    ready: Vec<Ready>,
    out: SlabTable<Held>,
    /// Refill steps under way: they will each add one to `ready`.
    refilling: u32,
    /// Refilling rests: the provider refused, or everything was trimmed.
    resting: bool,
    /// How often something came that ends a rest: a refusal that is older than the last of them begins none.
    stirs: u64,
    /// What a refill failed with and nobody has seen.
    failed: Option<SlabError>,
    /// Slabs given back to the provider that the maximum would have allowed to keep.
    regretted: u32,
    reuse: Ema,
    stats: SlabStats,
    cache: CacheCounts,
}

#[derive(Debug, Default)]
struct CacheCounts {
    hits: u64,
    misses: u64,
    bypassed: u64,
    refilled: u64,
    recycled: u64,
}

impl State {
    fn wants_refill(&self, config: &CacheConfig) -> bool {
        !self.resting
            && self.failed.is_none()
            && self.ready.len() as u64 + u64::from(self.refilling) < u64::from(config.target)
    }

    fn end_rest(&mut self) {
        self.resting = false;
        self.stirs += 1;
    }

    /// Names a slab that goes out.
    fn hand_out(&mut self, inner: Slab, cached: bool) -> Result<Slab, SlabError> {
        let id = self
            .out
            .insert(Held { inner, cached })
            .map_err(|_| SlabError::InvalidSize { size: inner.size })?;
        self.stats.count_acquire(inner.size);
        Ok(Slab { id, size: inner.size })
    }

    fn take_back(&mut self, id: SlabId) -> Result<Held, SlabError> {
        let held = self.out.remove(id).ok_or(SlabError::UnknownSlab(id))?;
        self.stats.count_release(held.inner.size);
        Ok(held)
    }

    /// Whether a slab of the cached size that comes back is kept; counts the reuse.
    fn keeps(&mut self, config: &CacheConfig) -> bool {
        let ready = self.ready.len() as u64 + u64::from(self.refilling);
        if ready >= u64::from(config.target.max(1)) {
            self.reuse = self.reuse.then(false);
        }
        let keeps = ready < u64::from(config.kept(self.reuse));
        if !keeps && self.regretted < config.maximum {
            self.regretted += 1;
        }
        keeps
    }
}

/// A provider that keeps slabs of another provider ready; see the [module](self).
///
/// ```
/// use std::sync::Arc;
/// use strandline_core::slab::cache::{CacheConfig, Refill, SlabCache};
/// # use strandline_core::slab::*;
/// # #[derive(Debug, Default)]
/// # struct Provider(std::sync::Mutex<u32>);
/// # impl SlabProvider for Provider {
/// #     fn properties(&self) -> SlabProperties {
/// #         SlabProperties { memory_type: MemoryType::NONE, usage: BufferUsage::NONE,
/// #             alignment: 1, granularity: 1, max_slab_size: 1 << 30 }
/// #     }
/// #     fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
/// #         let mut next = self.0.lock().unwrap();
/// #         *next += 1;
/// #         Ok(Grant::Slab(Slab { id: SlabId::new(*next, 0), size }))
/// #     }
/// #     fn release(&self, _id: SlabId) -> Result<(), SlabError> { Ok(()) }
/// #     fn stats(&self) -> SlabStats { SlabStats::default() }
/// # }
/// # let provider = Arc::new(Provider::default());
/// let cache = SlabCache::new(provider, CacheConfig::new(1 << 20).counts(1, 4), None)?;
/// assert_eq!(cache.refill(), Refill::Added);
/// assert_eq!(cache.refill(), Refill::Idle);
/// let Grant::Slab(slab) = cache.acquire(1 << 20)? else { unreachable!() };
/// assert_eq!(cache.cache_stats().hits, 1);
/// cache.release(slab.id)?;
/// # Ok::<(), SlabError>(())
/// ```
#[derive(Debug)]
pub struct SlabCache<P: SlabProvider + ?Sized = dyn SlabProvider> {
    config: CacheConfig,
    refill_wanted: Notification,
    state: Mutex<State>,
    provider: Arc<P>,
}

impl<P: SlabProvider + ?Sized> SlabCache<P> {
    /// An empty cache in front of `provider`. `wake` wakes the host's thread when it sleeps on
    /// [`refill_wanted`](Self::refill_wanted); `None` for a host that calls [`refill`](Self::refill)
    /// when it likes.
    ///
    /// # Errors
    /// [`SlabError::InvalidSize`] when the provider has no slabs of that size.
    pub fn new(
        provider: Arc<P>,
        config: CacheConfig,
        wake: Option<Arc<dyn Wake>>,
    ) -> Result<Self, SlabError> {
        if config.slab_size == 0 || config.slab_size > provider.properties().max_slab_size {
            return Err(SlabError::InvalidSize { size: config.slab_size });
        }
        let config = CacheConfig { maximum: config.maximum.max(config.target), ..config };
        Ok(Self {
            config,
            refill_wanted: Notification::new(wake),
            state: Mutex::new(State {
                ready: Vec::new(),
                out: SlabTable::new(),
                refilling: 0,
                resting: false,
                stirs: 0,
                failed: None,
                regretted: 0,
                reuse: Ema::HALF,
                stats: SlabStats { identity: SlabStats::next_identity(), ..Default::default() },
                cache: CacheCounts::default(),
            }),
            provider,
        })
    }

    /// The provider behind the cache.
    #[must_use]
    pub fn provider(&self) -> &Arc<P> {
        &self.provider
    }

    /// What it holds ready.
    #[must_use]
    pub fn config(&self) -> CacheConfig {
        self.config
    }

    /// Signaled whenever [`refill`](Self::refill) may have something to do.
    #[must_use]
    pub fn refill_wanted(&self) -> &Notification {
        &self.refill_wanted
    }

    /// Prepares at most one slab. Takes as long as the provider does; holds no lock meanwhile.
    pub fn refill(&self) -> Refill {
        let stirs = {
            let mut state = self.state.lock();
            if !state.wants_refill(&self.config) {
                return Refill::Idle;
            }
            state.refilling += 1;
            state.stirs
        };
        // A provider that panics must not leave its step counted for ever.
        let step = Step { state: &self.state };
        let prepared = self.prepare();
        let mut state = self.state.lock();
        // In one critical section with the push: between the two, a release could take the place.
        core::mem::forget(step);
        state.refilling -= 1;
        match prepared {
            Ok(Some(inner)) => {
                state.ready.push(Ready { inner, used: false });
                state.cache.refilled += 1;
                Refill::Added
            }
            Ok(None) => {
                // What was asked for may have come back since: whoever brings it ends the rest, then signals.
                if state.stirs == stirs {
                    state.resting = true;
                }
                Refill::Refused
            }
            Err(error) => {
                state.failed = Some(error);
                Refill::Failed
            }
        }
    }

    fn prepare(&self) -> Result<Option<Slab>, SlabError> {
        let Grant::Slab(slab) = self.provider.acquire(self.config.slab_size)? else {
            return Ok(None);
        };
        if self.config.prefault
            && let Err(error) = self.provider.prefault(slab.id, 0, slab.size)
        {
            self.provider.release(slab.id)?;
            return Err(error);
        }
        Ok(Some(slab))
    }

    /// The cache's own counters. O(1).
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        let state = self.state.lock();
        let CacheCounts { hits, misses, bypassed, refilled, recycled } = state.cache;
        CacheStats {
            ready: state.ready.len() as u64,
            hits,
            misses,
            bypassed,
            refilled,
            recycled,
            reuse: state.reuse,
        }
    }

    /// The provider's name for a slab that is out.
    fn resolve(&self, id: SlabId) -> Result<SlabId, SlabError> {
        match self.state.lock().out.get(id) {
            Some(held) => Ok(held.inner.id),
            None => Err(SlabError::UnknownSlab(id)),
        }
    }

    /// Takes a ready slab, or says that there is none; an unseen failure comes first.
    fn take_ready(&self) -> Result<Option<Slab>, SlabError> {
        let mut state = self.state.lock();
        state.end_rest();
        if let Some(error) = state.failed.take() {
            return Err(error);
        }
        let Some(Ready { inner, used }) = state.ready.pop() else {
            state.cache.misses += 1;
            if state.regretted > 0 {
                state.regretted -= 1;
                state.reuse = state.reuse.then(true);
            }
            return Ok(None);
        };
        state.cache.hits += 1;
        if used {
            state.reuse = state.reuse.then(true);
        }
        state.hand_out(inner, true).map(Some)
    }

    /// Asks the provider.
    fn acquire_now(&self, size: u64, cached: bool) -> Result<Grant, SlabError> {
        let grant = self.provider.acquire(size)?;
        let named = {
            let mut state = self.state.lock();
            match grant {
                Grant::NoCapacity => {
                    state.stats.refusals += 1;
                    return Ok(Grant::NoCapacity);
                }
                Grant::Slab(inner) => {
                    state.cache.bypassed += u64::from(!cached);
                    state.hand_out(inner, cached).map_err(|error| (inner.id, error))
                }
            }
        };
        match named {
            Ok(slab) => Ok(Grant::Slab(slab)),
            Err((id, error)) => {
                self.provider.release(id)?;
                Err(error)
            }
        }
    }
}

/// One refill step under way.
struct Step<'a> {
    state: &'a Mutex<State>,
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.state.lock().refilling -= 1;
    }
}

impl<P: SlabProvider + ?Sized> SlabProvider for SlabCache<P> {
    fn properties(&self) -> SlabProperties {
        self.provider.properties()
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        if size == 0 {
            return Err(SlabError::InvalidSize { size });
        }
        if size > self.config.slab_size {
            let grant = self.acquire_now(size, false)?;
            if grant != Grant::NoCapacity {
                return Ok(grant);
            }
            // Ready slabs hold capacity that a larger request may need more.
            return match self.trim(Trim::All) {
                0 => Ok(grant),
                _ => self.acquire_now(size, false),
            };
        }
        let taken = self.take_ready();
        // After a failure too: now that it was seen, refilling may try again.
        self.refill_wanted.signal_if_observed();
        match taken? {
            Some(slab) => Ok(Grant::Slab(slab)),
            None => self.acquire_now(self.config.slab_size, true),
        }
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        let held = {
            let mut state = self.state.lock();
            let held = state.take_back(id)?;
            if held.cached && state.keeps(&self.config) {
                state.end_rest();
                state.ready.push(Ready { inner: held.inner, used: true });
                state.cache.recycled += 1;
                return Ok(());
            }
            held
        };
        let released = self.provider.release(held.inner.id);
        // Only now is there capacity again that a refill may have been refused, even a moment ago.
        self.state.lock().end_rest();
        self.refill_wanted.signal_if_observed();
        released
    }

    fn prefault(&self, id: SlabId, offset: u64, len: u64) -> Result<(), SlabError> {
        self.provider.prefault(self.resolve(id)?, offset, len)
    }

    /// `All` gives back every ready slab, and refilling rests until the next acquire or release;
    /// `Excess` gives back those beyond the target. What the provider itself can trim is added. A slab
    /// that the provider refuses to take back is not counted.
    fn trim(&self, how: Trim) -> u64 {
        let surplus = {
            let mut state = self.state.lock();
            let keep = match how {
                Trim::All => {
                    state.resting = true;
                    0
                }
                Trim::Excess => state.ready.len().min(self.config.target as usize),
            };
            // The oldest go: the newest are the warm ones.
            let surplus = state.ready.len() - keep;
            state.ready.drain(..surplus).collect::<Vec<_>>()
        };
        let released = surplus
            .into_iter()
            .filter(|ready| self.provider.release(ready.inner.id).is_ok())
            .map(|ready| ready.inner.size)
            .sum::<u64>();
        released + self.provider.trim(how)
    }

    /// The cache's counters: what it handed out, and what it holds ready as `cached_bytes`.
    fn stats(&self) -> SlabStats {
        let state = self.state.lock();
        let cached_bytes = state.ready.iter().map(|ready| ready.inner.size).sum();
        SlabStats { cached_bytes, ..state.stats }
    }

    #[cfg(feature = "hosted")]
    fn capacity(&self) -> Option<u64> {
        self.provider.capacity()
    }

    fn query_epoch(&self, axis: Axis, epoch: Epoch) -> Option<bool> {
        self.provider.query_epoch(axis, epoch)
    }

    fn answers_epochs(&self) -> bool {
        self.provider.answers_epochs()
    }
}

impl<P: SlabMap + ?Sized> SlabMap for SlabCache<P> {
    type Buffer = P::Buffer;

    fn map(&self, id: SlabId, offset: u64, len: u64) -> Result<Self::Buffer, SlabError> {
        self.provider.map(self.resolve(id)?, offset, len)
    }
}

/// Gives the ready slabs back. Slabs that are still out stay with the provider: a device may be using
/// them, and nobody is left to say when it is done.
impl<P: SlabProvider + ?Sized> Drop for SlabCache<P> {
    fn drop(&mut self) {
        let ready = core::mem::take(&mut self.state.lock().ready);
        for slab in ready {
            // Nobody is left to be told of a failure.
            let _ = self.provider.release(slab.inner.id);
        }
    }
}

/// What the providers of the tests and of the model have: slabs of any size up to this, wherever.
#[cfg(test)]
fn slabs_up_to(max_slab_size: u64) -> SlabProperties {
    use super::{BufferUsage, MemoryType};
    SlabProperties {
        memory_type: MemoryType::NONE,
        usage: BufferUsage::NONE,
        alignment: 1,
        granularity: 1,
        max_slab_size,
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod model;
