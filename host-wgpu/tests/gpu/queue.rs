//! Queues do real work in the right order: on the no-op device, which copies, and on a real one.

use crate::support::*;
use std::sync::Arc;
use strandline_core::pool_set::Registration;
use strandline_core::{Axis, Failure, Frontier, FrontierRef, Progress, Request, Tracker};
use strandline_host_wgpu::{
    BindingKind, Command, DeviceLost, Gpu, Kernel, KernelError, Queue, QueueError, QueueSet,
    SliceError, StagingConfig, Transient, UsageClass,
};

#[test]
fn what_is_written_filled_and_copied_is_read_back() {
    for gpu in both() {
        let tracker = Tracker::new(8);
        let (pools, pool) = storage(&gpu, &tracker, 8 << 20, 1);
        let set = QueueSet::new(pools, &tracker);
        let queue = set.open(&gpu, queue_axis(0, 0)).unwrap();
        let request = Request::new(3 << 20).or_grow();
        let (a, _) = queue.alloca(pool, &request).unwrap();
        let (b, _) = queue.alloca(pool, &request).unwrap();
        let bytes: Vec<u8> =
            (0..3_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        queue
            .submit(
                FrontierRef::EMPTY,
                [
                    Command::write(a, bytes.clone()),
                    Command::fill(b, 0),
                    // Both lie in one buffer, and it is more than the bounce buffer holds.
                    Command::copy(a, b),
                    Command::fill(a.slice(4, 20).unwrap(), 0x1122_3344_5566_7788),
                ],
            )
            .unwrap();
        let read = queue.read(FrontierRef::EMPTY, b).unwrap();
        let head = queue.read(FrontierRef::EMPTY, a.slice(0, 28).unwrap()).unwrap();
        queue.dealloca(a, FrontierRef::EMPTY).unwrap();
        queue.dealloca(b, FrontierRef::EMPTY).unwrap();
        assert!(read.wait().unwrap() == bytes, "{gpu:?}");
        let head = head.wait().unwrap();
        assert_eq!(head[..4], bytes[..4]);
        assert_eq!(words(&head[4..20]), [0x1122_3344_5566_7788; 2]);
        assert_eq!(head[20..24], 0x5566_7788_u32.to_le_bytes());
        assert_eq!(head[24..], bytes[24..28]);
        queue.finish().unwrap();
        assert_eq!(set.pools().set().stats().pools.reserved_bytes, 0);
        assert_eq!(queue.waiting(), 0);
    }
}

#[test]
fn kernels_run_over_slices() {
    let Some(gpu) = real() else { return };
    let tracker = Tracker::new(8);
    let (pools, pool) = storage(&gpu, &tracker, 1 << 20, 1);
    let set = QueueSet::new(pools, &tracker);
    let queue = set.open(&gpu, queue_axis(0, 0)).unwrap();
    let add = "
        @group(0) @binding(0) var<storage, read_write> a: array<u32>;
        @group(0) @binding(1) var<storage, read_write> b: array<u32>;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            if id.x < arrayLength(&a) { b[id.x] += a[id.x]; }
        }";
    let add = Kernel::new(&gpu, "add", add, "main", &[BindingKind::Storage; 2]).unwrap();
    let (a, _) = queue.alloca(pool, &Request::new(4000).or_grow()).unwrap();
    let (b, _) = queue.alloca(pool, &Request::new(4000).or_grow()).unwrap();
    let numbers: Vec<u32> = (0..1000).collect();
    queue
        .submit(
            FrontierRef::EMPTY,
            [
                Command::write(a, bytemuck::cast_slice(&numbers)),
                Command::fill(b, 7 << 32 | 7),
                Command::dispatch(&add, [a.into(), b.into()], [16, 1, 1]),
                Command::dispatch(&add, [a.into(), b.into()], [16, 1, 1]),
            ],
        )
        .unwrap();
    let bytes = queue.read(FrontierRef::EMPTY, b).unwrap().wait().unwrap();
    let sums: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes);
    assert!(sums.iter().zip(0..).all(|(&sum, i): (_, u32)| sum == 7 + 2 * i), "{sums:?}");
}

