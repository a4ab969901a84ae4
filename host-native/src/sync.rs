//! The one place that chooses atomics: `core`'s, or loom's under `--cfg loom`, which explores interleavings.

#[cfg(not(loom))]
mod imp {
    pub(crate) use core::sync::atomic;
    pub(crate) use std::thread::yield_now;

    /// Nothing outside loom: the accesses around it are `SeqCst` themselves.
    pub(crate) const fn seq_cst_for_loom() {}
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::sync::atomic;
    pub(crate) use loom::thread::yield_now;

    /// Loom treats sequentially consistent loads and stores as acquire and release only, but models
    /// fences in full: this one states the total order in a form that loom understands.
    pub(crate) fn seq_cst_for_loom() {
        atomic::fence(atomic::Ordering::SeqCst);
    }
}

pub(crate) use imp::*;
