//! From a configuration to pools over real memory: the one place where they are made.
//!
//! ```text
//!   Config ─▶ Backing (mmap, or numbers only) ─▶ pools, routed by size ─▶ Pools
//! ```
//!
//! What the configuration leaves open follows from what is asked: with a capacity, a slab is as large as the capacity
//! (rounded down to pages) less one slab of each pool whose slabs have a size, so that all of it is used and what a pool gets
//! is one region; without one, a TLSF pool's slabs are [elastic](SlabProvider::elastic) where the provider can, so that it takes
//! what it needs; blocks of one size come in slabs that are a small part of what is live at the peak; and elsewhere slabs are
//! [`DEFAULT_SLAB`], and a larger request gets a slab of its own.

use crate::config::{Config, Kind, Policy, PoolSpec};
use crate::memory::Tags;
use crate::pools::{Member, Pools};
use crate::size::Bytes;
use crate::streams::Listener;
use core::fmt;
use numbers::Numbers;
use std::sync::Arc;
use strandline_core::offset::fixed_block::MAX_BLOCKS;
use strandline_core::offset::tlsf::{self, Placement};
use strandline_core::pool::PoolHost;
use strandline_core::pool::arena::{ArenaPool, ArenaPoolConfig, MAX_GENERATIONS};
use strandline_core::pool::budget::Budget;
use strandline_core::pool::fixed_block::{FixedBlockPool, FixedBlockPoolConfig};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::passthrough::{PassthroughPool, PassthroughPoolConfig};
use strandline_core::pool::tlsf::{Coalescing, TlsfPool, TlsfPoolConfig, Waiting};
use strandline_core::pool_set::PoolSetError;
use strandline_core::slab::retain::Retention;
use strandline_core::slab::{SlabProperties, SlabStats, Trim};
use strandline_core::{Axis, Epoch};
use strandline_core::{Grant, Pool, PoolError, Progress, SlabError, SlabId, SlabProvider};

#[cfg(feature = "native")]
mod mmap;
mod numbers;
#[cfg(feature = "native")]
pub use mmap::RESIDENT;

/// Bytes of an ordinary slab when nothing says otherwise.
pub const DEFAULT_SLAB: u64 = 32 << 20;

/// Bytes of addresses of an elastic slab.
const RESERVE: u64 = 64 << 30;

/// TLSF's granule when nothing says otherwise: a cache line.
pub const DEFAULT_GRANULE: u64 = 64;

/// TLSF's placement when nothing says otherwise.
pub const DEFAULT_PLACEMENT: Placement = Placement::PACKED;

/// Fixed blocks start at multiples of this, where the provider's slabs do.
const FIXED_ALIGNMENT: u64 = 64;

/// Generations that a capacity is cut into for an arena, when nothing says otherwise.
const ARENA_PARTS: u64 = 16;

/// Bytes of an arena's generation without a capacity, when nothing says otherwise.
const ARENA_SLAB: u64 = 16 << 20;

/// What the trace says about sizes, for what the configuration leaves open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The smallest block, in bytes; 0 when there is none.
    pub smallest: u64,
    /// The largest block, in bytes; 0 when there is none.
    pub largest: u64,
    /// Most blocks live at once.
    pub peak_blocks: u32,
    /// Most bytes live at once.
    pub peak_bytes: u64,
    /// The same for blocks of up to each size of [`SMALL`].
    pub small: [Small; SMALL.len()],
}

/// Sizes below which small blocks may get a pool of their own, in bytes.
pub const SMALL: [u64; 5] = [512, 4 << 10, 64 << 10, 512 << 10, 1 << 20];

/// The blocks of up to a size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Small {
    /// The size, in bytes.
    pub up_to: u64,
    /// The largest of them, in bytes; 0 when there is none.
    pub largest: u64,
    /// Most of their bytes live at once, each block in whole granules of [`DEFAULT_GRANULE`].
    pub peak_bytes: u64,
    /// Most of them live at once.
    pub peak_blocks: u32,
}

