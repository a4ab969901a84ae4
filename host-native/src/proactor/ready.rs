//! A set of small numbers that anyone adds to and one takes out: which watched notifications have changed.
//!
//! ```text
//!   chunk 0:  summary  0100…01      bit w: word w may have members
//!             word 0   …0010        bit b of word w: member 64 w + b
//!             word 62  1000…
//!   chunk 1:  made when the owner first uses a member of it
//! ```
//!
//! A member is added by setting its bit and then its word's summary bit; the owner clears in the other
//! order. A bit that is set after its word was cleared sets the summary again, so it is found by the next
//! look. Adding takes no lock and allocates nothing: it may be done in a signal handler.
//!
//! Cost: adding is two atomic operations, fewer when the bits are set already. A look that finds nothing
//! is one load for every 4096 members that were ever in use.

use crate::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

/// Members of a word. Loom tracks every atomic, so it gets few.
const BITS: u32 = if cfg!(loom) { 4 } else { u64::BITS };
/// Members of a chunk.
const CHUNK: u32 = BITS * BITS;
const CHUNKS: usize = 64;

/// Members are below this.
pub(super) const CAPACITY: u32 = CHUNK * CHUNKS as u32;

struct Chunk {
    summary: AtomicU64,
    words: [AtomicU64; BITS as usize],
}

impl Chunk {
    fn new() -> Box<Self> {
        let words = core::array::from_fn(|_| AtomicU64::new(0));
        Box::new(Self { summary: AtomicU64::new(0), words })
    }
}

/// See the [module](self).
pub(super) struct ReadySet {
    chunks: [OnceLock<Box<Chunk>>; CHUNKS],
}

impl ReadySet {
    pub(super) fn new() -> Self {
        Self { chunks: [const { OnceLock::new() }; CHUNKS] }
    }

    /// Makes room for a member below [`CAPACITY`]. The owner does this before anyone adds it.
    pub(super) fn prepare(&self, member: u32) {
        debug_assert!(member < CAPACITY);
        // In order, so that a look may stop at the first chunk that is not there.
        for chunk in &self.chunks[..=(member / CHUNK) as usize] {
            chunk.get_or_init(Chunk::new);
        }
    }

    /// Adds a member that was prepared; others are ignored.
    pub(super) fn add(&self, member: u32) {
        let Some(chunk) = self.chunks.get((member / CHUNK) as usize).and_then(OnceLock::get) else {
            return;
        };
        let (word, bit) = ((member % CHUNK) / BITS, member % BITS);
        // Sequentially consistent: the latch's argument counts this as leaving work.
        chunk.words[word as usize].fetch_or(1 << bit, Ordering::SeqCst);
        chunk.summary.fetch_or(1 << word, Ordering::SeqCst);
    }

    /// Whether no member can be found.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks
            .iter()
            .map_while(OnceLock::get)
            .all(|chunk| chunk.summary.load(Ordering::SeqCst) == 0)
    }

    /// Takes all members out and hands them to `each`.
    pub(super) fn take(&self, mut each: impl FnMut(u32)) {
        for (index, chunk) in self.chunks.iter().map_while(OnceLock::get).enumerate() {
            if chunk.summary.load(Ordering::SeqCst) == 0 {
                continue;
            }
            for word in ones(chunk.summary.swap(0, Ordering::SeqCst)) {
                for bit in ones(chunk.words[word as usize].swap(0, Ordering::SeqCst)) {
                    each(index as u32 * CHUNK + word * BITS + bit);
                }
            }
        }
    }
}

/// The positions of the bits that are set, from the lowest.
fn ones(mut bits: u64) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        (bits != 0).then(|| {
            let lowest = bits.trailing_zeros();
            bits &= bits - 1;
            lowest
        })
    })
}
