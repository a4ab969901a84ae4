//! A number that changes when an axis has moved since somebody looked.
//!
//! ```text
//!   who looks                              who advances an axis
//!   ─────────────────────────────          ─────────────────────────────
//!   mark the number as looked at           raise the axis
//!   read axes                              is the number looked at? the next one, not looked at
//! ```
//!
//! An advance writes here only if somebody has looked since the last change, so axes that many threads advance share a line that is
//! read and hardly ever written.
//!
//! # Why no advance is missed
//! Both write one word and then read the other's, all of it sequentially consistent. Of the mark and the raise one comes first. If
//! it is the raise, the reads that follow the mark see it. If it is the mark, the advance reads it, or a number that has changed since;
//! either way the number is no longer the one that was looked at by the time the advance returns.
//!
//! # Cost
//! A look is a load, and an atomic operation if an axis has moved. An advance is a load more, and an atomic operation if somebody has
//! looked.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::seq_cst_for_loom;

/// Somebody has looked.
const LOOKED: u64 = 1;

/// See the [module](self). The number, doubled, and the mark.
#[derive(Debug)]
pub(super) struct Version(AtomicU64);

impl Version {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The number. What is read of axes from now on is up to date with it.
    pub(super) fn look(&self) -> u64 {
        let mut word = self.0.load(Ordering::SeqCst);
        if word & LOOKED == 0 {
            word = self.0.fetch_or(LOOKED, Ordering::SeqCst);
        }
        seq_cst_for_loom();
        word >> 1
    }

    /// An axis was raised just before, with a sequentially consistent operation.
    #[inline]
    pub(super) fn moved(&self) {
        let word = self.0.load(Ordering::SeqCst);
        if word & LOOKED != 0 {
            self.change(word);
        }
    }

    #[cold]
    fn change(&self, word: u64) {
        // While the word is marked nobody changes it but who advances: if this fails, another has changed the number for both.
        let next = word.wrapping_add(LOOKED);
        let _ = self.0.compare_exchange(word, next, Ordering::SeqCst, Ordering::Relaxed);
    }
}
