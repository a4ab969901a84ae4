//! How sizes are counted, and a request in that count.

use super::placement::Placement;
use core::fmt;

/// How a [`Tlsf`](super::Tlsf) counts and classes sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Every offset and size is a multiple of this many bytes; a power of two.
    pub granule: u64,
    /// Each power of two of sizes is cut into `2^second_level_bits` bins; 3 to 6.
    pub second_level_bits: u8,
    /// Where requests are placed.
    pub placement: Placement,
}

impl Default for Config {
    fn default() -> Self {
        Self { granule: 256, second_level_bits: 5, placement: Placement::FAST }
    }
}

impl Config {
    /// A request in granules; `None` when it exceeds what any region could hold.
    #[inline]
    #[must_use]
    pub fn need(&self, bytes: u64, alignment: u64) -> Option<Need> {
        let granule_bits = self.granule.trailing_zeros();
        let units = bytes.checked_add(self.granule.saturating_sub(1))?.checked_shr(granule_bits)?;
        let align = alignment.checked_shr(granule_bits)?.max(1);
        let units = u32::try_from(units).ok()?.max(1);
        let align = u32::try_from(align).ok()?;
        units.checked_add(align - 1)?;
        Some(Need::new(units, align, self.placement.is_large(bytes)))
    }
}

/// A request in granules.
///
/// One word, because it is handed down through every search: a struct of parts would be written and read again
/// at each step.
#[derive(Clone, Copy)]
pub struct Need(u64);

impl Need {
    const ALIGN_SHIFT: u32 = 32;
    const LARGE: u64 = 1 << 63;

    /// `align` is a power of two.
    #[inline(always)]
    pub(super) const fn new(units: u32, align: u32, large: bool) -> Self {
        let large = if large { Self::LARGE } else { 0 };
        Self(units as u64 | (align.trailing_zeros() as u64) << Self::ALIGN_SHIFT | large)
    }

    /// Bytes that will be taken, in granules of the allocator.
    #[inline(always)]
    #[must_use]
    pub const fn units(self) -> u32 {
        self.0 as u32
    }

    /// Alignment in granules, a power of two.
    #[inline(always)]
    pub(crate) const fn align(self) -> u32 {
        1 << ((self.0 >> Self::ALIGN_SHIFT) as u32 & 31)
    }

    /// Whether it follows the rule for large requests.
    #[inline(always)]
    pub(super) const fn is_large(self) -> bool {
        self.0 & Self::LARGE != 0
    }
}

impl fmt::Debug for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Need")
            .field("units", &self.units())
            .field("align", &self.align())
            .field("large", &self.is_large())
            .finish()
    }
}
