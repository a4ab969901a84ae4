//! A transformer block on the GPU: two logical streams, every tensor but the weights transient, checked against the processor.
//!
//! ```text
//!   x ─▶ norm ─▶ q, k, v ─▶ attention ─▶ project ─(+ x)─▶ h ─▶ norm ─▶ up, gelu ─▶ down ─(+ h)─▶ y
//!        └──────────────── transient ───────────────┘      └─────── transient ───────┘
//!   weights: one persistent pool, loaded once
//! ```
//!
//! Each stream runs its own sequences. After the first steps no buffer is made any more: the pool has what two streams
//! need, and each tensor gets bytes that an earlier one has left, without waiting for the device.
//!
//! Run it with `cargo run -p strandline-host-wgpu --release --example transformer`, and a part of an adapter's name
//! behind it if there are several.

use std::error::Error;
use std::sync::Arc;
use strandline_core::offset::tlsf::Config;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{PoolHost, PoolId};
use strandline_core::pool_set::Registration;
use strandline_core::{Axis, FrontierRef, Request, SlabProvider, Tracker};
use strandline_host_wgpu::{
    Command, Gpu, GpuPools, Queue, QueueSet, StagingConfig, Transient, UsageClass,
    WgpuSlabProvider, adapter,
};

#[path = "transformer/kernels.rs"]
mod kernels;
#[path = "transformer/reference.rs"]
mod reference;

use kernels::Kernels;

/// Tokens of a sequence.
const TOKENS: usize = 32;
/// Width of the model.
const WIDTH: usize = 64;
/// Heads of the attention, and the width of one.
const HEADS: usize = 4;
const HEAD: usize = WIDTH / HEADS;
/// Width of the inner layer.
const INNER: usize = 256;

const STREAMS: u8 = 2;
const WARM_UP: usize = 4;
const STEPS: usize = 64;

/// Six matrices, row by row.
struct Weights<T> {
    q: T,
    k: T,
    v: T,
    o: T,
    up: T,
    down: T,
}

fn groups(threads: usize) -> [u32; 3] {
    [threads.div_ceil(64) as u32, 1, 1]
}

fn bytes_of(floats: &[f32]) -> Vec<u8> {
    floats.iter().flat_map(|float| float.to_le_bytes()).collect()
}

/// One block: three submissions and the allocations around them. `y` starts as `x`, and the branches are added to it.
fn step(
    queue: &Queue,
    pool: PoolId,
    kernels: &Kernels,
    weights: &Weights<Transient>,
    x: &[f32],
) -> Result<Transient, Box<dyn Error>> {
    let floats = |n: usize| -> Result<Transient, Box<dyn Error>> {
        Ok(queue.alloca(pool, &Request::new(4 * n as u64).or_grow())?.0)
    };
    let end = |buffer| queue.dealloca(buffer, FrontierRef::EMPTY);
    let none = FrontierRef::EMPTY;
    let square = groups(TOKENS * WIDTH);

    let y = floats(TOKENS * WIDTH)?;
    let normed = floats(TOKENS * WIDTH)?;
    let [q, k, v] = [floats(TOKENS * WIDTH)?, floats(TOKENS * WIDTH)?, floats(TOKENS * WIDTH)?];
    let project = |to: Transient, by: Transient| {
        Command::dispatch(&kernels.square, [normed.into(), by.into(), to.into()], square)
    };
    queue.submit(
        none,
        [
            Command::write(y, bytes_of(x)),
            Command::dispatch(&kernels.norm, [y.into(), normed.into()], groups(TOKENS)),
            project(q, weights.q),
            project(k, weights.k),
            project(v, weights.v),
        ],
    )?;
    end(normed)?;

    // It may get the bytes that `normed` leaves: the queue runs in order.
    let mixed = floats(TOKENS * WIDTH)?;
    let attend = [q.into(), k.into(), v.into(), mixed.into()];
    queue.submit(
        none,
        [
            Command::dispatch(&kernels.attention, attend, groups(TOKENS * HEADS)),
            Command::dispatch(&kernels.project, [mixed.into(), weights.o.into(), y.into()], square),
        ],
    )?;
    for buffer in [q, k, v, mixed] {
        end(buffer)?;
    }

    let normed = floats(TOKENS * WIDTH)?;
    let inner = floats(TOKENS * INNER)?;
    let widen = [normed.into(), weights.up.into(), inner.into()];
    queue.submit(
        none,
        [
            Command::dispatch(&kernels.norm, [y.into(), normed.into()], groups(TOKENS)),
            Command::dispatch(&kernels.up, widen, groups(TOKENS * INNER)),
            Command::dispatch(&kernels.down, [inner.into(), weights.down.into(), y.into()], square),
        ],
    )?;
    end(normed)?;
    end(inner)?;
    Ok(y)
}

/// Numbers between -1 and 1, the same every time (Knuth's linear congruential generator, MMIX).
struct Numbers(u64);

