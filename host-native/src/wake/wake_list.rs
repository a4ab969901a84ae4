//! The event loops that watch a notification: a list that signalers read without a lock, also from a signal
//! handler.
//!
//! ```text
//!   WakeList ─▶ Waiter entry ─▶ Waiter entry ─▶ …        entries are added and reused, never removed
//!              │ armed, word, slot
//!              └ bell ──▶ the loop's doorbell, or null: the waiter is free
//! ```
//!
//! A signaler walks the list and rings the bell of every waiter that is armed for its word; it disarms the waiter by an
//! exchange, so of many signalers one rings. A loop arms its waiter again when it goes on waiting.
//!
//! # Why no wake is lost
//! A loop arms its waiter and then compares the epoch; a signaler advances the epoch and then looks whether
//! the waiter is armed. All of it is sequentially consistent, so one of them sees the other. Whoever disarms
//! a waiter rings the bell that is in it.
//!
//! # Safety
//! The list's entries live as long as the [`WakeList`], which owns them: they are pushed once and freed on
//! its drop, when no one can hold a borrow of it. A `bell` is an [`Arc`] in raw form, owned by the waiter. Taking
//! it out leaves null; the `Arc` is dropped only after `readers` was seen to be 0 later than that, in
//! the one total order of these operations. A signaler counts itself among the readers before it loads
//! the pointer, so whoever loaded the old one is either counted, and waited for, or done.
//!
//! # Cost
//! A signal with no loop that ever watched: one load. Otherwise two atomic additions and a load for each waiter,
//! of which there are as many as loops have watched at one time.

use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use crate::sync::seq_cst_for_loom;
use core::fmt;
use core::ptr;
use std::sync::Arc;

/// Something that a waiter rings, by the number that it was given. It must not block.
pub(crate) trait Bell: Send + Sync + 'static {
    fn ring(&self, slot: u32);
}

struct Entry<B> {
    next: *mut Entry<B>,
    bell: AtomicPtr<B>,
    word: AtomicUsize,
    slot: AtomicU32,
    armed: AtomicBool,
}

/// See the [module](self).
pub(crate) struct WakeList<B> {
    first: AtomicPtr<Entry<B>>,
    readers: AtomicU32,
}

// SAFETY: what it owns are entries of atomics and `Arc<B>`s, both of which any thread may use and drop if `B` is
// `Send` and `Sync`. `next` is written before an entry is published and never again.
unsafe impl<B: Send + Sync> Send for WakeList<B> {}
// SAFETY: as above.
unsafe impl<B: Send + Sync> Sync for WakeList<B> {}

impl<B: Bell> WakeList<B> {
    pub(crate) fn new() -> Self {
        Self { first: AtomicPtr::new(ptr::null_mut()), readers: AtomicU32::new(0) }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry<B>> {
        // Acquire: the entry's `next`, written before it was published.
        let mut at = self.first.load(Ordering::SeqCst);
        core::iter::from_fn(move || {
            // SAFETY: null, or an entry of this list, which lives as long as `self`.
            let entry = unsafe { at.as_ref() }?;
            at = entry.next;
            Some(entry)
        })
    }

    /// Rings every bell armed for `word`. The caller has advanced the epoch.
    pub(crate) fn ring(&self, word: usize) {
        seq_cst_for_loom();
        if self.first.load(Ordering::SeqCst).is_null() {
            return;
        }
        self.readers.fetch_add(1, Ordering::SeqCst);
        seq_cst_for_loom();
        for entry in self.entries() {
            let armed = entry.armed.load(Ordering::SeqCst)
                && entry.word.load(Ordering::SeqCst) == word
                && entry.armed.swap(false, Ordering::SeqCst);
            if armed {
                let bell = entry.bell.load(Ordering::SeqCst);
                // SAFETY: null, or an `Arc` that is not dropped while we are counted; see the file's head.
                if let Some(bell) = unsafe { bell.as_ref() } {
                    bell.ring(entry.slot.load(Ordering::SeqCst));
                }
            }
        }
        // Release: what was done with the wake_list comes before their drop.
        self.readers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Takes a waiter, disarmed.
    pub(crate) fn sit(self: &Arc<Self>, bell: Arc<B>) -> Waiter<B> {
        let raw = Arc::into_raw(bell).cast_mut();
        let free = self.entries().find(|entry| {
            let taken = (Ordering::SeqCst, Ordering::Relaxed);
            entry.bell.compare_exchange(ptr::null_mut(), raw, taken.0, taken.1).is_ok()
        });
        let entry = match free {
            Some(entry) => ptr::from_ref(entry),
            None => self.push(raw),
        };
        Waiter { wake_list: self.clone(), entry }
    }

    fn push(&self, bell: *mut B) -> *const Entry<B> {
        let entry = Box::into_raw(Box::new(Entry {
            next: ptr::null_mut(),
            bell: AtomicPtr::new(bell),
            word: AtomicUsize::new(0),
            slot: AtomicU32::new(0),
            armed: AtomicBool::new(false),
        }));
        let mut first = self.first.load(Ordering::Relaxed);
        loop {
            // SAFETY: not published yet, so nobody else knows it.
            unsafe { (*entry).next = first };
            match self.first.compare_exchange(first, entry, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return entry,
                Err(changed) => first = changed,
            }
        }
    }
}

impl<B> Drop for WakeList<B> {
    fn drop(&mut self) {
        // Loom's atomics have no `get_mut`.
        let mut at = self.first.load(Ordering::Relaxed);
        while !at.is_null() {
            // SAFETY: every entry was made by `Box::into_raw`, is in the list once, and nobody borrows it: a waiter
            // holds an `Arc` of this list, so there is none left.
            at = unsafe { Box::from_raw(at) }.next;
        }
    }
}

impl<B> fmt::Debug for WakeList<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeList").finish_non_exhaustive()
    }
}

