//! The oracle: an interval map of live ranges and one of deaths, for each slab.
//!
//! It believes what the program does, never what the pool says. A range's death stands until the bytes are
//! released again; taking a range does not change it, so a cancel needs no undoing.

use std::collections::BTreeMap;
use strandline_core::inspect::{BlockState, BlockView};
use strandline_core::{Entry, Frontier, FrontierRef, SlabId};

/// What a byte waits for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    After(Frontier),
    Unknown,
}

#[derive(Debug, Default)]
struct Bytes {
    /// Start → end and bytes asked for.
    live: BTreeMap<u64, u64>,
    /// Start → end and death. Ranges do not overlap; what is missing waits for nothing.
    fates: BTreeMap<u64, (u64, Fate)>,
}

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    slabs: BTreeMap<SlabId, Bytes>,
    pub(crate) live: u64,
    pub(crate) requested: u64,
}

type Verdict = Result<(), String>;

impl Oracle {
    /// Bytes were handed out, to be used once everything is covered that `covered` says no to.
    pub(crate) fn take(
        &mut self,
        slab: SlabId,
        offset: u64,
        size: u64,
        covered: impl Fn(Entry) -> bool,
    ) -> Verdict {
        let bytes = self.slabs.entry(slab).or_default();
        let end = offset + size;
        if let Some((start, stop)) = bytes.live.range(..end).next_back()
            && *stop > offset
        {
            return Err(format!("{slab:?} {offset}..{end} overlaps {start}..{stop}"));
        }
        for (start, (stop, fate)) in overlapping(&bytes.fates, offset, end) {
            let fine = match fate {
                Fate::After(frontier) => frontier.as_ref().entries().iter().all(|e| covered(*e)),
                Fate::Unknown => false,
            };
            if !fine {
                let range = format!("{slab:?} {start}..{stop}");
                return Err(format!("{range} handed out too early: {fate:?}"));
            }
        }
        bytes.live.insert(offset, end);
        self.live += 1;
        self.requested += size;
        Ok(())
    }

    /// The range was given back unused.
    pub(crate) fn cancel(&mut self, slab: SlabId, offset: u64, size: u64) {
        let bytes = self.slabs.get_mut(&slab).expect("a live range has a slab");
        assert_eq!(bytes.live.remove(&offset), Some(offset + size));
        self.live -= 1;
        self.requested -= size;
    }

    /// The range was given back and dies like this.
    pub(crate) fn release(&mut self, slab: SlabId, offset: u64, size: u64, fate: Fate) {
        self.cancel(slab, offset, size);
        let fates = &mut self.slabs.get_mut(&slab).expect("as above").fates;
        let end = offset + size;
        let old: Vec<(u64, (u64, Fate))> =
            overlapping(fates, offset, end).map(|(start, old)| (start, old.clone())).collect();
        for (start, (stop, fate)) in old {
            fates.remove(&start);
            if start < offset {
                fates.insert(start, (offset, fate.clone()));
            }
            if stop > end {
                fates.insert(end, (stop, fate));
            }
        }
        if fate != Fate::After(Frontier::new()) {
            fates.insert(offset, (end, fate));
        }
    }

    /// Nothing waits for anything any more.
    pub(crate) fn quiesce(&mut self) {
        self.slabs.values_mut().for_each(|bytes| bytes.fates.clear());
    }

    /// A slab went back to the provider: nobody holds it, and no work is left that may touch it.
    pub(crate) fn return_slab(&mut self, slab: SlabId, over: impl Fn(Entry) -> bool) -> Verdict {
        let Some(bytes) = self.slabs.remove(&slab) else { return Ok(()) };
        if !bytes.live.is_empty() {
            return Err(format!("{slab:?} went back with live ranges {:?}", bytes.live));
        }
        for (start, (stop, fate)) in bytes.fates {
            let fine = match &fate {
                Fate::After(frontier) => frontier.as_ref().entries().iter().all(|e| over(*e)),
                Fate::Unknown => false,
            };
            if !fine {
                return Err(format!("{slab:?} went back while {start}..{stop} waits for {fate:?}"));
            }
        }
        Ok(())
    }

    /// What the pool shows of a block against what is known of its bytes.
    ///
    /// `implied` says whether a frontier is ordered after an entry, though it may not name it: the bytes of
    /// a block that its last holder did not ask for keep their older death.
    pub(crate) fn check_block(
        &self,
        block: &BlockView<'_>,
        over: impl Fn(Entry) -> bool,
        implied: impl Fn(FrontierRef<'_>, Entry) -> bool,
    ) -> Verdict {
        let none = Bytes::default();
        let bytes = self.slabs.get(&block.slab).unwrap_or(&none);
        let end = block.offset + block.size;
        let live: Vec<(u64, u64)> =
            bytes.live.range(block.offset..end).map(|(start, end)| (*start, *end)).collect();
        let covers = |fate: &Fate, by: FrontierRef<'_>| match fate {
            Fate::After(frontier) => {
                frontier.as_ref().entries().iter().all(|e| over(*e) || implied(by, *e))
            }
            Fate::Unknown => false,
        };
        let fates: Vec<&Fate> =
            overlapping(&bytes.fates, block.offset, end).map(|(_, (_, fate))| fate).collect();
        let agrees = match block.state {
            BlockState::Live { requested } => live == [(block.offset, block.offset + requested)],
            BlockState::Clean => {
                live.is_empty() && fates.iter().all(|fate| covers(fate, FrontierRef::EMPTY))
            }
            BlockState::Pending(frontier) => {
                // An empty one marks bytes that nobody may have before their batch is over.
                live.is_empty()
                    && (frontier.is_empty() || fates.iter().all(|fate| covers(fate, frontier)))
            }
            BlockState::Tainted => live.is_empty(),
        };
        if agrees { Ok(()) } else { Err(format!("{block:?} holds {live:?} and {fates:?}")) }
    }
}

/// The ranges that share bytes with `start..end`.
fn overlapping(
    fates: &BTreeMap<u64, (u64, Fate)>,
    start: u64,
    end: u64,
) -> impl Iterator<Item = (u64, &(u64, Fate))> {
    let first = fates.range(..=start).next_back().map_or(start, |(first, _)| *first);
    fates
        .range(first..end)
        .filter(move |(_, (stop, _))| *stop > start)
        .map(|(start, fate)| (*start, fate))
}
