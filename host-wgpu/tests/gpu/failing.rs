//! What fails, fails with its own cause and takes with it what comes after it, and nothing else.

use crate::support::*;
use std::sync::{Arc, mpsc};
use strandline_core::pool_set::Registration;
use strandline_core::{
    Axis, Epoch, Failure, Frontier, FrontierRef, PoolError, Progress, Request, Tracker, WaitError,
};
use strandline_host_wgpu::{
    Command, DeviceLost, Gpu, GpuPools, Queue, QueueError, QueueSet, ReadBack, Timeline, Transient,
    UsageClass, WaitsFor, WgpuSlabProvider,
};

const GATE: Axis = Axis::host(1);
const OTHER: Axis = Axis::host(2);

/// Two queues over one pool of 64 KiB, and two axes of the host.
struct Setup {
    tracker: Tracker,
    set: QueueSet,
    pool: strandline_core::pool::PoolId,
    a: Queue,
    b: Queue,
}

fn setup(gpu: &Gpu) -> Setup {
    let tracker = Tracker::new(16);
    tracker.register(GATE).unwrap();
    tracker.register(OTHER).unwrap();
    let (pools, pool) = storage(gpu, &tracker, 1 << 16, 1);
    let set = QueueSet::new(pools, &tracker);
    let [a, b] = [0, 1].map(|i| set.open(gpu, queue_axis(0, i)).unwrap());
    Setup { tracker, set, pool, a, b }
}

impl Setup {
    fn buffer(&self, queue: &Queue, size: u64) -> Transient {
        queue.alloca(self.pool, &Request::new(size).or_grow()).unwrap().0
    }
}

fn after(axis: Axis, epoch: Epoch) -> Frontier {
    Frontier::from_entry(axis, epoch)
}

/// The end of a read, which comes.
fn end(read: ReadBack) -> Result<Vec<u8>, Failure> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || drop(tell.send(read.wait())));
    told.recv_timeout(PATIENCE).expect("the read never ends")
}

/// How the wait for an epoch ends, which it does.
fn reached(tracker: &Tracker, axis: Axis, epoch: Epoch) -> Result<(), Failure> {
    let (tell, told) = mpsc::channel();
    tracker.wait(after(axis, epoch).as_ref(), move |end| drop(tell.send(end))).unwrap();
    match told.recv_timeout(PATIENCE).expect("the epoch never ends") {
        Ok(()) => Ok(()),
        Err(WaitError::Failed { failure, .. }) => Err(failure),
        Err(error) => panic!("{error}"),
    }
}

fn is_lost(failure: &Failure) -> bool {
    failure.get_ref().downcast_ref::<DeviceLost>().is_some()
}

/// ```text
///   b:  1 alloca   2 write   3 read, after gate@1   4 dealloca, after a@1       a:  1 nothing, after other@1
/// ```
/// The other axis fails, so the dealloca does; the read waits for the gate still.
#[test]
fn what_is_read_before_a_dealloca_that_fails_is_read() {
    for gpu in both() {
        for directly in [false, true] {
            let s = setup(&gpu);
            let at = s.a.submit(after(OTHER, 1).as_ref(), []).unwrap();
            let buffer = s.buffer(&s.b, 256);
            s.b.submit(FrontierRef::EMPTY, [Command::write(buffer, [7; 256])]).unwrap();
            let read = s.b.read(after(GATE, 1).as_ref(), buffer).unwrap();
            let wait = if directly { after(OTHER, 1) } else { after(s.a.axis(), at) };
            let last = s.b.dealloca(buffer, wait.as_ref()).unwrap();
            s.tracker.fail_axis(OTHER, Failure::message("lost")).unwrap();
            assert_eq!(reached(&s.tracker, s.a.axis(), at).unwrap_err().to_string(), "lost");
            assert!(matches!(s.b.submit(FrontierRef::EMPTY, []), Err(QueueError::Failed(_))));
            assert!(s.tracker.end_of(s.b.axis()).unwrap().is_none(), "the read is yet to come");
            s.tracker.advance(GATE, 1).unwrap();
            assert_eq!(end(read).unwrap(), [7; 256]);
            assert!(reached(&s.tracker, s.b.axis(), last - 1).is_ok());
            assert_eq!(
                reached(&s.tracker, s.b.axis(), last).unwrap_err().to_string(),
                "lost",
                "only what comes after fails"
            );
            assert_eq!((s.b.waiting(), s.b.slice_of(buffer).is_none()), (0, true));
        }
    }
}

