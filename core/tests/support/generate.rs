//! Generated programs: the operations and sizes that tests draw, in the proportions of real use.

use super::program::{Op, STREAMS};
use proptest::prelude::*;

/// A program of `len` operations whose sizes go up to `largest` bytes and a little beyond.
pub(crate) fn programs(len: usize, largest: u64) -> impl Strategy<Value = Vec<Op>> {
    let top = 64 - largest.leading_zeros();
    // Few streams most of the time, so that frontiers meet.
    let stream = || prop_oneof![6 => 0..3usize, 2 => 0..8usize, 1 => 0..STREAMS];
    let size = prop_oneof![
        8 => (0..top, any::<u64>()).prop_map(|(log, bits)| (1 << log) + bits % (1 << log)),
        2 => Just(largest),
        1 => Just(largest / 2),
    ];
    let align = prop_oneof![6 => Just(0u32), 3 => 0..9u32, 1 => 9..14u32];
    let acquire = (stream(), size, align, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(stream, size, align, wait, grow, knows)| Op::Acquire {
            stream,
            size,
            align,
            wait,
            grow,
            knows,
        },
    );
    let op = prop_oneof![
        400 => acquire,
        240 => any::<usize>().prop_map(|pick| Op::Release { pick, streams: 1 }),
        40 => (any::<usize>(), 2..12usize).prop_map(|(pick, streams)| Op::Release { pick, streams }),
        60 => any::<usize>().prop_map(|pick| Op::ReleaseIdle { pick }),
        6 => any::<usize>().prop_map(|pick| Op::ReleaseUnknown { pick }),
        50 => any::<usize>().prop_map(|pick| Op::Cancel { pick }),
        120 => (stream(), 1..6u64).prop_map(|(stream, steps)| Op::Advance { stream, steps }),
        8 => Just(Op::AdvanceAll),
        30 => (stream(), stream()).prop_map(|(from, to)| Op::Join { from, to }),
        10 => Just(Op::Poll),
        1 => Just(Op::Quiesce),
        6 => any::<bool>().prop_map(|all| Op::Trim { all }),
        6 => (1..3u32).prop_map(|count| Op::FailAcquires { count }),
        3 => (1..3u32).prop_map(|count| Op::FailReleases { count }),
        6 => any::<bool>().prop_map(|scarce| Op::Capacity { scarce }),
    ];
    prop::collection::vec(op, len)
}