impl Numbers {
    fn take(&mut self, n: usize, scale: f32) -> Vec<f32> {
        let next = |state: &mut u64| {
            *state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (*state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next(&mut self.0) * scale).collect()
    }
}

/// A pool of storage buffers.
fn storage(
    gpu: &Gpu,
    tracker: &Tracker,
    slab: u64,
    pools: &mut GpuPools,
) -> Result<PoolId, Box<dyn Error>> {
    let provider = Arc::new(WgpuSlabProvider::new(gpu, UsageClass::Storage));
    let host = PoolHost::new(provider.clone(), Arc::new(tracker.clone()));
    let config = TlsfPoolConfig {
        offsets: Config { granule: 256, ..Config::default() },
        growth: Growth::slabs_of(slab),
        ..TlsfPoolConfig::default()
    };
    Ok(pools.add(Arc::new(TlsfPool::new(host, config)?), provider, Registration::new())?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let gpu = adapter::open(std::env::args().nth(1).as_deref())?;
    println!("adapter     {}", gpu.device().adapter_info().name);
    let tracker = Tracker::new(8);
    let mut pools = GpuPools::new();
    let persistent = storage(&gpu, &tracker, 1 << 20, &mut pools)?;
    let transient = storage(&gpu, &tracker, 1 << 20, &mut pools)?;
    let set = QueueSet::new(pools, &tracker);
    let staging =
        StagingConfig { chunk_size: 1 << 18, upload_chunks: 8, readback_chunks: 8, prepared: true };
    set.add_device(&gpu, Axis::host(0), staging)?;
    let queues =
        (0..STREAMS).map(|i| set.open(&gpu, Axis::queue(0, i))).collect::<Result<Vec<_>, _>>()?;
    let kernels = Kernels::new(&gpu)?;

    // The weights are loaded once and stay.
    let mut numbers = Numbers(1);
    let mut matrix =
        |rows: usize, columns: usize| numbers.take(rows * columns, 1.0 / (rows as f32).sqrt());
    let weights = Weights {
        q: matrix(WIDTH, WIDTH),
        k: matrix(WIDTH, WIDTH),
        v: matrix(WIDTH, WIDTH),
        o: matrix(WIDTH, WIDTH),
        up: matrix(WIDTH, INNER),
        down: matrix(INNER, WIDTH),
    };
    let load = |matrix: &[f32]| -> Result<Transient, Box<dyn Error>> {
        let bytes = bytes_of(matrix);
        let request = Request::new(bytes.len() as u64).or_grow();
        let (buffer, _) = queues[0].alloca(persistent, &request)?;
        queues[0].submit(FrontierRef::EMPTY, [Command::write(buffer, bytes)])?;
        Ok(buffer)
    };
    let loaded = Weights {
        q: load(&weights.q)?,
        k: load(&weights.k)?,
        v: load(&weights.v)?,
        o: load(&weights.o)?,
        up: load(&weights.up)?,
        down: load(&weights.down)?,
    };
    queues[0].finish()?;

    // Buffers that the pools ever made, and those that wgpu counts now (where it was built to count).
    let made = || -> (u64, isize) {
        let pools = set.pools().providers().map(|provider| provider.stats().acquires).sum::<u64>();
        let staging = set.staging_stats(&gpu).unwrap_or_default();
        let counted = gpu.device().get_internal_counters().hal.buffers.read();
        (pools + staging.upload.slabs + staging.readback.slabs, counted)
    };
    let mut before = (0, 0);
    let mut worst = 0.0_f32;
    for round in 0..WARM_UP + STEPS {
        if round == WARM_UP {
            before = made();
        }
        let inputs: Vec<Vec<f32>> =
            queues.iter().map(|_| numbers.take(TOKENS * WIDTH, 1.0)).collect();
        let mut reads = Vec::new();
        for (queue, x) in queues.iter().zip(&inputs) {
            let y = step(queue, transient, &kernels, &loaded, x)?;
            reads.push(queue.read(FrontierRef::EMPTY, y)?);
            queue.dealloca(y, FrontierRef::EMPTY)?;
        }
        for (read, x) in reads.into_iter().zip(&inputs) {
            let bytes = read.wait()?;
            let y = bytes.chunks_exact(4).map(|w| f32::from_le_bytes([w[0], w[1], w[2], w[3]]));
            for (got, expected) in y.zip(reference::block(x, &weights)) {
                worst = worst.max((got - expected).abs() / expected.abs().max(1.0));
            }
        }
        // Worse than rounding, or no number at all: some tensor's bytes were not its own.
        if worst > 1e-3 || worst.is_nan() {
            return Err(format!("step {round}: off by {worst} from the processor").into());
        }
    }
    let after = made();
    let stats = set.pools().set().get(transient).ok_or("the pool is gone")?.stats();
    let blocks = (WARM_UP + STEPS) * queues.len();
    println!("checked     {blocks} blocks, at most {worst:.1e} from the processor");
    println!("buffers     {} in all, {} made in {STEPS} steps", after.0, after.0 - before.0);
    println!(
        "transient   {} allocas in {} KiB: {} fresh, {} reused by order, {} after completion; peak {} KiB",
        stats.reserves,
        stats.committed_bytes >> 10,
        stats.fresh,
        stats.dominated,
        stats.completed,
        stats.peak_reserved_bytes >> 10
    );
    if before != after {
        return Err(format!("buffers were made in the steady state: {before:?}, {after:?}").into());
    }
    Ok(())
}
