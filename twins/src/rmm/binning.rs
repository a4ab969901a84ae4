//! RMM's `binning_memory_resource`: bins of blocks of one size each, over a pool.
//!
//! Source: rapidsai/rmm, `cpp/src/mr/detail/binning_memory_resource_impl.cpp`, `fixed_size_memory_resource_impl.cpp` and
//! `cpp/include/rmm/mr/detail/fixed_size_free_list.hpp`, read as of 2026 (the 128 of rule 2, a default of the constructor, is from
//! memory). The rules, in our words:
//!
//! 1. There is a bin for each power of two from 2^`smallest` to 2^`largest` bytes. A request goes to the first bin that holds it; one that is
//!    larger than all bins goes to the pool below, by [its rules](super::Pool).
//! 2. A bin takes 128 blocks at once from the pool: when the resource is made (here: at the first request), and again when no
//!    stream's list has one left. They belong to the default stream at first, later to the stream that asked.
//! 3. The stream's own list first, the block that was freed longest ago; then one block of another stream's, with a wait. Bins give nothing back.
//!
//! Cost: O(streams) for a request that a bin serves.

use super::{Pool, PoolSettings};
use crate::table::Table;
use crate::{
    Allocation, BlockId, BlockState, BlockView, Counts, Driver, OutOfMemory, Request, SegmentView,
    Twin,
};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// Blocks that a bin takes at once.
const BLOCKS: u64 = 128;

/// How a binning resource is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinningSettings {
    /// The smallest bin has blocks of two to this power, at least 8 (256 bytes).
    pub smallest: u32,
    /// The largest bin has blocks of two to this power, at most 40.
    pub largest: u32,
    /// The pool below.
    pub pool: PoolSettings,
}

#[derive(Clone, Debug)]
struct Bin {
    size: u64,
    /// Free blocks, by stream, in the order in which streams appeared.
    lists: Vec<(u64, VecDeque<u64>)>,
}

impl Bin {
    fn list(&mut self, stream: u64) -> usize {
        match self.lists.iter().position(|&(of, _)| of == stream) {
            Some(at) => at,
            None => {
                self.lists.push((stream, VecDeque::new()));
                self.lists.len() - 1
            }
        }
    }

    fn add(&mut self, address: u64, stream: u64) {
        let (list, size) = (self.list(stream), self.size);
        self.lists[list].1.extend((0..BLOCKS).map(|index| address + index * size));
    }
}

#[derive(Clone, Copy, Debug)]
enum Live {
    /// A block of the pool.
    Pool(BlockId),
    /// A block of a bin.
    Bin { bin: usize, address: u64, requested: u64, returned: bool },
}

/// A model of `binning_memory_resource` over `pool_memory_resource`.
#[derive(Clone, Debug)]
pub struct Binning {
    pool: Pool,
    bins: Vec<Bin>,
    started: bool,
    /// What bins took from the pool: address, and the bin.
    chunks: BTreeMap<u64, usize>,
    live: Table<Live>,
    /// Bytes that bins hold of the pool, and those of them that are live.
    held: u64,
    active: u64,
    counts: Counts,
}

impl Binning {
    /// A resource that has not been used.
    #[must_use]
    pub fn new(settings: BinningSettings) -> Self {
        let bins = settings.smallest.max(8)..=settings.largest.min(40);
        Self {
            pool: Pool::new(settings.pool),
            bins: bins.map(|power| Bin { size: 1 << power, lists: Vec::new() }).collect(),
            started: false,
            chunks: BTreeMap::new(),
            live: Table::default(),
            held: 0,
            active: 0,
            counts: Counts::default(),
        }
    }

    /// Rule 2.
    fn fill(
        &mut self,
        bin: usize,
        stream: u64,
        driver: &mut dyn Driver,
    ) -> Result<(), OutOfMemory> {
        let size = self.bins[bin].size * BLOCKS;
        let chunk = self.pool.allocate(Request { size, stream, pool: 0 }, driver)?;
        self.bins[bin].add(chunk.address, stream);
        self.chunks.insert(chunk.address, bin);
        self.held += size;
        Ok(())
    }

    /// Rule 3.
    fn take(&mut self, bin: usize, stream: u64) -> Option<u64> {
        let bin = &mut self.bins[bin];
        let own = bin.list(stream);
        if let Some(address) = bin.lists[own].1.pop_front() {
            return Some(address);
        }
        let address = bin.lists.iter_mut().find_map(|(_, list)| list.pop_front())?;
        self.counts.waits += 1;
        self.counts.moved += 1;
        Some(address)
    }
}

impl Twin for Binning {
    fn allocate(
        &mut self,
        request: Request,
        driver: &mut dyn Driver,
    ) -> Result<Allocation, OutOfMemory> {
        let failed = |error: OutOfMemory| OutOfMemory { requested: request.size, ..error };
        if !self.started {
            // Bins that are filled stay so, when a later one is refused and the next request tries again.
            for bin in 0..self.bins.len() {
                if !self.chunks.values().any(|&of| of == bin) {
                    self.fill(bin, 0, driver).map_err(failed)?;
                }
            }
            self.started = true;
        }
        let bin = self.bins.iter().position(|bin| bin.size >= request.size);
        let (address, size, live) = match bin {
            Some(bin) => {
                let address = match self.take(bin, request.stream) {
                    Some(address) => Some(address),
                    None => {
                        self.fill(bin, request.stream, driver).map_err(failed)?;
                        self.take(bin, request.stream)
                    }
                };
                let size = self.bins[bin].size;
                let Some(address) = address else {
                    let (requested, rounded) = (request.size, size);
                    return Err(OutOfMemory {
                        requested,
                        rounded,
                        asked: 0,
                        tried: Default::default(),
                    });
                };
                self.active += size;
                let requested = request.size;
                (address, size, Live::Bin { bin, address, requested, returned: false })
            }
            None => {
                let block = self.pool.allocate(request, driver)?;
                (block.address, block.size, Live::Pool(block.id))
            }
        };
        Ok(Allocation { id: self.live.add(live), address, size })
    }

