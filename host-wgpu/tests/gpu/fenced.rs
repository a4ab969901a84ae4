//! What was freed to die with a device's work is the pools' again once the device is lost: nobody else could use it.

use crate::support::*;
use std::sync::Arc;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost};
use strandline_core::slab::CpuSlabs;
use strandline_core::{Acquire, Axis, Death, Epoch, Frontier, Progress, Request, Tracker};
use strandline_host_wgpu::{
    Command, QueueSet, SliceError, TransientError, Transients, TransientsConfig, UsageClass,
};
use wgpu::BufferUsages;

/// Whether memory that is to die then is free.
fn is_free(tracker: &Tracker, axis: Axis, epoch: Epoch) -> bool {
    tracker.for_memory().is_some_and(|memory| memory.has_reached(axis, epoch))
}

#[test]
fn frames_of_a_lost_device_give_everything_back() {
    // Nobody took the callback of this one, so a submission after the end goes through.
    let gpu = noop();
    let (tracker, axis) = (Tracker::new(4), queue_axis(0, 0));
    let transients =
        Transients::with_axis(&gpu, TransientsConfig::default(), &tracker, axis).unwrap();
    let frame = || -> Result<Epoch, TransientError> {
        let mut frame = transients.frame();
        frame.upload(BufferUsages::VERTEX, &[1; 1000])?;
        frame.create(UsageClass::Exclusive, 5000)?;
        frame.create(UsageClass::Storage, 700)?;
        Ok(frame.submit([]).map_err(|_| SliceError::Ended)?)
    };
    for _ in 0..3 {
        frame().unwrap();
    }
    gpu.device().destroy();
    // The poller may find the loss before the submission: then the frame is refused, and nothing of it remains either.
    let last = frame();
    assert!(gpu.find_loss().is_some());
    until("the axis ends", || tracker.end_of(axis).unwrap().is_some());
    match last {
        Ok(last) => {
            until("the axis is fenced", || is_free(&tracker, axis, last));
            assert!(!tracker.has_reached(axis, last), "it was never done");
        }
        Err(error) => assert!(matches!(error, TransientError::Slice(SliceError::Ended)), "{error}"),
    }
    transients.trim().unwrap();
    let stats = transients.stats();
    assert_eq!((stats.reserved_bytes, stats.committed_bytes), (0, 0), "{stats:?}");
}

#[test]
fn a_lost_queue_gives_back_what_others_are_done_with() {
    for gpu in both() {
        let tracker = Tracker::new(8);
        let gate = Axis::host(9);
        tracker.register(gate).unwrap();
        let (pools, pool) = storage(&gpu, &tracker, 1 << 16, 1);
        let set = QueueSet::new(pools, &tracker);
        let queue = set.open(&gpu, queue_axis(0, 1)).unwrap();
        let (buffer, _) = queue.alloca(pool, &Request::new(256).or_grow()).unwrap();
        let wait = Frontier::from_entry(gate, 1);
        let epoch = queue.submit(wait.as_ref(), [Command::fill(buffer, 7)]).unwrap();

        // Memory of the host, which the work behind the gate still uses: dead with what was to come after that.
        let host = PoolHost::new(Arc::new(CpuSlabs::new(1 << 16)), Arc::new(tracker.clone()));
        let growth = Growth { slab_size: 1 << 16, max_slabs: 1 };
        let cpu =
            TlsfPool::new(host, TlsfPoolConfig { growth, ..TlsfPoolConfig::default() }).unwrap();
        let whole = Request::new(1 << 16).or_grow();
        let Acquire::Ready { reservation, .. } = cpu.acquire(&whole).unwrap() else {
            panic!("the pool is empty");
        };
        let death = Frontier::from_entry(queue.axis(), epoch);
        cpu.release(reservation, Death::After(death.as_ref())).unwrap();

        gpu.device().destroy();
        gpu.find_loss();
        until("the axis ends", || tracker.end_of(queue.axis()).unwrap().is_some());
        until("the work is given up", || queue.waiting() == 0);
        assert!(!is_free(&tracker, queue.axis(), epoch), "the gate's work still uses it");
        assert!(!matches!(cpu.acquire(&whole).unwrap(), Acquire::Ready { .. }));
        tracker.advance(gate, 1).unwrap();
        until("the axis is fenced", || is_free(&tracker, queue.axis(), epoch));
        assert!(matches!(cpu.acquire(&whole).unwrap(), Acquire::Ready { .. }));
        assert!(!tracker.has_reached(queue.axis(), epoch), "it was never done");
    }
}
