//! The steady state: no buffer is made, and the host allocates nothing beyond what wgpu does.

use crate::counting::{all_allocations, allocations};
use crate::support::*;
use strandline_core::{Axis, FrontierRef, Progress, Request, SlabProvider, Tracker};
use strandline_host_wgpu::{
    BindingKind, Command, Gpu, Kernel, QueueSet, StagingConfig, Transients, UsageClass,
};

const STEPS: u64 = 100;

/// Buffers and memory blocks that wgpu counts on the device.
fn counted(gpu: &Gpu) -> (isize, isize) {
    let counters = gpu.device().get_internal_counters().hal;
    (counters.buffers.read(), counters.memory_allocations.read())
}

#[test]
fn no_buffer_is_made_in_the_steady_state() {
    let Some(gpu) = real() else { return };
    let tracker = Tracker::new(8);
    let (pools, pool) = storage(&gpu, &tracker, 1 << 20, u32::MAX);
    let set = QueueSet::new(pools, &tracker);
    let staging =
        StagingConfig { chunk_size: 1 << 16, upload_chunks: 4, readback_chunks: 4, prepared: true };
    set.add_device(&gpu, Axis::host(1), staging).unwrap();
    let queues = [0, 1].map(|i| set.open(&gpu, queue_axis(0, i)).unwrap());
    let kernel = Kernel::new(
        &gpu,
        "add one",
        "@group(0) @binding(0) var<storage, read_write> data: array<u32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            if id.x < arrayLength(&data) { data[id.x] += 1u; }
        }",
        "main",
        &[BindingKind::Storage],
    )
    .unwrap();
    let step = |i: u32| {
        for queue in &queues {
            let (a, _) = queue.alloca(pool, &Request::new(64 << 10).or_grow()).unwrap();
            let (b, _) = queue.alloca(pool, &Request::new(4096).or_grow()).unwrap();
            let written = b.slice(0, 4).unwrap();
            queue
                .submit(
                    FrontierRef::EMPTY,
                    [
                        Command::fill(a, 1),
                        Command::write(written.clone(), i.to_le_bytes()),
                        Command::dispatch(&kernel, [b.into()], [16, 1, 1]),
                    ],
                )
                .unwrap();
            let read = queue.read(FrontierRef::EMPTY, written).unwrap();
            queue.dealloca(a, FrontierRef::EMPTY).unwrap();
            queue.dealloca(b, FrontierRef::EMPTY).unwrap();
            assert_eq!(read.wait().unwrap(), (i + 1).to_le_bytes());
        }
    };
    (0..20).for_each(step);
    queues.iter().for_each(|queue| queue.finish().unwrap());
    let made = || {
        let provider = set.pools().provider(pool).unwrap().stats().acquires;
        let staging = set.staging_stats(&gpu).unwrap();
        (provider, staging.upload.slabs, staging.readback.slabs, counted(&gpu))
    };
    let before = made();
    assert!(before.3.0 > 0, "wgpu was built to count");
    for i in 0..STEPS as u32 {
        step(i);
        assert_eq!(made(), before, "step {i}");
    }
}

#[test]
fn a_frame_allocates_nothing_beyond_what_wgpu_does() {
    let gpu = noop();
    let transients = Transients::new(&gpu, 1 << 20).unwrap();
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 4096,
        usage: UsageClass::Storage.buffer_usages(),
        mapped_at_creation: false,
    });
    let plain = || {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for _ in 0..4 {
            encoder.clear_buffer(&buffer, 0, Some(4096));
        }
        gpu.queue().submit([encoder.finish()]);
    };
    let ours = || {
        let mut frame = transients.frame();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for _ in 0..4 {
            let slice = frame.create(UsageClass::Storage, 4096).unwrap();
            encoder.clear_buffer(slice.buffer(), slice.offset(), Some(4096));
        }
        frame.submit([encoder.finish()]).unwrap();
    };
    (0..STEPS).for_each(|_| plain());
    (0..STEPS).for_each(|_| ours());
    // wgpu's callbacks of finished work run where it pleases: the least of some rounds is what a step takes.
    let least = |step: &dyn Fn()| {
        (0..5).map(|_| allocations(|| (0..STEPS).for_each(|_| step()))).min().unwrap()
    };
    let (plain, ours) = (least(&plain), least(&ours));
    assert!(ours <= plain, "{ours} against {plain} in {STEPS} steps");
    assert_eq!(transients.pools().providers().map(|p| p.stats().acquires).sum::<u64>(), 1);
}

