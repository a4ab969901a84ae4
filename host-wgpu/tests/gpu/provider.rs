//! Providers: classes, limits, memory that is not there.

use crate::support::*;
use std::sync::Arc;
use strandline_core::pool_set::{Need, NoMatch, Registration, Route};
use strandline_core::slab::{BufferUsage, MemoryType, SlabMap};
use strandline_core::{
    Acquire, FrontierRef, Grant, PoolError, Request, SlabError, SlabProvider, Tracker,
};
use strandline_host_wgpu::{
    BindingKind, Command, Gpu, GpuPools, QueueError, QueueSet, SliceError, UsageClass,
    WgpuSlabProvider,
};

fn slab(provider: &WgpuSlabProvider, size: u64) -> strandline_core::Slab {
    match provider.acquire(size) {
        Ok(Grant::Slab(slab)) => slab,
        other => panic!("{other:?}"),
    }
}

#[test]
fn slabs_come_and_go_and_stale_ids_are_refused() {
    for gpu in both() {
        for class in UsageClass::SHARED {
            let unlimited = WgpuSlabProvider::new(&gpu, class);
            assert_eq!(SlabProvider::capacity(&unlimited), None);
            let provider = unlimited.capacity(1 << 20);
            // Pools read it there, behind whatever stands between.
            assert_eq!(SlabProvider::capacity(&provider), Some(1 << 20));
            let a = slab(&provider, 1000);
            assert_eq!(a.size, 1024);
            let held = provider.map(a.id, 512, 512).unwrap();
            assert_eq!(held.buffer().usage(), class.buffer_usages());
            assert!(matches!(provider.map(a.id, 512, 513), Err(SlabError::InvalidRange)));
            assert!(matches!(provider.map(a.id, u64::MAX, 2), Err(SlabError::InvalidRange)));
            provider.release(a.id).unwrap();
            assert_eq!(provider.release(a.id), Err(SlabError::UnknownSlab(a.id)));
            assert!(provider.map(a.id, 0, 4).is_err());
            // A slice keeps its bytes, and they count.
            assert_eq!(provider.existing_bytes(), 1024);
            assert_eq!(provider.acquire(1 << 20), Ok(Grant::NoCapacity));
            drop(held);
            assert_eq!(provider.existing_bytes(), 0);
            let whole = slab(&provider, 1 << 20);
            let stats = provider.stats();
            assert_eq!((stats.slabs, stats.acquires, stats.refusals), (1, 2, 1));
            provider.release(whole.id).unwrap();
        }
    }
}

#[test]
fn sizes_are_those_of_the_device() {
    let limits = wgpu::Limits { max_buffer_size: 4000, ..wgpu::Limits::default() };
    let desc = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    let (device, queue) = wgpu::Device::noop(&desc);
    let gpu = Gpu::new(device, queue).unwrap();
    let tracker = Tracker::new(4);
    let progress = Arc::new(tracker.clone());
    // The pool would like slabs of 1 MiB.
    let (pool, provider) = tlsf(&gpu, progress, UsageClass::Storage, 1 << 20, 2);
    assert_eq!(provider.properties().max_slab_size, 3840);
    assert_eq!(provider.acquire(0), Err(SlabError::InvalidSize { size: 0 }));
    assert_eq!(provider.acquire(3841), Err(SlabError::InvalidSize { size: 3841 }));
    let refused = pool.acquire(&Request::new(4000).or_grow());
    assert!(matches!(refused, Err(PoolError::TooLarge { max: 3840, .. })), "{refused:?}");
    let Ok(Acquire::Ready { reservation, .. }) = pool.acquire(&Request::new(3840).or_grow()) else {
        panic!("a slab as large as the device has")
    };
    let mut pools = GpuPools::new();
    pools.add(pool.clone(), provider, Registration::new()).unwrap();
    let slice = pools.slice(&reservation).unwrap();
    assert_eq!(slice.size(), 3840);
    let part = slice.slice(4, 8).unwrap();
    let refused = part.binding(BindingKind::Storage);
    assert!(matches!(refused, Err(SliceError::MisalignedOffset { .. })));
    pool.cancel(reservation).unwrap();
}

