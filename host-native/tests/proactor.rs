//! What every proactor does, whatever kernel interface is below it. Each test runs over both.
#![cfg(target_os = "linux")]

mod support;

use rustix::fs::{MemfdFlags, SealFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::{Duration, Instant};
use strandline_core::{
    Frontier, FrontierRef, Grant, Notification, Semaphore, SlabMap, SlabProvider,
};
use strandline_host_native::event::Event;
use strandline_host_native::proactor::{
    Completion, Interest, IoBuffer, Op, OpError, Proactor, ProactorKind, Sequence, SharedFd,
};
use strandline_host_native::{MmapBuffer, MmapSlabProvider, fence, relay, thread_wake};
use support::{Log, PATIENCE, each_kind, file, open_descriptors, proactor, run, scaled};

fn notification() -> Arc<Notification> {
    Arc::new(Notification::new(Some(thread_wake())))
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

fn slab(len: u64) -> MmapBuffer {
    let provider = MmapSlabProvider::builder().build().unwrap();
    let Grant::Slab(slab) = provider.acquire(len).unwrap() else { panic!("no memory") };
    provider.map(slab.id, 0, len).unwrap()
}

#[test]
fn the_kind_that_was_asked_for_runs() {
    each_kind(|kind| {
        let proactor = proactor(kind);
        assert_eq!((proactor.kind(), proactor.handle().kind()), (kind, kind));
    });
}

#[test]
fn a_poll_that_has_nothing_to_do_ends_in_time() {
    each_kind(|kind| {
        let mut proactor = proactor(kind);
        assert_eq!(proactor.poll(Some(Duration::ZERO)).unwrap(), 0);
        let end = Instant::now() + Duration::from_millis(3);
        assert_eq!(proactor.poll_until(Some(end)).unwrap(), 0);
        assert!(Instant::now() >= end);
    });
}

#[test]
fn timers_fire_in_the_order_of_their_deadlines() {
    each_kind(|kind| {
        let (mut proactor, log) = (proactor(kind), Log::new());
        let start = Instant::now();
        for millis in [3, 1, 0, 2, 1] {
            let end = start + Duration::from_millis(millis);
            let record = log.callback(millis);
            proactor.handle().submit(Op::timer(end), move |done| {
                assert!(Instant::now() >= end, "early");
                record(done);
            });
        }
        run(&mut proactor);
        assert_eq!(log.take(), [0, 1, 1, 2, 3].map(|millis| (millis, Ok(0))));
    });
}

/// One operation of each kind that never completes by itself.
fn endless(
    log: &Log<&'static str>,
    proactor: &Proactor,
    keep: &mut Vec<OwnedFd>,
) -> Vec<(&'static str, strandline_host_native::proactor::OpId)> {
    let handle = proactor.handle();
    let (reader, writer) = pipe();
    keep.push(writer);
    let notification = notification();
    let seen = notification.observe();
    let foreign = Arc::new(Notification::new(None));
    let ops = [
        ("timer", Op::timer(Instant::now() + 2 * PATIENCE)),
        ("wait", Op::wait(notification, seen, None)),
        ("wait without a host wake", Op::wait(foreign.clone(), foreign.observe(), None)),
        ("poll", Op::ready(reader, Interest::Readable, None)),
        ("event", Event::new().unwrap().wait(None)),
    ];
    ops.into_iter().map(|(name, op)| (name, handle.submit(op, log.callback(name)))).collect()
}

#[test]
fn every_kind_of_operation_can_be_canceled() {
    each_kind(|kind| {
        let (mut proactor, log) = (proactor(kind), Log::new());
        let mut keep = Vec::new();
        // Before the loop has heard of them, and when they are under way.
        for started in [false, true] {
            let all = endless(&log, &proactor, &mut keep);
            if started {
                assert_eq!(proactor.poll(Some(Duration::ZERO)).unwrap(), 0);
            }
            for (_, id) in &all {
                proactor.handle().cancel(*id);
                // Once is enough, and twice does no harm.
                proactor.handle().cancel(*id);
            }
            run(&mut proactor);
            let mut over = log.take();
            over.sort_by_key(|(name, _)| all.iter().position(|(other, _)| other == name));
            let canceled: Vec<_> =
                all.iter().map(|(name, _)| (*name, Err(OpError::Canceled))).collect();
            assert_eq!(over, canceled);
        }
    });
}

#[test]
fn every_deadline_ends_its_operation() {
    each_kind(|kind| {
        let (mut proactor, log) = (proactor(kind), Log::new());
        let handle = proactor.handle();
        let end = Instant::now() + Duration::from_millis(2);
        let notification = notification();
        let (reader, _writer) = pipe();
        handle.submit(
            Op::wait(notification.clone(), notification.observe(), Some(end)),
            log.callback("wait"),
        );
        handle.submit(Op::ready(reader, Interest::Readable, Some(end)), log.callback("poll"));
        handle.submit(Event::new().unwrap().wait(Some(end)), log.callback("event"));
        run(&mut proactor);
        assert!(Instant::now() >= end);
        let mut over = log.take();
        over.sort_by_key(|(name, _)| *name);
        assert_eq!(over, ["event", "poll", "wait"].map(|name| (name, Err(OpError::TimedOut))));
    });
}

/// The cancellation comes at about the time of the completion: one of them wins, and the callback tells which.
#[test]
fn cancellation_races_with_completion() {
    each_kind(|kind| {
        let thread = Proactor::builder().kind(kind).spawn().unwrap();
        let handle = thread.handle();
        let notification = notification();
        for _ in 0..scaled(500) {
            let (sender, receiver) = mpsc::channel();
            let event = Event::new().unwrap();
            let seen = notification.observe();
            let tell = || {
                let sender = sender.clone();
                move |done: Completion| sender.send(done.result).unwrap()
            };
            let waits = handle.submit(Op::wait(notification.clone(), seen, None), tell());
            let takes = handle.submit(event.wait(None), tell());
            let start = Barrier::new(2);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    start.wait();
                    event.set();
                    notification.signal_if_observed();
                });
                start.wait();
                handle.cancel(waits);
                handle.cancel(takes);
            });
            let results = [(); 2].map(|()| receiver.recv_timeout(PATIENCE).unwrap());
            let taken = results.iter().filter(|result| **result == Ok(1)).count();
            for result in results {
                assert!(matches!(result, Ok(_) | Err(OpError::Canceled)), "{result:?}");
            }
            // What a canceled wait did not take is still there: no count is lost.
            assert_eq!(taken as u64 + event.take(), 1);
            drop(sender);
            assert!(receiver.recv().is_err(), "each callback ran once");
        }
    });
}

