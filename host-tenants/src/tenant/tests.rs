//! Two tenants and a host on one device: budgets, lies about time, waits, and what is left when a tenant ends.

mod order;

use super::*;
use core::task::{Context, Poll};
use proptest::prelude::*;
use std::task::Wake;
use std::thread::Thread;
use std::time::{Duration, Instant};
use strandline_core::inspect::BlockView;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Origin, PoolHost, PoolId, PoolProperties, Request, ReuseProof};
use strandline_core::queue::Place;
use strandline_core::slab::Trim;
use strandline_core::{Acquire, Entry, Failure, Notification, PoolError, Tracker};
use strandline_host_native::slab::MmapSlabProvider;

const SLAB: u64 = 1 << 16;
const POOL: PoolHandle = PoolHandle(0);

struct Host {
    device: Arc<Device>,
    pool: Arc<TlsfPool>,
    tracker: Tracker,
    axis: Axis,
}

/// One pool of one slab, and an axis of the host's own.
fn host() -> Host {
    let memory = Arc::new(MmapSlabProvider::builder().capacity(SLAB).build().unwrap());
    let tracker = Tracker::new(64);
    let axis = Axis::host(7);
    tracker.register(axis).unwrap();
    let host = PoolHost::new(memory.clone(), Arc::new(tracker.clone()))
        .with_wake(strandline_host_native::thread_wake());
    let config = TlsfPoolConfig { growth: Growth::slabs_of(SLAB), ..TlsfPoolConfig::default() };
    let pool = Arc::new(TlsfPool::new(host, config).unwrap());
    let device = Device::new(0, tracker.clone(), vec![SharedPool::new(pool.clone(), memory)]);
    Host { device, pool, tracker, axis }
}

#[test]
fn a_budget_of_nothing_is_refused_by_its_name() {
    let host = host();
    let limits = TenantLimits { budget: 0, ..TenantLimits::default() };
    let alone = Tenant::new(&host.device, limits).map(drop);
    let group = Tenant::in_group(&host.device, TenantLimits::default(), &TenantGroup::new(0));
    for refused in [alone, group.map(drop)] {
        let Err(TenantError::Pool(error)) = refused else { panic!("{refused:?}") };
        assert!(error.to_string().contains("budget"), "{error}");
    }
}

impl Host {
    fn tenant(&self, budget: u64) -> Tenant {
        let limits = TenantLimits { budget, ..TenantLimits::default() };
        Tenant::new(&self.device, limits).unwrap()
    }

    /// Nothing is left of any tenant: all bytes are one clean block.
    fn assert_empty(&self) {
        self.wait_until("the device's queues have run dry", || {
            self.tracker
                .axes()
                .iter()
                .all(|status| status.axis == self.axis || status.end.is_none())
        });
        self.wait_until("every byte is clean", || {
            self.pool.poll();
            let stats = self.pool.stats();
            stats.live == 0 && stats.clean_bytes() == stats.committed_bytes
        });
        assert_eq!(self.pool.stats().reserved_bytes, 0);
    }

    fn wait_until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done() {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.pool.stats());
            std::thread::yield_now();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks until the tenant's queue has reached the epoch.
fn finish(tenant: &mut Tenant, entries: &[Entry]) -> Result<(), WaitFailure> {
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut wait = tenant.wait(entries)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match tenant.poll_wait(&mut wait, &mut context) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park_timeout(deadline - Instant::now()),
        }
    }
}

fn reserve(tenant: &mut Tenant, ask: &Ask<'_>) -> ReservationHandle {
    match tenant.acquire(POOL, ask).unwrap() {
        Answer::Ready { reservation, .. } | Answer::AfterWait { reservation, .. } => reservation,
        other => panic!("{other:?}"),
    }
}

fn whole(reservation: ReservationHandle, len: u64) -> Range {
    Range { memory: Memory::Reserved(reservation), offset: 0, len }
}

