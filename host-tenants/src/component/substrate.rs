//! The core in a sandbox: [`Substrate`] instantiates its component and makes pools that live inside, behind the
//! same [`Pool`](strandline_core::Pool) trait as those of the core.
//!
//! ```text
//!   caller ── Pool ──▶ SandboxPool ──▶ lock ──▶ store ──▶ component: ledger, pool of the core
//!                                                             │ imports: slabs, progress
//!   SlabProvider, Progress ◀── what the pool stands on ◀──────┘
//! ```
//!
//! Any provider, progress, wake and sink will do: [`PoolHost`] is the same as for a pool of the core. Calls
//! of all pools of one instance are one at a time, behind a lock; the provider and the sink are called
//! with it held, and must not call back into the pool.
//!
//! # Limits
//! [`SubstrateLimits`] hold by default: linear memory, the time of one call, handles, bytes copied by one call. What
//! exceeds them is a trap.
//!
//! # When the component traps
//! The instance is of no more use, and no call enters it again. An acquire gives [`PoolError::Lost`], a release
//! returns its reservation (one that was taken before stays taken), [`Substrate::fault`] says what happened.
//! Statistics are the last ones known. Reservations stay what they are, ranges of slabs that stay mapped, and every slab goes back to its
//! provider when its pool is dropped: nothing is lost, and nothing is handed on while in use.
//!
//! # Cost
//! One crossing for each call, except that a release to a TLSF pool crosses with the next call on the pool, as natively
//! it is settled by the next acquire. [`SandboxPool::acquire_batch`] and [`release_batch`](SandboxPool::release_batch)
//! share a crossing among many. Making an instance from a precompiled component costs no compilation.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use strandline_core::PoolError;
use strandline_core::pool::PoolHost;
use strandline_core::pool::arena::ArenaPoolConfig;
use strandline_core::pool::fixed_block::FixedBlockPoolConfig;
use strandline_core::pool::passthrough::PassthroughPoolConfig;
use strandline_core::pool::tlsf::TlsfPoolConfig;
use wasmtime::Store;

mod batch;
#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused,
    unsafe_code,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    reason = "generated from the interface definitions, which document every item"
)]
mod bindings;
mod convert;
mod imports;
mod limits;
mod locate;
#[allow(unsafe_code, reason = "precompiled code has to be trusted; argued in the file")]
mod module;
mod plans;
mod pool;
mod returns;
mod snapshot;
mod state;
mod world;

pub use batch::{Answer, Batch, Sizes};
pub use limits::{SubstrateConfig, SubstrateLimits};
pub use locate::{COMPONENT_VARIABLE, find_component};
pub use module::SubstrateModule;
pub use pool::SandboxPool;

use state::State;
use world::World;

/// Why the component could not be loaded, or what ended it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SubstrateError {
    /// It is not the component that it should be, or could not be compiled.
    Load(String),
    /// It could not be instantiated.
    Instantiate(String),
    /// It trapped, exceeded a limit, or gave an answer that makes no sense. It is not entered again.
    Trapped(String),
}

impl fmt::Display for SubstrateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(why) => write!(f, "the substrate component cannot be loaded: {why}"),
            Self::Instantiate(why) => {
                write!(f, "the substrate component cannot be instantiated: {why}")
            }
            Self::Trapped(why) => write!(f, "the substrate component trapped: {why}"),
        }
    }
}

impl std::error::Error for SubstrateError {}

/// The whole chain of a wasmtime error in one line.
fn text(error: &wasmtime::Error) -> String {
    format!("{error:#}")
}

/// One instance, shared by its pools.
struct Instance {
    cell: Mutex<Cell>,
    fault: OnceLock<SubstrateError>,
    /// Calls into the component.
    crossings: AtomicU64,
    /// Epoch ticks that one call may take; 0 is no limit.
    ticks: u64,
    /// Keeps the ticker running.
    _module: Arc<module::Compiled>,
}

/// What the lock guards.
struct Cell {
    store: Store<State>,
    world: World,
}

impl Instance {
    /// Makes calls into the component on behalf of a pool, which counts them; `None` when it is lost. A trap loses it.
    fn enter<R>(
        &self,
        stand: usize,
        call: impl FnOnce(&mut Store<State>, &World) -> wasmtime::Result<R>,
    ) -> Option<R> {
        let cell = &mut *self.lock()?;
        if self.ticks > 0 {
            cell.store.set_epoch_deadline(self.ticks);
        }
        let state = cell.store.data_mut();
        state.current = stand;
        state.slabs_moved = false;
        match call(&mut cell.store, &cell.world) {
            Ok(result) => Some(result),
            Err(error) => {
                self.lose(SubstrateError::Trapped(text(&error)));
                None
            }
        }
    }

