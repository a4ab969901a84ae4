//! Every kind of pool, in both places at once, runs generated programs against the oracle: outcomes, offsets,
//! counters, blocks, events and questions to the provider are the same at every step.

use crate::module;
use crate::support::generate::programs;
use crate::support::program::{Machine, Promises};
use crate::support::provider::MockProvider;
use crate::support::scaled;
use crate::twin::Twin;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use strandline_core::Pool;
use strandline_core::offset::tlsf::{self, Placement, Search, Tie};
use strandline_core::pool::PoolHost;
use strandline_core::pool::arena::{ArenaPool, ArenaPoolConfig};
use strandline_core::pool::budget::Budget;
use strandline_core::pool::fixed_block::{FixedBlockPool, FixedBlockPoolConfig};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::passthrough::{PassthroughPool, PassthroughPoolConfig};
use strandline_core::pool::tlsf::{Coalescing, TlsfPool, TlsfPoolConfig, Waiting};
use strandline_core::slab::retain::Retention;

const KIB: u64 = 1024;
const LEN: usize = 400;
const BUDGET: u64 = 1 << 20;

fn run(largest: u64, budget: u64, make: impl Fn(PoolHost) -> Box<dyn Pool>) {
    let promises = Promises {
        budget,
        scarce: 96 * KIB,
        plenty: 2048 * KIB,
        finds_every_block: false,
        readiness_adds_up: true,
    };
    let provider = || MockProvider::new(4096, 8192, 512 * KIB, 512 * KIB);
    let config = Config { cases: scaled(40), failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&programs(LEN, largest), |program| {
        Machine::new(provider(), promises, &make).run(&program).map_err(TestCaseError::fail)
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// A twin of a kind: its native constructor, the substrate's, and the configuration of both.
macro_rules! twin {
    ($native:ty, $sandbox:ident, $config:expr) => {
        |host| -> Box<dyn Pool> {
            let config = $config;
            let substrate = module().instantiate().unwrap();
            Box::new(Twin::new(
                host,
                |host| Box::new(<$native>::new(host, config).unwrap()),
                |host| Box::new(substrate.$sandbox(host, config).unwrap()),
            ))
        }
    };
}

#[test]
fn tlsf_programs() {
    for (placement, coalescing, waiting) in [
        (Placement::FAST, Coalescing::Readiness, Waiting::LastResort),
        (Placement::PACKED, Coalescing::Readiness, Waiting::ToPack),
        (
            Placement { search: Search::Best { scan: 8, tie: Tie::Low }, ..Placement::PACKED },
            Coalescing::Eager,
            Waiting::LastResort,
        ),
    ] {
        let config = TlsfPoolConfig {
            offsets: tlsf::Config { granule: 64, second_level_bits: 4, placement },
            growth: Growth::slabs_of(128 * KIB),
            budget: Budget::bytes(BUDGET),
            retention: Retention::slabs(1),
            coalescing,
            waiting,
        };
        run(60 * KIB, BUDGET, twin!(TlsfPool, tlsf, config));
    }
}

#[test]
fn fixed_block_programs() {
    for budget in [Budget::UNLIMITED, Budget::bytes(100 * KIB)] {
        let config = FixedBlockPoolConfig {
            block_size: 1000,
            alignment: 64,
            max_blocks: 700,
            growth: Growth::slabs_of(90 * KIB),
            budget,
            retention: Retention::slabs(1),
        };
        run(1000, budget.limit(), twin!(FixedBlockPool, fixed_block, config));
    }
}

#[test]
fn arena_programs() {
    let config = ArenaPoolConfig {
        generations: 4,
        generation_size: 64 * KIB,
        budget: Budget::bytes(BUDGET),
        retention: Retention::slabs(1),
    };
    run(24 * KIB, BUDGET, twin!(ArenaPool, arena, config));
}

#[test]
fn passthrough_programs() {
    let config = PassthroughPoolConfig { max_slabs: 60, budget: Budget::bytes(BUDGET) };
    run(60 * KIB, BUDGET, twin!(PassthroughPool, passthrough, config));
}
