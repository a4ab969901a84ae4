//! Devices that are destroyed at any moment of any program, with callbacks of the program's own: whoever waits hears of it, and
//! nothing counts as done that was not.
//!
//! The oracle is the test's own bookkeeping: what it submitted after `destroy` had returned was never done; what was in front of a wait of
//! wgpu's that returned before that was.

use crate::support::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use strandline_core::{Axis, Epoch, Frontier, FrontierRef, Request, Tracker, WaitError};
use strandline_host_wgpu::{
    Command, DeviceLost, Gpu, Queue, QueueSet, ReadBack, Transients, TransientsConfig, UsageClass,
};

/// How the wait for an epoch ends, which it does.
fn is_reached(tracker: &Tracker, axis: Axis, epoch: Epoch) -> bool {
    let (tell, told) = mpsc::channel();
    let wait = Frontier::from_entry(axis, epoch);
    tracker.wait(wait.as_ref(), move |end| drop(tell.send(end))).unwrap();
    match told.recv_timeout(PATIENCE).expect("the epoch never ends") {
        Ok(()) => true,
        Err(WaitError::Failed { failure, .. }) => {
            let lost = failure.get_ref().downcast_ref::<DeviceLost>();
            assert!(lost.is_some(), "another cause: {failure}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// What one axis was given to do.
#[derive(Default)]
struct Log {
    /// Epochs that were given out before the device was destroyed, and after.
    before: Vec<Epoch>,
    after: Vec<Epoch>,
    /// Up to here the device was seen to be done.
    confirmed: Epoch,
}

impl Log {
    fn note(&mut self, epoch: Epoch, destroyed: bool) {
        if destroyed { self.after.push(epoch) } else { self.before.push(epoch) }
    }

    fn judge(&self, tracker: &Tracker, axis: Axis, seed: u64) {
        for &epoch in &self.before {
            let reached = is_reached(tracker, axis, epoch);
            assert!(reached || epoch > self.confirmed, "seed {seed}: {epoch} was done");
        }
        for &epoch in &self.after {
            assert!(
                !is_reached(tracker, axis, epoch),
                "seed {seed}: {axis} @ {epoch} was never done"
            );
        }
    }
}

fn ends(read: ReadBack) -> bool {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(read.wait().is_ok()).unwrap());
    told.recv_timeout(PATIENCE).expect("the read never ends")
}

/// One program on a device that is destroyed in it, beside one that is not.
fn run(seed: u64, doomed: Gpu, safe: &Gpu) {
    let mut random = Rng(seed);
    let length = 5 + random.below(60);
    let end = random.below(length);
    // wgpu has one callback: the program's from before, or from after, or none.
    let (called, callbacks) = (std::sync::Arc::new(AtomicU64::new(0)), random.below(3));
    let (device, queue) = (doomed.device().clone(), doomed.queue().clone());
    let take = || {
        let called = called.clone();
        device.set_device_lost_callback(move |_, _| {
            called.fetch_add(1, Ordering::Relaxed);
        });
    };
    if callbacks == 1 {
        drop(doomed);
        take();
    }
    let doomed = Gpu::new(device.clone(), queue.clone()).unwrap();
    if callbacks == 2 {
        take();
    }
    let tracker = Tracker::new(16);
    let config = TransientsConfig::default();
    let transients = Transients::with_axis(&doomed, config, &tracker, queue_axis(0, 0)).unwrap();
    let (pools, pool) = storage(&doomed, &tracker, 1 << 16, 4);
    let set = QueueSet::new(pools, &tracker);
    let queues: [Queue; 2] = [1, 2].map(|i| set.open(&doomed, queue_axis(0, i)).unwrap());
    let elsewhere = Transients::with_axis(safe, config, &tracker, queue_axis(1, 0)).unwrap();
    let (mut frames, mut ops, mut others) =
        (Log::default(), [Log::default(), Log::default()], Vec::new());
    let (mut allocas, mut reads) = (Vec::new(), Vec::new());
    let mut buffers = Vec::new();
    for step in 0..length {
        if step == end {
            device.destroy();
        }
        let destroyed = step >= end;
        match random.below(7) {
            0 | 1 => {
                let mut frame = transients.frame();
                let made = frame.create(UsageClass::Exclusive, 4 + random.below(9000));
                let uploaded = frame.upload(wgpu::BufferUsages::VERTEX, &[1; 300]);
                let mut encoder = device.create_command_encoder(&Default::default());
                if let (Ok(slice), Ok(_)) = (made, uploaded) {
                    encoder.clear_buffer(slice.buffer(), slice.offset(), Some(slice.size()));
                }
                if let Ok(epoch) = frame.submit([encoder.finish()]) {
                    frames.note(epoch, destroyed);
                }
            }
            2 => {
                let which = random.below(2) as usize;
                if let Ok((buffer, epoch)) =
                    queues[which].alloca(pool, &Request::new(4 + random.below(5000)).or_grow())
                {
                    buffers.push((which, buffer));
                    // After the end it gets memory, perhaps, and no work: it ends, one way or the other.
                    if destroyed {
                        allocas.push((which, epoch));
                    } else {
                        ops[which].note(epoch, false);
                    }
                }
            }
            3 => {
                let Some(&(which, buffer)) = buffers.last() else { continue };
                let work = [Command::fill(buffer, seed)];
                if let Ok(epoch) = queues[which].submit(FrontierRef::EMPTY, work) {
                    ops[which].note(epoch, destroyed);
                }
            }
            4 => {
                let Some(&(which, buffer)) = buffers.last() else { continue };
                if let Ok(read) = queues[which].read(FrontierRef::EMPTY, buffer) {
                    reads.push((destroyed, read));
                }
            }
            5 => {
                if !destroyed && device.poll(wgpu::PollType::wait_indefinitely()).is_ok() {
                    frames.confirmed = frames.before.last().copied().unwrap_or(0);
                }
            }
            _ => others.push(elsewhere.frame().submit([]).unwrap()),
        }
    }
    frames.judge(&tracker, transients.timeline().axis(), seed);
    for (log, queue) in ops.iter().zip(&queues) {
        log.judge(&tracker, queue.axis(), seed);
    }
    for (which, epoch) in allocas {
        is_reached(&tracker, queues[which].axis(), epoch);
    }
    for (destroyed, read) in reads {
        assert!(!ends(read) || !destroyed, "seed {seed}: bytes of a destroyed device");
    }
    for epoch in others {
        assert!(is_reached(&tracker, elsewhere.timeline().axis(), epoch), "seed {seed}: elsewhere");
    }
    assert!(safe.lost().is_none());
    if callbacks > 0 {
        // wgpu calls it from whoever polls, this thread or the polling one, as long as there is a queue.
        until(&format!("seed {seed}: the program's own callback"), || {
            let _ = device.poll(wgpu::PollType::Poll);
            called.load(Ordering::Relaxed) > 0
        });
    }
}

#[test]
fn a_device_that_is_destroyed_anywhere_takes_nobody_else_with_it() {
    let safe = noop();
    for seed in 0..120 {
        run(seed, noop(), &safe);
    }
    if real().is_some() {
        let safe = real().unwrap();
        for seed in 1000..1016 {
            run(seed, real().unwrap(), &safe);
        }
    }
}

#[test]
fn ten_thousand_submissions_of_many_threads_are_reached_each_once() {
    for gpu in both() {
        let transients = Transients::new(&gpu, TransientsConfig::default()).unwrap();
        let (threads, each) = (8, 1250_u64);
        let wrong = AtomicU64::new(0);
        let mut epochs: Vec<Epoch> = std::thread::scope(|scope| {
            let one = |thread: u64| {
                let (gpu, transients, wrong) = (&gpu, &transients, &wrong);
                scope.spawn(move || {
                    let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
                    let out = gpu.device().create_buffer(&wgpu::BufferDescriptor {
                        label: None,
                        size: each * 8,
                        usage,
                        mapped_at_creation: false,
                    });
                    let mut epochs = Vec::new();
                    for i in 0..each {
                        let mut frame = transients.frame();
                        let value = (thread << 32 | i).to_le_bytes();
                        use wgpu::BufferUsages as U;
                        let usage = if i % 2 == 0 { U::STORAGE } else { U::UNIFORM };
                        let slice = frame.upload(usage | U::COPY_SRC, &value).unwrap();
                        let mut encoder = gpu.device().create_command_encoder(&Default::default());
                        let (buffer, offset, size) = slice.parts();
                        encoder.copy_buffer_to_buffer(buffer, offset, &out, i * 8, size);
                        epochs.push(frame.submit([encoder.finish()]).unwrap());
                    }
                    let (tell, mapped) = mpsc::channel();
                    out.map_async(wgpu::MapMode::Read, .., move |end| tell.send(end).unwrap());
                    gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
                    mapped.recv_timeout(PATIENCE).unwrap().unwrap();
                    let found = words(&out.get_mapped_range(..).unwrap());
                    let expected = (0..each).map(|i| thread << 32 | i);
                    let differ = found.into_iter().zip(expected).filter(|(a, b)| a != b).count();
                    wrong.fetch_add(differ as u64, Ordering::Relaxed);
                    epochs
                })
            };
            let running: Vec<_> = (0..threads).map(one).collect();
            running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        epochs.sort_unstable();
        assert!(epochs.into_iter().eq(1..=threads * each), "gap-free, each once");
        assert_eq!(wrong.load(Ordering::Relaxed), 0);
        let timeline = transients.timeline();
        assert!(is_reached(timeline.tracker(), timeline.axis(), threads * each));
        assert_eq!(transients.stats().reserved_bytes, 0);
    }
}
