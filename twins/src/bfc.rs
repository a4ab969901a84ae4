//! BFC, the best-fit allocator with coalescing: as TensorFlow and XLA have it, and as ONNX Runtime has it.
//!
//! Source, read: openxla/xla, `xla/tsl/framework/bfc_allocator.cc` (mid 2026: the constructor and `Extend`; the file that TensorFlow
//! uses, too) and microsoft/onnxruntime, `onnxruntime/core/framework/bfc_arena.cc` (2024, as of 1.17). Never compared with a
//! recording. The rules, in our words:
//!
//! 1. Sizes round up to 256 bytes. Free chunks are in 21 bins by powers of two from 256 bytes; in a bin by (size, address). The first chunk
//!    that holds the request in its own bin or a larger one is the smallest that does.
//! 2. A chunk is split if it has twice the request or more, or if the rest would be at least 128 MiB (ONNX Runtime: what
//!    `max_dead_bytes_per_chunk` says, by default 128 MiB).
//! 3. None: a region is added. Doubling growth: a region size (2 MiB at first in XLA and TensorFlow, 1 MiB in ONNX Runtime) doubles until it
//!    holds the request, and doubles for the next one after each that did not have to (ONNX Runtime: even if the driver then
//!    refused). `SameAsRequested`: of the request alone. When the driver refuses: nine tenths of it, rounded up to 256 bytes,
//!    again and again, as long as the request fits (and, in ONNX Runtime, it is 8 KiB or more).
//! 4. A freed chunk joins its free neighbours within its region at once. Streams are not told apart: there is one compute
//!    stream. Regions go back only in ONNX Runtime, by `Shrink`: whole free ones, though never the first one of an arena
//!    that doubles; such an arena then goes on with 2 MiB.
//! 5. XLA and TensorFlow are modelled with `allow_growth`; without, they take their share of the device at once.
//!
//! Cost: O(log chunks).

use crate::table::Table;
use crate::{
    Allocation, Answer, BlockId, BlockState, BlockView, Counts, Driver, OutOfMemory, Request,
    SegmentView, Tried, Twin,
};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Sizes are multiples of this, in bytes.
const ALIGNMENT: u64 = 256;
/// ONNX Runtime's first region, in bytes.
const FIRST: u64 = 1 << 20;
/// XLA's and TensorFlow's first region, and ONNX Runtime's next one after it shrank.
const FIRST_OF_XLA: u64 = 2 << 20;
/// ONNX Runtime asks for no less than this once it was refused.
const LEAST: u64 = 8 << 10;
/// A rest of this many bytes is split off in any case.
const MAX_DEAD: u64 = 128 << 20;

/// How regions grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Regions double: TensorFlow and XLA with `allow_growth`.
    Xla,
    /// Regions double: ONNX Runtime's `kNextPowerOfTwo`.
    NextPowerOfTwo,
    /// Each region is its request: ONNX Runtime's `kSameAsRequested`.
    SameAsRequested,
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    size: u64,
    requested: u64,
    region: u64,
    id: u32,
    state: BlockState,
}

/// A model of BFC.
#[derive(Clone, Debug)]
pub struct Bfc {
    growth: Growth,
    next_region: u64,
    /// The first region.
    first: Option<u64>,
    /// Chunks by address.
    chunks: BTreeMap<u64, Chunk>,
    free: BTreeSet<(u64, u64)>,
    regions: BTreeMap<u64, u64>,
    /// Addresses of live chunks by their number.
    live: Table<u64>,
    reserved: u64,
    active: u64,
    counts: Counts,
}

impl Bfc {
    /// An arena that has not been used.
    #[must_use]
    pub fn new(growth: Growth) -> Self {
        Self {
            growth,
            next_region: if growth == Growth::Xla { FIRST_OF_XLA } else { FIRST },
            first: None,
            chunks: BTreeMap::new(),
            free: BTreeSet::new(),
            regions: BTreeMap::new(),
            live: Table::default(),
            reserved: 0,
            active: 0,
            counts: Counts::default(),
        }
    }