#[test]
fn a_budget_counts_what_is_still_waited_for() {
    let host = host();
    let mut tenant = host.tenant(SLAB / 2);
    let queue = tenant.open_queue().unwrap();
    host.tracker.advance(host.axis, 0).unwrap();
    tenant.lend_axis(host.axis, 1);
    let held_up = [Entry::new(host.axis, 1)];
    // A queue that waits for the host, and bytes that die there.
    let epoch = tenant.barrier(queue, &held_up).unwrap();
    let death = [Entry::new(tenant.axis_of(queue).unwrap(), epoch)];
    let first = reserve(&mut tenant, &Ask::new(SLAB / 2).or_grow());
    tenant.release(POOL, first, Returned::After(&death)).unwrap();
    assert_eq!(tenant.charged(), (SLAB / 2, SLAB / 2));
    let more = tenant.acquire(POOL, &Ask::new(1).or_grow()).unwrap();
    assert!(matches!(more, Answer::OverBudget { .. }), "{more:?}");
    // The same bytes again cost nothing more.
    let again = tenant.acquire(POOL, &Ask::new(SLAB / 2).after(&death)).unwrap();
    assert!(
        matches!(again, Answer::Ready { origin: Origin::Reused(ReuseProof::Dominance), .. }),
        "{again:?}"
    );
    assert_eq!(tenant.charged().0, SLAB / 2);
    host.tracker.advance(host.axis, 1).unwrap();
    drop(tenant);
    host.assert_empty();
}

#[test]
fn small_requests_are_charged_what_they_take() {
    let host = host();
    let mut tenant = host.tenant(SLAB / 4);
    let mut count = 0;
    while let Answer::Ready { .. } = tenant.acquire(POOL, &Ask::new(1).or_grow()).unwrap() {
        count += 1;
    }
    assert_eq!(count, SLAB / 4 / 256);
    assert!(host.pool.stats().reserved_bytes <= SLAB / 4);
    drop(tenant);
    host.assert_empty();
}

#[test]
fn only_epochs_that_were_submitted_or_told_can_be_named() {
    let host = host();
    let (mut a, mut b) = (host.tenant(SLAB), host.tenant(SLAB));
    let (qa, qb) = (a.open_queue().unwrap(), b.open_queue().unwrap());
    let theirs = a.axis_of(qa).unwrap();
    let epoch = a.barrier(qa, &[]).unwrap();
    finish(&mut a, &[Entry::new(theirs, epoch)]).unwrap();
    let own = b.axis_of(qb).unwrap();
    for entry in [
        Entry::new(theirs, epoch),
        Entry::new(theirs, u64::MAX),
        Entry::new(own, 1),
        Entry::new(host.axis, 1),
        Entry::new(Axis::from_bits(u64::MAX), 1),
    ] {
        let refused = |result: Result<(), TenantError>| {
            assert!(matches!(result, Err(TenantError::NotYours(e)) if e == entry), "{result:?}");
        };
        refused(b.barrier(qb, &[entry]).map(drop));
        refused(b.acquire(POOL, &Ask::new(64).after(&[entry]).or_grow()).map(drop));
        refused(b.alloca(qb, POOL, &Ask::new(64).after(&[entry]).or_grow()).map(drop));
        let reservation = reserve(&mut b, &Ask::new(64).or_grow());
        refused(b.release(POOL, reservation, Returned::After(&[entry])));
        b.release(POOL, reservation, Returned::Idle).unwrap();
    }
    assert_eq!(b.reached(theirs), 0, "others' axes tell nothing");
    let unsorted = [Entry::new(own, 1), Entry::new(own, 1)];
    assert!(matches!(b.barrier(qb, &unsorted), Err(TenantError::InvalidFrontier(_))));
    let huge: Vec<_> = (0..300).map(|i| Entry::new(Axis::host(i), 1)).collect();
    assert!(matches!(b.barrier(qb, &huge), Err(TenantError::InvalidFrontier(_))));
}

