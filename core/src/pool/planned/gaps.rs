//! Gaps: free ranges that the plan leaves alone for a while.
//!
//! ```text
//!   free        │──────────────────────│     │─────│
//!   obstacles      │───│      │──│                       what the plan places in the next requests
//!   gaps        │──│   │──────│  │────│     │─────│       the tightest that is large enough is taken
//! ```
//!
//! # Cost
//! O((f + o) log o) for f free ranges and o obstacles.

/// First granule, and the granule behind the last.
pub(super) type Range = (u32, u32);

/// The start of the tightest gap of so many granules at multiples of `align`, a power of two. `obstacles` ascend by their starts;
/// they may overlap, and those of up to `above` granules are none.
pub(super) fn tightest(
    free: &[Range],
    obstacles: &[Range],
    units: u32,
    align: u32,
    above: u32,
) -> Option<u32> {
    let mut best: Option<Range> = None;
    let mut offer = |from: u32, to: u32| {
        let Some(start) = from.checked_add(align - 1).map(|end| end & !(align - 1)) else { return };
        let fits = start.checked_add(units).is_some_and(|end| end <= to);
        if fits && best.is_none_or(|(from_best, to_best)| to - from < to_best - from_best) {
            best = Some((from, to));
        }
    };
    // The farthest end of the obstacles so far is not known from one in the middle, so all are passed once.
    for &(from, to) in free {
        let mut at = from;
        for &(start, end) in obstacles {
            if start >= to {
                break;
            }
            if end <= at || end - start <= above {
                continue;
            }
            if start > at {
                offer(at, start);
            }
            at = end;
        }
        if at < to {
            offer(at, to);
        }
    }
    best.map(|(from, _)| (from + (align - 1)) & !(align - 1))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::tightest;

    #[test]
    fn the_tightest_gap_is_found() {
        let free = [(10, 100), (200, 230)];
        for (obstacles, units, align, expected) in [
            (&[][..], 20, 1, Some(200)),
            (&[], 31, 1, Some(10)),
            (&[], 31, 16, Some(16)),
            (&[], 91, 1, None),
            (&[(0, 50), (60, 61), (205, 300)], 10, 1, Some(50)),
            (&[(0, 50), (60, 61), (205, 300)], 11, 1, Some(61)),
            (&[(0, 50), (20, 30), (60, 61), (190, 300)], 9, 16, Some(64)),
            (&[(0, 300)], 1, 1, None),
            (&[(0, 99), (200, 230)], 1, 1, Some(99)),
        ] {
            assert_eq!(
                tightest(&free, obstacles, units, align, 0),
                expected,
                "{obstacles:?} {units}"
            );
        }
        // Small ones do not matter.
        let obstacles = [(0, 50), (60, 61), (70, 90)];
        assert_eq!(tightest(&free, &obstacles, 20, 1, 1), Some(50));
        assert_eq!(tightest(&free, &obstacles, 25, 1, 20), Some(200));
        assert_eq!(tightest(&free, &obstacles, 45, 1, 20), Some(50));
    }
}