/// A loop's place in the list.
pub(crate) struct Waiter<B: Bell> {
    wake_list: Arc<WakeList<B>>,
    entry: *const Entry<B>,
}

// SAFETY: a waiter is a reference to an entry of atomics that its own `Arc` keeps alive.
unsafe impl<B: Bell> Send for Waiter<B> {}

impl<B: Bell> Waiter<B> {
    fn entry(&self) -> &Entry<B> {
        // SAFETY: an entry of `wake_list`, which this waiter keeps alive.
        unsafe { &*self.entry }
    }

    pub(crate) fn wake_list(&self) -> &Arc<WakeList<B>> {
        &self.wake_list
    }

    /// Has the next signal of `word` ring with `slot`. The caller compares the epoch after this.
    pub(crate) fn arm(&self, word: usize, slot: u32) {
        let entry = self.entry();
        entry.word.store(word, Ordering::SeqCst);
        entry.slot.store(slot, Ordering::SeqCst);
        entry.armed.store(true, Ordering::SeqCst);
        seq_cst_for_loom();
    }

    /// No signal rings from now on, except those that are about to.
    pub(crate) fn disarm(&self) {
        self.entry().armed.store(false, Ordering::SeqCst);
    }

    /// Gives the waiter up.
    pub(crate) fn leave(self) -> Left<B> {
        self.disarm();
        let bell = self.entry().bell.swap(ptr::null_mut(), Ordering::SeqCst);
        seq_cst_for_loom();
        Left { wake_list: self.wake_list, bell }
    }
}

/// A bell that was taken out of its waiter, and may still be rung by signalers who found it before.
pub(crate) struct Left<B: Bell> {
    wake_list: Arc<WakeList<B>>,
    bell: *mut B,
}

// SAFETY: it owns an `Arc<B>`, and `B` is `Send` and `Sync`.
unsafe impl<B: Bell> Send for Left<B> {}

impl<B: Bell> Left<B> {
    /// Whether nobody can ring it any more: then dropping it does not wait.
    pub(crate) fn is_over(&self) -> bool {
        self.wake_list.readers.load(Ordering::SeqCst) == 0
    }
}

/// Waits for signalers who are ringing: they are a few instructions and at most a system call from done.
impl<B: Bell> Drop for Left<B> {
    fn drop(&mut self) {
        while !self.is_over() {
            crate::sync::yield_now();
        }
        // SAFETY: from `Arc::into_raw` in `sit`, taken out of the entry by `leave` once, and no reader is left who
        // could have loaded it; see the file's head.
        drop(unsafe { Arc::from_raw(self.bell) });
    }
}

#[cfg(all(test, loom))]
mod model;