/// A tenant that says its bytes are idle, though its queue is to write them later.
#[test]
fn a_release_counts_as_after_all_uses() {
    let host = host();
    let (mut a, mut b) = (host.tenant(SLAB), host.tenant(SLAB));
    let (qa, qb) = (a.open_queue().unwrap(), b.open_queue().unwrap());
    a.lend_axis(host.axis, 1);
    let bytes = reserve(&mut a, &Ask::new(SLAB).or_grow());
    a.fill(qa, whole(bytes, SLAB), 0xaa, &[Entry::new(host.axis, 1)]).unwrap();
    a.release(POOL, bytes, Returned::Idle).unwrap();
    // Nothing for the other before the fill is over, and nothing that makes it wait for it.
    let ask = Ask::new(SLAB).or_wait().or_grow();
    let early = b.acquire(POOL, &ask).unwrap();
    assert!(matches!(early, Answer::Exhausted { .. }), "{early:?}");
    let stats = host.pool.stats();
    assert_eq!(stats.pending_bytes, SLAB, "given back as it was: {stats:?}");

    // In queue order it waits without being told for whom, and then reads zeros.
    let (buffer, _) = b.alloca(qb, POOL, &ask).unwrap();
    assert_eq!(b.status(buffer).unwrap(), BufferState::Waiting);
    let range = Range { memory: Memory::Transient(buffer), offset: SLAB - 8, len: 8 };
    let readback = b.read(qb, range, &[]).unwrap();
    let done = [Entry::new(b.axis_of(qb).unwrap(), b.epoch_of(readback).unwrap())];
    host.tracker.advance(host.axis, 1).unwrap();
    finish(&mut b, &done).unwrap();
    assert_eq!(b.take(readback).unwrap().unwrap(), [0; 8]);
    assert_eq!(b.take(readback).unwrap(), None, "taken");
    drop((a, b));
    host.assert_empty();
}

/// A claim gets bytes early; using them waits for what was claimed.
#[test]
fn a_use_waits_for_what_was_counted_on() {
    let host = host();
    let mut tenant = host.tenant(SLAB);
    tenant.lend_axis(host.axis, 1);
    let queue = tenant.open_queue().unwrap();
    let axis = tenant.axis_of(queue).unwrap();
    // The host's own work holds the bytes until host@1.
    let Acquire::Ready { reservation, .. } =
        host.pool.acquire(&Request::new(SLAB).or_grow()).unwrap()
    else {
        panic!("room for all");
    };
    let death = Frontier::from_entry(host.axis, 1);
    host.pool.release(reservation, Death::After(death.as_ref())).unwrap();
    let claim = [Entry::new(host.axis, 1)];
    let bytes = reserve(&mut tenant, &Ask::new(SLAB).after(&claim));
    // It says that it waits for nothing.
    let epoch = tenant.fill(queue, whole(bytes, SLAB), 1, &[]).unwrap();
    let second = tenant.barrier(queue, &[]).unwrap();
    assert_eq!(host.tracker.reached(axis), 0);
    // It says that the bytes are idle, and leaves: they still die after host@1.
    tenant.release(POOL, bytes, Returned::Idle).unwrap();
    drop(tenant);
    let other = host.pool.acquire(&Request::new(1)).unwrap();
    assert!(matches!(other, Acquire::Exhausted { .. }), "{other:?}");
    assert!(host.tracker.reached(axis) < epoch.min(second));
    host.tracker.advance(host.axis, 1).unwrap();
    host.assert_empty();
}

#[test]
fn an_unused_reservation_goes_back_as_if_never_made() {
    let host = host();
    let mut tenant = host.tenant(SLAB);
    tenant.lend_axis(host.axis, 1);
    let Acquire::Ready { reservation, .. } =
        host.pool.acquire(&Request::new(SLAB).or_grow()).unwrap()
    else {
        panic!("room for all");
    };
    let death = Frontier::from_entry(host.axis, 1);
    host.pool.release(reservation, Death::After(death.as_ref())).unwrap();
    let waiting = tenant.acquire(POOL, &Ask::new(SLAB).or_wait()).unwrap();
    assert!(matches!(&waiting, Answer::AfterWait { wait, .. } if *wait == death), "{waiting:?}");
    drop(tenant);
    let stats = host.pool.stats();
    assert_eq!((stats.live, stats.pending_bytes), (0, SLAB));
    host.tracker.advance(host.axis, 1).unwrap();
    host.assert_empty();
}

#[test]
fn unknown_deaths_are_the_tenants_own_loss() {
    let host = host();
    let mut tenant = host.tenant(SLAB);
    let bytes = reserve(&mut tenant, &Ask::new(1024).or_grow());
    tenant.release(POOL, bytes, Returned::Unknown).unwrap();
    let stats = tenant.stats(POOL).unwrap();
    assert_eq!((stats.tainted_bytes, stats.reserved_bytes, stats.live), (1024, 0, 0));
    assert_eq!(tenant.charged().0, 1024);
    assert_eq!(host.pool.stats().tainted_bytes, 0, "the host's pool is not tainted");
    tenant.quiesce();
    assert_eq!((tenant.charged().0, tenant.stats(POOL).unwrap().tainted_bytes), (0, 0));
    let bytes = reserve(&mut tenant, &Ask::new(1024).or_grow());
    tenant.release(POOL, bytes, Returned::Unknown).unwrap();
    drop(tenant);
    host.assert_empty();
}

