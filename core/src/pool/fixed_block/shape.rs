//! How slabs are cut into blocks and blocks numbered. Pure arithmetic.

use super::FixedBlockPoolConfig;
use crate::offset::align_up;
use crate::offset::fixed_block::{LEAF_BLOCKS, MAX_BLOCKS};
use crate::pool::PoolError;
use crate::slab::SlabProperties;

/// The sizes that follow from configuration and provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// From one block to the next, in bytes.
    pub(super) stride: u64,
    /// Bytes of an ordinary slab, and of the least one.
    pub(super) slab: u64,
    pub(super) least_slab: u64,
    /// A slab's blocks are numbered from a multiple of `1 << shift`.
    pub(super) shift: u32,
    pub(super) max_slabs: u32,
    /// The alignment that every block has, in an aligned slab.
    pub(super) natural: u64,
    pub(super) slab_alignment: u64,
}

impl Shape {
    pub(super) fn new(
        config: &FixedBlockPoolConfig,
        slabs: &SlabProperties,
    ) -> Result<Self, PoolError> {
        if config.block_size == 0 {
            return Err(PoolError::InvalidConfig("blocks need at least one byte"));
        }
        if !config.alignment.is_power_of_two() || config.alignment > slabs.alignment {
            return Err(PoolError::InvalidConfig(
                "the alignment must be a power of two that the provider's slabs have",
            ));
        }
        if config.max_blocks == 0 || config.max_blocks > MAX_BLOCKS {
            return Err(PoolError::InvalidConfig("from 1 to 2^24 blocks"));
        }
        let stride = align_up(config.block_size, config.alignment)
            .filter(|&stride| stride <= slabs.max_slab_size)
            .ok_or(PoolError::InvalidConfig("a block must fit in a slab of the provider"))?;
        // Both are powers of two times something, so this many blocks are whole granules.
        let natural = 1 << stride.trailing_zeros();
        let unit = (slabs.granularity / natural).max(1);
        let most = u64::from(config.max_blocks).min(slabs.max_slab_size / stride);
        let ordinary = (config.growth.slab_size / stride).clamp(1, most);
        // Whole units where that leaves room for one; otherwise a slab has a tail that is not used.
        let unit = if unit <= most { unit } else { 1 };
        let blocks = ordinary.next_multiple_of(unit).min(most / unit * unit);
        let shift = (blocks as u32).next_power_of_two().max(LEAF_BLOCKS).trailing_zeros();
        let places = (u64::from(config.max_blocks) / blocks).min(u64::from(MAX_BLOCKS >> shift));
        Ok(Self {
            stride,
            slab: blocks * stride,
            least_slab: unit * stride,
            shift,
            max_slabs: config.growth.max_slabs.min(places as u32),
            natural,
            slab_alignment: slabs.alignment,
        })
    }
}
