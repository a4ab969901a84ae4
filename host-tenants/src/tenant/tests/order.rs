//! What may still use bytes: every use counts, on whatever queue, whatever a pool says of where bytes come from, and
//! however queues and tenants end.

use super::*;

/// Another axis of the host.
fn another(host: &Host, index: u32) -> Axis {
    let axis = Axis::host(index);
    host.tracker.register(axis).unwrap();
    axis
}

/// The host's own work holds all of the pool until `axis` reaches 1.
fn hold_all(pool: &dyn Pool, axis: Axis) {
    let Acquire::Ready { reservation, .. } = pool.acquire(&Request::new(SLAB).or_grow()).unwrap()
    else {
        panic!("room for all");
    };
    let death = Frontier::from_entry(axis, 1);
    pool.release(reservation, Death::After(death.as_ref())).unwrap();
}

/// Nobody who knows nothing may have a byte, also after another's queue has gone on for a while.
fn assert_pending(host: &Host, pool: &dyn Pool) {
    let mut other = Tenant::new(&host.device, TenantLimits::default()).unwrap();
    let queue = other.open_queue().unwrap();
    let axis = other.axis_of(queue).unwrap();
    for _ in 0..50 {
        let epoch = other.barrier(queue, &[]).unwrap();
        finish(&mut other, &[Entry::new(axis, epoch)]).unwrap();
        pool.poll();
        let stats = pool.stats();
        assert_eq!((stats.pending_bytes, stats.tainted_bytes), (SLAB, 0), "{stats:?}");
    }
}

fn buffer(of: BufferHandle, len: u64) -> Range {
    Range { memory: Memory::Transient(of), offset: 0, len }
}

/// The death of the bytes is reached on one axis, and on the other covered by what the tenant says.
#[test]
fn what_was_counted_on_counts_whatever_the_origin() {
    let host = host();
    let second = another(&host, 8);
    let mut a = host.tenant(4 * SLAB);
    a.lend_axis(host.axis, 1);
    a.lend_axis(second, 1);
    let (q0, q1) = (a.open_queue().unwrap(), a.open_queue().unwrap());
    let (x, y) = (a.axis_of(q0).unwrap(), a.axis_of(q1).unwrap());
    let bytes = reserve(&mut a, &Ask::new(SLAB).or_grow());
    let done = a.fill(q1, whole(bytes, SLAB), 1, &[Entry::new(second, 1)]).unwrap();
    let to_come = a.fill(q0, whole(bytes, SLAB), 2, &[Entry::new(host.axis, 1)]).unwrap();
    a.release(POOL, bytes, Returned::Idle).unwrap();
    host.pool.poll();
    host.tracker.advance(second, 1).unwrap();
    finish(&mut a, &[Entry::new(y, done)]).unwrap();
    let bytes = reserve(&mut a, &Ask::new(SLAB).after(&[Entry::new(x, to_come)]).or_wait());
    assert_eq!(a.charged().0, SLAB);
    a.release(POOL, bytes, Returned::Idle).unwrap();
    assert_eq!(a.charged().0, SLAB, "it is still waited for");
    assert_pending(&host, &*host.pool);
    host.tracker.advance(host.axis, 1).unwrap();
    drop(a);
    host.assert_empty();
}

#[test]
fn a_dealloca_waits_for_uses_on_the_queue_of_the_alloca() {
    let host = host();
    let mut a = host.tenant(SLAB);
    a.lend_axis(host.axis, 1);
    let (first, second) = (a.open_queue().unwrap(), a.open_queue().unwrap());
    let (of, _) = a.alloca(first, POOL, &Ask::new(SLAB).or_grow()).unwrap();
    a.fill(first, buffer(of, SLAB), 1, &[Entry::new(host.axis, 1)]).unwrap();
    a.dealloca(second, of, &[]).unwrap();
    assert_pending(&host, &*host.pool);
    host.tracker.advance(host.axis, 1).unwrap();
    drop(a);
    host.assert_empty();
}

#[test]
fn buffers_that_have_ended_are_refused() {
    let host = host();
    let mut a = host.tenant(SLAB);
    let queue = a.open_queue().unwrap();
    let (ended, _) = a.alloca(queue, POOL, &Ask::new(64).or_grow()).unwrap();
    let (other, last) = a.alloca(queue, POOL, &Ask::new(64).or_grow()).unwrap();
    assert_eq!(a.dealloca(queue, ended, &[]).unwrap(), last + 1);
    let unknown = BufferHandle::from_bits(u64::MAX);
    for gone in [ended, unknown] {
        let (gone, other) = (buffer(gone, 8), buffer(other, 8));
        let refused = |what: Result<(), TenantError>| {
            assert!(matches!(what, Err(TenantError::UnknownHandle)), "{what:?}");
        };
        refused(a.fill(queue, gone, 1, &[]).map(drop));
        refused(a.write(queue, gone, vec![0; 8], &[]).map(drop));
        refused(a.read(queue, gone, &[]).map(drop));
        refused(a.copy(queue, gone, other, &[]).map(drop));
        refused(a.copy(queue, other, gone, &[]).map(drop));
        let Memory::Transient(gone) = gone.memory else { panic!("it is a buffer") };
        refused(a.dealloca(queue, gone, &[]).map(drop));
        refused(a.status(gone).map(drop));
        refused(a.size_of(gone).map(drop));
        refused(a.place_of_buffer(gone).map(drop));
    }
    assert_eq!(a.submitted(queue).unwrap(), last + 1, "refusals give out no epochs");
}

