//! Any bytes as a pool's configuration and a program of operations on it, run against the oracle that core's own tests use.
//!
//! ```text
//! byte 0     the kind of pool, and with it the next few: its configuration
//! then       operations: a byte that picks one (see `op`), and one to four for its operands
//! ```
//! Bytes that are missing are 0, so every input is a program and a shorter one is a shorter program.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strandline_core::offset::tlsf::{self, Carve, Placement, Search, Tie};
use strandline_core::pool::PoolHost;
use strandline_core::pool::arena::{ArenaPool, ArenaPoolConfig};
use strandline_core::pool::budget::Budget;
use strandline_core::pool::fixed_block::{FixedBlockPool, FixedBlockPoolConfig};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::passthrough::{PassthroughPool, PassthroughPoolConfig};
use strandline_core::pool::tlsf::{Coalescing, TlsfPool, TlsfPoolConfig, Waiting};
use strandline_core::slab::retain::Retention;
use support::program::{Machine, Op, Promises, STREAMS};
use support::provider::MockProvider;

#[path = "../../core/tests/support"]
mod support {
    pub(crate) mod oracle;
    pub(crate) mod program;
    pub(crate) mod progress;
    pub(crate) mod provider;
}

const KIB: u64 = 1024;

/// Operations of one program: enough to fill, free and refill every slab a few times.
const MOST_OPS: usize = 600;

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let subject = Subject::read(&mut bytes);
    let largest = subject.largest();
    let program: Vec<Op> =
        std::iter::from_fn(|| (!bytes.0.is_empty()).then(|| op(&mut bytes, largest)))
            .take(MOST_OPS)
            .collect();
    let provider = MockProvider::new(4096, 8192, 512 * KIB, 512 * KIB);
    let machine = Machine::new(provider, subject.promises(), |host| subject.pool(host));
    if let Err(what) = machine.run(&program) {
        panic!("{subject:?}\n{what}");
    }
});

/// The input, read from its start.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn below(&mut self, end: usize) -> usize {
        self.byte() % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A pool to be tried.
#[derive(Debug)]
enum Subject {
    Tlsf(TlsfPoolConfig),
    Fixed(FixedBlockPoolConfig),
    Arena(ArenaPoolConfig),
    Passthrough(PassthroughPoolConfig),
}

impl Subject {
    fn read(bytes: &mut Bytes<'_>) -> Self {
        // TLSF most of the time: it has the most to it.
        let kind = bytes.below(8);
        let budget = Budget::bytes(bytes.pick(&[1024 * KIB, 100 * KIB, u64::MAX]));
        let retention = bytes.pick(&[
            Retention::slabs(1),
            Retention::NOTHING,
            Retention { slabs: 3, bytes: 200 * KIB },
        ]);
        match kind {
            0 => Self::Fixed(FixedBlockPoolConfig {
                // Blocks fill a slab: the machine takes what is left over for lost.
                block_size: 1000,
                alignment: 64,
                max_blocks: 700,
                growth: Growth { slab_size: 90 * KIB, max_slabs: bytes.pick(&[u32::MAX, 1, 3]) },
                budget,
                retention,
            }),
            1 => Self::Arena(ArenaPoolConfig {
                generations: bytes.pick(&[4, 1, 2, 9]),
                generation_size: bytes.pick(&[64 * KIB, 4 * KIB, 200 * KIB]),
                budget,
                retention,
            }),
            2 => {
                let max_slabs = bytes.pick(&[60, 1, 5]);
                Self::Passthrough(PassthroughPoolConfig { max_slabs, budget })
            }
            _ => {
                let tie = bytes.pick(&Tie::ALL);
                let scan = bytes.pick(&[0, 1, 2, 8, 64]);
                let placement = Placement {
                    search: if scan == 0 { Search::Head } else { Search::Best { scan, tie } },
                    threshold: bytes.pick(&[0, 8 * KIB, 40 * KIB]),
                    large: bytes.pick(&Carve::ALL),
                    small: bytes.pick(&Carve::ALL),
                };
                Self::Tlsf(TlsfPoolConfig {
                    offsets: tlsf::Config {
                        granule: bytes.pick(&[64, 1, 256, 4096]),
                        second_level_bits: bytes.pick(&[4, 3, 5, 6]),
                        placement,
                    },
                    growth: Growth {
                        slab_size: bytes.pick(&[128 * KIB, 16 * KIB, 512 * KIB]),
                        max_slabs: bytes.pick(&[u32::MAX, 1, 3]),
                    },
                    budget,
                    retention,
                    coalescing: bytes.pick(&[Coalescing::Readiness, Coalescing::Eager]),
                    waiting: bytes.pick(&[Waiting::LastResort, Waiting::ToPack]),
                })
            }
        }
    }