/// What all threads allocate in a step, once it has settled: the least of some rounds, since a queue or a table of somebody's may
/// still grow in one.
#[cfg(unix)]
fn per_round(step: &mut dyn FnMut()) -> u64 {
    (0..STEPS).for_each(|_| step());
    let round = || {
        let before = all_allocations();
        (0..STEPS).for_each(|_| step());
        all_allocations() - before
    };
    core::iter::repeat_with(round).take(5).min().unwrap()
}

/// Allocas, deallocas and a submission on a queue, against the same submission with wgpu alone: encoder, commands, and the error
/// scopes that make a refusal a value. All threads count.
#[test]
#[cfg(unix)]
fn a_queue_allocates_nothing_beyond_what_wgpu_does() {
    if !alone("steady::a_queue_allocates_nothing_beyond_what_wgpu_does", "exec \"$0\" \"$@\"") {
        return;
    }
    let gpu = noop();
    let tracker = Tracker::new(8);
    let (pools, pool) = storage(&gpu, &tracker, 1 << 20, u32::MAX);
    let set = QueueSet::new(pools, &tracker);
    let queue = set.open(&gpu, queue_axis(0, 0)).unwrap();
    let nothing = "@group(0) @binding(0) var<storage, read_write> data: array<u32>;
        @compute @workgroup_size(64) fn main() { data[0] = 0; }";
    let kernel = Kernel::new(&gpu, "nothing", nothing, "main", &[BindingKind::Storage]).unwrap();

    let mut ours = || {
        let (a, _) = queue.alloca(pool, &Request::new(64 << 10).or_grow()).unwrap();
        let (b, _) = queue.alloca(pool, &Request::new(4096).or_grow()).unwrap();
        let commands = [Command::fill(a, 0), Command::dispatch(&kernel, [b.into()], [1, 1, 1])];
        queue.submit(FrontierRef::EMPTY, commands).unwrap();
        queue.dealloca(a, FrontierRef::EMPTY).unwrap();
        let last = queue.dealloca(b, FrontierRef::EMPTY).unwrap();
        while tracker.reached(queue.axis()) < last {
            std::thread::yield_now();
        }
    };
    let ours = per_round(&mut ours);

    // Without work there is nothing for wgpu to do, either.
    let memory = per_round(&mut || {
        let (a, _) = queue.alloca(pool, &Request::new(4096).or_grow()).unwrap();
        queue.submit(FrontierRef::EMPTY, []).unwrap();
        let last = queue.dealloca(a, FrontierRef::EMPTY).unwrap();
        while tracker.reached(queue.axis()) < last {
            std::thread::yield_now();
        }
    });
    assert_eq!(memory, 0, "allocations in {STEPS} steps");

    let (device, wgpu_queue) = (gpu.device(), gpu.queue());
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 1 << 20,
        usage: UsageClass::Storage.buffer_usages(),
        mapped_at_creation: false,
    });
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: kernel.layout(),
        entries: &[wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &buffer,
                offset: 64 << 10,
                size: core::num::NonZeroU64::new(4096),
            }),
        }],
    });
    let mut plain = || {
        let mut encoder = device.create_command_encoder(&Default::default());
        encoder.clear_buffer(&buffer, 0, Some(64 << 10));
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(kernel.pipeline());
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
        use wgpu::ErrorFilter as F;
        let scopes = [F::Internal, F::OutOfMemory, F::Validation]
            .map(|filter| device.push_error_scope(filter));
        let index = wgpu_queue.submit([encoder.finish()]);
        for scope in scopes.into_iter().rev() {
            assert!(pollster::block_on(scope.pop()).is_none());
        }
        let wait = wgpu::PollType::Wait { submission_index: Some(index), timeout: None };
        device.poll(wait).unwrap();
    };
    let plain = per_round(&mut plain);
    println!("{STEPS} steps: {ours} allocations, {plain} of wgpu alone");
    assert!(ours <= plain, "{ours} against {plain} in {STEPS} steps");
}
