//! Compiling and running guests: [`GuestHost`].
//!
//! ```text
//!   GuestHost::compile(bytes) ─▶ GuestProgram ─┐
//!         │ Calls              Tenant ─────────┼─▶ GuestHost::run ─▶ what it says, or GuestError
//!         │                    GuestLimits ────┘        └─ the tenant is dropped, everything comes back
//!         ├─ Synchronous: an engine without support for concurrent calls   (world `guest-sync`)
//!         └─ Concurrent:  one with it, for what the first refuses          (world `guest`)
//! ```
//!
//! With that support each call from a guest to its host makes a task and ends it, which costs more than the call. A component
//! has in it only what it uses, so the first engine refuses just those guests that wait.
//!
//! A ticker thread advances the engines' epoch while guests run; each store looks at its own deadline when it
//! does, so a loop without calls ends too. Waits end at the deadline as well.

use super::block_on::block_on;
use super::bounds::{CompileLimits, LimitExceeded};
use super::embed::{Guest, add_to_linker, imports_wasi, prepare, trap_wasi};
use super::judge::judge;
use super::printable::printable;
use super::process::CompileProcess;
use super::ticker::Ticker;
use super::{GuestLimits, GuestState};
use crate::tenant::Tenant;
use core::fmt;
use core::future::Future;
use core::task::Poll;
use std::time::Instant;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store, StoreLimits, Trap, UpdateDeadline};

/// How a guest ended, other than well.
#[derive(Debug)]
#[non_exhaustive]
pub enum GuestError {
    /// The bytes are not a component, or not one of the worlds `guest` and `guest-sync`: the text says which import or
    /// export does not fit.
    Invalid(wasmtime::Error),
    /// Compiling it would take more than a limit allows.
    TooLarge(LimitExceeded),
    /// Its compiler took too long, or more memory than it may have: only where that runs in a
    /// [process of its own](super::CompileProcess).
    Compile(String),
    /// It could not be started within its limits.
    Start(wasmtime::Error),
    /// It trapped.
    Trapped(wasmtime::Error),
    /// It ran, or waited, beyond its time.
    TimedOut,
    /// It ended by itself, with an error of its own.
    Failed(String),
    /// The host could not set up its engines or ticker.
    Host(String),
}

impl fmt::Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => tell(f, "not a guest", &format_args!("{error:#}")),
            Self::TooLarge(limit) => write!(f, "the guest is too large to compile: {limit}"),
            Self::Compile(why) => write!(f, "the guest cannot be compiled: {why}"),
            Self::Start(error) => tell(f, "the guest does not start", &format_args!("{error:#}")),
            Self::Trapped(error) => tell(f, "the guest trapped", error.root_cause()),
            Self::TimedOut => f.write_str("the guest ran out of time"),
            Self::Failed(why) => tell(f, "the guest failed", why),
            Self::Host(why) => write!(f, "guests cannot be hosted: {why}"),
        }
    }
}

impl core::error::Error for GuestError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Invalid(error) | Self::Start(error) | Self::Trapped(error) => {
                Some(error.as_ref())
            }
            Self::TooLarge(limit) => Some(limit),
            _ => None,
        }
    }
}

/// Bytes of an error's text that a guest may have chosen: names, messages.
const ERROR_TEXT: usize = 4 << 10;

/// Says what a guest may have had a part in as a terminal can be shown it.
fn tell(f: &mut fmt::Formatter<'_>, what: &str, why: &dyn fmt::Display) -> fmt::Result {
    let why = why.to_string();
    let (shown, left_out) = printable(&why, ERROR_TEXT);
    write!(f, "{what}: {shown}")?;
    if left_out > 0 { write!(f, " ({left_out} more bytes)") } else { Ok(()) }
}

fn host_failed(error: wasmtime::Error) -> GuestError {
    GuestError::Host(format!("{error:#}"))
}

