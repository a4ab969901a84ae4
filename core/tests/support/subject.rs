//! A pool to be tried: its kind, its configuration, the laws it is judged by, and the provider it stands on.
//!
//! All sizes are multiples of a scale, in bytes: 1024 for slabs as in use, less for programs that fill and drain them
//! quickly.

use super::draw::Draw;
use super::laws::{Laws, Unit};
use super::planned::{Replanning, Truth, plan};
use super::program::Op;
use super::provider::MockProvider;
use std::sync::Arc;
use strandline_core::Pool;
use strandline_core::offset::tlsf::{self, Carve, Placement, Search, Tie};
use strandline_core::pool::PoolHost;
use strandline_core::pool::arena::{ArenaPool, ArenaPoolConfig};
use strandline_core::pool::budget::Budget;
use strandline_core::pool::fixed_block::{FixedBlockPool, FixedBlockPoolConfig};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::passthrough::{PassthroughPool, PassthroughPoolConfig};
use strandline_core::pool::planned::PlannedPool;
use strandline_core::pool::tlsf::{Coalescing, TlsfPool, TlsfPoolConfig, Waiting};
use strandline_core::slab::Elastic;
use strandline_core::slab::retain::Retention;

/// The kinds of pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tlsf,
    FixedBlock,
    Arena,
    Passthrough,
    Planned,
}

impl Kind {
    /// As [`PoolProperties::kind`](strandline_core::pool::PoolProperties) has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tlsf => "tlsf",
            Self::FixedBlock => "fixed-block",
            Self::Arena => "arena",
            Self::Passthrough => "passthrough",
            Self::Planned => "planned",
        }
    }
}

/// A kind with its configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Config {
    Tlsf(TlsfPoolConfig),
    FixedBlock(FixedBlockPoolConfig),
    Arena(ArenaPoolConfig),
    Passthrough(PassthroughPoolConfig),
    /// With a plan of the program, of this truth and seed.
    Planned(TlsfPoolConfig, Truth, u64),
}

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// Bytes, a power of two of at least 16.
    pub(crate) scale: u64,
    pub(crate) config: Config,
    pub(crate) laws: Laws,
    /// How the provider's slabs are elastic, if they are.
    pub(crate) elastic: Option<Elastic>,
}

/// A pool, and as what it is more than any pool.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) pool: Arc<dyn Pool>,
    pub(crate) tlsf: Option<Arc<TlsfPool>>,
}

impl Made {
    pub(crate) fn new(pool: Arc<dyn Pool>) -> Self {
        Self { pool, tlsf: None }
    }
}

/// Whether a planned pool of this seed takes slabs for its plans without waiting for room.
const fn moves(seed: u64) -> bool {
    seed % 4 == 2
}

impl Subject {
    pub(crate) fn tlsf(scale: u64, config: TlsfPoolConfig) -> Self {
        let laws = match config.coalescing {
            Coalescing::Readiness => Laws::tlsf(),
            Coalescing::Eager => Laws::tlsf_eager(),
        };
        Self { scale, config: Config::Tlsf(config), laws, elastic: None }
    }

    pub(crate) fn fixed_block(scale: u64, config: FixedBlockPoolConfig) -> Self {
        Self { scale, config: Config::FixedBlock(config), laws: Laws::fixed_block(), elastic: None }
    }

    pub(crate) fn arena(scale: u64, config: ArenaPoolConfig) -> Self {
        Self { scale, config: Config::Arena(config), laws: Laws::arena(), elastic: None }
    }

    pub(crate) fn passthrough(scale: u64, config: PassthroughPoolConfig) -> Self {
        Self {
            scale,
            config: Config::Passthrough(config),
            laws: Laws::passthrough(),
            elastic: None,
        }
    }

    pub(crate) fn planned(scale: u64, config: TlsfPoolConfig, truth: Truth, seed: u64) -> Self {
        let config = Config::Planned(config, truth, seed);
        // A plan has its memory first, and a request the place that the plan has for it, though another lacks less.
        let mut laws = Laws { minimal_growth: false, ..Laws::tlsf() };
        // What moves grows for its plan.
        laws.complete &= !moves(seed);
        laws.complete_wait &= !moves(seed);
        Self { scale, config, laws, elastic: None }
    }

