//! PyTorch's CUDA caching allocator.
//!
//! Source: pytorch/pytorch, `c10/cuda/CUDACachingAllocator.cpp` and `c10/core/AllocatorConfig.{h,cpp}`, read as of 2.4 to
//! 2.10; recordings from 1.13 on were reproduced. The rules, in our words:
//!
//! ```text
//!   round the size ─▶ best fit by (stream, size, address) in the pool ─▶ split? ─▶ hand out
//!                          │ none                                          ▲
//!                          ▼                                               │
//!   collect garbage ─▶ ask the driver ─▶ release oversize, ask ─▶ sweep, ask
//!                                                                     └─▶ out of memory
//! ```
//!
//! 1. Sizes and segments: [`settings`]. Requests up to 1 MiB (rounded) go to the small pool, others to the large one.
//! 2. The block is the smallest free one of the stream that holds the request, the lowest address first. If it lies in an
//!    expandable segment, its size counts with the unmapped bytes behind it: the next larger ones are looked at while that
//!    sum gets smaller. With expandable segments off, blocks in such segments are passed over.
//! 3. A request below `max_split_size` takes no block from that size on; one from that size on takes no block that exceeds
//!    it by `max_non_split_rounding` or more. Only the best fit is looked at.
//! 4. The rest of a block is split off if it has 512 bytes or more (small pool; any pool with expandable segments on) or more than
//!    1 MiB (large pool, and only for requests below `max_split_size`).
//! 5. Blocks that other streams use (`record_stream`) are pending from their free to the last of those. A block that is free
//!    joins its free neighbours at once.
//! 6. What goes back to the driver, and when: the file `release`. Expandable segments: the file `expandable`.
//! 7. A private pool (a graph's, a user's) has blocks of its own; it makes no use of expandable segments.
//!
//! Cost: O(log free blocks) for a request and a free, O(free blocks) for a sweep.

mod blocks;
mod expandable;
mod release;
pub mod settings;
mod start;
#[cfg(test)]
mod tests;

pub use settings::Settings;
pub use start::{Contradiction, StartBlock, StartSegment};

use crate::{
    Allocation, Answer, BlockId, BlockState, BlockView, Counts, Driver, OutOfMemory, Request,
    SegmentView, Tried, Twin,
};
use alloc::vec::Vec;
use blocks::{Block, NONE, Segment, State, Tables};

/// A model of PyTorch's CUDA caching allocator, of one device.
#[derive(Clone, Debug)]
pub struct Torch {
    settings: Settings,
    tables: Tables,
    counts: Counts,
    /// What the request in hand has tried.
    tried: Tried,
}

/// What an attempt to get a block came to; the block is in no set.
enum Got {
    Block(u32),
    Refused,
    Stopped,
}

impl Torch {
    /// An allocator that has not been used.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let mut twin = Self {
            settings,
            tables: Tables::default(),
            counts: Counts::default(),
            tried: Tried::default(),
        };
        twin.tables.pool(0, false);
        twin.tables.pool(0, true);
        twin
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether a cached block would serve the request: the driver would not be asked.
    #[must_use]
    pub fn is_cached(&self, request: Request) -> bool {
        let Some(size) = self.settings.round(request.size) else { return false };
        let small = size <= settings::SMALL_SIZE;
        let pool =
            self.tables.pools.iter().position(|p| p.owner == request.pool && p.small == small);
        pool.is_some_and(|pool| self.best_fit(pool as u32, request.stream, size).is_some())
    }

    /// Rules 2 and 3.
    fn best_fit(&self, pool: u32, stream: u64, size: u64) -> Option<u32> {
        let mut after =
            self.tables.pools[pool as usize].of_stream(stream)?.range((size, 0, 0)..).map(|k| k.2);
        let mut best = after.next()?;
        if self.tables.expandable(best) {
            if self.settings.expandable {
                while self.tables.expandable(best)
                    && let Some(next) = after.next()
                    && self.reach(next) < self.reach(best)
                {
                    best = next;
                }
            } else {
                best = after.find(|&id| !self.tables.expandable(id))?;
            }
        }
        let found = self.tables.block(best).size;
        let max_split = self.settings.max_split;
        if size < max_split && found >= max_split {
            return None;
        }
        if size >= max_split && found >= size.saturating_add(self.settings.max_non_split_rounding) {
            return None;
        }
        Some(best)
    }

    /// Bytes of a block with the unmapped ones right behind it.
    fn reach(&self, id: u32) -> u64 {
        let block = self.tables.block(id);
        match self.tables.blocks.get(block.next as usize) {
            Some(next) if next.state == State::Unmapped => block.size + next.size,
            _ => block.size,
        }
    }

    /// Rule 4.
    fn splits(&self, small: bool, size: u64, rest: u64) -> bool {
        if small || self.settings.expandable {
            rest >= settings::MIN_BLOCK
        } else {
            size < self.settings.max_split && rest > settings::SMALL_SIZE
        }
    }

    /// Asks the driver for a block of at least `size` bytes.
    fn ask(&mut self, pool: u32, stream: u64, size: u64, driver: &mut dyn Driver) -> Got {
        let asked = self.settings.segment(size);
        if let Some(limit) = self.settings.limit
            && self.tables.reserved.saturating_add(asked) > limit
        {
            self.tried.refusals += 1;
            return Got::Refused;
        }
        if self.settings.expandable && self.tables.pools[pool as usize].owner == 0 {
            return self.expand(pool, stream, size, driver);
        }
        match driver.allocate(asked, stream) {
            // A recorded driver may have said anything.
            Answer::Granted(base)
                if base.checked_add(asked).is_none()
                    || self.tables.reserved.checked_add(asked).is_none() =>
            {
                Got::Stopped
            }
            Answer::Granted(base) => {
                self.counts.grants += 1;
                let (room, mapped) = (asked, asked);
                let segment = Segment { base, room, mapped, stream, pool, first: NONE, page: 0 };
                Got::Block(self.tables.new_segment(segment, State::Free))
            }
            Answer::Refused => {
                self.tried.refusals += 1;
                Got::Refused
            }
            Answer::Stop => Got::Stopped,
        }
    }

    /// A block that was not cached.
    fn grow(&mut self, pool: u32, stream: u64, size: u64, driver: &mut dyn Driver) -> Got {
        if self.collects_garbage() {
            self.collect_garbage(driver);
        }
        let mut got = self.ask(pool, stream, size, driver);
        if matches!(got, Got::Refused) && self.release_oversize(pool, stream, size, driver) {
            got = self.ask(pool, stream, size, driver);
        }
        if matches!(got, Got::Refused) {
            self.counts.sweeps += 1;
            self.sweep(driver);
            got = self.ask(pool, stream, size, driver);
        }
        got
    }

    fn collects_garbage(&self) -> bool {
        self.settings.gc_threshold > 0.0 && self.settings.limit.is_some()
    }

    fn free(&mut self, id: u32) {
        let block = self.tables.block_mut(id);
        block.state = State::Free;
        block.requested = 0;
        let size = block.size;
        self.tables.active -= size;
        self.tables.join(id);
        self.tables.file(id);
    }

    fn live(&self, block: BlockId) -> Option<Block> {
        self.tables.blocks.get(block.0 as usize).copied().filter(Block::live)
    }
}

