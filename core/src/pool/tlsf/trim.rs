//! Trim: empty slabs go back to the provider.

use super::TlsfPool;
use crate::pool::PoolError;
use crate::slab::Trim;
use alloc::vec::Vec;

impl TlsfPool {
    /// [`trim`](crate::Pool::trim)s.
    pub(super) fn give_back_empty(&self, how: Trim) -> Result<u64, PoolError> {
        let mut empty = Vec::new();
        let mut state = self.state.lock();
        self.settle(&mut state);
        self.empty_slots(&mut state);
        state.untold |= state.look_aside(&self.host);
        state.poll_all(&self.host);
        let (mut kept, mut kept_bytes) = (0, 0);
        let mut keeps = |size| {
            let keep = how == Trim::Excess && self.config.retention.keeps(kept, kept_bytes, size);
            if keep {
                kept += 1;
                kept_bytes += size;
            }
            keep
        };
        let (mut bytes, mut failure);
        (state, bytes, failure) = self.trim_elastic(state, &mut keeps);
        for index in 0..state.slabs.len() {
            if let Some((size, region)) = state.plain_slab(index)
                && state.heap.is_empty(region)
                && !keeps(size)
            {
                empty.extend(state.take_slab(index));
            }
        }
        // There will be room to grow, or a slab back that was out of sight for a moment.
        state.untold |= !empty.is_empty() || bytes != 0;
        drop(state);
        for slab in empty {
            let size = slab.0.size;
            match self.give_slab_back(slab) {
                Ok(()) => bytes += size,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        self.unlock(self.state.lock());
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(bytes),
        }
    }
}
