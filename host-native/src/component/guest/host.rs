//! Compiling and running guests: [`GuestHost`].
//!
//! ```text
//!   GuestHost::compile(bytes) ─▶ GuestProgram ─┐
//!                          Tenant ─────────────┼─▶ GuestHost::run ─▶ what it says, or GuestError
//!                          GuestLimits ────────┘        └─ the tenant is dropped, everything comes back
//! ```
//!
//! A ticker thread advances the engine's epoch while guests run; each store looks at its own deadline when it
//! does, so a loop without calls ends too. Waits end at the deadline as well.

use super::bindings::GuestPre;
use super::block_on::block_on;
use super::{GuestState, Guests, bindings};
use crate::tenant::Tenant;
use core::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store, StoreLimits, StoreLimitsBuilder, Trap, UpdateDeadline};

/// What a guest may take of its host, beside what its [`TenantLimits`](crate::tenant::TenantLimits) say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestLimits {
    /// Bytes of each linear memory. The default is 64 MiB.
    pub memory_bytes: usize,
    /// Linear memories. The default is 4.
    pub memories: usize,
    /// Tables, of all instances. The default is 16.
    pub tables: usize,
    /// Elements of each table. The default is 65,536.
    pub table_elements: usize,
    /// Core instances. The default is 32.
    pub instances: usize,
    /// Handles that the guest holds, and as many that the host keeps for it; also waits at once. The
    /// default is 65,536.
    pub handles: usize,
    /// Bytes that one call may have copied into the host's memory. The default is 64 MiB.
    pub call_bytes: usize,
    /// How long it may run, waits included; without end when `None`. The default is 60 s.
    pub timeout: Option<Duration>,
}

impl Default for GuestLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            memories: 4,
            tables: 16,
            table_elements: 1 << 16,
            instances: 32,
            handles: 1 << 16,
            call_bytes: 64 << 20,
            timeout: Some(Duration::from_secs(60)),
        }
    }
}

/// How a guest ended, other than well.
#[derive(Debug)]
#[non_exhaustive]
pub enum GuestError {
    /// The bytes are not a component, or not one of the world `guest`: the text says which import or
    /// export does not fit.
    Invalid(wasmtime::Error),
    /// It could not be started within its limits.
    Start(wasmtime::Error),
    /// It trapped.
    Trapped(wasmtime::Error),
    /// It ran, or waited, beyond its time.
    TimedOut,
    /// It ended by itself, with an error of its own.
    Failed(String),
    /// The host could not set up its engine or ticker.
    Host(String),
}

impl fmt::Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => write!(f, "not a guest: {error:#}"),
            Self::Start(error) => write!(f, "the guest does not start: {error:#}"),
            Self::Trapped(error) => write!(f, "the guest trapped: {}", error.root_cause()),
            Self::TimedOut => f.write_str("the guest ran out of time"),
            Self::Failed(why) => write!(f, "the guest failed: {why}"),
            Self::Host(why) => write!(f, "guests cannot be hosted: {why}"),
        }
    }
}

impl core::error::Error for GuestError {}

/// A compiled guest, to be run any number of times.
pub struct GuestProgram<X: 'static = ()> {
    pre: GuestPre<GuestStore<X>>,
}

impl<X> fmt::Debug for GuestProgram<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestProgram").finish_non_exhaustive()
    }
}

/// What the store of a running guest holds.
#[derive(Debug)]
pub struct GuestStore<X = ()> {
    /// The guest.
    pub guest: GuestState,
    /// The embedder's own, for imports that it adds; see [`GuestHost::linker`].
    pub extra: X,
    limits: StoreLimits,
    deadline: Option<Instant>,
}

#[derive(Default)]
struct Running {
    guests: usize,
    ending: bool,
}

struct Ticker {
    running: Arc<(Mutex<Running>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(5);

fn lock(running: &Mutex<Running>) -> MutexGuard<'_, Running> {
    // Nothing panics with it held.
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ticker {
    fn start(engine: Engine) -> std::io::Result<Self> {
        let running = Arc::new((Mutex::new(Running::default()), Condvar::new()));
        let shared = running.clone();
        let thread =
            std::thread::Builder::new().name("guest ticker".to_owned()).spawn(move || {
                let (running, changed) = &*shared;
                let mut state = lock(running);
                while !state.ending {
                    state = if state.guests == 0 {
                        changed.wait(state).unwrap_or_else(PoisonError::into_inner)
                    } else {
                        engine.increment_epoch();
                        changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0
                    };
                }
            })?;
        Ok(Self { running, thread: Some(thread) })
    }

    /// It ticks as long as the value lives.
    fn ticking(&self) -> Ticking<'_> {
        lock(&self.running.0).guests += 1;
        self.running.1.notify_one();
        Ticking(self)
    }
}

struct Ticking<'a>(&'a Ticker);

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        lock(&self.0.running.0).guests -= 1;
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        lock(&self.running.0).ending = true;
        self.running.1.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the guest ticker panicked");
        }
    }
}