#[test]
fn a_tenant_that_ends_in_the_middle_leaves_nothing() {
    let host = host();
    for round in 0..20 {
        let mut tenant = host.tenant(SLAB);
        tenant.lend_axis(host.axis, round + 1);
        let [q1, q2] = [tenant.open_queue().unwrap(), tenant.open_queue().unwrap()];
        let wait = [Entry::new(host.axis, round + 1)];
        let (a, _) = tenant.alloca(q1, POOL, &Ask::new(SLAB / 2).after(&wait).or_grow()).unwrap();
        let (b, _) = tenant.alloca(q2, POOL, &Ask::new(SLAB / 2).or_grow()).unwrap();
        // No memory is left: it waits in line, and what follows with it.
        let (c, _) = tenant.alloca(q2, POOL, &Ask::new(SLAB / 2).or_grow()).unwrap();
        let range = |buffer| Range { memory: Memory::Transient(buffer), offset: 0, len: 64 };
        tenant.copy(q1, range(b), range(a), &[]).unwrap();
        tenant.fill(q1, range(c), 3, &[]).unwrap();
        let readback = tenant.read(q2, range(c), &[]).unwrap();
        assert_eq!(tenant.take(readback).unwrap(), None);
        if round % 2 == 0 {
            tenant.dealloca(q1, a, &[]).unwrap();
        }
        if round % 3 == 0 {
            tenant.dealloca(q1, c, &[]).unwrap();
        }
        drop(tenant);
        host.tracker.advance(host.axis, round + 1).unwrap();
        host.assert_empty();
    }
    host.wait_until("queues are used again", || host.device.resting_queues() <= 4);
}

#[test]
fn handles_are_ones_own() {
    let host = host();
    let (mut a, mut b) = (host.tenant(SLAB), host.tenant(SLAB));
    let (qa, qb) = (a.open_queue().unwrap(), b.open_queue().unwrap());
    let reservation = reserve(&mut a, &Ask::new(64).or_grow());
    let (buffer, _) = a.alloca(qa, POOL, &Ask::new(64).or_grow()).unwrap();
    let unknown = |result: Result<(), TenantError>| {
        assert!(matches!(result, Err(TenantError::UnknownHandle)), "{result:?}");
    };
    unknown(b.release(POOL, reservation, Returned::Idle));
    unknown(b.cancel(POOL, reservation));
    unknown(b.dealloca(qb, buffer, &[]).map(drop));
    unknown(b.fill(qb, whole(reservation, 64), 1, &[]).map(drop));
    unknown(b.acquire(PoolHandle(1), &Ask::new(1)).map(drop));
    unknown(b.barrier(QueueHandle(9), &[]).map(drop));
    unknown(b.take(ReadbackHandle(1)).map(drop));
    a.release(POOL, reservation, Returned::Idle).unwrap();
    unknown(a.release(POOL, reservation, Returned::Idle));
    unknown(a.cancel(POOL, reservation));
    a.dealloca(qa, buffer, &[]).unwrap();
    unknown(a.dealloca(qa, buffer, &[]).map(drop));
}

#[test]
fn ranges_are_checked() {
    let host = host();
    let mut tenant = host.tenant(SLAB);
    let queue = tenant.open_queue().unwrap();
    let bytes = reserve(&mut tenant, &Ask::new(64).or_grow());
    let other = reserve(&mut tenant, &Ask::new(64).or_grow());
    let range = |offset, len| Range { memory: Memory::Reserved(bytes), offset, len };
    let invalid = |result: Result<Epoch, TenantError>| {
        assert!(matches!(result, Err(TenantError::InvalidRange)), "{result:?}");
    };
    invalid(tenant.fill(queue, range(0, 65), 0, &[]));
    invalid(tenant.fill(queue, range(u64::MAX, 2), 0, &[]));
    invalid(tenant.fill(queue, range(65, 0), 0, &[]));
    invalid(tenant.write(queue, range(0, 8), vec![0; 9], &[]));
    invalid(tenant.copy(queue, range(0, 8), range(7, 8), &[]));
    invalid(tenant.copy(queue, range(0, 8), whole(other, 9), &[]));
    tenant.copy(queue, range(0, 8), range(8, 8), &[]).unwrap();
    for ask in
        [Ask::new(0), Ask { alignment: 3, ..Ask::new(1) }, Ask { alignment: 0, ..Ask::new(1) }]
    {
        let result = tenant.acquire(POOL, &ask.or_grow());
        assert!(matches!(result, Err(TenantError::Pool(_))), "{result:?}");
    }
    let huge = tenant.acquire(POOL, &Ask { alignment: 1 << 63, ..Ask::new(u64::MAX) }.or_grow());
    assert!(matches!(huge, Err(TenantError::Pool(PoolError::TooLarge { .. }))), "{huge:?}");
    let huge = tenant.alloca(queue, POOL, &Ask::new(SLAB + 1).or_grow());
    assert!(matches!(huge, Err(TenantError::Pool(PoolError::TooLarge { .. }))), "{huge:?}");
}

