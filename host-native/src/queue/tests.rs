use super::*;
use crate::scale::scaled;
use crate::wake::thread_wake;
use crate::{FrontierWaitError, MmapSlabProvider, wait_frontier};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use strandline_core::{Entry, Frontier, Grant, Progress, SlabMap, SlabProvider};

fn axis(queue: u8) -> Axis {
    Axis::queue(0, queue)
}

fn queues<const N: usize>() -> (Tracker, [CpuQueue; N]) {
    let tracker = Tracker::new(N + 1);
    let queues = core::array::from_fn(|i| CpuQueue::new(&tracker, axis(i as u8)).unwrap());
    (tracker, queues)
}

fn at(queue: &CpuQueue, epoch: Epoch) -> Frontier {
    Frontier::from_entry(queue.axis(), epoch)
}

fn run(queue: &CpuQueue, call: impl FnOnce() + Send + 'static) -> Epoch {
    queue.submit(FrontierRef::EMPTY, [Command::call(call)]).unwrap()
}

fn buffers<const N: usize>(len: u64) -> [MmapBuffer; N] {
    let provider = MmapSlabProvider::builder().build().unwrap();
    let Grant::Slab(slab) = provider.acquire(len * N as u64).unwrap() else { panic!("no memory") };
    core::array::from_fn(|i| provider.map(slab.id, i as u64 * len, len).unwrap())
}

#[test]
fn submissions_of_one_queue_run_in_order() {
    let (tracker, [queue]) = queues();
    let (done, order) = mpsc::channel();
    for i in 1..=100 {
        let done = done.clone();
        assert_eq!(run(&queue, move || done.send(i).unwrap()), i);
    }
    assert_eq!(queue.submitted(), 100);
    queue.finish().unwrap();
    assert!(order.try_iter().eq(1..=100));
    assert_eq!(tracker.reached(axis(0)), 100);
    assert!(matches!(tracker.end_of(axis(0)), Ok(Some(WaitError::Retired { .. }))));
}

/// One queue writes, the other copies and checks; each waits for the other before it goes on.
#[test]
fn two_queues_that_wait_for_each_other_never_see_half_a_tag() {
    let (_tracker, [writer, reader]) = queues();
    let [source, target] = buffers(scaled(1 << 14) as u64);
    let wrong = Arc::new(AtomicU64::new(0));
    let mut read = Frontier::default();
    for round in 1..=scaled(400) as u64 {
        let tag = round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let written = writer.submit(read.as_ref(), [Command::fill(source.clone(), tag)]).unwrap();
        let check = {
            let (target, wrong) = (target.clone(), wrong.clone());
            move || {
                wrong.fetch_add(u64::from(target.find_mismatch(tag).is_some()), Ordering::Relaxed);
            }
        };
        let copy = Command::copy(source.clone(), target.clone()).unwrap();
        let after = at(&writer, written);
        read = at(&reader, reader.submit(after.as_ref(), [copy, Command::call(check)]).unwrap());
    }
    writer.finish().unwrap();
    reader.finish().unwrap();
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
}

#[test]
fn copies_that_cannot_be_are_refused_before_they_are_submitted() {
    let [buffer] = buffers(64);
    let part = |offset, len| buffer.slice(offset, len).unwrap();
    assert_eq!(Command::copy(part(0, 8), part(7, 8)).unwrap_err(), BufferError::Overlap);
    assert_eq!(
        Command::copy(part(0, 8), part(8, 9)).unwrap_err(),
        BufferError::SizeMismatch { source: 8, target: 9 }
    );
    assert!(Command::copy(part(0, 8), part(8, 8)).is_ok());
}

#[test]
fn a_panic_fails_the_axis_with_its_cause_and_nothing_else() {
    let (tracker, [bad, good, other]) = queues();
    let ran = Arc::new(AtomicU64::new(0));
    let panics = bad.submit(FrontierRef::EMPTY, [Command::call(|| panic!("wet ink"))]).unwrap();
    let error = wait_frontier(&tracker, at(&bad, panics).as_ref(), None).unwrap_err();
    let FrontierWaitError::Ended(WaitError::Failed { axis: failed, failure }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failed, bad.axis());
    let cause = failure.get_ref().downcast_ref::<HostCallPanicked>().unwrap();
    assert_eq!((cause.epoch, &*cause.message), (panics, "wet ink"));
    assert_eq!(tracker.reached(bad.axis()), 0);

    let refused = bad.submit(FrontierRef::EMPTY, []).unwrap_err();
    assert!(matches!(&refused, QueueError::Failed(same) if same.is_same(&failure)), "{refused}");
    // What depends on it fails as well, and says why.
    let dependent = {
        let ran = ran.clone();
        Command::call(move || {
            ran.fetch_add(1, Ordering::Relaxed);
        })
    };
    let dependent = good.submit(at(&bad, panics).as_ref(), [dependent]).unwrap();
    let error = wait_frontier(&tracker, at(&good, dependent).as_ref(), None).unwrap_err();
    assert!(error.to_string().contains("wet ink"), "{error}");
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    assert!(matches!(bad.finish(), Err(QueueError::Failed(_))));
    assert!(matches!(good.finish(), Err(QueueError::Failed(_))));
    // What does not depend on it goes on.
    let fine = run(&other, || ());
    wait_frontier(&tracker, at(&other, fine).as_ref(), None).unwrap();
}

