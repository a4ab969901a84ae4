//! The blocks of a run over time: since when each lives, when it is given back and over, and whose it is. For a picture.
//!
//! Events count from 1, as in a replay and as entries of a snapshot do; a block that was there before the first lives since 0. A block is
//! *allocated* from its event on until it is given back, and *active* until it is over.
//!
//! **Packed** ([`Lives::to_bytes`]): little-endian, columns as in [`recording`](crate::recording). Four `u32`: magic `SLB1`, blocks, 0, 0. Then
//! `f64` columns: bytes, requested, address (0: not known); then `u32` columns: from, given back, over (all ones: never), stream, call stack.
//!
//! Cost: O(1) a step, 44 bytes a block.

use crate::validate::{Step, What};

const MAGIC: [u8; 4] = *b"SLB1";

/// An event that does not come.
pub const NEVER: u32 = u32::MAX;

/// A block over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The event that allocates it; 0: before the first.
    pub from: u32,
    /// The event by which the program gives it back, or [`NEVER`].
    pub retired: u32,
    /// The event by which it is over, or [`NEVER`].
    pub over: u32,
    /// Its bytes.
    pub bytes: u64,
    /// Bytes asked for.
    pub requested: u64,
    /// Where it is; 0 if that is not known.
    pub address: u64,
    /// Dense number of its stream.
    pub stream: u32,
    /// Its call stack, by its number; 0: none.
    pub stack: u32,
}

/// All blocks of a run, in the order of their allocations.
#[derive(Clone, Debug, Default)]
pub struct Lives {
    all: Vec<Life>,
    /// By slot, the block that is in it.
    slots: Vec<u32>,
}

impl Lives {
    /// None yet, with room for so many.
    #[must_use]
    pub fn with_capacity(blocks: usize) -> Self {
        Self { all: Vec::with_capacity(blocks), slots: Vec::new() }
    }

    /// Sees a step of a trace: `event` is its number.
    pub fn see(&mut self, event: u32, step: &Step) {
        match step.what {
            What::Alloc(slot) | What::Held(slot) => {
                let slot = slot as usize;
                if self.slots.len() <= slot {
                    self.slots.resize(slot + 1, NEVER);
                }
                let held = matches!(step.what, What::Held(_));
                self.slots[slot] = self.add(Life {
                    from: event,
                    retired: if held { event } else { NEVER },
                    over: NEVER,
                    bytes: step.size,
                    requested: step.size,
                    address: 0,
                    stream: step.stream,
                    stack: 0,
                });
            }
            What::Retire(slot) => self.retire(self.slots[slot as usize], event),
            What::Free(slot) => self.end(self.slots[slot as usize], event),
            What::Failure => {}
        }
    }

    /// Adds a block; returns its number.
    pub fn add(&mut self, life: Life) -> u32 {
        let number = u32::try_from(self.all.len()).unwrap_or(NEVER);
        self.all.push(life);
        number
    }

    /// A block is given back.
    pub fn retire(&mut self, number: u32, event: u32) {
        if let Some(life) = self.all.get_mut(number as usize) {
            life.retired = life.retired.min(event);
        }
    }

    /// A block is over, and given back if it was not before.
    pub fn end(&mut self, number: u32, event: u32) {
        if let Some(life) = self.all.get_mut(number as usize) {
            life.retired = life.retired.min(event);
            life.over = life.over.min(event);
        }
    }

    /// The blocks.
    #[must_use]
    pub fn all(&self) -> &[Life] {
        &self.all
    }

    /// The blocks, packed; see the [module](self).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 44 * self.all.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&(self.all.len() as u32).to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        let floats: [fn(&Life) -> u64; 3] = [|l| l.bytes, |l| l.requested, |l| l.address];
        for of in floats {
            self.all
                .iter()
                .for_each(|life| out.extend_from_slice(&(of(life) as f64).to_le_bytes()));
        }
        let words: [fn(&Life) -> u32; 5] =
            [|l| l.from, |l| l.retired, |l| l.over, |l| l.stream, |l| l.stack];
        for of in words {
            self.all.iter().for_each(|life| out.extend_from_slice(&of(life).to_le_bytes()));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(what: What, size: u64) -> Step {
        Step { time_ns: 0, size, what, stream: 3, line: 0 }
    }

    #[test]
    fn a_block_is_given_back_and_then_over() {
        let mut lives = Lives::default();
        lives.see(1, &step(What::Alloc(0), 10));
        lives.see(2, &step(What::Held(1), 20));
        lives.see(3, &step(What::Retire(0), 10));
        lives.see(5, &step(What::Free(0), 10));
        lives.see(6, &step(What::Failure, 99));
        lives.see(7, &step(What::Alloc(0), 30));
        lives.see(8, &step(What::Free(0), 30));
        let told: Vec<_> =
            lives.all().iter().map(|l| (l.from, l.retired, l.over, l.bytes)).collect();
        assert_eq!(told, [(1, 3, 5, 10), (2, 2, NEVER, 20), (7, 8, 8, 30)]);
        let bytes = lives.to_bytes();
        assert_eq!((&bytes[..4], bytes.len()), (&b"SLB1"[..], 16 + 44 * 3));
        assert_eq!(bytes[16..24], 10f64.to_le_bytes());
        assert_eq!(bytes[16 + 72 + 12..][..4], 3u32.to_le_bytes());
    }
}
