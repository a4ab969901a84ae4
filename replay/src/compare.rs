//! What would the same requests have needed elsewhere? A trace is played through the twins, one row for each allocator and setting.
//!
//! ```text
//!   snapshot ─▶ certificate, start, entries ─┐
//!   any other trace ─▶ events ───────────────┴─▶ requests ─▶ each twin over a device of the given capacity ─▶ rows
//! ```
//!
//! Every row but the recorded one begins with an unused allocator, which first gets the blocks that were live before the trace: what
//! the recorded process had cached by then is its past, and another setting would have had another. A request that was refused
//! in the recording is tried, and given back at once if it can be met: the program that made it had ended there.
//!
//! **Certified** is a row whose twin, with the recorded settings, reproduced the recording to the byte. Only the recorded run itself was
//! compared, and its numbers are the recording's own; with other settings a certified row says what a model of proven worth foretells
//! ([`Basis`]). Other allocators are "rules only": played by the rules of the source, never compared with this run. Strandline's own row is no
//! model: its pools play the run.
//!
//! Cost: O(requests) a row; as many rows at a time as there are processors.

mod bounds;
mod choices;
#[cfg(feature = "cubecl")]
mod cubecl;
#[cfg(not(feature = "cubecl"))]
#[path = "compare/cubecl/absent.rs"]
mod cubecl;
mod export;
mod fitted;
mod planned;
mod recording;
mod stepwise;
#[cfg(test)]
mod tests;
mod text;

use crate::certify::{Certificate, Run, certify};
use crate::event::{self, Event};
use crate::snapshot::{Action, DeviceTrace, Snapshot};
pub use choices::{Choice, Recorded, choices};
pub use cubecl::cubecl;
pub use export::export;
pub use fitted::fitted;
pub use planned::planned;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
pub use stepwise::Comparing;
use strandline_twins::{Allocation, Counts, Device, Request, Twin};

/// A step of a run, with blocks numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A block is asked for.
    Allocate {
        /// Its number.
        block: u32,
        /// Bytes.
        size: u64,
        /// The stream's handle.
        stream: u64,
    },
    /// The program gives a block back, in the order of a stream.
    Retire {
        /// Its number.
        block: u32,
        /// The stream's handle.
        stream: u64,
    },
    /// The last stream is done with a block; it is given back now if it was not before.
    Free {
        /// Its number.
        block: u32,
        /// The stream's handle.
        stream: u64,
    },
    /// A request that the recorded allocator refused.
    Refused {
        /// Bytes.
        size: u64,
        /// The stream's handle.
        stream: u64,
    },
}

/// The requests of a run.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// In order, each with its entry, line or event, counted from 1; 0: before the recording.
    pub steps: Vec<(u32, Step)>,
    /// Most bytes that were asked for and active at once: no allocator can be below.
    pub peak_active: u64,
    blocks: u32,
    live: HashMap<u64, (u32, u64, u64)>,
    active: u64,
}

impl Requests {
    fn allocate(&mut self, at: u32, id: u64, size: u64, stream: u64) {
        if self.live.contains_key(&id) {
            self.free(at, id, stream);
        }
        let block = self.blocks;
        self.blocks += 1;
        self.live.insert(id, (block, size, stream));
        self.active = self.active.saturating_add(size);
        self.peak_active = self.peak_active.max(self.active);
        self.steps.push((at, Step::Allocate { block, size, stream }));
    }

    fn retire(&mut self, at: u32, id: u64, stream: u64) {
        if let Some(&(block, ..)) = self.live.get(&id) {
            self.steps.push((at, Step::Retire { block, stream }));
        }
    }

    fn free(&mut self, at: u32, id: u64, stream: u64) {
        if let Some((block, size, _)) = self.live.remove(&id) {
            self.active = self.active.saturating_sub(size);
            self.steps.push((at, Step::Free { block, stream }));
        }
    }

