//! RMM's `arena_memory_resource`: one segment, handed to streams in superblocks.
//!
//! Source: rapidsai/rmm, `cpp/include/rmm/mr/detail/arena.hpp` and `cpp/src/mr/detail/arena_memory_resource_impl.cpp`, read as of
//! mid 2026. The rules, in our words:
//!
//! 1. The arena is one segment, taken when the resource is made (here: at its first request). It never grows and gives nothing back.
//! 2. The segment is cut into superblocks of at least 1 MiB. Each belongs to the global arena or to a stream's. Sizes round up to 256 bytes.
//! 3. More than 1 MiB: the first superblock of the global arena, by address, that has a free block for it. A superblock that is all free
//!    is cut to the request, if 1 MiB or more is left.
//! 4. Up to 1 MiB: the first superblock of the stream's own arena with a free block for it. None: one is acquired from the global arena
//!    as in rule 3, for 1 MiB. In a superblock the first free block by address is taken, and cut.
//! 5. None: the device is synchronized, every stream's superblocks go back to the global arena, and the request is tried once more.
//! 6. A freed block joins its free neighbours in its superblock. An all free superblock of the global arena joins its all free neighbours
//!    there; one of a stream stays with the stream until rule 5. A free of more than 1 MiB in the global arena waits for its
//!    stream, and so does one of a block that lies with another stream; both are counted as waits.
//!
//! Threads (the per-thread default stream has an arena a thread) are not told apart.
//!
//! Cost: O(superblocks) for a request, as in the source; O(log blocks) for a free.

use super::live::LiveBlocks;
use crate::{
    Allocation, Answer, BlockId, Counts, Driver, OutOfMemory, Request, SegmentView, Tried, Twin,
};
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

/// Sizes are multiples of this, in bytes.
const ALIGNMENT: u64 = 256;
/// The least superblock, and the most that a stream's arena serves.
const SUPERBLOCK: u64 = 1 << 20;

/// How an arena is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaSettings {
    /// Bytes of the segment; at least 1 MiB. RMM's own default is half of what is free on the device.
    pub size: u64,
}

/// Whose a superblock is: the global arena's, or a stream's.
type Owner = Option<u64>;

#[derive(Clone, Debug)]
struct Superblock {
    size: u64,
    owner: Owner,
    /// Free blocks by address.
    free: BTreeMap<u64, u64>,
    /// The largest of them.
    largest: u64,
}

impl Superblock {
    fn whole(address: u64, size: u64, owner: Owner) -> Self {
        Self { size, owner, free: BTreeMap::from([(address, size)]), largest: size }
    }

    fn is_free(&self) -> bool {
        self.largest == self.size
    }

    /// The first free block that holds `size`, cut.
    fn take(&mut self, size: u64) -> Option<u64> {
        let (&address, &found) = self.free.iter().find(|&(_, &free)| free >= size)?;
        self.free.remove(&address);
        if found > size {
            self.free.insert(address + size, found - size);
        }
        if found == self.largest {
            self.largest = self.free.values().copied().max().unwrap_or(0);
        }
        Some(address)
    }

    fn put(&mut self, mut address: u64, mut size: u64) {
        if let Some(after) = self.free.remove(&(address + size)) {
            size += after;
        }
        let before = self.free.range(..address).next_back().map(|(&at, &size)| (at, size));
        if let Some((at, before)) = before
            && at + before == address
        {
            address = at;
            size += before;
        }
        self.free.insert(address, size);
        self.largest = self.largest.max(size);
    }
}

/// A model of `arena_memory_resource` over `cuda_memory_resource`.
#[derive(Clone, Debug)]
pub struct Arena {
    settings: ArenaSettings,
    segment: Option<(u64, u64)>,
    superblocks: BTreeMap<u64, Superblock>,
    live: LiveBlocks,
    counts: Counts,
}

impl Arena {
    /// An arena that has not been used.
    #[must_use]
    pub fn new(settings: ArenaSettings) -> Self {
        Self {
            settings,
            segment: None,
            superblocks: BTreeMap::new(),
            live: LiveBlocks::default(),
            counts: Counts::default(),
        }
    }

