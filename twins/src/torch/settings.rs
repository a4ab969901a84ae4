//! The settings of PyTorch's allocator that change where blocks are placed, and the arithmetic of sizes.
//!
//! Source: pytorch/pytorch, `c10/core/AllocatorConfig.{h,cpp}` (options and their ranges) and `round_size`,
//! `roundup_power2_next_division`, `get_allocation_size` of `c10/cuda/CUDACachingAllocator.cpp`, as of 2.4 to 2.10.
//!
//! | option | default | here |
//! | --- | --- | --- |
//! | `max_split_size_mb` | none; at least 20 | [`Settings::max_split`] |
//! | `max_non_split_rounding_mb` | 20; at least 20 | [`Settings::max_non_split_rounding`] |
//! | `roundup_power2_divisions` | none | [`Settings::divisions`], one for each power of two from 1 MiB to 32 GiB |
//! | `garbage_collection_threshold` | 0, off | [`Settings::gc_threshold`], with [`Settings::limit`] |
//! | `expandable_segments` | False | [`Settings::expandable`] |
//! | `large_segment_size_mb` (2.9) | 20 | [`Settings::large_segment`] |

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// 1 MiB, the unit of the options.
pub const MIB: u64 = 1 << 20;
/// Sizes are multiples of this, in bytes.
pub const MIN_BLOCK: u64 = 512;
/// The largest request of the small pool, in bytes.
pub const SMALL_SIZE: u64 = MIB;
/// A segment of the small pool, in bytes.
pub const SMALL_SEGMENT: u64 = 2 * MIB;
/// Requests from this many bytes have a segment of their own size.
pub const MIN_LARGE: u64 = 10 * MIB;
/// Sizes of such segments are multiples of this, in bytes.
pub const ROUND_LARGE: u64 = 2 * MIB;
/// The largest request that is looked for at all: what is above fits no device, and its arithmetic no u64.
const ABSURD: u64 = 1 << 60;

/// What PyTorch's allocator was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Blocks of this many bytes and more are never split. `u64::MAX`: none.
    pub max_split: u64,
    /// A block that is not split may exceed its request by less than this, in bytes.
    pub max_non_split_rounding: u64,
    /// Into how many steps each power of two is divided, from 1 MiB (and all below) to 32 GiB (and all above). 0 and 1: none.
    pub divisions: [u64; 16],
    /// Cached segments are given back once this share of [`limit`](Self::limit) is reserved. 0: never.
    pub gc_threshold: f64,
    /// Segments grow page by page.
    pub expandable: bool,
    /// The segment that requests from 1 to 10 MiB share, and the large pool's page, in bytes.
    pub large_segment: u64,
    /// The most bytes that the allocator may reserve (`set_per_process_memory_fraction`).
    pub limit: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_split: u64::MAX,
            max_non_split_rounding: 20 * MIB,
            divisions: [0; 16],
            gc_threshold: 0.0,
            expandable: false,
            large_segment: 20 * MIB,
            limit: None,
        }
    }
}

