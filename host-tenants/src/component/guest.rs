//! Guests: components that nobody need trust, with pools and queues of the host: [`GuestHost`].
//!
//! ```text
//!   guest.wasm ──imports──▶ frontiers · pools · device · waits       (world `guest`; `guest-sync` without waits)
//!        │ handles              │ checked arguments
//!   ┌────▼──────── store ───────▼──────────────┐
//!   │ memory, fuel, deadline   handle table    │──▶ Tenant ──▶ Device: pools, queues
//!   └──────────────────────────────────────────┘     budget, names, limits
//! ```
//!
//! | file | idea |
//! | --- | --- |
//! | `host` | [`GuestHost`]: compile, link, run |
//! | `embed` | the same in an engine, a linker and stores of the embedder's own |
//! | `bounds`, `judge` | what a component may ask of the compiler; counting it before |
//! | `process` | compiling where it can be ended |
//! | `limits`, `ticker` | what a guest may take; deadlines |
//! | `printable` | text of a guest on a terminal |
//! | `pools`, `device`, `frontiers`, `waits` | the imported interfaces, each a thin layer over a [`Tenant`] |
//! | `convert` | the interface's types and the host's |
//! | `block_on` | the executor |
//!
//! # What protects whom
//! - **The host from the guest.** Every call is checked by the [`Tenant`]; a handle that is not the guest's is
//!   a trap of that guest. Nothing that a guest says makes the host panic.
//! - **The host's memory.** [`GuestLimits`]: linear memory, tables, instances, handles, bytes copied by one
//!   call. [`TenantLimits`](crate::tenant::TenantLimits): pool memory, operations and bytes in flight.
//! - **The host's compiler.** [`CompileLimits`], counted before it starts; and a [`CompileProcess`] that ends with its time or memory.
//! - **The host's time.** A deadline, checked in loops and in waits. No host function blocks.
//! - **The host's terminal.** What a guest says goes through [`printable()`]; errors do by themselves.
//! - **Tenants from each other.** See [`crate::tenant`].
//! - **What the guest held.** It is the tenant's, and comes back when the tenant is dropped, however the
//!   guest ended.
//!
//! # Cost
//! A host call costs what the tenant's method does, a few lookups in the handle table, and the crossing. The crossing costs a
//! guest that may wait several times as much; see [`Calls`].

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
pub mod bindings {
    //! Generated from `wit/`: the world `guest`, and in `sync` the world `guest-sync`, seen from the host.
    wasmtime::component::bindgen!({
        path: "wit",
        world: "guest",
        imports: { default: trappable },
        with: {
            "strandline:substrate/pools.pool": crate::component::guest::Pool,
            "strandline:substrate/pools.reservation": crate::component::guest::Reservation,
            "strandline:substrate/pools.ledger": crate::component::guest::Ledger,
            "strandline:substrate/pools.pool-set": crate::component::guest::PoolSet,
            "strandline:substrate/device.buffer": crate::component::guest::Buffer,
            "strandline:substrate/device.queue": crate::component::guest::Queue,
            "strandline:substrate/device.readback": crate::component::guest::Readback,
        },
    });

    pub mod sync {
        //! The world `guest-sync`, of the same interfaces.
        wasmtime::component::bindgen!({
            path: "wit",
            world: "guest-sync",
            imports: { default: trappable },
            exports: { default: async },
            with: { "strandline:substrate": super::strandline::substrate },
        });
    }
}
mod block_on;
mod bounds;
mod convert;
mod device;
pub mod embed;
mod frontiers;
mod host;
mod judge;
mod ledgers;
mod limits;
mod pools;
mod printable;
#[allow(unsafe_code, reason = "precompiled code has to be trusted; argued in the file")]
mod process;
mod ticker;
mod waits;

pub use bounds::{CompileLimits, LimitExceeded};
pub use embed::Guest;
pub use host::{Calls, GuestError, GuestHost, GuestProgram, GuestStore};
pub use limits::GuestLimits;
pub use printable::printable;
pub use process::{CompileProcess, serve as serve_compile};

use crate::tenant::{
    BufferHandle, PoolHandle, QueueHandle, ReadbackHandle, ReservationHandle, Tenant, TenantError,
};
use bindings::strandline::substrate::pools::Outcome;
use bindings::strandline::substrate::types::PoolError;
use core::fmt;
use std::sync::Arc;
use strandline_core::table::{ShortKey, Table};
use wasmtime::component::{HasData, ResourceTable};

/// What a guest's handle to a pool stands for.
#[derive(Debug)]
pub struct Pool(PoolHandle);

/// What a guest's handle to a reservation stands for.
#[derive(Debug)]
pub struct Reservation(ReservationHandle);

/// What a guest's handle to a ledger stands for: reservations under keys.
#[derive(Debug)]
pub struct Ledger {
    pool: PoolHandle,
    held: Table<ShortKey, ReservationHandle>,
    /// What the last exchange did not say.
    unread: Option<Result<Outcome, PoolError>>,
}

/// What a guest's handle to the set of its pools stands for.
#[derive(Debug)]
pub struct PoolSet(());

/// What a guest's handle to a transient buffer stands for.
#[derive(Debug)]
pub struct Buffer(BufferHandle);

/// What a guest's handle to a queue stands for.
#[derive(Debug)]
pub struct Queue(QueueHandle);

/// What a guest's handle to a readback stands for.
#[derive(Debug)]
pub struct Readback(ReadbackHandle);

/// A guest as its host keeps it: what it may use, and its handles.
pub struct GuestState {
    tenant: Tenant,
    table: ResourceTable,
    /// One more than the waits under way, each of which holds a clone.
    waits: Arc<()>,
    most_waits: usize,
}

impl GuestState {
    /// A guest that uses what `tenant` may, with at most `handles` handles and waits at once.
    #[must_use]
    pub fn new(tenant: Tenant, handles: usize) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(handles);
        Self { tenant, table, waits: Arc::default(), most_waits: handles }
    }

    /// What it may use.
    #[must_use]
    pub const fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// What it may use, for the host to change: lend another axis, declare quiescence.
    pub const fn tenant_mut(&mut self) -> &mut Tenant {
        &mut self.tenant
    }

    /// Ends the guest's handles, and gives the tenant back.
    #[must_use]
    pub fn into_tenant(self) -> Tenant {
        self.tenant
    }
}

/// What a tenant says of handles that the host has checked: a trap of that guest where it knows one not.
fn known<T>(result: Result<T, TenantError>) -> wasmtime::Result<T> {
    result.map_err(|error| wasmtime::Error::msg(error.to_string()))
}

impl fmt::Debug for GuestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestState").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// Tells a linker where a store keeps its [`GuestState`]; see [`embed::add_to_linker`].
#[derive(Debug)]
pub struct Guests;

impl HasData for Guests {
    type Data<'a> = &'a mut GuestState;
}
