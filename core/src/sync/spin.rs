//! A spin mutex for builds without `std`.
//!
//! It is there for single-threaded guests, where the lock is always free and costs one
//! compare-and-swap. It stays correct with threads, but a waiter burns its core: threaded hosts
//! build with `std`.
//!
//! # Safety
//! `value` is only reached through a [`MutexGuard`], and a guard exists only between the swap that
//! took `locked` from false to true and the store that sets it back. At most one guard exists at
//! a time, so its `&mut T` is unique. The swap acquires what the store released, so each holder
//! sees all that the one before it wrote.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct Mutex<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: sharing the mutex hands the value from thread to thread, one at a time (see the file's
// argument), so `T: Send` is all it takes.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { locked: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        while self
            .locked
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            // Wait on a plain load, so that waiters share the line until it changes.
            while self.locked.load(Ordering::Relaxed) {
                core::hint::spin_loop();
            }
        }
        MutexGuard { mutex: self, _not_send: PhantomData }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Taking the lock to print could deadlock with whoever prints while holding it.
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// Guards stay on their thread, as those of `std` do. (A `Sync` mutex would otherwise make the
    /// guard `Sync` for a `T` that is only `Send`.)
    _not_send: PhantomData<*const T>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one (see the file's argument), and it is borrowed.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard is the only one, and it is borrowed mutably.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.mutex.locked.store(false, Ordering::Release);
    }
}
