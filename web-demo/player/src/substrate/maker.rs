//! Pools for one run, made in the other component over slabs of the host.

use super::convert;
use super::pool::{Link, OtherPool};
use crate::bindings::stage;
use crate::bindings::substrate::authority::{self, ProgressSource};
use core::fmt;
use std::sync::Arc;
use strandline_core::Axis;
use strandline_core::pool::arena::ArenaPoolConfig;
use strandline_core::pool::fixed_block::FixedBlockPoolConfig;
use strandline_core::pool::passthrough::PassthroughPoolConfig;
use strandline_core::pool::tlsf::TlsfPoolConfig;
use strandline_core::pool::{Pool, PoolError, PoolHost};
use strandline_replay::build::{Backing, Maker};
use strandline_replay::streams::Listener;

/// Makes the pools of one run.
pub(crate) struct There {
    link: Arc<Link>,
    provider: stage::ProviderId,
}

impl fmt::Debug for There {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("There").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl There {
    /// For a run on these axes, in slabs of up to `capacity` bytes; and what links it to the other component.
    pub(crate) fn backing(
        axes: impl ExactSizeIterator<Item = Axis>,
        capacity: Option<u64>,
        shown: bool,
        live: bool,
    ) -> Result<(Backing, Arc<Link>), String> {
        let link = Arc::new(Link::new(axes, live)?);
        let maker =
            Arc::new(Self { link: link.clone(), provider: stage::make_provider(capacity, shown) });
        // The host's slabs are asked for by the other component; here only their properties matter, which are those of numbers.
        Ok((Backing::numbers(capacity).made_by(maker), link))
    }

    fn stand(&self) -> authority::PoolHost<'_> {
        authority::PoolHost {
            provider: stage::open_provider(self.provider),
            progress: ProgressSource::Tracker(self.link.tracker()),
        }
    }

    fn export(
        &self,
        made: Result<
            crate::bindings::substrate::pools::Pool,
            crate::bindings::substrate::types::PoolError,
        >,
        host: PoolHost,
    ) -> Result<Arc<dyn Pool>, PoolError> {
        Ok(Arc::new(OtherPool::new(made, self.link.clone(), host)?))
    }
}

impl Drop for There {
    fn drop(&mut self) {
        stage::close_provider(self.provider);
    }
}

impl Maker for There {
    fn tlsf(&self, host: PoolHost, config: TlsfPoolConfig) -> Result<Arc<dyn Pool>, PoolError> {
        self.export(authority::make_tlsf(self.stand(), convert::tlsf_config(&config)), host)
    }

    fn fixed_block(
        &self,
        host: PoolHost,
        config: FixedBlockPoolConfig,
    ) -> Result<Arc<dyn Pool>, PoolError> {
        let config = convert::fixed_block_config(&config);
        self.export(authority::make_fixed_block(self.stand(), config), host)
    }

    fn arena(&self, host: PoolHost, config: ArenaPoolConfig) -> Result<Arc<dyn Pool>, PoolError> {
        self.export(authority::make_arena(self.stand(), convert::arena_config(&config)), host)
    }

    fn passthrough(
        &self,
        host: PoolHost,
        config: PassthroughPoolConfig,
    ) -> Result<Arc<dyn Pool>, PoolError> {
        let config = convert::passthrough_config(&config);
        self.export(authority::make_passthrough(self.stand(), config), host)
    }

    fn listener(&self) -> Option<Arc<dyn Listener>> {
        Some(self.link.clone())
    }
}
