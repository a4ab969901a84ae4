//! RMM's `pool_memory_resource`: one pool, with a free list for each stream.
//!
//! Source: rapidsai/rmm, read file by file: `cpp/include/rmm/mr/detail/stream_ordered_memory_resource.hpp` (`get_block`,
//! `get_block_from_other_stream`, `merge_lists`), `coalescing_free_list.hpp` and `cpp/src/mr/detail/pool_memory_resource_impl.cpp`
//! (`size_to_grow`, `try_to_expand`, `allocate_from_block`, `reclaim_free_blocks`), as of mid 2026. The rules, in our words:
//!
//! 1. Sizes round up to 256 bytes. A block's first fit is the best fit: the smallest free block that holds the request, the lowest address
//!    first.
//! 2. The stream's own list is looked at first; then each other stream's, in the order in which streams appeared: the stream waits for
//!    the other one's event, and the rest of the block stays with the other stream.
//! 3. None: the lists of other streams are merged into its own, one after the other, with a wait each, until a block holds the request.
//! 4. None: the pool grows. With a maximum by half of what is left to it, at least by the request (and not at all if the request is more
//!    than what is left); without one by as much as it has (it doubles). When the driver refuses, half as much is asked, and half of that,
//!    down to the request itself.
//! 5. A freed block goes to the list of the stream that frees it, and joins its free neighbours in that list; never beyond the
//!    segment it came from. The pool gives nothing back; since 2026 it does when its maximum is in the way: whole free segments go,
//!    the lowest addresses first, until there is room to grow ([`PoolSettings::reclaims`]).
//! 6. The initial size is taken when the pool is made, and belongs to the default stream. If it is refused there is no pool: here every
//!    request is refused then.
//!
//! The order of streams is that of their events' addresses in the source; it is taken to be that of their first use.
//!
//! Cost: O(log blocks) for a request that its stream's list serves; O(streams) more for one that others serve; a merge costs the
//! blocks of the list.

use super::live::LiveBlocks;
use crate::{
    Allocation, Answer, BlockId, Counts, Driver, OutOfMemory, Request, SegmentView, Tried, Twin,
};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Sizes are multiples of this, in bytes.
const ALIGNMENT: u64 = 256;

/// The stream that the initial size belongs to.
const DEFAULT_STREAM: u64 = 0;

/// How a pool is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolSettings {
    /// Bytes that it takes when it is made; here, at its first request.
    pub initial: u64,
    /// The most bytes that it may take.
    pub maximum: Option<u64>,
    /// Whether whole free segments make room under the maximum, as in RMM's source since 2026; releases before keep them.
    pub reclaims: bool,
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

