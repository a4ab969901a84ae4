//! Hostile guests: each ends in a typed answer or a trap of its own; another tenant goes on, and nothing is left. What does not
//! wait is tried with both kinds of calls, and must end the same.

use crate::support::guest::{limits, run_guest};
use crate::support::rig::{Cpu, Native, Rig};
use std::time::{Duration, Instant};
use strandline_core::Entry;
use strandline_guest_tests::{Needs, PoolKind, PoolNeeds};
use strandline_host_tenants::component::guest::{Calls, GuestError, GuestLimits};
use strandline_host_tenants::tenant::{
    Answer, Ask, PoolHandle, QueueHandle, Returned, Tenant, TenantLimits,
};

const SLAB: u64 = 1 << 17;

fn rig() -> Rig {
    const POOLS: &[PoolNeeds] = &[PoolNeeds::new(PoolKind::Tlsf { slab: SLAB })];
    Rig::new(&Needs { pools: POOLS, capacity: SLAB, queues: true }, &Cpu, &Native)
}

/// A tenant that must notice nothing: it works on the same pool before, while and after.
struct Bystander {
    tenant: Tenant,
    queue: QueueHandle,
}

impl Bystander {
    fn new(rig: &Rig) -> Self {
        let mut tenant = rig.tenant();
        let queue = tenant.open_queue().unwrap();
        Self { tenant, queue }
    }

    /// Does a round of work and checks every byte.
    fn work(&mut self) {
        let pool = PoolHandle::from_bits(0);
        let Answer::Ready { reservation, .. } =
            self.tenant.acquire(pool, &Ask::new(4096).or_grow()).unwrap()
        else {
            panic!("there is room for the bystander");
        };
        let memory = strandline_host_tenants::tenant::Memory::Reserved(reservation);
        let range = strandline_host_tenants::tenant::Range { memory, offset: 0, len: 4096 };
        self.tenant.fill(self.queue, range, 0x42, &[]).unwrap();
        let readback = self.tenant.read(self.queue, range, &[]).unwrap();
        let axis = self.tenant.axis_of(self.queue).unwrap();
        let done = [Entry::new(axis, self.tenant.epoch_of(readback).unwrap())];
        let mut wait = self.tenant.wait(&done).unwrap();
        crate::support::block_on(core::future::poll_fn(|cx| self.tenant.poll_wait(&mut wait, cx)))
            .unwrap();
        assert_eq!(self.tenant.take(readback).unwrap().unwrap(), [0x42; 4096]);
        self.tenant.release(pool, reservation, Returned::Idle).unwrap();
    }
}

const BUDGET: u64 = 1 << 16;

/// Runs a hostile program beside a bystander, and checks that it leaves nothing.
fn attack_with(
    calls: Calls,
    tenant_limits: TenantLimits,
    guest_limits: &GuestLimits,
    arguments: &[&str],
) -> Result<String, GuestError> {
    let rig = rig();
    let mut bystander = Bystander::new(&rig);
    bystander.work();
    let tenant = Tenant::new(&rig.device, tenant_limits).unwrap();
    let (ended, rig) = run_guest(calls, tenant, Some(rig), guest_limits, arguments);
    bystander.work();
    drop(bystander);
    rig.unwrap().stage.assert_empty();
    ended
}

fn tenant() -> TenantLimits {
    TenantLimits { budget: BUDGET, ..TenantLimits::default() }
}

fn attack(calls: Calls, arguments: &[&str]) -> Result<String, GuestError> {
    attack_with(calls, tenant(), &limits(), arguments)
}

fn said(ended: Result<String, GuestError>) -> String {
    ended.unwrap_or_else(|error| panic!("{error}"))
}

fn trapped(ended: Result<String, GuestError>) -> String {
    match ended {
        Err(GuestError::Trapped(error)) => format!("{error:#}"),
        other => panic!("{other:?}"),
    }
}