/// Two pools. An alloca waits in line for one; another behind it has the other's bytes, which are the host's until what the first
/// waits for. The tenant leaves.
#[test]
fn an_alloca_without_memory_keeps_what_it_waits_for() {
    let host = host();
    let memory = Arc::new(MmapSlabProvider::builder().capacity(SLAB).build().unwrap());
    let second = PoolHost::new(memory.clone(), Arc::new(host.tracker.clone()));
    let config = TlsfPoolConfig { growth: Growth::slabs_of(SLAB), ..TlsfPoolConfig::default() };
    let second = Arc::new(TlsfPool::new(second, config).unwrap());
    // Nothing is worked on in the first.
    let lent = vec![
        SharedPool::new(host.pool.clone(), memory.clone()),
        SharedPool::new(second.clone(), memory),
    ];
    let device = Device::new(1, host.tracker.clone(), lent);
    let mut a = Tenant::new(&device, TenantLimits::default()).unwrap();
    a.lend_axis(host.axis, 1);
    let queue = a.open_queue().unwrap();
    let all = reserve(&mut a, &Ask::new(SLAB).or_grow());
    hold_all(&*second, host.axis);
    let wait = [Entry::new(host.axis, 1)];
    let (first, _) = a.alloca(queue, POOL, &Ask::new(SLAB).after(&wait)).unwrap();
    let (behind, _) = a.alloca(queue, PoolHandle(1), &Ask::new(SLAB)).unwrap();
    assert_eq!(a.status(first).unwrap(), BufferState::Waiting);
    assert!(matches!(a.status(behind).unwrap(), BufferState::Ready(_)));
    drop(a);
    let _ = all;
    let host = Host { device, ..host };
    assert_pending(&host, &*second);
    host.tracker.advance(host.axis, 1).unwrap();
    host.wait_until("the queue runs dry", || {
        second.poll();
        second.stats().clean_bytes() == SLAB
    });
    host.assert_empty();
}

/// Every byte is clean.
fn assert_clean(host: &Host) {
    host.wait_until("every byte is clean", || {
        host.pool.poll();
        let stats = host.pool.stats();
        stats.live == 0 && stats.clean_bytes() == stats.committed_bytes
    });
}

/// One queue fails. On the other, an alloca is in line, and a first use of bytes behind it waits for the one that failed. Half of the
/// pool is in those bytes, and half is held by the last of what is returned: the tenant, the use, the bytes, the rest.
fn behind_a_failed_queue(host: &Host) -> (Tenant, Entry, ReservationHandle, ReservationHandle) {
    let lost = another(host, 8);
    let mut a = host.tenant(4 * SLAB);
    a.lend_axis(host.axis, 1);
    a.lend_axis(lost, 1);
    let (q0, q1) = (a.open_queue().unwrap(), a.open_queue().unwrap());
    let (x, y) = (a.axis_of(q0).unwrap(), a.axis_of(q1).unwrap());
    hold_all(&*host.pool, host.axis);
    let broken = a.barrier(q0, &[Entry::new(lost, 1)]).unwrap();
    let claim = [Entry::new(host.axis, 1)];
    let half = Ask::new(SLAB / 2).after(&claim);
    let (bytes, rest) = (reserve(&mut a, &half), reserve(&mut a, &half));
    a.alloca(q1, POOL, &Ask::new(SLAB / 2)).unwrap();
    let used = a.fill(q1, whole(bytes, SLAB / 2), 1, &[Entry::new(x, broken)]).unwrap();
    host.tracker.fail_axis(lost, Failure::message("device lost")).unwrap();
    host.wait_until("the queues refuse work", || {
        let refused = [q0, q1].map(|queue| a.barrier(queue, &[]));
        refused.iter().all(|answer| matches!(answer, Err(TenantError::Failed { .. })))
    });
    (a, Entry::new(y, used), bytes, rest)
}

