//! `gpu`: transient buffers from a pool against wgpu's own, what a timeline adds to a completion callback, and frames of a renderer.
//!
//! On the fastest adapter of the machine; its name is in the case's. Wall time, since a driver has threads of its own.

mod frames;

use crate::figures::Count;
use crate::harness::{Case, Contender, Goal};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use strandline_core::pool::PoolHost;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool_set::Registration;
use strandline_core::{Acquire, Axis, Death, Frontier, Pool, Request, Reservation, Tracker};
use strandline_host_wgpu::{Gpu, GpuPools, Timeline, UsageClass, WgpuSlabProvider, adapter};

/// Bytes of a transient buffer.
const SIZE: u64 = 64 << 10;

const WGPU: &str = "wgpu, create_buffer + destroy";
const OURS: &str = "strandline, acquire + slice + release";
const BARE: &str = "wgpu, on_submitted_work_done";
const TIMELINE: &str = "strandline, submit to advance";

pub(super) fn cases() -> impl Iterator<Item = Case> {
    // Without an adapter there is nothing to compare: no cases.
    let name = adapter::list().first().map(|adapter| adapter.info.name.clone());
    name.into_iter().flat_map(|name| {
        let pairs = [0, 1_000, 10_000].map(|live| Case {
            group: "gpu",
            name: format!("transient 64 KiB, {live} live, {name}"),
            unit: "pair",
            reference: 0,
            goals: vec![Goal::ratio(OURS, 0.3)],
            contenders: Box::new(move || vec![created(live), pooled(live)]),
        });
        let submit = Case {
            group: "gpu",
            name: format!("an empty submission, until its completion is known, {name}"),
            unit: "submission",
            reference: 0,
            goals: vec![Goal::ratio(TIMELINE, 1.1)],
            contenders: Box::new(|| vec![bare(), timeline()]),
        };
        pairs.into_iter().chain([submit]).chain(frames::cases(&name))
    })
}

pub(super) fn counts() -> impl Iterator<Item = Count> {
    let name = adapter::list().first().map(|adapter| adapter.info.name.clone());
    name.into_iter().flat_map(|name| frames::counts(&name))
}

fn open() -> Gpu {
    match adapter::open(None) {
        Ok(gpu) => gpu,
        Err(error) => panic!("{error}"),
    }
}

fn create(gpu: &Gpu) -> wgpu::Buffer {
    gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: SIZE,
        usage: UsageClass::Storage.buffer_usages(),
        mapped_at_creation: false,
    })
}

fn created(live: usize) -> Contender {
    let mut state = None;
    Contender::new(WGPU, move |count| {
        let (gpu, held) = state.get_or_insert_with(|| {
            let gpu = open();
            let held: Vec<_> = (0..live).map(|_| create(&gpu)).collect();
            (gpu, held)
        });
        let start = Instant::now();
        for i in 0..count {
            let buffer = create(gpu);
            // The oldest goes, so that what is live has holes, as it has in a program.
            if held.is_empty() {
                buffer.destroy();
            } else {
                let place = (i % held.len() as u64) as usize;
                core::mem::replace(&mut held[place], buffer).destroy();
            }
        }
        start.elapsed()
    })
}

struct Pooled {
    pools: GpuPools,
    pool: Arc<dyn Pool>,
    line: Timeline,
    held: Vec<Reservation>,
}

impl Pooled {
    fn new(live: usize) -> Self {
        let gpu = open();
        let tracker = Tracker::new(1);
        let provider = Arc::new(WgpuSlabProvider::new(&gpu, UsageClass::Storage));
        let host = PoolHost::new(provider.clone(), Arc::new(tracker.clone()));
        let config =
            TlsfPoolConfig { growth: Growth::slabs_of(64 << 20), ..TlsfPoolConfig::default() };
        let pool: Arc<dyn Pool> = match TlsfPool::new(host, config) {
            Ok(pool) => Arc::new(pool),
            Err(error) => panic!("{error}"),
        };
        let mut pools = GpuPools::new();
        if let Err(error) = pools.add(pool.clone(), provider, Registration::new()) {
            panic!("{error}");
        }
        let line = match Timeline::new(&gpu, &tracker, Axis::queue(0, 0)) {
            Ok(line) => line,
            Err(error) => panic!("{error}"),
        };
        let mut this = Self { pools, pool, line, held: Vec::new() };
        for _ in 0..live {
            let reservation = this.take();
            this.held.push(reservation);
        }
        this
    }