#[test]
fn many_threads_submit_while_their_allocas_wait_for_each_other() {
    const THREADS: u64 = 8;
    for (gpu, each) in both().into_iter().zip([1250, 100]) {
        let tracker = Tracker::new(32);
        // Room for three buffers: most allocas park.
        let (mut pools, pool) = storage(&gpu, &tracker, 3 << 12, 1);
        let (results, provider) =
            tlsf(&gpu, Arc::new(tracker.clone()), UsageClass::Storage, 1 << 20, 1);
        let results = pools.add(results, provider, Registration::new()).unwrap();
        let set = QueueSet::new(pools, &tracker);
        let first = set.open(&gpu, queue_axis(0, 0)).unwrap();
        let total = THREADS * each;
        let (tags, _) = first.alloca(results, &Request::new(8 * total).or_grow()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (set, gpu, first) = (&set, &gpu, &first);
                scope.spawn(move || {
                    let queue = set.open(gpu, queue_axis(0, 1 + thread as u8)).unwrap();
                    for i in 0..each {
                        let tag = thread * each + i;
                        let request = Request::new(4096).or_grow();
                        let (buffer, _) = queue.alloca(pool, &request).unwrap();
                        let seal = buffer.slice(0, 8).unwrap();
                        let place = tags.slice(8 * tag, 8).unwrap();
                        queue
                            .submit(
                                first.frontier().as_ref(),
                                [Command::fill(buffer, !tag), Command::copy(seal, place)],
                            )
                            .unwrap();
                        queue.dealloca(buffer, FrontierRef::EMPTY).unwrap();
                    }
                    queue.finish().unwrap();
                });
            }
        });
        let read = first.read(FrontierRef::EMPTY, tags).unwrap().wait().unwrap();
        assert!(words(&read).iter().zip(0..).all(|(&word, tag): (_, u64)| word == !tag));
        let stats = set.pools().set().get(pool).unwrap().stats();
        assert_eq!((stats.reserves, stats.releases), (total, total));
        assert!(stats.exhausted > 0, "some had to wait: {stats:?}");
        assert!(set.parked().is_empty());
    }
}

#[test]
fn waits_on_the_host_and_on_another_device_park_and_block_nobody() {
    for gpu in both() {
        let tracker = Tracker::new(16);
        let gate = Axis::host(1);
        tracker.register(gate).unwrap();
        let other = noop();
        let (mut pools, pool) = storage(&gpu, &tracker, 1 << 16, 1);
        let (there, provider) =
            tlsf(&other, Arc::new(tracker.clone()), UsageClass::Storage, 1 << 16, 1);
        let there = pools.add(there, provider, Registration::new()).unwrap();
        let set = QueueSet::new(pools, &tracker);
        let here = set.open(&gpu, queue_axis(0, 0)).unwrap();
        let free = set.open(&gpu, queue_axis(0, 1)).unwrap();
        let far = set.open(&other, queue_axis(1, 0)).unwrap();

        let (a, _) = here.alloca(pool, &Request::new(64).or_grow()).unwrap();
        let (b, _) = far.alloca(there, &Request::new(64).or_grow()).unwrap();
        let opened = Frontier::from_entry(gate, 1);
        let filled = far.submit(opened.as_ref(), [Command::fill(b, 5)]).unwrap();
        let far_done = Frontier::from_entry(far.axis(), filled);
        // It waits for the other device, which waits for the host.
        let last = here.submit(far_done.as_ref(), [Command::fill(a, 6)]).unwrap();
        // Another stream of the same device goes on.
        let (c, _) = free.alloca(pool, &Request::new(64).or_grow()).unwrap();
        free.submit(FrontierRef::EMPTY, [Command::fill(c, 0)]).unwrap();
        let zeros = free.read(FrontierRef::EMPTY, c).unwrap().wait().unwrap();
        assert!(zeros.iter().all(|&byte| byte == 0));
        // And one that waits for what is parked is parked.
        let behind = Frontier::from_entry(here.axis(), last);
        free.submit(behind.as_ref(), [Command::copy(a, c)]).unwrap();
        assert!(here.waiting() > 0 && far.waiting() > 0 && free.waiting() > 0);
        assert!(tracker.reached(here.axis()) < last && tracker.reached(far.axis()) < filled);

        tracker.advance(gate, 1).unwrap();
        let bytes = free.read(FrontierRef::EMPTY, c).unwrap().wait().unwrap();
        assert_eq!(words(&bytes[..8]), [6]);
        assert!(tracker.reached(far.axis()) >= filled);
    }
}

