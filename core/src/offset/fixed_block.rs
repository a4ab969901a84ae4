//! A lock-free set of equal blocks on several shelves, searched by key.
//!
//! ```text
//!   shelf 1        root            3                least key of all below, or lower
//!                            ┌─────┴─────┐
//!   level 1                  3           9          one cell for 8 below
//!                        ┌───┴──┐     ┌──┴───┐
//!   leaves    least      3      5     9      ∅
//!             bits    ..1.1.  1....1  .1..  ....    one bit a block, 64 blocks a leaf
//!
//!   keys      one word a block, shared by all shelves: a block is on one shelf at a time
//! ```
//!
//! A block that is on no shelf is owned by whoever took it; putting it on a shelf gives it up. Taking is
//! one `fetch_and` on the leaf's bits, putting one `fetch_or`. The key says what a block on the shelf is
//! good for: [`take`](FixedBlocks::take) finds a block whose key is at most a limit, and the tree of least
//! keys (a tournament tree) lets it skip every part in which there is none. (A pool's keys are epochs:
//! blocks not ready for the requester cost it nothing.)
//!
//! # Invariants
//! - A bit is set by the owner of the block alone, after the block's key was written.
//! - A leaf's `least` is at most the key of every block of the leaf, and every inner cell at most the cells
//!   below it, except while some thread is on its way to make it so.
//!
//! # Why no block gets lost
//! Cells may be too low: that costs a search a detour, on which it raises the cell. They must not stay
//! too high. Two rules see to it, both over sequentially consistent accesses, so that there is one
//! order of all of them:
//!
//! - *Who lowers looks up*: after setting a bit, or lowering a cell, a thread reads the cell above and lowers
//!   it if it is too high.
//! - *Who raises looks down*: after raising a cell, a thread surveys what is below once more and lowers the
//!   cell again if it finds less.
//!
//! If the reader of the first rule still sees a low cell, its write below came before the raise, and the
//! raiser's second survey sees it. Between a raise and its correction another search may miss a block
//! for a moment. Such a correction is reported ([`Search::revived`]), so that the owner of the blocks
//! can wake whoever was told in that moment that there was nothing.
//!
//! # Cost
//! Taking from the leaf of the hint, and putting: O(1), one read-modify-write. A search elsewhere walks one
//! path of log₈(blocks / 64) cells, and what it finds outdated it repairs: each block taken outdates at
//! most one cell a level. A block takes 8 bytes for its key and 0.3 bytes a shelf.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::seq_cst_for_loom;

/// The most blocks.
pub const MAX_BLOCKS: u32 = 1 << 24;

/// The greatest key.
pub const MAX_KEY: u64 = u64::MAX - 1;

/// Blocks in a leaf. Small in a model, so that few blocks make a tree.
pub const LEAF_BLOCKS: u32 = if cfg!(loom) { 2 } else { 64 };

/// Cells below an inner cell: one cache line of them.
const FAN: usize = if cfg!(loom) { 2 } else { 8 };

/// The least key of nothing.
const NOTHING: u64 = u64::MAX;

#[derive(Debug)]
struct Leaf {
    bits: AtomicU64,
    least: AtomicU64,
}

/// A block that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub block: u32,
    /// The key it was put with.
    pub key: u64,
}

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Search {
    /// The block, now owned by the caller.
    pub taken: Option<Taken>,
    /// The search hid a block from others for a moment: whoever waits for blocks must look again.
    pub revived: bool,
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// The block's key must be at most this.
    pub limit: u64,
    /// Where to look first: a block number.
    pub hint: u32,
    /// The block's number must be a multiple of this power of two. Above 1 the search is linear in the
    /// leaves that hold keys within the limit.
    pub multiple: u32,
}

/// The blocks and their shelves.
///
/// ```
/// use strandline_core::offset::fixed_block::{FixedBlocks, Query};
///
/// let blocks = FixedBlocks::new(1000, 2);
/// blocks.put(1, 7, 40);
/// blocks.put(1, 900, 30);
/// let within = |limit| blocks.take(1, Query { limit, hint: 0, multiple: 1 }).taken;
/// assert_eq!(within(29), None);
/// assert_eq!(within(35).map(|taken| taken.block), Some(900));
/// assert_eq!(within(40).map(|taken| taken.block), Some(7));
/// ```
#[derive(Debug)]
pub struct FixedBlocks {
    keys: Box<[AtomicU64]>,
    shelves: Box<[Shelf]>,
}

