//! Transient buffers of a program that keeps its own encoders.

use crate::support::*;
use strandline_core::{Axis, PoolError, Progress, Tracker};
use strandline_host_wgpu::{
    BindingKind, Gpu, GpuSlice, SliceError, TransientError, Transients, TransientsConfig,
    UploadRing, UsageClass,
};
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
    mapped.recv_timeout(PATIENCE).unwrap().unwrap();
    buffer.get_mapped_range(..).unwrap().iter().all(|&found| found == byte)
}

#[test]
fn limits_below_one_place_are_refused_by_their_names() {
    let gpu = noop();
    let mut config = TransientsConfig::default();
    config.budget = 255;
    let refused = Transients::new(&gpu, config).map(drop).unwrap_err();
    assert!(refused.to_string().contains("capacity and budget"), "{refused}");
    config.budget = 256;
    Transients::new(&gpu, config).unwrap();
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
                        frame.discard();
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
    use UsageClass::{Constant, Exclusive, Geometry};
    for (usage, size, class) in [
        (U::STORAGE | U::COPY_SRC, 100, Exclusive),
        (U::UNIFORM | U::COPY_DST, 100, Constant),
        (U::VERTEX | U::INDEX, 100, Geometry),
        (U::INDIRECT, 100, Geometry),
        (U::VERTEX, 300 << 10, Exclusive),
        (U::STORAGE | U::VERTEX, 100, Exclusive),
        (U::STORAGE | U::INDIRECT, 100, Exclusive),
        (U::UNIFORM | U::VERTEX, 100, Exclusive),
        (U::QUERY_RESOLVE | U::COPY_SRC, 100, Exclusive),
        (U::COPY_DST, 100, Exclusive),
    ] {
        let slice = frame.create_buffer(&desc(size, usage)).unwrap();
        assert_eq!((slice.class(), slice.size()), (class, size), "{usage:?}");
        assert!(slice.buffer().usage().contains(usage));
    }
    for usage in [U::MAP_READ | U::COPY_DST, U::MAP_WRITE | U::COPY_SRC, U::empty()] {
        let refused = frame.create_buffer(&desc(100, usage));
        assert!(matches!(refused, Err(TransientError::Usages(_))), "{usage:?}");
    }
    let mapped = BufferDescriptor { mapped_at_creation: true, ..desc(4, U::STORAGE) };
    assert!(matches!(frame.create_buffer(&mapped), Err(TransientError::Mapped)));
    for usage in [U::STORAGE, U::UNIFORM] {
        let empty = frame.create_buffer(&desc(0, usage));
        assert!(matches!(empty, Err(TransientError::Pool(PoolError::ZeroSize))));
        assert!(frame.upload(usage, &[]).is_err());
        for size in [1 << 40, u64::MAX] {
            let large = frame.create_buffer(&desc(size, usage));
            assert!(matches!(large, Err(TransientError::Pool(PoolError::TooLarge { .. }))));
        }
    }
    for class in [UsageClass::Upload, UsageClass::Readback] {
        assert!(matches!(frame.create(class, 4), Err(TransientError::Class(_))));
    }
    frame.discard();
    assert_eq!(transients.stats().reserved_bytes, 0);
    assert!(transients.trim().unwrap() > 0);
    assert_eq!((transients.stats().committed_bytes, transients.existing_bytes()), (0, 0));
}

const DOUBLE: &str = "
    @group(0) @binding(0) var<storage, read> a: array<u32>;
    @group(0) @binding(1) var<storage, read_write> b: array<u32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if id.x < arrayLength(&b) { b[id.x] = 2u * a[id.x]; }
    }";

