//! Pools with the providers behind them: what turns a reservation into a slice.
//!
//! ```text
//!   PoolSet ── routes by class and size ──▶ pool ──▶ Reservation { pool, slab, offset, size }
//!      └──────────── GpuPools::slice ◀── provider of that pool ◀──────┘
//! ```

use crate::class::UsageClass;
use crate::gpu::Gpu;
use crate::slab::WgpuSlabProvider;
use crate::slice::GpuSlice;
use std::sync::Arc;
use strandline_core::pool::PoolId;
use strandline_core::pool_set::{PoolSet, PoolSetError, Registration};
use strandline_core::queue::Place;
use strandline_core::slab::{SlabError, SlabMap};
use strandline_core::{Pool, Reservation, SlabId};

/// Pools over GPU buffers, and the way from their reservations to slices.
#[derive(Debug, Default)]
pub struct GpuPools {
    set: PoolSet,
    /// Ascending id.
    providers: Vec<(PoolId, Arc<WgpuSlabProvider>)>,
}

impl GpuPools {
    /// No pools.
    #[must_use]
    pub const fn new() -> Self {
        Self { set: PoolSet::new(), providers: Vec::new() }
    }

    /// Takes a pool that stands on `provider`.
    ///
    /// # Errors
    /// [`PoolSetError`]; nothing has changed then.
    pub fn add(
        &mut self,
        pool: Arc<dyn Pool>,
        provider: Arc<WgpuSlabProvider>,
        registration: Registration,
    ) -> Result<PoolId, PoolSetError> {
        let id = pool.id();
        self.set.add(pool, registration)?;
        let at = self.providers.partition_point(|(other, _)| *other < id);
        self.providers.insert(at, (id, provider));
        Ok(id)
    }

    /// The pools, to route by need.
    #[must_use]
    pub const fn set(&self) -> &PoolSet {
        &self.set
    }

    /// What a pool stands on; `None` for a pool that is not here.
    #[must_use]
    pub fn provider(&self, pool: PoolId) -> Option<&Arc<WgpuSlabProvider>> {
        let at = self.providers.binary_search_by_key(&pool, |(id, _)| *id).ok()?;
        Some(&self.providers[at].1)
    }

    /// The providers, each as often as pools stand on it.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<WgpuSlabProvider>> {
        self.providers.iter().map(|(_, provider)| provider)
    }

    /// The device and class of a pool's buffers.
    #[must_use]
    pub fn home(&self, pool: PoolId) -> Option<(&Gpu, UsageClass)> {
        self.provider(pool).map(|provider| (provider.gpu(), provider.class()))
    }

    /// The bytes of a reservation.
    ///
    /// # Errors
    /// [`SlabError::UnknownSlab`] for a reservation of a pool that is not here.
    pub fn slice(&self, reservation: &Reservation) -> Result<GpuSlice, SlabError> {
        self.map(reservation.pool(), reservation.slab(), reservation.offset(), reservation.size())
    }

    /// The bytes of a queue's buffer.
    pub(crate) fn slice_at(&self, place: &Place) -> Result<GpuSlice, SlabError> {
        self.map(place.pool, place.slab, place.offset, place.size)
    }

    fn map(
        &self,
        pool: PoolId,
        slab: SlabId,
        offset: u64,
        size: u64,
    ) -> Result<GpuSlice, SlabError> {
        let provider = self.provider(pool).ok_or(SlabError::UnknownSlab(slab))?;
        provider.map(slab, offset, size)
    }
}