#[test]
fn a_write_lands_where_it_stands_among_the_commands() {
    for gpu in both() {
        let tracker = Tracker::new(8);
        let (pools, pool) = storage(&gpu, &tracker, 1 << 16, 1);
        let set = QueueSet::new(pools, &tracker);
        let queue = set.open(&gpu, queue_axis(0, 0)).unwrap();
        let (a, _) = queue.alloca(pool, &Request::new(256).or_grow()).unwrap();
        let (b, _) = queue.alloca(pool, &Request::new(256).or_grow()).unwrap();
        // The bytes of `a` are used, freed, and handed to `c`, whose write is in the same breath.
        queue
            .submit(
                FrontierRef::EMPTY,
                [Command::write(a, vec![1; 256]), Command::copy(a, b), Command::write(a, [2; 256])],
            )
            .unwrap();
        let (old, new) = (
            queue.read(FrontierRef::EMPTY, b).unwrap(),
            queue.read(FrontierRef::EMPTY, a).unwrap(),
        );
        queue.dealloca(a, FrontierRef::EMPTY).unwrap();
        let (c, _) = queue.alloca(pool, &Request::new(256).or_grow()).unwrap();
        assert_eq!(queue.slice_of(c).map(|slice| slice.offset()), Some(0), "reused at once");
        queue.submit(FrontierRef::EMPTY, [Command::write(c, [3; 256])]).unwrap();
        assert_eq!(old.wait().unwrap(), [1; 256]);
        assert_eq!(new.wait().unwrap(), [2; 256]);
        assert_eq!(queue.read(FrontierRef::EMPTY, c).unwrap().wait().unwrap(), [3; 256]);
    }
}

#[test]
fn a_small_staging_ring_slows_down_and_loses_nothing() {
    for gpu in both() {
        let tracker = Tracker::new(8);
        let (pools, pool) = storage(&gpu, &tracker, 1 << 16, 1);
        let set = QueueSet::new(pools, &tracker);
        let staging =
            StagingConfig { chunk_size: 512, upload_chunks: 2, readback_chunks: 2, prepared: true };
        for chunk_size in [u64::MAX, u64::MAX - 254] {
            let refused =
                set.add_device(&gpu, Axis::host(9), StagingConfig { chunk_size, ..staging });
            assert!(matches!(refused, Err(QueueError::Staging(_))), "{refused:?}");
        }
        set.add_device(&gpu, Axis::host(9), staging).unwrap();
        let again = set.add_device(&gpu, Axis::host(8), staging);
        assert!(matches!(again, Err(QueueError::KnownDevice)), "{again:?}");
        let queue = set.open(&gpu, queue_axis(0, 0)).unwrap();
        let (a, _) = queue.alloca(pool, &Request::new(1024).or_grow()).unwrap();
        let too_much = queue.submit(
            FrontierRef::EMPTY,
            [Command::write(a, [0; 1024]), Command::write(a, [0; 1024])],
        );
        assert!(matches!(
            too_much,
            Err(QueueError::StagingTooSmall { needed: 2048, capacity: 1024 })
        ));
        let reads: Vec<_> = (0..100_u8)
            .map(|i| {
                queue.submit(FrontierRef::EMPTY, [Command::write(a, [i; 1024])]).unwrap();
                queue.read(FrontierRef::EMPTY, a).unwrap()
            })
            .collect();
        for (read, i) in reads.into_iter().zip(0_u8..) {
            assert_eq!(read.wait().unwrap(), [i; 1024]);
        }
        let stats = set.staging_stats(&gpu).unwrap();
        assert_eq!((stats.upload.slabs, stats.readback.slabs), (2, 2));
        assert!(stats.upload.reserves >= 200);
    }
}

