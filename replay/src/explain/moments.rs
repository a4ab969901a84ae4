//! A recorded run at any of its moments, and all its blocks over time: for whoever looks at it for as long as they like.
//!
//! ```text
//!   entries ─▶ Run, once ─▶ Lives, the moments there are, copies on the way
//!                                        at(entry): the last copy before it, played on ─▶ Frame
//! ```
//!
//! A moment is after a request, a free or a mark; entries of the driver before a request happen with it. Cost: a run; then O(blocks) a moment, and
//! the entries from the copy before it, or from the moment before.

use super::{Pins, picture, state};
use crate::certify::{Certificate, Run};
use crate::lives::{Life, Lives, NEVER};
use crate::recording::Frame;
use crate::snapshot::{Action, DeviceTrace, Stacks};
use std::collections::HashMap;
use std::sync::Arc;

/// Copies are made after a share of all entries.
const SHARE: usize = 64;

/// A recorded run that can be looked at.
#[derive(Debug)]
pub struct Moments {
    run: Run<'static>,
    /// On the way, by their entries.
    copies: Vec<Run<'static>>,
    stops: Vec<u32>,
    lives: Lives,
    streams: HashMap<u64, u32>,
}

impl Moments {
    /// The entries after which it can be looked at, counted from 1, ascending; 0: before the first.
    #[must_use]
    pub fn stops(&self) -> &[u32] {
        &self.stops
    }

    /// All blocks.
    #[must_use]
    pub fn lives(&self) -> &Lives {
        &self.lives
    }

    /// All blocks, which are not kept any longer.
    #[must_use]
    pub fn take_lives(&mut self) -> Lives {
        core::mem::take(&mut self.lives)
    }

    /// The segments at the last moment at or before an entry.
    #[must_use]
    pub fn at(&mut self, entry: u32) -> Frame {
        self.go(entry);
        picture::frame(&self.run, &mut self.streams)
    }

    /// Who pins free bytes at that moment, as an explanation of it has them, with the blocks of its frame. `stacks` are the snapshot's.
    #[must_use]
    pub fn pins(&mut self, entry: u32, stacks: &Stacks) -> Pins {
        self.go(entry);
        state::pins(&self.run, stacks)
    }

    fn go(&mut self, entry: u32) {
        let after = self.stops.partition_point(|&stop| stop <= entry);
        let stop = self.stops[after.saturating_sub(1)];
        let copy = self.copies.partition_point(|copy| copy.moment().entry <= stop);
        let copy = &self.copies[copy.saturating_sub(1)];
        let now = self.run.moment().entry;
        if now > stop || now < copy.moment().entry {
            self.run = copy.clone();
        }
        while self.run.moment().entry < stop && self.run.step() {}
    }
}

/// Sees a run from its beginning, entry by entry, and makes its moments.
pub(super) struct Follower {
    device: Arc<DeviceTrace>,
    copies: Vec<Run<'static>>,
    /// The entry from which the next copy is due.
    next: usize,
    stops: Vec<u32>,
    seen: Seen,
}

impl Follower {
    pub(super) fn new(device: &Arc<DeviceTrace>) -> Self {
        // As many as come: a snapshot may have ten million entries.
        let entries = &device.entries;
        let allocations = entries.iter().filter(|entry| entry.action == Action::Alloc).count();
        let blocks = device.segments.iter().map(|segment| segment.blocks.len()).sum::<usize>();
        let seen = Seen { lives: Lives::with_capacity(allocations + blocks), ..Seen::default() };
        let stops = Vec::with_capacity(entries.len() + 1);
        Self { device: Arc::clone(device), copies: Vec::new(), next: 0, stops, seen }
    }

    /// The run has come to its next moment.
    pub(super) fn see(&mut self, run: &Run<'static>) {
        let entry = run.moment().entry;
        self.stops.push(entry);
        let Some(last) = entry.checked_sub(1) else {
            self.copies.push(run.clone());
            self.seen.before(run);
            return;
        };
        if let Some(told) = self.device.entries.get(last as usize) {
            match told.action {
                Action::Alloc => self.seen.allocated(run, told.address),
                Action::FreeRequested => self.seen.retired(told.address, entry),
                Action::FreeCompleted => self.seen.over(told.address, entry),
                _ => {}
            }
        }
        if entry as usize >= self.next {
            let stride = (self.device.entries.len() / SHARE).max(4 * run.live().len()).max(1);
            self.next = (entry as usize).saturating_add(stride);
            self.copies.push(run.clone());
        }
    }

    /// The run is over; `certificate` is its own.
    pub(super) fn finish(self, certificate: &Certificate) -> Moments {
        let Self { device, copies, stops, seen, .. } = self;
        let begin = || Run::new(device, &certificate.settings, certificate.source);
        let run = copies.first().cloned().unwrap_or_else(begin);
        Moments { run, copies, stops, lives: seen.lives, streams: seen.streams }
    }
}