#[test]
fn a_sequence_runs_in_order_and_stops_at_a_failure() {
    each_kind(|kind| {
        let (mut proactor, log) = (proactor(kind), Log::new());
        let handle = proactor.handle();
        let data = SharedFd::from(file(b"........"));
        let soon = Instant::now() + Duration::from_millis(1);
        let fine = Sequence::new()
            .then(Op::timer(soon), log.callback("timer"))
            .then(Op::write_at(data.clone(), 0, b"tide".to_vec()), log.callback("write"))
            .then(Op::nop(), log.callback("nop"))
            .then(Op::read_at(data.clone(), 2, vec![0; 4]), log.callback("read"));
        assert_eq!(handle.submit_sequence(fine).len(), 4);
        run(&mut proactor);
        assert_eq!(
            log.take(),
            [("timer", Ok(0)), ("write", Ok(4)), ("nop", Ok(0)), ("read", Ok(4))]
        );

        let read_only = SharedFd::from(std::fs::File::open("/dev/null").unwrap());
        let (sender, receiver) = mpsc::channel();
        let failing = Sequence::new()
            .then(Op::nop(), log.callback("nop"))
            .then(Op::write_at(read_only, 0, vec![1]), log.callback("write"))
            .then(Op::read_at(data, 0, vec![0; 3]), move |done| sender.send(done).unwrap())
            .then(Op::nop(), log.callback("last"));
        handle.submit_sequence(failing);
        run(&mut proactor);
        let badf = OpError::Os { operation: "write", code: libc::EBADF };
        assert_eq!(
            log.take(),
            [("nop", Ok(0)), ("write", Err(badf)), ("last", Err(OpError::Canceled))]
        );
        let skipped = receiver.try_recv().unwrap();
        assert_eq!(skipped.result, Err(OpError::Canceled));
        assert_eq!(skipped.buffer.map(|buffer| buffer.len()), Some(3), "its memory comes back");
        assert_eq!(handle.submit_sequence(Sequence::new()), []);
    });
}