    /// A configuration of a kind.
    pub(crate) fn draw(kind: Kind, scale: u64, draw: &mut impl Draw) -> Self {
        let k = scale;
        let budget = Budget::bytes(draw.pick(&[u64::MAX, 1024 * k, 100 * k]));
        let retention = draw.pick(&[
            Retention::slabs(1),
            Retention::NOTHING,
            Retention { slabs: 3, bytes: 200 * k },
        ]);
        match kind {
            Kind::FixedBlock => {
                let max_slabs = draw.pick(&[u32::MAX, 1, 3]);
                let config = FixedBlockPoolConfig {
                    // Blocks fill a slab: the machine takes what would be left over for lost.
                    block_size: k - k / 42,
                    alignment: draw.pick(&[k / 16, k / 2, k]),
                    max_blocks: draw.pick(&[700, 64, 2000]),
                    growth: Growth { slab_size: draw.pick(&[90, 20, 200]) * k, max_slabs },
                    budget,
                    retention,
                };
                Self::fixed_block(scale, config)
            }
            Kind::Arena => {
                let config = ArenaPoolConfig {
                    generations: draw.pick(&[4, 1, 2, 9]),
                    generation_size: draw.pick(&[64, 28, 200]) * k,
                    budget,
                    retention,
                };
                Self::arena(scale, config)
            }
            Kind::Passthrough => {
                let max_slabs = draw.pick(&[60, 1, 5]);
                Self::passthrough(scale, PassthroughPoolConfig { max_slabs, budget })
            }
            Kind::Planned => {
                let subject = Self::draw(Kind::Tlsf, scale, draw);
                let Config::Tlsf(config) = subject.config else { return subject };
                let config = TlsfPoolConfig { coalescing: Coalescing::Readiness, ..config };
                let (truth, seed) = (draw.pick(&Truth::ALL), draw.byte().into());
                Self { elastic: subject.elastic, ..Self::planned(scale, config, truth, seed) }
            }
            Kind::Tlsf => {
                let tie = draw.pick(&Tie::ALL);
                let scan = draw.pick(&[0, 1, 2, 8, 64]);
                let placement = Placement {
                    search: if scan == 0 { Search::Head } else { Search::Best { scan, tie } },
                    threshold: draw.pick(&[0, 8, 40]) * k,
                    large: draw.pick(&Carve::ALL),
                    small: draw.pick(&Carve::ALL),
                };
                let config = TlsfPoolConfig {
                    offsets: tlsf::Config {
                        granule: draw.pick(&[k / 16, 1, k / 4, 4 * k]),
                        second_level_bits: draw.pick(&[4, 3, 5, 6]),
                        placement,
                    },
                    growth: Growth {
                        slab_size: draw.pick(&[128, 16, 512]) * k,
                        max_slabs: draw.pick(&[u32::MAX, 1, 3]),
                    },
                    budget,
                    retention,
                    coalescing: draw.pick(&[
                        Coalescing::Readiness,
                        Coalescing::Readiness,
                        Coalescing::Readiness,
                        Coalescing::Eager,
                    ]),
                    waiting: draw.pick(&[
                        Waiting::LastResort,
                        Waiting::LastResort,
                        Waiting::PreferCompact,
                    ]),
                };
                let subject = Self::tlsf(scale, config);
                let elastic = Elastic {
                    granule: draw.pick(&[4, 8, 32]) * k,
                    reserve: draw.pick(&[512, 64, 200]) * k,
                };
                if draw.below(2) == 0 { subject } else { subject.over(elastic) }
            }
        }
    }

    /// The same pool on a provider whose slabs are elastic.
    pub(crate) const fn over(self, elastic: Elastic) -> Self {
        Self { elastic: Some(elastic), ..self }
    }

