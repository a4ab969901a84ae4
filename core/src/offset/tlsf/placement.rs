//! Placement: which free block a request is cut from, and from which of its ends.
//!
//! ```text
//!   │ older live block │        free        │ younger live block │
//!                      ▲ Carve::Older        ▲ Carve::Younger
//! ```
//!
//! Which end is cut decides how free memory grows back together: blocks that die at about the same time
//! should stand side by side. Age and size of the two neighbours are cheap hints at that. Requests
//! of at least `threshold` bytes follow one rule, smaller ones another, because large blocks suffer
//! from fragmentation and small ones cause it.
//!
//! All of this is arithmetic on two neighbours; nothing knows the future.

use super::Side;

/// How a request is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Which free block.
    pub search: Search,
    /// Bytes from which a request follows `large`.
    pub threshold: u64,
    /// Which end large requests are cut from.
    pub large: Carve,
    /// Which end the others are cut from.
    pub small: Carve,
}

impl Placement {
    /// The fastest: the first block of a class, cut from its low end.
    pub const FAST: Self =
        Self { search: Search::Head, threshold: 0, large: Carve::Low, small: Carve::Low };

    /// As quick to search, and packs real training and inference traces within a few percent of their
    /// peak: large blocks next to old neighbours, small ones next to big ones.
    pub const PACKED: Self = Self {
        search: Search::Head,
        threshold: 3 << 20,
        large: Carve::Older,
        small: Carve::Bigger,
    };

    /// The rule for a request.
    #[inline]
    #[must_use]
    pub const fn carve(&self, bytes: u64) -> Carve {
        self.rule(self.is_large(bytes))
    }

    #[inline]
    pub(super) const fn is_large(&self, bytes: u64) -> bool {
        bytes >= self.threshold
    }

    #[inline]
    pub(super) const fn rule(&self, is_large: bool) -> Carve {
        if is_large { self.large } else { self.small }
    }
}

/// Which free block a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// The first block of the request's own size class if it fits, else the first block of the next
    /// class that has one. O(1).
    Head,
    /// The smallest of the first `scan` blocks of the request's own class that fit, else of the next
    /// class that has one. O(scan).
    Best {
        /// Blocks of a bin that are looked at.
        scan: u16,
        /// Which of several of equal size.
        tie: Tie,
    },
}

/// Which of several free blocks of equal size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// The one at the lowest address.
    Low,
    /// The one at the highest address.
    High,
    /// The one that became free last: the first in its bin.
    First,
    /// The one that became free first, of those looked at.
    Last,
}

impl Tie {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Low, Self::High, Self::First, Self::Last];

    /// Whether a block found later is preferred to one found before.
    #[inline]
    pub(super) fn prefers(self, later: (u32, u32), before: (u32, u32)) -> bool {
        match self {
            Self::Low => later < before,
            Self::High => later > before,
            Self::First => false,
            Self::Last => true,
        }
    }
}

/// Which end of a free block a request is cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carve {
    /// The low one.
    Low,
    /// The high one.
    High,
    /// Next to the neighbour that was handed out earlier. A slab's edge is older than any block.
    Older,
    /// Next to the neighbour that was handed out later; the high end at a slab's edge.
    Younger,
    /// Next to the larger neighbour. A slab's edge is larger than any block.
    Bigger,
    /// Next to the smaller neighbour; the high end at a slab's edge.
    Smaller,
    /// Next to the neighbour whose size is closer to the request's, by ratio; the high end at a slab's
    /// edge and between equals.
    Similar,
}

/// What a rule sees of a neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neighbour {
    pub(super) units: u32,
    /// On a counter that wraps.
    pub(super) birth: u32,
}

impl Carve {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Low,
        Self::High,
        Self::Older,
        Self::Younger,
        Self::Bigger,
        Self::Smaller,
        Self::Similar,
    ];

    /// The end to cut from; a neighbour is `None` at a slab's edge.
    pub(super) fn end(self, units: u32, left: Option<Neighbour>, right: Option<Neighbour>) -> Side {
        let older = |a: Neighbour, b: Neighbour| (a.birth.wrapping_sub(b.birth) as i32) < 0;
        let high = match (self, left, right) {
            (Self::Low, ..) | (Self::Older | Self::Bigger, None, _) => false,
            (Self::High, ..) | (_, None, _) | (_, _, None) => true,
            (Self::Older, Some(l), Some(r)) => older(r, l),
            (Self::Younger, Some(l), Some(r)) => older(l, r),
            (Self::Bigger, Some(l), Some(r)) => r.units > l.units,
            (Self::Smaller, Some(l), Some(r)) => r.units < l.units,
            (Self::Similar, Some(l), Some(r)) => {
                // max/min of each neighbour and the request, compared by cross-multiplication.
                let ratio =
                    |n: Neighbour| (u64::from(n.units.max(units)), u64::from(n.units.min(units)));
                let ((lp, lq), (rp, rq)) = (ratio(l), ratio(r));
                u128::from(rp) * u128::from(lq) <= u128::from(lp) * u128::from(rq)
            }
        };
        if high { Side::Right } else { Side::Left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let n = |units, birth| Some(Neighbour { units, birth });
        use Carve::*;
        use Side::{Left, Right};
        for (rule, left, right, end) in [
            (Low, n(1, 1), None, Left),
            (High, None, n(1, 1), Right),
            (Older, None, None, Left),
            (Older, None, n(1, 1), Left),
            (Older, n(1, 1), None, Right),
            (Older, n(1, 1), n(1, 2), Left),
            (Older, n(1, 2), n(1, 1), Right),
            (Older, n(1, u32::MAX), n(1, 3), Left),
            (Younger, None, n(1, 1), Right),
            (Younger, n(1, 1), n(1, 2), Right),
            (Younger, n(1, 2), n(1, 1), Left),
            (Bigger, None, n(9, 1), Left),
            (Bigger, n(9, 1), None, Right),
            (Bigger, n(2, 1), n(3, 1), Right),
            (Bigger, n(3, 1), n(3, 1), Left),
            (Smaller, n(2, 1), n(3, 1), Left),
            (Smaller, n(3, 1), n(2, 1), Right),
            (Similar, n(8, 1), n(100, 1), Left),
            (Similar, n(1, 1), n(12, 1), Right),
            (Similar, None, n(10, 1), Right),
            (Similar, n(5, 1), n(20, 1), Right),
        ] {
            assert_eq!(rule.end(10, left, right), end, "{rule:?} {left:?} {right:?}");
        }
        assert_eq!(Placement::PACKED.carve(3 << 20), Older);
        assert_eq!(Placement::PACKED.carve((3 << 20) - 1), Bigger);
    }
}