    /// Rule 3. Returns the new region's only chunk.
    fn extend(&mut self, size: u64, driver: &mut dyn Driver, tried: &mut Tried) -> Option<u64> {
        let mut increased = false;
        let mut bytes = size;
        if self.growth != Growth::SameAsRequested {
            while self.next_region < size {
                self.next_region = self.next_region.saturating_mul(2);
                increased = true;
            }
            bytes = self.next_region;
        }
        let doubled = if increased { self.next_region } else { self.next_region.saturating_mul(2) };
        if self.growth == Growth::NextPowerOfTwo {
            self.next_region = doubled;
        }
        let address = loop {
            match driver.allocate(bytes, 0) {
                Answer::Granted(address) => break address,
                Answer::Stop => {
                    tried.stopped = true;
                    return None;
                }
                Answer::Refused => tried.refusals += 1,
            }
            let mut less = ((bytes as f64 * 0.9) as u64).next_multiple_of(ALIGNMENT);
            if self.growth == Growth::Xla {
                less = less.min(bytes - ALIGNMENT);
            } else if less < LEAST {
                return None;
            }
            if less < size {
                return None;
            }
            bytes = less;
        };
        if self.growth == Growth::Xla {
            self.next_region = doubled;
        }
        self.first.get_or_insert(address);
        self.counts.grants += 1;
        self.reserved += bytes;
        self.regions.insert(address, bytes);
        let chunk = Chunk {
            size: bytes,
            requested: 0,
            region: address,
            id: u32::MAX,
            state: BlockState::Free,
        };
        self.chunks.insert(address, chunk);
        self.free.insert((bytes, address));
        Some(address)
    }
}

impl Twin for Bfc {
    fn allocate(
        &mut self,
        request: Request,
        driver: &mut dyn Driver,
    ) -> Result<Allocation, OutOfMemory> {
        let mut tried = Tried::default();
        let refused = |rounded, tried| OutOfMemory {
            requested: request.size,
            rounded,
            asked: rounded,
            tried,
        };
        let size = request.size.max(1);
        let Some(size) = size.checked_next_multiple_of(ALIGNMENT).filter(|&size| size < 1 << 60)
        else {
            return Err(refused(request.size, tried));
        };
        let cached = self.free.range((size, 0)..).next().map(|&(_, address)| address);
        let address = match cached {
            Some(address) => address,
            None => self.extend(size, driver, &mut tried).ok_or_else(|| refused(size, tried))?,
        };
        let Some(mut chunk) = self.chunks.get(&address).copied() else {
            return Err(refused(size, tried));
        };
        self.free.remove(&(chunk.size, address));
        let rest = chunk.size - size;
        let split = chunk.size >= size * 2 || rest >= MAX_DEAD;
        if split && rest > 0 {
            self.chunks.insert(address + size, Chunk { size: rest, ..chunk });
            self.free.insert((rest, address + size));
            chunk.size = size;
        }
        chunk.state = BlockState::Allocated;
        chunk.requested = request.size;
        let id = self.live.add(address);
        chunk.id = id.0;
        self.chunks.insert(address, chunk);
        self.active += chunk.size;
        Ok(Allocation { id, address, size: chunk.size })
    }

    /// There is one stream: what is given back comes back when it is completed.
    fn free_requested(&mut self, block: BlockId, _stream: u64) {
        if let Some(address) = self.live.get_mut(block)
            && let Some(chunk) = self.chunks.get_mut(address)
        {
            chunk.state = BlockState::Pending;
        }
    }

    fn free_completed(&mut self, block: BlockId) {
        let Some(mut address) = self.live.take(block) else { return };
        let Some(mut chunk) = self.chunks.remove(&address) else { return };
        self.active -= chunk.size;
        let after = address + chunk.size;
        if let Some(&next) = self.chunks.get(&after)
            && next.state == BlockState::Free
            && next.region == chunk.region
        {
            self.chunks.remove(&after);
            self.free.remove(&(next.size, after));
            chunk.size += next.size;
        }
        let before = self.chunks.range(..address).next_back().map(|(&at, &prev)| (at, prev));
        if let Some((at, prev)) = before
            && prev.state == BlockState::Free
            && prev.region == chunk.region
        {
            self.chunks.remove(&at);
            self.free.remove(&(prev.size, at));
            chunk.size += prev.size;
            address = at;
        }
        let chunk = Chunk { state: BlockState::Free, requested: 0, id: u32::MAX, ..chunk };
        self.free.insert((chunk.size, address));
        self.chunks.insert(address, chunk);
    }

