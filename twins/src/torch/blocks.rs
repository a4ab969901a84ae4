//! Tables of blocks: neighbours within a segment, and free blocks by (stream, size, address).
//!
//! ```text
//!   segment   [ block ⇄ block ⇄ block ]            neighbours are numbers in one table
//!   pool      stream ─▶ {(size, address)} free     best fit is a lower bound
//!             {(stream, address)} unmapped
//! ```
//!
//! Invariants: the blocks of a segment lie side by side and fill it; no two neighbours are both free, nor both unmapped; a
//! block is in the free set of its pool and stream exactly if it is free, and in the unmapped set exactly if it is
//! unmapped. Cost: O(log free blocks) for each change of a set, O(1) for the rest.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// No block, no segment.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Allocated,
    Pending,
    Free,
    Unmapped,
    /// The number is not in use.
    Vacant,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) requested: u64,
    pub(super) prev: u32,
    pub(super) next: u32,
    pub(super) segment: u32,
    pub(super) state: State,
    /// The pool's count of searches when the block became free.
    pub(super) since: u64,
}

impl Block {
    pub(super) fn whole(&self) -> bool {
        self.prev == NONE && self.next == NONE
    }

    pub(super) fn live(&self) -> bool {
        matches!(self.state, State::Allocated | State::Pending)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// Where it begins; pages are counted from here.
    pub(super) base: u64,
    /// Its bytes; of an expandable one, those that it may grow to.
    pub(super) room: u64,
    /// Bytes with memory behind them.
    pub(super) mapped: u64,
    pub(super) stream: u64,
    pub(super) pool: u32,
    /// The block at the lowest address; `NONE`: the number is not in use.
    pub(super) first: u32,
    /// Bytes of a page if it is expandable, else 0.
    pub(super) page: u64,
}

/// A free block in its set: ordered by size, then address.
pub(super) type Key = (u64, u64, u32);

#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    /// The private pool; 0 is the allocator's own.
    pub(super) owner: u32,
    pub(super) small: bool,
    /// Free blocks of each stream, in the order of streams.
    pub(super) free: Vec<(u64, BTreeSet<Key>)>,
    /// Unmapped blocks: stream, address, number.
    pub(super) unmapped: BTreeSet<(u64, u64, u32)>,
    /// How often it was searched, counted while garbage is collected.
    pub(super) searches: u64,
}

impl Pool {
    pub(super) fn of_stream(&self, stream: u64) -> Option<&BTreeSet<Key>> {
        let at = self.free.binary_search_by_key(&stream, |&(stream, _)| stream).ok()?;
        Some(&self.free[at].1)
    }

    fn of_stream_mut(&mut self, stream: u64) -> &mut BTreeSet<Key> {
        let at = match self.free.binary_search_by_key(&stream, |&(stream, _)| stream) {
            Ok(at) => at,
            Err(at) => {
                self.free.insert(at, (stream, BTreeSet::new()));
                at
            }
        };
        &mut self.free[at].1
    }
}

/// All blocks, segments and pools of a device.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pub(super) blocks: Vec<Block>,
    vacant: Vec<u32>,
    pub(super) segments: Vec<Segment>,
    vacant_segments: Vec<u32>,
    pub(super) pools: Vec<Pool>,
    pub(super) reserved: u64,
    pub(super) active: u64,
}

impl Tables {
    pub(super) fn block(&self, id: u32) -> &Block {
        &self.blocks[id as usize]
    }

    pub(super) fn block_mut(&mut self, id: u32) -> &mut Block {
        &mut self.blocks[id as usize]
    }

    pub(super) fn segment(&self, id: u32) -> &Segment {
        &self.segments[self.block(id).segment as usize]
    }

    pub(super) fn expandable(&self, id: u32) -> bool {
        self.segment(id).page > 0
    }

    /// The number of the pool for small or large requests of an owner; made if it is new.
    pub(super) fn pool(&mut self, owner: u32, small: bool) -> u32 {
        let found = self.pools.iter().position(|p| p.owner == owner && p.small == small);
        let at = found.unwrap_or_else(|| {
            self.pools.push(Pool { owner, small, ..Pool::default() });
            self.pools.len() - 1
        });
        at as u32
    }

    pub(super) fn new_block(&mut self, block: Block) -> u32 {
        if let Some(id) = self.vacant.pop() {
            self.blocks[id as usize] = block;
            return id;
        }
        self.blocks.push(block);
        (self.blocks.len() - 1) as u32
    }

    fn drop_block(&mut self, id: u32) {
        self.block_mut(id).state = State::Vacant;
        self.vacant.push(id);
    }