impl Twin for Torch {
    fn allocate(
        &mut self,
        request: Request,
        driver: &mut dyn Driver,
    ) -> Result<Allocation, OutOfMemory> {
        self.tried = Tried::default();
        let refused =
            |rounded, asked, tried| OutOfMemory { requested: request.size, rounded, asked, tried };
        let Some(size) = self.settings.round(request.size) else {
            return Err(refused(request.size, 0, self.tried));
        };
        let small = size <= settings::SMALL_SIZE;
        let pool = self.tables.pool(request.pool, small);
        if self.collects_garbage() {
            self.tables.pools[pool as usize].searches += 1;
        }
        let id = match self.best_fit(pool, request.stream, size) {
            Some(id) => {
                self.tables.unfile(id);
                id
            }
            None => match self.grow(pool, request.stream, size, driver) {
                Got::Block(id) => id,
                Got::Refused => {
                    return Err(refused(size, self.settings.segment(size), self.tried));
                }
                Got::Stopped => {
                    let tried = Tried { stopped: true, ..self.tried };
                    return Err(refused(size, self.settings.segment(size), tried));
                }
            },
        };
        if self.splits(small, size, self.tables.block(id).size - size) {
            let rest = self.tables.cut(id, size);
            self.tables.file(rest);
        }
        let block = self.tables.block_mut(id);
        block.state = State::Allocated;
        block.requested = request.size;
        let (address, size) = (block.address, block.size);
        self.tables.active += size;
        Ok(Allocation { id: BlockId(id), address, size })
    }

    fn free_requested(&mut self, block: BlockId, _stream: u64) {
        if self.live(block).is_some() {
            self.tables.block_mut(block.0).state = State::Pending;
        }
    }

    /// A block that was not given back before is given back and done with at once.
    fn free_completed(&mut self, block: BlockId) {
        if self.live(block).is_some() {
            self.free(block.0);
        }
    }

    fn empty_cache(&mut self, driver: &mut dyn Driver) {
        self.sweep(driver);
    }

    fn reserved(&self) -> u64 {
        self.tables.reserved
    }

    fn active(&self) -> u64 {
        self.tables.active
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn segments(&self) -> Vec<SegmentView> {
        let mut views = Vec::new();
        for segment in self.tables.segments.iter().filter(|s| s.first != NONE) {
            let pool = &self.tables.pools[segment.pool as usize];
            let empty = |address| SegmentView {
                address,
                size: 0,
                stream: segment.stream,
                pool: pool.owner,
                small: pool.small,
                page: segment.page,
                base: segment.base,
                blocks: Vec::new(),
            };
            let mut view = empty(segment.base);
            for (id, block) in self.tables.blocks_of(segment) {
                let state = match block.state {
                    State::Allocated => BlockState::Allocated,
                    State::Pending => BlockState::Pending,
                    State::Free => BlockState::Free,
                    State::Unmapped | State::Vacant => {
                        // A gap: what is mapped without one is a segment.
                        let next = empty(block.address + block.size);
                        let done = core::mem::replace(&mut view, next);
                        views.extend((done.size > 0).then_some(done));
                        continue;
                    }
                };
                view.size += block.size;
                view.blocks.push(BlockView {
                    id: BlockId(id),
                    address: block.address,
                    size: block.size,
                    requested: block.requested,
                    state,
                });
            }
            views.extend((view.size > 0).then_some(view));
        }
        views.sort_by_key(|view| view.address);
        views
    }
}
