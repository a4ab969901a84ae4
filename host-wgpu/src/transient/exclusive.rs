//! Whole buffers, used again by frame after frame: what storage is given from.
//!
//! ```text
//!   size ─▶ size class (four to an octave) ─▶ free: [oldest … newest]      take: the newest       nobody took it for `retain` turns: dropped
//! ```
//!
//! A buffer serves one range at a time, so that wgpu's check of whole buffers is a check of that range: read-only beside read-write in one
//! dispatch, indirect arguments, copies from one to another. It is free again once wgpu has the submission that used it, because wgpu
//! runs submissions in order.
//!
//! # Cost
//! To take and to give is a lock and a push or pop. A fifth of a buffer is lost to its size class at most.

use crate::class::UsageClass;
use crate::lease::Lease;
use crate::slab::WgpuSlabProvider;
use crate::slice::GpuSlice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_core::slab::{Grant, SlabMap};
use strandline_core::{Epoch, PoolStats, SlabError, SlabId, SlabProvider};

/// Sizes are multiples of this many bytes.
const GRANULE: u64 = 256;

/// Four sizes to an octave.
const CLASSES: usize = 4 * 64;

/// The class of a size, and the bytes of its buffers; `None` for a size that cannot be rounded.
fn class_of(size: u64) -> Option<(usize, u64)> {
    let size = size.max(GRANULE);
    let step = (1_u64 << (size.ilog2() - 2)).max(GRANULE);
    let bytes = size.checked_next_multiple_of(step)?;
    let octave = bytes.ilog2();
    let quarter = (bytes >> (octave - 2)) & 3;
    Some((octave as usize * 4 + quarter as usize, bytes))
}

/// One of the buffers. It goes from list to list as a pointer.
#[derive(Debug)]
struct Whole {
    slab: SlabId,
    slice: GpuSlice,
    /// Where it is looked for.
    class: usize,
    /// Bytes that were asked for last.
    asked: u64,
    /// Its last use, in epochs of the frames and in turns.
    epoch: Epoch,
    turn: u64,
}

/// A buffer that is free, or that a frame has.
#[derive(Debug)]
pub(super) struct Owned(Box<Whole>);

impl Owned {
    /// Names it, without a new string if it has that name already.
    pub(super) fn keep_label(&mut self, label: Option<&str>) {
        if self.0.slice.label() != label {
            self.0.slice.rename(label);
        }
    }

    /// What was asked for, for a frame.
    pub(super) fn lend(&self, lease: &Lease) -> GpuSlice {
        self.0.slice.lend(self.0.asked, lease)
    }
}

#[derive(Debug)]
struct State {
    /// By class, each with what was used last at the end.
    free: Box<[Vec<Owned>]>,
    turn: u64,
    stats: PoolStats,
}

/// Whole buffers.
#[derive(Debug)]
pub(super) struct Exclusive {
    provider: Arc<WgpuSlabProvider>,
    /// Turns for which an unused buffer is kept.
    retain: u64,
    state: Mutex<State>,
}