impl Sizes {
    /// Bytes of a slab of blocks of `block` bytes (the largest), when nothing says otherwise: a 64th of all that are live at the peak, so
    /// that little is reserved in vain; from 64 KiB to [`DEFAULT_SLAB`].
    fn slab_of_blocks(&self, block: Option<Bytes>) -> u64 {
        let block = block.map_or(self.largest, |bytes| bytes.0);
        let all = block.saturating_mul(self.peak_blocks.into());
        (all / 64).clamp(64 << 10, DEFAULT_SLAB)
    }

    /// All blocks are of one size.
    #[must_use]
    pub const fn are_equal(&self) -> bool {
        self.smallest == self.largest && self.largest > 0
    }
}

/// Why a configuration could not be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// A pool refused its configuration. Pools count from 1.
    Pool(usize, PoolError),
    /// The pools make no set.
    Set(PoolSetError),
    /// The provider of slabs could not be made.
    Provider(String),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(number, error) => write!(f, "pool {number}: {error}"),
            Self::Set(error) => write!(f, "pools: {error}"),
            Self::Provider(error) => write!(f, "slab provider: {error}"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Pool(_, error) => Some(error),
            Self::Set(error) => Some(error),
            Self::Provider(_) => None,
        }
    }
}

/// What pools stand on.
#[derive(Clone, Debug)]
pub struct Backing {
    /// Where slabs come from.
    pub provider: Arc<dyn SlabProvider>,
    /// What tags their bytes, if they have any.
    pub memory: Option<Arc<dyn Tags>>,
    /// Who makes the pools.
    pub maker: Arc<dyn Maker>,
    /// Who knows what of the provider's elastic slabs has memory. Without, what pools miss there is not looked for.
    pub committed: Option<Arc<dyn Committed>>,
}

/// Knows what of elastic slabs has memory.
pub trait Committed: fmt::Debug + Send + Sync {
    /// Bytes of addresses of an elastic slab. `None` of any other slab.
    fn addresses(&self, slab: SlabId) -> Option<u64>;

    /// What changed since the last call, in order. Nothing is kept before the first.
    fn changes(&self) -> Vec<Change>;

    /// Bytes that it would grant yet.
    fn room(&self) -> u64;

    /// Memory comes and goes in multiples of so many bytes.
    fn step(&self) -> u64;
}

/// Memory was put into an elastic slab, or taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The slab.
    pub slab: SlabId,
    /// First byte.
    pub start: u64,
    /// The byte behind the last.
    pub end: u64,
    /// It was put in.
    pub put: bool,
}

/// Makes pools: the core's own, or the same ones somewhere else.
pub trait Maker: fmt::Debug + Send + Sync {
    /// A TLSF pool.
    ///
    /// # Errors
    /// The configuration is refused.
    fn tlsf(&self, host: PoolHost, config: TlsfPoolConfig) -> Result<Arc<dyn Pool>, PoolError>;

    /// A fixed-block pool.
    ///
    /// # Errors
    /// The configuration is refused.
    fn fixed_block(
        &self,
        host: PoolHost,
        config: FixedBlockPoolConfig,
    ) -> Result<Arc<dyn Pool>, PoolError>;

    /// An arena.
    ///
    /// # Errors
    /// The configuration is refused.
    fn arena(&self, host: PoolHost, config: ArenaPoolConfig) -> Result<Arc<dyn Pool>, PoolError>;

    /// A passthrough pool.
    ///
    /// # Errors
    /// The configuration is refused.
    fn passthrough(
        &self,
        host: PoolHost,
        config: PassthroughPoolConfig,
    ) -> Result<Arc<dyn Pool>, PoolError>;

    /// Who has to be told how far streams come, if the pools are where they cannot ask.
    fn listener(&self) -> Option<Arc<dyn Listener>> {
        None
    }
}

/// Makes the core's own pools.
#[derive(Clone, Copy, Debug)]
pub struct Native;

impl Maker for Native {
    fn tlsf(&self, host: PoolHost, config: TlsfPoolConfig) -> Result<Arc<dyn Pool>, PoolError> {
        Ok(Arc::new(TlsfPool::new(host, config)?))
    }

    fn fixed_block(
        &self,
        host: PoolHost,
        config: FixedBlockPoolConfig,
    ) -> Result<Arc<dyn Pool>, PoolError> {
        Ok(Arc::new(FixedBlockPool::new(host, config)?))
    }