#[test]
fn who_depends_on_what_comes_before_a_failure_goes_on() {
    for gpu in both() {
        let s = setup(&gpu);
        let buffer = s.buffer(&s.a, 256);
        let written = s.a.submit(after(GATE, 1).as_ref(), [Command::write(buffer, [3; 256])]);
        let written = after(s.a.axis(), written.unwrap());
        let fails = s.a.submit(after(OTHER, 1).as_ref(), []).unwrap();
        let read = s.b.read(written.as_ref(), buffer).unwrap();
        let epoch = s.b.frontier().get(s.b.axis());
        let behind = s.b.submit(after(s.a.axis(), fails).as_ref(), []).unwrap();
        s.tracker.fail_axis(OTHER, Failure::message("the other")).unwrap();
        s.tracker.advance(GATE, 1).unwrap();
        assert_eq!(end(read).unwrap(), [3; 256]);
        assert!(reached(&s.tracker, s.b.axis(), epoch).is_ok());
        assert_eq!(reached(&s.tracker, s.b.axis(), behind).unwrap_err().to_string(), "the other");
        assert!(reached(&s.tracker, s.a.axis(), fails - 1).is_ok());
        assert!(reached(&s.tracker, s.a.axis(), fails).is_err());
    }
}

#[test]
fn a_cause_that_reaches_further_back_is_that_of_what_it_reaches() {
    let s = setup(&noop());
    let buffer = s.buffer(&s.a, 256);
    s.a.submit(FrontierRef::EMPTY, [Command::write(buffer, [3; 256])]).unwrap();
    let first = s.a.read(after(GATE, 1).as_ref(), buffer).unwrap();
    // By way of another queue, so that it is known before its turn comes.
    let other = s.b.submit(after(OTHER, 1).as_ref(), []).unwrap();
    let second = s.a.read(after(s.b.axis(), other).as_ref(), buffer).unwrap();
    s.tracker.fail_axis(OTHER, Failure::message("the other")).unwrap();
    assert_eq!(end(second).unwrap_err().to_string(), "the other");
    s.tracker.fail_axis(GATE, Failure::message("the gate")).unwrap();
    assert_eq!(end(first).unwrap_err().to_string(), "the gate");
    let last = s.a.frontier().get(s.a.axis());
    assert_eq!(reached(&s.tracker, s.a.axis(), last - 1).unwrap_err().to_string(), "the gate");
}

#[test]
fn a_recording_that_is_wrong_takes_nothing_with_it_that_comes_before() {
    for gpu in both() {
        for panics in [false, true] {
            let s = setup(&gpu);
            let buffer = s.buffer(&s.a, 1024);
            let wrong = Command::encode([buffer.into()], move |encoder, slices| {
                assert!(!panics, "the program's own affair (expected)");
                let (buffer, offset, _) = slices[0].parts();
                // wgpu does not copy within a buffer.
                encoder.copy_buffer_to_buffer(buffer, offset, buffer, offset + 512, 256);
            });
            // Held, so that all could go out together.
            let opened = after(GATE, 1);
            s.a.submit(opened.as_ref(), [Command::write(buffer, [5; 1024])]).unwrap();
            let before = s.a.read(FrontierRef::EMPTY, buffer).unwrap();
            let at = s.a.submit(FrontierRef::EMPTY, [Command::fill(buffer, 1), wrong]).unwrap();
            let behind = s.a.read(FrontierRef::EMPTY, buffer).unwrap();
            s.tracker.advance(GATE, 1).unwrap();
            assert_eq!(end(before).unwrap(), [5; 1024], "{gpu:?}");
            let cause = end(behind).unwrap_err().to_string();
            let said = if panics { "panicked" } else { "cannot be the same buffer" };
            assert!(cause.contains(said), "{cause}");
            assert!(reached(&s.tracker, s.a.axis(), at - 1).is_ok());
            assert_eq!(reached(&s.tracker, s.a.axis(), at).unwrap_err().to_string(), cause);
            let staging = s.set.staging_stats(&gpu).unwrap();
            assert_eq!(staging.readback.live, 0, "its chunk is free again");
        }
    }
}