#[test]
fn counts_are_limited() {
    let host = host();
    let limits = TenantLimits {
        reservations: 2,
        buffers: 1,
        queues: 1,
        operations: 3,
        transfer_bytes: 16,
        ..TenantLimits::default()
    };
    let mut tenant = Tenant::new(&host.device, limits).unwrap();
    tenant.lend_axis(host.axis, 1);
    let queue = tenant.open_queue().unwrap();
    let limited = |result: Result<(), TenantError>, limit| {
        assert!(matches!(result, Err(TenantError::Limit(l)) if l == limit), "{result:?}");
    };
    limited(tenant.open_queue().map(drop), Limit::Queues);
    let bytes = reserve(&mut tenant, &Ask::new(64).or_grow());
    let held_up = [Entry::new(host.axis, 1)];
    limited(
        tenant.write(queue, whole(bytes, 17), vec![0; 17], &held_up).map(drop),
        Limit::TransferBytes,
    );
    tenant.write(queue, whole(bytes, 16), vec![0; 16], &held_up).unwrap();
    limited(tenant.read(queue, whole(bytes, 1), &[]).map(drop), Limit::TransferBytes);
    tenant.alloca(queue, POOL, &Ask::new(64).or_grow()).unwrap();
    limited(tenant.acquire(POOL, &Ask::new(64)).map(drop), Limit::Reservations);
    limited(tenant.alloca(queue, POOL, &Ask::new(64)).map(drop), Limit::Buffers);
    tenant.barrier(queue, &[]).unwrap();
    limited(tenant.barrier(queue, &[]).map(drop), Limit::Operations);
    host.tracker.advance(host.axis, 1).unwrap();
}

#[test]
fn a_lost_host_axis_fails_the_queue_that_waits_for_it() {
    let host = host();
    let (mut a, mut b) = (host.tenant(SLAB), host.tenant(SLAB));
    let (qa, qb) = (a.open_queue().unwrap(), b.open_queue().unwrap());
    a.lend_axis(host.axis, 1);
    let epoch = a.barrier(qa, &[Entry::new(host.axis, 1)]).unwrap();
    let own = a.axis_of(qa).unwrap();
    host.tracker.fail_axis(host.axis, Failure::message("device lost")).unwrap();
    let failed = finish(&mut a, &[Entry::new(own, epoch)]);
    assert!(
        matches!(&failed, Err(WaitFailure::Ended(why)) if why.to_string().contains("device lost")),
        "{failed:?}"
    );
    host.wait_until("the queue refuses work", || {
        matches!(a.barrier(qa, &[]), Err(TenantError::Failed { .. }))
    });
    let epoch = b.barrier(qb, &[]).unwrap();
    let theirs = b.axis_of(qb).unwrap();
    finish(&mut b, &[Entry::new(theirs, epoch)]).unwrap();
    drop((a, b));
    assert_eq!(host.device.resting_queues(), 1, "a failed queue is not lent again");
}

#[test]
fn a_tenants_pool_takes_back_only_what_it_gave() {
    let host = host();
    let [one, other] = [0, 1].map(|_| host.tenant(SLAB));
    let take = |pool: &dyn Pool| match pool.acquire(&Request::new(64).or_grow()).unwrap() {
        Acquire::Ready { reservation, .. } => reservation,
        answer => panic!("{answer:?}"),
    };
    let [pool, others] = [&one, &other].map(|tenant| tenant.pool(POOL).unwrap());
    // Both are the first of their tenant, so they have the same key.
    let (ours, theirs, hosts) = (take(pool), take(others), take(&*host.pool));
    let refused = pool.release(theirs, Death::Idle).unwrap_err().reservation;
    let hosts = pool.cancel(hosts).unwrap_err().reservation;
    assert_eq!((pool.stats().live, others.stats().live, host.pool.stats().live), (1, 1, 3));
    pool.release(ours, Death::Idle).unwrap();
    others.release(refused, Death::Idle).unwrap();
    host.pool.cancel(hosts).unwrap();
    drop((one, other));
    host.assert_empty();
}

