//! A load that nobody recorded: seeded, and made up while it is read.
//!
//! ```text
//!   seed ─▶ alloc, alloc, free, alloc, free … ─▶ lines of the compact format ─▶ whoever reads a trace
//! ```
//!
//! It fills up to about `blocks` live blocks and then replaces them one at a time. Sizes are spread evenly over the powers of two
//! between the least and the most, as real sizes are: few large blocks, many small ones. The last blocks stay live. The same options
//! are the same bytes on every machine.

use crate::session::{Input, SessionError};
use std::fmt::Write as _;
use std::io::{self, Read};
use std::sync::Arc;

/// Most live blocks of a load.
pub const MAX_BLOCKS: u32 = 1 << 20;

/// What a load is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synthetic {
    /// Chooses one of many loads that are alike.
    pub seed: u64,
    /// Blocks live at once, about; 1 to [`MAX_BLOCKS`].
    pub blocks: u32,
    /// The smallest block, in bytes, at least 1.
    pub min_bytes: u64,
    /// The largest block, in bytes; at most 2^40.
    pub max_bytes: u64,
    /// Events until it ends, at least 1.
    pub events: u64,
}

impl Default for Synthetic {
    /// 10,000 events over 256 blocks of 1 KiB to 4 MiB.
    fn default() -> Self {
        Self { seed: 1, blocks: 256, min_bytes: 1 << 10, max_bytes: 4 << 20, events: 10_000 }
    }
}

impl Synthetic {
    /// The load as something to read.
    ///
    /// # Errors
    /// An option is out of range; the text says which.
    pub fn into_input(self) -> Result<Arc<dyn Input>, SessionError> {
        let wrong = |what: &str| Err(SessionError::Options(format!("synthetic load: {what}")));
        if self.events == 0 || self.events > u64::from(u32::MAX) {
            return wrong("events must be between 1 and 4294967295");
        }
        if self.blocks == 0 || self.blocks > MAX_BLOCKS {
            return wrong("blocks must be between 1 and 1048576");
        }
        if self.min_bytes == 0 || self.min_bytes > self.max_bytes || self.max_bytes > 1 << 40 {
            return wrong("sizes must be between 1 and 2^40 bytes, the least not above the most");
        }
        Ok(Arc::new(self))
    }
}

impl Input for Synthetic {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Text {
            load: *self,
            random: Random::new(self.seed),
            live: Vec::new(),
            event: 0,
            line: "time_ns,action,id,size,stream,thread\n".to_owned(),
            given: 0,
        }))
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is above 0. The bias is below 2^-20 for what is asked here.
    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }
}

/// The load as text.
#[derive(Debug)]
struct Text {
    load: Synthetic,
    random: Random,
    /// Id and size of what is live.
    live: Vec<(u64, u64)>,
    event: u64,
    line: String,
    given: usize,
}

impl Text {
    /// Evenly over the powers of two, and evenly within one; whole numbers only, so that every machine agrees.
    fn size(&mut self) -> u64 {
        let Synthetic { min_bytes, max_bytes, .. } = self.load;
        let (low, high) = (min_bytes.ilog2(), max_bytes.ilog2());
        let power = low + self.random.below(u64::from(high - low) + 1) as u32;
        let from = min_bytes.max(1 << power);
        let to = max_bytes.min((2 << power) - 1);
        from + self.random.below(to - from + 1)
    }

    /// The next line, if there is one.
    fn next_line(&mut self) {
        self.line.clear();
        self.given = 0;
        if self.event == self.load.events {
            return;
        }
        self.event += 1;
        let full = self.live.len() as u64 >= u64::from(self.load.blocks);
        // While it fills up there is a free now and then, so that the order of what is live is mixed from the beginning.
        let free = full || !self.live.is_empty() && self.random.below(8) == 0;
        let (action, id, size) = if free {
            let at = self.random.below(self.live.len() as u64) as usize;
            let (id, size) = self.live.swap_remove(at);
            ("free", id, size)
        } else {
            let block = (self.event, self.size());
            self.live.push(block);
            ("alloc", block.0, block.1)
        };
        // Writing to a text cannot fail.
        let _ = writeln!(self.line, "{},{action},{id},{size},0,0", self.event * 1000);
    }
}

impl Read for Text {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            if self.given == self.line.len() {
                self.next_line();
                if self.line.is_empty() {
                    break;
                }
            }
            let rest = &self.line.as_bytes()[self.given..];
            let count = rest.len().min(out.len() - filled);
            out[filled..filled + count].copy_from_slice(&rest[..count]);
            self.given += count;
            filled += count;
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Format, ReadOptions};
    use crate::session::TraceFile;
    use proptest::prelude::*;

    fn text(load: Synthetic) -> String {
        let mut text = String::new();
        load.into_input().unwrap().open().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_load_is_a_sound_trace_of_its_options(
            seed: u64, blocks in 1u32..300, min in 1u64..5000, more in 0u64..(1 << 30), events in 1u64..2000
        ) {
            let load = Synthetic { seed, blocks, min_bytes: min, max_bytes: min + more, events };
            prop_assert_eq!(text(load), text(load));
            let trace = TraceFile::of("load", load.into_input().unwrap(), ReadOptions::default());
            let scan = trace.scan(&mut |_| ()).unwrap();
            prop_assert_eq!(scan.format, Format::Compact);
            prop_assert_eq!(scan.totals.events, events);
            prop_assert!(scan.totals.peak_live_blocks <= blocks);
            prop_assert!(scan.sizes.smallest >= min && scan.sizes.largest <= min + more);
        }
    }

    #[test]
    fn it_fills_up_and_seeds_differ() {
        let load = Synthetic::default();
        let trace = TraceFile::of("load", load.into_input().unwrap(), ReadOptions::default());
        let scan = trace.scan(&mut |_| ()).unwrap();
        assert_eq!(scan.totals.peak_live_blocks, load.blocks);
        assert_ne!(text(load), text(Synthetic { seed: 2, ..load }));
        assert!(text(load).starts_with("time_ns,action,id,size,stream,thread\n1000,alloc,1,"));
    }

    #[test]
    fn options_out_of_range_are_named() {
        let load = Synthetic::default();
        for (wrong, name) in [
            (Synthetic { events: 0, ..load }, "events"),
            (Synthetic { blocks: 0, ..load }, "blocks"),
            (Synthetic { blocks: MAX_BLOCKS + 1, ..load }, "blocks"),
            (Synthetic { min_bytes: 0, ..load }, "sizes"),
            (Synthetic { min_bytes: 9, max_bytes: 8, ..load }, "sizes"),
            (Synthetic { max_bytes: u64::MAX, ..load }, "sizes"),
        ] {
            let error = wrong.into_input().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