/// Blocks on the way.
#[derive(Default)]
struct Seen {
    lives: Lives,
    live: HashMap<u64, u32>,
    streams: HashMap<u64, u32>,
}

impl Seen {
    /// Blocks that are there before the first entry.
    fn before(&mut self, run: &Run<'_>) {
        let mut before: Vec<u64> = run.live().keys().copied().collect();
        before.sort_unstable();
        for address in before {
            self.allocated(run, address);
            if run.live()[&address].pending {
                self.lives.retire(self.live[&address], 0);
            }
        }
    }

    fn allocated(&mut self, run: &Run<'_>, address: u64) {
        let Some(live) = run.live().get(&address) else { return };
        // Its free was not recorded.
        self.over(address, live.entry);
        let next = self.streams.len() as u32;
        let stream = *self.streams.entry(live.stream).or_insert(next);
        let number = self.lives.add(Life {
            from: live.entry,
            retired: NEVER,
            over: NEVER,
            bytes: live.size,
            requested: live.requested,
            address,
            stream,
            stack: live.stack,
        });
        self.live.insert(address, number);
    }

    fn retired(&mut self, address: u64, entry: u32) {
        if let Some(&number) = self.live.get(&address) {
            self.lives.retire(number, entry);
        }
    }

    fn over(&mut self, address: u64, entry: u32) {
        if let Some(number) = self.live.remove(&address) {
            self.lives.end(number, entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{explain, explain_with_moments};
    use crate::recording::State;
    use std::collections::HashSet;

    fn allocated(lives: &Lives, entry: u32) -> u64 {
        let all = lives.all().iter();
        all.filter(|l| l.from <= entry && entry < l.retired).map(|l| l.bytes).sum()
    }

    #[test]
    fn lives_and_moments_are_what_the_explanation_says() {
        let home = env!("CARGO_MANIFEST_DIR");
        let mut files = vec![format!("{home}/../fuzz/corpus/trace_pickle/oom.pickle")];
        let real = std::fs::read_dir(format!("{home}/../../shared/snapshots"));
        files.extend(real.into_iter().flatten().flatten().map(|f| f.path().display().to_string()));
        for file in files {
            let input = std::fs::File::open(&file).expect(&file);
            let read = crate::snapshot::read(input, crate::format::Limits::default()).expect(&file);
            for device in &read.devices {
                let shared = Arc::new(device.clone());
                let (told, mut moments) = explain_with_moments(&read, &shared, None);
                for moment in [told.at, told.peaks[0]] {
                    assert_eq!(
                        allocated(moments.lives(), moment.entry),
                        moment.allocated,
                        "{file}"
                    );
                }
                let stops = moments.stops().to_vec();
                assert!(stops.is_sorted(), "{file}");
                // Forward and back, at the same moment the same.
                let chosen: Vec<u32> =
                    stops.iter().step_by(stops.len() / 20 + 1).copied().collect();
                let forward: Vec<Frame> = chosen.iter().map(|&entry| moments.at(entry)).collect();
                for (&entry, frame) in chosen.iter().zip(&forward).rev() {
                    assert_eq!(&moments.at(entry), frame, "{file} {entry}");
                    let asked = explain(&read, device, (entry > 0).then_some(entry));
                    let pins = moments.pins(entry, &read.stacks);
                    for pin in &pins.blocks {
                        let of = |block: u32| frame.blocks[block as usize];
                        assert_ne!(of(pin.block).state, State::Clean, "{file} {entry}");
                        let free: Vec<u32> = pin.free.into_iter().flatten().collect();
                        assert!(!free.is_empty(), "{file} {entry}");
                        for free in free {
                            assert_eq!(of(free).state, State::Clean, "{file} {entry}");
                            assert_eq!(of(free).slab, of(pin.block).slab, "{file} {entry}");
                        }
                    }
                    for (number, line) in (0..).zip(&pins.lines) {
                        let of = pins.blocks.iter().filter(|pin| pin.line == number);
                        let bytes = of.clone().map(|pin| frame.blocks[pin.block as usize].bytes);
                        let told = (of.clone().count() as u64, bytes.sum::<u64>());
                        assert_eq!(told, (line.blocks, line.bytes), "{file} {entry}");
                        let free: HashSet<u32> = of.flat_map(|p| p.free).flatten().collect();
                        let pinned: u64 =
                            free.iter().map(|&free| frame.blocks[free as usize].bytes).sum();
                        assert_eq!(pinned, line.pinned, "{file} {entry}");
                    }
                    if entry > 0 {
                        assert_eq!(pins.lines, asked.pinners, "{file} {entry}");
                        assert_eq!(
                            frame.stats.committed_bytes, asked.at.reserved,
                            "{file} {entry}"
                        );
                        assert_eq!(
                            allocated(moments.lives(), entry),
                            asked.at.allocated,
                            "{file} {entry}"
                        );
                    }
                }
                assert_eq!(moments.at(u32::MAX).event, u64::from(stops[stops.len() - 1]));
            }
        }
    }
}