    /// The largest size of interest, in bytes.
    pub(crate) const fn largest(&self) -> u64 {
        match self.config {
            Config::FixedBlock(config) => config.block_size,
            Config::Arena(_) => 24 * self.scale,
            Config::Tlsf(_) | Config::Planned(..) | Config::Passthrough(_) => 60 * self.scale,
        }
    }

    /// The most bytes reserved at once.
    pub(crate) const fn budget(&self) -> u64 {
        match self.config {
            Config::FixedBlock(FixedBlockPoolConfig { budget, .. })
            | Config::Arena(ArenaPoolConfig { budget, .. })
            | Config::Passthrough(PassthroughPoolConfig { budget, .. })
            | Config::Planned(TlsfPoolConfig { budget, .. }, ..)
            | Config::Tlsf(TlsfPoolConfig { budget, .. }) => budget.limit(),
        }
    }

    /// The largest slab to ask a provider for, when a request comes to so many bytes: before it is rounded up to what the
    /// provider grants.
    pub(crate) fn largest_growth(&self, footprint: u64) -> u64 {
        match self.config {
            Config::Tlsf(config) => config.growth.slab_size.max(footprint),
            Config::FixedBlock(config) => config.growth.slab_size.max(footprint),
            Config::Arena(config) => config.generation_size,
            Config::Passthrough(_) => footprint,
            // Its first slab has the size of the plan, which the pool's maker alone knows.
            Config::Planned(..) => u64::MAX,
        }
    }

    /// Memory of its elastic slabs may go from one place to another.
    pub(crate) const fn moves_memory(&self) -> bool {
        matches!(self.config, Config::Planned(..)) && self.elastic.is_some()
    }

    /// Who may wait is given what lies tightest, ready or not: a wait then says nothing of what is ready.
    pub(crate) const fn packs(&self) -> bool {
        matches!(
            self.config,
            Config::Tlsf(config) | Config::Planned(config, ..) if matches!(config.waiting, Waiting::PreferCompact)
        )
    }

    pub(crate) fn unit(&self) -> Unit {
        match self.config {
            Config::Tlsf(config) | Config::Planned(config, ..) => {
                Unit::Range { granule: config.offsets.granule }
            }
            Config::FixedBlock(config) => {
                Unit::Block { stride: config.block_size.next_multiple_of(config.alignment) }
            }
            Config::Arena(_) => Unit::Batch,
            Config::Passthrough(_) => Unit::Slab,
        }
    }

    pub(crate) fn provider(&self) -> MockProvider {
        let k = self.scale;
        MockProvider::new(4 * k, 8 * k, 512 * k, 512 * k).with_elastic(self.elastic)
    }

    /// The provider's capacity in bad times and in good, in bytes.
    pub(crate) const fn capacities(&self) -> (u64, u64) {
        (96 * self.scale, 2048 * self.scale)
    }

    /// The pool for a program, of which a plan may know.
    pub(crate) fn make(&self, host: PoolHost, program: &[Op]) -> Made {
        let what = "every configuration that is drawn can work";
        match self.config {
            Config::Tlsf(config) => {
                let pool = Arc::new(TlsfPool::new(host, config).expect(what));
                Made { pool: pool.clone(), tlsf: Some(pool) }
            }
            Config::FixedBlock(config) => {
                Made::new(Arc::new(FixedBlockPool::new(host, config).expect(what)))
            }
            Config::Arena(config) => Made::new(Arc::new(ArenaPool::new(host, config).expect(what))),
            Config::Planned(config, truth, seed) => {
                let plan = plan(program, config.offsets.granule, truth, seed);
                let pool = PlannedPool::new(host, config, &plan).expect(what);
                // Of two seeds one plans again and again, and every other of these without waiting for room.
                let pool = if moves(seed) { pool.moving() } else { pool };
                if seed % 2 == 0 {
                    Made::new(Arc::new(Replanning::new(pool)))
                } else {
                    Made::new(Arc::new(pool))
                }
            }
            Config::Passthrough(config) => {
                Made::new(Arc::new(PassthroughPool::new(host, config).expect(what)))
            }
        }
    }
}
