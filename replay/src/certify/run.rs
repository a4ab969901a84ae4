//! A recorded run, entry by entry.

use super::driver::RecordedDriver;
use super::start::{Start, start};
use super::{Certificate, Source};
use crate::hash::FastMap;
use crate::size::counted;
use crate::snapshot::{Action, DeviceTrace, Entry};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use strandline_twins::torch::{Contradiction, Settings, StartSegment, Torch};
use strandline_twins::{BlockId, Request, Twin};

/// A live block, as the recording has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// The twin's block, if the twin has it.
    pub block: Option<BlockId>,
    /// Its bytes.
    pub size: u64,
    /// Bytes asked for.
    pub requested: u64,
    /// Its stream.
    pub stream: u64,
    /// The entry of its allocation, counted from 1; 0: before the recording.
    pub entry: u32,
    /// The call stack of its allocation.
    pub stack: u32,
    /// Given back, and still in use by a stream.
    pub pending: bool,
}

/// Bytes at one moment of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The last entry that had happened, counted from 1; 0: none.
    pub entry: u32,
    /// Bytes of blocks that were handed out.
    pub allocated: u64,
    /// Those, and blocks given back that a stream still uses.
    pub active: u64,
    /// Bytes taken from the device.
    pub reserved: u64,
}

impl Moment {
    /// The entry's place in the file's list, counted from 0; none before the first.
    #[must_use]
    pub fn index(&self) -> Option<u32> {
        self.entry.checked_sub(1)
    }

    /// When that is, for reports.
    #[must_use]
    pub fn place(&self) -> String {
        match self.index() {
            Some(index) => format!("at entry {index}"),
            None => "before the first entry".to_owned(),
        }
    }
}

/// What the addresses of a recording can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addresses {
    /// They lie in segments of the file.
    Placed,
    /// The file tells of no segments.
    NoSegments,
    /// Not one of them lies in a segment of the file.
    Elsewhere,
}

impl Addresses {
    fn of(device: &DeviceTrace) -> Self {
        let drivers = device.entries.iter().filter(|e| e.action.is_driver());
        let ends = device.segments.iter().map(|s| (s.address, s.size));
        let mut segments: Vec<(u64, u64)> =
            ends.chain(drivers.map(|e| (e.address, e.size))).collect();
        if segments.is_empty() {
            return Self::NoSegments;
        }
        segments.sort_unstable();
        // Each with the largest end so far: whatever begins before an address may reach it.
        let mut end = 0;
        for (address, size) in &mut segments {
            end = address.saturating_add(*size).max(end);
            *size = end;
        }
        let inside = |address: u64| {
            let after = segments.partition_point(|&(from, _)| from <= address);
            after.checked_sub(1).is_some_and(|at| address < segments[at].1)
        };
        let mut allocations =
            device.entries.iter().filter(|e| e.action == Action::Alloc).peekable();
        if allocations.peek().is_some() && !allocations.any(|e| inside(e.address)) {
            Self::Elsewhere
        } else {
            Self::Placed
        }
    }
}

/// The device whose entries a run plays: lent for as long as the run lasts, or shared with it.
#[derive(Clone, Debug)]
pub enum Entries<'a> {
    /// Somebody else keeps it.
    Lent(&'a DeviceTrace),
    /// The run keeps it too.
    Shared(Arc<DeviceTrace>),
}

impl Deref for Entries<'_> {
    type Target = DeviceTrace;

    fn deref(&self) -> &DeviceTrace {
        match self {
            Self::Lent(device) => device,
            Self::Shared(device) => device,
        }
    }
}

impl<'a> From<&'a DeviceTrace> for Entries<'a> {
    fn from(device: &'a DeviceTrace) -> Self {
        Self::Lent(device)
    }
}

impl From<Arc<DeviceTrace>> for Entries<'_> {
    fn from(device: Arc<DeviceTrace>) -> Self {
        Self::Shared(device)
    }
}

/// A run in progress, or at its end.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    device: Entries<'a>,
    twin: Torch,
    live: FastMap<u64, Live>,
    pub(super) certificate: Certificate,
    /// Segments of private pools at the end: start, and end, pool.
    private: BTreeMap<u64, (u64, u32)>,
    in_private: u64,
    unknown_frees: u64,
    /// Allocations at addresses that lie in no free block of the model.
    unplaced: u64,
    /// What addresses are compared with.
    addresses: Addresses,
    reserved: i128,
    allocated: u64,
    active: u64,
    at: usize,
}

