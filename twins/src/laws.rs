//! The laws that every twin keeps, whatever the requests: checked here against the list of blocks that a caller holds.

use crate::{Allocation, BlockState, Device, Request, Twin};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use proptest::prelude::*;

/// A step of a generated program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Allocate {
        size: u64,
        stream: u64,
        pool: u32,
    },
    /// Gives a live block back: which one is told by the remainder.
    Free {
        which: usize,
        stream: u64,
    },
    /// Completes a block that was given back.
    Complete {
        which: usize,
    },
    EmptyCache,
}

const MIB: u64 = 1 << 20;

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![
        3 => 1..5000u64,
        3 => 1..MIB,
        4 => MIB..30 * MIB,
        1 => 30 * MIB..300 * MIB,
        1 => Just(0u64),
        1 => Just(u64::MAX),
    ];
    prop_oneof![
        8 => (size, 0..3u64, prop_oneof![9 => Just(0u32), 1 => Just(1u32)])
            .prop_map(|(size, stream, pool)| Op::Allocate { size, stream, pool }),
        5 => (any::<usize>(), 0..3u64).prop_map(|(which, stream)| Op::Free { which, stream }),
        5 => any::<usize>().prop_map(|which| Op::Complete { which }),
        1 => Just(Op::EmptyCache),
    ]
}

pub(crate) fn program() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..250)
}

/// Runs a program. Returns every answer: the block, or nothing.
pub(crate) fn run(
    twin: &mut dyn Twin,
    device: &mut Device,
    program: &[Op],
) -> Vec<Option<(u64, u64)>> {
    let (mut live, mut pending): (Vec<Allocation>, Vec<Allocation>) = Default::default();
    let mut answers = Vec::new();
    for (step, &op) in program.iter().enumerate() {
        match op {
            Op::Allocate { size, stream, pool } => {
                let answer = twin.allocate(Request { size, stream, pool }, device);
                answers.push(answer.ok().map(|block| (block.address, block.size)));
                if let Ok(block) = answer {
                    assert!(block.size >= size, "step {step}: {block:?} for {size} bytes");
                    live.push(block);
                }
            }
            Op::Free { which, stream } if !live.is_empty() => {
                let block = live.swap_remove(which % live.len());
                twin.free_requested(block.id, stream);
                pending.push(block);
            }
            Op::Complete { which } if !pending.is_empty() => {
                let block = pending.swap_remove(which % pending.len());
                twin.free_completed(block.id);
            }
            Op::Free { .. } | Op::Complete { .. } => {}
            Op::EmptyCache => twin.empty_cache(device),
        }
        check(twin, device, &live, step);
    }
    for block in live {
        twin.free_requested(block.id, 0);
        pending.push(block);
    }
    for block in pending {
        twin.free_completed(block.id);
    }
    assert_eq!(twin.active(), 0, "every byte comes back");
    check(twin, device, &[], program.len());
    answers
}

fn check(twin: &dyn Twin, device: &Device, live: &[Allocation], step: usize) {
    let segments = twin.segments();
    let mut seen = BTreeMap::new();
    let (mut end, mut reserved, mut active) = (0, 0, 0);
    for segment in &segments {
        assert!(segment.address >= end, "step {step}: segments overlap");
        let mut at = segment.address;
        for block in &segment.blocks {
            assert_eq!(block.address, at, "step {step}: a gap or an overlap");
            assert!(block.size > 0, "step {step}: an empty block");
            at += block.size;
            if block.state != BlockState::Free {
                active += block.size;
            }
            seen.insert(block.address, *block);
        }
        assert_eq!(
            at,
            segment.address + segment.size,
            "step {step}: the blocks fill their segment"
        );
        end = at;
        reserved += segment.size;
    }
    assert_eq!(reserved, twin.reserved(), "step {step}: reserved is the sum of the segments");
    assert_eq!(device.used(), twin.reserved(), "step {step}: the device agrees");
    assert_eq!(active, twin.active(), "step {step}: active is the sum of the blocks in use");
    for block in live {
        let found = seen.get(&block.address);
        let found = found.unwrap_or_else(|| panic!("step {step}: {block:?} is gone"));
        assert_eq!((found.size, found.state), (block.size, BlockState::Allocated), "step {step}");
    }
}
