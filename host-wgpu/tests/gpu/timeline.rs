//! Timelines: gap-free epochs, callbacks, loss.

use crate::support::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use strandline_core::{Axis, Epoch, Failure, Frontier, Progress, Tracker, WaitError};
use strandline_host_wgpu::{DeviceLost, Gpu, GpuError, Timeline};

fn timeline(gpu: &Gpu, tracker: &Tracker) -> Timeline {
    Timeline::new(gpu, tracker, queue_axis(0, 0)).unwrap()
}

fn commands(gpu: &Gpu) -> wgpu::CommandBuffer {
    gpu.device().create_command_encoder(&Default::default()).finish()
}

fn wait(tracker: &Tracker, axis: Axis, epoch: Epoch) -> Result<(), WaitError> {
    let frontier = Frontier::from_entry(axis, epoch);
    pollster::block_on(tracker.wait_async(frontier.as_ref()).unwrap())
}

fn is_lost(failure: &Failure) -> bool {
    failure.get_ref().downcast_ref::<DeviceLost>().is_some()
}

#[test]
fn many_threads_get_gap_free_epochs_that_are_reached_in_order() {
    const THREADS: u64 = 8;
    for (gpu, each) in both().into_iter().zip([1250, 250]) {
        let tracker = Tracker::new(4);
        let line = timeline(&gpu, &tracker);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut epochs: Vec<Epoch> = std::thread::scope(|scope| {
            let threads = [(); THREADS as usize].map(|()| {
                scope.spawn(|| {
                    let mut epochs = Vec::new();
                    for _ in 0..each {
                        let epoch = line.submit([commands(&gpu)]).unwrap();
                        let seen = seen.clone();
                        let frontier = Frontier::from_entry(line.axis(), epoch);
                        tracker
                            .wait(frontier.as_ref(), move |reached| {
                                reached.unwrap();
                                seen.lock().unwrap().push(epoch);
                            })
                            .unwrap();
                        assert!(epochs.last().is_none_or(|last| *last < epoch));
                        epochs.push(epoch);
                    }
                    epochs
                })
            });
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        epochs.sort_unstable();
        let all: Vec<Epoch> = (1..=THREADS * each).collect();
        assert_eq!(epochs, all);
        wait(&tracker, line.axis(), THREADS * each).unwrap();
        assert_eq!(tracker.reached(line.axis()), THREADS * each);
        assert_eq!(line.frontier(), Frontier::from_entry(line.axis(), THREADS * each));
        let mut seen = seen.lock().unwrap().clone();
        seen.sort_unstable();
        assert_eq!(seen, all, "each waiter was called, once");
    }
}

#[test]
fn a_reached_epoch_is_work_that_is_done() {
    for gpu in both() {
        let tracker = Tracker::new(4);
        let line = timeline(&gpu, &tracker);
        let buffer = |usage| {
            gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 1024,
                usage,
                mapped_at_creation: false,
            })
        };
        use wgpu::BufferUsages as U;
        let (from, to) = (buffer(U::COPY_SRC | U::COPY_DST), buffer(U::MAP_READ | U::COPY_DST));
        gpu.queue().write_buffer(&from, 0, &[7; 1024]);
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&from, 0, &to, 0, 1024);
        let epoch = line.submitted(gpu.queue().submit([encoder.finish()])).unwrap();
        wait(&tracker, line.axis(), epoch).unwrap();
        let (done, mapped) = mpsc::channel();
        to.map_async(wgpu::MapMode::Read, .., move |result| done.send(result).unwrap());
        gpu.kick();
        mapped.recv_timeout(PATIENCE).unwrap().unwrap();
        assert!(to.get_mapped_range(..).unwrap().iter().all(|&byte| byte == 7));
    }
}

#[test]
fn marks_are_reached_with_what_is_before_them() {
    for gpu in both() {
        let tracker = Tracker::new(4);
        let line = timeline(&gpu, &tracker);
        assert_eq!(line.mark().unwrap(), 1);
        wait(&tracker, line.axis(), 1).unwrap();
        assert_eq!(line.submit([commands(&gpu)]).unwrap(), 2);
        assert_eq!(line.mark().unwrap(), 3);
        wait(&tracker, line.axis(), 3).unwrap();
        drop(line);
        let gone = wait(&tracker, queue_axis(0, 0), 4);
        assert!(matches!(gone, Err(WaitError::Retired { .. })), "{gone:?}");
    }
}

