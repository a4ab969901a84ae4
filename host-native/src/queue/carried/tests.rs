use super::super::{Command, CpuQueue, QueueError};
use crate::proactor::{Proactor, ProactorKind};
use crate::scale::scaled;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use strandline_core::{Axis, Frontier, FrontierRef, Progress, Tracker, WaitError};

const SOON: Duration = Duration::from_secs(30);

fn axis(queue: u8) -> Axis {
    Axis::queue(0, queue)
}

fn at(axis: Axis, epoch: u64) -> Frontier {
    Frontier::from_entry(axis, epoch)
}

#[test]
fn the_axis_advances_on_the_thread_that_polls() {
    for kind in ProactorKind::ALL {
        let mut proactor = match Proactor::builder().kind(kind).build() {
            // Refused on this machine.
            Err(_) if kind == ProactorKind::IoUring => continue,
            made => made.unwrap(),
        };
        let tracker = Tracker::new(1);
        let queue = CpuQueue::builder(&tracker, axis(0)).proactor(proactor.handle());
        let queue = queue.start().unwrap();
        let count = scaled(500) as u64;
        let (worked, work) = mpsc::channel();
        for epoch in 1..=count {
            let worked = worked.clone();
            let call = Command::call(move || worked.send(epoch).unwrap());
            queue.submit(FrontierRef::EMPTY, [call]).unwrap();
        }
        let called = Arc::new(AtomicUsize::new(0));
        let here = thread::current().id();
        for epoch in [1, count / 2, count] {
            let called = called.clone();
            let told = move |result: Result<(), WaitError>| {
                assert!(result.is_ok());
                assert_eq!(thread::current().id(), here);
                called.fetch_add(1, Ordering::Relaxed);
            };
            tracker.wait(at(axis(0), epoch).as_ref(), told).unwrap();
        }
        // All is done; nothing has arrived, because nobody has polled.
        for _ in 1..=count {
            work.recv_timeout(SOON).unwrap();
        }
        assert_eq!(tracker.reached(axis(0)), 0);
        while tracker.reached(axis(0)) < count {
            assert!(proactor.poll(Some(SOON)).unwrap() > 0, "{kind}: nothing came");
        }
        assert_eq!(called.load(Ordering::Relaxed), 3);
        queue.finish().unwrap();
        // The loop has nothing left to wait for.
        while proactor.pending() > 0 {
            assert!(proactor.poll(Some(SOON)).unwrap() > 0);
        }
    }
}

#[test]
fn what_is_done_arrives_before_the_end_also_unpolled() {
    let proactor = Proactor::new().unwrap();
    let tracker = Tracker::new(3);
    let [finished, dropped, failed] = [0, 1, 2]
        .map(|n| CpuQueue::builder(&tracker, axis(n)).proactor(proactor.handle()).start().unwrap());
    let queues = [&finished, &dropped, &failed];
    let (worked, work) = mpsc::channel();
    for queue in queues {
        let worked = worked.clone();
        let call = Command::call(move || worked.send(()).unwrap());
        queue.submit(FrontierRef::EMPTY, [call]).unwrap();
    }
    failed.submit(FrontierRef::EMPTY, [Command::call(|| panic!("on purpose"))]).unwrap();
    queues.iter().for_each(|_| work.recv_timeout(SOON).unwrap());
    finished.finish().unwrap();
    drop(dropped);
    assert!(matches!(failed.finish(), Err(QueueError::Failed(_))));
    for n in 0..3 {
        assert_eq!(tracker.reached(axis(n)), 1, "queue {n}");
    }
    assert!(matches!(tracker.end_of(axis(2)), Ok(Some(WaitError::Failed { .. }))));
}

/// The proactor goes at any moment, and every epoch arrives all the same.
#[test]
fn without_its_proactor_the_worker_signals_itself() {
    for round in 0..scaled(200) {
        let thread = Proactor::builder().spawn().unwrap();
        let tracker = Tracker::new(1);
        let queue = CpuQueue::builder(&tracker, axis(0)).proactor(thread.handle().clone());
        let queue = queue.start().unwrap();
        let mut thread = Some(thread);
        for epoch in 1..=8 {
            queue.submit(FrontierRef::EMPTY, [Command::call(|| ())]).unwrap();
            if epoch == round % 10 {
                thread = None;
            }
        }
        crate::wait_frontier(
            &tracker,
            at(axis(0), 8).as_ref(),
            Some(std::time::Instant::now() + SOON),
        )
        .unwrap();
        drop(thread);
    }
}
