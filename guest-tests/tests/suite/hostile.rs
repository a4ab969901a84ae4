//! Hostile guests: each ends in a typed answer or a trap of its own; another tenant goes on, and nothing is left.

use crate::support::guest::{limits, run_guest};
use crate::support::rig::{Cpu, Native, Rig};
use std::time::{Duration, Instant};
use strandline_core::Entry;
use strandline_guest_tests::{Needs, PoolKind, PoolNeeds};
use strandline_host_native::component::guest::{GuestError, GuestLimits};
use strandline_host_native::tenant::{
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
        let memory = strandline_host_native::tenant::Memory::Reserved(reservation);
        let range = strandline_host_native::tenant::Range { memory, offset: 0, len: 4096 };
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
    tenant_limits: TenantLimits,
    guest_limits: &GuestLimits,
    arguments: &[&str],
) -> Result<String, GuestError> {
    let rig = rig();
    let mut bystander = Bystander::new(&rig);
    bystander.work();
    let tenant = Tenant::new(&rig.device, tenant_limits).unwrap();
    let (ended, rig) = run_guest(tenant, Some(rig), guest_limits, arguments);
    bystander.work();
    drop(bystander);
    rig.unwrap().stage.assert_empty();
    ended
}

fn attack(arguments: &[&str]) -> Result<String, GuestError> {
    let tenant_limits = TenantLimits { budget: BUDGET, ..TenantLimits::default() };
    attack_with(tenant_limits, &limits(), arguments)
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

#[test]
fn leaves_with_reservations_and_work_under_way() {
    assert_eq!(said(attack(&["hostile:reserve-and-leave", "7", "4096"])), "8");
}

#[test]
fn traps_in_the_middle() {
    let why = trapped(attack(&["hostile:trap-in-the-middle"]));
    assert!(why.contains("unreachable"), "{why}");
}

#[test]
fn loops_for_ever() {
    let brief = GuestLimits { timeout: Some(Duration::from_millis(200)), ..limits() };
    let tenant_limits = TenantLimits { budget: BUDGET, ..TenantLimits::default() };
    let began = Instant::now();
    let ended = attack_with(tenant_limits, &brief, &["hostile:loop"]);
    assert!(matches!(ended, Err(GuestError::TimedOut)), "{ended:?}");
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[test]
fn waits_for_ever() {
    let brief = GuestLimits { timeout: Some(Duration::from_millis(200)), ..limits() };
    let tenant_limits = TenantLimits { budget: BUDGET, ..TenantLimits::default() };
    let ended = attack_with(tenant_limits, &brief, &["hostile:wait-for-ever"]);
    assert!(matches!(ended, Err(GuestError::TimedOut)), "{ended:?}");
}

#[test]
fn takes_its_budget_in_small_pieces() {
    // One byte takes a granule of 256.
    let expected = format!("{} over budget", BUDGET / 256);
    assert_eq!(said(attack(&["hostile:many-small"])), expected);
}

#[test]
fn pins_bytes_by_releasing_them() {
    // 16 pieces of 4 KiB: what is released is charged until it is dead.
    assert_eq!(said(attack(&["hostile:pin-by-release"])), "15 over budget");
}

#[test]
fn passes_odd_arguments() {
    assert_eq!(said(attack(&["hostile:arguments"])), "0");
}

#[test]
fn names_epochs_that_are_not_its_own() {
    for (axis, epoch) in [
        // The bystander's queue: what it has reached, and its future.
        (0_u64, 1_u64),
        (0, u64::MAX),
        // The host's axis.
        (3 << 40, 1),
        (u64::MAX, 1),
    ] {
        let ended = attack(&["hostile:name", &axis.to_string(), &epoch.to_string()]);
        assert_eq!(said(ended), "not yours, reached 0", "{axis:#x}@{epoch}");
    }
}

#[test]
fn releases_twice() {
    let what = said(attack(&["hostile:double-release"]));
    assert_eq!(what.matches("UnknownKey(0)").count(), 3, "{what}");
}

#[test]
fn uses_keys_of_another_ledger() {
    assert_eq!(said(attack(&["hostile:ledger-keys"])), "0 true");
}

#[test]
fn exchanges_what_is_not_its_own() {
    let what = said(attack(&["hostile:exchange"]));
    let expected = "Exchanged::Refused(LedgerError::UnknownKey(0)) \
                    Exchanged::Refused(LedgerError::NotYours(Entry { axis: 7, epoch: 1 })) \
                    Exchanged::Refused(LedgerError::InvalidDeath(FrontierError::ZeroEpoch(0))) \
                    Exchanged::Other [Some(Err(PoolError::ZeroSize)), None] \
                    Exchanged::Other Some(Err(PoolError::NotYours(Entry { axis: 7, epoch: 1 }))) 0";
    assert_eq!(what, expected);
}

#[test]
fn forges_handles() {
    for handle in ["0", "1", "77", "1000000", "4294967295"] {
        let why = trapped(attack(&["hostile:forge", handle]));
        assert!(why.contains("handle"), "{handle}: {why}");
    }
}

#[test]
fn exhausts_handles() {
    let few = GuestLimits { handles: 1000, ..limits() };
    let tenant_limits = TenantLimits { budget: BUDGET, ..TenantLimits::default() };
    trapped(attack_with(tenant_limits, &few, &["hostile:handles"]));
}

#[test]
fn takes_all_linear_memory() {
    trapped(attack(&["hostile:memory"]));
}

#[test]
fn has_the_host_copy_a_long_list() {
    let what = said(attack(&["hostile:long-list", "100000"]));
    assert!(what.contains("TooMany") || what.contains("Duplicate"), "{what}");
    let little = GuestLimits { call_bytes: 1 << 16, ..limits() };
    let tenant_limits = TenantLimits { budget: BUDGET, ..TenantLimits::default() };
    let why = trapped(attack_with(tenant_limits, &little, &["hostile:long-list", "100000"]));
    assert!(why.contains("fuel"), "{why}");
}

#[test]
fn keeps_bytes_in_the_host() {
    let tenant_limits =
        TenantLimits { budget: BUDGET, transfer_bytes: 40_000, ..TenantLimits::default() };
    let ended = attack_with(tenant_limits, &limits(), &["hostile:huge-write", "4096"]);
    assert_eq!(said(ended), "9 limit");
    let tenant_limits = TenantLimits { budget: BUDGET, operations: 20, ..TenantLimits::default() };
    let ended = attack_with(tenant_limits, &limits(), &["hostile:huge-write", "4096"]);
    assert_eq!(said(ended), "19 limit");
}

#[test]
fn begins_waits_without_end() {
    let few = GuestLimits { handles: 100, ..limits() };
    let tenant_limits = TenantLimits { budget: BUDGET, ..TenantLimits::default() };
    // Either its handles or its waits run out.
    match attack_with(tenant_limits, &few, &["hostile:many-waits"]) {
        Ok(what) => assert!(what.contains("Gone"), "{what}"),
        Err(GuestError::Trapped(_)) => {}
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn sees_nothing_of_others() {
    assert_eq!(said(attack(&["hostile:peek"])), "32768 bytes, 0 not zero");
}

#[test]
fn is_not_a_guest() {
    let host = &crate::support::guest::guests().host;
    for bytes in [&b""[..], b"\0asm\x01\0\0\0", b"(component)", b"nonsense"] {
        assert!(matches!(host.compile(bytes), Err(GuestError::Invalid(_))));
    }
}

#[test]
fn a_guest_too_large_to_start_is_refused() {
    let small = GuestLimits { memory_bytes: 1 << 16, ..limits() };
    let tenant_limits = TenantLimits { budget: BUDGET, ..TenantLimits::default() };
    let ended = attack_with(tenant_limits, &small, &["hostile:peek"]);
    assert!(matches!(ended, Err(GuestError::Start(_))), "{ended:?}");
}

/// Hundreds of hostile guests, one after the other, on one device.
#[test]
fn nothing_adds_up() {
    let mut rig = Some(rig());
    for round in 0..100 {
        let program = ["hostile:reserve-and-leave", "hostile:trap-in-the-middle"][round % 2];
        let tenant_limits = TenantLimits { budget: BUDGET, ..TenantLimits::default() };
        let tenant = Tenant::new(&rig.as_ref().unwrap().device, tenant_limits).unwrap();
        let (_, back) = run_guest(tenant, rig.take(), &limits(), &[program, "5", "4096"]);
        rig = back;
        rig.as_ref().unwrap().stage.assert_empty();
    }
    let rig = rig.unwrap();
    assert!(rig.device.resting_queues() <= 4, "{}", rig.device.resting_queues());
    assert!(rig.stage.pools[0].stats().committed_bytes <= SLAB);
}
