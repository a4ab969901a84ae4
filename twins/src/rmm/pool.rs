//! RMM's `pool_memory_resource`: one pool, with a free list for each stream.
//!
//! Source: rapidsai/rmm, `cpp/include/rmm/mr/detail/stream_ordered_memory_resource.hpp` (`get_block`,
//! `get_block_from_other_stream`, `merge_lists`), `coalescing_free_list.hpp`, and `pool_memory_resource`
//! (`size_to_grow`, `try_to_expand`, `allocate_from_block`), as of 26.02 (the first file was read; the
//! growth and the list are from memory of the others). The rules, in our words:
//!
//! 1. Sizes round up to 256 bytes. A block's first fit is the best fit: the smallest free block that holds the request, the lowest address
//!    first.
//! 2. The stream's own list is looked at first; then each other stream's, in the order in which streams appeared: the stream waits for
//!    the other one's event, and the rest of the block stays with the other stream.
//! 3. None: the lists of other streams are merged into its own, one after the other, with a wait each, until a block holds the request.
//! 4. None: the pool grows. With a maximum by half of what is left to it, at least by the request, less and less by halves when the
//!    driver refuses; without one by as much as it has (it doubles), and then by the request alone.
//! 5. A freed block goes to the list of the stream that frees it, and joins its free neighbours in that list; never beyond the
//!    segment it came from. The pool gives nothing back.
//!
//! The order of streams is that of their events' addresses in the source; it is taken to be that of their first use.
//!
//! Cost: O(log blocks) for a request that its stream's list serves; O(streams) more for one that others serve; a merge costs the
//! blocks of the list.

use crate::{
    Allocation, Answer, BlockId, BlockState, BlockView, Counts, Driver, OutOfMemory, Request,
    SegmentView, Tried, Twin,
};
use std::collections::{BTreeMap, BTreeSet};

/// Sizes are multiples of this, in bytes.
const ALIGNMENT: u64 = 256;

/// How a pool is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolSettings {
    /// Bytes that it takes when it is made; here, at its first request.
    pub initial: u64,
    /// The most bytes that it may take.
    pub maximum: Option<u64>,
}

/// A free list: blocks by address, and by (size, address).
#[derive(Clone, Debug, Default)]
struct FreeList {
    by_address: BTreeMap<u64, u64>,
    by_size: BTreeSet<(u64, u64)>,
}

impl FreeList {
    fn remove(&mut self, address: u64) -> Option<u64> {
        let size = self.by_address.remove(&address)?;
        self.by_size.remove(&(size, address));
        Some(size)
    }

    /// Rule 5. `heads` are where segments begin: no block joins across one.
    fn insert(&mut self, mut address: u64, mut size: u64, heads: &BTreeMap<u64, u64>) {
        let end = address + size;
        if !heads.contains_key(&end)
            && let Some(after) = self.remove(end)
        {
            size += after;
        }
        let before = self.by_address.range(..address).next_back().map(|(&at, &size)| (at, size));
        if let Some((at, before)) = before
            && at + before == address
            && !heads.contains_key(&address)
        {
            self.remove(at);
            address = at;
            size += before;
        }
        self.by_address.insert(address, size);
        self.by_size.insert((size, address));
    }

    /// Rule 1.
    fn take(&mut self, size: u64) -> Option<(u64, u64)> {
        let &(found, address) = self.by_size.range((size, 0)..).next()?;
        self.remove(address);
        Some((address, found))
    }
}

#[derive(Clone, Copy, Debug)]
struct Live {
    address: u64,
    size: u64,
    requested: u64,
    /// Given back: its bytes are in a free list already.
    returned: bool,
}

/// A model of `pool_memory_resource` over `cuda_memory_resource`.
#[derive(Clone, Debug)]
pub struct Pool {
    settings: PoolSettings,
    started: bool,
    /// Free lists in the order of their streams' first use.
    lists: Vec<(u64, FreeList)>,
    /// Segments: where, and how many bytes.
    heads: BTreeMap<u64, u64>,
    live: Vec<Option<Live>>,
    vacant: Vec<u32>,
    reserved: u64,
    active: u64,
    counts: Counts,
}

impl Pool {
    /// A pool that has not been used.
    #[must_use]
    pub fn new(settings: PoolSettings) -> Self {
        Self {
            settings,
            started: false,
            lists: Vec::new(),
            heads: BTreeMap::new(),
            live: Vec::new(),
            vacant: Vec::new(),
            reserved: 0,
            active: 0,
            counts: Counts::default(),
        }
    }

    fn list(&mut self, stream: u64) -> usize {
        match self.lists.iter().position(|&(of, _)| of == stream) {
            Some(at) => at,
            None => {
                self.lists.push((stream, FreeList::default()));
                self.lists.len() - 1
            }
        }
    }