    fn empty_cache(&mut self, driver: &mut dyn Driver) {
        // XLA has no such call.
        if self.growth == Growth::Xla {
            return;
        }
        let kept = self.first.filter(|_| self.growth == Growth::NextPowerOfTwo);
        let whole: Vec<(u64, u64)> = self
            .regions
            .iter()
            .filter(|(at, size)| self.free.contains(&(**size, **at)) && kept != Some(**at))
            .map(|(&at, &size)| (at, size))
            .collect();
        for (address, size) in whole {
            if driver.free(address, size, 0) {
                self.counts.returns += 1;
                self.reserved -= size;
                self.regions.remove(&address);
                self.chunks.remove(&address);
                self.free.remove(&(size, address));
            }
        }
        self.next_region = FIRST_OF_XLA;
    }

    fn reserved(&self) -> u64 {
        self.reserved
    }

    fn active(&self) -> u64 {
        self.active
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn segments(&self) -> Vec<SegmentView> {
        let view = |(&address, &chunk): (&u64, &Chunk)| BlockView {
            id: BlockId(chunk.id),
            address,
            size: chunk.size,
            requested: chunk.requested,
            state: chunk.state,
        };
        self.regions
            .iter()
            .map(|(&address, &size)| SegmentView {
                address,
                size,
                stream: 0,
                pool: 0,
                small: false,
                page: 0,
                base: address,
                blocks: self.chunks.range(address..address + size).map(view).collect(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, laws};
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    proptest! {
        #[test]
        fn the_laws_hold(
            growth in prop_oneof![
                Just(Growth::Xla), Just(Growth::NextPowerOfTwo), Just(Growth::SameAsRequested),
            ],
            capacity in prop_oneof![Just(None), Just(Some(200 * MIB))],
            program in laws::program(),
        ) {
            let (mut device, mut twin) = (Device::new(capacity), Bfc::new(growth));
            laws::run(&mut twin, &mut device, &program);
            twin.empty_cache(&mut device);
            prop_assert_eq!(twin.reserved(), device.used());
            let regions = twin.segments().len();
            match growth {
                Growth::Xla => {}
                // Only the first one stays.
                Growth::NextPowerOfTwo => {
                    prop_assert_eq!(regions, usize::from(twin.counts().grants > 0));
                }
                Growth::SameAsRequested => prop_assert_eq!(regions, 0),
            }
        }
    }

    fn reserved(growth: Growth, capacity: Option<u64>, sizes: &[u64]) -> Vec<Option<u64>> {
        let (mut device, mut twin) = (Device::new(capacity), Bfc::new(growth));
        let of = |&size: &u64| {
            let got = twin.allocate(Request { size, stream: 0, pool: 0 }, &mut device);
            got.ok().map(|_| twin.reserved() / MIB)
        };
        sizes.iter().map(of).collect()
    }

    #[test]
    fn regions_double_or_are_what_was_asked() {
        let sizes = [MIB, MIB, 3 * MIB, 9 * MIB];
        // 2, which holds the second too; then 4 (doubled after the first), then 16 for 9.
        assert_eq!(reserved(Growth::Xla, None, &sizes), [2, 2, 6, 22].map(Some));
        // 1, then 2 (doubled after the first), then 4 of which 3 are not split, then 16 for 9.
        assert_eq!(reserved(Growth::NextPowerOfTwo, None, &sizes), [1, 3, 7, 23].map(Some));
        assert_eq!(reserved(Growth::SameAsRequested, None, &sizes), [1, 2, 5, 14].map(Some));
    }

    #[test]
    fn a_refusal_backs_off_by_tenths() {
        // 16 MiB are refused, 14.4 and 12.96 too, 11.66 are not.
        assert_eq!(reserved(Growth::Xla, Some(12 * MIB), &[9 * MIB]), [Some(11)]);
        assert_eq!(reserved(Growth::NextPowerOfTwo, Some(12 * MIB), &[9 * MIB]), [Some(11)]);
        assert_eq!(reserved(Growth::NextPowerOfTwo, Some(8 * MIB), &[9 * MIB]), [None]);
    }
}