    /// A segment with one block, which is in no set yet. Returns the block.
    pub(super) fn new_segment(&mut self, mut segment: Segment, state: State) -> u32 {
        let number = self.vacant_segments.pop().unwrap_or(self.segments.len() as u32);
        let id = self.new_block(Block {
            address: segment.base,
            size: segment.room,
            requested: 0,
            prev: NONE,
            next: NONE,
            segment: number,
            state,
            since: 0,
        });
        segment.first = id;
        self.reserved += segment.mapped;
        match self.segments.get_mut(number as usize) {
            Some(slot) => *slot = segment,
            None => self.segments.push(segment),
        }
        id
    }

    /// Drops a segment whose only block is `id`, which is in no set.
    pub(super) fn drop_segment(&mut self, id: u32) {
        let number = self.block(id).segment;
        let segment = &mut self.segments[number as usize];
        self.reserved -= segment.mapped;
        segment.first = NONE;
        segment.mapped = 0;
        self.vacant_segments.push(number);
        self.drop_block(id);
    }

    /// Puts a block into the set of its state, if that has one.
    pub(super) fn file(&mut self, id: u32) {
        let Block { address, size, segment, state, .. } = *self.block(id);
        let Segment { stream, pool, .. } = self.segments[segment as usize];
        let pool = &mut self.pools[pool as usize];
        match state {
            State::Free => {
                let searches = pool.searches;
                pool.of_stream_mut(stream).insert((size, address, id));
                self.block_mut(id).since = searches;
            }
            State::Unmapped => {
                pool.unmapped.insert((stream, address, id));
            }
            _ => {}
        }
    }

    /// Takes a block out of the set of its state.
    pub(super) fn unfile(&mut self, id: u32) {
        let Block { address, size, segment, state, .. } = *self.block(id);
        let Segment { stream, pool, .. } = self.segments[segment as usize];
        let pool = &mut self.pools[pool as usize];
        match state {
            State::Free => {
                pool.of_stream_mut(stream).remove(&(size, address, id));
            }
            State::Unmapped => {
                pool.unmapped.remove(&(stream, address, id));
            }
            _ => {}
        }
    }

    /// Cuts a block that is in no set: it keeps the first `size` bytes; the rest is a new block with its state, in no set.
    pub(super) fn cut(&mut self, id: u32, size: u64) -> u32 {
        let block = *self.block(id);
        let rest = self.new_block(Block {
            address: block.address + size,
            size: block.size - size,
            requested: 0,
            prev: id,
            ..block
        });
        if block.next != NONE {
            self.block_mut(block.next).prev = rest;
        }
        let front = self.block_mut(id);
        front.size = size;
        front.next = rest;
        rest
    }

    /// Joins a block that is in no set with each neighbour of its state, which leaves its set.
    pub(super) fn join(&mut self, id: u32) {
        let state = self.block(id).state;
        let prev = self.block(id).prev;
        if prev != NONE && self.block(prev).state == state {
            self.unfile(prev);
            let Block { address, size, prev: before, segment, .. } = *self.block(prev);
            let block = self.block_mut(id);
            block.address = address;
            block.size += size;
            block.prev = before;
            if before == NONE {
                self.segments[segment as usize].first = id;
            } else {
                self.block_mut(before).next = id;
            }
            self.drop_block(prev);
        }
        let next = self.block(id).next;
        if next != NONE && self.block(next).state == state {
            self.unfile(next);
            let Block { size, next: after, .. } = *self.block(next);
            let block = self.block_mut(id);
            block.size += size;
            block.next = after;
            if after != NONE {
                self.block_mut(after).prev = id;
            }
            self.drop_block(next);
        }
    }

    /// Bytes with memory behind them come (`true`) or go within a segment.
    pub(super) fn mapped(&mut self, segment: u32, bytes: u64, come: bool) {
        let of = &mut self.segments[segment as usize].mapped;
        if come {
            *of += bytes;
            self.reserved += bytes;
        } else {
            *of -= bytes;
            self.reserved -= bytes;
        }
    }

    /// The blocks of a segment, by address.
    pub(super) fn blocks_of(&self, segment: &Segment) -> impl Iterator<Item = (u32, &Block)> {
        let mut at = segment.first;
        core::iter::from_fn(move || {
            let block = self.blocks.get(at as usize)?;
            let id = at;
            at = block.next;
            Some((id, block))
        })
    }
}

impl Tables {
    /// Exchanges the numbers of two neighbours in a segment, of which `a` comes first. Neither is in a set.
    pub(super) fn swap(&mut self, a: u32, b: u32) {
        let (first, second) = (*self.block(a), *self.block(b));
        *self.block_mut(b) = Block { prev: first.prev, next: a, ..first };
        *self.block_mut(a) = Block { prev: b, next: second.next, ..second };
        if first.prev == NONE {
            self.segments[first.segment as usize].first = b;
        } else {
            self.block_mut(first.prev).next = b;
        }
        if second.next != NONE {
            self.block_mut(second.next).prev = a;
        }
    }
}
