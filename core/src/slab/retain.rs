//! Retention: how many empty slabs a pool or cache keeps. Pure arithmetic.

/// Which empty slabs are worth keeping when [`Trim::Excess`](super::Trim::Excess) is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Empty slabs to keep.
    pub slabs: u32,
    /// Bytes of empty slabs to keep, at most.
    pub bytes: u64,
}

impl Retention {
    /// Keep nothing that is empty.
    pub const NOTHING: Self = Self { slabs: 0, bytes: 0 };

    /// Keep up to `slabs` empty slabs of any size.
    #[must_use]
    pub const fn slabs(slabs: u32) -> Self {
        Self { slabs, bytes: u64::MAX }
    }

    /// Whether an empty slab of `size` bytes is kept when `slabs` others with `bytes` together are.
    #[must_use]
    pub const fn keeps(&self, slabs: u32, bytes: u64, size: u64) -> bool {
        slabs < self.slabs
            && match bytes.checked_add(size) {
                Some(sum) => sum <= self.bytes,
                None => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::Retention;

    #[test]
    fn table() {
        let two = Retention::slabs(2);
        let small = Retention { slabs: 9, bytes: 100 };
        for (retention, slabs, bytes, size, kept) in [
            (Retention::NOTHING, 0, 0, 1, false),
            (two, 0, 0, u64::MAX, true),
            (two, 1, 5, 5, true),
            (two, 2, 5, 5, false),
            (two, 1, u64::MAX, 1, false),
            (small, 0, 0, 100, true),
            (small, 0, 0, 101, false),
            (small, 3, 60, 40, true),
            (small, 3, 60, 41, false),
        ] {
            assert_eq!(retention.keeps(slabs, bytes, size), kept, "{retention:?} {slabs} {bytes}");
        }
    }
}
