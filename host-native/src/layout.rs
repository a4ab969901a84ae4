//! Where the parts of a mapping lie: pure arithmetic.
//!
//! ```text
//!   reserved:  │ surplus │ guard │ body │ guard │ surplus │
//!                   └ unmapped   ▲ aligned         └ unmapped
//! ```
//!
//! The kernel aligns a mapping to a page. To align the body further, `alignment - page` bytes more are
//! reserved, and what lies outside the guards once the body is placed goes back.

/// The parts of one mapping, in bytes; all are multiples of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Usable bytes.
    pub(crate) body: usize,
    /// Inaccessible bytes before the body, and as many after it.
    pub(crate) guard: usize,
    /// The body starts at a multiple of this.
    pub(crate) alignment: usize,
    /// The system's page.
    pub(crate) page: usize,
    /// What is asked of the kernel.
    pub(crate) reserve: usize,
}

impl Layout {
    /// A body of at least `size` bytes, or `None` when the sums do not fit in the address space. Page
    /// and alignment are powers of two, and the alignment is at least the page.
    pub(crate) fn new(size: u64, page: usize, alignment: usize, guarded: bool) -> Option<Self> {
        debug_assert!(page.is_power_of_two() && alignment.is_power_of_two() && alignment >= page);
        let body = usize::try_from(size).ok()?.checked_next_multiple_of(page)?;
        let guard = if guarded { page } else { 0 };
        let total = body.checked_add(2 * guard)?;
        let reserve = total.checked_add(alignment - page)?;
        // Rust addresses at most isize::MAX bytes of one object.
        isize::try_from(reserve).ok()?;
        Some(Self { body, guard, alignment, page, reserve })
    }

    /// The body and its guards.
    pub(crate) const fn total(&self) -> usize {
        self.body + 2 * self.guard
    }

    /// How many bytes of a reservation at `address` (a multiple of the page) lie before the first
    /// guard and after the second.
    pub(crate) const fn surplus(&self, address: usize) -> (usize, usize) {
        let body = (address + self.guard).wrapping_neg() & (self.alignment - 1);
        (body, self.reserve - self.total() - body)
    }
}

#[cfg(test)]
mod tests {
    use super::Layout;
    use proptest::prelude::*;

    #[test]
    fn sizes_beyond_the_address_space_have_no_layout() {
        assert!(Layout::new(u64::MAX, 4096, 4096, false).is_none());
        assert!(Layout::new(i64::MAX as u64, 4096, 4096, false).is_none());
        let most = i64::MAX as u64 / 4096 * 4096;
        assert!(Layout::new(most, 4096, 4096, false).is_some());
        assert!(Layout::new(most, 4096, 4096, true).is_none());
        assert!(Layout::new(most, 4096, 8192, false).is_none());
    }

    proptest! {
        #[test]
        fn the_body_is_aligned_and_everything_lies_in_the_reservation(
            size in 1..1u64 << 40,
            page in 12..17u32,
            beyond in 0..20u32,
            address in 0..1usize << 30,
            guarded: bool,
        ) {
            let (page, alignment) = (1usize << page, 1usize << (page + beyond).min(36));
            let layout = Layout::new(size, page, alignment, guarded).unwrap();
            let address = address * page;
            let (head, tail) = layout.surplus(address);
            prop_assert!(layout.body as u64 >= size && layout.body as u64 - size < page as u64);
            prop_assert_eq!(layout.guard, if guarded { page } else { 0 });
            prop_assert_eq!(head + layout.total() + tail, layout.reserve);
            prop_assert_eq!((address + head + layout.guard) % alignment, 0);
            prop_assert_eq!((head % page, tail % page, layout.body % page), (0, 0, 0));
        }
    }
}