#[test]
fn a_pool_set_routes_uses_apart() {
    let gpu = noop();
    let tracker = Tracker::new(4);
    let mut pools = GpuPools::new();
    let ids = UsageClass::SHARED.map(|class| {
        let (pool, provider) = tlsf(&gpu, Arc::new(tracker.clone()), class, 1 << 16, 2);
        pools.add(pool, provider, Registration::new()).unwrap()
    });
    let home = |usage, memory| {
        let need = Need::new(4).used_for(usage).of(memory);
        pools.set().route(&need).pool().map(|pool| pool.id())
    };
    let any = MemoryType::NONE;
    let device = MemoryType::DEVICE_LOCAL.union(MemoryType::OPTIMAL);
    assert_eq!(home(BufferUsage::STORAGE, device), Some(ids[0]));
    assert_eq!(home(BufferUsage::UNIFORM.union(BufferUsage::STORAGE_READ), any), Some(ids[1]));
    assert_eq!(home(BufferUsage::INDIRECT.union(BufferUsage::VERTEX), any), Some(ids[2]));
    assert_eq!(home(BufferUsage::UPLOAD, MemoryType::HOST_VISIBLE), Some(ids[3]));
    assert_eq!(home(BufferUsage::READBACK, MemoryType::HOST_CACHED), Some(ids[4]));
    // Written and read-only, or written and indirect, in one buffer: no.
    for other in [BufferUsage::UNIFORM, BufferUsage::INDIRECT, BufferUsage::STORAGE_READ] {
        let need = Need::new(4).used_for(BufferUsage::STORAGE.union(other));
        assert!(matches!(pools.set().route(&need), Route::NoMatch(NoMatch::Usage)), "{other:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn out_of_memory_is_a_value_and_the_device_goes_on() {
    // Where processes cannot have more than 2 GB of addresses.
    let test = "provider::out_of_memory_is_a_value_and_the_device_goes_on";
    if !alone(test, "ulimit -v 2000000 && exec \"$0\" \"$@\"") {
        return;
    }
    // This device's buffers are plain memory, as large as its limits allow.
    let limits = wgpu::Limits { max_buffer_size: (1 << 31) - 1, ..wgpu::Limits::default() };
    let desc = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    let (device, queue) = wgpu::Device::noop(&desc);
    let gpu = Gpu::new(device, queue).unwrap();
    let provider = WgpuSlabProvider::new(&gpu, UsageClass::Storage);
    let all = provider.properties().max_slab_size;
    assert_eq!(provider.acquire(all), Ok(Grant::NoCapacity));
    assert_eq!((provider.existing_bytes(), provider.stats().refusals), (0, 1));

    // While a pool grows, on behalf of a queue: the alloca parks, others are served, and the device works.
    let tracker = Tracker::new(8);
    let (pools, pool) = storage(&gpu, &tracker, 4096, u32::MAX);
    let set = QueueSet::new(pools, &tracker);
    let [big, small] = [0, 1].map(|i| set.open(&gpu, queue_axis(0, i)).unwrap());
    let (a, _) = small.alloca(pool, &Request::new(4096).or_grow()).unwrap();
    let (huge, _) = big.alloca(pool, &Request::new(all).or_grow()).unwrap();
    small.submit(FrontierRef::EMPTY, [Command::write(a, [1; 4096])]).unwrap();
    assert_eq!(small.read(FrontierRef::EMPTY, a).unwrap().wait().unwrap(), [1; 4096]);
    assert!(gpu.lost().is_none());
    let follows = big.submit(FrontierRef::EMPTY, [Command::fill(huge, 0)]).unwrap();
    assert_eq!(set.parked().len(), 1);
    // Who gives up is told.
    set.abandon(huge).unwrap();
    assert!(matches!(big.wait(follows), Err(QueueError::Failed(_))));
    small.finish().unwrap();
}

#[test]
fn a_lost_device_provides_nothing_and_takes_everything_back() {
    for gpu in both() {
        let provider = WgpuSlabProvider::new(&gpu, UsageClass::Storage);
        let one = slab(&provider, 4096);
        gpu.report_loss(wgpu::DeviceLostReason::Unknown, String::new());
        assert_eq!(provider.acquire(4096), Err(SlabError::Lost));
        provider.release(one.id).unwrap();
        assert_eq!((provider.existing_bytes(), provider.stats().slabs), (0, 0));
    }
}