/// What two tenants in the same case must agree in.
fn said(answer: Result<Answer, TenantError>, held: &mut Vec<ReservationHandle>) -> String {
    match answer {
        Ok(Answer::Ready { reservation, place, origin }) => {
            held.push(reservation);
            format!("{}+{} {origin:?}", place.offset, place.size)
        }
        Ok(Answer::AfterWait { reservation, place, wait }) => {
            held.push(reservation);
            format!("{}+{} after {wait:?}", place.offset, place.size)
        }
        Ok(Answer::Exhausted { growth_required, .. }) => format!("exhausted {growth_required}"),
        Ok(Answer::OverBudget { .. }) => "over budget".to_owned(),
        Err(error) => error.to_string(),
    }
}

proptest! {
    /// An exchange answers, charges and counts as a release and an acquire do, also when it is refused.
    #[test]
    fn an_exchange_is_a_release_and_an_acquire(
        steps in prop::collection::vec(
            (
                (prop_oneof![1_u64..SLAB / 4, 0_u64..2 * SLAB], any::<(bool, bool)>()),
                (0_usize..9, 0_u64..5, any::<bool>()),
                prop_oneof![3 => Just(None), 1 => (0_u64..4).prop_map(Some)],
            ),
            1..60,
        ),
        budget in prop_oneof![Just(SLAB), Just(SLAB / 2)],
    ) {
        let hosts = [host(), host()];
        let mut tenants = hosts.each_ref().map(|host| {
            let mut tenant = host.tenant(budget);
            tenant.lend_axis(host.axis, 3);
            tenant
        });
        let mut held = [Vec::new(), Vec::new()];
        for ((size, (may_wait, may_grow)), (which, epoch, knows), reached) in steps {
            // An epoch of 0 is none, and one of 4 is not the tenants' to say.
            let entries = hosts.each_ref().map(|host| [Entry::new(host.axis, epoch)]);
            let death = |of: usize| match epoch {
                0 => Returned::Idle,
                _ => Returned::After(&entries[of]),
            };
            let ask = |of: usize| {
                let after: &[Entry] = if knows && epoch > 0 { &entries[of] } else { &[] };
                Ask { may_wait, may_grow, ..Ask::new(size).after(after) }
            };
            // A place in the list, or one more: an acquire only. The last but one is a handle that is nobody's.
            let which = which % (held[0].len() + 2);
            let given = |of: usize, held: &mut [Vec<_>; 2]| match which.checked_sub(held[of].len()) {
                None => Some(held[of].swap_remove(which)),
                Some(0) => None,
                Some(_) => Some(ReservationHandle::from_bits(u64::MAX)),
            };
            let [one, two] = &mut tenants;
            let first = match given(0, &mut held) {
                Some(reservation) => match one.release(POOL, reservation, death(0)) {
                    Ok(()) => said(one.acquire(POOL, &ask(0)), &mut held[0]),
                    Err(error) => {
                        held[0].push(reservation);
                        error.to_string()
                    }
                },
                None => said(one.acquire(POOL, &ask(0)), &mut held[0]),
            };
            let second = match given(1, &mut held) {
                Some(reservation) => match two.exchange(POOL, reservation, death(1), &ask(1)) {
                    Ok(answer) => {
                        // It names nothing any more.
                        prop_assert!(matches!(two.place_of(reservation), Err(TenantError::UnknownHandle)));
                        said(answer.answer(), &mut held[1])
                    }
                    Err(error) => {
                        held[1].push(reservation);
                        error.to_string()
                    }
                },
                None => said(two.acquire(POOL, &ask(1)), &mut held[1]),
            };
            prop_assert_eq!(first, second);
            held.iter_mut().for_each(|held| held.retain(|handle| handle.to_bits() != u64::MAX));
            prop_assert_eq!(one.charged(), two.charged());
            prop_assert_eq!(one.stats(POOL).unwrap(), two.stats(POOL).unwrap());
            prop_assert_eq!(hosts[0].pool.stats(), hosts[1].pool.stats());
            if let Some(epoch) = reached {
                for host in &hosts {
                    // What has been reached already is refused.
                    let _ = host.tracker.advance(host.axis, epoch);
                }
            }
        }
        for host in &hosts {
            let _ = host.tracker.advance(host.axis, 4);
        }
        drop(tenants);
        hosts.iter().for_each(Host::assert_empty);
    }
}