    fn arena(&self, host: PoolHost, config: ArenaPoolConfig) -> Result<Arc<dyn Pool>, PoolError> {
        Ok(Arc::new(ArenaPool::new(host, config)?))
    }

    fn passthrough(
        &self,
        host: PoolHost,
        config: PassthroughPoolConfig,
    ) -> Result<Arc<dyn Pool>, PoolError> {
        Ok(Arc::new(PassthroughPool::new(host, config)?))
    }
}

impl Backing {
    /// No memory at all, only slabs' numbers: for searching. Grants and refuses as the feature `native`'s `mmap` does.
    #[must_use]
    pub fn numbers(capacity: Option<u64>) -> Self {
        let provider = Arc::new(Numbers::new(capacity.unwrap_or(u64::MAX)));
        let committed: Option<Arc<dyn Committed>> = Some(provider.clone());
        Self { provider, memory: None, maker: Arc::new(Native), committed }
    }

    /// The same, with pools made by `maker`.
    #[must_use]
    pub fn made_by(self, maker: Arc<dyn Maker>) -> Self {
        Self { maker, ..self }
    }

    /// The same, with slabs that are not elastic, whatever the provider can do.
    #[must_use]
    pub fn rigid(self) -> Self {
        Self { provider: Arc::new(Rigid(self.provider)), committed: None, ..self }
    }
}

/// Builds the pools of a configuration.
///
/// # Errors
/// A pool refused its configuration.
pub fn pools(
    config: &Config,
    sizes: Sizes,
    backing: &Backing,
    progress: &Arc<dyn Progress>,
) -> Result<Pools, BuildError> {
    let mut members = Vec::with_capacity(config.pools.len());
    for (number, spec) in (1..).zip(&config.pools) {
        let host = PoolHost::new(backing.provider.clone(), progress.clone());
        let pool = pool(&*backing.maker, config, spec, sizes, host)
            .map_err(|error| BuildError::Pool(number, error))?;
        members.push(Member { pool, largest: spec.up_to.map_or(u64::MAX, |bytes| bytes.0) });
    }
    Pools::by_size(members).map_err(BuildError::Set)
}

/// Where blocks of one size start: at multiples of a 64th of their size or less, so that few of them end where a page does and a slab can be
/// small.
fn alignment_of_blocks(block: u64) -> u64 {
    const PAGE: u64 = 4096;
    let part = (block / 64).clamp(FIXED_ALIGNMENT, PAGE);
    1 << part.ilog2()
}

