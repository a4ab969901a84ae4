//! The one place that chooses a mutex and atomics: `std`, `loom`, or neither.
//!
//! | build | mutex | atomics |
//! | --- | --- | --- |
//! | `std` (default) | `std::sync::Mutex`, poison ignored | `core` |
//! | no `std` | `sync/spin.rs`: correct with threads, meant for one | `core` |
//! | `--cfg loom` | loom's, which explores interleavings | loom's |
//!
//! Poison is ignored because no code of this crate can panic between two writes that must stay
//! together: foreign code (wakers, callbacks, providers) never runs with a lock held.

#[cfg(loom)]
mod imp {
    pub(crate) use loom::sync::MutexGuard;
    pub(crate) use loom::sync::atomic;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }

    /// Loom treats sequentially consistent loads and stores as acquire and release only, but
    /// models fences in full. Where an argument needs the single total order of `SeqCst`
    /// accesses, this fence states it in a form that loom understands.
    pub(crate) fn seq_cst_for_loom() {
        atomic::fence(atomic::Ordering::SeqCst);
    }
}

#[cfg(all(not(loom), feature = "std"))]
mod imp {
    pub(crate) use core::sync::atomic;
    pub(crate) use std::sync::MutexGuard;
    use std::sync::PoisonError;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// Nothing outside loom: the accesses around it are `SeqCst` themselves.
    pub(crate) const fn seq_cst_for_loom() {}
}

#[cfg(not(any(loom, feature = "std")))]
#[allow(unsafe_code, reason = "a mutex needs a cell; argued in the file")]
mod spin;

#[cfg(not(any(loom, feature = "std")))]
mod imp {
    pub(crate) use super::spin::{Mutex, MutexGuard};
    pub(crate) use core::sync::atomic;

    /// Nothing outside loom: the accesses around it are `SeqCst` themselves.
    pub(crate) const fn seq_cst_for_loom() {}
}

pub(crate) use imp::*;
