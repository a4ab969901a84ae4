//! How often the cache was of use lately.

use core::fmt;

/// An exponential moving average of yes and no: each new answer weighs 1/8.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ema(pub(super) u32);

impl Ema {
    pub(super) const ONE: u32 = 1 << 16;
    const WEIGHT_SHIFT: u32 = 3;

    /// Undecided.
    pub const HALF: Self = Self(Self::ONE / 2);

    /// The average after one more answer.
    ///
    /// ```
    /// use strandline_core::slab::cache::Ema;
    /// let often = (0..100).fold(Ema::HALF, |ema, _| ema.then(true));
    /// let seldom = (0..100).fold(Ema::HALF, |ema, _| ema.then(false));
    /// assert_eq!((often.permille(), seldom.permille()), (1000, 0));
    /// ```
    #[must_use]
    pub const fn then(self, yes: bool) -> Self {
        // Both steps round away from where they are, so that the ends are reached.
        if yes {
            Self(self.0 + (Self::ONE - self.0).div_ceil(1 << Self::WEIGHT_SHIFT))
        } else {
            Self(self.0 - self.0.div_ceil(1 << Self::WEIGHT_SHIFT))
        }
    }

    /// The average in thousandths.
    #[must_use]
    pub const fn permille(self) -> u32 {
        self.0 * 1000 / Self::ONE
    }
}

impl fmt::Debug for Ema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}‰", self.permille())
    }
}
