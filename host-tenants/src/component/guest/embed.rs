//! Guests in an engine, a linker and stores of the embedder's own: [`add_to_linker`], [`Guest`].
//!
//! ```text
//!   embedder's Config ── prepare ─▶ Engine ─▶ Linker<T> ── add_to_linker ─▶ what guests import, beside the embedder's own
//!                                     │                 Store<T>: T has a GuestState somewhere
//!                                     └── Component ─▶ Guest::link ─▶ run(&mut store)
//! ```
//!
//! What a [`GuestHost`](super::GuestHost) does besides is the embedder's then: when a store's time is up (wasmtime's epochs or fuel: an engine with
//! `epoch_interruption` needs a `set_epoch_deadline` for each store, or the guest does not start), what its code may grow to
//! ([`GuestLimits::store_limits`](super::GuestLimits::store_limits) with `Store::limiter`), what its calls may take
//! ([`GuestLimits::apply`](super::GuestLimits::apply)), stubs for what it imports of WASI and never calls ([`trap_wasi`]), whether components are judged before they
//! are compiled ([`check`]). A store that is dropped in mid-call drops its [`GuestState`], and with that the tenant: everything it held comes back.

use super::bindings::GuestPre;
use super::bindings::sync::GuestSyncPre;
use super::host::{Calls, GuestError};
use super::judge::judge;
use super::{CompileLimits, GuestState, Guests, bindings};
use core::fmt;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, ResourceType};
use wasmtime::{Config, Store};

/// Sets what an engine needs for guests with such calls, and leaves the rest of the configuration, pooling allocators and caches among it, as
/// it is. Without it an engine may still do: then [`Guest::link`] or the first call says what is missing.
pub fn prepare(config: &mut Config, calls: Calls) {
    let concurrent = calls == Calls::Concurrent;
    config.wasm_component_model_async(concurrent);
    config.concurrency_support(concurrent);
}

/// Adds to an embedder's linker what guests may import: all of it for [`Calls::Concurrent`], what never waits for
/// [`Calls::Synchronous`]. `guest` finds the guest's state in the data of a store.
///
/// # Errors
/// wasmtime's, when the linker has one of these imports already.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    calls: Calls,
    guest: fn(&mut T) -> &mut GuestState,
) -> wasmtime::Result<()> {
    match calls {
        Calls::Synchronous => bindings::sync::GuestSync::add_to_linker::<_, Guests>(linker, guest),
        Calls::Concurrent => bindings::Guest::add_to_linker::<_, Guests>(linker, guest),
    }
}

/// Whether a component imports interfaces of WASI, as every guest with Rust's standard library does, needed or not.
#[must_use]
pub fn imports_wasi(component: &Component) -> bool {
    let (engine, of) = (component.engine(), component.component_type());
    of.imports(engine).any(|(name, _)| name.starts_with(WASI))
}

/// Adds what a component imports of WASI and the linker lacks, as stubs: a call of one is a trap that says which it was, so they grant nothing.
/// What the linker has of WASI stays. [`GuestHost`](super::GuestHost) does so by itself.
///
/// # Errors
/// wasmtime's.
pub fn trap_wasi<T: 'static>(
    linker: &mut Linker<T>,
    component: &Component,
) -> wasmtime::Result<()> {
    let (engine, of) = (component.engine(), component.component_type());
    for (interface, import) in of.imports(engine).filter(|(name, _)| name.starts_with(WASI)) {
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        let mut stubs = linker.instance(interface)?;
        for (name, item) in instance.exports(engine) {
            // Refused is what the linker has already. Should something else be wrong, linking says so.
            let _ = match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    let told =
                        format!("{interface}#{name} is not given to guests{}", asked_by(interface));
                    stubs.func_new(name, move |_, _, _, _| Err(wasmtime::Error::msg(told.clone())))
                }
                ComponentItem::Resource(_) => {
                    stubs.resource(name, ResourceType::host::<Stub>(), |_, _| Ok(()))
                }
                _ => Ok(()),
            };
        }
    }
    Ok(())
}

/// Why a guest in Rust that never asked for it may have called such a function.
fn asked_by(interface: &str) -> &'static str {
    // The interface's version follows.
    let is = |name: &str| interface.starts_with(name);
    if is("wasi:cli/environment") || is("wasi:cli/stderr") {
        " (Rust's standard library calls it when a program panics or has no memory left)"
    } else if is("wasi:random/insecure-seed") {
        " (Rust's HashMap takes its seed from it: use a BTreeMap, or a hasher of your own)"
    } else {
        ""
    }
}

/// How the names of WASI's interfaces begin.
const WASI: &str = "wasi:";

