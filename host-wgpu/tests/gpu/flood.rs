//! A flood of tagged fills with overlapping lives: no block is handed on before its last use.
//!
//! ```text
//!   stream 0   alloca a ─ fill a, held by the host's gate 3 ─ read a ─ dealloca a
//!   stream 1   alloca b ─ fill b ─ read b, held by gate 5 ─ dealloca b          b must not be a's bytes, yet
//! ```
//!
//! Work that waits for the host is not on the device yet, so bytes that are handed on before their death is reached are written
//! out of order, and somebody reads a tag that is not theirs. That this is noticed is shown with pools whose oracle lies.

use crate::support::*;
use std::sync::Arc;
use strandline_core::pool_set::Registration;
use strandline_core::{Axis, Epoch, Frontier, FrontierRef, Progress, Request, Tracker};
use strandline_host_wgpu::{Command, Gpu, GpuPools, QueueSet, StagingConfig, UsageClass};

const STREAMS: u8 = 4;
const BLOCKS: u64 = 600;
const GATES: u64 = 8;

/// Says that every epoch has been reached.
struct Liar;

impl Progress for Liar {
    fn reached(&self, _: Axis) -> Epoch {
        Epoch::MAX
    }
}

/// Blocks that did not hold their own tag when it was read, from one end to the other.
fn flood(gpu: &Gpu, oracle: impl FnOnce(&Tracker) -> Arc<dyn Progress>) -> u64 {
    let tracker = Tracker::new(16);
    let gate = Axis::host(1);
    tracker.register(gate).unwrap();
    let (pool, provider) = tlsf(gpu, oracle(&tracker), UsageClass::Storage, 4 << 20, 4);
    let mut pools = GpuPools::new();
    let pool = pools.add(pool, provider, Registration::new()).unwrap();
    let set = QueueSet::new(pools, &tracker);
    let staging = StagingConfig {
        chunk_size: 1 << 16,
        upload_chunks: 32,
        readback_chunks: 64,
        prepared: false,
    };
    set.add_device(gpu, Axis::host(2), staging).unwrap();
    let queues: Vec<_> = (0..STREAMS).map(|i| set.open(gpu, queue_axis(0, i)).unwrap()).collect();

    let mut rng = Rng(7);
    let mut opened = 0;
    let mut reads = Vec::new();
    for block in 0..BLOCKS {
        let queue = &queues[rng.below(u64::from(STREAMS)) as usize];
        let tag = 0x7a67_0000_0000_0000 + block;
        let size = (rng.below(48) + 1) * 4096;
        let held = |rng: &mut Rng| match rng.below(3) {
            0 => Frontier::from_entry(gate, opened + 1 + rng.below(GATES)),
            _ => Frontier::new(),
        };
        let request = Request::new(size).or_grow().or_wait();
        let (buffer, _) = queue.alloca(pool, &request).unwrap();
        queue.submit(held(&mut rng).as_ref(), [Command::fill(buffer, tag)]).unwrap();
        let last = held(&mut rng);
        let ends = [buffer.slice(0, 64).unwrap(), buffer.slice(size - 64, 64).unwrap()];
        for end in ends {
            reads.push((tag, queue.read(last.as_ref(), end).unwrap()));
        }
        queue.dealloca(buffer, FrontierRef::EMPTY).unwrap();
        if block % 8 == 7 {
            opened += 1;
            tracker.advance(gate, opened).unwrap();
        }
    }
    tracker.advance(gate, opened + GATES).unwrap();
    let wrong = |(tag, read): (u64, strandline_host_wgpu::ReadBack)| {
        words(&read.wait().unwrap()).iter().any(|&word| word != tag)
    };
    let wrong = reads.into_iter().map(wrong).filter(|&wrong| wrong).count() as u64;
    queues.iter().for_each(|queue| queue.finish().unwrap());
    assert_eq!(set.pools().set().stats().pools.reserved_bytes, 0, "everything came back");
    wrong
}

#[test]
fn no_block_is_reused_early() {
    let Some(gpu) = real() else { return };
    assert_eq!(flood(&gpu, |tracker| Arc::new(tracker.clone())), 0);
}

#[test]
fn a_progress_oracle_that_lies_is_found_out() {
    let Some(gpu) = real() else { return };
    let wrong = flood(&gpu, |_| Arc::new(Liar));
    assert!(wrong > 0, "blocks were handed on early, and nobody noticed");
}
