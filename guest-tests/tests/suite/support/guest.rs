//! The guest runner: a component that runs the case inside the sandbox, over pools that the rig lends it.

use super::artifacts;
use super::rig::Rig;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use strandline_guest_tests::Entry;
use strandline_host_tenants::component::guest::bindings::strandline::substrate::types;
use strandline_host_tenants::component::guest::{
    Calls, GuestError, GuestHost, GuestLimits, GuestProgram, GuestStore,
};
use strandline_host_tenants::tenant::Tenant;
use wasmtime::component::HasData;

mod bindings {
    wasmtime::component::bindgen!({
        path: ["../wit", "wit"],
        world: "strandline:guest-tests/staging",
        imports: { default: trappable },
        with: {
            "strandline:substrate": strandline_host_tenants::component::guest::bindings::strandline::substrate,
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

/// What is kept beside a guest: what the stage works on.
#[derive(Default)]
pub(crate) struct Extra {
    rig: Option<Rig>,
    strings: Option<Strings>,
}

/// A store's part that the stage works on.
pub(crate) type Store = GuestStore<Extra>;

/// What a puppet is to do next.
enum Pull {
    Call(Vec<u64>),
    Tenant(Box<dyn FnOnce(&mut Tenant) + Send>),
}

/// The guest's end of the strings that a puppet hangs on.
pub(crate) struct Strings {
    pulls: Receiver<Pull>,
    said: Sender<Vec<u64>>,
}

/// The other end: a model that says what the guest does. Without it the guest ends.
pub(crate) struct Puppeteer {
    pulls: Sender<Pull>,
    said: Receiver<Vec<u64>>,
    calls: u64,
}

impl Puppeteer {
    pub(crate) fn new() -> (Self, Strings) {
        let ((pulls, pulled), (say, said)) = (channel(), channel());
        (Self { pulls, said, calls: 0 }, Strings { pulls: pulled, said: say })
    }

    /// Has the guest do a call; empty when it is gone.
    pub(crate) fn call(&mut self, words: Vec<u64>) -> Vec<u64> {
        self.calls += 1;
        let _ = self.pulls.send(Pull::Call(words));
        self.said.recv().unwrap_or_default()
    }

    /// Does something with the guest's tenant, before its next call.
    pub(crate) fn with_tenant(&self, act: impl FnOnce(&mut Tenant) + Send + 'static) {
        let _ = self.pulls.send(Pull::Tenant(Box::new(act)));
    }

    /// How many calls there were.
    pub(crate) const fn calls(&self) -> u64 {
        self.calls
    }

    /// Lets go of the guest, after a last call.
    pub(crate) fn end(self, last: Option<Vec<u64>>) {
        if let Some(words) = last {
            let _ = self.pulls.send(Pull::Call(words));
        }
    }
}

struct Stage;

impl HasData for Stage {
    type Data<'a> = &'a mut Store;
}

fn no_rig() -> wasmtime::Error {
    wasmtime::Error::msg("there is no stage here")
}

impl bindings::strandline::guest_tests::stage::Host for Store {
    fn submit(&mut self, axis: u32) -> wasmtime::Result<types::Entry> {
        let rig = self.extra.rig.as_mut().ok_or_else(no_rig)?;
        let entry = rig.submit(axis as usize, self.guest.tenant_mut());
        Ok(types::Entry { axis: entry.axis, epoch: entry.epoch })
    }

    fn complete(&mut self, entry: types::Entry) -> wasmtime::Result<()> {
        let rig = self.extra.rig.as_ref().ok_or_else(no_rig)?;
        rig.complete(Entry { axis: entry.axis, epoch: entry.epoch });
        Ok(())
    }

    fn lose(&mut self, axis: u32) -> wasmtime::Result<()> {
        self.extra.rig.as_ref().ok_or_else(no_rig)?.lose(axis as usize);
        Ok(())
    }

    fn quiesce(&mut self) -> wasmtime::Result<()> {
        let rig = self.extra.rig.as_ref().ok_or_else(no_rig)?;
        rig.quiesce(self.guest.tenant_mut());
        Ok(())
    }

    fn next(&mut self) -> wasmtime::Result<Vec<u64>> {
        let strings = self.extra.strings.as_ref().ok_or_else(no_rig)?;
        loop {
            match strings.pulls.recv() {
                Ok(Pull::Call(words)) => return Ok(words),
                Ok(Pull::Tenant(act)) => act(self.guest.tenant_mut()),
                Err(_) => return Ok(Vec::new()),
            }
        }
    }

    fn said(&mut self, answer: Vec<u64>) -> wasmtime::Result<()> {
        let strings = self.extra.strings.as_ref().ok_or_else(no_rig)?;
        Ok(strings.said.send(answer)?)
    }
}

/// One host and the compiled programs for all tests of the process.
pub(crate) struct Guests {
    pub(crate) host: GuestHost<Extra>,
    waiting: GuestProgram<Extra>,
    polling: GuestProgram<Extra>,
}

/// Which of the two programs runs: what its calls must be.
pub(crate) const KINDS: [Calls; 2] = [Calls::Concurrent, Calls::Synchronous];

impl Guests {
    /// The program whose calls are of this kind.
    pub(crate) fn program(&self, calls: Calls) -> &GuestProgram<Extra> {
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
    let extra = Extra { rig, strings: None };
    let (ended, extra) =
        guests.host.run_with(guests.program(calls), tenant, extra, limits, &arguments);
    (ended, extra.rig)
}

/// Runs the guest as a puppet, until its strings are let go.
pub(crate) fn run_puppet(
    calls: Calls,
    tenant: Tenant,
    strings: Strings,
    limits: &GuestLimits,
) -> Result<String, GuestError> {
    let guests = guests();
    let extra = Extra { rig: None, strings: Some(strings) };
    let arguments = ["puppet".to_owned()];
    guests.host.run_with(guests.program(calls), tenant, extra, limits, &arguments).0
}