    /// Rule 1.
    fn start(&mut self, driver: &mut dyn Driver, tried: &mut Tried) -> bool {
        if self.segment.is_some() {
            return true;
        }
        let size = self.settings.size / ALIGNMENT * ALIGNMENT;
        if size < SUPERBLOCK {
            return false;
        }
        match driver.allocate(size, 0) {
            Answer::Granted(address) => {
                self.counts.grants += 1;
                self.segment = Some((address, size));
                self.superblocks.insert(address, Superblock::whole(address, size, None));
                true
            }
            Answer::Stop => {
                tried.stopped = true;
                false
            }
            Answer::Refused => {
                tried.refusals += 1;
                false
            }
        }
    }

    /// The first superblock of `owner` that has a free block for `size`.
    fn first_fit(&self, owner: Owner, size: u64) -> Option<u64> {
        let fits = |s: &Superblock| s.owner == owner && s.largest >= size;
        self.superblocks.iter().find(|(_, s)| fits(s)).map(|(&address, _)| address)
    }

    /// Rule 3: a superblock of the global arena, cut to the request if it was all free.
    fn acquire(&mut self, size: u64) -> Option<u64> {
        let address = self.first_fit(None, size)?;
        let found = &self.superblocks[&address];
        let (bytes, wanted) = (found.size, size.max(SUPERBLOCK));
        if found.is_free() && bytes >= wanted + SUPERBLOCK {
            let rest = address + wanted;
            self.superblocks.insert(address, Superblock::whole(address, wanted, None));
            self.superblocks.insert(rest, Superblock::whole(rest, bytes - wanted, None));
        }
        Some(address)
    }

    fn find(&mut self, stream: u64, size: u64) -> Option<u64> {
        let owner = (size <= SUPERBLOCK).then_some(stream);
        let own = owner.and_then(|_| self.first_fit(owner, size));
        let at = match own {
            Some(at) => at,
            None => {
                let at = self.acquire(size)?;
                self.superblocks.get_mut(&at)?.owner = owner;
                at
            }
        };
        self.superblocks.get_mut(&at)?.take(size)
    }

    /// Rule 5.
    fn defragment(&mut self) {
        self.counts.sweeps += 1;
        let streams: Vec<u64> =
            self.superblocks.iter().filter(|(_, s)| s.owner.is_some()).map(|(&at, _)| at).collect();
        self.counts.moved += streams.len() as u64;
        for at in streams {
            if let Some(superblock) = self.superblocks.get_mut(&at) {
                superblock.owner = None;
                self.join(at);
            }
        }
    }

    /// An all free superblock of the global arena joins its all free neighbours.
    fn join(&mut self, mut address: u64) {
        let free = |s: &Superblock| s.owner.is_none() && s.is_free();
        let Some(mut size) = self.superblocks.get(&address).filter(|s| free(s)).map(|s| s.size)
        else {
            return;
        };
        let after = address + size;
        if let Some(next) = self.superblocks.get(&after).filter(|s| free(s)) {
            size += next.size;
            self.superblocks.remove(&after);
        }
        if let Some((&at, before)) = self.superblocks.range(..address).next_back()
            && free(before)
        {
            size += before.size;
            self.superblocks.remove(&address);
            address = at;
        }
        self.superblocks.insert(address, Superblock::whole(address, size, None));
    }
}

impl Twin for Arena {
    fn allocate(
        &mut self,
        request: Request,
        driver: &mut dyn Driver,
    ) -> Result<Allocation, OutOfMemory> {
        let mut tried = Tried::default();
        let refused =
            |rounded, asked, tried| OutOfMemory { requested: request.size, rounded, asked, tried };
        let Some(size) =
            request.size.max(1).checked_next_multiple_of(ALIGNMENT).filter(|&size| size < 1 << 60)
        else {
            return Err(refused(request.size, 0, tried));
        };
        if !self.start(driver, &mut tried) {
            return Err(refused(size, self.settings.size, tried));
        }
        let found = self.find(request.stream, size).or_else(|| {
            self.defragment();
            self.find(request.stream, size)
        });
        let Some(address) = found else { return Err(refused(size, 0, tried)) };
        let id = self.live.add(address, size, request.size);
        Ok(Allocation { id, address, size })
    }

    fn free_requested(&mut self, block: BlockId, stream: u64) {
        let Some((address, size)) = self.live.give_back(block) else { return };
        let Some((&at, superblock)) = self.superblocks.range_mut(..=address).next_back() else {
            return;
        };
        superblock.put(address, size);
        if superblock.owner != Some(stream) {
            self.counts.waits += 1;
            self.join(at);
        }
    }

