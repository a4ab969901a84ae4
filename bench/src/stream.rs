//! Operation streams, made once and given to every contender: sizes, and which live block dies.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a generator of one word, the same on every machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// From any seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`; the bias is below 2^-32 for bounds below 2^32.
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.next_u64() as u128 * bound as u128) >> 64) as u64
    }

    /// Log-uniform between `low` and `high` bytes, rounded up to a multiple of 256: every doubling is
    /// equally likely.
    pub fn log_uniform(&mut self, low: u64, high: u64) -> u64 {
        let unit = (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let size = low as f64 * (high as f64 / low as f64).powf(unit);
        (size as u64).clamp(low, high).next_multiple_of(256)
    }
}

/// One step of a churn: the block in `slot` dies, then a block of `size` bytes takes the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swap {
    /// Which of the live blocks.
    pub slot: u32,
    /// Bytes of its successor.
    pub size: u32,
}

/// A churn at a constant number of live blocks.
#[derive(Clone, Debug)]
pub struct Churn {
    /// Sizes of the blocks that live at the start, by slot.
    pub start: Vec<u32>,
    /// The steps, to be repeated in a circle: more than a branch predictor can learn.
    pub swaps: Vec<Swap>,
}

impl Churn {
    /// `live` blocks, sizes log-uniform from 256 B to 1 MiB, random victims.
    #[must_use]
    pub fn mixed(live: u32) -> Self {
        let mut rng = Rng::new(0x5eed_0000 + u64::from(live));
        let size = |rng: &mut Rng| rng.log_uniform(256, 1 << 20) as u32;
        let start = (0..live).map(|_| size(&mut rng)).collect();
        let swaps = (0..1 << 15)
            .map(|_| Swap { slot: rng.below(u64::from(live)) as u32, size: size(&mut rng) })
            .collect();
        Self { start, swaps }
    }

    /// The same with blocks of one size.
    #[must_use]
    pub fn uniform(live: u32, size: u32) -> Self {
        let mut churn = Self::mixed(live);
        churn.start.fill(size);
        for swap in &mut churn.swaps {
            swap.size = size;
        }
        churn
    }

    /// The most bytes that are ever live, as the circle is run through again and again.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        let mut sizes: Vec<u64> = self.start.iter().map(|&size| size.into()).collect();
        let mut live: u64 = sizes.iter().sum();
        let mut peak = live;
        // From the second time round on, the sizes repeat.
        for _ in 0..2 {
            for swap in &self.swaps {
                let size = &mut sizes[swap.slot as usize];
                live = live - *size + u64::from(swap.size);
                *size = swap.size.into();
                peak = peak.max(live);
            }
        }
        peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_range_and_every_doubling_is_as_likely() {
        let mut rng = Rng::new(1);
        let mut octaves = [0_u32; 13];
        for _ in 0..12_000 {
            let size = rng.log_uniform(256, 1 << 20);
            assert!((256..=1 << 20).contains(&size) && size.is_multiple_of(256));
            octaves[(size.ilog2() - 8) as usize] += 1;
        }
        // Rounding up moves some of the smallest up an octave; the rest are near 1,000 each.
        assert!(octaves[4..12].iter().all(|&n| (850..1_150).contains(&n)), "{octaves:?}");
    }

    #[test]
    fn a_churn_is_the_same_every_time() {
        assert_eq!(Churn::mixed(100).swaps, Churn::mixed(100).swaps);
        let churn = Churn::uniform(10, 512);
        assert_eq!(churn.peak_bytes(), 5_120);
    }
}
