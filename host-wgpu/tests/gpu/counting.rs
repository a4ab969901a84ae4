//! An allocator that counts what it is asked for: by each thread, and by all.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Of all threads. Relaxed: a number, nothing is published by it.
static TOTAL: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: everything is the system's allocator; the counters are a thread-local without a destructor or an
// allocation, and an atomic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        TOTAL.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` allocates on this thread.
pub(crate) fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

/// How often all threads have allocated so far. Only of use in a process with one test.
pub(crate) fn all_allocations() -> u64 {
    TOTAL.load(Ordering::Relaxed)
}
