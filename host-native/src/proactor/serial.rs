//! Maps from serial numbers, which need no hash that resists attack: nobody chooses them.

use core::hash::{BuildHasherDefault, Hasher};
use std::collections::HashMap;

/// A map by serial number or address.
pub(super) type SerialMap<K, V> = HashMap<K, V, BuildHasherDefault<Multiply>>;

/// Multiplies by the golden ratio (Knuth, The Art of Computer Programming 3, 6.4): neighbouring numbers
/// get far apart in the upper bits, of which the map takes its control bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Multiply(u64);

impl Hasher for Multiply {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let product = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}