/// Runs guests; see the [module](super). One host serves any number of guests, one after the other or on several
/// threads.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use strandline_host_native::tenant::{Device, Tenant, TenantLimits};
/// use strandline_host_native::component::guest::{GuestHost, GuestLimits};
///
/// # fn run(device: &Arc<Device>) -> Result<(), Box<dyn std::error::Error>> {
/// let host = GuestHost::new()?;
/// let program = host.compile(&std::fs::read("guest.wasm")?)?;
/// let tenant = Tenant::new(device, TenantLimits { budget: 1 << 20, ..TenantLimits::default() })?;
/// println!("{}", host.run(&program, tenant, &GuestLimits::default(), &[])?);
/// # Ok(())
/// # }
/// ```
pub struct GuestHost<X: 'static = ()> {
    engine: Engine,
    linker: Linker<GuestStore<X>>,
    ticker: Ticker,
}

impl GuestHost {
    /// A host with an engine of its own.
    ///
    /// # Errors
    /// [`GuestError::Host`].
    pub fn new() -> Result<Self, GuestError> {
        Self::with_extra()
    }

    /// Runs a guest until it returns, traps, or its time is up, on this thread. The tenant ends with it.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn run(
        &self,
        program: &GuestProgram,
        tenant: Tenant,
        limits: &GuestLimits,
        arguments: &[String],
    ) -> Result<String, GuestError> {
        self.run_with(program, tenant, (), limits, arguments).0
    }
}

impl<X: Send + 'static> GuestHost<X> {
    /// A host whose guests may import more than the world `guest`: see [`linker`](Self::linker).
    ///
    /// # Errors
    /// [`GuestError::Host`].
    pub fn with_extra() -> Result<Self, GuestError> {
        let failed = |error: wasmtime::Error| GuestError::Host(format!("{error:#}"));
        let mut config = Config::new();
        config.epoch_interruption(true);
        config.wasm_component_model_async(true);
        let engine = Engine::new(&config).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        bindings::Guest::add_to_linker::<_, Guests>(&mut linker, |store: &mut GuestStore<X>| {
            &mut store.guest
        })
        .map_err(failed)?;
        let ticker = Ticker::start(engine.clone())
            .map_err(|error| GuestError::Host(format!("no ticker thread: {error}")))?;
        Ok(Self { engine, linker, ticker })
    }

    /// The engine, to compile with or to deserialize what was compiled before.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The linker, to add imports to.
    pub const fn linker(&mut self) -> &mut Linker<GuestStore<X>> {
        &mut self.linker
    }

    /// Compiles a guest: a component, binary or text.
    ///
    /// # Errors
    /// [`GuestError::Invalid`].
    pub fn compile(&self, bytes: &[u8]) -> Result<GuestProgram<X>, GuestError> {
        let component = Component::new(&self.engine, bytes).map_err(GuestError::Invalid)?;
        self.link(&component)
    }

    /// Links a component that was compiled with this host's engine.
    ///
    /// # Errors
    /// [`GuestError::Invalid`].
    pub fn link(&self, component: &Component) -> Result<GuestProgram<X>, GuestError> {
        let pre = self
            .linker
            .instantiate_pre(component)
            .and_then(GuestPre::new)
            .map_err(GuestError::Invalid)?;
        Ok(GuestProgram { pre })
    }

    /// Runs a guest as [`GuestHost::run`], with something of the embedder's in its store, which comes back.
    /// The tenant ends before this returns.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn run_with(
        &self,
        program: &GuestProgram<X>,
        tenant: Tenant,
        extra: X,
        limits: &GuestLimits,
        arguments: &[String],
    ) -> (Result<String, GuestError>, X) {
        let deadline = limits.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut store = self.store(tenant, extra, limits, deadline);
        let ticking = self.ticker.ticking();
        let ended = block_on(
            async {
                let guest = program.pre.instantiate_async(&mut store).await;
                let guest = guest.map_err(GuestError::Start)?;
                let arguments = arguments.to_vec();
                store
                    .run_concurrent(async |accessor| guest.call_run(accessor, arguments).await)
                    .await
                    .flatten()
                    .map_err(GuestError::Trapped)?
                    .map_err(GuestError::Failed)
            },
            deadline,
        );
        drop(ticking);
        let ended = match ended {
            Some(Err(GuestError::Trapped(error) | GuestError::Start(error)))
                if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) =>
            {
                Err(GuestError::TimedOut)
            }
            Some(ended) => ended,
            None => Err(GuestError::TimedOut),
        };
        (ended, store.into_data().extra)
    }

    fn store(
        &self,
        tenant: Tenant,
        extra: X,
        limits: &GuestLimits,
        deadline: Option<Instant>,
    ) -> Store<GuestStore<X>> {
        let store_limits = StoreLimitsBuilder::new()
            .memory_size(limits.memory_bytes)
            .memories(limits.memories)
            .tables(limits.tables)
            .table_elements(limits.table_elements)
            .instances(limits.instances)
            .build();
        let guest = GuestState::new(tenant, limits.handles);
        let data = GuestStore { guest, extra, limits: store_limits, deadline };
        let mut store = Store::new(&self.engine, data);
        store.limiter(|data| &mut data.limits);
        store.set_hostcall_fuel(limits.call_bytes);
        store.set_max_component_handles(limits.handles);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| {
            let late = context.data().deadline.is_some_and(|deadline| Instant::now() >= deadline);
            // A yield lets the guest's other tasks, and the deadline of the executor, have their turn.
            Ok(if late { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(1) })
        });
        store
    }
}

impl<X> fmt::Debug for GuestHost<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestHost").finish_non_exhaustive()
    }
}