#[test]
fn what_wgpu_would_refuse_is_an_error_value() {
    let gpu = noop();
    let tracker = Tracker::new(8);
    let (mut pools, pool) = storage(&gpu, &tracker, 1 << 20, 1);
    let (upload, provider) = tlsf(&gpu, Arc::new(tracker.clone()), UsageClass::Upload, 1 << 16, 1);
    let upload = pools.add(upload, provider, Registration::new()).unwrap();
    let other = noop();
    let (far, provider) = tlsf(&other, Arc::new(tracker.clone()), UsageClass::Storage, 1 << 16, 1);
    let far = pools.add(far, provider, Registration::new()).unwrap();
    let set = QueueSet::new(pools, &tracker);
    let queue = set.open(&gpu, queue_axis(0, 0)).unwrap();
    let away = set.open(&other, queue_axis(1, 0)).unwrap();
    let request = Request::new(1024).or_grow();
    let (a, _) = queue.alloca(pool, &request).unwrap();
    let (b, _) = queue.alloca(pool, &request).unwrap();
    let (up, _) = queue.alloca(upload, &request).unwrap();
    let (there, _) = away.alloca(far, &request).unwrap();
    let kernel = |gpu, kinds: &[BindingKind]| {
        Kernel::new(gpu, "nothing", "@compute @workgroup_size(1) fn main() {}", "main", kinds)
            .unwrap()
    };
    let two = kernel(&gpu, &[BindingKind::Storage; 2]);
    let uniform = kernel(&gpu, &[BindingKind::Uniform]);
    let one = [1, 1, 1];
    let part = |offset, len| a.slice(offset, len).unwrap();
    let cases: Vec<(&str, Command)> = vec![
        ("zero", Command::fill(part(0, 0), 1)),
        ("offset", Command::fill(part(2, 8), 1)),
        ("size", Command::fill(part(4, 6), 1)),
        ("sizes", Command::write(a, vec![0; 4])),
        ("sizes", Command::copy(part(0, 8), b)),
        ("overlap", Command::copy(part(0, 8), part(4, 8))),
        ("class", Command::fill(up, 1)),
        ("bindings", Command::dispatch(&two, [a.into()], one)),
        ("misaligned", Command::dispatch(&two, [part(4, 4), b.into()], one)),
        ("odd", Command::dispatch(&two, [part(0, 6), b.into()], one)),
        ("empty", Command::dispatch(&two, [part(0, 0), b.into()], one)),
        ("aliased", Command::dispatch(&two, [part(0, 512), part(256, 256)], one)),
        ("class", Command::dispatch(&uniform, [a.into()], one)),
        ("no groups", Command::dispatch(&two, [a.into(), b.into()], [1, 0, 1])),
        ("groups", Command::dispatch(&two, [a.into(), b.into()], [1 << 20, 1, 1])),
        ("device", Command::fill(there, 1)),
        ("device", Command::dispatch(&kernel(&other, &[]), [], one)),
    ];
    let before = queue.frontier();
    for (what, command) in cases {
        let text = format!("{command:?}");
        let refused = queue.submit(FrontierRef::EMPTY, [command]);
        assert!(refused.is_err(), "{what}: {text}");
    }
    assert!(a.slice(1020, 8).is_err());
    assert!(matches!(queue.alloca(far, &request), Err(QueueError::WrongDevice)));
    assert!(queue.alloca(pool, &Request::new(0)).is_err());
    assert!(queue.alloca(pool, &Request::new(u64::MAX)).is_err());
    assert!(queue.alloca(pool, &Request::new(64).aligned(3)).is_err());
    let nowhere = Frontier::from_entry(Axis::host(9).with_session(9).with_machine(9), 1);
    assert!(matches!(queue.submit(nowhere.as_ref(), []), Err(QueueError::Tracker(_))));
    let itself = Frontier::from_entry(queue.axis(), 100);
    assert!(queue.submit(itself.as_ref(), []).is_err());
    assert_eq!(queue.frontier(), before, "nothing was taken");
    queue.submit(FrontierRef::EMPTY, [Command::fill(a, 1)]).unwrap();
    queue.finish().unwrap();
}