    /// RMM has waited already: what was given back is back.
    fn free_completed(&mut self, block: BlockId) {
        self.free_requested(block, 0);
        self.live.forget(block);
    }

    /// An arena gives nothing back.
    fn empty_cache(&mut self, _driver: &mut dyn Driver) {}

    fn reserved(&self) -> u64 {
        self.segment.map_or(0, |(_, size)| size)
    }

    fn active(&self) -> u64 {
        self.live.active()
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn segments(&self) -> Vec<SegmentView> {
        let Some((address, size)) = self.segment else { return Vec::new() };
        let free = self.superblocks.values().flat_map(|s| &s.free);
        let blocks = self.live.views(free.map(|(&address, &size)| (address, size)));
        let blocks = blocks.into_values().collect();
        let (stream, pool, small, page, base) = (0, 0, false, 0, address);
        vec![SegmentView { address, size, stream, pool, small, page, base, blocks }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, laws};
    use proptest::prelude::*;

    const MIB: u64 = SUPERBLOCK;

    proptest! {
        #[test]
        fn the_laws_hold(
            size in prop_oneof![Just(4 * MIB), Just(64 * MIB), Just(500 * MIB)],
            capacity in prop_oneof![Just(None), Just(Some(200 * MIB))],
            program in laws::program(),
        ) {
            let mut arena = Arena::new(ArenaSettings { size });
            laws::run(&mut arena, &mut Device::new(capacity), &program);
            // Nothing is live: after one defragmentation the arena is one superblock again.
            if arena.segment.is_some() {
                arena.defragment();
                prop_assert_eq!(arena.superblocks.len(), 1);
            }
        }
    }

    /// The arena's MiB, requests (MiB and the stream) in order, and where each is met, in MiB from the arena's begin.
    type Scenario = (u64, &'static [(u64, u64, Option<u64>)]);

    #[test]
    fn superblocks_are_cut_by_address_and_kept_by_streams() {
        const SMALL: u64 = MIB / 2;
        let scenarios: &[Scenario] = &[
            // Large blocks lie side by side, each in a superblock of its size; the rest is too small to be cut off.
            (
                8,
                &[
                    (2 * MIB, 0, Some(0)),
                    (3 * MIB, 0, Some(2)),
                    (3 * MIB, 1, Some(5)),
                    (MIB, 0, None),
                ],
            ),
            // Each stream has a superblock of 1 MiB of its own.
            (4, &[(SMALL, 1, Some(0)), (SMALL, 2, Some(1)), (2 * MIB, 1, Some(2)), (MIB, 1, None)]),
            // More than all.
            (4, &[(5 * MIB, 0, None), (4 * MIB, 0, Some(0))]),
        ];
        for &(mib, requests) in scenarios {
            let (mut device, mut arena) =
                (Device::new(None), Arena::new(ArenaSettings { size: mib * MIB }));
            for &(size, stream, at) in requests {
                let got = arena.allocate(Request { size, stream, pool: 0 }, &mut device).ok();
                let begin = arena.segment.map_or(0, |(begin, _)| begin);
                let got = got.map(|block| (block.address - begin) / MIB);
                assert_eq!(got, at, "{mib} MiB: {size} of stream {stream}");
            }
        }
    }

    #[test]
    fn a_stream_keeps_its_superblock_until_another_needs_it() {
        let mut device = Device::new(None);
        let mut arena = Arena::new(ArenaSettings { size: 2 * MIB });
        let mut ask = |arena: &mut Arena, size, stream| {
            arena.allocate(Request { size, stream, pool: 0 }, &mut device)
        };
        let small = ask(&mut arena, 256, 1).unwrap();
        arena.free_requested(small.id, 1);
        assert_eq!((arena.counts().waits, arena.counts().sweeps), (0, 0), "its own");
        // Stream 1 has 1 MiB, all free; 2 MiB are there only after it gave it back.
        let large = ask(&mut arena, 2 * MIB, 2).unwrap();
        assert_eq!((large.address, arena.counts().sweeps), (small.address, 1));
        arena.free_requested(large.id, 2);
        assert_eq!(arena.counts().waits, 1, "the global arena waits for the stream");
    }
}