#[test]
fn use_after_dealloca_is_refused_at_the_call_and_the_queue_goes_on() {
    for gpu in both() {
        for wait_first in [false, true] {
            let s = setup(&gpu);
            let buffer = s.buffer(&s.a, 256);
            s.a.submit(FrontierRef::EMPTY, [Command::write(buffer, [1; 256])]).unwrap();
            let freed = s.a.dealloca(buffer, FrontierRef::EMPTY).unwrap();
            if wait_first {
                s.a.wait(freed).unwrap();
            }
            for queue in [&s.a, &s.b] {
                let used = queue.submit(FrontierRef::EMPTY, [Command::fill(buffer, 9)]);
                assert!(
                    matches!(used, Err(QueueError::UnknownBuffer(id)) if id == buffer.id()),
                    "{used:?}"
                );
                assert!(queue.read(FrontierRef::EMPTY, buffer).is_err());
            }
            let next = s.a.submit(FrontierRef::EMPTY, []).unwrap();
            assert_eq!(next, freed + 1, "nothing was taken");
            s.a.wait(next).unwrap();
        }
    }
}

#[test]
fn a_use_that_its_dealloca_waits_for_may_come_later() {
    let s = setup(&noop());
    let buffer = s.buffer(&s.a, 256);
    s.a.submit(FrontierRef::EMPTY, [Command::write(buffer, [8; 256])]).unwrap();
    let written = s.a.frontier();
    // What b does first is yet to be submitted.
    let freed = s.a.dealloca(buffer, after(s.b.axis(), 1).as_ref()).unwrap();
    let read = s.b.read(written.as_ref(), buffer).unwrap();
    assert!(matches!(s.b.read(written.as_ref(), buffer), Err(QueueError::UnknownBuffer(_))));
    assert_eq!(end(read).unwrap(), [8; 256]);
    s.a.wait(freed).unwrap();
    assert_eq!(s.set.pools().set().stats().pools.reserved_bytes, 0);
}

#[test]
fn a_use_that_its_dealloca_does_not_cover_fails_and_stands_not_still() {
    let s = setup(&noop());
    let buffer = s.buffer(&s.a, 256);
    let written = s.a.frontier();
    // b waits for the gate; the dealloca does not wait for b.
    let wait = [GATE, s.a.axis()].map(|axis| strandline_core::Entry::new(axis, 1));
    let wait = Frontier::from_entries(wait).unwrap();
    let used = s.b.submit(wait.as_ref(), [Command::write(buffer, [1; 256])]).unwrap();
    let freed = s.a.dealloca(buffer, written.as_ref()).unwrap();
    s.a.wait(freed).unwrap();
    s.tracker.advance(GATE, 1).unwrap();
    let cause = reached(&s.tracker, s.b.axis(), used).unwrap_err();
    let cause = cause.get_ref().downcast_ref::<QueueError>();
    assert!(matches!(cause, Some(QueueError::UnknownBuffer(id)) if *id == buffer.id()));
    assert_eq!(s.b.waiting(), 0);
}

#[test]
fn what_uses_a_buffer_that_is_given_up_fails() {
    let s = setup(&noop());
    let [full, given_up] = [1 << 16, 256].map(|size| s.buffer(&s.a, size));
    let read = s.a.read(FrontierRef::EMPTY, given_up).unwrap();
    assert_eq!(s.set.parked().len(), 1);
    s.set.abandon(given_up).unwrap();
    assert_eq!(end(read).unwrap_err().to_string(), "given up by the host");
    // One that has memory, held by the gate.
    let held = s.b.submit(after(GATE, 1).as_ref(), [Command::fill(full, 1)]).unwrap();
    s.set.abandon(full).unwrap();
    assert!(s.b.slice_of(full).is_none());
    s.tracker.advance(GATE, 1).unwrap();
    let cause = reached(&s.tracker, s.b.axis(), held).unwrap_err();
    assert_eq!(cause.to_string(), "given up by the host");
}

#[test]
fn what_can_never_fit_is_told_at_once() {
    let gpu = noop();
    let tracker = Tracker::new(8);
    let provider = Arc::new(WgpuSlabProvider::new(&gpu, UsageClass::Storage).capacity(1 << 20));
    use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
    let host = strandline_core::pool::PoolHost::new(provider.clone(), Arc::new(tracker.clone()));
    let pool = Arc::new(TlsfPool::new(host, TlsfPoolConfig::default()).unwrap());
    let mut pools = GpuPools::new();
    let id = pools.add(pool, provider, Registration::new()).unwrap();
    let queue = QueueSet::new(pools, &tracker).open(&gpu, queue_axis(0, 0)).unwrap();
    let refused = queue.alloca(id, &Request::new(8 << 20).or_grow());
    use strandline_core::QueueError::Pool;
    let max = 1 << 20;
    assert!(
        matches!(
            refused,
            Err(QueueError::Queue(Pool(PoolError::TooLarge { size, max: most })))
                if (size, most) == (8 << 20, max)
        ),
        "{refused:?}"
    );
    let (fits, _) = queue.alloca(id, &Request::new(max).or_grow()).unwrap();
    queue.submit(FrontierRef::EMPTY, [Command::write(fits.slice(0, 4).unwrap(), [1; 4])]).unwrap();
    queue.finish().unwrap();
}

