//! rlsf and talc: general allocators that keep their metadata in the memory they manage, so they need real memory.

use super::Peer;
use std::alloc::Layout;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use talc::base::Talc as Heap;
use talc::base::binning::DefaultBinning;
use talc::source::Manual;

/// What both are asked for.
const ALIGNMENT: usize = 16;

/// Memory to manage. Pages that are never touched cost nothing.
#[derive(Debug)]
struct Arena(Vec<MaybeUninit<u8>>);

impl Arena {
    fn new(bytes: u64) -> Self {
        Self(Vec::with_capacity(usize::try_from(bytes).unwrap_or(usize::MAX)))
    }

    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
}

/// `Layout::from_size_align` of a size that fits in 32 bits cannot fail.
#[inline]
fn layout(bytes: u32) -> Option<Layout> {
    Layout::from_size_align(bytes as usize, ALIGNMENT).ok()
}

/// rlsf's TLSF with 32 × 32 classes.
pub struct Rlsf {
    heap: rlsf::Tlsf<'static, u32, u32, 32, 32>,
    live: Vec<Option<NonNull<u8>>>,
    /// Declared last: the heap goes before its memory.
    _arena: Arena,
}

impl fmt::Debug for Rlsf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rlsf").finish_non_exhaustive()
    }
}

impl Rlsf {
    /// Over `capacity` bytes, with room for `slots` live blocks. `None` when rlsf refuses the memory.
    #[must_use]
    pub fn new(capacity: u64, slots: u32) -> Option<Self> {
        let mut arena = Arena::new(capacity);
        let mut heap = rlsf::Tlsf::new();
        let block =
            NonNull::slice_from_raw_parts(NonNull::new(arena.as_mut_ptr())?, arena.0.capacity());
        // SAFETY: the arena owns the block, nobody else touches it, and it lives as long as the heap: both
        // are fields of one struct, and a vector's memory does not move when the vector does.
        unsafe { heap.insert_free_block_ptr(block) }?;
        Some(Self { heap, live: vec![None; slots as usize], _arena: arena })
    }
}

impl Peer for Rlsf {
    #[inline]
    fn allocate(&mut self, slot: u32, bytes: u32) -> bool {
        let block = layout(bytes).and_then(|layout| self.heap.allocate(layout));
        self.live[slot as usize] = block;
        block.is_some()
    }

    #[inline]
    fn free(&mut self, slot: u32) {
        if let Some(block) = self.live[slot as usize].take() {
            // SAFETY: it came from this heap with this alignment, and taking it out of the table frees it once.
            unsafe { self.heap.deallocate(block, ALIGNMENT) }
        }
    }
}

/// talc with its default bins.
pub struct Talc {
    heap: Heap<Manual, DefaultBinning>,
    live: Vec<Option<(NonNull<u8>, Layout)>>,
    /// Declared last: the heap goes before its memory.
    _arena: Arena,
}

impl fmt::Debug for Talc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Talc").finish_non_exhaustive()
    }
}

impl Talc {
    /// Over `capacity` bytes, with room for `slots` live blocks. `None` when talc refuses the memory.
    #[must_use]
    pub fn new(capacity: u64, slots: u32) -> Option<Self> {
        let mut arena = Arena::new(capacity);
        let mut heap = Heap::new(Manual);
        // SAFETY: as for rlsf: owned by the arena, which lives as long as the heap and does not move.
        unsafe { heap.claim(arena.as_mut_ptr(), arena.0.capacity()) }?;
        Some(Self { heap, live: vec![None; slots as usize], _arena: arena })
    }
}

impl Peer for Talc {
    #[inline]
    fn allocate(&mut self, slot: u32, bytes: u32) -> bool {
        let Some(layout) = layout(bytes).filter(|layout| layout.size() != 0) else { return false };
        // SAFETY: the size is not zero.
        let block = unsafe { self.heap.allocate(layout) };
        self.live[slot as usize] = block.map(|block| (block, layout));
        block.is_some()
    }

    #[inline]
    fn free(&mut self, slot: u32) {
        if let Some((block, layout)) = self.live[slot as usize].take() {
            // SAFETY: it came from this heap with this layout, and taking it out of the table frees it once.
            unsafe { self.heap.deallocate(block.as_ptr(), layout) }
        }
    }
}