#[test]
fn a_binding_over_the_devices_limit_is_refused_and_fills_do_without_one() {
    let limits = wgpu::Limits { max_storage_buffer_binding_size: 1024, ..wgpu::Limits::default() };
    let desc = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    let (device, queue) = wgpu::Device::noop(&desc);
    let gpu = Gpu::new(device, queue).unwrap();
    let tracker = Tracker::new(8);
    let (pools, pool) = storage(&gpu, &tracker, 1 << 16, 1);
    let set = QueueSet::new(pools, &tracker);
    let queue = set.open(&gpu, queue_axis(0, 0)).unwrap();
    let nothing = "@compute @workgroup_size(1) fn main() {}";
    let kernel = Kernel::new(&gpu, "nothing", nothing, "main", &[BindingKind::Storage]).unwrap();
    let (a, _) = queue.alloca(pool, &Request::new(10_000).or_grow()).unwrap();
    let dispatch = |part| Command::dispatch(&kernel, [part], [1, 1, 1]);
    let refused = queue.submit(FrontierRef::EMPTY, [dispatch(a.into())]);
    let too_large = SliceError::BindingTooLarge { size: 10_000, max: 1024 };
    assert!(matches!(refused, Err(QueueError::Slice(error)) if error == too_large), "{refused:?}");
    queue.submit(FrontierRef::EMPTY, [dispatch(a.slice(256, 1024).unwrap())]).unwrap();
    queue.submit(FrontierRef::EMPTY, [Command::fill(a, 0x1122_3344_5566_7788)]).unwrap();
    let bytes = queue.read(FrontierRef::EMPTY, a).unwrap().wait().unwrap();
    assert_eq!(bytes.len(), 10_000);
    assert!(words(&bytes).iter().all(|&word| word == 0x1122_3344_5566_7788));
}

#[test]
fn wrong_wgsl_is_an_error_with_the_compilers_words() {
    for gpu in both() {
        let new =
            |wgsl, entry, kinds: &[BindingKind]| Kernel::new(&gpu, "wrong", wgsl, entry, kinds);
        let nothing = "@compute @workgroup_size(1) fn main() {}";
        let typed = "@compute @workgroup_size(1) fn main() { let a: u32 = 1.5; }";
        assert!(matches!(new("fn main( {", "main", &[]), Err(KernelError::Shader(_))));
        assert!(matches!(new(typed, "main", &[]), Err(KernelError::Shader(_))));
        assert!(matches!(new(nothing, "other", &[]), Err(KernelError::Pipeline(_))));
        let bound = "@group(0) @binding(0) var<storage, read_write> a: array<u32>;
            @compute @workgroup_size(1) fn main() { a[0] = 1; }";
        assert!(matches!(new(bound, "main", &[]), Err(KernelError::Pipeline(_))));
        assert!(matches!(
            new(bound, "main", &[BindingKind::Uniform]),
            Err(KernelError::Pipeline(_))
        ));
        new(bound, "main", &[BindingKind::Storage]).unwrap();
    }
}

#[test]
fn an_error_while_recording_fails_the_queue_and_no_other() {
    let Some(gpu) = real() else { return };
    for panics in [false, true] {
        let tracker = Tracker::new(8);
        let (pools, pool) = storage(&gpu, &tracker, 1 << 16, 1);
        let set = QueueSet::new(pools, &tracker);
        let axes = [0, 1].map(|i| queue_axis(u8::from(panics), i));
        let [bad, good] = axes.map(|axis| set.open(&gpu, axis).unwrap());
        let (a, _) = bad.alloca(pool, &Request::new(1024).or_grow()).unwrap();
        let command = Command::encode([a.into()], move |encoder, slices| {
            assert!(!panics, "the program's own affair (expected)");
            let (buffer, offset, _) = slices[0].parts();
            // wgpu does not copy within a buffer.
            encoder.copy_buffer_to_buffer(buffer, offset, buffer, offset + 512, 256);
        });
        let epoch = bad.submit(FrontierRef::EMPTY, [command]).unwrap();
        assert!(matches!(bad.wait(epoch), Err(QueueError::Failed(_))));
        assert!(bad.submit(FrontierRef::EMPTY, []).is_err());
        // Its buffer is ended on the other, which works.
        let (b, _) = good.alloca(pool, &Request::new(1024).or_grow()).unwrap();
        good.submit(FrontierRef::EMPTY, [Command::fill(b, 3)]).unwrap();
        let bytes = good.read(FrontierRef::EMPTY, b).unwrap().wait().unwrap();
        assert!(words(&bytes).iter().all(|&word| word == 3));
    }
}