impl FixedBlocks {
    /// `blocks` blocks, none of them on a shelf, and `shelves` shelves. More than [`MAX_BLOCKS`] blocks
    /// count as that many.
    #[must_use]
    pub fn new(blocks: u32, shelves: u32) -> Self {
        let blocks = blocks.min(MAX_BLOCKS);
        let leaves = blocks.div_ceil(LEAF_BLOCKS).max(1) as usize;
        Self {
            // Whole leaves of keys, so that a bit always has a key.
            keys: words(leaves * LEAF_BLOCKS as usize, 0),
            shelves: (0..shelves).map(|_| Shelf::new(leaves)).collect(),
        }
    }

    /// The number of blocks, rounded up to whole leaves.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.keys.len() as u32
    }

    /// Puts a block that the caller owns on a shelf. Keys above [`MAX_KEY`] count as that.
    ///
    /// # Panics
    /// When there is no such shelf or block.
    #[inline]
    pub fn put(&self, shelf: u32, block: u32, key: u64) {
        let key = key.min(MAX_KEY);
        // Relaxed: the bit that publishes the block publishes its key.
        self.keys[block as usize].store(key, Ordering::Relaxed);
        self.shelves[shelf as usize].insert(block, key);
    }

    /// Takes a block off a shelf.
    ///
    /// # Panics
    /// When there is no such shelf.
    // Inlined for good: what it found then stays in registers.
    #[inline(always)]
    pub fn take(&self, shelf: u32, query: Query) -> Search {
        let shelf = &self.shelves[shelf as usize];
        let mut search = Search { taken: None, revived: false };
        let hint = (query.hint / LEAF_BLOCKS) as usize;
        if let Some(leaf) = shelf.leaves.get(hint) {
            search.taken = shelf.take_from(&self.keys, leaf, hint, &query, &mut search.revived);
        }
        if search.taken.is_none() {
            let rest = shelf.descend(&self.keys, query);
            search = Search { taken: rest.taken, revived: search.revived | rest.revived };
        }
        search
    }

    /// [`take`](Self::take), where that is not the usual way to a block.
    #[inline(never)]
    pub(crate) fn take_otherwise(&self, shelf: u32, query: Query) -> Search {
        self.take(shelf, query)
    }

    /// Takes this block if it is on the shelf.
    ///
    /// # Panics
    /// When there is no such shelf or block.
    #[must_use]
    pub fn take_block(&self, shelf: u32, block: u32) -> bool {
        let (leaf, bit) = place(block);
        let bits = &self.shelves[shelf as usize].leaves[leaf].bits;
        bits.fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }

    /// Whether the block was on the shelf a moment ago.
    ///
    /// # Panics
    /// When there is no such shelf or block.
    #[must_use]
    pub fn is_on(&self, shelf: u32, block: u32) -> bool {
        let (leaf, bit) = place(block);
        self.shelves[shelf as usize].leaves[leaf].bits.load(Ordering::Acquire) & bit != 0
    }

    /// The key that the block was last put with.
    ///
    /// # Panics
    /// When there is no such block.
    #[inline]
    #[must_use]
    pub fn key(&self, block: u32) -> u64 {
        self.keys[block as usize].load(Ordering::Relaxed)
    }

    /// Changes the key of a block that the caller owns.
    ///
    /// # Panics
    /// When there is no such block.
    pub fn set_key(&self, block: u32, key: u64) {
        self.keys[block as usize].store(key, Ordering::Relaxed);
    }

    /// No block on the shelf has a key below this; `None` when the shelf is empty. May be lower than the
    /// least key there is. O(1).
    ///
    /// # Panics
    /// When there is no such shelf.
    #[inline]
    #[must_use]
    pub fn least(&self, shelf: u32) -> Option<u64> {
        let shelf = &self.shelves[shelf as usize];
        let least = shelf.cell(shelf.top(), 0).load(Ordering::SeqCst);
        (least != NOTHING).then_some(least)
    }

    /// Takes a block with the least key on the shelf, or one that was least when it was looked for.
    /// Amortized O(log blocks).
    ///
    /// # Panics
    /// When there is no such shelf.
    pub fn take_least(&self, shelf: u32, hint: u32, multiple: u32) -> Search {
        let mut revived = false;
        let mut last = None;
        while let Some(limit) = self.least(shelf) {
            let search = self.take(shelf, Query { limit, hint, multiple });
            revived |= search.revived;
            if search.taken.is_some() {
                return Search { revived, ..search };
            }
            // A search in vain raises the root, unless others move blocks or the multiple rules out
            // the least: then anything will do.
            if last.is_some_and(|last| last >= limit) {
                let search = self.take(shelf, Query { limit: MAX_KEY, hint, multiple });
                return Search { revived: revived || search.revived, ..search };
            }
            last = Some(limit);
        }
        Search { taken: None, revived }
    }

    /// Puts `count` blocks from `first` on a shelf with key 0. The caller owns them all.
    ///
    /// # Panics
    /// When there is no such shelf or block.
    pub fn put_range(&self, shelf: u32, first: u32, count: u32) {
        for block in first..first + count {
            self.keys[block as usize].store(0, Ordering::Relaxed);
        }
        for (leaf, mask) in masks(first, count) {
            let shelf = &self.shelves[shelf as usize];
            shelf.leaves[leaf].bits.fetch_or(mask, Ordering::SeqCst);
            shelf.lower(0, leaf, 0);
        }
    }

    /// Takes `count` blocks from `first` if all are on the shelf. Where that fails, blocks were hidden for a
    /// moment and are back when this returns: whoever waits for blocks must look again.
    ///
    /// # Panics
    /// When there is no such shelf or block.
    #[must_use]
    pub fn take_range(&self, shelf: u32, first: u32, count: u32) -> bool {
        let shelf = &self.shelves[shelf as usize];
        let all = masks(first, count)
            .all(|(leaf, mask)| shelf.leaves[leaf].bits.load(Ordering::Relaxed) & mask == mask);
        if !all {
            return false;
        }
        let mut kept = Vec::new();
        for (leaf, mask) in masks(first, count) {
            let got = shelf.leaves[leaf].bits.fetch_and(!mask, Ordering::SeqCst) & mask;
            kept.push((leaf, got));
            if got == mask {
                continue;
            }
            for (leaf, got) in kept {
                shelf.leaves[leaf].bits.fetch_or(got, Ordering::SeqCst);
                let least = shelf.survey(&self.keys, 0, leaf);
                shelf.lower(0, leaf, least);
            }
            return false;
        }
        true
    }
}