/// A model of `pool_memory_resource` over `cuda_memory_resource`.
#[derive(Clone, Debug)]
pub struct Pool {
    settings: PoolSettings,
    started: bool,
    /// Free lists in the order of their streams' first use.
    lists: Vec<(u64, FreeList)>,
    /// Segments: where, and how many bytes.
    heads: BTreeMap<u64, u64>,
    live: LiveBlocks,
    reserved: u64,
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
            live: LiveBlocks::default(),
            reserved: 0,
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
        if self.settings.reclaims && size > self.left() {
            self.reclaim(own, size, driver);
        }
        let left = self.left();
        if size > left {
            return None;
        }
        let mut wanted = match self.settings.maximum {
            Some(_) => size.max(left / 2),
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
            wanted = size.max(wanted / 2);
        }
    }

    /// Bytes that the maximum leaves.
    fn left(&self) -> u64 {
        self.settings.maximum.map_or(u64::MAX, |maximum| maximum.saturating_sub(self.reserved))
    }

    /// Rule 5, its end: all lists are merged into `own` by now.
    fn reclaim(&mut self, own: usize, size: u64, driver: &mut dyn Driver) {
        if self.settings.maximum.is_none_or(|maximum| size > maximum) {
            return;
        }
        let list = &self.lists[own].1;
        let whole: Vec<(u64, u64)> = self
            .heads
            .iter()
            .filter(|(at, size)| list.by_address.get(at) == Some(size))
            .map(|(&at, &size)| (at, size))
            .collect();
        for (address, bytes) in whole {
            if self.left() >= size {
                return;
            }
            if driver.free(address, bytes, self.lists[own].0) {
                self.lists[own].1.remove(address);
                self.heads.remove(&address);
                self.reserved -= bytes;
                self.counts.returns += 1;
            }
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
        let refused = |rounded, tried| OutOfMemory {
            requested: request.size,
            rounded,
            asked: rounded,
            tried,
        };
        if !self.started && self.settings.initial > 0 {
            let initial = self.settings.initial.next_multiple_of(ALIGNMENT);
            let Answer::Granted(address) = driver.allocate(initial, DEFAULT_STREAM) else {
                tried.refusals += 1;
                return Err(refused(initial, tried));
            };
            self.add(address, initial);
            let list = self.list(DEFAULT_STREAM);
            self.lists[list].1.insert(address, initial, &self.heads);
        }
        self.started = true;
        let own = self.list(request.stream);
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
        let id = self.live.add(address, size, request.size);
        Ok(Allocation { id, address, size })
    }

    /// The bytes can be had again at once: by this stream without, by others with a wait.
    fn free_requested(&mut self, block: BlockId, stream: u64) {
        let Some((address, size)) = self.live.give_back(block) else { return };
        let list = self.list(stream);
        self.lists[list].1.insert(address, size, &self.heads);
    }

    /// RMM waits for nothing: what was given back is back already.
    fn free_completed(&mut self, block: BlockId) {
        let stream = self.lists.first().map_or(0, |&(stream, _)| stream);
        self.free_requested(block, stream);
        self.live.forget(block);
    }

    /// A pool gives nothing back.
    fn empty_cache(&mut self, _driver: &mut dyn Driver) {}

    fn reserved(&self) -> u64 {
        self.reserved
    }

    fn active(&self) -> u64 {
        self.live.active()
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn segments(&self) -> Vec<SegmentView> {
        let free = self.lists.iter().flat_map(|(_, list)| &list.by_address);
        let blocks = self.live.views(free.map(|(&address, &size)| (address, size)));
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
            reclaims in any::<bool>(),
            capacity in prop_oneof![Just(None), Just(Some(200 * MIB))],
            program in laws::program(),
        ) {
            let mut pool = Pool::new(PoolSettings { initial, maximum, reclaims });
            laws::run(&mut pool, &mut Device::new(capacity), &program);
        }
    }

    /// A scenario of RMM's own tests or of its issues: the pool, the device's bytes, requests of the default stream in order, and
    /// whether each is met.
    type Scenario = (&'static str, PoolSettings, Option<u64>, &'static [(u64, bool)]);

    const fn of(initial: u64, maximum: Option<u64>) -> PoolSettings {
        PoolSettings { initial, maximum, reclaims: false }
    }

    const SCENARIOS: &[Scenario] = &[
        // A limit of 6000 bytes below the pool: it doubles while it may, and asks for less by halves.
        (
            "forced growth",
            of(0, None),
            Some(6000),
            &[(1000, true), (4000, true), (500, true), (2000, false)],
        ),
        // Half of the maximum is taken first, so that the other half is refused by the device.
        (
            "forced growth to a maximum",
            of(0, Some(8192)),
            Some(6000),
            &[(1000, true), (4000, false), (500, true), (2000, true)],
        ),
        ("initial is maximum (527)", of(1_000_192, Some(1_000_192)), None, &[(1000, true)]),
        (
            "more than the maximum",
            of(0, Some(1 << 30)),
            None,
            &[((1 << 30) + 256, false), (1 << 30, true)],
        ),
        (
            "two large buffers",
            of(50 * MIB, None),
            Some(100 * MIB),
            &[(25 * MIB, true), (25 * MIB, true)],
        ),
        ("no pool at all", of(200 * MIB, None), Some(100 * MIB), &[(MIB, false)]),
        // Two buffers of 8 GiB on a device of 32 GiB (496).
        (
            "expansion by too much (496)",
            of(0, None),
            Some(32_510 * MIB),
            &[(8 << 30, true), (8 << 30, true)],
        ),
        // The initial segment is in the way of a request for all of the maximum.
        ("all of the maximum (1957)", of(256, Some(1024)), None, &[(1024, false)]),
        (
            "all of the maximum, without an initial size (1957)",
            of(0, Some(1024)),
            None,
            &[(1024, true)],
        ),
        (
            "all of the maximum, reclaimed (1957, later source)",
            PoolSettings { initial: 256, maximum: Some(1024), reclaims: true },
            None,
            &[(1024, true)],
        ),
        // Pieces of a half, a quarter and so on: rests that do not hold another block.
        (
            "eight blocks of an eighth (1664)",
            of(1_000_192, Some(64 * MIB)),
            None,
            &[
                (8 * MIB, true),
                (8 * MIB, true),
                (8 * MIB, true),
                (8 * MIB, true),
                (8 * MIB, true),
                (8 * MIB, false),
            ],
        ),
        (
            "two blocks of a half (1664)",
            of(1_000_192, Some(64 * MIB)),
            None,
            &[(32 * MIB, true), (32 * MIB, false)],
        ),
    ];

    #[test]
    fn scenarios_of_rmm_come_out_as_recorded() {
        for &(name, settings, capacity, requests) in SCENARIOS {
            let (mut device, mut pool) = (Device::new(capacity), Pool::new(settings));
            for &(size, met) in requests {
                let got = ask(&mut pool, &mut device, size, 0).is_some();
                assert_eq!(got, met, "{name}: {size} bytes");
            }
        }
    }

    #[test]
    fn streams_take_from_each_other_with_a_wait_and_merge_when_they_must() {
        let mut device = Device::new(None);
        let mut pool = Pool::new(of(4 * MIB, Some(4 * MIB)));
        let a = ask(&mut pool, &mut device, 2 * MIB, 0).unwrap();
        pool.free_requested(a.id, 0);
        assert_eq!(pool.counts().waits, 0);
        // Stream 2 has no list yet: it takes from the default stream, whose list keeps the rest.
        let b = ask(&mut pool, &mut device, MIB, 2).unwrap();
        assert_eq!((b.address, pool.counts().waits), (a.address, 1));
        pool.free_requested(b.id, 2);
        // 1 MiB is in one list and 3 MiB in the other: together they are 4.
        let c = ask(&mut pool, &mut device, 4 * MIB, 0).unwrap();
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
