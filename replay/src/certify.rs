//! Does the twin reproduce the recorded run? A recording is played through PyTorch's twin, and every answer compared.
//!
//! ```text
//!   segments at the end ─▶ walk back ─▶ start ─▶ Torch ◀─▶ recorded driver: addresses and refusals of the file
//!                                                  │
//!   entries, in order ─────────────────────────────┴─▶ Certificate: reproduced, of how many, first difference
//! ```
//!
//! **What is compared**: the address of each `alloc`; each new segment and mapping by size and stream (mappings by address
//! too); each sweep by the segments that went back, in their order; the reserved bytes at each of these. **After a
//! difference** the file is right: the block, segment or page is put where the file has it, so that the rest still counts.
//!
//! **What a file does not say**: which call a segment served (the next `alloc` or `oom` is taken); whether segments went back because of
//! `empty_cache` or of a refusal (the model decides by whether it has a cached block for what follows); to which private
//! pool a request went (the segment of its recorded address is taken, and counted in the notes).
//!
//! Cost: that of the twin, and O(log n) for the walk back. A correction costs O(blocks).

mod driver;
mod infer;
mod run;
mod start;
#[cfg(test)]
mod tests;

pub use infer::certify;
pub use run::{Entries, Live, Moment, Run};

use crate::snapshot::Action;
use strandline_twins::torch::Settings;

/// Bytes of addresses that an expandable range is taken to have: more than any device's memory.
const RANGE: u64 = 1 << 42;

/// So many reproduced, of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// How many were met exactly.
    pub reproduced: u64,
    /// How many the file has.
    pub of: u64,
}

impl Score {
    fn add(&mut self, met: bool) {
        self.of += 1;
        self.reproduced += u64::from(met);
    }

    /// Whether all were met.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.reproduced == self.of
    }
}

impl core::fmt::Display for Score {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} of {}", self.reproduced, self.of)
    }
}

/// Where the settings of a certificate come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The file states them.
    File,
    /// The file states none: these are the defaults, or those that reproduce most of it.
    Inferred,
    /// The caller gave them.
    Given,
}

impl Source {
    /// One word for reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Inferred => "inferred",
            Self::Given => "given",
        }
    }
}

/// Where a run first left the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The entry, counted from 1.
    pub entry: u32,
    /// What differs, in words.
    pub what: String,
}

impl Difference {
    /// The entry's place in the file's list, counted from 0.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.entry.saturating_sub(1)
    }
}

/// How far the twin reproduced a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// The settings.
    pub settings: Settings,
    /// Where they come from.
    pub source: Source,
    /// Addresses of allocations.
    pub addresses: Score,
    /// New segments.
    pub segments: Score,
    /// Mappings of expandable segments.
    pub maps: Score,
    /// Segments that went back.
    pub frees: Score,
    /// Unmappings of expandable segments.
    pub unmaps: Score,
    /// Sweeps: groups of segments and pages that went back together.
    pub sweeps: Score,
    /// Reserved bytes after each new, freed, mapped or unmapped segment.
    pub reserved: Score,
    /// The first difference.
    pub first_difference: Option<Difference>,
    /// Why not a single address could be compared, in words: that is the file's doing, not the model's.
    pub nothing_to_compare: Option<&'static str>,
    /// What could not be compared, or was taken from the file, in words.
    pub notes: Vec<String>,
}

impl Certificate {
    fn new(settings: Settings, source: Source) -> Self {
        Self {
            settings,
            source,
            addresses: Score::default(),
            segments: Score::default(),
            maps: Score::default(),
            frees: Score::default(),
            unmaps: Score::default(),
            sweeps: Score::default(),
            reserved: Score::default(),
            first_difference: None,
            nothing_to_compare: None,
            notes: Vec::new(),
        }
    }

    /// Whether everything was reproduced, and there was something to reproduce.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let scores = [
            self.addresses,
            self.segments,
            self.maps,
            self.frees,
            self.unmaps,
            self.sweeps,
            self.reserved,
        ];
        self.first_difference.is_none()
            && self.addresses.of > 0
            && scores.iter().all(Score::is_whole)
    }

    fn score(&mut self, action: Action) -> &mut Score {
        match action {
            Action::SegmentAlloc => &mut self.segments,
            Action::SegmentFree => &mut self.frees,
            Action::SegmentMap => &mut self.maps,
            Action::SegmentUnmap => &mut self.unmaps,
            _ => &mut self.addresses,
        }
    }

    #[cold]
    fn differs(&mut self, entry: usize, what: impl FnOnce() -> String) {
        if self.first_difference.is_none() {
            let entry = u32::try_from(entry).unwrap_or(u32::MAX);
            self.first_difference = Some(Difference { entry, what: what() });
        }
    }
}
