//! What a component without `std` brings itself: an allocator, the end of a panic, and `cabi_realloc`, by which a host
//! makes room for the lists that it passes. With `std` they come from it and from its C library. Guests share this file.

use alloc::alloc::{Layout, alloc, realloc};
use core::ptr;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// A panic is a mistake of this component: it traps, and its host sees where.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// Makes or resizes an allocation, as the canonical ABI asks for it. Traps when memory runs out, which is
/// what the ABI wants.
///
/// # Safety
/// Called by the canonical ABI only: `old` is null with `old_len` 0, or was returned from here with
/// `old_len` and `align`.
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(
    old: *mut u8,
    old_len: usize,
    align: usize,
    new_len: usize,
) -> *mut u8 {
    let Ok(layout) = Layout::from_size_align(old_len, align) else {
        core::arch::wasm32::unreachable()
    };
    let new = if old_len == 0 {
        if new_len == 0 {
            // Nothing to point to: any aligned address will do, and nobody frees it.
            return ptr::without_provenance_mut(align);
        }
        let Ok(layout) = Layout::from_size_align(new_len, align) else {
            core::arch::wasm32::unreachable()
        };
        // SAFETY: the size is not 0.
        unsafe { alloc(layout) }
    } else {
        // SAFETY: the ABI passes what was returned from here, with its size and alignment, and never
        // shrinks to nothing.
        unsafe { realloc(old, layout, new_len) }
    };
    if new.is_null() {
        core::arch::wasm32::unreachable()
    }
    new
}