impl Settings {
    /// Reads a line as `PYTORCH_CUDA_ALLOC_CONF` has it. Options that do not move blocks are passed over.
    ///
    /// # Errors
    /// The line does not parse, or a value is out of range, in words.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        let mut rest = line.trim();
        while !rest.is_empty() {
            let (key, after) =
                rest.split_once(':').ok_or_else(|| format!("`{rest}`: expected `option:value`"))?;
            let after = after.trim_start();
            let (value, more) = match after.strip_prefix('[') {
                Some(list) => {
                    let (list, more) =
                        list.split_once(']').ok_or_else(|| format!("`{after}`: no closing `]`"))?;
                    (list, more.trim_start().strip_prefix(',').unwrap_or(more))
                }
                None => after.split_once(',').unwrap_or((after, "")),
            };
            settings.set(key.trim(), value.trim(), after.starts_with('['))?;
            rest = more.trim();
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &str, list: bool) -> Result<(), String> {
        let wrong = |expected: &str| format!("`{key}:{value}`: expected {expected}");
        let mib = || match value.parse::<u64>() {
            Ok(n) if (20..=1 << 40).contains(&n) => Ok(n * MIB),
            _ => Err(wrong("a number of MiB from 20")),
        };
        match key {
            "max_split_size_mb" => self.max_split = mib()?,
            "max_non_split_rounding_mb" => self.max_non_split_rounding = mib()?,
            "large_segment_size_mb" => {
                let n = value.parse::<u64>().ok().filter(|n| (2..=1 << 20).contains(n));
                self.large_segment = n.ok_or_else(|| wrong("a number of MiB from 2"))? * MIB;
            }
            "garbage_collection_threshold" => {
                let share = value.parse::<f64>().ok().filter(|&n| n > 0.0 && n < 1.0);
                self.gc_threshold = share.ok_or_else(|| wrong("a number between 0 and 1"))?;
            }
            "expandable_segments" => {
                self.expandable = match value {
                    "True" | "true" => true,
                    "False" | "false" => false,
                    _ => return Err(wrong("True or False")),
                };
            }
            "roundup_power2_divisions" if list => self.divide(value)?,
            "roundup_power2_divisions" => {
                let n = value.parse::<u64>().ok().filter(|n| n.is_power_of_two());
                self.divisions = [n.ok_or_else(|| wrong("a power of two"))?; 16];
            }
            _ => {}
        }
        Ok(())
    }

    /// `256:1,512:2,>:4`: steps for each power of two in MiB, and for all from the last one on.
    fn divide(&mut self, list: &str) -> Result<(), String> {
        let wrong = |pair: &str| {
            format!(
                "`{pair}`: expected a power of two in MiB, or >, then `:` and a power of two or 0"
            )
        };
        let (mut first, mut last) = (true, 0);
        for pair in list.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (from, steps) = pair.split_once(':').ok_or_else(|| wrong(pair))?;
            let steps = steps.trim().parse::<u64>().map_err(|_| wrong(pair))?;
            if steps != 0 && !steps.is_power_of_two() {
                return Err(wrong(pair));
            }
            if from.trim() == ">" {
                self.divisions[last..].fill(steps);
                continue;
            }
            let from = from.trim().parse::<u64>().ok().filter(|n| n.is_power_of_two());
            let index = (from.ok_or_else(|| wrong(pair))?.ilog2() as usize).min(15);
            if first {
                self.divisions[..index].fill(steps);
                first = false;
            }
            self.divisions[index] = steps;
            last = index;
        }
        Ok(())
    }

    /// The bytes that a block for `size` bytes has at least. Absurd sizes give `None`.
    #[must_use]
    pub fn round(&self, size: u64) -> Option<u64> {
        if size < MIN_BLOCK {
            return Some(MIN_BLOCK);
        }
        if size > ABSURD {
            return None;
        }
        let index = size.ilog2().saturating_sub(20).min(15) as usize;
        let steps = self.divisions[index];
        if steps > 1 && steps.checked_mul(MIN_BLOCK).is_some_and(|least| size > least) {
            return Some(round_to_step(size, steps));
        }
        Some(size.next_multiple_of(MIN_BLOCK))
    }

    /// The bytes of the segment that is asked for when a block of `size` (rounded) bytes is not cached.
    #[must_use]
    pub fn segment(&self, size: u64) -> u64 {
        if size <= SMALL_SIZE {
            SMALL_SEGMENT
        } else if size < MIN_LARGE {
            // A segment that could not hold its request would be no segment.
            self.large_segment.max(size.next_multiple_of(ROUND_LARGE))
        } else {
            size.next_multiple_of(ROUND_LARGE)
        }
    }

    /// A page of an expandable segment, in bytes.
    #[must_use]
    pub fn page(&self, small: bool) -> u64 {
        if small { SMALL_SEGMENT } else { self.large_segment.max(ROUND_LARGE) }
    }

    /// What differs from the defaults, as `PYTORCH_CUDA_ALLOC_CONF` takes it; empty if nothing does.
    #[must_use]
    pub fn conf(&self) -> String {
        let mut parts = Vec::new();
        if self.expandable {
            parts.push("expandable_segments:True".to_owned());
        }
        if self.max_split != u64::MAX {
            parts.push(format!("max_split_size_mb:{}", self.max_split / MIB));
        }
        if self.max_non_split_rounding != 20 * MIB {
            parts.push(format!("max_non_split_rounding_mb:{}", self.max_non_split_rounding / MIB));
        }
        if self.large_segment != 20 * MIB {
            parts.push(format!("large_segment_size_mb:{}", self.large_segment / MIB));
        }
        let steps = self.divisions;
        if steps.iter().all(|&n| n == steps[0]) {
            if steps[0] > 1 {
                parts.push(format!("roundup_power2_divisions:{}", steps[0]));
            }
        } else {
            let pairs: Vec<String> =
                steps.iter().enumerate().map(|(i, n)| format!("{}:{n}", 1u64 << i)).collect();
            parts.push(format!("roundup_power2_divisions:[{}]", pairs.join(",")));
        }
        if self.gc_threshold > 0.0 {
            parts.push(format!("garbage_collection_threshold:{}", self.gc_threshold));
        }
        parts.join(",")
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conf = self.conf();
        f.write_str(if conf.is_empty() { "defaults" } else { &conf })
    }
}