/// Makes a test of each for both kinds of calls.
macro_rules! with_both_kinds {
    ($($name:ident),* $(,)?) => {
        with_both_kinds!(concurrent Concurrent: $($name)*);
        with_both_kinds!(synchronous Synchronous: $($name)*);
    };
    ($kind:ident $calls:ident: $($name:ident)*) => {
        mod $kind {
            $(#[test]
            fn $name() {
                super::$name(super::Calls::$calls);
            })*
        }
    };
}
with_both_kinds![
    leaves_with_reservations_and_work_under_way,
    traps_in_the_middle,
    loops_for_ever,
    takes_its_budget_in_small_pieces,
    pins_bytes_by_releasing_them,
    passes_odd_arguments,
    names_epochs_that_are_not_its_own,
    releases_twice,
    uses_keys_of_another_ledger,
    exchanges_what_is_not_its_own,
    forges_handles,
    exhausts_handles,
    takes_all_linear_memory,
    has_the_host_copy_a_long_list,
    keeps_bytes_in_the_host,
    a_guest_too_large_to_start_is_refused,
    nothing_adds_up,
];

fn leaves_with_reservations_and_work_under_way(calls: Calls) {
    assert_eq!(said(attack(calls, &["hostile:reserve-and-leave", "7", "4096"])), "8");
}

fn traps_in_the_middle(calls: Calls) {
    let why = trapped(attack(calls, &["hostile:trap-in-the-middle"]));
    assert!(why.contains("unreachable"), "{why}");
}