    /// The requests of a recorded device, the blocks that were live before its first entry first.
    #[must_use]
    pub fn of_device(device: &DeviceTrace, certificate: &Certificate) -> Self {
        let mut requests = Self::default();
        let start = Run::new(device, &certificate.settings, certificate.source);
        let mut before: Vec<_> = start.live().iter().collect();
        before.sort_by_key(|&(&address, _)| address);
        for (&address, live) in before {
            requests.allocate(0, address, live.requested, live.stream);
            if live.pending {
                requests.retire(0, address, live.stream);
            }
        }
        for (index, entry) in device.entries.iter().enumerate() {
            let at = u32::try_from(index + 1).unwrap_or(u32::MAX);
            match entry.action {
                Action::Alloc => requests.allocate(at, entry.address, entry.size, entry.stream),
                Action::FreeRequested => requests.retire(at, entry.address, entry.stream),
                Action::FreeCompleted => requests.free(at, entry.address, entry.stream),
                Action::OutOfMemory => requests
                    .steps
                    .push((at, Step::Refused { size: entry.size, stream: entry.stream })),
                _ => {}
            }
        }
        requests
    }

    /// Adds an event of another trace.
    pub fn push(&mut self, event: &Event) {
        let (at, id, stream) = (event.line, event.id, u64::from(event.stream));
        match event.action {
            event::Action::Alloc | event::Action::Held => {
                self.allocate(at, id, event.size, stream);
            }
            event::Action::Retire => self.retire(at, id, stream),
            event::Action::Free => self.free(at, id, stream),
            event::Action::Failure => {
                self.steps.push((at, Step::Refused { size: event.size, stream }));
            }
        }
    }
}

/// The name of the row of the recorded run itself.
const RECORDED: &str = "recorded run";

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The allocator that was recorded: what its user can set today.
    Own,
    /// Another allocator, by the rules of its source.
    Other,
    /// Another allocator, whose own published code played.
    Run,
    /// Strandline's own pools, played.
    Strandline,
    /// Where every block would stand if all lifetimes were known before.
    Planned,
    /// What no allocator can be below.
    Bound,
}

/// What a row rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// The file: these numbers were recorded.
    Recorded,
    /// A model that reproduced the recording with the settings it had. Nothing was recorded with these.
    CertifiedModel,
    /// The same model, which did not reproduce this recording.
    UncertifiedModel,
    /// The rules of an allocator's source alone.
    Rules,
    /// The code itself, which played the run.
    Played,
    /// Arithmetic.
    Computed,
}

impl Basis {
    /// One word for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::CertifiedModel => "certified_model",
            Self::UncertifiedModel => "uncertified_model",
            Self::Rules => "rules",
            Self::Played => "played",
            Self::Computed => "computed",
        }
    }
}

/// How one allocator did.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The allocator.
    pub allocator: &'static str,
    /// Its settings, in short.
    pub settings: String,
    /// What to paste, line by line; empty if there is nothing to set.
    pub paste: Vec<String>,
    /// What that takes besides, in words; empty if nothing.
    pub needs: &'static str,
    /// Most bytes that it took from the device.
    pub peak_reserved: u64,
    /// Those, over the most bytes active.
    pub over_active: f64,
    /// Where a request was refused: the entry or line.
    pub failed_at: Option<u32>,
    /// What it did.
    pub counts: Counts,
    /// Whether its twin, with the recorded settings, reproduced this recording.
    pub certified: bool,
    /// Whether these are the settings that the run was recorded with.
    pub current: bool,
    /// What it is about.
    pub kind: Kind,
}

impl Row {
    /// Whether every request was met.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.failed_at.is_none()
    }

    /// What it rests on.
    #[must_use]
    pub fn basis(&self) -> Basis {
        match self.kind {
            Kind::Own if self.allocator == RECORDED => Basis::Recorded,
            Kind::Own if self.certified => Basis::CertifiedModel,
            // Of RMM no recording tells what a model could be held against.
            Kind::Own if self.allocator == choices::TORCH_NAME => Basis::UncertifiedModel,
            Kind::Own | Kind::Other => Basis::Rules,
            Kind::Run | Kind::Strandline => Basis::Played,
            Kind::Planned | Kind::Bound => Basis::Computed,
        }
    }
}