#[test]
fn what_comes_before_a_failed_operation_goes_on_and_who_waits_is_told() {
    let host = host();
    let (mut a, used, bytes, rest) = behind_a_failed_queue(&host);
    a.release(POOL, bytes, Returned::Idle).unwrap();
    a.cancel(POOL, rest).unwrap();
    host.tracker.advance(host.axis, 1).unwrap();
    let before = Entry::new(used.axis, used.epoch - 1);
    finish(&mut a, &[before]).unwrap();
    let told = finish(&mut a, &[used]);
    assert!(matches!(told, Err(WaitFailure::Ended(_))), "{told:?}");
    drop(a);
    host.pool.quiesce();
    assert_clean(&host);
}

#[test]
fn operations_of_a_failed_queue_keep_what_they_wait_for() {
    let host = host();
    let (mut a, _, bytes, rest) = behind_a_failed_queue(&host);
    a.release(POOL, bytes, Returned::Idle).unwrap();
    a.cancel(POOL, rest).unwrap();
    drop(a);
    assert_pending(&host, &*host.pool);
    host.tracker.advance(host.axis, 1).unwrap();
    host.pool.poll();
    // Of what was submitted to the queue's worker, that was all there is to wait for; what never got there is for the host to say.
    assert!(host.pool.stats().pending_bytes <= SLAB / 2);
    host.pool.quiesce();
    assert_clean(&host);
}

/// What a failed queue's buffers had comes back with an unknown death. It is charged until the host says that nothing runs.
#[test]
fn an_unknown_death_stays_charged() {
    let host = host();
    let mut a = host.tenant(SLAB);
    a.lend_axis(host.axis, 1);
    let queue = a.open_queue().unwrap();
    let (of, _) = a
        .alloca(queue, POOL, &Ask::new(SLAB).after(&[Entry::new(host.axis, 1)]).or_grow())
        .unwrap();
    assert!(matches!(a.status(of).unwrap(), BufferState::Ready(_)));
    host.tracker.fail_axis(host.axis, Failure::message("device lost")).unwrap();
    host.wait_until("the queue refuses work", || a.barrier(queue, &[]).is_err());
    assert_eq!(host.pool.stats().tainted_bytes, SLAB);
    assert_eq!(a.charged().0, SLAB, "nobody can have them");
    let more = a.acquire(POOL, &Ask::new(64)).unwrap();
    assert!(!matches!(more, Answer::Ready { .. }), "{more:?}");
    host.pool.quiesce();
    a.quiesce();
    assert_eq!(a.charged().0, 0);
    assert!(matches!(a.acquire(POOL, &Ask::new(SLAB)).unwrap(), Answer::Ready { .. }));
    drop(a);
    assert_clean(&host);
}

/// More queues than a block remembers axes.
#[test]
fn uses_on_many_queues_taint_nothing() {
    let host = host();
    for how in 0..4 {
        let gate = Entry::new(host.axis, how + 1);
        let limits = TenantLimits { queues: 12, ..TenantLimits::default() };
        let mut a = Tenant::new(&host.device, limits).unwrap();
        a.lend_axis(gate.axis, gate.epoch);
        let bytes = reserve(&mut a, &Ask::new(SLAB / 2).or_grow());
        let mut of = None;
        for _ in 0..12 {
            let queue = a.open_queue().unwrap();
            let of = *of.get_or_insert_with(|| {
                a.alloca(queue, POOL, &Ask::new(SLAB / 2).or_grow()).unwrap().0
            });
            a.fill(queue, whole(bytes, 64), 1, &[gate]).unwrap();
            a.fill(queue, buffer(of, 64), 1, &[]).unwrap();
        }
        match how {
            0 => a.release(POOL, bytes, Returned::Idle).unwrap(),
            1 => a.cancel(POOL, bytes).unwrap(),
            2 => a.release(POOL, bytes, Returned::Unknown).unwrap(),
            _ => {}
        }
        assert_eq!(a.charged().0, SLAB);
        drop(a);
        assert_pending(&host, &*host.pool);
        host.tracker.advance(gate.axis, gate.epoch).unwrap();
        host.assert_empty();
        assert_eq!(host.pool.stats().tainted, 0);
    }
}

/// Bytes that were clean, got on a claim that was not needed: given back, they wait for what was claimed, and a cancel restores
/// what was.
#[test]
fn a_claim_that_was_not_needed_costs_a_wait() {
    let host = host();
    let mut a = host.tenant(SLAB);
    a.lend_axis(host.axis, 1);
    let claim = [Entry::new(host.axis, 1)];
    for cancels in [true, false] {
        let bytes = reserve(&mut a, &Ask::new(SLAB).after(&claim).or_grow());
        if cancels {
            a.cancel(POOL, bytes).unwrap();
        } else {
            a.release(POOL, bytes, Returned::Idle).unwrap();
        }
        host.pool.poll();
        let pending = if cancels { 0 } else { SLAB };
        assert_eq!((host.pool.stats().pending_bytes, a.charged().0), (pending, pending));
    }
    host.tracker.advance(host.axis, 1).unwrap();
    assert_eq!(a.charged().0, 0);
    drop(a);
    host.assert_empty();
}