fn loops_for_ever(calls: Calls) {
    let brief = GuestLimits { timeout: Some(Duration::from_millis(200)), ..limits() };
    let began = Instant::now();
    let ended = attack_with(calls, tenant(), &brief, &["hostile:loop"]);
    assert!(matches!(ended, Err(GuestError::TimedOut)), "{ended:?}");
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[test]
fn waits_for_ever() {
    let brief = GuestLimits { timeout: Some(Duration::from_millis(200)), ..limits() };
    let ended = attack_with(Calls::Concurrent, tenant(), &brief, &["hostile:wait-for-ever"]);
    assert!(matches!(ended, Err(GuestError::TimedOut)), "{ended:?}");
}

fn takes_its_budget_in_small_pieces(calls: Calls) {
    // One byte takes a granule of 256.
    let expected = format!("{} over budget", BUDGET / 256);
    assert_eq!(said(attack(calls, &["hostile:many-small"])), expected);
}

fn pins_bytes_by_releasing_them(calls: Calls) {
    // 16 pieces of 4 KiB: what is released is charged until it is dead.
    assert_eq!(said(attack(calls, &["hostile:pin-by-release"])), "15 over budget");
}

fn passes_odd_arguments(calls: Calls) {
    assert_eq!(said(attack(calls, &["hostile:arguments"])), "0");
}

fn names_epochs_that_are_not_its_own(calls: Calls) {
    for (axis, epoch) in [
        // The bystander's queue: what it has reached, and its future.
        (0_u64, 1_u64),
        (0, u64::MAX),
        // The host's axis.
        (3 << 40, 1),
        (u64::MAX, 1),
    ] {
        let ended = attack(calls, &["hostile:name", &axis.to_string(), &epoch.to_string()]);
        assert_eq!(said(ended), "not yours, reached 0", "{axis:#x}@{epoch}");
    }
}

fn releases_twice(calls: Calls) {
    let what = said(attack(calls, &["hostile:double-release"]));
    assert_eq!(what.matches("UnknownKey(0)").count(), 3, "{what}");
}

fn uses_keys_of_another_ledger(calls: Calls) {
    assert_eq!(said(attack(calls, &["hostile:ledger-keys"])), "0 true");
}

fn exchanges_what_is_not_its_own(calls: Calls) {
    let what = said(attack(calls, &["hostile:exchange"]));
    let expected = "Exchanged::Refused(LedgerError::UnknownKey(0)) \
                    Exchanged::Refused(LedgerError::NotYours(Entry { axis: 7, epoch: 1 })) \
                    Exchanged::Refused(LedgerError::InvalidDeath(FrontierError::ZeroEpoch(0))) \
                    Exchanged::Other [Some(Err(PoolError::ZeroSize)), None] \
                    Exchanged::Other Some(Err(PoolError::NotYours(Entry { axis: 7, epoch: 1 }))) 0";
    assert_eq!(what, expected);
}

fn forges_handles(calls: Calls) {
    for handle in ["0", "1", "77", "1000000", "4294967295"] {
        let why = trapped(attack(calls, &["hostile:forge", handle]));
        assert!(why.contains("handle"), "{handle}: {why}");
    }
}

fn exhausts_handles(calls: Calls) {
    let few = GuestLimits { handles: 1000, ..limits() };
    trapped(attack_with(calls, tenant(), &few, &["hostile:handles"]));
}

fn takes_all_linear_memory(calls: Calls) {
    trapped(attack(calls, &["hostile:memory"]));
}

fn has_the_host_copy_a_long_list(calls: Calls) {
    let what = said(attack(calls, &["hostile:long-list", "100000"]));
    assert!(what.contains("TooMany") || what.contains("Duplicate"), "{what}");
    let little = GuestLimits { call_bytes: 1 << 16, ..limits() };
    let why = trapped(attack_with(calls, tenant(), &little, &["hostile:long-list", "100000"]));
    assert!(why.contains("fuel"), "{why}");
}

fn keeps_bytes_in_the_host(calls: Calls) {
    let little = TenantLimits { transfer_bytes: 40_000, ..tenant() };
    let ended = attack_with(calls, little, &limits(), &["hostile:huge-write", "4096"]);
    assert_eq!(said(ended), "9 limit");
    let few = TenantLimits { operations: 20, ..tenant() };
    let ended = attack_with(calls, few, &limits(), &["hostile:huge-write", "4096"]);
    assert_eq!(said(ended), "19 limit");
}

#[test]
fn begins_waits_without_end() {
    let few = GuestLimits { handles: 100, ..limits() };
    // Either its handles or its waits run out.
    match attack_with(Calls::Concurrent, tenant(), &few, &["hostile:many-waits"]) {
        Ok(what) => assert!(what.contains("Gone"), "{what}"),
        Err(GuestError::Trapped(_)) => {}
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn sees_nothing_of_others() {
    assert_eq!(said(attack(Calls::Concurrent, &["hostile:peek"])), "32768 bytes, 0 not zero");
}

#[test]
fn is_not_a_guest() {
    let host = &crate::support::guest::guests().host;
    for bytes in [&b""[..], b"\0asm\x01\0\0\0", b"(component)", b"nonsense"] {
        assert!(matches!(host.compile(bytes), Err(GuestError::Invalid(_))));
    }
}

fn a_guest_too_large_to_start_is_refused(calls: Calls) {
    let small = GuestLimits { memory_bytes: 1 << 16, ..limits() };
    let ended = attack_with(calls, tenant(), &small, &["hostile:peek"]);
    assert!(matches!(ended, Err(GuestError::Start(_))), "{ended:?}");
}

/// Hundreds of hostile guests, one after the other, on one device.
fn nothing_adds_up(calls: Calls) {
    let mut rig = Some(rig());
    for round in 0..100 {
        let program = ["hostile:reserve-and-leave", "hostile:trap-in-the-middle"][round % 2];
        let tenant = Tenant::new(&rig.as_ref().unwrap().device, tenant()).unwrap();
        let (_, back) = run_guest(calls, tenant, rig.take(), &limits(), &[program, "5", "4096"]);
        rig = back;
        rig.as_ref().unwrap().stage.assert_empty();
    }
    let rig = rig.unwrap();
    assert!(rig.device.resting_queues() <= 4, "{}", rig.device.resting_queues());
    assert!(rig.stage.pools[0].stats().committed_bytes <= SLAB);
}