#[test]
fn callbacks_submit_again_and_may_panic() {
    fn chain(line: Arc<Timeline>, left: usize, done: mpsc::Sender<Epoch>) {
        let epoch = line.submit([commands(line.gpu())]).unwrap();
        let frontier = Frontier::from_entry(line.axis(), epoch);
        let tracker = line.tracker().clone();
        tracker
            .wait(frontier.as_ref(), move |_| {
                if left == 0 {
                    done.send(epoch).unwrap();
                } else {
                    chain(line, left - 1, done);
                }
            })
            .unwrap();
    }
    for gpu in both() {
        let tracker = Tracker::new(4);
        let line = Arc::new(timeline(&gpu, &tracker));
        let (done, last) = mpsc::channel();
        let first = Frontier::from_entry(line.axis(), 1);
        tracker.wait(first.as_ref(), |_| panic!("a callback's own affair (expected)")).unwrap();
        chain(line.clone(), 200, done);
        assert_eq!(last.recv_timeout(PATIENCE).unwrap(), 201);
    }
}

#[test]
fn a_mapping_callback_of_the_program_submits_from_within_wgpu() {
    for gpu in both() {
        let tracker = Tracker::new(4);
        let line = Arc::new(timeline(&gpu, &tracker));
        let (done, epoch) = mpsc::channel();
        let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 256,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let inner = line.clone();
        buffer.map_async(wgpu::MapMode::Read, .., move |_| {
            done.send(inner.submit([commands(inner.gpu())]).unwrap()).unwrap();
        });
        // wgpu runs it in here, or on the polling thread.
        line.submit([commands(&gpu)]).unwrap();
        let epoch = epoch.recv_timeout(PATIENCE).unwrap();
        wait(&tracker, line.axis(), epoch).unwrap();
    }
}

#[test]
fn loss_fails_the_axis_and_all_who_wait_once_and_a_new_device_works() {
    for (i, gpu) in both().into_iter().enumerate() {
        let tracker = Tracker::new(8);
        let line = timeline(&gpu, &tracker);
        let other = Timeline::new(&gpu, &tracker, queue_axis(0, 1)).unwrap();
        let called = Arc::new(AtomicUsize::new(0));
        let (tell, told) = mpsc::channel();
        // Some will be reached, some will never be submitted.
        for epoch in 1..=40 {
            let (called, tell) = (called.clone(), tell.clone());
            let frontier = Frontier::from_entry(line.axis(), epoch);
            tracker
                .wait(frontier.as_ref(), move |reached| {
                    called.fetch_add(1, Ordering::Relaxed);
                    tell.send((epoch, reached)).unwrap();
                })
                .unwrap();
        }
        for _ in 0..20 {
            line.submit([commands(&gpu)]).unwrap();
        }
        gpu.device().destroy();
        // wgpu takes note of it at the next poll; a submission is refused without a word.
        let _ = line.submit([commands(&gpu)]);
        let mut lost = 0;
        for _ in 0..40 {
            let (epoch, reached) = told.recv_timeout(PATIENCE).unwrap();
            match reached {
                Ok(()) => assert!(epoch <= 20, "epoch {epoch} was never accepted"),
                Err(WaitError::Failed { failure, .. }) => {
                    assert!(is_lost(&failure), "{failure}");
                    lost += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(lost >= 20, "{lost}");
        assert_eq!(called.load(Ordering::Relaxed), 40, "once each");
        assert!(gpu.lost().is_some_and(is_lost));
        assert!(matches!(line.submit([]), Err(GpuError::Lost(_))));
        assert!(matches!(wait(&tracker, other.axis(), 1), Err(WaitError::Failed { .. })));
        let refused = Timeline::new(&gpu, &tracker, queue_axis(0, 2));
        assert!(matches!(refused, Err(GpuError::Lost(_))));

        let fresh = both().swap_remove(i);
        let line = Timeline::new(&fresh, &tracker, queue_axis(1, 0)).unwrap();
        let epoch = line.submit([commands(&fresh)]).unwrap();
        wait(&tracker, line.axis(), epoch).unwrap();
    }
}

#[test]
fn a_program_that_has_the_callback_reports_the_loss_itself() {
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    let gpu = Gpu::new(device, queue).unwrap();
    let tracker = Tracker::new(4);
    let line = timeline(&gpu, &tracker);
    gpu.report_loss(wgpu::DeviceLostReason::Unknown, "the cable".into());
    gpu.report_loss(wgpu::DeviceLostReason::Unknown, "too late".into());
    match wait(&tracker, line.axis(), 1) {
        Err(WaitError::Failed { failure, .. }) => {
            assert_eq!(failure.to_string(), "the device was lost (unknown): the cable");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_submission_that_validation_refuses_holds_up_nothing() {
    let Some(gpu) = real() else { return };
    let tracker = Tracker::new(4);
    let line = timeline(&gpu, &tracker);
    let scope = gpu.device().push_error_scope(wgpu::ErrorFilter::Validation);
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 256,
        usage: wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    });
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    // It is no target.
    encoder.clear_buffer(&buffer, 0, None);
    let refused = line.submit([encoder.finish()]).unwrap();
    assert!(pollster::block_on(scope.pop()).is_some());
    let epoch = line.submit([commands(&gpu)]).unwrap();
    assert_eq!((refused, epoch), (1, 2));
    wait(&tracker, line.axis(), epoch).unwrap();
}