#[test]
fn an_error_fails_the_axis_and_the_rest_is_dropped_unrun() {
    let (tracker, [queue]) = queues();
    let (go, gone) = mpsc::channel::<()>();
    let held = Arc::new(());
    run(&queue, move || gone.recv().unwrap());
    let fails = Command::try_call(|| Err(Failure::message("no tide")));
    let fails = queue.submit(FrontierRef::EMPTY, [fails]).unwrap();
    let rest = {
        let held = held.clone();
        run(&queue, move || panic!("runs after a failure: {held:?}"))
    };
    go.send(()).unwrap();
    for epoch in [fails, rest] {
        let error = wait_frontier(&tracker, at(&queue, epoch).as_ref(), None).unwrap_err();
        assert!(error.to_string().contains("no tide"), "{error}");
    }
    assert_eq!(tracker.reached(queue.axis()), fails - 1);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn waits_that_cannot_be_take_no_epoch() {
    let (tracker, [queue]) = queues();
    let unknown = Frontier::from_entry(axis(9), 1);
    let error = queue.submit(unknown.as_ref(), []).unwrap_err();
    assert!(matches!(error, QueueError::Tracker(TrackerError::UnknownAxis(_))), "{error}");
    let error = queue.submit(at(&queue, 1).as_ref(), []).unwrap_err();
    assert!(matches!(error, QueueError::WaitsForItself { epoch: 1 }), "{error}");
    assert_eq!((queue.submitted(), tracker.waiting()), (0, 0));
    let first = queue.submit(FrontierRef::EMPTY, []).unwrap();
    assert_eq!(queue.submit(at(&queue, first).as_ref(), []).unwrap(), 2);
    let error = CpuQueue::new(&tracker, queue.axis()).unwrap_err();
    assert!(matches!(error, QueueError::Tracker(TrackerError::DuplicateAxis(_))));
    queue.finish().unwrap();
}

#[test]
fn dropping_a_queue_cancels_what_has_not_begun() {
    let (tracker, [queue]) = queues();
    let never = Axis::host(1);
    tracker.register(never).unwrap();
    let held = Arc::new(());
    let captured = held.clone();
    let call = Command::call(move || panic!("never runs: {captured:?}"));
    let epoch = queue.submit(Frontier::from_entry(never, 1).as_ref(), [call]).unwrap();
    let after = run(&queue, || panic!("never runs"));
    let (ended, end) = mpsc::channel();
    for epoch in [epoch, after] {
        let ended = ended.clone();
        let frontier = at(&queue, epoch);
        tracker.wait(frontier.as_ref(), move |result| ended.send(result).unwrap()).unwrap();
    }
    drop(queue);
    for _ in 0..2 {
        assert!(matches!(end.try_recv(), Ok(Err(WaitError::Retired { .. }))));
    }
    assert_eq!((tracker.waiting(), Arc::strong_count(&held)), (0, 1));
}

#[test]
fn finishing_a_queue_waits_for_what_its_submissions_wait_for() {
    let (tracker, [queue]) = queues();
    let source = Axis::host(1);
    tracker.register(source).unwrap();
    let ran = Arc::new(AtomicU64::new(0));
    let call = {
        let ran = ran.clone();
        Command::call(move || ran.store(1, Ordering::Relaxed))
    };
    queue.submit(Frontier::from_entry(source, 1).as_ref(), [call]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| tracker.advance(source, 1));
        queue.finish().unwrap();
    });
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

#[test]
fn a_queue_may_be_dropped_by_its_own_call() {
    let (tracker, [queue]) = queues();
    let own = Arc::new(Mutex::new(None));
    let (go, gone) = mpsc::channel::<()>();
    let taken = own.clone();
    let epoch = run(&queue, move || {
        gone.recv().unwrap();
        drop(lock(&taken).take());
    });
    let frontier = at(&queue, epoch);
    *lock(&own) = Some(queue);
    go.send(()).unwrap();
    // The call itself is done, and then the axis ends.
    wait_frontier(&tracker, frontier.as_ref(), None).unwrap();
    let next = Frontier::from_entry(axis(0), epoch + 1);
    let error = wait_frontier(&tracker, next.as_ref(), None).unwrap_err();
    assert!(matches!(error, FrontierWaitError::Ended(WaitError::Retired { .. })));
}