#[test]
fn a_read_that_shares_a_refused_submission_gets_the_cause_and_no_bytes() {
    for gpu in both() {
        let tracker = Tracker::new(8);
        let gate = Axis::host(1);
        tracker.register(gate).unwrap();
        let (pools, pool) = storage(&gpu, &tracker, 1 << 16, 1);
        let set = QueueSet::new(pools, &tracker);
        let queue = set.open(&gpu, queue_axis(0, 0)).unwrap();
        let (a, _) = queue.alloca(pool, &Request::new(1024).or_grow()).unwrap();
        let wrong = Command::encode([a.into()], |encoder, slices| {
            let (buffer, offset, _) = slices[0].parts();
            encoder.copy_buffer_to_buffer(buffer, offset, buffer, offset + 512, 256);
        });
        // Held, so that both go out together.
        let opened = Frontier::from_entry(gate, 1);
        queue.submit(opened.as_ref(), [wrong]).unwrap();
        let read = queue.read(FrontierRef::EMPTY, a).unwrap();
        tracker.advance(gate, 1).unwrap();
        assert!(read.wait().is_err(), "nothing was copied");
        let staging = set.staging_stats(&gpu).unwrap();
        assert_eq!(staging.readback.live, 0, "its chunk is free again");
    }
}

#[test]
fn a_wait_that_can_never_be_reached_fails_the_queue_with_the_cause() {
    for gpu in both() {
        let tracker = Tracker::new(8);
        let gate = Axis::host(1);
        tracker.register(gate).unwrap();
        let (pools, pool) = storage(&gpu, &tracker, 1 << 16, 1);
        let set = QueueSet::new(pools, &tracker);
        let [held, behind] = [0, 1].map(|i| set.open(&gpu, queue_axis(0, i)).unwrap());
        let (a, _) = held.alloca(pool, &Request::new(1024).or_grow()).unwrap();
        let opened = Frontier::from_entry(gate, 1);
        held.submit(opened.as_ref(), [Command::fill(a, 1)]).unwrap();
        let read = held.read(FrontierRef::EMPTY, a).unwrap();
        let follows = behind.submit(held.frontier().as_ref(), []).unwrap();
        tracker.fail_axis(gate, Failure::message("the gate fell down")).unwrap();
        assert_eq!(read.wait().unwrap_err().to_string(), "the gate fell down");
        match behind.wait(follows) {
            Err(QueueError::Failed(failure)) => {
                assert_eq!(failure.to_string(), "the gate fell down")
            }
            other => panic!("{other:?}"),
        }
        assert!(held.alloca(pool, &Request::new(64)).is_err());
        // Its memory was there before the failure: it is for the program to give up.
        assert!(held.slice_of(a).is_some());
        set.abandon(a).unwrap();
        let stats = set.pools().set().stats().pools;
        assert_eq!(stats.reserved_bytes, 0, "{stats:?}");
    }
}

