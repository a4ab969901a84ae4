//! Which block of the plan a request is: by what it asks for and by what was requested around it, not by its number.
//!
//! ```text
//!   plan       a  b  c  d  e  f  g  h      ▲ the cursor: what is expected next
//!   requests   a  b  X  c  e  f  …         X is none: it strays, and loses only itself
//!                       ▲     d is missing: e is found ahead of the cursor (tentative), f behind e confirms it, and the
//!                             cursor moves behind f
//! ```
//!
//! 1. *In step*: the request is what the cursor expects. One comparison.
//! 2. *Near*: it is an unmatched block at most [`WINDOW`] places away, ahead or behind. Two in a row ahead move the cursor, and so does
//!    one behind what the last two requests were.
//! 3. *Jump*: the last [`GRAM`] requests, none in step, are [`GRAM`] neighbours somewhere in the plan: of several such places the
//!    nearest. The cursor moves behind them.
//! 4. None of these: the request strays.
//!
//! The first blocks may be a *prologue*, requested once before the first step: no step begins before their end, and none of them is matched
//! again.
//!
//! Nothing here is trusted: a match is a guess where to place a block, and which guess is made costs memory, never soundness.
//!
//! # Cost
//! In step O(1); else O(`WINDOW` + `GRAM` log n). 12 bytes a block, and a bit.

use alloc::vec::Vec;

/// How far from the cursor a request is looked for, on each side.
const WINDOW: u32 = 16;
/// So far ahead of the cursor two requests before are enough to tell that what lies between was passed by.
const STEP: u32 = 3;
/// So many requests in a row tell where in the plan one is.
pub(super) const GRAM: usize = 4;
/// From so many requests out of step on, only every [`GRAM`]th tries to jump.
const LOST: u32 = 64;

const ALIGN_SHIFT: u32 = 32;
const STREAM_SHIFT: u32 = 38;
const UNITS: u64 = u32::MAX as u64;

/// What a request asks for, or a block of the plan is for: granules, alignment, stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    word: u64,
    /// What of it has to be equal: granules, and the stream where it is known.
    mask: u64,
}

impl Key {
    /// `alignment` is a power of two, in granules. Of streams 26 bits are compared.
    pub(crate) const fn new(units: u32, alignment: u32, stream: Option<u32>) -> Self {
        let align = alignment.trailing_zeros() as u64;
        let known = match stream {
            Some(stream) => stream as u64,
            None => 0,
        };
        let word = known << STREAM_SHIFT | align << ALIGN_SHIFT | units as u64;
        let streams = if stream.is_some() { u64::MAX << STREAM_SHIFT } else { 0 };
        Self { word, mask: UNITS | streams }
    }

    /// Granules that are asked for.
    pub(super) const fn units(self) -> u32 {
        self.word as u32
    }

    /// Their alignment, in granules.
    pub(super) const fn alignment(self) -> u64 {
        1 << (self.word >> ALIGN_SHIFT & 0x3f)
    }

    /// The stream, or 0 where it is not told.
    pub(super) const fn stream(self) -> u32 {
        (self.word >> STREAM_SHIFT) as u32
    }

    /// The block is for such a request.
    #[inline(always)]
    const fn is_for(self, block: u64) -> bool {
        const ALIGN: u64 = 0x3f << ALIGN_SHIFT;
        (self.word ^ block) & self.mask == 0 && self.word & ALIGN <= block & ALIGN
    }
}

/// How a request was matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    InStep,
    Near,
    Jump,
}

/// A block of the plan that a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guess {
    block: u32,
    how: How,
}