    /// Counts a call into the component.
    fn crossed(&self) {
        // Relaxed: a count that nothing is ordered by.
        self.crossings.fetch_add(1, Ordering::Relaxed);
    }

    fn is_lost(&self) -> bool {
        self.fault.get().is_some()
    }

    /// The first fault counts.
    fn lose(&self, fault: SubstrateError) {
        log::error!("{fault}");
        let _ = self.fault.set(fault);
    }

    /// The store, unless the component is lost. A provider that panicked within a call loses it too.
    fn lock(&self) -> Option<MutexGuard<'_, Cell>> {
        if self.fault.get().is_some() {
            return None;
        }
        match self.cell.lock() {
            // Another thread may have lost it while this one waited.
            Ok(cell) => self.fault.get().is_none().then_some(cell),
            Err(_) => {
                self.lose(SubstrateError::Trapped("a host function panicked".to_owned()));
                None
            }
        }
    }
}

/// An instance of the core's component. A handle: clones share the instance, which lives as long as the last of
/// them and of its pools.
///
/// ```no_run
/// use std::sync::Arc;
/// use strandline_core::pool::{Pool, PoolHost, Request, tlsf::TlsfPoolConfig};
/// use strandline_core::{Death, NoProgress};
/// use strandline_host_native::MmapSlabProvider;
/// use strandline_host_tenants::component::substrate::{SubstrateConfig, SubstrateModule};
///
/// let wasm = std::fs::read("strandline_component.wasm")?;
/// let module = SubstrateModule::compile(&wasm, &SubstrateConfig::default())?;
/// let substrate = module.instantiate()?;
/// let provider = Arc::new(MmapSlabProvider::builder().build()?);
/// let host = PoolHost::new(provider, Arc::new(NoProgress));
/// let pool = substrate.tlsf(host, TlsfPoolConfig::default())?;
/// let answer = pool.acquire(&Request::new(4096).or_grow())?;
/// # let _ = (answer, Death::Idle);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Substrate {
    instance: Arc<Instance>,
}

impl fmt::Debug for Substrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Substrate")
            .field("fault", &self.instance.fault.get())
            .finish_non_exhaustive()
    }
}

impl Substrate {
    /// A pool for any size, as [`TlsfPool`](strandline_core::pool::tlsf::TlsfPool).
    ///
    /// # Errors
    /// [`PoolError::InvalidConfig`]; [`PoolError::Lost`].
    pub fn tlsf(&self, host: PoolHost, config: TlsfPoolConfig) -> Result<SandboxPool, PoolError> {
        let config = convert::tlsf_config(&config);
        SandboxPool::make(&self.instance, host, |store, world, host| {
            pool::made(world.authority().call_make_tlsf(store, host, config))
        })
    }

    /// A pool of equal blocks, as [`FixedBlockPool`](strandline_core::pool::fixed_block::FixedBlockPool).
    ///
    /// # Errors
    /// As [`tlsf`](Self::tlsf).
    pub fn fixed_block(
        &self,
        host: PoolHost,
        config: FixedBlockPoolConfig,
    ) -> Result<SandboxPool, PoolError> {
        let config = convert::fixed_block_config(&config);
        SandboxPool::make(&self.instance, host, |store, world, host| {
            pool::made(world.authority().call_make_fixed_block(store, host, config))
        })
    }

    /// A pool of batches that die together, as [`ArenaPool`](strandline_core::pool::arena::ArenaPool).
    ///
    /// # Errors
    /// As [`tlsf`](Self::tlsf).
    pub fn arena(&self, host: PoolHost, config: ArenaPoolConfig) -> Result<SandboxPool, PoolError> {
        let config = convert::arena_config(&config);
        SandboxPool::make(&self.instance, host, |store, world, host| {
            pool::made(world.authority().call_make_arena(store, host, config))
        })
    }

    /// A slab for each reservation, as [`PassthroughPool`](strandline_core::pool::passthrough::PassthroughPool).
    ///
    /// # Errors
    /// As [`tlsf`](Self::tlsf).
    pub fn passthrough(
        &self,
        host: PoolHost,
        config: PassthroughPoolConfig,
    ) -> Result<SandboxPool, PoolError> {
        let config = convert::passthrough_config(&config);
        SandboxPool::make(&self.instance, host, |store, world, host| {
            pool::made(world.authority().call_make_passthrough(store, host, config))
        })
    }

    /// How often pools have called the component. A batch counts once.
    #[must_use]
    pub fn crossings(&self) -> u64 {
        self.instance.crossings.load(Ordering::Relaxed)
    }

    /// What ended the component, if anything did.
    #[must_use]
    pub fn fault(&self) -> Option<&SubstrateError> {
        self.instance.fault.get()
    }
}