impl<'a> Run<'a> {
    /// A run before its first entry.
    #[must_use]
    pub fn new(device: impl Into<Entries<'a>>, settings: &Settings, source: Source) -> Self {
        let device = device.into();
        let Start { segments, live, contradictions, contradiction } = start(&device, settings);
        let mut twin = Torch::new(settings.clone());
        let (blocks, wrong) = twin.restore(&segments);
        let blocks: FastMap<u64, (BlockId, u64)> =
            blocks.into_iter().map(|b| (b.address, (b.id, b.size))).collect();
        let mut certificate = Certificate::new(settings.clone(), source);
        let mut run_live = FastMap::default();
        run_live.reserve(live.len());
        let (mut outside, mut allocated, mut active) = (0u64, 0u64, 0u64);
        for (address, before) in live {
            let known = blocks.get(&address);
            outside += u64::from(known.is_none());
            let size = known.map_or(before.size, |&(_, size)| size);
            active = active.saturating_add(size);
            if !before.pending {
                allocated = allocated.saturating_add(size);
            }
            let live = Live {
                block: known.map(|&(id, _)| id),
                size,
                requested: before.requested,
                stream: before.stream,
                entry: 0,
                stack: before.stack,
                pending: before.pending,
            };
            run_live.insert(address, live);
        }
        if let Some((entry, why)) = contradiction {
            certificate.notes.push(format!(
                "{} the segments at the end, the first is entry {}: {why}",
                counted(contradictions, "entry contradicts", "entries contradict"),
                entry.saturating_sub(1)
            ));
        }
        let impossible = wrong.iter().filter(|w| matches!(w, Contradiction::Segment(_))).count();
        if impossible > 0 {
            certificate.notes.push(format!(
                "{} at the start overlap others or are empty, and were left out",
                counted(impossible as u64, "segment", "segments")
            ));
        }
        if outside > 0 {
            certificate.notes.push(format!(
                "{} live before the first entry and in no segment: counted, and not placed",
                counted(outside, "block was", "blocks were")
            ));
        }
        let private = device.segments.iter().filter(|s| s.pool > 0);
        let addresses = Addresses::of(&device);
        let private =
            private.map(|s| (s.address, (s.address.saturating_add(s.size), s.pool))).collect();
        Self {
            device,
            reserved: twin.reserved().into(),
            twin,
            live: run_live,
            certificate,
            private,
            in_private: 0,
            unknown_frees: 0,
            unplaced: 0,
            addresses,
            allocated,
            active,
            at: 0,
        }
    }

    /// The allocator as it is now.
    #[must_use]
    pub fn twin(&self) -> &Torch {
        &self.twin
    }

    /// The blocks that are live now, by address.
    #[must_use]
    pub fn live(&self) -> &FastMap<u64, Live> {
        &self.live
    }

    /// Whether the file tells of the segments that its trace is about: without, what is reserved is not known.
    #[must_use]
    pub fn tells_segments(&self) -> bool {
        self.addresses == Addresses::Placed
    }