#[test]
fn canceling_within_a_sequence_ends_what_follows() {
    each_kind(|kind| {
        let (mut proactor, log) = (proactor(kind), Log::new());
        let notification = notification();
        let seen = notification.observe();
        let sequence = || {
            Sequence::new()
                .then(Op::wait(notification.clone(), seen, None), log.callback(0))
                .then(Op::nop(), log.callback(1))
                .then(Op::nop(), log.callback(2))
        };
        let handle = proactor.handle();
        // The one under way: all end.
        let ids = handle.submit_sequence(sequence());
        handle.cancel(ids[0]);
        run(&mut proactor);
        assert_eq!(log.take(), [0, 1, 2].map(|name| (name, Err(OpError::Canceled))));
        // One that has not begun: it and what follows end, the one before goes on.
        let ids = handle.submit_sequence(sequence());
        handle.cancel(ids[1]);
        proactor.poll(Some(PATIENCE)).unwrap();
        assert_eq!(log.take(), [1, 2].map(|name| (name, Err(OpError::Canceled))));
        notification.signal_if_observed();
        run(&mut proactor);
        assert_eq!(log.take(), [(0, Ok(0))]);
    });
}

/// Every step ends as soon as it starts: no recursion may come of that.
#[test]
fn a_sequence_may_be_long() {
    each_kind(|kind| {
        let (mut proactor, ended) = (proactor(kind), Arc::new(AtomicUsize::new(0)));
        let notification = notification();
        let stale = notification.observe();
        notification.signal();
        for fails in [false, true] {
            let steps = scaled(50_000);
            let past = Op::wait(notification.clone(), notification.observe(), Some(Instant::now()));
            let mut sequence = Sequence::new();
            if fails {
                sequence =
                    sequence.then(past, |done| assert_eq!(done.result, Err(OpError::TimedOut)));
            }
            for _ in 0..steps {
                let ended = ended.clone();
                sequence =
                    sequence.then(Op::wait(notification.clone(), stale, None), move |done| {
                        assert_eq!(done.result.is_err(), fails);
                        ended.fetch_add(1, Ordering::Relaxed);
                    });
            }
            proactor.handle().submit_sequence(sequence);
            run(&mut proactor);
            assert_eq!(ended.swap(0, Ordering::Relaxed), steps);
        }
    });
}

#[test]
fn files_are_read_and_written_at_offsets() {
    each_kind(|kind| {
        let mut proactor = proactor(kind);
        let handle = proactor.handle();
        let data = SharedFd::from(file(b"the mark that a tide leaves"));
        let (sender, receiver) = mpsc::channel();
        let read = |offset, len| {
            let sender = sender.clone();
            handle.submit(Op::read_at(data.clone(), offset, vec![b'#'; len]), move |done| {
                sender.send((done.result, done.buffer.and_then(IoBuffer::into_bytes))).unwrap();
            });
        };
        let mut answer = || {
            run(&mut proactor);
            receiver.try_recv().unwrap()
        };
        read(4, 4);
        assert_eq!(answer(), (Ok(4), Some(b"mark".to_vec())));
        read(22, 9);
        assert_eq!(answer(), (Ok(5), Some(b"eaves####".to_vec())), "short at the end");
        read(27, 2);
        assert_eq!(answer(), (Ok(0), Some(b"##".to_vec())), "end of file");
        read(0, 0);
        assert_eq!(answer(), (Ok(0), Some(Vec::new())));
        // A slab's memory, not aligned to anything.
        let memory = slab(4096).slice(5, 6).unwrap();
        memory.write(0, b"a boat").unwrap();
        handle.submit(Op::write_at(data.clone(), 16, memory.clone()), |done| {
            assert_eq!(done.result, Ok(6))
        });
        read(14, 13);
        let (result, bytes) = answer();
        assert_eq!((result, bytes.unwrap().len()), (Ok(13), 13));
        let mut found = [0; 13];
        rustix::io::pread(&data, &mut found, 14).unwrap();
        assert_eq!(&found, b"a a boateaves"[..].split_at(13).0);
    });
}