impl Exclusive {
    pub(super) fn new(provider: Arc<WgpuSlabProvider>, retain: u32) -> Self {
        let state = State {
            free: (0..CLASSES).map(|_| Vec::new()).collect(),
            turn: 0,
            stats: PoolStats::default(),
        };
        Self { provider, retain: retain.into(), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics with it held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn provider(&self) -> &Arc<WgpuSlabProvider> {
        &self.provider
    }

    /// A buffer of `size` bytes at least. `None` when the device, or the capacity, has no room for it.
    pub(super) fn take(&self, size: u64, label: Option<&str>) -> Result<Option<Owned>, SlabError> {
        let (class, bytes) = class_of(size).ok_or(SlabError::InvalidSize { size })?;
        let mut state = self.lock();
        if let Some(free) = state.pop(class, size) {
            return Ok(Some(free));
        }
        state.stats.missed += 1;
        drop(state);
        let label = label.unwrap_or(UsageClass::Exclusive.name());
        if let Some(made) =
            self.make(bytes.min(self.provider.properties().max_slab_size), size, label)?
        {
            return Ok(Some(made));
        }
        // No room: a larger one will do, then what is free makes room.
        let mut state = self.lock();
        let larger = (class + 1..CLASSES).find(|&larger| !state.free[larger].is_empty());
        if let Some(free) = larger.and_then(|larger| state.pop(larger, size)) {
            return Ok(Some(free));
        }
        drop(state);
        self.drop_free(|_| true)?;
        let made = self.make(size, size, label)?;
        if made.is_none() {
            self.lock().stats.exhausted += 1;
        }
        Ok(made)
    }

    fn make(&self, bytes: u64, asked: u64, label: &str) -> Result<Option<Owned>, SlabError> {
        let Grant::Slab(slab) = self.provider.acquire_called(bytes, label)? else {
            return Ok(None);
        };
        let slice = self.provider.map(slab.id, 0, slab.size)?;
        // What was made without regard to classes lies where nothing larger is looked for.
        let (class, bytes) = class_of(slab.size).ok_or(SlabError::InvalidSize { size: bytes })?;
        let class = if bytes > slab.size { class - 1 } else { class };
        let mut state = self.lock();
        state.stats.fresh += 1;
        state.took(slab.size, asked);
        Ok(Some(Owned(Box::new(Whole { slab: slab.id, slice, class, asked, epoch: 0, turn: 0 }))))
    }

    /// Takes buffers back whose last use is `epoch`, which wgpu has.
    pub(super) fn give(&self, owned: impl Iterator<Item = Owned>, epoch: Epoch) {
        let mut state = self.lock();
        let turn = state.turn;
        let (mut count, mut bytes, mut asked) = (0, 0, 0);
        for mut owned in owned {
            let whole = &mut *owned.0;
            (count, bytes, asked) = (count + 1, bytes + whole.slice.size(), asked + whole.asked);
            (whole.epoch, whole.turn) = (epoch, turn);
            let class = whole.class;
            state.free[class].push(owned);
        }
        state.gave(count, bytes, asked);
    }

    /// Drops buffers that a recording may still use: wgpu keeps each until nobody does, and nobody else gets it.
    pub(super) fn set_aside(&self, owned: impl Iterator<Item = Owned>) {
        for Owned(whole) in owned {
            self.lock().gave(1, whole.slice.size(), whole.asked);
            // It is the provider's, so it is taken.
            let _ = self.provider.release(whole.slab);
        }
    }

    /// A submission was made: drops what nobody took for a while, now and then.
    pub(super) fn turn(&self) -> Result<(), SlabError> {
        let mut state = self.lock();
        state.turn += 1;
        let turn = state.turn;
        if !turn.is_multiple_of(self.retain / 4 + 1) {
            return Ok(());
        }
        drop(state);
        self.drop_free(|free| free.turn + self.retain < turn)?;
        Ok(())
    }

    /// Drops the free buffers whose last use is over as far as `reached`; returns their bytes.
    pub(super) fn trim(&self, reached: Epoch) -> Result<u64, SlabError> {
        self.drop_free(|free| free.epoch <= reached)
    }

    /// Drops the oldest of each class as far as they are to go.
    fn drop_free(&self, goes: impl Fn(&Whole) -> bool) -> Result<u64, SlabError> {
        let mut gone = Vec::new();
        let mut state = self.lock();
        for free in &mut state.free {
            // Most are empty, or their oldest stays.
            if free.first().is_none_or(|oldest| !goes(&oldest.0)) {
                continue;
            }
            let stays = free.iter().position(|free| !goes(&free.0)).unwrap_or(free.len());
            gone.extend(free.drain(..stays));
        }
        drop(state);
        let mut bytes = 0;
        for Owned(whole) in gone {
            bytes += whole.slice.size();
            self.provider.release(whole.slab)?;
        }
        Ok(bytes)
    }

    pub(super) fn stats(&self) -> PoolStats {
        let slabs = self.provider.stats();
        let mut stats = self.lock().stats;
        stats.slabs = slabs.slabs;
        stats.committed_bytes = slabs.committed_bytes;
        stats.peak_committed_bytes = slabs.peak_committed_bytes;
        stats.free_bytes = slabs.committed_bytes.saturating_sub(stats.reserved_bytes);
        stats
    }
}

impl State {
    /// The newest of a class, if it has `asked` bytes.
    fn pop(&mut self, class: usize, asked: u64) -> Option<Owned> {
        let mut owned = self.free[class].pop_if(|free| free.0.slice.size() >= asked)?;
        owned.0.asked = asked;
        self.stats.dominated += 1;
        self.took(owned.0.slice.size(), asked);
        Some(owned)
    }

    fn took(&mut self, bytes: u64, asked: u64) {
        let stats = &mut self.stats;
        stats.reserves += 1;
        stats.live += 1;
        stats.reserved_bytes += bytes;
        stats.requested_bytes += asked;
        stats.peak_reserved_bytes = stats.peak_reserved_bytes.max(stats.reserved_bytes);
        stats.peak_requested_bytes = stats.peak_requested_bytes.max(stats.requested_bytes);
    }

    fn gave(&mut self, count: u64, bytes: u64, asked: u64) {
        self.stats.releases += count;
        self.stats.live -= count;
        self.stats.reserved_bytes -= bytes;
        self.stats.requested_bytes -= asked;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_rise_with_sizes_and_waste_a_fifth_at_most() {
        let mut last = (0, 0);
        let mut size = 1;
        while size < 1 << 40 {
            let (class, bytes) = class_of(size).unwrap();
            assert!(bytes >= size && bytes.is_multiple_of(GRANULE), "{size}");
            assert!(bytes <= size + (size / 4).max(GRANULE), "{size} {bytes}");
            assert_eq!((class == last.0, class >= last.0), (bytes == last.1, true), "{size}");
            assert_eq!(class_of(bytes), Some((class, bytes)), "{size}");
            last = (class, bytes);
            size += size / 7 + 1;
        }
        assert_eq!(class_of(u64::MAX), None);
    }
}