fn pool(
    maker: &dyn Maker,
    config: &Config,
    spec: &PoolSpec,
    sizes: Sizes,
    host: PoolHost,
) -> Result<Arc<dyn Pool>, PoolError> {
    let granularity = host.provider.properties().granularity;
    let budget = config.budget.map_or(Budget::UNLIMITED, |bytes| Budget::bytes(bytes.0));
    let slab = match (spec.slab, config.capacity) {
        (Some(slab), _) => slab.0,
        // At least a page: a capacity below that is refused by the provider, event by event, as any other.
        (None, Some(capacity)) => {
            let of_others = config.pools.iter().filter_map(|other| other.slab);
            let taken = of_others.fold(0, |sum: u64, slab| {
                sum.saturating_add(slab.0.checked_next_multiple_of(granularity).unwrap_or(u64::MAX))
            });
            let rest = capacity.0.saturating_sub(taken);
            (rest / granularity * granularity).max(granularity)
        }
        (None, None) if spec.kind == Kind::Fixed => sizes.slab_of_blocks(spec.block),
        (None, None) => DEFAULT_SLAB,
    };
    let growth = Growth::slabs_of(slab);
    let host = match spec.slab {
        Some(_) => PoolHost { provider: Arc::new(Rigid(host.provider)), ..host },
        None => host,
    };
    match spec.kind {
        Kind::Tlsf => {
            let classes = spec.size_classes.unwrap_or(32);
            let offsets = tlsf::Config {
                granule: spec.granule.map_or(DEFAULT_GRANULE, |bytes| bytes.0),
                second_level_bits: classes.ilog2() as u8,
                placement: spec
                    .placement
                    .map_or(DEFAULT_PLACEMENT, |placement| placement.to_core()),
            };
            let coalescing = match spec.policy {
                Policy::Readiness => Coalescing::Readiness,
                Policy::Eager => Coalescing::Eager,
            };
            let retention = Retention::NOTHING;
            maker.tlsf(
                host,
                TlsfPoolConfig {
                    offsets,
                    growth,
                    budget,
                    retention,
                    coalescing,
                    waiting: Waiting::PreferCompact,
                },
            )
        }
        Kind::Fixed => {
            let block_size = spec.block.map_or(sizes.largest, |bytes| bytes.0).max(1);
            let alignment = match (spec.slab, config.capacity) {
                (None, None) => alignment_of_blocks(block_size),
                _ => FIXED_ALIGNMENT,
            };
            let alignment = alignment.min(host.provider.properties().alignment);
            let stride = block_size.checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
            // Room for what is in flight beside what is live; the bookkeeping is made for all of them at once.
            let wanted = 4 * u64::from(sizes.peak_blocks) + 4096;
            let most = config.capacity.map_or(wanted, |capacity| wanted.min(capacity.0 / stride));
            maker.fixed_block(
                host,
                FixedBlockPoolConfig {
                    block_size,
                    alignment,
                    max_blocks: most.clamp(1, u64::from(MAX_BLOCKS)) as u32,
                    growth,
                    budget,
                    retention: Retention::NOTHING,
                },
            )
        }
        Kind::Arena => {
            // A block that outlives its batch holds a whole generation, so there are many and small ones; but the largest
            // block must fit into one.
            let generation_size = match (spec.slab, config.capacity) {
                (Some(slab), _) => slab.0,
                (None, Some(capacity)) => capacity.0 / ARENA_PARTS,
                // Of the most generations, half for what is live and half for batches in flight.
                (None, None) => ARENA_SLAB.max(2 * (sizes.peak_bytes / u64::from(MAX_GENERATIONS))),
            };
            let generation_size = generation_size
                .max(sizes.largest)
                .checked_next_multiple_of(granularity)
                .unwrap_or(u64::MAX);
            maker.arena(
                host,
                ArenaPoolConfig {
                    generations: MAX_GENERATIONS,
                    generation_size,
                    budget,
                    retention: Retention::NOTHING,
                },
            )
        }
        Kind::Passthrough => {
            maker.passthrough(host, PassthroughPoolConfig { max_slabs: u32::MAX, budget })
        }
    }
}

/// A provider whose slabs are not elastic, whatever it can do: for pools that were told how large their slabs are.
#[derive(Debug)]
struct Rigid(Arc<dyn SlabProvider>);

impl SlabProvider for Rigid {
    fn properties(&self) -> SlabProperties {
        self.0.properties()
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        self.0.acquire(size)
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.0.release(id)
    }

    fn room(&self) -> Option<u64> {
        self.0.room()
    }

    fn prefault(&self, id: SlabId, offset: u64, len: u64) -> Result<(), SlabError> {
        self.0.prefault(id, offset, len)
    }

    fn trim(&self, how: Trim) -> u64 {
        self.0.trim(how)
    }

    fn stats(&self) -> SlabStats {
        self.0.stats()
    }

    fn query_epoch(&self, axis: Axis, epoch: Epoch) -> Option<bool> {
        self.0.query_epoch(axis, epoch)
    }

