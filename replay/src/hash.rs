//! A map for keys that are numbers: two multiplications a key, where the standard library's hash takes a dozen steps.
//!
//! Keys come out of files, and a file may be made to let them collide. So each process multiplies by a number of its own, and both halves
//! of the product count. Cost: about 1 ns a key.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

/// A map by numbers.
pub type FastMap<K, V> = HashMap<K, V, Seed>;

static SEED: LazyLock<[u64; 2]> =
    LazyLock::new(|| [0u64, 1].map(|number| RandomState::new().hash_one(number) | 1));

/// Makes hashers of this process.
#[derive(Clone, Copy, Debug)]
pub struct Seed([u64; 2]);

impl Default for Seed {
    fn default() -> Self {
        Self(*SEED)
    }
}

impl BuildHasher for Seed {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded { state: self.0[0], factor: self.0[1] }
    }
}

/// Folds numbers, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Folded {
    state: u64,
    factor: u64,
}

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        // Once more: after one, evenly spaced keys still lie unevenly.
        fold(self.state, self.factor.rotate_left(32) | 1)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        // Fewer than eight bytes are left: with the length in the highest one, "a" and "a\0" differ.
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.write_u64(u64::from_le_bytes(last) ^ (bytes.len() as u64).rotate_right(8));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.state = fold(self.state ^ number, self.factor);
    }
}

/// Both halves of a product.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses are multiples of 512, and often of 2 MiB: the low bits, which pick the place, must differ all the same.
    #[test]
    fn multiples_spread() {
        for step in [1u64, 512, 2 << 20, 1 << 40] {
            let mut places = [0u32; 256];
            for number in 0..4096u64 {
                let hash = Seed::default().hash_one(number.wrapping_mul(step));
                places[hash as usize % 256] += 1;
            }
            // 16 each; by chance alone 50 does not happen.
            assert!(places.iter().all(|&count| count < 50), "{step}: {places:?}");
        }
        let of = |text: &str| Seed::default().hash_one(text);
        assert_ne!(of("ab"), of("a"));
    }
}