    /// Rules 2 to 4: a block of at least `size` bytes, and the list that its rest goes to.
    fn find(
        &mut self,
        own: usize,
        size: u64,
        driver: &mut dyn Driver,
        tried: &mut Tried,
    ) -> Option<(u64, u64, usize)> {
        if let Some((address, found)) = self.lists[own].1.take(size) {
            return Some((address, found, own));
        }
        for other in (0..self.lists.len()).filter(|&other| other != own) {
            if let Some((address, found)) = self.lists[other].1.take(size) {
                self.counts.waits += 1;
                self.counts.moved += 1;
                return Some((address, found, other));
            }
        }
        for other in (0..self.lists.len()).filter(|&other| other != own) {
            let merged = core::mem::take(&mut self.lists[other].1);
            if merged.by_address.is_empty() {
                continue;
            }
            self.counts.waits += 1;
            self.counts.moved += merged.by_address.len() as u64;
            for (address, bytes) in merged.by_address {
                self.lists[own].1.insert(address, bytes, &self.heads);
            }
            if let Some((address, found)) = self.lists[own].1.take(size) {
                return Some((address, found, own));
            }
        }
        self.grow(own, size, driver, tried)
    }

    /// Rule 4.
    fn grow(
        &mut self,
        own: usize,
        size: u64,
        driver: &mut dyn Driver,
        tried: &mut Tried,
    ) -> Option<(u64, u64, usize)> {
        let mut wanted = match self.settings.maximum {
            Some(maximum) => {
                let left = maximum.saturating_sub(self.reserved) / ALIGNMENT * ALIGNMENT;
                if size > left {
                    return None;
                }
                size.max((left / 2).next_multiple_of(ALIGNMENT))
            }
            None => size.max(self.reserved),
        };
        loop {
            match driver.allocate(wanted, self.lists[own].0) {
                Answer::Granted(address) => {
                    self.add(address, wanted);
                    return Some((address, wanted, own));
                }
                Answer::Stop => {
                    tried.stopped = true;
                    return None;
                }
                Answer::Refused => tried.refusals += 1,
            }
            if wanted <= size {
                return None;
            }
            wanted = match self.settings.maximum {
                Some(_) => size.max((wanted / 2).next_multiple_of(ALIGNMENT)),
                None => size,
            };
        }
    }

    fn add(&mut self, address: u64, size: u64) {
        self.counts.grants += 1;
        self.reserved += size;
        self.heads.insert(address, size);
    }
}

impl Twin for Pool {
    fn allocate(
        &mut self,
        request: Request,
        driver: &mut dyn Driver,
    ) -> Result<Allocation, OutOfMemory> {
        let mut tried = Tried::default();
        let own = self.list(request.stream);
        if !core::mem::replace(&mut self.started, true) && self.settings.initial > 0 {
            let initial = self.settings.initial.next_multiple_of(ALIGNMENT);
            match driver.allocate(initial, request.stream) {
                Answer::Granted(address) => {
                    self.add(address, initial);
                    self.lists[own].1.insert(address, initial, &self.heads);
                }
                _ => tried.refusals += 1,
            }
        }
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
        let Some((address, found, rest)) = self.find(own, size, driver, &mut tried) else {
            return Err(refused(size, tried));
        };
        if found > size {
            self.lists[rest].1.insert(address + size, found - size, &self.heads);
        }
        self.active += size;
        let live = Some(Live { address, size, requested: request.size, returned: false });
        let id = match self.vacant.pop() {
            Some(id) => {
                self.live[id as usize] = live;
                id
            }
            None => {
                self.live.push(live);
                (self.live.len() - 1) as u32
            }
        };
        Ok(Allocation { id: BlockId(id), address, size })
    }

    /// The bytes can be had again at once: by this stream without, by others with a wait.
    fn free_requested(&mut self, block: BlockId, stream: u64) {
        let Some(Some(live)) = self.live.get_mut(block.0 as usize) else { return };
        if core::mem::replace(&mut live.returned, true) {
            return;
        }
        let Live { address, size, .. } = *live;
        self.active -= size;
        let list = self.list(stream);
        self.lists[list].1.insert(address, size, &self.heads);
    }

    /// RMM waits for nothing: what was given back is back already.
    fn free_completed(&mut self, block: BlockId) {
        let stream = self.lists.first().map_or(0, |&(stream, _)| stream);
        self.free_requested(block, stream);
        if let Some(slot) = self.live.get_mut(block.0 as usize)
            && slot.take().is_some()
        {
            self.vacant.push(block.0);
        }
    }