    fn answers_epochs(&self) -> bool {
        self.0.answers_epochs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_capacity_can_be_used_by_one_block() {
        let progress: Arc<dyn Progress> = Arc::new(strandline_core::NoProgress);
        let capacity = (1 << 20) + 5000;
        let config = Config {
            capacity: Some(Bytes(capacity)),
            budget: None,
            pools: vec![PoolSpec::of(Kind::Tlsf)],
        };
        let pools =
            pools(&config, Sizes::default(), &Backing::numbers(Some(capacity)), &progress).unwrap();
        let whole = capacity / 4096 * 4096;
        let request = strandline_core::Request::new(whole).or_grow();
        let answer = pools.set().pools()[0].acquire(&request);
        assert!(matches!(answer, Ok(strandline_core::Acquire::Ready { .. })), "{answer:?}");
    }

    /// Few blocks of one size do not take a whole ordinary slab, whatever their size.
    #[test]
    fn blocks_of_one_size_reserve_little_more_than_they_need() {
        let progress: Arc<dyn Progress> = Arc::new(strandline_core::NoProgress);
        let config = Config { pools: vec![PoolSpec::of(Kind::Fixed)], ..Config::default() };
        for size in [1, 100, 4096, 5000, 65_537, 200_064, 1 << 20, 35_006_976, 35_006_977] {
            for count in [1, 3, 100, 1000] {
                let peak_bytes = size * u64::from(count);
                let sizes = Sizes {
                    smallest: size,
                    largest: size,
                    peak_blocks: count,
                    peak_bytes,
                    ..Sizes::default()
                };
                let pools = pools(&config, sizes, &Backing::numbers(None), &progress).unwrap();
                let pool = &pools.set().pools()[0];
                for _ in 0..count {
                    let answer = pool.acquire(&strandline_core::Request::new(size).or_grow());
                    let Ok(strandline_core::Acquire::Ready { .. }) = answer else {
                        panic!("{size}: {answer:?}")
                    };
                }
                let stats = pool.stats();
                let spare = stats.committed_bytes - stats.reserved_bytes;
                let most = peak_bytes / 32 + (512 << 10);
                assert!(spare <= most, "{count} of {size}: {spare} of {}", stats.committed_bytes);
                assert!(
                    stats.reserved_bytes <= peak_bytes + peak_bytes / 64 + 64 * u64::from(count)
                );
            }
        }
    }

    #[test]
    fn what_was_handed_out_once_is_not_fresh_again() {
        let progress: Arc<dyn Progress> = Arc::new(strandline_core::NoProgress);
        for kind in [Kind::Tlsf, Kind::Fixed, Kind::Arena] {
            let spec = PoolSpec { slab: Some(Bytes(1 << 16)), ..PoolSpec::of(kind) };
            let config =
                Config { capacity: Some(Bytes(1 << 16)), pools: vec![spec], ..Config::default() };
            let sizes = Sizes { smallest: 1 << 16, largest: 1 << 16, ..Sizes::default() };
            let pools = pools(&config, sizes, &Backing::numbers(Some(1 << 16)), &progress).unwrap();
            let pool = &pools.set().pools()[0];
            for _ in 0..3 {
                let answer = pool.acquire(&strandline_core::Request::new(1 << 16).or_grow());
                let Ok(strandline_core::Acquire::Ready { reservation, .. }) = answer else {
                    panic!("{kind}: {answer:?}")
                };
                pool.release(reservation, strandline_core::Death::Idle).unwrap();
            }
            let stats = pool.stats();
            assert_eq!((stats.reserves, stats.fresh), (3, 1), "{kind}");
        }
    }

    #[test]
    fn a_pool_without_a_slab_size_has_the_rest_of_the_capacity() {
        let progress: Arc<dyn Progress> = Arc::new(strandline_core::NoProgress);
        let capacity = 100 * 4096;
        let small = PoolSpec {
            up_to: Some(Bytes(4096)),
            slab: Some(Bytes(9 * 4096 + 1)),
            ..PoolSpec::of(Kind::Tlsf)
        };
        let config = Config {
            capacity: Some(Bytes(capacity)),
            budget: None,
            pools: vec![PoolSpec::of(Kind::Tlsf), small],
        };
        let backing = Backing::numbers(Some(capacity));
        let pools = pools(&config, Sizes::default(), &backing, &progress).unwrap();
        for (size, committed) in [(90 * 4096, 90 * 4096), (4096, capacity)] {
            let need = strandline_core::pool_set::Need::new(size);
            let request = strandline_core::Request::new(size).or_grow();
            let answer = pools.set().acquire(&need, &request).unwrap();
            let strandline_core::pool_set::SetAcquire::Routed { answer, .. } = answer else {
                panic!("{answer:?}")
            };
            assert!(matches!(answer, strandline_core::Acquire::Ready { .. }), "{answer:?}");
            assert_eq!(pools.stats().committed_bytes, committed);
        }
    }
}