/// What calls between a guest and its host may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// One at a time. Enough for a guest that imports nothing asynchronous and whose `run` is not.
    Synchronous,
    /// Any number at once: for guests that wait. Each call costs more.
    Concurrent,
}

/// The settings of an engine for such calls, and of the compiler for it.
pub(super) fn side_config(calls: Calls) -> Config {
    let mut config = Config::new();
    prepare_for(&mut config, calls);
    config
}

/// Sets what a host's engine has to be.
fn prepare_for(config: &mut Config, calls: Calls) {
    config.epoch_interruption(true);
    prepare(config, calls);
}

/// An engine and what its guests may import.
struct Side<X: 'static> {
    engine: Engine,
    linker: Linker<GuestStore<X>>,
}

impl<X: Send + 'static> Side<X> {
    fn new(calls: Calls, mut config: Config) -> wasmtime::Result<Self> {
        prepare_for(&mut config, calls);
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        add_to_linker(&mut linker, calls, guest_of)?;
        Ok(Self { engine, linker })
    }
}

/// A compiled guest, to be run any number of times.
pub struct GuestProgram<X: 'static = ()> {
    guest: Guest<GuestStore<X>>,
}

impl<X: Send> GuestProgram<X> {
    /// What its calls may be: as little as it needs.
    #[must_use]
    pub const fn calls(&self) -> Calls {
        self.guest.calls()
    }
}

impl<X> fmt::Debug for GuestProgram<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestProgram").field("guest", &self.guest).finish()
    }
}

/// What the store of a running guest holds.
#[derive(Debug)]
pub struct GuestStore<X = ()> {
    /// The guest.
    pub guest: GuestState,
    /// The embedder's own, for imports that it adds; see [`GuestHost::add_imports`].
    pub extra: X,
    limits: StoreLimits,
    deadline: Option<Instant>,
}

const fn guest_of<X>(store: &mut GuestStore<X>) -> &mut GuestState {
    &mut store.guest
}

/// Runs guests; see the [module](super). One host serves any number of guests, one after the other or on several
/// threads.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use strandline_host_tenants::tenant::{Device, Tenant, TenantLimits};
/// use strandline_host_tenants::component::guest::{GuestHost, GuestLimits};
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
    synchronous: Side<X>,
    concurrent: Side<X>,
    ticker: Ticker,
}

impl GuestHost {
    /// A host with engines of its own.
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
    /// A host whose guests may import more than their world: see [`add_imports`](Self::add_imports).
    ///
    /// # Errors
    /// [`GuestError::Host`].
    pub fn with_extra() -> Result<Self, GuestError> {
        Self::with_configs(|_| Config::new())
    }