fn words(count: usize, value: u64) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(value)).collect()
}

/// A block's leaf and its bit there.
#[inline]
const fn place(block: u32) -> (usize, u64) {
    ((block / LEAF_BLOCKS) as usize, 1 << (block % LEAF_BLOCKS))
}

/// The leaves that hold a range of blocks, and which of their bits.
fn masks(first: u32, count: u32) -> impl Iterator<Item = (usize, u64)> {
    let end = first + count;
    (first / LEAF_BLOCKS..end.div_ceil(LEAF_BLOCKS)).map(move |leaf| {
        let start = leaf * LEAF_BLOCKS;
        let low = first.saturating_sub(start);
        let high = (end - start).min(LEAF_BLOCKS);
        (leaf as usize, (u64::MAX >> (64 - (high - low))) << low)
    })
}

/// The bits of a leaf whose block numbers are multiples of a power of two.
#[inline]
fn multiples(leaf: usize, multiple: u32) -> u64 {
    if multiple <= 1 {
        return u64::MAX;
    }
    if multiple >= LEAF_BLOCKS {
        return u64::from((leaf as u32 * LEAF_BLOCKS).is_multiple_of(multiple));
    }
    // A one every `multiple` bits.
    u64::MAX / ((1 << multiple) - 1)
}

#[derive(Debug)]
struct Shelf {
    leaves: Box<[Leaf]>,
    /// `levels[0]` lies above the leaves; the last has one cell. None when there is one leaf.
    levels: Box<[Box<[AtomicU64]>]>,
}

impl Shelf {
    fn new(leaves: usize) -> Self {
        let mut levels = Vec::new();
        let mut below = leaves;
        while below > 1 {
            below = below.div_ceil(FAN);
            levels.push(words(below, NOTHING));
        }
        let leaf = |_| Leaf { bits: AtomicU64::new(0), least: AtomicU64::new(NOTHING) };
        Self { leaves: (0..leaves).map(leaf).collect(), levels: levels.into() }
    }

    /// The level of the root; leaves are level 0.
    #[inline]
    fn top(&self) -> usize {
        self.levels.len()
    }

    #[inline]
    fn cell(&self, level: usize, index: usize) -> &AtomicU64 {
        if level == 0 { &self.leaves[index].least } else { &self.levels[level - 1][index] }
    }

    /// The cells of `level - 1` below a cell of `level`.
    fn below(&self, level: usize, index: usize) -> core::ops::Range<usize> {
        let count = if level == 1 { self.leaves.len() } else { self.levels[level - 2].len() };
        index * FAN..((index + 1) * FAN).min(count)
    }

    #[inline]
    fn insert(&self, block: u32, key: u64) {
        let (leaf, bit) = place(block);
        // Release: whoever takes the bit sees the key and all that the owner did with the block.
        self.leaves[leaf].bits.fetch_or(bit, Ordering::SeqCst);
        self.lower(0, leaf, key);
    }