#[test]
fn a_failed_operation_says_why() {
    each_kind(|kind| {
        let (mut proactor, log) = (proactor(kind), Log::new());
        let handle = proactor.handle();
        let (_, writer) = pipe();
        let writer = SharedFd::from(writer);
        handle.submit(Op::read_at(writer, 0, vec![0; 4]), log.callback("not readable"));
        let folder = SharedFd::from(std::fs::File::open("/").unwrap());
        handle.submit(Op::read_at(folder, 0, vec![0; 4]), log.callback("a folder"));
        let sealed = file(b"1234");
        let full = rustix::fs::memfd_create("full", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::fcntl_add_seals(&full, SealFlags::GROW).unwrap();
        handle.submit(Op::write_at(full, 0, vec![0; 4]), log.callback("may not grow"));
        handle.submit(Op::read_at(sealed, u64::MAX, vec![0; 4]), log.callback("no such offset"));
        run(&mut proactor);
        for (what, result) in log.take() {
            let error = result.expect_err(what);
            let system = error.io_error().expect("the kernel's");
            assert!(error.to_string().ends_with(&system.to_string()), "{error}");
        }
    });
}

#[test]
fn registered_memory_is_used_for_fixed_transfers() {
    each_kind(|kind| {
        let (mut proactor, log) = (proactor(kind), Log::new());
        let handle = proactor.handle();
        let memory = slab(1 << 16);
        let data = SharedFd::from(file(&[7; 4096]));
        let transfers = || {
            // Two parts: both transfers are under way at once.
            let (into, from) = (memory.slice(4096, 4096), memory.slice(8192, 4096));
            handle.submit(Op::read_at(data.clone(), 0, into.unwrap()), log.callback("read"));
            handle.submit(Op::write_at(data.clone(), 4096, from.unwrap()), log.callback("write"));
        };
        let expect_fixed = |count| {
            let ours = if kind == ProactorKind::IoUring { count } else { 0 };
            assert_eq!(handle.stats().fixed_transfers, ours);
        };
        transfers();
        run(&mut proactor);
        expect_fixed(0);
        handle.submit(Op::register_buffer(memory.clone()), log.callback("register"));
        run(&mut proactor);
        let mut results = log.take();
        results.sort_by_key(|(name, _)| *name);
        assert_eq!(results, [("read", Ok(4096)), ("register", Ok(0)), ("write", Ok(4096))]);
        memory.fill(0);
        transfers();
        run(&mut proactor);
        expect_fixed(2);
        assert_eq!(memory.slice(4096, 4096).unwrap().find_mismatch(0x0707_0707_0707_0707), None);
        // Memory beside it is not.
        handle.submit(Op::read_at(data.clone(), 0, slab(4096)), log.callback("read"));
        run(&mut proactor);
        expect_fixed(2);
        handle.submit(Op::unregister_buffer(memory.clone()), log.callback("unregister"));
        transfers();
        run(&mut proactor);
        expect_fixed(2);
        assert!(log.take().into_iter().all(|(_, result)| result.is_ok()));
        // Twice, and what was not registered: refused where it matters, harmless where it does not.
        let refused = |op, code| {
            handle.submit(op, move |done: Completion| {
                let expected = match kind {
                    ProactorKind::IoUring => Err(code),
                    ProactorKind::Poll => Ok(0),
                };
                let found = done.result.map_err(|error| error.io_error().unwrap().raw_os_error());
                assert_eq!(found, expected.map_err(Some));
            });
        };
        refused(Op::unregister_buffer(memory.clone()), libc::EINVAL);
        handle.submit(Op::register_buffer(memory.clone()), log.callback("register"));
        refused(Op::register_buffer(memory.clone()), libc::EEXIST);
        run(&mut proactor);
    });
}

/// Wake one: an event is taken by one of those that wait, and the others wait on.
#[test]
fn an_event_wakes_one_that_takes_it() {
    each_kind(|kind| {
        let (mut proactor, log) = (proactor(kind), Log::new());
        let event = Event::new().unwrap();
        for waiter in 0..4 {
            proactor.handle().submit(event.wait(None), log.callback(waiter));
        }
        for taken in 1..=4 {
            proactor.poll(Some(Duration::ZERO)).unwrap();
            event.add(taken);
            assert_eq!(proactor.poll(Some(PATIENCE)).unwrap(), 1);
            let over = log.take();
            assert!(matches!(over[..], [(_, Ok(count))] if count as u64 == taken), "{over:?}");
            assert_eq!(proactor.pending() as u64, 4 - taken);
            assert_eq!(event.take(), 0);
        }
    });
}

#[test]
fn two_loops_share_an_event_and_each_set_is_taken_once() {
    each_kind(|kind| {
        let event = Event::new().unwrap();
        let total = Arc::new(AtomicUsize::new(0));
        let loops: Vec<_> =
            (0..2).map(|_| Proactor::builder().kind(kind).spawn().unwrap()).collect();
        fn take(
            handle: strandline_host_native::proactor::ProactorHandle,
            event: Event,
            total: Arc<AtomicUsize>,
        ) {
            let next = handle.clone();
            handle.submit(event.wait(None), move |done| {
                if let Ok(count) = done.result {
                    total.fetch_add(count, Ordering::SeqCst);
                    take(next, event, total);
                }
            });
        }
        for one in &loops {
            take(one.handle().clone(), event.clone(), total.clone());
        }
        let sets = scaled(2000);
        for _ in 0..sets {
            event.set();
        }
        let end = Instant::now() + PATIENCE;
        while total.load(Ordering::SeqCst) < sets {
            assert!(Instant::now() < end);
            std::thread::yield_now();
        }
        drop(loops);
        assert_eq!((total.load(Ordering::SeqCst), event.take()), (sets, 0));
    });
}

#[test]
fn fences_go_in_and_out() {
    each_kind(|kind| {
        let mut proactor = proactor(kind);
        let handle = proactor.handle();
        let (first, second) = (Semaphore::new(0), Semaphore::new(0));
        // A chain: a semaphore's value leaves as a descriptor and comes back as another's.
        let exported = fence::export(&first, 3).unwrap();
        fence::import(&handle, exported.event.clone(), &second, 7, None);
        first.signal(2, FrontierRef::EMPTY).unwrap();
        assert_eq!(proactor.poll(Some(Duration::ZERO)).unwrap(), 0);
        first.signal(3, FrontierRef::EMPTY).unwrap();
        run(&mut proactor);
        assert_eq!((second.value(), second.tainted_from()), (7, Some(1)));
        // A witnessed one does not taint.
        let third = Semaphore::new(0);
        fence::import(&handle, exported.event.clone(), &third, 1, Some(Frontier::new()));
        run(&mut proactor);
        assert_eq!((third.value(), third.tainted_from()), (1, None));
        assert_eq!(exported.event.take(), 1);
        // Failure: out as a count, in as a failure.
        let failing = fence::export(&third, 9).unwrap();
        third.fail(strandline_core::Failure::message("lost"));
        assert_eq!(failing.event.take(), fence::FENCE_FAILED);
        let (reader, writer) = pipe();
        drop(reader);
        // A pipe whose reader is gone reports an error.
        let fourth = Semaphore::new(0);
        fence::import(&handle, writer, &fourth, 1, None);
        run(&mut proactor);
        assert!(fourth.failure().is_some());
        // Canceled: left alone. The proactor's end: failed.
        let fifth = Semaphore::new(0);
        let id = fence::import(&handle, Event::new().unwrap(), &fifth, 1, None);
        handle.cancel(id);
        run(&mut proactor);
        assert!(fifth.failure().is_none());
        fence::import(&handle, Event::new().unwrap(), &fifth, 1, None);
        drop(proactor);
        assert!(fifth.failure().is_some_and(|failure| failure.to_string().contains("dropped")));
    });
}

/// A relay that was registered before the signal tells of it: hammered.
#[test]
fn a_relay_loses_no_signal() {
    each_kind(|kind| {
        let thread = Proactor::builder().kind(kind).spawn().unwrap();
        for _ in 0..scaled(1000) {
            let [source, target] = [notification(), notification()];
            let seen = target.observe();
            let relay = relay::notification(thread.handle(), &source, &target);
            // At once: the loop may not have heard of the relay.
            source.signal_if_observed();
            let heard = strandline_host_native::wait(&target, seen, support::patience());
            assert_eq!(heard, strandline_host_native::WaitResult::Signaled);
            // And again, while the relay is between two waits.
            let seen = target.observe();
            source.signal_if_observed();
            let heard = strandline_host_native::wait(&target, seen, support::patience());
            assert_eq!(heard, strandline_host_native::WaitResult::Signaled);
            drop(relay);
        }
    });
}

#[test]
fn relays_of_events_and_semaphores() {
    each_kind(|kind| {
        let thread = Proactor::builder().kind(kind).spawn().unwrap();
        let (event, semaphore) = (Event::new().unwrap(), Semaphore::new(0));
        let heard = notification();
        let sets = scaled(1000) as u64;
        let seen = heard.observe();
        relay::semaphore(&semaphore, sets, &heard);
        let relay = relay::event(thread.handle(), &event, &semaphore);
        for _ in 0..sets {
            event.set();
        }
        let result = strandline_host_native::wait(&heard, seen, support::patience());
        assert_eq!(result, strandline_host_native::WaitResult::Signaled);
        assert_eq!(semaphore.value(), sets);
        drop(relay);
        assert!(semaphore.failure().is_none(), "dropping a relay is no failure");
        let second = relay::event(thread.handle(), &Event::new().unwrap(), &semaphore);
        drop(thread);
        assert!(semaphore.failure().is_some());
        drop(second);
    });
}

#[test]
fn more_completions_than_the_queue_holds() {
    each_kind(|kind| {
        let mut proactor = Proactor::builder().kind(kind).entries(2).build().unwrap();
        let handle = proactor.handle();
        let ended = Arc::new(AtomicUsize::new(0));
        let count = || {
            let ended = ended.clone();
            move |done: Completion| {
                assert!(done.result.is_ok(), "{:?}", done.result);
                ended.fetch_add(1, Ordering::Relaxed);
            }
        };
        // Many polls of one descriptor complete at one moment, while nobody reaps.
        let event = Event::new().unwrap();
        let waiting = scaled(1000);
        for _ in 0..waiting {
            handle.submit(Op::ready(event.clone(), Interest::Readable, None), count());
        }
        proactor.poll(Some(Duration::ZERO)).unwrap();
        event.set();
        let nops = scaled(10_000);
        for _ in 0..nops {
            handle.submit(Op::nop(), count());
        }
        // A wake in the midst of it is not lost either, though the doorbell's poll may have ended.
        let notification = notification();
        handle.submit(Op::wait(notification.clone(), notification.observe(), None), count());
        notification.signal_if_observed();
        run(&mut proactor);
        assert_eq!(ended.load(Ordering::Relaxed), waiting + nops + 1);
        let seen = notification.observe();
        handle.submit(Op::wait(notification.clone(), seen, None), count());
        std::thread::scope(|scope| {
            scope.spawn(|| notification.signal_if_observed());
            run(&mut proactor);
        });
    });
}

#[test]
fn dropping_ends_every_operation_and_hands_memory_back() {
    each_kind(|kind| {
        let (log, mut keep) = (Log::new(), Vec::new());
        for started in [false, true] {
            let mut proactor = proactor(kind);
            let handle = proactor.handle();
            let all = endless(&log, &proactor, &mut keep);
            let notification = notification();
            let queued = Sequence::new()
                .then(
                    Op::wait(notification.clone(), notification.observe(), None),
                    log.callback("first"),
                )
                .then(Op::nop(), log.callback("second"));
            handle.submit_sequence(queued);
            let (sender, receiver) = mpsc::channel();
            // The kernel waits for the pipe to fill; poll's threads are refused at once, as a pipe has no offsets.
            let (reader, writer) = pipe();
            if kind == ProactorKind::IoUring {
                handle.submit(Op::read_at(reader, 0, vec![1; 64]), move |done| {
                    sender.send(done).unwrap()
                });
            }
            if started {
                proactor.poll(Some(Duration::ZERO)).unwrap();
            }
            drop(proactor);
            drop(writer);
            let over = log.take();
            assert_eq!(over.len(), all.len() + 2);
            assert!(
                over.iter().all(|(name, result)| match result {
                    Err(OpError::Closed) => true,
                    Err(OpError::Canceled) => *name == "second",
                    _ => false,
                }),
                "{over:?}"
            );
            if kind == ProactorKind::IoUring {
                let done = receiver.recv().unwrap();
                assert_eq!(done.result, Err(OpError::Closed));
                assert_eq!(done.buffer.and_then(IoBuffer::into_bytes), Some(vec![1; 64]));
            }
            // Nobody will do it: it is refused here and now, and its memory comes back.
            let (sender, receiver) = mpsc::channel();
            handle.submit(Op::write_at(file(b""), 0, vec![2; 3]), move |done| {
                sender.send(done).unwrap()
            });
            let refused = receiver.try_recv().unwrap();
            assert_eq!(refused.result, Err(OpError::Closed));
            assert_eq!(refused.buffer.map(|buffer| buffer.len()), Some(3));
        }
        drop(keep);
    });
}

/// Reads and writes are under way when the proactor is dropped: each ends once, with its memory.
#[test]
fn dropping_waits_for_transfers() {
    each_kind(|kind| {
        for round in 0..scaled(32) {
            let mut proactor = proactor(kind);
            let data = SharedFd::from(file(&vec![5; 1 << 16]));
            let (sender, receiver) = mpsc::channel();
            let memory = slab(1 << 20);
            for part in 0..16 {
                let sender = sender.clone();
                let into = memory.slice(part << 16, 1 << 16).unwrap();
                let op = Op::read_at(data.clone(), 0, into);
                proactor.handle().submit(op, move |done| sender.send(done).unwrap());
            }
            if round % 2 == 1 {
                proactor.poll(Some(Duration::ZERO)).unwrap();
            }
            drop(sender);
            drop(proactor);
            let all: Vec<_> = receiver.iter().collect();
            assert_eq!(all.len(), 16);
            for done in all {
                assert!(
                    matches!(done.result, Ok(65536) | Err(OpError::Closed)),
                    "{:?}",
                    done.result
                );
                assert_eq!(done.buffer.map(|buffer| buffer.len()), Some(1 << 16));
            }
        }
    });
}

#[test]
fn callbacks_may_do_anything_but_block() {
    each_kind(|kind| {
        let (mut proactor, log) = (proactor(kind), Log::new());
        let handle = proactor.handle();
        let other = handle.submit(Op::timer(Instant::now() + PATIENCE), log.callback("other"));
        let notification = notification();
        let seen = notification.observe();
        handle.submit(Op::wait(notification.clone(), seen, None), log.callback("wait"));
        let (inner, innermost) = (handle.clone(), log.callback("innermost"));
        handle.submit(Op::nop(), move |_| {
            inner.cancel(other);
            notification.signal();
            let again = inner.clone();
            inner.submit(Op::nop(), move |_| {
                again.submit(Op::nop(), innermost);
            });
        });
        run(&mut proactor);
        let mut over = log.take();
        over.sort_by_key(|(name, _)| *name);
        assert_eq!(
            over,
            [("innermost", Ok(0)), ("other", Err(OpError::Canceled)), ("wait", Ok(0))]
        );
    });
}

#[test]
fn a_callback_that_panics_harms_no_other() {
    each_kind(|kind| {
        let (mut proactor, log) = (proactor(kind), Log::new());
        let handle = proactor.handle();
        let notification = notification();
        let seen = notification.observe();
        notification.signal();
        // Both end in one turn.
        handle.submit(Op::wait(notification.clone(), seen, None), |_| panic!("as the test wants"));
        handle.submit(Op::wait(notification, seen, None), log.callback("after"));
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            proactor.poll(Some(PATIENCE)).unwrap()
        }));
        assert!(polled.is_err());
        run(&mut proactor);
        assert_eq!(log.take(), [("after", Ok(0))]);
        // A thread goes on; so does the drop.
        let thread = Proactor::builder().kind(kind).spawn().unwrap();
        thread.handle().submit(Op::nop(), |_| panic!("as the test wants"));
        let (sender, receiver) = mpsc::channel();
        thread.handle().submit(Op::nop(), move |done| sender.send(done.result).unwrap());
        assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), Ok(0));
        thread
            .handle()
            .submit(Op::timer(Instant::now() + PATIENCE), |_| panic!("as the test wants"));
        thread.handle().submit(Op::timer(Instant::now() + PATIENCE), log.callback("last"));
        drop(thread);
        assert_eq!(log.take(), [("last", Err(OpError::Closed))]);
    });
}