/// Rounds up to one of `steps` (a power of two) equal steps between two powers of two.
fn round_to_step(size: u64, steps: u64) -> u64 {
    if size.is_power_of_two() {
        return size;
    }
    let floor = 1 << size.ilog2();
    match floor >> steps.ilog2() {
        0 => floor << 1,
        step => size.next_multiple_of(step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_as_the_source_says() {
        let plain = Settings::default();
        for (size, rounded) in [(0, 512), (1, 512), (512, 512), (513, 1024), (MIB + 1, MIB + 512)] {
            assert_eq!(plain.round(size), Some(rounded), "{size}");
        }
        let four = Settings::parse("roundup_power2_divisions:4").unwrap();
        // The source's own example: 1200 with 4 divisions is 1280. Sizes up to 512 × divisions stay as they are.
        assert_eq!(round_to_step(1200, 4), 1280);
        assert_eq!(four.round(1200), Some(1536));
        assert_eq!(four.round(3000), Some(3072));
        assert_eq!(four.round(5 * MIB + 1), Some(6 * MIB));
        assert_eq!(four.round(4 * MIB), Some(4 * MIB));
        assert_eq!(plain.round(u64::MAX), None);
    }

    #[test]
    fn segments_have_the_sizes_that_the_source_says() {
        let plain = Settings::default();
        for (size, segment) in [
            (512, 2 * MIB),
            (MIB, 2 * MIB),
            (MIB + 512, 20 * MIB),
            (10 * MIB - 512, 20 * MIB),
            (10 * MIB, 10 * MIB),
            (11 * MIB, 12 * MIB),
            (91 * MIB, 92 * MIB),
        ] {
            assert_eq!(plain.segment(size), segment, "{size}");
        }
    }

    #[test]
    fn lines_go_out_and_in() {
        for line in [
            "",
            "expandable_segments:True",
            "max_split_size_mb:128,garbage_collection_threshold:0.8",
            "expandable_segments:True,large_segment_size_mb:12,roundup_power2_divisions:8",
        ] {
            let settings = Settings::parse(line).unwrap();
            assert_eq!(Settings::parse(&settings.conf()).unwrap(), settings, "{line}");
        }
        let listed =
            Settings::parse("roundup_power2_divisions:[256:1,512:2,1024:4,>:8], backend:native");
        let listed = listed.unwrap();
        assert_eq!(listed.divisions[..8], [1; 8]);
        assert_eq!(listed.divisions[8..], [1, 2, 8, 8, 8, 8, 8, 8]);
        assert_eq!(Settings::parse(&listed.conf()).unwrap(), listed);
    }

    #[test]
    fn absurd_lines_are_refused_in_words() {
        for line in [
            "max_split_size_mb:1",
            "max_split_size_mb:18446744073709551615",
            "max_split_size_mb",
            "roundup_power2_divisions:3",
            "roundup_power2_divisions:[256:1",
            "roundup_power2_divisions:[3:1]",
            "expandable_segments:perhaps",
            "garbage_collection_threshold:2",
            "garbage_collection_threshold:NaN",
        ] {
            assert!(Settings::parse(line).is_err(), "{line}");
        }
    }
}