    /// Makes a cell and those above it at most `key`. Stops at the first that is: whoever made it so sees to
    /// those above.
    #[inline]
    fn lower(&self, mut level: usize, mut index: usize, key: u64) {
        loop {
            seq_cst_for_loom();
            let cell = self.cell(level, index);
            if cell.load(Ordering::SeqCst) <= key {
                return;
            }
            cell.fetch_min(key, Ordering::SeqCst);
            if level == self.top() {
                return;
            }
            level += 1;
            index /= FAN;
        }
    }

    /// The least key below a cell now.
    fn survey(&self, keys: &[AtomicU64], level: usize, index: usize) -> u64 {
        if level > 0 {
            let below = self.below(level, index);
            let least = |i| self.cell(level - 1, i).load(Ordering::SeqCst);
            return below.map(least).min().unwrap_or(NOTHING);
        }
        let mut bits = self.leaves[index].bits.load(Ordering::SeqCst);
        let mut least = NOTHING;
        while bits != 0 {
            // Relaxed: the bits were published after the keys. A key that is newer than its bit
            // belongs to a later put, which looks up for itself.
            let block = index * LEAF_BLOCKS as usize + bits.trailing_zeros() as usize;
            least = least.min(keys[block].load(Ordering::Relaxed));
            bits &= bits - 1;
        }
        least
    }

    /// Raises a cell that a search found too low. `seen` was read before the search went below it.
    /// Returns whether something had come in meanwhile.
    #[cold]
    fn raise(&self, keys: &[AtomicU64], level: usize, index: usize, seen: u64) -> bool {
        let least = self.survey(keys, level, index);
        let cell = self.cell(level, index);
        if least <= seen
            || cell.compare_exchange(seen, least, Ordering::SeqCst, Ordering::Relaxed).is_err()
        {
            return false;
        }
        seq_cst_for_loom();
        let now = self.survey(keys, level, index);
        if now < least {
            self.lower(level, index, now);
        }
        now < least
    }

    /// Takes a block of a leaf.
    #[inline(always)]
    fn take_from(
        &self,
        keys: &[AtomicU64],
        leaf: &Leaf,
        index: usize,
        query: &Query,
        revived: &mut bool,
    ) -> Option<Taken> {
        // Relaxed: a look that may be out of date; the claim decides.
        let mut bits = leaf.bits.load(Ordering::Relaxed) & multiples(index, query.multiple);
        // From the hinted block on, which as a rule is the one put last: among many that are not ready
        // it is found at once.
        let turn =
            if (query.hint / LEAF_BLOCKS) as usize == index { query.hint % LEAF_BLOCKS } else { 0 };
        bits = bits.rotate_right(turn);
        while bits != 0 {
            let number = (bits.trailing_zeros() + turn) % u64::BITS;
            bits &= bits - 1;
            let bit = 1 << number;
            let block = index as u32 * LEAF_BLOCKS + number;
            if keys[block as usize].load(Ordering::Relaxed) > query.limit {
                continue;
            }
            // Acquire: pairs with the release of the put, so that the key is the one it was put with.
            if leaf.bits.fetch_and(!bit, Ordering::SeqCst) & bit == 0 {
                continue;
            }
            let key = keys[block as usize].load(Ordering::Relaxed);
            if key <= query.limit {
                return Some(Taken { block, key });
            }
            // It changed hands between the look and the claim, and is not for us.
            self.insert(block, key);
            *revived = true;
        }
        None
    }

    #[inline(never)]
    fn descend(&self, keys: &[AtomicU64], query: Query) -> Search {
        let mut search = Search { taken: None, revived: false };
        self.visit(keys, &query, self.top(), 0, &mut search);
        search
    }

    /// Searches below a cell, beginning at the hint where it lies below.
    fn visit(
        &self,
        keys: &[AtomicU64],
        query: &Query,
        level: usize,
        index: usize,
        search: &mut Search,
    ) {
        let seen = self.cell(level, index).load(Ordering::SeqCst);
        if seen > query.limit || seen == NOTHING {
            return;
        }
        if level == 0 {
            let leaf = &self.leaves[index];
            search.taken = self.take_from(keys, leaf, index, query, &mut search.revived);
        } else {
            let below = self.below(level, index);
            let toward = (query.hint / LEAF_BLOCKS) as usize / FAN.pow(level as u32 - 1);
            let start = if below.contains(&toward) { toward } else { below.start };
            for next in (start..below.end).chain(below.start..start) {
                self.visit(keys, query, level - 1, next, search);
                if search.taken.is_some() {
                    return;
                }
            }
        }
        if search.taken.is_none() {
            search.revived |= self.raise(keys, level, index, seen);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod model;
