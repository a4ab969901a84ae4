//! The guest runner: a component that runs the case inside the sandbox, over pools that the rig lends it.

use super::artifacts;
use super::rig::Rig;
use std::sync::OnceLock;
use std::time::Duration;
use strandline_guest_tests::Entry;
use strandline_host_native::component::guest::bindings::strandline::substrate::types;
use strandline_host_native::component::guest::{
    Calls, GuestError, GuestHost, GuestLimits, GuestProgram, GuestStore,
};
use strandline_host_native::tenant::Tenant;
use wasmtime::component::HasData;

mod bindings {
    wasmtime::component::bindgen!({
        path: ["../wit", "wit"],
        world: "strandline:guest-tests/staging",
        imports: { default: trappable },
        with: {
            "strandline:substrate": strandline_host_native::component::guest::bindings::strandline::substrate,
        },
    });
}

/// What the stage has the rig do, on behalf of the guest's tenant.
impl Rig {
    fn submit(&mut self, axis: usize, tenant: &mut Tenant) -> Entry {
        let entry = self.stage.submit(axis);
        tenant.lend_axis(entry.axis, entry.epoch);
        Entry { axis: entry.axis.to_bits(), epoch: entry.epoch }
    }

    fn complete(&self, entry: Entry) {
        self.stage.complete(entry);
        self.device.progressed();
    }

    fn lose(&self, axis: usize) {
        self.stage.lose(axis);
        self.device.progressed();
    }

    fn quiesce(&self, tenant: &mut Tenant) {
        tenant.quiesce();
        self.stage.pools.iter().for_each(|pool| pool.quiesce());
    }
}

/// A store's part that the stage works on.
pub(crate) type Store = GuestStore<Option<Rig>>;

struct Stage;

impl HasData for Stage {
    type Data<'a> = &'a mut Store;
}

fn no_rig() -> wasmtime::Error {
    wasmtime::Error::msg("there is no stage here")
}

impl bindings::strandline::guest_tests::stage::Host for Store {
    fn submit(&mut self, axis: u32) -> wasmtime::Result<types::Entry> {
        let rig = self.extra.as_mut().ok_or_else(no_rig)?;
        let entry = rig.submit(axis as usize, self.guest.tenant_mut());
        Ok(types::Entry { axis: entry.axis, epoch: entry.epoch })
    }

    fn complete(&mut self, entry: types::Entry) -> wasmtime::Result<()> {
        let rig = self.extra.as_ref().ok_or_else(no_rig)?;
        rig.complete(Entry { axis: entry.axis, epoch: entry.epoch });
        Ok(())
    }

    fn lose(&mut self, axis: u32) -> wasmtime::Result<()> {
        self.extra.as_ref().ok_or_else(no_rig)?.lose(axis as usize);
        Ok(())
    }

    fn quiesce(&mut self) -> wasmtime::Result<()> {
        let rig = self.extra.as_ref().ok_or_else(no_rig)?;
        rig.quiesce(self.guest.tenant_mut());
        Ok(())
    }
}

/// One host and the compiled programs for all tests of the process.
pub(crate) struct Guests {
    pub(crate) host: GuestHost<Option<Rig>>,
    waiting: GuestProgram<Option<Rig>>,
    polling: GuestProgram<Option<Rig>>,
}

/// Which of the two programs runs: what its calls must be.
pub(crate) const KINDS: [Calls; 2] = [Calls::Concurrent, Calls::Synchronous];

impl Guests {
    /// The program whose calls are of this kind.
    pub(crate) fn program(&self, calls: Calls) -> &GuestProgram<Option<Rig>> {
        match calls {
            Calls::Concurrent => &self.waiting,
            Calls::Synchronous => &self.polling,
        }
    }
}

pub(crate) fn guests() -> &'static Guests {
    static GUESTS: OnceLock<Guests> = OnceLock::new();
    GUESTS.get_or_init(|| {
        let mut host = GuestHost::with_extra().unwrap();
        host.add_imports(|linker, _| {
            bindings::strandline::guest_tests::stage::add_to_linker::<_, Stage>(linker, |store| {
                store
            })
        })
        .unwrap();
        let waiting = host.compile(&artifacts::conformance()).unwrap();
        let polling = host.compile(&artifacts::conformance_sync()).unwrap();
        Guests { host, waiting, polling }
    })
}

/// Limits that a test does not meet unless it means to.
pub(crate) fn limits() -> GuestLimits {
    GuestLimits { timeout: Some(Duration::from_secs(60)), ..GuestLimits::default() }
}

/// Runs a program of the conformance guest.
pub(crate) fn run_guest(
    calls: Calls,
    tenant: Tenant,
    rig: Option<Rig>,
    limits: &GuestLimits,
    arguments: &[&str],
) -> (Result<String, GuestError>, Option<Rig>) {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let guests = guests();
    guests.host.run_with(guests.program(calls), tenant, rig, limits, &arguments)
}
