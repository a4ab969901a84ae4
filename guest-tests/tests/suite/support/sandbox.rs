//! Pools of the core's component.

use super::artifacts;
use super::rig::{Pools, arena, fixed, passthrough, plan, tlsf};
use std::sync::{Arc, OnceLock};
use strandline_core::pool::{Pool, PoolHost};
use strandline_guest_tests::{PoolKind, PoolNeeds};
use strandline_host_tenants::component::substrate::{Substrate, SubstrateConfig, SubstrateModule};

/// An instance of its own for each case.
pub(crate) struct Sandbox(Substrate);

fn compile(wasm: Vec<u8>) -> SubstrateModule {
    SubstrateModule::compile(&wasm, &SubstrateConfig::default()).unwrap()
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        static MODULE: OnceLock<SubstrateModule> = OnceLock::new();
        Self(MODULE.get_or_init(|| compile(artifacts::substrate())).instantiate().unwrap())
    }

    /// An instance of the larger component, for one pool.
    fn with_plans() -> Substrate {
        static MODULE: OnceLock<SubstrateModule> = OnceLock::new();
        let module = MODULE.get_or_init(|| compile(artifacts::substrate_with_plans()));
        module.instantiate().unwrap()
    }
}

impl Pools for Sandbox {
    fn pool(&self, needs: &PoolNeeds, host: PoolHost) -> Arc<dyn Pool> {
        let Self(substrate) = self;
        Arc::new(match needs.kind {
            PoolKind::Tlsf { slab } => substrate.tlsf(host, tlsf(needs, slab)).unwrap(),
            PoolKind::Fixed { block } => substrate.fixed_block(host, fixed(needs, block)).unwrap(),
            PoolKind::Arena { generation } => {
                substrate.arena(host, arena(needs, generation)).unwrap()
            }
            PoolKind::Planned { slab } => {
                Self::with_plans().planned(host, tlsf(needs, slab), &plan(slab)).unwrap()
            }
            PoolKind::Passthrough => substrate.passthrough(host, passthrough(needs)).unwrap(),
        })
    }
}
