//! Offset allocators: arithmetic on ranges, with all bookkeeping out of band.
//!
//! They know no frontier and no slab. TLSF keeps a label on each free block and files blocks on numbered
//! shelves; what the labels and shelves mean is the pool's affair.

pub mod arena;
pub mod fixed_block;
pub mod tlsf;

/// Rounds `value` up to a multiple of `alignment`, a power of two; `None` on overflow.
#[inline]
#[must_use]
pub const fn align_up(value: u64, alignment: u64) -> Option<u64> {
    match value.checked_add(alignment - 1) {
        Some(sum) => Some(sum & !(alignment - 1)),
        None => None,
    }
}