/// The polling thread is held, in a callback, after wgpu has mapped what was read and before the reader gets it.
#[test]
fn a_device_that_is_destroyed_between_map_and_unmap_ends_its_reads() {
    for gpu in both() {
        let s = setup(&gpu);
        let buffer = s.buffer(&s.a, 256);
        s.a.submit(FrontierRef::EMPTY, [Command::write(buffer, [7; 256])]).unwrap();
        s.a.finish().unwrap();
        let (tell, submitted) = mpsc::channel();
        let device = gpu.device().clone();
        let epoch = s.a.frontier().get(s.a.axis()) + 1;
        s.tracker
            .wait(after(s.a.axis(), epoch).as_ref(), move |_| {
                submitted.recv_timeout(PATIENCE).unwrap();
                device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
                device.destroy();
                device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
            })
            .unwrap();
        let reads = [(); 2].map(|()| s.a.read(FrontierRef::EMPTY, buffer).unwrap());
        tell.send(()).unwrap();
        for read in reads {
            let failure = end(read).unwrap_err();
            assert!(is_lost(&failure), "{failure}");
        }
        assert!(reached(&s.tracker, s.a.axis(), epoch + 2).is_err_and(|failure| is_lost(&failure)));
        // Its staging ends in the round that tells of the loss.
        s.set.poll();
        let staging = s.set.staging_stats(&gpu).unwrap();
        assert_eq!((staging.upload.live, staging.readback.live), (0, 0));
    }
}

#[test]
fn a_loss_that_staging_notices_is_told_as_the_loss() {
    for gpu in both() {
        let other = noop();
        let s = setup(&gpu);
        let elsewhere = s.set.open(&other, queue_axis(1, 0)).unwrap();
        let buffer = s.buffer(&s.a, 256);
        s.a.finish().unwrap();
        // Nothing is in flight, and the first chunk is yet to be made.
        gpu.device().destroy();
        let written = s.a.submit(FrontierRef::EMPTY, [Command::write(buffer, [1; 256])]);
        let follows = elsewhere.submit(s.a.frontier().as_ref(), []);
        let read = s.b.read(s.a.frontier().as_ref(), buffer);
        let refused = |error| match error {
            QueueError::Failed(failure) => failure,
            QueueError::Queue(strandline_core::QueueError::Failed { failure, .. }) => failure,
            other => panic!("{other:?}"),
        };
        for (axis, epoch) in [(s.a.axis(), written), (elsewhere.axis(), follows)] {
            let failure = match epoch {
                Ok(epoch) => reached(&s.tracker, axis, epoch).unwrap_err(),
                Err(error) => refused(error),
            };
            assert!(is_lost(&failure), "{failure}");
        }
        let failure = match read {
            Ok(read) => end(read).unwrap_err(),
            Err(error) => refused(error),
        };
        assert!(is_lost(&failure), "{failure}");
        let lost = gpu.lost().unwrap();
        assert!(s.a.failure_of(buffer).is_none_or(|failure| failure.is_same(lost)));
    }
}

/// wgpu has one device-lost callback, and it is somebody else's.
#[test]
fn a_loss_is_found_without_the_callback() {
    for own in [false, true] {
        let devices = || {
            let gpus = both();
            if own {
                gpus.iter().for_each(|gpu| gpu.device().set_device_lost_callback(|_, _| ()));
            }
            gpus
        };
        for gpu in devices() {
            let tracker = Tracker::new(8);
            let line = Timeline::new(&gpu, &tracker, queue_axis(0, 0)).unwrap();
            line.submit([]).unwrap();
            assert!(reached(&tracker, line.axis(), 1).is_ok());
            gpu.device().destroy();
            // wgpu refuses it without a word.
            line.submit([]).unwrap();
            assert!(reached(&tracker, line.axis(), 2).is_err_and(|failure| is_lost(&failure)));
            assert_eq!(tracker.reached(line.axis()), 1, "nothing was done");
            assert!(gpu.lost().is_some_and(is_lost));
        }
        // Nothing is in flight, and somebody waits.
        for gpu in devices() {
            let s = setup(&gpu);
            let held = s.a.submit(after(GATE, 1).as_ref(), []).unwrap();
            gpu.device().destroy();
            assert!(reached(&s.tracker, s.a.axis(), held).is_err_and(|failure| is_lost(&failure)));
        }
    }
}

