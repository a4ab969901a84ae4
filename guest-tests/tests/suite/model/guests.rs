//! The same programs across boundaries: pools in the sandbox, tenants inside guests.

use super::native::Native;
use super::{Puppet, programs};
use crate::support::guest::{Puppeteer, limits, run_puppet};
use crate::support::rig::{Native as NativePools, Pools};
use crate::support::sandbox::Sandbox;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use strandline_core::Axis;
use strandline_guest_tests::puppet::{Call, Op};
use strandline_host_tenants::component::guest::{Calls, GuestError, GuestLimits};
use strandline_host_tenants::tenant::Tenant;

/// A guest, on a thread of its own.
struct Inside {
    strings: Puppeteer,
    thread: JoinHandle<Result<String, GuestError>>,
}

impl Inside {
    fn start(calls: Calls, tenant: Tenant) -> Self {
        let (strings, held) = Puppeteer::new();
        // A guest is there for as long as its program.
        let limits = GuestLimits { timeout: Some(Duration::from_secs(600)), ..limits() };
        let thread = std::thread::spawn(move || run_puppet(calls, tenant, held, &limits));
        Self { strings, thread }
    }
}

impl Puppet for Inside {
    fn call(&mut self, call: &Call) -> Option<Vec<u64>> {
        let answer = self.strings.call(call.pack());
        match answer.split_first() {
            Some((0, rest)) => Some(rest.to_vec()),
            _ => None,
        }
    }

    fn lend(&mut self, axis: u64, epoch: u64) {
        self.strings.with_tenant(move |tenant| tenant.lend_axis(Axis::from_bits(axis), epoch));
    }

    fn charged(&mut self) -> u64 {
        let (told, charged) = mpsc::channel();
        self.strings.with_tenant(move |tenant| told.send(tenant.charged().0).unwrap());
        charged.recv().unwrap()
    }

    fn keeps_ledgers_apart(&self) -> bool {
        true
    }

    /// By a trap, or by returning: what it held comes back either way.
    fn end(self: Box<Self>) {
        let Self { strings, thread } = *self;
        let traps = strings.calls().is_multiple_of(2);
        strings.end(traps.then(|| Call::new(Op::End).pack()));
        let ended = thread.join().unwrap();
        match ended {
            Ok(_) if !traps => {}
            Err(GuestError::Trapped(_)) if traps => {}
            other => panic!("{other:?}"),
        }
    }
}

fn sandboxed() -> Box<dyn Pools> {
    Box::new(Sandbox::new())
}

fn native() -> Box<dyn Pools> {
    Box::new(NativePools)
}

/// Tenants of this process, over pools in the sandbox.
#[test]
fn sandbox() {
    programs(100, &sandboxed, &|tenant| Box::new(Native::new(tenant)));
}

/// Guests that may wait, over pools of this process.
#[test]
fn guest_over_host() {
    programs(60, &native, &|tenant| Box::new(Inside::start(Calls::Concurrent, tenant)));
}

/// Guests whose calls are synchronous, over pools of this process.
#[test]
fn sync_guest_over_host() {
    programs(60, &native, &|tenant| Box::new(Inside::start(Calls::Synchronous, tenant)));
}

/// Guests over pools in the sandbox: two boundaries.
#[test]
fn guest_over_sandbox() {
    programs(40, &sandboxed, &|tenant| Box::new(Inside::start(Calls::Synchronous, tenant)));
}
