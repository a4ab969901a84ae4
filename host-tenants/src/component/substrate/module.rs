//! The compiled component, from which instances are made.
//!
//! Compiling takes a good second; [`SubstrateModule::precompile`] does it ahead of time. Precompiled code runs as it
//! is, which is why loading it is `unsafe`.

use super::bindings::SubstrateWithPlans;
use super::state::State;
use super::world::WorldPre;
use super::{Cell, Instance, Substrate, SubstrateConfig, SubstrateError, text};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Engine, Store};

/// Parts that the time of a call is counted in.
const TICKS: u32 = 10;

/// The code, and the clock that ends calls which take too long.
pub(super) struct Compiled {
    pre: WorldPre,
    config: SubstrateConfig,
    _ticker: Option<Ticker>,
}

/// The core's component, compiled. A handle: clones share the code.
#[derive(Clone)]
pub struct SubstrateModule {
    compiled: Arc<Compiled>,
}

impl fmt::Debug for SubstrateModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubstrateModule")
            .field("config", &self.compiled.config)
            .finish_non_exhaustive()
    }
}

fn load(error: &wasmtime::Error) -> SubstrateError {
    SubstrateError::Load(text(error))
}

impl SubstrateModule {
    /// Compiles a component.
    ///
    /// # Errors
    /// [`SubstrateError::Load`] when it is not the world's, or imports anything that the world does not have.
    pub fn compile(wasm: &[u8], config: &SubstrateConfig) -> Result<Self, SubstrateError> {
        let engine = Engine::new(&config.engine()).map_err(|error| load(&error))?;
        let component = Component::new(&engine, wasm).map_err(|error| load(&error))?;
        Self::link(&engine, &component, config)
    }

    /// Compiles a component to bytes for [`deserialize`](Self::deserialize), which must be given an equal `config`.
    ///
    /// # Errors
    /// [`SubstrateError::Load`].
    pub fn precompile(wasm: &[u8], config: &SubstrateConfig) -> Result<Vec<u8>, SubstrateError> {
        let engine = Engine::new(&config.engine()).map_err(|error| load(&error))?;
        engine.precompile_component(wasm).map_err(|error| load(&error))
    }

    /// Loads what [`precompile`](Self::precompile) made.
    ///
    /// # Safety
    /// `precompiled` must come from [`precompile`](Self::precompile), unchanged: it is machine code, and it is
    /// not checked. Code of another version of wasmtime or for other settings is refused.
    ///
    /// # Errors
    /// [`SubstrateError::Load`].
    pub unsafe fn deserialize(
        precompiled: &[u8],
        config: &SubstrateConfig,
    ) -> Result<Self, SubstrateError> {
        let engine = Engine::new(&config.engine()).map_err(|error| load(&error))?;
        // SAFETY: the caller vouches for the bytes.
        let component = unsafe { Component::deserialize(&engine, precompiled) }
            .map_err(|error| load(&error))?;
        Self::link(&engine, &component, config)
    }

    fn link(
        engine: &Engine,
        component: &Component,
        config: &SubstrateConfig,
    ) -> Result<Self, SubstrateError> {
        let mut linker = Linker::new(engine);
        SubstrateWithPlans::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)
            .map_err(|error| load(&error))?;
        let pre = linker.instantiate_pre(component).map_err(|error| load(&error))?;
        let pre = WorldPre::new(pre).map_err(|error| load(&error))?;
        let ticker = match config.limits.call_time {
            Some(time) => Some(Ticker::start(engine, time / TICKS)?),
            None => None,
        };
        Ok(Self { compiled: Arc::new(Compiled { pre, config: *config, _ticker: ticker }) })
    }

    /// The names of all that the component imports, sorted.
    #[must_use]
    pub fn imports(&self) -> Vec<String> {
        let engine = self.compiled.pre.engine();
        let ty = self.compiled.pre.instance_pre().component().component_type();
        let mut names: Vec<_> = ty.imports(engine).map(|(name, _)| name.to_owned()).collect();
        names.sort_unstable();
        names
    }

    /// The names of all that the component exports, sorted.
    #[must_use]
    pub fn exports(&self) -> Vec<String> {
        let engine = self.compiled.pre.engine();
        let ty = self.compiled.pre.instance_pre().component().component_type();
        let mut names: Vec<_> = ty.exports(engine).map(|(name, _)| name.to_owned()).collect();
        names.sort_unstable();
        names
    }

    /// Whether the component can make [planned pools](Substrate::planned).
    #[must_use]
    pub fn has_plans(&self) -> bool {
        self.compiled.pre.has_plans()
    }

    /// A new instance, with a memory of its own.
    ///
    /// # Errors
    /// [`SubstrateError::Instantiate`].
    pub fn instantiate(&self) -> Result<Substrate, SubstrateError> {
        let Compiled { pre, config, _ticker } = &*self.compiled;
        let limits = &config.limits;
        let mut store = Store::new(pre.engine(), State::new(limits.store_limits(), limits.handles));
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(limits.copied_bytes);
        store.set_max_component_handles(limits.handles);
        let ticks = if limits.call_time.is_some() { u64::from(TICKS) + 1 } else { 0 };
        if ticks > 0 {
            store.set_epoch_deadline(ticks);
        }
        let world = pre
            .instantiate(&mut store)
            .map_err(|error| SubstrateError::Instantiate(text(&error)))?;
        Ok(Substrate {
            instance: Arc::new(Instance {
                cell: Mutex::new(Cell { store, world }),
                fault: OnceLock::new(),
                crossings: AtomicU64::new(0),
                ticks,
                _module: self.compiled.clone(),
            }),
        })
    }
}

/// A thread that advances the engine's epoch until it is dropped.
struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: &Engine, every: Duration) -> Result<Self, SubstrateError> {
        let every = every.max(Duration::from_millis(1));
        let (stop, stopped) = mpsc::channel();
        let engine = engine.clone();
        let tick = move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
                engine.increment_epoch();
            }
        };
        let thread = std::thread::Builder::new()
            .name("strandline-ticker".to_owned())
            .spawn(tick)
            .map_err(|error| SubstrateError::Load(format!("no thread: {error}")))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell, however it ended.
            let _ = thread.join();
        }
    }
}
