//! Transient buffers of a program that keeps its own encoders.

use crate::support::*;
use strandline_host_wgpu::{Gpu, GpuSlice, TransientError, Transients, UsageClass};
use wgpu::{BufferDescriptor, BufferUsages};

fn desc(size: u64, usage: BufferUsages) -> BufferDescriptor<'static> {
    BufferDescriptor { label: None, size, usage, mapped_at_creation: false }
}

/// Copies a slice out with plain wgpu.
fn bytes_of(gpu: &Gpu, slice: &GpuSlice) -> wgpu::Buffer {
    let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
    let to = gpu.device().create_buffer(&desc(slice.size(), usage));
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    let (from, offset, size) = slice.parts();
    encoder.copy_buffer_to_buffer(from, offset, &to, 0, size);
    gpu.queue().submit([encoder.finish()]);
    to
}

fn is_all(gpu: &Gpu, buffer: &wgpu::Buffer, byte: u8) -> bool {
    let (done, mapped) = std::sync::mpsc::channel();
    buffer.map_async(wgpu::MapMode::Read, .., move |result| done.send(result).unwrap());
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    mapped.recv_timeout(std::time::Duration::from_secs(60)).unwrap().unwrap();
    buffer.get_mapped_range(..).unwrap().iter().all(|&found| found == byte)
}

#[test]
fn a_frame_never_gets_the_bytes_of_one_that_is_being_recorded() {
    for gpu in both() {
        let transients = Transients::new(&gpu, 1 << 20).unwrap();
        let mut first = transients.frame();
        let a = first.create(UsageClass::Storage, 4096).unwrap();
        let b = first.create(UsageClass::Storage, 4096).unwrap();
        let mut second = transients.frame();
        let c = second.create(UsageClass::Storage, 4096).unwrap();
        assert!(!a.overlaps(&b) && !a.overlaps(&c) && !b.overlaps(&c));
        gpu.queue().write_buffer(a.buffer(), a.offset(), &[1; 4096]);
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let keep = gpu
            .device()
            .create_buffer(&desc(4096, BufferUsages::MAP_READ | BufferUsages::COPY_DST));
        encoder.copy_buffer_to_buffer(a.buffer(), a.offset(), &keep, 0, 4096);
        first.submit([encoder.finish()]).unwrap();
        // Only now: and a write that lands before the next submission comes after that one.
        let d = second.create(UsageClass::Storage, 4096).unwrap();
        assert!(d.is_same(&a) || d.is_same(&b), "reused while it may be in flight");
        gpu.queue().write_buffer(d.buffer(), d.offset(), &[2; 4096]);
        let read = bytes_of(&gpu, &d);
        second.submit([]).unwrap();
        assert!(is_all(&gpu, &keep, 1));
        assert!(is_all(&gpu, &read, 2));
    }
}

#[test]
fn frames_of_many_threads_share_the_pools() {
    let gpu = noop();
    let transients = Transients::new(&gpu, 1 << 20).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (gpu, transients) = (&gpu, &transients);
            scope.spawn(move || {
                for i in 0..200 {
                    let mut frame = transients.frame();
                    let a = frame.create(UsageClass::Storage, 1000 + i).unwrap();
                    let b = frame.create(UsageClass::Constant, 256).unwrap();
                    let mut encoder = gpu.device().create_command_encoder(&Default::default());
                    encoder.clear_buffer(a.buffer(), a.offset(), Some(a.size()));
                    encoder.clear_buffer(b.buffer(), b.offset(), Some(b.size()));
                    if i % 10 == u64::from(thread) {
                        drop(frame);
                    } else {
                        frame.submit([encoder.finish()]).unwrap();
                    }
                }
            });
        }
    });
    let stats = transients.stats();
    assert_eq!((stats.reserved_bytes, stats.reserves), (0, 1600));
    assert_eq!(transients.timeline().last(), 720);
    // Threads that find no room at the same moment may each have added a slab.
    assert!((2..=8).contains(&stats.slabs), "{stats:?}");
}

#[test]
fn the_descriptor_decides_and_what_cannot_be_is_said() {
    let gpu = noop();
    let transients = Transients::new(&gpu, 1 << 20).unwrap();
    let mut frame = transients.frame();
    use BufferUsages as U;
    for (usage, class) in [
        (U::STORAGE | U::COPY_SRC, UsageClass::Storage),
        (U::UNIFORM | U::COPY_DST, UsageClass::Constant),
        (U::VERTEX | U::INDEX, UsageClass::Geometry),
    ] {
        let slice = frame.create_buffer(&desc(100, usage)).unwrap();
        assert_eq!((slice.class(), slice.size()), (class, 100));
    }
    for usage in [U::MAP_READ | U::COPY_DST, U::STORAGE | U::VERTEX, U::QUERY_RESOLVE] {
        let refused = frame.create_buffer(&desc(100, usage));
        assert!(matches!(refused, Err(TransientError::Usages(_))), "{usage:?}");
    }
    let mapped = BufferDescriptor { mapped_at_creation: true, ..desc(4, U::STORAGE) };
    assert!(matches!(frame.create_buffer(&mapped), Err(TransientError::Mapped)));
    for size in [0, 1 << 40, u64::MAX] {
        assert!(matches!(
            frame.create_buffer(&desc(size, U::STORAGE)),
            Err(TransientError::Pool(_))
        ));
    }
    drop(frame);
    assert_eq!(transients.stats().reserved_bytes, 0);
    assert!(transients.trim().unwrap() > 0);
    assert_eq!(transients.stats().committed_bytes, 0);
}