    /// A host whose two engines begin with the embedder's configurations: its pooling allocator, its cache of compiled modules, its
    /// settings of the compiler. What guests need, interruption and the [kind of calls](Calls), is set on top.
    ///
    /// Code that [`compile_in`](Self::compile_in) makes in a process of its own has the compiler's settings of a host without a configuration: an
    /// engine that compiles otherwise refuses it.
    ///
    /// ```no_run
    /// use strandline_host_tenants::component::guest::GuestHost;
    /// use strandline_host_tenants::wasmtime::Config;
    /// let host = GuestHost::<()>::with_configs(|_calls| {
    ///     let mut config = Config::new();
    ///     config.max_wasm_stack(256 << 10);
    ///     config
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`GuestError::Host`].
    pub fn with_configs(mut config: impl FnMut(Calls) -> Config) -> Result<Self, GuestError> {
        let mut side = |calls| Side::new(calls, config(calls)).map_err(host_failed);
        let synchronous = side(Calls::Synchronous)?;
        let concurrent = side(Calls::Concurrent)?;
        let engines = [synchronous.engine.clone(), concurrent.engine.clone()];
        let ticker = Ticker::start(engines)
            .map_err(|error| GuestError::Host(format!("no ticker thread: {error}")))?;
        Ok(Self { synchronous, concurrent, ticker })
    }

    const fn side(&self, calls: Calls) -> &Side<X> {
        match calls {
            Calls::Synchronous => &self.synchronous,
            Calls::Concurrent => &self.concurrent,
        }
    }

    /// The engine for such calls, to compile with or to deserialize what was compiled before.
    #[must_use]
    pub const fn engine(&self, calls: Calls) -> &Engine {
        &self.side(calls).engine
    }

    /// Lets guests import more. `add` is called twice, with the linker of each kind of calls. Functions that are
    /// asynchronous can be added for [`Calls::Concurrent`] only; a guest that imports one that the other linker lacks
    /// runs with concurrent calls.
    ///
    /// ```no_run
    /// # use strandline_host_tenants::component::guest::{GuestError, GuestHost};
    /// let mut host = GuestHost::<u32>::with_extra()?;
    /// host.add_imports(|linker, _calls| {
    ///     let mut root = linker.root();
    ///     root.func_wrap("lucky", |store, ()| Ok((store.data().extra,)))
    /// })?;
    /// # Ok::<(), GuestError>(())
    /// ```
    ///
    /// # Errors
    /// [`GuestError::Host`] with what `add` says.
    pub fn add_imports(
        &mut self,
        mut add: impl FnMut(&mut Linker<GuestStore<X>>, Calls) -> wasmtime::Result<()>,
    ) -> Result<(), GuestError> {
        add(&mut self.synchronous.linker, Calls::Synchronous).map_err(host_failed)?;
        add(&mut self.concurrent.linker, Calls::Concurrent).map_err(host_failed)
    }

    /// Compiles a guest, a component in binary form, in this process, unless it exceeds [`CompileLimits`]' defaults. With
    /// synchronous calls if they will do.
    ///
    /// The compiler cannot be interrupted, and within the limits some inputs keep it busy for long: for guests of
    /// strangers take [`compile_in`](Self::compile_in).
    ///
    /// # Errors
    /// [`GuestError::TooLarge`], [`GuestError::Invalid`].
    pub fn compile(&self, bytes: &[u8]) -> Result<GuestProgram<X>, GuestError> {
        self.compile_within(&CompileLimits::default(), bytes)
    }

    /// [`compile`](Self::compile) with limits of the caller's.
    ///
    /// # Errors
    /// [`GuestError::TooLarge`], [`GuestError::Invalid`].
    pub fn compile_within(
        &self,
        limits: &CompileLimits,
        bytes: &[u8],
    ) -> Result<GuestProgram<X>, GuestError> {
        judge(bytes, limits)?;
        // What is asynchronous is refused before any code is made. Text was not judged, so it is not compiled.
        let compile = |calls| {
            let component = Component::from_binary(self.engine(calls), bytes);
            self.link_as(&component.map_err(GuestError::Invalid)?, calls)
        };
        compile(Calls::Synchronous).or_else(|_| compile(Calls::Concurrent))
    }

    /// [`compile`](Self::compile) in a process of its own, with limits of time and memory that end it.
    ///
    /// # Errors
    /// [`GuestError::TooLarge`], [`GuestError::Invalid`], [`GuestError::Compile`]; [`GuestError::Host`] when there is no process.
    pub fn compile_in(
        &self,
        process: &CompileProcess,
        bytes: &[u8],
    ) -> Result<GuestProgram<X>, GuestError> {
        let deadline = process.begin(bytes)?;
        let compile = |calls| {
            let code = process.compile(calls, bytes, deadline)?;
            let component = CompileProcess::load(self.engine(calls), &code)?;
            self.link_as(&component, calls)
        };
        match compile(Calls::Synchronous) {
            Err(GuestError::Invalid(_)) => compile(Calls::Concurrent),
            compiled => compiled,
        }
    }

    /// Links a component that was compiled with one of this host's engines.
    ///
    /// # Errors
    /// [`GuestError::Invalid`].
    pub fn link(&self, component: &Component) -> Result<GuestProgram<X>, GuestError> {
        let engine = component.engine();
        let calls = [Calls::Synchronous, Calls::Concurrent]
            .into_iter()
            .find(|&calls| Engine::same(engine, self.engine(calls)))
            .ok_or_else(|| wasmtime::Error::msg("it was compiled with the engine of another host"));
        self.link_as(component, calls.map_err(GuestError::Invalid)?)
    }

    fn link_as(&self, component: &Component, calls: Calls) -> Result<GuestProgram<X>, GuestError> {
        let linker = &self.side(calls).linker;
        let guest = if imports_wasi(component) {
            let mut linker = linker.clone();
            trap_wasi(&mut linker, component).map_err(GuestError::Invalid)?;
            Guest::link(&linker, component, calls)?
        } else {
            Guest::link(linker, component, calls)?
        };
        Ok(GuestProgram { guest })
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
        let deadline = limits.deadline();
        let engine = self.engine(program.calls());
        let mut store = store(engine, tenant, extra, limits, deadline);
        let ticking = self.ticker.ticking();
        let ended = block_on(program.guest.run(&mut store, arguments), deadline);
        drop(ticking);
        let ended = ended.unwrap_or(Err(GuestError::TimedOut));
        (in_time(ended), store.into_data().extra)
    }

    /// [`run_with`](Self::run_with) as a future, for any executor. Its time is kept here: a guest that waits at its deadline is woken, and ended.
    /// A guest runs on the thread that polls, and lets go of it every few milliseconds, and when it waits; imports of the embedder's that
    /// block hold it up.
    ///
    /// Dropping the future ends the guest where it stands, and its tenant: everything it held comes back.
    pub async fn run_async(
        &self,
        program: &GuestProgram<X>,
        tenant: Tenant,
        extra: X,
        limits: &GuestLimits,
        arguments: &[String],
    ) -> (Result<String, GuestError>, X) {
        let deadline = limits.deadline();
        let engine = self.engine(program.calls());
        let mut store = store(engine, tenant, extra, limits, deadline);
        let ticking = self.ticker.ticking();
        let ended = {
            let mut run = core::pin::pin!(program.guest.run(&mut store, arguments));
            let run = core::future::poll_fn(|context| {
                if let Poll::Ready(ended) = run.as_mut().poll(context) {
                    return Poll::Ready(Some(ended));
                }
                match deadline {
                    Some(deadline) if Instant::now() >= deadline => Poll::Ready(None),
                    Some(deadline) => {
                        ticking.wake_at(deadline, context.waker());
                        Poll::Pending
                    }
                    None => Poll::Pending,
                }
            });
            run.await
        };
        drop(ticking);
        (in_time(ended.unwrap_or(Err(GuestError::TimedOut))), store.into_data().extra)
    }
}

/// An interruption is the end of a guest's time.
fn in_time(ended: Result<String, GuestError>) -> Result<String, GuestError> {
    match ended {
        Err(GuestError::Trapped(error) | GuestError::Start(error))
            if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) =>
        {
            Err(GuestError::TimedOut)
        }
        ended => ended,
    }
}

fn store<X>(
    engine: &Engine,
    tenant: Tenant,
    extra: X,
    limits: &GuestLimits,
    deadline: Option<Instant>,
) -> Store<GuestStore<X>> {
    let guest = GuestState::new(tenant, limits.handles);
    let data = GuestStore { guest, extra, limits: limits.store_limits(), deadline };
    let mut store = Store::new(engine, data);
    store.limiter(|data| &mut data.limits);
    limits.apply(&mut store);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|context| {
        let late = context.data().deadline.is_some_and(|deadline| Instant::now() >= deadline);
        // A yield lets the guest's other tasks, and the deadline of the executor, have their turn.
        Ok(if late { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(1) })
    });
    store
}

impl<X> fmt::Debug for GuestHost<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestHost").finish_non_exhaustive()
    }
}