#[test]
fn a_queue_says_why_it_stands_still() {
    let s = setup(&noop());
    let full = s.buffer(&s.a, 1 << 16);
    s.a.finish().unwrap();
    let waits = s.buffer(&s.b, 256);
    s.b.submit(after(GATE, 3).as_ref(), [Command::fill(waits, 1)]).unwrap();
    s.b.dealloca(waits, FrontierRef::EMPTY).unwrap();
    let held = s.a.submit(s.b.frontier().as_ref(), []).unwrap();
    let said = |queue: &Queue| -> Vec<(Epoch, Vec<WaitsFor>)> {
        let standing = queue.parked().into_iter();
        standing.map(|standing| (standing.epoch, standing.waits_for)).collect()
    };
    use strandline_core::Entry;
    let memory = WaitsFor::Memory(waits.id());
    assert_eq!(
        said(&s.b),
        [
            (1, vec![memory]),
            (2, vec![WaitsFor::Before(1), WaitsFor::Axis(Entry::new(GATE, 3)), memory]),
            (3, vec![WaitsFor::Before(2), memory]),
        ]
    );
    assert_eq!(said(&s.a), [(held, vec![WaitsFor::Axis(Entry::new(s.b.axis(), 3))])]);
    let text = s.b.parked()[1].to_string();
    assert!(text.contains("epoch 1 before it") && text.contains("@ 3"), "{text}");
    s.tracker.advance(GATE, 3).unwrap();
    s.set.abandon(full).unwrap();
    s.set.abandon(waits).unwrap();
    assert!(reached(&s.tracker, s.a.axis(), held).is_err());
    assert!(said(&s.a).is_empty() && said(&s.b).is_empty());
}

/// What wgpu has is ahead, not over: also for an operation for which the device has nothing to do.
#[test]
fn an_empty_operation_is_not_reached_before_what_it_waits_for() {
    for gpu in both() {
        let s = setup(&gpu);
        let buffer = s.buffer(&s.b, 256);
        s.b.finish().unwrap();
        s.a.submit(FrontierRef::EMPTY, []).unwrap();
        s.a.finish().unwrap();
        // The polling thread is held, so that it hears of both at once.
        let (tell, go) = mpsc::channel();
        let last = s.a.submit(after(GATE, 1).as_ref(), []).unwrap();
        let hold = move |_: Result<(), WaitError>| go.recv_timeout(PATIENCE).unwrap();
        s.tracker.wait(after(s.a.axis(), last).as_ref(), hold).unwrap();
        s.tracker.advance(GATE, 1).unwrap();
        let written = s.b.submit(FrontierRef::EMPTY, [Command::write(buffer, [1; 256])]).unwrap();
        let follows = s.a.submit(after(s.b.axis(), written).as_ref(), []).unwrap();
        let (told, seen) = mpsc::channel();
        let (tracker, axis) = (s.tracker.clone(), s.b.axis());
        s.tracker
            .wait(after(s.a.axis(), follows).as_ref(), move |_| {
                told.send(tracker.reached(axis)).unwrap();
            })
            .unwrap();
        tell.send(()).unwrap();
        assert!(seen.recv_timeout(PATIENCE).unwrap() >= written, "{gpu:?}");
    }
}

#[test]
fn an_alloca_without_memory_hears_that_its_wait_has_failed() {
    let s = setup(&noop());
    let _full = s.buffer(&s.a, 1 << 16);
    let opened = after(GATE, 1);
    let request = Request::new(256).after(opened.as_ref()).or_grow();
    let (_, epoch) = s.b.alloca(s.pool, &request).unwrap();
    s.tracker.fail_axis(GATE, Failure::message("the gate")).unwrap();
    let cause = reached(&s.tracker, s.b.axis(), epoch).unwrap_err();
    assert_eq!(cause.to_string(), "the gate");
}
