//! `authority`: makes trackers, pools and sets.

use super::{pools, tracker};
use crate::bindings::Component;
use crate::bindings::exported::authority::{
    ArenaConfig, FixedBlockConfig, Guest, PassthroughConfig, Pool, PoolBorrow, PoolHost, PoolSet,
    ProgressSource, Registration, SetError, TlsfConfig, Tracker,
};
use crate::bindings::imported::types::PoolError;
use crate::convert;
use crate::imports::{HostProgress, ImportedProvider, Key};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::Waker;
use strandline_core::pool::arena::ArenaPool;
use strandline_core::pool::fixed_block::FixedBlockPool;
use strandline_core::pool::passthrough::PassthroughPool;
use strandline_core::pool::tlsf::TlsfPool;
use strandline_core::pool_set::{self, PoolSetError};
use strandline_core::{Progress, pool};

/// What the core's pools stand on.
pub(super) fn stand(host: PoolHost<'_>) -> pool::PoolHost {
    let PoolHost { provider, progress } = host;
    let progress: Arc<dyn Progress> = match progress {
        ProgressSource::Tracker(handle) => {
            Arc::new(handle.get::<tracker::Handle>().tracker().clone())
        }
        ProgressSource::Host => Arc::new(HostProgress),
    };
    pool::PoolHost::new(Arc::new(ImportedProvider::new(provider)), progress)
}

fn export<P: Into<pools::Handle>>(
    made: Result<P, strandline_core::PoolError>,
) -> Result<Pool, PoolError> {
    match made {
        Ok(made) => Ok(Pool::new::<pools::Handle>(made.into())),
        Err(error) => Err(convert::pool_error(error)),
    }
}

impl Guest for Component {
    fn make_tracker(capacity: u32) -> Tracker {
        Tracker::new(tracker::Handle::new(capacity))
    }

    fn make_tlsf(host: PoolHost<'_>, config: TlsfConfig) -> Result<Pool, PoolError> {
        export(TlsfPool::new(stand(host), convert::tlsf_config(config)))
    }

    fn make_fixed_block(host: PoolHost<'_>, config: FixedBlockConfig) -> Result<Pool, PoolError> {
        export(FixedBlockPool::new(stand(host), convert::fixed_block_config(config)))
    }

    fn make_arena(host: PoolHost<'_>, config: ArenaConfig) -> Result<Pool, PoolError> {
        export(ArenaPool::new(stand(host), convert::arena_config(config)))
    }

    fn make_passthrough(host: PoolHost<'_>, config: PassthroughConfig) -> Result<Pool, PoolError> {
        export(PassthroughPool::new(stand(host), convert::passthrough_config(config)))
    }

    fn make_pool_set(registrations: Vec<Registration<'_>>) -> Result<PoolSet, SetError> {
        let mut set = pool_set::PoolSet::new();
        for (registration, position) in registrations.into_iter().zip(0..) {
            let Registration { pool, priority, min_size, max_size, oversized } = registration;
            let pool = Arc::clone(pool.get::<pools::Handle>().pool());
            let place = match oversized {
                true => pool_set::Registration::oversized(),
                false => pool_set::Registration::new(),
            };
            let place = place.priority(priority).sizes(min_size, max_size);
            match set.add(pool, place) {
                Ok(()) => {}
                Err(PoolSetError::DuplicatePool(_)) => {
                    return Err(SetError::DuplicatePool(position));
                }
                Err(PoolSetError::EmptySizeRange { min: _, max: _ }) => {
                    return Err(SetError::EmptySizeRange(position));
                }
            }
        }
        Ok(PoolSet::new(pools::Set::new(set)))
    }

    fn watch(pool: PoolBorrow<'_>, seen: u32, key: u64) -> bool {
        let notification = pool.get::<pools::Handle>().pool().notification();
        let now = notification.observe();
        // One thread: nothing can change between the look and the registration.
        now.word() == seen && notification.register(now, Waker::from(Arc::new(Key(key)))).is_some()
    }

    fn quiesce(pool: PoolBorrow<'_>) {
        pool.get::<pools::Handle>().pool().quiesce();
    }
}
