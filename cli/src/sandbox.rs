//! Pools in the core's component.

use crate::output::Error;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use strandline_core::pool::arena::ArenaPoolConfig;
use strandline_core::pool::fixed_block::FixedBlockPoolConfig;
use strandline_core::pool::passthrough::PassthroughPoolConfig;
use strandline_core::pool::tlsf::TlsfPoolConfig;
use strandline_core::pool::{Pool, PoolError, PoolHost};
use strandline_host_tenants::component::substrate::{
    SandboxPool, Substrate, SubstrateConfig, SubstrateModule, find_component,
};
use strandline_replay::build::Maker;
use strandline_replay::report::Boundary;

/// Crossings that are timed.
const TIMED: u32 = 20_000;

/// An instance, and the pool that was made last: what a crossing costs is measured on it.
#[derive(Debug)]
struct There {
    substrate: Substrate,
    last: Mutex<Option<Arc<SandboxPool>>>,
}

impl There {
    fn keep(&self, made: Result<SandboxPool, PoolError>) -> Result<Arc<dyn Pool>, PoolError> {
        let pool = Arc::new(made?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(pool.clone());
        Ok(pool)
    }
}

impl Maker for There {
    fn tlsf(&self, host: PoolHost, config: TlsfPoolConfig) -> Result<Arc<dyn Pool>, PoolError> {
        self.keep(self.substrate.tlsf(host, config))
    }

    fn fixed_block(
        &self,
        host: PoolHost,
        config: FixedBlockPoolConfig,
    ) -> Result<Arc<dyn Pool>, PoolError> {
        self.keep(self.substrate.fixed_block(host, config))
    }

    fn arena(&self, host: PoolHost, config: ArenaPoolConfig) -> Result<Arc<dyn Pool>, PoolError> {
        self.keep(self.substrate.arena(host, config))
    }

    fn passthrough(
        &self,
        host: PoolHost,
        config: PassthroughPoolConfig,
    ) -> Result<Arc<dyn Pool>, PoolError> {
        self.keep(self.substrate.passthrough(host, config))
    }
}

/// The sandbox of one replay.
#[derive(Debug)]
pub(crate) struct Sandbox(Arc<There>);

impl Sandbox {
    /// Compiles the component and makes an instance.
    pub(crate) fn start(file: Option<&Path>) -> Result<Self, Error> {
        let file = file.map_or_else(find_component, |file| Ok(file.to_owned()))?;
        let name = file.display();
        let wasm = fs::read(&file).map_err(|error| format!("{name}: {error}"))?;
        let module = SubstrateModule::compile(&wasm, &SubstrateConfig::default())
            .map_err(|error| format!("{name}: {error}"))?;
        let substrate = module.instantiate()?;
        Ok(Self(Arc::new(There { substrate, last: Mutex::default() })))
    }

    pub(crate) fn maker(&self) -> Arc<dyn Maker> {
        self.0.clone()
    }

    /// What it cost; the fault that ended the component, if one did.
    pub(crate) fn boundary(&self) -> Result<Boundary, Error> {
        let calls = self.0.substrate.crossings();
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ns_per_call = 0.0;
        if let Some(pool) = &*last {
            let start = Instant::now();
            for _ in 0..TIMED {
                if pool.cross().is_err() {
                    break;
                }
            }
            ns_per_call = start.elapsed().as_nanos() as f64 / f64::from(TIMED);
        }
        match self.0.substrate.fault() {
            Some(fault) => Err(fault.to_string().into()),
            None => Ok(Boundary { calls, ns_per_call }),
        }
    }
}