#[test]
fn a_panicking_callback_of_the_tracker_is_not_the_queues_failure() {
    let (tracker, [queue]) = queues();
    tracker.wait(Frontier::from_entry(axis(0), 1).as_ref(), |_| panic!("not yours")).unwrap();
    run(&queue, || ());
    run(&queue, || ());
    queue.finish().unwrap();
    assert_eq!(tracker.reached(axis(0)), 2);
}

#[test]
fn what_a_command_holds_is_dropped_before_its_epoch_is_reached() {
    let (tracker, [queue]) = queues();
    for _ in 0..scaled(200) {
        let held = Arc::new(());
        let captured = held.clone();
        let epoch = run(&queue, move || assert!(Arc::strong_count(&captured) > 1));
        wait_frontier(&tracker, at(&queue, epoch).as_ref(), None).unwrap();
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

#[test]
fn listeners_hear_of_each_epoch() {
    let (tracker, [queue]) = queues();
    let heard = Arc::new(Notification::new(Some(thread_wake())));
    queue.notify_on_progress(heard.clone());
    for _ in 0..scaled(200) {
        let seen = heard.observe();
        let epoch = run(&queue, || ());
        // No deadline: were the signal not sent, this would hang.
        let _ = wait(&heard, seen, None);
        assert!(tracker.reached(queue.axis()) >= epoch);
    }
}

/// For each submission, which queue takes it and which earlier submissions it waits for.
fn programs() -> impl Strategy<Value = Vec<(usize, Vec<prop::sample::Index>)>> {
    let waits = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    prop::collection::vec((0..3usize, waits), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(scaled(64) as u32))]

    /// Whatever waits for whatever, each submission begins only after all it waits for, and every one
    /// before it on its queue, has ended.
    #[test]
    fn every_order_that_was_asked_for_is_kept(program in programs()) {
        let (tracker, queues) = queues::<3>();
        let ended: Arc<[AtomicU64]> = program.iter().map(|_| AtomicU64::new(0)).collect();
        let early = Arc::new(AtomicU64::new(0));
        let mut submitted: Vec<Entry> = Vec::new();
        for (i, (on, waits)) in program.iter().enumerate() {
            let mut wait = Frontier::default();
            let mut needs = Vec::new();
            for index in waits.iter().filter(|_| i > 0) {
                let before = index.index(i);
                let Entry { axis, epoch } = submitted[before];
                prop_assert_eq!(wait.advance(axis, epoch), strandline_core::Merge::Done);
                needs.push(before);
            }
            needs.extend((0..i).filter(|j| program[*j].0 == *on));
            let (ended, early) = (ended.clone(), early.clone());
            let call = Command::call(move || {
                let missing = needs.iter().any(|need| ended[*need].load(Ordering::Relaxed) == 0);
                early.fetch_add(u64::from(missing), Ordering::Relaxed);
                ended[i].store(1, Ordering::Relaxed);
            });
            let epoch = queues[*on].submit(wait.as_ref(), [call]).unwrap();
            submitted.push(Entry::new(queues[*on].axis(), epoch));
        }
        for entry in &submitted {
            wait_frontier(&tracker, FrontierRef::single(entry), None).unwrap();
        }
        prop_assert_eq!(early.load(Ordering::Relaxed), 0);
        prop_assert!(ended.iter().all(|ended| ended.load(Ordering::Relaxed) == 1));
    }
}

#[test]
fn a_queue_says_why_it_stands_still() {
    let (tracker, [queue, other]) = queues();
    let gate = Axis::host(1);
    tracker.register(gate).unwrap();
    let done = run(&other, || ());
    other.finish().unwrap();
    // Reached, and not reached.
    let wait = Frontier::from_entries([Entry::new(axis(1), done), Entry::new(gate, 2)]).unwrap();
    let held = queue.submit(wait.as_ref(), []).unwrap();
    let behind = run(&queue, || ());
    let said: Vec<_> = queue.parked().into_iter().map(|s| (s.epoch, s.waits_for)).collect();
    assert_eq!(said, [(held, Frontier::from_entry(gate, 2)), (behind, Frontier::new())]);
    tracker.advance(gate, 2).unwrap();
    wait_frontier(&tracker, at(&queue, behind).as_ref(), None).unwrap();
    assert!(queue.parked().is_empty());
    queue.finish().unwrap();
}