#[test]
fn loss_of_the_device_tells_every_waiter_and_accounts_for_every_reservation() {
    for gpu in both() {
        let tracker = Tracker::new(16);
        let gate = Axis::host(1);
        tracker.register(gate).unwrap();
        let (mut pools, pool) = storage(&gpu, &tracker, 1 << 16, 1);
        let other = noop();
        let (spare, provider) =
            tlsf(&other, Arc::new(tracker.clone()), UsageClass::Storage, 1 << 16, 1);
        let spare = pools.add(spare, provider, Registration::new()).unwrap();
        let set = QueueSet::new(pools, &tracker);
        let [one, two] = [0, 1].map(|i| set.open(&gpu, queue_axis(0, i)).unwrap());
        let elsewhere = set.open(&other, queue_axis(1, 0)).unwrap();

        let (a, _) = one.alloca(pool, &Request::new(1 << 16).or_grow()).unwrap();
        one.submit(FrontierRef::EMPTY, [Command::fill(a, 1)]).unwrap();
        let opened = Frontier::from_entry(gate, 1);
        one.submit(opened.as_ref(), [Command::fill(a, 2)]).unwrap();
        let read = one.read(FrontierRef::EMPTY, a).unwrap();
        // Parked: there is no room.
        let (b, _) = two.alloca(pool, &Request::new(1 << 16).or_grow()).unwrap();
        two.submit(FrontierRef::EMPTY, [Command::fill(b, 3)]).unwrap();
        assert_eq!(set.parked().len(), 1);
        let follows = elsewhere.submit(two.frontier().as_ref(), []).unwrap();

        // Nothing may be in flight: the loss is noticed because somebody waits.
        gpu.device().destroy();
        let lost = |failure: &Failure| failure.get_ref().downcast_ref::<DeviceLost>().is_some();
        assert!(lost(&read.wait().unwrap_err()));
        for queue in [&one, &two] {
            match queue.wait(100) {
                Err(QueueError::Failed(failure)) => assert!(lost(&failure), "{failure}"),
                other => panic!("{other:?}"),
            }
        }
        // It depended on what was lost.
        assert!(
            matches!(elsewhere.wait(follows), Err(QueueError::Failed(failure)) if lost(&failure))
        );
        assert!(one.submit(FrontierRef::EMPTY, []).is_err());
        assert!(one.alloca(pool, &Request::new(64)).is_err());
        let stats = set.pools().set().get(pool).unwrap().stats();
        assert_eq!((stats.reserved_bytes, set.parked().len()), (0, 0), "{stats:?}");

        let fresh = set.open(&other, queue_axis(1, 1)).unwrap();
        let (c, _) = fresh.alloca(spare, &Request::new(64).or_grow()).unwrap();
        fresh.submit(FrontierRef::EMPTY, [Command::write(c, [4; 64])]).unwrap();
        assert_eq!(fresh.read(FrontierRef::EMPTY, c).unwrap().wait().unwrap(), [4; 64]);
    }
}

#[test]
fn callbacks_use_queues() {
    for gpu in both() {
        let tracker = Tracker::new(8);
        let (pools, pool) = storage(&gpu, &tracker, 1 << 16, 1);
        let set = QueueSet::new(pools, &tracker);
        let queue = set.open(&gpu, queue_axis(0, 0)).unwrap();
        let (a, _) = queue.alloca(pool, &Request::new(1024).or_grow()).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        fn again(queue: Queue, a: Transient, left: u64, tell: std::sync::mpsc::Sender<u64>) {
            let epoch = queue.submit(FrontierRef::EMPTY, [Command::fill(a, left)]).unwrap();
            let done = Frontier::from_entry(queue.axis(), epoch);
            let tracker = queue.set().tracker().clone();
            tracker
                .wait(done.as_ref(), move |reached| {
                    reached.unwrap();
                    match left {
                        0 => tell.send(epoch).unwrap(),
                        _ => again(queue, a, left - 1, tell),
                    }
                })
                .unwrap();
        }
        again(queue.clone(), a, 100, tell);
        let last = told.recv_timeout(PATIENCE).unwrap();
        assert!(last >= 101);
    }
}

#[test]
fn a_submission_of_ones_own_takes_its_place_in_the_order() {
    for gpu in both() {
        let tracker = Tracker::new(8);
        let (pools, pool) = storage(&gpu, &tracker, 1 << 16, 1);
        let set = QueueSet::new(pools, &tracker);
        let queue = set.open(&gpu, queue_axis(0, 0)).unwrap();
        let (a, _) = queue.alloca(pool, &Request::new(256).or_grow()).unwrap();
        queue.submit(FrontierRef::EMPTY, [Command::write(a, [1; 256])]).unwrap();
        let slice = queue.slice_of(a).unwrap();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        encoder.clear_buffer(slice.buffer(), slice.offset(), Some(128));
        let epoch = queue.submitted(gpu.queue().submit([encoder.finish()])).unwrap();
        queue.wait(epoch).unwrap();
        let bytes = queue.read(FrontierRef::EMPTY, a).unwrap().wait().unwrap();
        assert_eq!((&bytes[..128], &bytes[128..]), (&[0; 128][..], &[1; 128][..]));
    }
}
