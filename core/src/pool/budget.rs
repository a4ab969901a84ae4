//! Budgets: how many bytes may be reserved at once. Pure arithmetic.

/// A limit on reserved bytes, padding included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(u64);

impl Budget {
    /// No limit.
    pub const UNLIMITED: Self = Self(u64::MAX);

    /// At most `bytes` reserved at once.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The limit in bytes.
    #[must_use]
    pub const fn limit(self) -> u64 {
        self.0
    }

    /// Whether `more` bytes may be reserved beside `reserved`.
    #[inline]
    #[must_use]
    pub const fn allows(self, reserved: u64, more: u64) -> bool {
        match reserved.checked_add(more) {
            Some(sum) => sum <= self.0,
            None => false,
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::UNLIMITED
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn table() {
        for (limit, reserved, more, allowed) in [
            (100, 0, 100, true),
            (100, 0, 101, false),
            (100, 99, 1, true),
            (100, 100, 0, true),
            (u64::MAX, u64::MAX, 0, true),
            (u64::MAX, u64::MAX, 1, false),
            (0, 0, 1, false),
        ] {
            assert_eq!(Budget::bytes(limit).allows(reserved, more), allowed, "{limit} {reserved}");
        }
        assert!(Budget::default().allows(1 << 60, 1 << 60));
    }
}