/// The shader, the pipeline and the bind group of any wgpu program.
fn dispatch(gpu: &Gpu, entries: [wgpu::BindingResource<'_>; 2]) -> wgpu::CommandBuffer {
    let device = gpu.device();
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(DOUBLE.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    let [from, to] = entries;
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry { binding: 0, resource: from },
            wgpu::BindGroupEntry { binding: 1, resource: to },
        ],
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(16, 1, 1);
    drop(pass);
    encoder.finish()
}

#[test]
fn storage_is_read_only_beside_storage_that_is_written_with_shaders_as_they_are() {
    let Some(gpu) = real() else { return };
    let transients = Transients::new(&gpu, TransientsConfig::default()).unwrap();
    let storage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
    for turn in 1..=3_u8 {
        let scope = gpu.device().push_error_scope(wgpu::ErrorFilter::Validation);
        let mut frame = transients.frame();
        let from = frame.upload(storage, &[turn; 4096]).unwrap();
        let to = frame.create_buffer(&desc(4096, storage)).unwrap();
        let read_only = from.binding(BindingKind::ReadOnlyStorage).unwrap();
        // The habit of every wgpu program is right, too.
        let entire = to.buffer().as_entire_binding();
        let commands = dispatch(&gpu, [read_only, entire]);
        let keep = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        let keep = gpu.device().create_buffer(&desc(4096, keep));
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let (buffer, offset, size) = to.parts();
        encoder.copy_buffer_to_buffer(buffer, offset, &keep, 0, size);
        frame.submit([commands, encoder.finish()]).unwrap();
        let error = pollster::block_on(scope.pop());
        assert!(error.is_none(), "{error:?}");
        assert_eq!(contents(&gpu, &keep), [2 * turn; 4096]);
    }
    assert_eq!(transients.stats().fresh, 2, "the frames shared two buffers");
    // What shares a buffer says what to do.
    let mut frame = transients.frame();
    let shared = frame.create(UsageClass::Storage, 64).unwrap();
    let refused = shared.binding(BindingKind::ReadOnlyStorage).unwrap_err().to_string();
    assert!(refused.contains("read_write") && refused.contains("Exclusive"), "{refused}");
    frame.discard();
}

#[test]
fn memory_begins_small_and_never_exceeds_capacity_and_budget() {
    let gpu = noop();
    let transients = Transients::new(&gpu, TransientsConfig::default()).unwrap();
    let mut frame = transients.frame();
    use BufferUsages as U;
    for usage in [U::UNIFORM, U::STORAGE, U::VERTEX] {
        frame.create_buffer(&desc(16, usage)).unwrap();
    }
    assert!(transients.stats().committed_bytes <= 2 * (64 << 10) + 256);
    // Sixty-four more slabs' worth takes a few.
    for _ in 0..64 {
        frame.create_buffer(&desc(64 << 10, U::VERTEX)).unwrap();
    }
    let stats = transients.stats();
    assert!(stats.slabs < 16 && stats.committed_bytes * 2 < 3 * stats.reserved_bytes, "{stats:?}");
    frame.discard();

    let mut config = TransientsConfig::default();
    (config.capacity, config.budget) = (1 << 20, 900 << 10);
    let transients = Transients::new(&gpu, config).unwrap();
    let mut random = Rng(7);
    let mut most = 0;
    for _ in 0..200 {
        let mut frame = transients.frame();
        let mut held = 0;
        for _ in 0..random.below(20) {
            let usage = [U::UNIFORM, U::STORAGE, U::VERTEX][random.below(3) as usize];
            let size = 4 + random.below(200 << 10);
            match frame.create_buffer(&desc(size, usage)) {
                Ok(slice) => held += slice.size(),
                Err(TransientError::OverBudget { budget, .. }) => {
                    assert!(held + size.next_multiple_of(4) > budget);
                }
                Err(TransientError::OutOfMemory { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            assert!(held <= 900 << 10 && transients.existing_bytes() <= 1 << 20);
        }
        most = most.max(held);
        frame.submit([]).unwrap();
    }
    assert!(most > 512 << 10, "{most}");
    let mut frame = transients.frame();
    for size in [901 << 10, 2 << 20] {
        let refused = frame.create_buffer(&desc(size, U::STORAGE));
        assert!(matches!(refused, Err(TransientError::Pool(PoolError::TooLarge { .. }))));
    }
    frame.discard();
}

#[test]
fn what_a_burst_took_is_given_back_while_frames_go_on() {
    for gpu in both() {
        let (tracker, axis) = (Tracker::new(1), Axis::queue(0, 0));
        let config = TransientsConfig::default();
        let transients = Transients::with_axis(&gpu, config, &tracker, axis).unwrap();
        let frame = |scale: u64| {
            let mut frame = transients.frame();
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            for i in 1..=8 {
                for usage in [BufferUsages::STORAGE, BufferUsages::VERTEX] {
                    let usage = usage | BufferUsages::COPY_DST;
                    let slice = frame.create_buffer(&desc(i * scale, usage)).unwrap();
                    encoder.clear_buffer(slice.buffer(), slice.offset(), Some(slice.size()));
                }
                frame.upload(BufferUsages::UNIFORM, &vec![1; (i * scale) as usize]).unwrap();
            }
            let epoch = frame.submit([encoder.finish()]).unwrap();
            // Until the poller has told of it: on a loaded machine it may come late, and the next frame would take other bytes.
            until("the frame's end", || tracker.has_reached(axis, epoch));
        };
        (0..40).for_each(|_| frame(1 << 10));
        let steady = transients.existing_bytes();
        (0..3).for_each(|_| frame(100 << 10));
        let burst = transients.existing_bytes();
        assert!(burst > 8 * steady, "{burst} {steady}");
        // A second of a slow program.
        (0..35).for_each(|_| frame(1 << 10));
        let after = transients.existing_bytes();
        assert!(
            after * 5 <= steady * 6,
            "{after} after the burst, {steady} before: {transients:?}"
        );
    }
}

#[test]
fn trim_gives_back_what_the_device_is_done_with_at_once() {
    for gpu in both() {
        let transients = Transients::new(&gpu, TransientsConfig::default()).unwrap();
        for _ in 0..20 {
            let mut frame = transients.frame();
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            for (size, usage) in [(1 << 20, BufferUsages::STORAGE), (100, BufferUsages::UNIFORM)] {
                let usage = usage | BufferUsages::COPY_DST;
                let slice = frame.create_buffer(&desc(size, usage)).unwrap();
                encoder.clear_buffer(slice.buffer(), slice.offset(), Some(slice.size()));
            }
            frame.submit([encoder.finish()]).unwrap();
            gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
            assert_eq!(transients.trim().unwrap(), (1 << 20) + (64 << 10));
            assert_eq!(transients.existing_bytes(), 0);
        }
    }
}

#[test]
fn uploads_are_there_when_the_commands_run_and_go_out_as_one_copy() {
    for gpu in both() {
        let transients = Transients::new(&gpu, TransientsConfig::default()).unwrap();
        let mut random = Rng(3);
        for turn in 0..20_u8 {
            let mut frame = transients.frame();
            let keep = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
            let keep = gpu.device().create_buffer(&desc(64 * 1024, keep));
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            let mut expected = vec![0; 64 * 1024];
            for i in 0..64 {
                let len = 1 + random.below(1000) as usize;
                let bytes: Vec<u8> = (0..len).map(|at| turn ^ i as u8 ^ at as u8).collect();
                use BufferUsages as U;
                let usage = [U::VERTEX, U::UNIFORM, U::STORAGE][random.below(3) as usize];
                let slice = frame.upload(usage | U::COPY_SRC, &bytes).unwrap();
                expected[i * 1024..i * 1024 + len].copy_from_slice(&bytes);
                let (buffer, offset, size) = slice.parts();
                encoder.copy_buffer_to_buffer(buffer, offset, &keep, i as u64 * 1024, size);
            }
            frame.submit([encoder.finish()]).unwrap();
            assert_eq!(contents(&gpu, &keep), expected, "turn {turn}");
        }
        let stats = transients.stats();
        assert_eq!((stats.reserved_bytes, stats.live), (0, 0));
    }
}

fn contents(gpu: &Gpu, buffer: &wgpu::Buffer) -> Vec<u8> {
    let (done, mapped) = std::sync::mpsc::channel();
    buffer.map_async(wgpu::MapMode::Read, .., move |result| done.send(result).unwrap());
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    mapped.recv_timeout(PATIENCE).unwrap().unwrap();
    buffer.get_mapped_range(..).unwrap().to_vec()
}

#[test]
fn slices_are_written_copied_and_bound_within_their_bounds() {
    for gpu in both() {
        let transients = Transients::new(&gpu, TransientsConfig::default()).unwrap();
        let mut frame = transients.frame();
        use BufferUsages as U;
        let usage = U::VERTEX | U::COPY_SRC | U::COPY_DST;
        let [a, b] = [(); 2].map(|()| frame.create_buffer(&desc(6, usage)).unwrap());
        assert_eq!((a.size(), a.buffer() == b.buffer()), (8, true));
        a.write(gpu.queue(), &[1, 2, 3, 4, 5, 6]).unwrap();
        let beyond = a.write(gpu.queue(), &[9; 9]);
        assert!(matches!(beyond, Err(SliceError::OutOfRange { .. })), "{beyond:?}");
        assert_eq!(a.as_buffer_slice(), a.buffer().slice(a.offset()..a.offset() + 8));
        // Within one buffer wgpu copies nothing; the frame does.
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        frame.copy(&mut encoder, &a, &b).unwrap();
        assert!(matches!(
            frame.copy(&mut encoder, &a, &a),
            Err(TransientError::Slice(SliceError::Overlap))
        ));
        let large = frame.create_buffer(&desc(64, usage)).unwrap();
        assert!(frame.copy(&mut encoder, &large, &b).is_err());
        let keep = gpu.device().create_buffer(&desc(8, U::MAP_READ | U::COPY_DST));
        let (buffer, offset, size) = b.parts();
        encoder.copy_buffer_to_buffer(buffer, offset, &keep, 0, size);

        let uniforms = frame.create_buffer(&desc(1024, U::UNIFORM)).unwrap();
        let uniform = BindingKind::Uniform;
        assert!(uniforms.dynamic_binding(uniform, 256).is_ok());
        let at = |at, len| uniforms.dynamic_offset(uniform, at, len);
        assert_eq!(at(768, 256).unwrap(), uniforms.offset() as u32 + 768);
        assert!(matches!(at(768, 260), Err(SliceError::OutOfRange { .. })));
        assert!(matches!(at(u64::MAX, 16), Err(SliceError::OutOfRange { .. })));
        assert!(matches!(at(16, 16), Err(SliceError::MisalignedOffset { .. })));
        frame.submit([encoder.finish()]).unwrap();
        assert_eq!(contents(&gpu, &keep), [1, 2, 3, 4, 5, 6, 0, 0]);
    }
}

#[test]
fn labels_stay_the_programs() {
    let gpu = noop();
    let transients = Transients::new(&gpu, TransientsConfig::default()).unwrap();
    for label in ["one", "two"] {
        let mut frame = transients.frame();
        for usage in [BufferUsages::STORAGE, BufferUsages::VERTEX] {
            let descriptor = BufferDescriptor { label: Some(label), ..desc(64, usage) };
            let slice = frame.create_buffer(&descriptor).unwrap();
            assert_eq!(slice.label(), Some(label));
            assert!(format!("{slice:?}").contains(label));
        }
        frame.submit([]).unwrap();
    }
}

#[test]
fn an_upload_ring_writes_in_order_and_shrinks_after_a_burst() {
    for gpu in both() {
        let ring = UploadRing::new(&gpu);
        let target = gpu
            .device()
            .create_buffer(&desc(1 << 20, BufferUsages::COPY_DST | BufferUsages::COPY_SRC));
        let turn = |bytes: usize| {
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            let mut uploads = ring.begin();
            uploads.write(&target, 0, &vec![1; bytes]).unwrap();
            uploads.write(&target, bytes as u64, &[2; 16]).unwrap();
            uploads.write(&target, 8, &[3; 4]).unwrap();
            assert!(uploads.write(&target, 2, &[0; 4]).is_err());
            assert!(uploads.write(&target, (1 << 20) - 4, &[0; 8]).is_err());
            uploads.flush(&mut encoder);
            gpu.queue().submit([encoder.finish()]);
            gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
        };
        (0..40).for_each(|_| turn(1000));
        let steady = ring.bytes();
        turn(500_000);
        assert!(ring.bytes() > 500_000);
        (0..60).for_each(|_| turn(1000));
        assert_eq!(ring.bytes(), steady);
        let keep = gpu
            .device()
            .create_buffer(&desc(1020, BufferUsages::MAP_READ | BufferUsages::COPY_DST));
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&target, 0, &keep, 0, 1020);
        gpu.queue().submit([encoder.finish()]);
        let found = contents(&gpu, &keep);
        assert_eq!(
            (&found[..8], &found[8..12], &found[996..1000]),
            (&[1; 8][..], &[3; 4][..], &[1; 4][..])
        );
        assert_eq!(found[1000..1016], [2; 16]);
        // Dropped without an encoder: never made, and nothing is lost.
        let mut uploads = ring.begin();
        uploads.write(&target, 0, &[9; 64]).unwrap();
        drop(uploads);
        assert_eq!(ring.bytes(), steady);
        assert_eq!(ring.trim(), steady);
        assert_eq!(ring.bytes(), 0);
    }
}
