//! Growth: how large the next slab is. Pure arithmetic over the provider's properties.

use super::budget::Budget;
use crate::offset::align_up;
use crate::slab::{SlabProperties, SlabProvider};

/// How a pool grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Bytes of an ordinary slab. A larger request gets a slab of its own size.
    pub slab_size: u64,
    /// The most slabs held at once.
    pub max_slabs: u32,
}

impl Growth {
    /// Slabs of `slab_size` bytes, as many as the provider grants.
    #[must_use]
    pub const fn slabs_of(slab_size: u64) -> Self {
        Self { slab_size, max_slabs: u32::MAX }
    }

    /// The sizes to ask the provider for, in order, when `bytes` must fit and `slabs` are held: an
    /// ordinary slab, then, should that be refused, just what is needed. Empty when the pool may not
    /// or cannot grow for this.
    #[must_use]
    pub fn candidates(
        &self,
        bytes: u64,
        slabs: u64,
        properties: &SlabProperties,
    ) -> [Option<u64>; 2] {
        if slabs >= u64::from(self.max_slabs) {
            return [None, None];
        }
        let Some(least) =
            align_up(bytes, properties.granularity).filter(|&n| n <= properties.max_slab_size)
        else {
            return [None, None];
        };
        let ordinary = align_up(self.slab_size, properties.granularity)
            .map_or(properties.max_slab_size, |n| n.min(properties.max_slab_size));
        if ordinary > least { [Some(ordinary), Some(least)] } else { [Some(least), None] }
    }
}

/// The most bytes that a request to a pool may ever come to: a slab of the provider's, within the provider's capacity and the pool's
/// budget, if it may hold `slabs` at all; in whole units of `unit` bytes, a power of two. What is above this can never be served, and is
/// [too large](super::PoolError::TooLarge).
pub(crate) fn most(provider: &dyn SlabProvider, budget: Budget, slabs: u32, unit: u64) -> u64 {
    let properties = provider.properties();
    let whole = |bytes: u64, unit: u64| bytes & !(unit.max(1) - 1);
    let mut most = properties.max_slab_size;
    #[cfg(feature = "hosted")]
    if let Some(capacity) = provider.capacity() {
        most = most.min(whole(capacity, properties.granularity));
    }
    if budget != Budget::UNLIMITED {
        most = most.min(budget.limit());
    }
    if slabs == 0 { 0 } else { whole(most, unit) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::{BufferUsage, MemoryType};

    #[test]
    fn table() {
        let properties = SlabProperties {
            memory_type: MemoryType::NONE,
            usage: BufferUsage::NONE,
            alignment: 4096,
            granularity: 4096,
            max_slab_size: 1 << 20,
        };
        let growth = Growth { slab_size: 100_000, max_slabs: 3 };
        for (bytes, slabs, expected) in [
            (1, 0, [Some(102_400), Some(4096)]),
            (102_400, 2, [Some(102_400), None]),
            (102_401, 0, [Some(106_496), None]),
            (1 << 20, 0, [Some(1 << 20), None]),
            ((1 << 20) + 1, 0, [None, None]),
            (u64::MAX, 0, [None, None]),
            (1, 3, [None, None]),
        ] {
            assert_eq!(growth.candidates(bytes, slabs, &properties), expected, "{bytes} {slabs}");
        }
        let huge = Growth::slabs_of(u64::MAX);
        assert_eq!(huge.candidates(1, 0, &properties), [Some(1 << 20), Some(4096)]);
    }
}