/// What a resource of WASI is here: there is never one.
struct Stub;

/// Counts what compiling a component would take, as [`GuestHost::compile_within`](super::GuestHost::compile_within) does before it compiles.
///
/// # Errors
/// [`GuestError::TooLarge`], [`GuestError::Invalid`].
pub fn check(bytes: &[u8], limits: &CompileLimits) -> Result<(), GuestError> {
    judge(bytes, limits).map(drop)
}

/// A guest that is linked with an embedder's linker, to be run any number of times in stores with data of type `T`.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use strandline_host_tenants::tenant::{Device, Tenant, TenantLimits};
/// use strandline_host_tenants::component::guest::{Calls, Guest, GuestLimits, GuestState, embed};
/// use strandline_host_tenants::wasmtime::{Config, Engine, Store, StoreLimits};
/// use strandline_host_tenants::wasmtime::component::{Component, Linker};
///
/// struct Mine {
///     guest: GuestState,
///     limits: StoreLimits,
///     requests: u32,
/// }
///
/// # async fn run(device: &Arc<Device>) -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = Config::new();
/// embed::prepare(&mut config, Calls::Synchronous);
/// let engine = Engine::new(&config)?;
/// let mut linker = Linker::new(&engine);
/// embed::add_to_linker(&mut linker, Calls::Synchronous, |mine: &mut Mine| &mut mine.guest)?;
/// let component = Component::from_file(&engine, "guest.wasm")?;
/// embed::trap_wasi(&mut linker, &component)?; // Rust's standard library imports it, used or not
/// let guest = Guest::link(&linker, &component, Calls::Synchronous)?;
///
/// let limits = GuestLimits::default();
/// let tenant = Tenant::new(device, TenantLimits::default())?;
/// let guest_state = GuestState::new(tenant, limits.handles);
/// let mine = Mine { guest: guest_state, limits: limits.store_limits(), requests: 0 };
/// let mut store = Store::new(&engine, mine);
/// limits.apply(&mut store);
/// store.limiter(|mine| &mut mine.limits);
/// println!("{}", guest.run(&mut store, &[]).await?);
/// # Ok(())
/// # }
/// ```
pub struct Guest<T: 'static> {
    linked: Linked<T>,
}

enum Linked<T: 'static> {
    Synchronous(GuestSyncPre<T>),
    Concurrent(GuestPre<T>),
}

impl<T: Send + 'static> Guest<T> {
    /// Links a component that the linker's engine has compiled. `calls` must be what the engine and the linker were made for.
    ///
    /// # Errors
    /// [`GuestError::Invalid`] says which import or export does not fit.
    pub fn link(
        linker: &Linker<T>,
        component: &Component,
        calls: Calls,
    ) -> Result<Self, GuestError> {
        let link = || {
            let pre = linker.instantiate_pre(component)?;
            wasmtime::Result::Ok(match calls {
                Calls::Synchronous => Linked::Synchronous(GuestSyncPre::new(pre)?),
                Calls::Concurrent => Linked::Concurrent(GuestPre::new(pre)?),
            })
        };
        Ok(Self { linked: link().map_err(GuestError::Invalid)? })
    }

    /// Starts the guest in a store and runs it until it returns or traps. Dropping the future stops it where it stands; its store can then only be
    /// dropped.
    ///
    /// # Errors
    /// [`GuestError::Start`], [`GuestError::Trapped`], [`GuestError::Failed`].
    pub async fn run(
        &self,
        store: &mut Store<T>,
        arguments: &[String],
    ) -> Result<String, GuestError> {
        let said = match &self.linked {
            Linked::Synchronous(pre) => {
                let guest = pre.instantiate_async(&mut *store).await.map_err(GuestError::Start)?;
                guest.call_run(store, arguments).await
            }
            Linked::Concurrent(pre) => {
                let guest = pre.instantiate_async(&mut *store).await.map_err(GuestError::Start)?;
                let arguments = arguments.to_vec();
                let run = store
                    .run_concurrent(async |accessor| guest.call_run(accessor, arguments).await);
                run.await.flatten()
            }
        };
        said.map_err(GuestError::Trapped)?.map_err(GuestError::Failed)
    }
}

impl<T> Guest<T> {
    /// What its calls may be.
    #[must_use]
    pub const fn calls(&self) -> Calls {
        match self.linked {
            Linked::Synchronous(_) => Calls::Synchronous,
            Linked::Concurrent(_) => Calls::Concurrent,
        }
    }
}

impl<T> fmt::Debug for Guest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").field("calls", &self.calls()).finish_non_exhaustive()
    }
}
