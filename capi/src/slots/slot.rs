//! A place for one value after the other, each under a generation of its own.
//!
//! ```text
//!   vacant, g ──fill (one thread has it)──▶ full, g ──take(g), by compare-exchange──▶ vacant, g + 1
//! ```

#[cfg(loom)]
use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU64, Ordering},
};
use std::mem::MaybeUninit;
#[cfg(not(loom))]
use std::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU64, Ordering},
};

/// The bit of a state that says that there is a value.
const FULL: u64 = 1;

/// A place for a value.
pub(super) struct Slot<T> {
    /// The generation, and in the lowest bit whether there is a value.
    state: AtomicU64,
    /// Whose the value is. Written before the slot is full, read while it is.
    owner: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: `value` is written by the one thread to which the vacant slot belongs, before it makes the slot full (release), and
// moved out by the one thread whose compare-exchange makes it vacant (acquire). So values pass from thread to thread, and
// no two threads have one.
unsafe impl<T: Send> Sync for Slot<T> {}

/// What a take got.
pub(super) enum Taken<T> {
    /// The value, and whether the slot may be used again: not after its last generation.
    Value { value: T, again: bool },
    /// There is a value of that generation, of another owner.
    OtherOwner,
    /// There is no value of that generation.
    Unknown,
}

impl<T> Slot<T> {
    pub(super) fn new() -> Self {
        Self {
            // Generation 0 is of no handle.
            state: AtomicU64::new(1 << 1),
            owner: AtomicU64::new(0),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Fills a vacant slot, which only the calling thread knows of, and returns the generation.
    #[inline]
    pub(super) fn fill(&self, owner: u64, value: T) -> u32 {
        // Relaxed: the slot came to this thread by its own list, or under the lock of the shared one.
        let state = self.state.load(Ordering::Relaxed);
        debug_assert_eq!(state & FULL, 0, "a vacant slot is filled");
        self.owner.store(owner, Ordering::Relaxed);
        // SAFETY: nobody reads a vacant slot's value, and only this thread fills it.
        self.write(|place| unsafe { (*place).write(value) });
        self.state.store(state | FULL, Ordering::Release);
        (state >> 1) as u32
    }

    /// Takes the value of a generation, if it is the owner's.
    #[inline]
    pub(super) fn take(&self, generation: u32, owner: u64) -> Taken<T> {
        let full = u64::from(generation) << 1 | FULL;
        // Acquire: the owner was written before the slot was full.
        if self.state.load(Ordering::Acquire) != full {
            return Taken::Unknown;
        }
        // If another thread has taken the value since, and even filled the slot anew, the exchange below fails: no
        // generation comes twice. Then the owner's answer may be wrong, and is about a handle that was being released.
        if self.owner.load(Ordering::Relaxed) != owner {
            return Taken::OtherOwner;
        }
        let vacant = (u64::from(generation) + 1) << 1;
        if self.state.compare_exchange(full, vacant, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            return Taken::Unknown;
        }
        // SAFETY: it was full, so there is a value, and the exchange succeeds for one thread.
        let value = self.write(|place| unsafe { (*place).assume_init_read() });
        Taken::Value { value, again: generation < u32::MAX }
    }

    #[cfg(loom)]
    fn write<R>(&self, work: impl FnOnce(*mut MaybeUninit<T>) -> R) -> R {
        self.value.with_mut(work)
    }

    #[cfg(not(loom))]
    #[inline]
    fn write<R>(&self, work: impl FnOnce(*mut MaybeUninit<T>) -> R) -> R {
        work(self.value.get())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{FULL, Slot, Taken};
    use std::sync::atomic::Ordering;

    #[test]
    fn a_value_is_taken_once_by_its_owner() {
        let slot = Slot::new();
        let first = slot.fill(7, "first");
        assert!(matches!(slot.take(first, 8), Taken::OtherOwner));
        assert!(matches!(slot.take(first + 1, 7), Taken::Unknown));
        assert!(matches!(slot.take(first, 7), Taken::Value { value: "first", again: true }));
        assert!(matches!(slot.take(first, 7), Taken::Unknown));
        let second = slot.fill(8, "second");
        assert_ne!(first, second);
        assert!(matches!(slot.take(first, 8), Taken::Unknown));
        assert!(matches!(slot.take(second, 8), Taken::Value { value: "second", .. }));
    }

    #[test]
    fn after_its_last_generation_a_slot_is_not_used_again() {
        let slot = Slot::new();
        slot.state.store(u64::from(u32::MAX) << 1, Ordering::Relaxed);
        let last = slot.fill(1, ());
        assert_eq!(last, u32::MAX);
        assert!(matches!(slot.take(last, 1), Taken::Value { again: false, .. }));
        assert_eq!(slot.state.load(Ordering::Relaxed) & FULL, 0);
        assert!(matches!(slot.take(0, 1), Taken::Unknown), "generations do not begin again");
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::{Slot, Taken};
    use loom::sync::Arc;
    use loom::thread;

    /// Two threads release one handle while the winner fills the slot anew: one gets the value, and nobody the next one.
    #[test]
    fn one_of_two_takes_gets_the_value() {
        loom::model(|| {
            let slot = Arc::new(Slot::new());
            let generation = slot.fill(7, Box::new(1));
            let takes: Vec<_> = (0..2)
                .map(|_| {
                    let slot = Arc::clone(&slot);
                    thread::spawn(move || match slot.take(generation, 7) {
                        Taken::Value { value, .. } => {
                            assert_eq!(*value, 1);
                            slot.fill(8, Box::new(2));
                            true
                        }
                        Taken::OtherOwner | Taken::Unknown => false,
                    })
                })
                .collect();
            let won = takes.into_iter().map(|take| take.join().unwrap()).filter(|won| *won).count();
            assert_eq!(won, 1);
            assert!(matches!(slot.take(generation + 1, 8), Taken::Value { .. }));
        });
    }
}
