//! Numbers of a seed, to draw from.

use super::draw::Draw;
use super::split_mix::SplitMix;

/// Numbers from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    numbers: SplitMix,
    bytes: u64,
    left: u32,
}

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { numbers: SplitMix::new(seed), bytes: 0, left: 0 }
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.numbers.next()
    }
}

impl Draw for Dice {
    fn byte(&mut self) -> u8 {
        if self.left == 0 {
            (self.bytes, self.left) = (self.next(), 8);
        }
        self.left -= 1;
        let byte = self.bytes as u8;
        self.bytes >>= 8;
        byte
    }
}