#[test]
fn many_threads_submit_at_once() {
    each_kind(|kind| {
        let thread = Proactor::builder().kind(kind).entries(8).spawn().unwrap();
        let ended = Arc::new(AtomicUsize::new(0));
        let (each, threads) = (scaled(2000), 4);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..each {
                        let ended = ended.clone();
                        thread.handle().submit(Op::nop(), move |_| {
                            ended.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        let handle = thread.handle().clone();
        drop(thread);
        assert_eq!(ended.load(Ordering::Relaxed), each * threads, "run or ended by the drop");
        let stats = handle.stats();
        assert_eq!(stats.submitted, stats.completed);
    });
}

/// Each is waited for, signaled, and dropped while the signaler still has it.
#[test]
fn thousands_of_notifications_on_one_loop() {
    each_kind(|kind| {
        let mut proactor = proactor(kind);
        let handle = proactor.handle();
        let ended = Arc::new(AtomicUsize::new(0));
        let total = scaled(5000);
        let (sender, receiver) = mpsc::channel::<Arc<Notification>>();
        let signaler = std::thread::spawn(move || {
            for notification in receiver {
                notification.signal_if_observed();
            }
        });
        let before = open_descriptors();
        for _ in 0..total {
            let notification = notification();
            let ended = ended.clone();
            let seen = notification.observe();
            handle.submit(Op::wait(notification.clone(), seen, None), move |done| {
                assert_eq!(done.result, Ok(0));
                ended.fetch_add(1, Ordering::Relaxed);
            });
            sender.send(notification).unwrap();
        }
        // Other tests open some too; a descriptor for each would be thousands.
        assert!(open_descriptors() < before + total / 2 + 500);
        run(&mut proactor);
        assert_eq!(ended.load(Ordering::Relaxed), total);
        drop(sender);
        signaler.join().unwrap();
    });
}

#[test]
fn a_proactor_may_be_dropped_by_its_own_callback() {
    each_kind(|kind| {
        let thread = Proactor::builder().kind(kind).spawn().unwrap();
        let handle = thread.handle().clone();
        let (sender, receiver) = mpsc::channel();
        handle.submit(Op::nop(), move |_| {
            drop(thread);
            sender.send(()).unwrap();
        });
        receiver.recv_timeout(PATIENCE).unwrap();
        // The loop ends after the callback: then submissions are refused.
        let end = Instant::now() + PATIENCE;
        loop {
            let (sender, receiver) = mpsc::channel();
            handle.submit(Op::nop(), move |done| sender.send(done.result).unwrap());
            if receiver.recv_timeout(PATIENCE).unwrap() == Err(OpError::Closed) {
                break;
            }
            assert!(Instant::now() < end);
        }
    });
}

#[test]
fn a_descriptor_becomes_ready() {
    each_kind(|kind| {
        let (mut proactor, log) = (proactor(kind), Log::new());
        let (reader, writer) = pipe();
        let (reader, writer) = (SharedFd::from(reader), SharedFd::from(writer));
        proactor
            .handle()
            .submit(Op::ready(writer.clone(), Interest::Writable, None), log.callback("write"));
        proactor
            .handle()
            .submit(Op::ready(reader.clone(), Interest::Readable, None), log.callback("read"));
        assert_eq!(proactor.poll(Some(PATIENCE)).unwrap(), 1);
        assert!(matches!(log.take()[..], [("write", Ok(events))] if events != 0));
        std::thread::scope(|scope| {
            scope.spawn(|| rustix::io::write(writer.as_fd(), b"x").unwrap());
            run(&mut proactor);
        });
        assert!(matches!(log.take()[..], [("read", Ok(events))] if events & 1 == 1));
        let mut byte = [0];
        assert_eq!(rustix::io::read(reader.as_fd(), &mut byte), Ok(1), "nothing was read");
    });
}
