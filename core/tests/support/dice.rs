//! Numbers of a seed, to draw from.

use super::draw::Draw;

/// Numbers from a seed (Steele, Lea, Flood: SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    state: u64,
    bytes: u64,
    left: u32,
}

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed, bytes: 0, left: 0 }
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
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