    /// The largest size of interest, in bytes.
    const fn largest(&self) -> u64 {
        match self {
            Self::Fixed(config) => config.block_size,
            Self::Arena(_) => 24 * KIB,
            Self::Tlsf(_) | Self::Passthrough(_) => 60 * KIB,
        }
    }

    const fn promises(&self) -> Promises {
        let (Self::Fixed(FixedBlockPoolConfig { budget, .. })
        | Self::Arena(ArenaPoolConfig { budget, .. })
        | Self::Passthrough(PassthroughPoolConfig { budget, .. })
        | Self::Tlsf(TlsfPoolConfig { budget, .. })) = self;
        Promises {
            budget: budget.limit(),
            scarce: 96 * KIB,
            plenty: 2048 * KIB,
            finds_every_block: matches!(self, Self::Fixed(_)),
            readiness_adds_up: true,
        }
    }

    fn pool(&self, host: PoolHost) -> Box<dyn strandline_core::Pool> {
        let what = "every configuration that is drawn can work";
        match *self {
            Self::Tlsf(config) => Box::new(TlsfPool::new(host, config).expect(what)),
            Self::Fixed(config) => Box::new(FixedBlockPool::new(host, config).expect(what)),
            Self::Arena(config) => Box::new(ArenaPool::new(host, config).expect(what)),
            Self::Passthrough(config) => Box::new(PassthroughPool::new(host, config).expect(what)),
        }
    }
}

/// The next operation; the ranges give the proportions of real use.
fn op(bytes: &mut Bytes<'_>, largest: u64) -> Op {
    match bytes.byte() {
        0..=99 => acquire(bytes, largest),
        100..=159 => Op::Release { pick: bytes.byte(), streams: 1 },
        160..=169 => Op::Release { pick: bytes.byte(), streams: 2 + bytes.below(10) },
        170..=184 => Op::ReleaseIdle { pick: bytes.byte() },
        185..=187 => Op::ReleaseUnknown { pick: bytes.byte() },
        188..=199 => Op::Cancel { pick: bytes.byte() },
        200..=229 => Op::Advance { stream: stream(bytes), steps: 1 + bytes.below(5) as u64 },
        230..=231 => Op::AdvanceAll,
        232..=239 => Op::Join { from: stream(bytes), to: stream(bytes) },
        240..=242 => Op::Poll,
        243 => Op::Quiesce,
        244..=246 => Op::Trim { all: bytes.below(2) == 1 },
        247..=249 => Op::FailAcquires { count: 1 + bytes.below(2) as u32 },
        250..=251 => Op::FailReleases { count: 1 + bytes.below(2) as u32 },
        _ => Op::Capacity { scarce: bytes.below(2) == 1 },
    }
}

/// A stream, and a size that is a power of two and a fraction of it, or near the largest.
fn acquire(bytes: &mut Bytes<'_>, largest: u64) -> Op {
    let stream = stream(bytes);
    let permissions = bytes.byte();
    let log = bytes.below(18) as u32;
    let fraction = bytes.byte() as u64;
    let size = match log {
        16 => largest - fraction % 2,
        17 => largest / 2 + fraction,
        _ => (1 << log) + ((fraction << log) >> 8),
    };
    let align = permissions >> 3;
    Op::Acquire {
        stream,
        size: size.clamp(1, largest + largest / 16 + 1),
        // Mostly none; 2^14 is more than the provider has.
        align: if align < 16 { 0 } else { align as u32 - 16 } % 15,
        wait: permissions & 1 != 0,
        grow: permissions & 2 != 0,
        knows: permissions & 4 != 0,
    }
}

/// Few of them most of the time, so that frontiers meet.
fn stream(bytes: &mut Bytes<'_>) -> usize {
    let byte = bytes.byte();
    if byte < 192 { byte % 3 } else { byte % STREAMS }
}