/// A comparison.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The certificate, if the trace is a snapshot.
    pub certificate: Option<Certificate>,
    /// The device's memory, if it is known, and how.
    pub capacity: Option<(u64, &'static str)>,
    /// Most bytes active at once.
    pub peak_active: u64,
    /// Requests.
    pub steps: usize,
    /// The rows, in the order of what the user can do today.
    pub rows: Vec<Row>,
}

/// What a comparison is asked to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The device's memory in bytes.
    pub capacity: Option<u64>,
    /// Try values of numeric settings.
    pub sweep: bool,
}

/// Compares allocators on a recorded device. Returns the requests that were played, too.
#[must_use]
pub fn compare_device(
    snapshot: &Snapshot,
    device: &DeviceTrace,
    options: Options,
) -> (Comparison, Requests) {
    let begun = begin(snapshot, device, options);
    let Begun { certificate, requests, capacity, .. } = &begun;
    let recorded = Recorded::Torch(&certificate.settings);
    let certified = certificate.is_whole();
    let comparison = compare(requests, *capacity, recorded, certified, options.sweep);
    begun.put_before(comparison)
}

/// What the recording itself tells before anything else is tried.
#[derive(Debug)]
struct Begun {
    certificate: Certificate,
    requests: Requests,
    capacity: Option<(u64, &'static str)>,
    /// The recorded run, if the file tells of the segments of its trace.
    recorded: Option<Row>,
}

impl Begun {
    /// The comparison with the recorded run.
    fn put_before(self, mut comparison: Comparison) -> (Comparison, Requests) {
        comparison.rows.splice(0..0, self.recorded);
        comparison.certificate = Some(self.certificate);
        (comparison, self.requests)
    }
}

fn begin(snapshot: &Snapshot, device: &DeviceTrace, options: Options) -> Begun {
    let (mut refused, mut memory) = (None, None);
    let certificate = certify(device, snapshot.recorded.as_ref(), &mut |run, moment| {
        let last = (moment.entry as usize).checked_sub(1).map(|at| device.entries[at]);
        if let Some(entry) = last.filter(|e| e.action == Action::OutOfMemory) {
            refused = refused.or(Some(moment.entry));
            let free = entry.device_free().filter(|_| run.tells_segments());
            let had = free.map(|free| moment.reserved.saturating_add(free));
            memory = memory.max(had.filter(|&had| had > 0));
        }
    });
    let recording = recording::of(device, &certificate, options.capacity);
    refused = [refused, recording.exceeds].into_iter().flatten().min();
    let requests = Requests::of_device(device, &certificate);
    let capacity = match options.capacity {
        Some(bytes) => Some((bytes, "as given")),
        None => memory.map(|bytes| (bytes, "reserved and free at the recorded out-of-memory")),
    };
    let recorded = Row {
        allocator: RECORDED,
        settings: certificate.settings.to_string(),
        paste: Vec::new(),
        needs: "",
        peak_reserved: recording.peak_reserved,
        over_active: ratio(recording.peak_reserved, requests.peak_active),
        failed_at: refused,
        counts: recording.counts,
        certified: certificate.is_whole(),
        current: true,
        kind: Kind::Own,
    };
    // What the segments of the file say is not about this trace, if its addresses lie in none of them.
    let recorded = certificate.nothing_to_compare.is_none().then_some(recorded);
    Begun { certificate, requests, capacity, recorded }
}

/// Compares allocators on requests. `certified`: the twin of the recorded allocator reproduced the recording.
#[must_use]
pub fn compare(
    requests: &Requests,
    capacity: Option<(u64, &'static str)>,
    recorded: Recorded<'_>,
    certified: bool,
    sweep: bool,
) -> Comparison {
    let bytes = capacity.map(|(bytes, _)| bytes);
    let choices = choices(recorded, bytes, requests.peak_active, sweep);
    let rows = in_parallel(choices, |choice| tried(choice, requests, bytes, certified));
    with_bounds(requests, capacity, rows)
}

/// The comparison of what was tried, with the bounds.
fn with_bounds(
    requests: &Requests,
    capacity: Option<(u64, &'static str)>,
    mut rows: Vec<Row>,
) -> Comparison {
    rows.extend(bounds::bounds(requests, capacity.map(|(bytes, _)| bytes)));
    Comparison {
        certificate: None,
        capacity,
        peak_active: requests.peak_active,
        steps: requests.steps.len(),
        rows,
    }
}

/// How a choice did.
fn tried(mut choice: Choice, requests: &Requests, bytes: Option<u64>, certified: bool) -> Row {
    let mut device = Device::new(bytes);
    let (peak_reserved, failed_at) =
        play(&mut *choice.twin, &mut device, requests, choice.kind == Kind::Own);
    Row {
        allocator: choice.allocator,
        settings: choice.settings,
        paste: choice.paste,
        needs: choice.needs,
        peak_reserved,
        over_active: ratio(peak_reserved, requests.peak_active),
        failed_at,
        counts: choice.twin.counts(),
        certified: certified && choice.kind == Kind::Own,
        current: choice.current,
        kind: choice.kind,
    }
}

impl Comparison {
    /// Adds a row before the bounds: Strandline's own, or a plan's.
    pub fn add(&mut self, row: Row) {
        let at = self.rows.iter().position(|row| row.kind == Kind::Bound);
        self.rows.insert(at.unwrap_or(self.rows.len()), row);
    }
}

/// Does `work` on each of `items`, on as many threads as there are processors, or on this one where no thread can be had. The
/// results are in the order of the items.
fn in_parallel<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let slots: Vec<Mutex<(Option<T>, Option<R>)>> =
        items.into_iter().map(|item| Mutex::new((Some(item), None))).collect();
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(item) = slot.0.take() {
                slot.1 = Some(work(item));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Where none can be started, this thread does all of it.
            let _ = std::thread::Builder::new().spawn_scoped(scope, run);
        }
        run();
    });
    let done = |slot: Mutex<(Option<T>, Option<R>)>| {
        slot.into_inner().unwrap_or_else(PoisonError::into_inner).1
    };
    slots.into_iter().filter_map(done).collect()
}