    fn take(&self) -> Reservation {
        let known = self.line.frontier();
        let request = Request::new(SIZE).aligned(256).after(known.as_ref()).or_grow();
        match self.pool.acquire(&request) {
            Ok(Acquire::Ready { reservation, .. }) => {
                let slice = self.pools.slice(&reservation);
                assert!(slice.is_ok(), "the pool's own slab");
                reservation
            }
            other => panic!("{other:?}"),
        }
    }

    fn give(&self, reservation: Reservation) {
        let death = self.line.frontier();
        let released = self.pool.release(reservation, Death::After(death.as_ref()));
        assert!(released.is_ok(), "the pool's own reservation");
    }
}

fn pooled(live: usize) -> Contender {
    let mut state = None;
    Contender::new(OURS, move |count| {
        let pooled = state.get_or_insert_with(|| Pooled::new(live));
        let start = Instant::now();
        for i in 0..count {
            let taken = pooled.take();
            let given = if pooled.held.is_empty() {
                taken
            } else {
                let place = (i % pooled.held.len() as u64) as usize;
                core::mem::replace(&mut pooled.held[place], taken)
            };
            pooled.give(given);
        }
        start.elapsed()
    })
}

fn nothing(gpu: &Gpu) -> wgpu::CommandBuffer {
    gpu.device().create_command_encoder(&Default::default()).finish()
}

/// A thread that polls for each submission, and a callback.
fn bare() -> Contender {
    let gpu = open();
    let (submitted, to_poll) = mpsc::channel();
    let device = gpu.device().clone();
    thread::spawn(move || {
        for index in to_poll {
            let wait = wgpu::PollType::Wait { submission_index: Some(index), timeout: None };
            if let Err(error) = device.poll(wait) {
                panic!("{error}");
            }
        }
    });
    let (done, at) = mpsc::channel();
    Contender::new(BARE, move |count| {
        let mut sum = Duration::ZERO;
        for _ in 0..count {
            let commands = nothing(&gpu);
            let done = done.clone();
            let start = Instant::now();
            let index = gpu.queue().submit([commands]);
            gpu.queue().on_submitted_work_done(move || {
                // Whoever measures waits for it.
                let _ = done.send(Instant::now());
            });
            let polled = submitted.send(index).is_ok();
            match at.recv() {
                Ok(end) if polled => sum += end - start,
                _ => panic!("the polling thread is gone"),
            }
        }
        sum
    })
}

fn timeline() -> Contender {
    let gpu = open();
    let tracker = Tracker::new(1);
    let line = match Timeline::new(&gpu, &tracker, Axis::queue(0, 0)) {
        Ok(line) => line,
        Err(error) => panic!("{error}"),
    };
    let (done, at) = mpsc::channel();
    Contender::new(TIMELINE, move |count| {
        let mut sum = Duration::ZERO;
        for _ in 0..count {
            let commands = nothing(&gpu);
            let done = done.clone();
            let start = Instant::now();
            let Ok(epoch) = line.submit([commands]) else { panic!("the device is lost") };
            let reached = Frontier::from_entry(line.axis(), epoch);
            let waits = tracker.wait(reached.as_ref(), move |_| {
                // Whoever measures waits for it.
                let _ = done.send(Instant::now());
            });
            match at.recv() {
                Ok(end) if waits.is_ok() => sum += end - start,
                _ => panic!("the polling thread is gone"),
            }
        }
        sum
    })
}
