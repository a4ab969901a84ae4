//! Generated programs: the operations and sizes that tests draw, in the proportions of real use.

use super::draw::Draw;
use super::program::{Ask, Knows, Op, STREAMS};

/// The next operation. Sizes go up to `largest` bytes and a little beyond.
pub(crate) fn op(draw: &mut impl Draw, largest: u64) -> Op {
    let pick = |draw: &mut _| Draw::below(draw, 256);
    match draw.byte() {
        0..=89 => Op::Acquire(ask(draw, largest)),
        90..=93 => Op::AcquireEach { ask: ask(draw, largest), count: 2 + draw.below(6) },
        94..=101 => Op::Exchange { pick: pick(draw), ask: ask(draw, largest) },
        102..=149 => Op::Release { pick: pick(draw), streams: 1 },
        150..=161 => Op::Release { pick: pick(draw), streams: 2 + draw.below(3) },
        162..=163 => Op::Release { pick: pick(draw), streams: 5 + draw.below(8) },
        164..=168 => Op::ReleaseEach { pick: pick(draw), count: 2 + draw.below(6) },
        169..=182 => Op::ReleaseIdle { pick: pick(draw) },
        183 => Op::ReleaseUnknown { pick: pick(draw) },
        184..=197 => Op::Cancel { pick: pick(draw) },
        198..=224 => Op::Advance { stream: stream(draw), steps: 1 + draw.below(5) as u64 },
        225..=228 => Op::AdvanceAndPoll { stream: stream(draw) },
        229 => Op::AdvanceAll,
        230..=237 => Op::Join { from: stream(draw), to: stream(draw) },
        238..=241 => Op::Poll,
        242 if draw.below(4) == 0 => Op::Quiesce,
        242..=244 => Op::Trim { all: draw.below(2) == 1 },
        245..=246 => Op::FailAcquires { count: 1 + draw.below(2) as u32 },
        247 => Op::FailReleases { count: 1 + draw.below(2) as u32 },
        248..=251 => Op::RefuseGrowth { count: 1 + draw.below(4) as u32 },
        _ => Op::Capacity { scarce: draw.below(2) == 1 },
    }
}

/// A stream, and a size that is a power of two and a fraction of it, or near the largest.
fn ask(draw: &mut impl Draw, largest: u64) -> Ask {
    let stream = stream(draw);
    let permissions = draw.byte();
    let logs = 64 - largest.leading_zeros() as usize;
    let log = draw.below(logs + 2);
    let fraction = u64::from(draw.byte());
    let size = match log - log.min(logs) {
        1 => largest - fraction % 2,
        2 => largest / 2 + fraction,
        _ => (1 << log.min(logs - 1)) + ((fraction << log) >> 8),
    };
    let align = usize::from(permissions >> 3);
    Ask {
        stream,
        size: size.clamp(1, largest + largest / 16 + 1),
        // Mostly none; 2^14 is more than the provider has.
        align: if align < 16 { 0 } else { align as u32 - 16 } % 15,
        wait: permissions & 1 != 0,
        grow: permissions & 2 != 0,
        knows: match (permissions & 4 != 0, draw.below(3)) {
            (false, 0) => Knows::Nothing,
            (false, _) => Knows::Part(draw.byte()),
            (true, _) => Knows::All,
        },
    }
}

/// Few of them most of the time, so that frontiers meet.
fn stream(draw: &mut impl Draw) -> usize {
    let byte = draw.below(256);
    match byte {
        0..=159 => byte % 3,
        160..=223 => byte % 8,
        _ => byte % STREAMS,
    }
}