fn ratio(bytes: u64, of: u64) -> f64 {
    if of == 0 { 1.0 } else { bytes as f64 / of as f64 }
}

/// Plays requests. Returns the most bytes reserved, and where the first request was refused; the run goes on without that block.
/// `waits`: the allocator itself keeps a block that other streams still use. Without, the program has to, and gives the block back when they
/// are done.
fn play(
    twin: &mut dyn Twin,
    device: &mut Device,
    requests: &Requests,
    waits: bool,
) -> (u64, Option<u32>) {
    let mut blocks: Vec<Option<Allocation>> = vec![None; requests.blocks as usize];
    let mut retired = vec![false; requests.blocks as usize];
    let (mut peak, mut failed) = (0, None);
    for &(at, step) in &requests.steps {
        match step {
            Step::Allocate { block, size, stream } => {
                match twin.allocate(Request { size, stream, pool: 0 }, device) {
                    Ok(got) => blocks[block as usize] = Some(got),
                    Err(_) => failed = failed.or(Some(at)),
                }
            }
            Step::Refused { size, stream } => {
                match twin.allocate(Request { size, stream, pool: 0 }, device) {
                    Ok(got) => {
                        peak = peak.max(twin.reserved());
                        twin.free_requested(got.id, stream);
                        twin.free_completed(got.id);
                    }
                    Err(_) => failed = failed.or(Some(at)),
                }
            }
            Step::Retire { .. } if !waits => {}
            Step::Retire { block, stream } => {
                if let Some(got) = blocks[block as usize] {
                    retired[block as usize] = true;
                    twin.free_requested(got.id, stream);
                }
            }
            Step::Free { block, stream } => {
                if let Some(got) = blocks[block as usize].take() {
                    if !retired[block as usize] {
                        twin.free_requested(got.id, stream);
                    }
                    twin.free_completed(got.id);
                }
            }
        }
        peak = peak.max(twin.reserved());
    }
    (peak, failed)
}