    fn free_requested(&mut self, block: BlockId, stream: u64) {
        match self.live.get_mut(block) {
            Some(Live::Pool(id)) => self.pool.free_requested(*id, stream),
            Some(Live::Bin { bin, address, returned, .. }) if !*returned => {
                *returned = true;
                let bin = &mut self.bins[*bin];
                self.active -= bin.size;
                let list = bin.list(stream);
                bin.lists[list].1.push_back(*address);
            }
            _ => {}
        }
    }

    /// RMM waits for nothing: what was given back is back already.
    fn free_completed(&mut self, block: BlockId) {
        self.free_requested(block, 0);
        if let Some(Live::Pool(id)) = self.live.take(block) {
            self.pool.free_completed(id);
        }
    }

    /// Neither bins nor the pool give anything back.
    fn empty_cache(&mut self, _driver: &mut dyn Driver) {}

    fn reserved(&self) -> u64 {
        self.pool.reserved()
    }

    fn active(&self) -> u64 {
        self.pool.active() - self.held + self.active
    }

    fn counts(&self) -> Counts {
        let pool = self.pool.counts();
        Counts {
            waits: pool.waits + self.counts.waits,
            moved: pool.moved + self.counts.moved,
            ..pool
        }
    }

    fn segments(&self) -> Vec<SegmentView> {
        let mut used: BTreeMap<u64, (BlockId, u64)> = BTreeMap::new();
        let mut of_pool: BTreeMap<BlockId, BlockId> = BTreeMap::new();
        for (id, live) in self.live.iter() {
            match *live {
                Live::Bin { address, requested, returned: false, .. } => {
                    used.insert(address, (id, requested));
                }
                Live::Pool(block) => {
                    of_pool.insert(block, id);
                }
                Live::Bin { .. } => {}
            }
        }
        let mut segments = self.pool.segments();
        for segment in &mut segments {
            let mut blocks = Vec::with_capacity(segment.blocks.len());
            for block in &segment.blocks {
                let bin = self.chunks.get(&block.address);
                let Some(&bin) = bin.filter(|_| block.state == BlockState::Allocated) else {
                    let id = of_pool.get(&block.id).copied().unwrap_or(BlockId(u32::MAX));
                    blocks.push(BlockView { id, ..*block });
                    continue;
                };
                let size = self.bins[bin].size;
                blocks.extend((0..BLOCKS).map(|index| {
                    let address = block.address + index * size;
                    let (id, requested, state) = match used.get(&address) {
                        Some(&(id, requested)) => (id, requested, BlockState::Allocated),
                        None => (BlockId(u32::MAX), 0, BlockState::Free),
                    };
                    BlockView { id, address, size, requested, state }
                }));
            }
            segment.blocks = blocks;
        }
        segments
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
            (smallest, largest) in prop_oneof![Just((8, 12)), Just((10, 10)), Just((18, 20))],
            capacity in prop_oneof![Just(None), Just(Some(200 * MIB))],
            program in laws::program(),
        ) {
            let settings = BinningSettings { smallest, largest, pool: PoolSettings::default() };
            laws::run(&mut Binning::new(settings), &mut Device::new(capacity), &program);
        }
    }

    fn ask(twin: &mut Binning, device: &mut Device, size: u64, stream: u64) -> Option<Allocation> {
        twin.allocate(Request { size, stream, pool: 0 }, device).ok()
    }

    /// As in RMM's tests of bins: what fits a bin has its size, and what fits none comes from below.
    #[test]
    fn requests_go_to_the_first_bin_that_holds_them() {
        let pool = PoolSettings { initial: 64 * MIB, ..PoolSettings::default() };
        let settings = BinningSettings { smallest: 10, largest: 12, pool };
        let (mut device, mut twin) = (Device::new(None), Binning::new(settings));
        for (size, block) in
            [(1, 1024), (1024, 1024), (1025, 2048), (4096, 4096), (4097, 4352), (MIB, MIB)]
        {
            assert_eq!(ask(&mut twin, &mut device, size, 0).unwrap().size, block, "{size}");
        }
        assert_eq!(twin.reserved(), 64 * MIB);
    }

    #[test]
    fn a_bin_grows_by_128_blocks_and_lends_to_other_streams() {
        let settings = BinningSettings { smallest: 20, largest: 20, pool: PoolSettings::default() };
        let (mut device, mut twin) = (Device::new(Some(200 * MIB)), Binning::new(settings));
        for _ in 0..128 {
            assert!(ask(&mut twin, &mut device, MIB, 7).is_some());
        }
        assert_eq!(
            (twin.reserved(), twin.counts().waits),
            (128 * MIB, 128),
            "the default stream's"
        );
        assert!(ask(&mut twin, &mut device, MIB, 7).is_none(), "no 128 MiB more");
    }
}
