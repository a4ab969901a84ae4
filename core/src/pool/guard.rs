//! A reservation for a scope: [`PoolGuard`] releases it when the scope ends, however it ends.
//!
//! A [`Reservation`] is linear: whoever forgets it, or leaves by `?` before the release, keeps its bytes until the pool is dropped. A guard
//! knows what the bytes wait for at each moment, so that leaving early loses nothing.

use super::{Pool, ReleaseError, Reservation};
use crate::{Axis, Death, Epoch, Frontier, Merge};
use core::fmt;
use core::ops::Deref;

/// A reservation that is released when this is dropped, with the death that was stated until then.
///
/// ```
/// # use std::sync::Arc;
/// # use strandline_core::pool::{PoolHost, tlsf::{TlsfPool, TlsfPoolConfig}};
/// use strandline_core::pool::{Pool, PoolGuard, Request};
/// use strandline_core::{Axis, Death, Tracker};
/// # use strandline_core::slab::CpuSlabs;
/// # let tracker = Tracker::new(1);
/// # let queue = Axis::queue(0, 0);
/// # tracker.register(queue)?;
/// # let host = PoolHost::new(Arc::new(CpuSlabs::new(1 << 30)), Arc::new(tracker.clone()));
/// # let pool = TlsfPool::new(host, TlsfPoolConfig::default())?;
///
/// fn upload(pool: &TlsfPool, queue: Axis) -> Result<(), Box<dyn std::error::Error>> {
///     let block = pool.acquire(&Request::new(4096))?.into_ready().map_err(|_| "no memory")?;
///     // Until something uses it, leaving frees it at once.
///     let mut block = PoolGuard::new(pool, block, Death::Idle)?;
///     let epoch = "1".parse()?; // …submit…
///     let _ = block.used_at(queue, epoch);
///     Err("something else went wrong")?
/// }
/// assert!(upload(&pool, queue).is_err());
/// assert_eq!((pool.stats().live, pool.stats().pending_bytes), (0, 4096));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a guard that is dropped at once releases at once"]
pub struct PoolGuard<P: Deref<Target: Pool>> {
    pool: P,
    /// There until it is released or kept.
    held: Option<Reservation>,
    /// `None`: nobody knows.
    death: Option<Frontier>,
}

impl<P: Deref<Target: Pool>> PoolGuard<P> {
    /// Guards a reservation of `pool`; dropped, it is released with `death`.
    ///
    /// # Errors
    /// [`ReleaseError`] returns a reservation of another pool.
    pub fn new(pool: P, reservation: Reservation, death: Death<'_>) -> Result<Self, ReleaseError> {
        if reservation.pool() != pool.id() {
            return Err(ReleaseError::other_pool(reservation));
        }
        let death = death.frontier().map(|frontier| frontier.to_frontier());
        Ok(Self { pool, held: Some(reservation), death })
    }

    /// The bytes are used at `epoch` of `axis` as well: the release waits for that too. On overflow, above
    /// [`MAX_ENTRIES`](crate::frontier::MAX_ENTRIES) axes, the death becomes unknown.
    pub fn used_at(&mut self, axis: Axis, epoch: Epoch) -> Merge {
        let Some(death) = self.death.as_mut() else { return Merge::Done };
        let merged = death.advance(axis, epoch);
        if merged == Merge::Overflow {
            self.death = None;
        }
        merged
    }

    /// Dropped from here on, it is released with `death`, whatever was stated before.
    pub fn set_death(&mut self, death: Death<'_>) {
        self.death = death.frontier().map(|frontier| frontier.to_frontier());
    }

    /// What it is released with.
    #[must_use]
    pub fn death(&self) -> Death<'_> {
        self.death.as_ref().map_or(Death::Unknown, Death::from)
    }

    /// Ends the guard without releasing: the reservation is linear again.
    pub fn keep(mut self) -> Reservation {
        match self.held.take() {
            Some(reservation) => reservation,
            None => unreachable!("a guard holds its reservation until it ends"),
        }
    }

    /// Releases now, and tells of a refusal.
    ///
    /// # Errors
    /// [`ReleaseError`] returns the reservation, when the death names an axis that nobody registered.
    pub fn release(mut self) -> Result<(), ReleaseError> {
        match self.held.take() {
            Some(reservation) => {
                let death = self.death.take();
                let death = death.as_ref().map_or(Death::Unknown, Death::from);
                self.pool.release(reservation, death)
            }
            None => Ok(()),
        }
    }
}

/// The reservation, to look at: its slab, offset and size.
impl<P: Deref<Target: Pool>> Deref for PoolGuard<P> {
    type Target = Reservation;

    fn deref(&self) -> &Reservation {
        match &self.held {
            Some(reservation) => reservation,
            // Taken only where the guard ends.
            None => unreachable!("a guard holds its reservation until it ends"),
        }
    }
}

/// Releases. A death that the pool refuses, because nobody registered an axis of it, counts as unknown.
impl<P: Deref<Target: Pool>> Drop for PoolGuard<P> {
    fn drop(&mut self) {
        let Some(reservation) = self.held.take() else { return };
        let death = self.death.as_ref().map_or(Death::Unknown, Death::from);
        if let Err(ReleaseError { reservation, .. }) = self.pool.release(reservation, death) {
            // It is of this pool; were it refused again, its bytes stay reserved, which is safe.
            let _ = self.pool.release(reservation, Death::Unknown);
        }
    }
}

impl<P: Deref<Target: Pool>> fmt::Debug for PoolGuard<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolGuard")
            .field("reservation", &self.held)
            .field("death", &self.death())
            .finish_non_exhaustive()
    }
}