/// A pool that takes nothing back.
struct Refusing(Arc<TlsfPool>);

impl Pool for Refusing {
    fn id(&self) -> PoolId {
        self.0.id()
    }

    fn properties(&self) -> PoolProperties {
        self.0.properties()
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        self.0.acquire(request)
    }

    fn release(&self, reservation: Reservation, _: Death<'_>) -> Result<(), ReleaseError> {
        Err(ReleaseError::other_pool(reservation))
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        Err(ReleaseError::other_pool(reservation))
    }

    fn poll(&self) {}

    fn quiesce(&self) {}

    fn trim(&self, _: Trim) -> Result<u64, PoolError> {
        Ok(0)
    }

    fn stats(&self) -> PoolStats {
        self.0.stats()
    }

    fn notification(&self) -> &Arc<Notification> {
        self.0.notification()
    }

    fn inspect(&self, _: &mut dyn FnMut(&BlockView<'_>)) {}
}

impl fmt::Debug for Refusing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refusing")
    }
}

#[test]
fn what_a_broken_pool_refuses_stays_charged() {
    let host = host();
    let memory = Arc::new(MmapSlabProvider::builder().build().unwrap());
    let lent = vec![SharedPool::new(Arc::new(Refusing(host.pool.clone())), memory)];
    let device = Device::new(1, host.tracker.clone(), lent);
    let tenant = Tenant::new(&device, TenantLimits::default()).unwrap();
    let pool = tenant.pool(POOL).unwrap();
    let Acquire::Ready { reservation, .. } = pool.acquire(&Request::new(64).or_grow()).unwrap()
    else {
        panic!("an empty pool has room");
    };
    let books = || {
        let stats = pool.stats();
        (stats.reserved_bytes, stats.pending_bytes, stats.live, stats.releases)
    };
    let held = books();
    let place = Place::from(&reservation);
    let unreached = Frontier::from_entry(host.axis, 1);
    // Each time it comes back whole, so it can be offered again, and the books are as before.
    let back = pool.release(reservation, Death::After(unreached.as_ref())).unwrap_err().reservation;
    assert_eq!((Place::from(&back), books()), (place, held));
    let back = pool.cancel(back).unwrap_err().reservation;
    assert_eq!((Place::from(&back), books()), (place, held));
    let back = pool.release(back, Death::Idle).unwrap_err().reservation;
    assert_eq!((Place::from(&back), books()), (place, held));
    // In an exchange there is nobody to offer it to: it stays charged, beside what was got.
    let mut tenant = tenant;
    let first = reserve(&mut tenant, &Ask::new(64));
    let charged = tenant.charged().0;
    let answer = tenant.exchange(POOL, first, Returned::Idle, &Ask::new(64)).unwrap();
    assert!(matches!(answer, Exchanged::Ready { .. }), "{answer:?}");
    assert_eq!((tenant.charged().0, tenant.stats(POOL).unwrap().live), (charged / 2 * 3, 3));
}

#[test]
fn memory_that_cannot_be_mapped_is_an_error_of_its_first_use() {
    let host = host();
    // A provider that has never heard of the pool's slabs.
    let memory = Arc::new(MmapSlabProvider::builder().build().unwrap());
    let lent = vec![SharedPool::new(host.pool.clone(), memory)];
    let device = Device::new(1, host.tracker.clone(), lent);
    let mut tenant = Tenant::new(&device, TenantLimits::default()).unwrap();
    let queue = tenant.open_queue().unwrap();
    let reservation = reserve(&mut tenant, &Ask::new(64).or_grow());
    let used = tenant.fill(queue, whole(reservation, 64), 1, &[]);
    assert!(matches!(used, Err(TenantError::Pool(PoolError::Provider(_)))), "{used:?}");
    // Nothing was submitted, so nothing is waited for.
    tenant.release(POOL, reservation, Returned::Idle).unwrap();
    assert_eq!(host.pool.stats().live, 0);
}