    /// A pool gives nothing back.
    fn empty_cache(&mut self, _driver: &mut dyn Driver) {}

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
        let mut blocks: BTreeMap<u64, BlockView> = BTreeMap::new();
        let live = self.live.iter().enumerate();
        for (id, live) in live.filter_map(|(id, live)| Some((id, live.filter(|l| !l.returned)?))) {
            let Live { address, size, requested, .. } = live;
            let id = BlockId(id as u32);
            let view = BlockView { id, address, size, requested, state: BlockState::Allocated };
            blocks.insert(address, view);
        }
        for (&address, &size) in self.lists.iter().flat_map(|(_, list)| &list.by_address) {
            let id = BlockId(u32::MAX);
            let view = BlockView { id, address, size, requested: 0, state: BlockState::Free };
            blocks.insert(address, view);
        }
        self.heads
            .iter()
            .map(|(&address, &size)| SegmentView {
                address,
                size,
                stream: 0,
                pool: 0,
                small: false,
                page: 0,
                base: address,
                blocks: blocks.range(address..address + size).map(|(_, &view)| view).collect(),
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

    fn ask(pool: &mut Pool, device: &mut Device, size: u64, stream: u64) -> Option<Allocation> {
        pool.allocate(Request { size, stream, pool: 0 }, device).ok()
    }

    proptest! {
        #[test]
        fn the_laws_hold(
            initial in prop_oneof![Just(0), Just(64 * MIB)],
            maximum in prop_oneof![Just(None), Just(Some(256 * MIB))],
            capacity in prop_oneof![Just(None), Just(Some(200 * MIB))],
            program in laws::program(),
        ) {
            let mut pool = Pool::new(PoolSettings { initial, maximum });
            laws::run(&mut pool, &mut Device::new(capacity), &program);
        }
    }

    /// As RMM's own tests have it: initial size, maximum size, then requests, each of which succeeds or does not.
    #[test]
    fn pools_grow_up_to_their_maximum() {
        const GIB: u64 = 1 << 30;
        for (initial, maximum, capacity, sizes) in [
            // All of the initial size, and not a byte more when that is the maximum.
            (GIB, Some(GIB), None, &[(GIB, true), (256, false)][..]),
            // Growth to the maximum: half of what is left, and then what is asked.
            (
                1000 * 256,
                Some(4000 * 256),
                None,
                &[(1000 * 256, true), (3000 * 256, true), (256, false)],
            ),
            // More than the maximum at once.
            (0, Some(GIB), None, &[(GIB + 256, false), (GIB, true)]),
            // Without a maximum the device is the limit: doubling is refused, the request itself is not.
            (
                8 * MIB,
                None,
                Some(20 * MIB),
                &[(8 * MIB, true), (8 * MIB, true), (8 * MIB, false), (4 * MIB, true)],
            ),
        ] {
            let mut device = Device::new(capacity);
            let mut pool = Pool::new(PoolSettings { initial, maximum });
            for &(size, met) in sizes {
                assert_eq!(
                    ask(&mut pool, &mut device, size, 0).is_some(),
                    met,
                    "{initial} {maximum:?} {size}"
                );
            }
        }
    }

    #[test]
    fn streams_take_from_each_other_with_a_wait_and_merge_when_they_must() {
        let mut device = Device::new(None);
        let mut pool = Pool::new(PoolSettings { initial: 4 * MIB, maximum: Some(4 * MIB) });
        let a = ask(&mut pool, &mut device, 2 * MIB, 1).unwrap();
        pool.free_requested(a.id, 1);
        assert_eq!(pool.counts().waits, 0);
        // Stream 2 has no list yet: it takes from stream 1, whose list keeps the rest.
        let b = ask(&mut pool, &mut device, MIB, 2).unwrap();
        assert_eq!((b.address, pool.counts().waits), (a.address, 1));
        pool.free_requested(b.id, 2);
        // 1 MiB is in one list and 3 MiB in the other: together they are 4.
        let c = ask(&mut pool, &mut device, 4 * MIB, 1).unwrap();
        assert_eq!((c.address, c.size, pool.counts().waits), (a.address, 4 * MIB, 2));
    }

    #[test]
    fn blocks_of_two_segments_never_join() {
        let mut device = Device::new(None);
        let mut pool = Pool::new(PoolSettings::default());
        let a = ask(&mut pool, &mut device, 2 * MIB, 0).unwrap();
        let b = ask(&mut pool, &mut device, 2 * MIB, 0).unwrap();
        assert_eq!(b.address, a.address + 2 * MIB, "side by side");
        pool.free_requested(a.id, 0);
        pool.free_requested(b.id, 0);
        let c = ask(&mut pool, &mut device, 4 * MIB, 0).unwrap();
        assert_ne!(c.address, a.address);
    }
}
