//! Every kind of pool, in both places at once, runs generated programs against the oracle: outcomes, offsets,
//! counters, blocks, events and questions to the provider are the same at every step.

use crate::bytes::Bytes;
use crate::support::generate::op;
use crate::support::planned::{Truth, plan};
use crate::support::program::{self, Op};
use crate::support::scaled;
use crate::support::subject::{Made, Subject};
use crate::twin::Twin;
use crate::{module, module_with_plans};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::sync::Arc;
use strandline_core::Pool;
use strandline_core::offset::tlsf::{self, Placement, Search, Tie};
use strandline_core::pool::PoolHost;
use strandline_core::pool::arena::{ArenaPool, ArenaPoolConfig};
use strandline_core::pool::budget::Budget;
use strandline_core::pool::fixed_block::{FixedBlockPool, FixedBlockPoolConfig};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::passthrough::{PassthroughPool, PassthroughPoolConfig};
use strandline_core::pool::planned::PlannedPool;
use strandline_core::pool::tlsf::{Coalescing, TlsfPool, TlsfPoolConfig, Waiting};
use strandline_core::slab::retain::Retention;

const KIB: u64 = 1024;
const LEN: usize = 400;

fn run(subject: &Subject, make: impl Fn(PoolHost) -> Arc<dyn Pool>) {
    run_of(subject, |_, host| make(host));
}

/// The same, of pools that are made for the program.
fn run_of(subject: &Subject, make: impl Fn(&[Op], PoolHost) -> Arc<dyn Pool>) {
    let config = Config { cases: scaled(40), failure_persistence: None, ..Config::default() };
    let bytes = prop::collection::vec(any::<[u8; 8]>(), LEN);
    let largest = subject.largest();
    let programs = bytes.prop_map(move |bytes| -> Vec<Op> {
        bytes.iter().map(|bytes| op(&mut Bytes(bytes), largest)).collect()
    });
    let outcome = TestRunner::new(config).run(&programs, |program| {
        program::run(subject, &program, |host| Made::new(make(&program, host)))
            .map_err(TestCaseError::fail)
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// A twin of a kind: its native constructor, the substrate's, and the configuration of both.
macro_rules! twin {
    ($native:ty, $sandbox:ident, $config:expr) => {
        |host| -> Arc<dyn Pool> {
            let config = $config;
            let substrate = module().instantiate().unwrap();
            Arc::new(Twin::new(
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
        (Placement::PACKED, Coalescing::Readiness, Waiting::PreferCompact),
        (
            Placement { search: Search::Best { scan: 8, tie: Tie::Low }, ..Placement::PACKED },
            Coalescing::Eager,
            Waiting::LastResort,
        ),
    ] {
        let config = TlsfPoolConfig {
            offsets: tlsf::Config { granule: 64, second_level_bits: 4, placement },
            growth: Growth::slabs_of(128 * KIB),
            budget: Budget::bytes(1 << 20),
            retention: Retention::slabs(1),
            coalescing,
            waiting,
        };
        run(&Subject::tlsf(KIB, config), twin!(TlsfPool, tlsf, config));
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
        run(&Subject::fixed_block(KIB, config), twin!(FixedBlockPool, fixed_block, config));
    }
}

#[test]
fn arena_programs() {
    let config = ArenaPoolConfig {
        generations: 4,
        generation_size: 64 * KIB,
        budget: Budget::bytes(1 << 20),
        retention: Retention::slabs(1),
    };
    run(&Subject::arena(KIB, config), twin!(ArenaPool, arena, config));
}

/// By right and wrong plans, of a component that has them.
#[test]
fn planned_programs() {
    let granule = 64;
    let config = TlsfPoolConfig {
        offsets: tlsf::Config { granule, second_level_bits: 4, placement: Placement::FAST },
        growth: Growth::slabs_of(128 * KIB),
        budget: Budget::bytes(1 << 20),
        retention: Retention::slabs(1),
        ..TlsfPoolConfig::default()
    };
    for truth in Truth::ALL {
        let seed = 7;
        run_of(&Subject::planned(KIB, config, truth, seed), |program, host| {
            let plan = plan(program, granule, truth, seed);
            let substrate = module_with_plans().instantiate().unwrap();
            Arc::new(Twin::new(
                host,
                |host| Box::new(PlannedPool::new(host, config, &plan).unwrap()),
                |host| Box::new(substrate.planned(host, config, &plan).unwrap()),
            ))
        });
    }
}

#[test]
fn passthrough_programs() {
    let config = PassthroughPoolConfig { max_slabs: 60, budget: Budget::bytes(1 << 20) };
    run(&Subject::passthrough(KIB, config), twin!(PassthroughPool, passthrough, config));
}