    /// Bytes now.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment {
            entry: u32::try_from(self.at).unwrap_or(u32::MAX),
            allocated: self.allocated,
            active: self.active,
            reserved: self.twin.reserved(),
        }
    }

    /// The certificate so far.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Ends the run: what it could not compare is added to the certificate.
    #[must_use]
    pub fn finish(mut self) -> Certificate {
        if self.in_private > 0 {
            self.certificate.notes.push(format!(
                "{} to private pools (of graphs or users); which pool was taken from the file",
                counted(self.in_private, "request went", "requests went")
            ));
        }
        if self.unknown_frees > 0 {
            self.certificate.notes.push(format!(
                "{} of blocks that were not live: passed over",
                counted(self.unknown_frees, "free is", "frees are")
            ));
        }
        if self.unplaced > 0 {
            self.certificate.notes.push(format!(
                "{} in no segment of the file, or over other blocks: counted, and not placed",
                counted(self.unplaced, "block lies", "blocks lie")
            ));
        }
        match self.addresses {
            Addresses::Placed => {}
            Addresses::NoSegments => {
                self.certificate.nothing_to_compare = Some(
                    "the file tells of no segments: there is nothing that addresses could be compared with",
                );
            }
            Addresses::Elsewhere => {
                self.certificate.nothing_to_compare = Some(
                    "no address of the trace lies in a segment of the file: these are not PyTorch's addresses \
                     (another tool wrote the trace), or the segments are of another run",
                );
            }
        }
        self.certificate
    }

    /// Plays up to the next request, free or mark, that included. False: there are no more entries.
    pub fn step(&mut self) -> bool {
        let Some(&entry) = self.device.entries.get(self.at) else { return false };
        match entry.action {
            Action::Alloc | Action::OutOfMemory => self.request(self.at),
            Action::FreeRequested => {
                match self.live.get_mut(&entry.address) {
                    Some(live) if !live.pending => {
                        live.pending = true;
                        self.allocated = self.allocated.saturating_sub(live.size);
                        if let Some(block) = live.block {
                            self.twin.free_requested(block, entry.stream);
                        }
                    }
                    _ => self.unknown_frees += 1,
                }
                self.at += 1;
            }
            Action::FreeCompleted => {
                self.complete(entry.address);
                self.at += 1;
            }
            Action::Mark => self.at += 1,
            _ => self.driver_entries(),
        }
        true
    }

    fn complete(&mut self, address: u64) {
        let Some(live) = self.live.remove(&address) else {
            self.unknown_frees += 1;
            return;
        };
        self.active = self.active.saturating_sub(live.size);
        if !live.pending {
            self.allocated = self.allocated.saturating_sub(live.size);
        }
        if let Some(block) = live.block {
            self.twin.free_completed(block);
        }
    }

    /// Entries of the driver come before the request that they serve, or are `empty_cache`'s.
    fn driver_entries(&mut self) {
        let entries = &self.device.entries;
        let end_of = |wanted: fn(Action) -> bool| {
            let past = |e: &Entry| !wanted(e.action) && e.action != Action::Mark;
            let rest = &entries[self.at..];
            self.at + rest.iter().position(past).unwrap_or(rest.len())
        };
        let (gone, end) = (end_of(Action::goes), end_of(Action::is_driver));
        let request = entries
            .get(end)
            .filter(|e| matches!(e.action, Action::Alloc | Action::OutOfMemory))
            .map(|&e| self.request_of(e));
        match request {
            // A cached block would have served the request: what went back before it was not to make room.
            Some(request) if gone > self.at && self.twin.is_cached(request) => {
                self.empty_cache(gone)
            }
            Some(_) => self.request(end),
            None if gone > self.at => self.empty_cache(gone),
            // The ring of entries ended between a segment and its block, or another thread's entry stands there.
            None => self.correct(end, true),
        }
    }

    fn request_of(&self, entry: Entry) -> Request {
        let pool = if entry.action == Action::Alloc && !self.private.is_empty() {
            let segment = self.private.range(..=entry.address).next_back();
            segment.filter(|(_, (end, _))| entry.address < *end).map_or(0, |(_, &(_, pool))| pool)
        } else {
            0
        };
        Request { size: entry.size, stream: entry.stream, pool }
    }

    fn driver(&mut self, end: usize) -> (RecordedDriver<'_>, &mut Torch) {
        let driver = RecordedDriver {
            entries: &self.device.entries,
            at: self.at,
            end,
            certificate: &mut self.certificate,
            delta: 0,
            released: 0,
            strayed: false,
        };
        (driver, &mut self.twin)
    }

    fn request(&mut self, end: usize) {
        let entry = self.device.entries[end];
        let number = u32::try_from(end + 1).unwrap_or(u32::MAX);
        if self.addresses != Addresses::Placed {
            if entry.action == Action::Alloc {
                self.certificate.addresses.add(false);
                self.own(entry, number, None);
            }
            self.at = end + 1;
            return;
        }
        let request = self.request_of(entry);
        self.in_private += u64::from(request.pool > 0);
        let (mut driver, twin) = self.driver(end);
        let answer = twin.allocate(request, &mut driver);
        let (at, delta, released, strayed) =
            (driver.at, driver.delta, driver.released, driver.strayed);
        let had = self.account(at, end, delta, released, strayed && released > 0);
        let placed = match (entry.action, answer) {
            (Action::OutOfMemory, Ok(block)) => {
                self.certificate.differs(end + 1, || {
                    format!(
                        "the recorded allocator refused {} bytes, the model has them",
                        entry.size
                    )
                });
                self.twin.free_completed(block.id);
                None
            }
            (Action::OutOfMemory, Err(_)) => None,
            (_, Ok(block)) if block.address == entry.address && !had => Some(block),
            (_, answer) => {
                let what = match answer {
                    Ok(block) => format!("at {:#x} in the model", block.address),
                    Err(_) => "refused by the model".to_owned(),
                };
                if let Ok(block) = answer {
                    self.twin.free_completed(block.id);
                }
                self.correct(end, false);
                self.certificate.differs(end + 1, || {
                    format!(
                        "{} bytes are at {:#x} in the file, and {what}",
                        entry.size, entry.address
                    )
                });
                self.certificate.addresses.add(false);
                let placed = self.twin.allocate_at(entry.address, entry.size);
                self.unplaced += u64::from(placed.is_none());
                self.own(entry, number, placed.map(|b| (b.id, b.size)));
                self.at = end + 1;
                return;
            }
        };
        if entry.action == Action::Alloc {
            self.certificate.addresses.add(true);
            self.own(entry, number, placed.map(|b| (b.id, b.size)));
        }
        if had {
            self.correct(end, false);
        }
        self.at = end + 1;
    }

    /// A block of the recording is live.
    fn own(&mut self, entry: Entry, number: u32, placed: Option<(BlockId, u64)>) {
        if self.live.contains_key(&entry.address) {
            self.certificate.differs(number as usize, || {
                format!("the block at {:#x} is handed out while it is live", entry.address)
            });
            self.complete(entry.address);
        }
        let rounded = self.certificate.settings.round(entry.size).unwrap_or(entry.size);
        let size = placed.map_or(rounded, |(_, size)| size);
        self.active = self.active.saturating_add(size);
        self.allocated = self.allocated.saturating_add(size);
        let live = Live {
            block: placed.map(|(id, _)| id),
            size,
            requested: entry.size,
            stream: entry.stream,
            entry: number,
            stack: entry.stack,
            pending: false,
        };
        self.live.insert(entry.address, live);
    }

    fn empty_cache(&mut self, end: usize) {
        let (mut driver, twin) = self.driver(end);
        twin.empty_cache(&mut driver);
        let (at, delta, released, strayed) =
            (driver.at, driver.delta, driver.released, driver.strayed);
        if self.account(at, end, delta, released, strayed) {
            self.correct(end, false);
        }
        self.at = end;
    }

    /// After an operation: counts its sweep and its reserved bytes. Returns whether entries of the driver are left over.
    fn account(&mut self, at: usize, end: usize, delta: i64, released: u64, strayed: bool) -> bool {
        let entries = &self.device.entries;
        let met = entries[self.at..at].iter().filter(|e| e.action.is_driver()).count() as u64;
        let left = entries[at..end].iter().filter(|e| e.action.is_driver());
        let goes = left.clone().filter(|e| e.action.goes()).count();
        let left = left.count();
        if released > 0 || goes > 0 {
            let met = goes == 0 && !strayed;
            self.certificate.sweeps.add(met);
            if !met {
                self.certificate.differs(at.min(entries.len().saturating_sub(1)) + 1, || {
                    "the model and the file give different segments back before it".to_owned()
                });
            }
        }
        self.reserved += i128::from(delta);
        let (told, has) = (self.reserved, self.twin.reserved());
        let agrees = told == i128::from(has);
        if met > 0 && !agrees {
            self.certificate.differs(at, || {
                format!("{has} bytes are reserved in the model, {told} by the file's segments")
            });
        }
        self.certificate.reserved.of += met;
        self.certificate.reserved.reproduced += if agrees { met } else { 0 };
        self.at = at;
        left > 0
    }

    /// What the model did not do is done as the file has it. `quiet`: it could not be expected to.
    fn correct(&mut self, end: usize, quiet: bool) {
        let (mut left, mut lost) = (0, 0);
        for index in self.at..end {
            let e = self.device.entries[index];
            if !e.action.is_driver() {
                continue;
            }
            left += 1;
            if !quiet {
                self.certificate.score(e.action).add(false);
                self.certificate.reserved.add(false);
                self.certificate.differs(index + 1, || {
                    format!(
                        "{} of {} bytes at {:#x}, which the model does not do",
                        e.action.word(),
                        e.size,
                        e.address
                    )
                });
            }
            let size = i128::from(e.size);
            self.reserved += if e.action.comes() { size } else { -size };
            let segment = StartSegment {
                address: e.address,
                size: e.size,
                stream: e.stream,
                small: e.size == strandline_twins::torch::settings::SMALL_SEGMENT,
                ..StartSegment::default()
            };
            let done = match e.action {
                Action::SegmentAlloc => self.twin.add_segment(&segment),
                Action::SegmentFree => self.twin.remove_segment(e.address),
                Action::SegmentMap => self.twin.map_at(e.address, e.size),
                _ => self.twin.unmap_at(e.address, e.size),
            };
            lost += u64::from(!done);
        }
        if quiet {
            self.certificate.notes.push(format!(
                "{} of the driver before entry {end} without a request that they serve: taken as the file has them",
                counted(left, "entry stands", "entries stand")
            ));
        } else if lost > 0 {
            self.certificate.notes.push(format!(
                "{} before entry {end} could not be put where the file has them",
                counted(lost, "segment or mapping", "segments or mappings")
            ));
        }
        self.certificate.notes.truncate(20);
        self.at = end;
    }
}