/// What one member has released comes back to the group once it is over, although that member does nothing more.
#[test]
fn a_group_shares_a_budget_and_finds_what_its_members_need_no_more() {
    let host = host();
    let group = TenantGroup::new(SLAB);
    let member = |budget| {
        let limits = TenantLimits { budget, ..TenantLimits::default() };
        Tenant::in_group(&host.device, limits, &group).unwrap()
    };
    let [mut a, mut b] = [member(SLAB), member(2 * SLAB)];
    let never = b.acquire(POOL, &Ask::new(SLAB + 1));
    let told = matches!(never, Err(TenantError::Pool(PoolError::TooLarge { max: SLAB, .. })));
    assert!(told, "the group's budget bounds a member's: {never:?}");
    let most = reserve(&mut a, &Ask::new(SLAB / 4 * 3));
    assert!(matches!(b.acquire(POOL, &Ask::new(SLAB / 2)), Ok(Answer::OverBudget { .. })));
    let few = reserve(&mut b, &Ask::new(SLAB / 4));
    assert_eq!((a.charged().0, b.charged().0, group.charged()), (SLAB / 4 * 3, SLAB / 4, SLAB));

    // Released, but waited for: charged until the queue gets there.
    let queue = a.open_queue().unwrap();
    let host_axis = Axis::host(77);
    host.tracker.register(host_axis).unwrap();
    a.lend_axis(host_axis, 1);
    a.fill(queue, whole(most, 64), 1, &[Entry::new(host_axis, 1)]).unwrap();
    a.release(POOL, most, Returned::Idle).unwrap();
    assert!(matches!(b.acquire(POOL, &Ask::new(SLAB / 2)), Ok(Answer::OverBudget { .. })));
    let done = a.frontier(queue).unwrap();
    host.tracker.advance(host_axis, 1).unwrap();
    strandline_host_native::wait_frontier(&host.tracker, done.as_ref(), None).unwrap();
    let more = reserve(&mut b, &Ask::new(SLAB / 2));
    // Given back unused, nothing is waited for; and who leaves takes nothing along.
    b.cancel(POOL, more).unwrap();
    b.release(POOL, few, Returned::Idle).unwrap();
    assert_eq!(group.charged(), 0);
    let _last = reserve(&mut b, &Ask::new(SLAB));
    drop(b);
    assert_eq!(group.charged(), 0);
    drop(a);
}

#[test]
fn what_a_tenant_can_never_have_is_told_at_once() {
    let host = host();
    let limits = TenantLimits { budget: SLAB / 2, ..TenantLimits::default() };
    let mut tenant = Tenant::new(&host.device, limits).unwrap();
    assert_eq!(tenant.pool(POOL).unwrap().properties().max_request, SLAB / 2);
    let queue = tenant.open_queue().unwrap();
    let too_large = |result: Result<(), TenantError>| match result {
        Err(TenantError::Pool(PoolError::TooLarge { size, max })) => {
            assert_eq!((size, max), (SLAB / 2 + 1, SLAB / 2));
        }
        other => panic!("{other:?}"),
    };
    let ask = Ask::new(SLAB / 2 + 1).or_wait();
    too_large(tenant.acquire(POOL, &ask).map(drop));
    too_large(tenant.alloca(queue, POOL, &ask).map(drop));
    let one = reserve(&mut tenant, &Ask::new(64));
    let answer = tenant.exchange(POOL, one, Returned::Idle, &ask).unwrap();
    too_large(answer.answer().map(drop));
    assert_eq!(tenant.charged().0, 0, "the exchange has released");
}

#[test]
fn a_tenant_is_told_why_its_queues_stand_still() {
    let host = host();
    let mut tenant = Tenant::new(&host.device, TenantLimits::default()).unwrap();
    let queue = tenant.open_queue().unwrap();
    let most = tenant.pool(POOL).unwrap().properties().max_request;
    let all = reserve(&mut tenant, &Ask::new(most));
    let (_, epoch) = tenant.alloca(queue, POOL, &Ask::new(most)).unwrap();
    let (parked, _) = tenant.parked();
    let axis = tenant.axis_of(queue).unwrap();
    assert_eq!((parked.len(), parked[0].size), (1, most));
    assert_eq!(parked[0].at, Entry::new(axis, epoch));
    tenant.release(POOL, all, Returned::Idle).unwrap();
    assert!(tenant.parked().0.is_empty());
}