impl Guess {
    /// The number of the block in the plan.
    pub(crate) const fn block(self) -> u32 {
        self.block
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Matcher {
    /// [`Key::word`]s, in the order of the requests.
    keys: Vec<u64>,
    /// Blocks that end a gram, by the gram's hash and then by number.
    grams: Vec<u32>,
    /// A bit for each block: it was matched in this step, or in the prologue.
    matched: Vec<u64>,
    /// The first block of a step, behind the prologue.
    first: u32,
    /// The block expected next: not matched, or the end.
    cursor: u32,
    /// The block ahead of the cursor that the last request was matched with.
    ahead: Option<u32>,
    /// Granules of the last requests, the latest last.
    last: [u32; GRAM - 1],
    /// Requests since one was in step.
    out_of_step: u32,
    /// The host says where a step begins.
    marked: bool,
    resynchronised: u64,
    steps: u64,
}

impl Matcher {
    /// Of the plan's keys, in the order of the requests: at most 2^31, the first `prologue` of them requested once. O(n log n).
    pub(crate) fn new(keys: impl IntoIterator<Item = Key>, prologue: u32) -> Self {
        let mut keys: Vec<u64> = keys.into_iter().map(|key| key.word).collect();
        keys.shrink_to_fit();
        let first = prologue.min(keys.len() as u32);
        let mut grams: Vec<u32> = (first + GRAM as u32 - 1..keys.len() as u32).collect();
        grams.sort_unstable_by_key(|&end| (hash_at(&keys, end), end));
        grams.shrink_to_fit();
        let words = keys.len().div_ceil(64);
        Self {
            keys,
            grams,
            matched: alloc::vec![0; words],
            first,
            cursor: 0,
            ahead: None,
            last: [0; GRAM - 1],
            out_of_step: 0,
            marked: false,
            resynchronised: 0,
            steps: 0,
        }
    }

    /// Goes on where another one, of another plan, was at a step's beginning.
    pub(super) fn succeed(&mut self, other: &Self) {
        (self.marked, self.resynchronised, self.steps) =
            (other.marked, other.resynchronised, other.steps);
        self.last = other.last;
        self.cursor = self.first;
    }

    /// Bytes that it takes.
    pub(super) fn footprint(&self) -> usize {
        self.keys.capacity() * 8 + self.grams.capacity() * 4 + self.matched.capacity() * 8
    }

    const fn len(&self) -> u32 {
        self.keys.len() as u32
    }

    /// The number of the block that is expected next.
    pub(super) const fn cursor(&self) -> u32 {
        self.cursor
    }

    /// Granules of a block.
    pub(super) fn units(&self, block: u32) -> u32 {
        self.keys[block as usize] as u32
    }

    /// How often the cursor moved to where the requests are.
    pub(crate) const fn resynchronised(&self) -> u64 {
        self.resynchronised
    }

    /// Steps that began, but for the first where the host does not mark it.
    pub(crate) const fn steps(&self) -> u64 {
        self.steps
    }

    /// The host says where steps begin.
    pub(super) const fn is_marked(&self) -> bool {
        self.marked
    }

    /// The host says that a step begins with the next request. From now on only the host says so.
    pub(crate) fn begin_step(&mut self) {
        self.marked = true;
        self.start_over();
        self.out_of_step = 0;
    }

    fn start_over(&mut self) {
        // What the prologue has is requested no more, also what was missing in it.
        let (whole, rest) = (self.first as usize / 64, self.first % 64);
        self.matched.fill(0);
        self.matched[..whole].fill(u64::MAX);
        if rest != 0 {
            self.matched[whole] = (1 << rest) - 1;
        }
        (self.cursor, self.ahead) = (self.first, None);
        self.steps += 1;
    }

    #[inline(always)]
    fn is_matched(&self, block: u32) -> bool {
        self.matched.as_slice()[block as usize / 64] >> (block % 64) & 1 != 0
    }

    /// What the next request is, if it asks for `key`. Nothing changes: a request may be refused.
    #[inline(always)]
    pub(crate) fn propose(&self, key: Key) -> Option<Guess> {
        match self.keys.get(self.cursor as usize) {
            Some(&block) if key.is_for(block) => {
                Some(Guess { block: self.cursor, how: How::InStep })
            }
            _ => self.propose_other(key),
        }
    }

    #[inline(never)]
    fn propose_other(&self, key: Key) -> Option<Guess> {
        let is_lost = self.out_of_step + 1 >= GRAM as u32;
        // Who is lost longer than the plan is wrong looks less often.
        let jumps = self.out_of_step < LOST || self.out_of_step.is_multiple_of(GRAM as u32);
        let jump = if is_lost && jumps { self.jump(key) } else { None };
        jump.or_else(|| self.near(key))
    }

    fn near(&self, key: Key) -> Option<Guess> {
        let is_it = |&block: &u32| key.is_for(self.keys[block as usize]) && !self.is_matched(block);
        let guess = |block| Guess { block, how: How::Near };
        // What follows the last one ahead is more likely than what is nearest.
        let next = self.ahead.map(|ahead| ahead + 1).filter(|&next| next < self.len());
        let end = self.cursor.saturating_add(WINDOW).min(self.len());
        let behind = (self.cursor.saturating_sub(WINDOW)..self.cursor).rev();
        let mut places = next.into_iter().chain(self.cursor..end).chain(behind);
        if let Some(block) = places.find(is_it) {
            return Some(guess(block));
        }
        // Near the end the beginning of the next step is ahead, matched in this one.
        if self.marked {
            return None;
        }
        let first = self.first;
        let over = (self.cursor + WINDOW).saturating_sub(self.len());
        let over = over.min(self.cursor.saturating_sub(first));
        let is_near = |&next: &u32| next >= first && next - first < WINDOW;
        let mut beginning = next.filter(is_near).into_iter().chain(first..first + over);
        beginning.find(|&block| key.is_for(self.keys[block as usize])).map(guess)
    }

    /// The nearest place of the last requests in the plan.
    fn jump(&self, key: Key) -> Option<Guess> {
        let [a, b, c] = self.last;
        let units = [a, b, c, key.word as u32];
        let wanted = hash(units);
        let from = self.grams.partition_point(|&end| hash_at(&self.keys, end) < wanted);
        let alike = &self.grams[from..];
        let alike = &alike[..alike.partition_point(|&end| hash_at(&self.keys, end) == wanted)];
        let middle = alike.partition_point(|&end| end < self.cursor);
        let (before, behind) = alike.split_at(middle);
        // A few on each side: others of one hash, of other streams.
        let is_it = |&&end: &&u32| {
            units_at(&self.keys, end) == units && key.is_for(self.keys[end as usize])
        };
        let later = behind.iter().take(GRAM).find(is_it);
        let earlier = before.iter().rev().take(GRAM).find(is_it);
        let distance = |&&end: &&u32| end.abs_diff(self.cursor);
        let nearest = later.into_iter().chain(earlier).min_by_key(distance);
        nearest.map(|&block| Guess { block, how: How::Jump })
    }

    /// The request was granted; `placed`: where the plan has it.
    #[inline(always)]
    pub(crate) fn accept(&mut self, key: Key, guess: Option<Guess>, placed: bool) {
        self.last = [self.last[1], self.last[2], key.word as u32];
        match guess {
            Some(Guess { block, how: How::InStep }) if block == self.cursor => {
                self.out_of_step = 0;
                self.ahead = None;
                self.mark(block);
                self.pass(block + 1);
            }
            guess => self.accept_other(guess, placed),
        }
    }

    #[inline(always)]
    fn mark(&mut self, block: u32) {
        self.matched.as_mut_slice()[block as usize / 64] |= 1 << (block % 64);
    }

    #[inline(never)]
    fn accept_other(&mut self, guess: Option<Guess>, placed: bool) {
        self.out_of_step = self.out_of_step.saturating_add(1);
        let before = self.ahead.take();
        let Some(Guess { block, how }) = guess else { return };
        let confirmed = how == How::Jump
            || before.is_some_and(|before| before + 1 == block)
            || block.wrapping_sub(self.cursor) <= STEP && self.follows_what_was_requested(block);
        if confirmed && block >= self.cursor {
            self.mark(block);
            self.resynchronised += 1;
            self.out_of_step = 0;
            self.pass(block + 1);
        } else if confirmed {
            // Back: a new step, if this one is half over.
            if self.cursor - block >= (self.len() - self.first) / 2 {
                self.start_over();
            }
            self.mark(block);
            self.resynchronised += 1;
            self.out_of_step = 0;
            self.cursor = block;
            self.pass(block + 1);
        } else {
            if placed {
                self.mark(block);
            }
            let is_ahead = block >= self.cursor || self.cursor - block > WINDOW;
            self.ahead = is_ahead.then_some(block);
        }
    }

    /// The two requests before the last are those that the plan has before this block: what the cursor expects was passed by. Among
    /// blocks that are alike a missing one would else be taken for each that follows.
    fn follows_what_was_requested(&self, block: u32) -> bool {
        let before = self.keys.get((block as usize).wrapping_sub(2)..block as usize);
        before.is_some_and(|keys| keys.iter().zip(self.last).all(|(&key, last)| key as u32 == last))
    }

    /// The cursor goes on from a block to the first that is not matched; at the end a step begins, unless the host says where.
    #[inline(always)]
    fn pass(&mut self, block: u32) {
        self.cursor = block;
        while self.cursor < self.len() && self.is_matched(self.cursor) {
            self.cursor += 1;
        }
        if self.cursor == self.len() && !self.marked {
            self.start_over();
        }
    }
}

fn units_at(keys: &[u64], end: u32) -> [u32; GRAM] {
    let from = end as usize + 1 - GRAM;
    core::array::from_fn(|i| keys[from + i] as u32)
}

fn hash_at(keys: &[u64], end: u32) -> u32 {
    hash(units_at(keys, end))
}

/// Fibonacci hashing, number by number.
fn hash(units: [u32; GRAM]) -> u32 {
    let mix = |sum: u64, unit: u32| {
        (sum.rotate_left(23) ^ u64::from(unit)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    (units.into_iter().fold(0, mix) >> 32) as u32
}

#[cfg(all(test, not(loom)))]
mod tests;
