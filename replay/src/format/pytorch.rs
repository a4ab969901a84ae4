//! PyTorch's memory snapshots (`torch.cuda.memory._dump_snapshot`), pickled or as JSON, as events.
//!
//! ```text
//!   { "device_traces": [ [ {action, addr, size, stream, time_us, frames…}, … ], … one list a device ],
//!     "segments":      [ {address, device, blocks: [ {size, state, …}, … ]}, … ] }
//! ```
//!
//! | action | event |
//! | --- | --- |
//! | `alloc` | [`Action::Alloc`] |
//! | `free_requested`, then `free_completed` at once | [`Action::Free`] |
//! | `free_requested` | [`Action::Retire`]: the block is no longer allocated, and active until it is completed |
//! | `free_completed` | [`Action::Free`], also of a block whose free was never requested: other tools record nothing else |
//! | `oom` | [`Action::Failure`] |
//! | `snapshot` | none: a mark, which may say where a [step](crate::steps) begins |
//! | `segment_*`, marks, unknown actions | none, counted in [`Notes::ignored_entries`] |
//!
//! Where a trace has no `free_completed` at all, `free_requested` is the free.
//!
//! **Blocks from before the trace.** Recording often starts late, or its ring of entries wraps. A block whose first
//! mention is its free was there at the start, and so was one that the segments list as in use and the trace never mentions
//! (weights, most often). They are put first, at time 0, or the peak would be too low. Their
//! [`Event::line`] is the entry of their free, or 0. Blocks that wait for their free to be completed are [held](Action::Held).
//!
//! **Devices.** One is replayed: the one asked for, or the busiest of those that refused a request, or the busiest.
//!
//! **State only.** A snapshot without allocations in its trace, or the bare list that `memory_snapshot()` returns, has a [`State`].
//!
//! Memory: the arena (less than the file), the addresses of the trace, and one event at a time. Cost: O(entries), and a walk over
//! the blocks.

mod entry;
mod refusals;
mod segments;

use super::error::{ErrorKind, Place, TraceError};
use super::fields::Clock;
use super::notes::{Circumstances, Holding, Notes};
use super::pickle::{Arena, List, Value, Word};
use super::state::State;
use super::streams::Streams;
use crate::event::{Action, Event};
use crate::hash::Seed;
use crate::size::counted;
use entry::{Entry, REMEDY};
use segments::BlockState;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The most devices that a snapshot may tell of.
const MOST_DEVICES: u64 = 1 << 16;

/// The events of a snapshot's device, one at a time. A clone begins again at the first, over the same arena.
#[derive(Debug)]
pub(super) struct Snapshot {
    read: Arc<Read>,
    /// The next entry.
    at: usize,
    /// The next event from before the entries.
    before: usize,
    /// A completed free that was told with its request.
    told: Option<usize>,
    clock: Clock,
    time_ns: u64,
}

/// A snapshot that was read.
#[derive(Debug)]
struct Read {
    arena: Arena,
    /// The device's list of entries, if it has one.
    entries: Value,
    /// The blocks that were there before them.
    before: Vec<Event>,
    /// Blocks are given back when their free is completed, not when it is requested.
    completed: bool,
    state: Option<State>,
    state_only: bool,
    circumstances: Vec<(u32, Circumstances)>,
}

/// What the first look at a device's entries finds.
#[derive(Debug, Default)]
struct First {
    requested: bool,
    completed: bool,
    allocs: u64,
    refused: u64,
    /// Ids of the trace.
    mentioned: HashSet<u64, Seed>,
    /// Entries that free what was never allocated, and whether the free is but completed.
    before: Vec<(usize, bool)>,
}

impl Clone for Snapshot {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.read))
    }
}

impl Snapshot {
    /// A snapshot that was read into `arena`.
    ///
    /// # Errors
    /// It is no snapshot, the device is missing, or an entry lacks what its event needs.
    pub(super) fn new(
        arena: Arena,
        root: Value,
        wanted: Option<u32>,
        streams: &mut Streams,
        notes: &mut Notes,
    ) -> Result<Self, TraceError> {
        let parts = Parts::of(&arena, root)?;
        let states = match parts.segments {
            Some(segments) => segments::states(&arena, segments),
            None => BTreeMap::new(),
        };
        notes.holdings = parts.holdings(&arena, &states);
        notes.devices = notes.holdings.len() as u32;
        let device = notes.holdings[choose_device(&notes.holdings, wanted)?].device;
        notes.device = Some(device);
        parts.note_what_is_left_out(&arena, root, notes);
        let entries = parts.entries(&arena, device).unwrap_or(Value::None);
        let list = arena.list(entries);
        let first = match list {
            Some(list) => look(&arena, list, notes)?,
            None => First::default(),
        };
        let completed = first.completed;
        let circumstances = match list {
            Some(list) if first.refused > 0 => refusals::circumstances(
                &arena,
                parts.segments,
                list,
                device,
                completed,
                first.refused,
            ),
            _ => Vec::new(),
        };
        notes.recorded_peak_reserved_bytes =
            list.and_then(|list| refusals::most_reserved(&arena, parts.segments, list, device));
        let state_only = first.allocs == 0 && first.refused == 0;
        let before = live_before(&arena, &parts, device, list, first, streams, notes)?;
        let state = states.get(&device).copied();
        if state.is_none() && state_only && before.is_empty() && wanted.is_none() {
            return Err(not_a_snapshot(
                "a snapshot without an allocation and without a segment",
                "entries in `device_traces`: memory history was not being recorded",
            ));
        }
        Ok(Self::of(Arc::new(Read {
            entries,
            before,
            completed,
            state: state.or(state_only.then_some(State { device, ..State::default() })),
            state_only,
            circumstances,
            arena,
        })))
    }

    fn of(read: Arc<Read>) -> Self {
        Self { read, at: 0, before: 0, told: None, clock: Clock::new(false, true), time_ns: 0 }
    }

    /// The state when the snapshot was taken, if it has segments.
    pub(super) fn state(&self) -> Option<State> {
        self.read.state
    }

    /// Whether there is nothing to play.
    pub(super) fn is_state_only(&self) -> bool {
        self.read.state_only
    }

    /// Times that went back.
    pub(super) fn clamped(&self) -> u64 {
        self.clock.clamped()
    }

    /// The lines of the marks: entries that say that the program took a snapshot, once a step as a rule.
    pub(super) fn marks(&self) -> Vec<u32> {
        let Read { arena, entries, .. } = &*self.read;
        let Some(list) = arena.list(*entries) else { return Vec::new() };
        let is_mark = |&(index, item): &(usize, Value)| {
            Entry::new(arena, item, Place::Entry(index as u64 + 1)).action() == Some(Word::SNAPSHOT)
        };
        // Whoever reads the events to their end is told of more of them than a line can number.
        list.iter()
            .enumerate()
            .filter(is_mark)
            .filter_map(|(index, _)| u32::try_from(index + 1).ok())
            .collect()
    }

    /// What the file tells of the refusal at an entry.
    pub(super) fn circumstances(&self, line: u32) -> Circumstances {
        let at = self.read.circumstances.iter().find(|(at, _)| *at == line);
        at.map_or_else(Circumstances::default, |(_, told)| *told)
    }

    /// The next event.
    ///
    /// # Errors
    /// An entry lacks what its event needs.
    pub(super) fn next(&mut self, streams: &mut Streams) -> Result<Option<Event>, TraceError> {
        let Read { arena, entries, completed, .. } = &*self.read;
        if let Some(event) = self.read.before.get(self.before) {
            self.before += 1;
            return Ok(Some(*event));
        }
        let Some(list) = arena.list(*entries) else { return Ok(None) };
        while let Some(item) = list.get(self.at) {
            let index = self.at;
            self.at += 1;
            let line = line_of(index)?;
            let at = Place::Entry(line.into());
            let entry = Entry::new(arena, item, at);
            if self.told == Some(index) {
                self.told = None;
                continue;
            }
            let action = match entry.action() {
                Some(Word::ALLOC) => Action::Alloc,
                Some(Word::FREE_REQUESTED) if !completed => Action::Free,
                Some(Word::FREE_REQUESTED) => Action::Retire,
                Some(Word::FREE_COMPLETED) => Action::Free,
                Some(Word::OOM) => Action::Failure,
                _ => continue,
            };
            if let Some(time) = entry.time_ns()? {
                self.time_ns = time;
            }
            let id = match action {
                Action::Failure => 0,
                _ => entry.number(Word::ADDR, "`addr`, an address")?,
            };
            let mut event = Event {
                time_ns: self.clock.advance(self.time_ns, at)?,
                id,
                size: entry.number(Word::SIZE, "`size`, bytes from 0")?,
                thread: 0,
                stream: streams.number(entry.stream()?, at)?,
                line,
                action,
            };
            // Nothing was asked for between the request and its completion: one event.
            if action == Action::Retire
                && let Some(next) = list.get(self.at)
            {
                let next = Entry::new(arena, next, at);
                let same = next.known(Word::ADDR) == Some(id);
                if same && next.action() == Some(Word::FREE_COMPLETED) {
                    event.action = Action::Free;
                    self.told = Some(self.at);
                }
            }
            return Ok(Some(event));
        }
        Ok(None)
    }
}

fn line_of(index: usize) -> Result<u32, TraceError> {
    u32::try_from(index + 1).map_err(|_| {
        TraceError::new(
            ErrorKind::TooManyEvents,
            Place::Entry(index as u64 + 1),
            "one entry more",
            "at most 2^32 - 1 entries",
            "record fewer entries (max_entries)",
        )
    })
}

/// Counts the entries by kind, and finds the blocks that were there before them.
fn look(arena: &Arena, list: List<'_>, notes: &mut Notes) -> Result<First, TraceError> {
    let mut first = First::default();
    let mut kinds: BTreeMap<Option<Word>, u64> = BTreeMap::new();
    for (index, item) in list.iter().enumerate() {
        let entry = Entry::new(arena, item, Place::Entry(index as u64 + 1));
        let action = entry.action();
        *kinds.entry(action).or_default() += 1;
        let frees = match action {
            Some(Word::ALLOC) => {
                first.allocs += 1;
                false
            }
            Some(Word::FREE_REQUESTED) => {
                first.requested = true;
                true
            }
            Some(Word::FREE_COMPLETED) => {
                first.completed = true;
                true
            }
            Some(Word::OOM) => {
                first.refused += 1;
                continue;
            }
            _ => continue,
        };
        let Some(id) = entry.known(Word::ADDR) else { continue };
        if first.mentioned.insert(id) && frees {
            first.before.push((index, action == Some(Word::FREE_COMPLETED)));
        }
    }
    let known = [Word::ALLOC, Word::FREE_REQUESTED, Word::FREE_COMPLETED, Word::OOM].map(Some);
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|&(_, count)| core::cmp::Reverse(count));
    for (kind, count) in kinds {
        if !known.contains(&kind) {
            notes.ignored_entries += count;
        }
        let text = kind.and_then(|word| arena.text(word)).map(String::from_utf8_lossy);
        let text = text.as_deref().unwrap_or("entries without a known action");
        let name: String = text.escape_default().take(64).collect();
        notes.count_many(&name, count);
    }
    if list.dropped() > 0 {
        notes.ignored_entries += list.dropped();
        notes.count_many("entries without any field of an event", list.dropped());
    }
    Ok(first)
}

/// The parts of a snapshot.
#[derive(Clone, Copy, Debug)]
struct Parts {
    traces: Option<Value>,
    segments: Option<Value>,
}

impl Parts {
    fn of(arena: &Arena, root: Value) -> Result<Self, TraceError> {
        // What `torch.cuda.memory_snapshot()` returns is the list of segments alone.
        if let Some(list) = arena.list(root) {
            let is_segment = |item| {
                arena.get(item, Word::BLOCKS).is_some() && arena.get(item, Word::ADDRESS).is_some()
            };
            if list.len() > 0 && list.iter().all(is_segment) {
                return Ok(Self { traces: None, segments: Some(root) });
            }
        }
        let traces = arena.get(root, Word::DEVICE_TRACES);
        let segments = arena.get(root, Word::SEGMENTS);
        if traces.is_none() && segments.is_none() {
            return Err(not_a_snapshot(
                format!("{} without `device_traces`", arena.describe(Some(root))),
                "a snapshot: a dictionary with `device_traces` or `segments`",
            ));
        }
        let Some(traces) = traces else { return Ok(Self { traces, segments }) };
        let Some(devices) = arena.list(traces) else {
            return Err(not_a_snapshot(
                format!("{} as `device_traces`", arena.describe(Some(traces))),
                "a list with a list for each device",
            ));
        };
        if devices.dropped() > 0 || devices.iter().any(|device| arena.list(device).is_none()) {
            return Err(not_a_snapshot(
                "a device that is no list",
                "a list of entries for each device",
            ));
        }
        if devices.count() > MOST_DEVICES {
            return Err(not_a_snapshot(
                format!("{} devices", devices.count()),
                "at most 65,536 devices",
            ));
        }
        Ok(Self { traces: Some(traces), segments })
    }

    fn entries(&self, arena: &Arena, device: u32) -> Option<Value> {
        arena.list(self.traces?)?.get(device as usize)
    }

    fn holdings(&self, arena: &Arena, states: &BTreeMap<u32, State>) -> Vec<Holding> {
        let traces = self.traces.and_then(|traces| arena.list(traces));
        let count = traces.map_or(0, |traces| traces.len());
        let of_segments = states.keys().next_back().map_or(0, |&last| u64::from(last) + 1);
        let devices = (count as u64).max(of_segments.min(MOST_DEVICES));
        // A list may stand in many places: its kinds are counted once.
        let mut counted: BTreeMap<Option<u32>, (u64, u64)> = BTreeMap::new();
        (0..devices as u32)
            .map(|device| {
                let trace = traces.and_then(|traces| traces.get(device as usize));
                let list = trace.and_then(|trace| arena.list(trace));
                let key = match trace {
                    Some(Value::List(index)) => Some(index),
                    _ => None,
                };
                let (allocs, refused) = *counted.entry(key).or_insert_with(|| {
                    let mut counts = (0, 0);
                    for item in list.iter().flat_map(|list| list.iter()) {
                        match arena.get(item, Word::ACTION) {
                            Some(Value::Str(Word::ALLOC)) => counts.0 += 1,
                            Some(Value::Str(Word::OOM)) => counts.1 += 1,
                            _ => {}
                        }
                    }
                    counts
                });
                let state = states.get(&device).copied().unwrap_or_default();
                Holding {
                    device,
                    entries: list.map_or(0, |list| list.count()),
                    allocs,
                    refused,
                    reserved_bytes: state.reserved_bytes,
                    active_bytes: state.active_bytes,
                }
            })
            .collect()
    }

    fn note_what_is_left_out(&self, arena: &Arena, root: Value, notes: &mut Notes) {
        let count = |key| arena.get(root, key).and_then(|value| arena.list(value));
        for (key, what) in [
            (
                Word::HOST_TRACES,
                ("entry of host memory (`host_traces`)", "entries of host memory (`host_traces`)"),
            ),
            (
                Word::HOST_SEGMENTS,
                (
                    "segment of host memory (`host_segments`)",
                    "segments of host memory (`host_segments`)",
                ),
            ),
            (
                Word::EXTERNAL_ANNOTATIONS,
                ("annotation (`external_annotations`)", "annotations (`external_annotations`)"),
            ),
        ] {
            if let Some(list) = count(key).filter(|list| list.count() > 0) {
                let (one, many) = what;
                notes.left_out.push(counted(list.count(), one, many));
            }
        }
        let overflowed = match arena.get(root, Word::OVERFLOWED) {
            Some(Value::List(list)) => {
                let device = notes.device.unwrap_or(0) as usize;
                let list = arena.list(Value::List(list));
                // `False` is dropped from lists: with as many flags as devices kept, each stands where it belongs.
                list.is_some_and(|list| match list.dropped() {
                    0 => list.get(device) == Some(Value::True),
                    _ => list.iter().any(|flag| flag == Value::True),
                })
            }
            Some(value) => value == Value::True,
            None => false,
        };
        if overflowed {
            notes.left_out.push(
                "the oldest entries: the recording overflowed its ring (`trace_alloc_overflowed`), raise max_entries"
                    .to_owned(),
            );
        }
    }
}

/// The position of the device to read: the one asked for, or the busiest of those that refused a request, or the busiest; without any
/// entry, the one that holds most.
///
/// # Errors
/// The device asked for has neither an entry nor a segment, or none has.
pub(crate) fn choose_device(
    holdings: &[Holding],
    wanted: Option<u32>,
) -> Result<usize, TraceError> {
    let in_use = || holdings.iter().enumerate().filter(|(_, holding)| holding.is_in_use());
    if let Some(device) = wanted {
        if let Some((at, _)) = in_use().find(|(_, holding)| holding.device == device) {
            return Ok(at);
        }
        let known: Vec<String> = in_use().take(16).map(|(_, h)| h.device.to_string()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(TraceError::new(
            ErrorKind::NoSuchDevice,
            Place::Whole,
            format!("nothing of device {device}: no entry and no segment"),
            format!("a device of which the snapshot tells: {known}"),
            "ask for one of these (--device N), or leave --device out",
        ));
    }
    let busiest = in_use().max_by_key(|(_, holding)| {
        let trace = if holding.allocs + holding.refused > 0 { holding.entries } else { 0 };
        (holding.refused > 0, trace, holding.reserved_bytes, core::cmp::Reverse(holding.device))
    });
    match busiest {
        Some((at, _)) => Ok(at),
        None => Err(not_a_snapshot(
            "a snapshot without a single trace entry and without a segment",
            "entries in `device_traces`: memory history was not being recorded",
        )),
    }
}

fn not_a_snapshot(found: impl Into<String>, expected: &'static str) -> TraceError {
    TraceError::new(ErrorKind::NotASnapshot, Place::Whole, found, expected, REMEDY)
}

/// The blocks that were there when the trace began.
fn live_before(
    arena: &Arena,
    parts: &Parts,
    device: u32,
    list: Option<List<'_>>,
    first: First,
    streams: &mut Streams,
    notes: &mut Notes,
) -> Result<Vec<Event>, TraceError> {
    let First { requested, mut mentioned, before: freed, .. } = first;
    let mut before = Vec::new();
    for (index, completes) in freed {
        let Some(item) = list.and_then(|list| list.get(index)) else { continue };
        let line = line_of(index)?;
        let at = Place::Entry(line.into());
        let entry = Entry::new(arena, item, at);
        let id = entry.number(Word::ADDR, "`addr`, an address")?;
        let size = entry.number(Word::SIZE, "`size`, bytes from 0")?;
        let stream = streams.number(entry.stream()?, at)?;
        // Its request came before the trace, if the recorder writes requests at all.
        let action = if completes && requested { Action::Held } else { Action::Alloc };
        before.push(Event { time_ns: 0, id, size, thread: 0, stream, line, action });
    }
    let mut failed = None;
    if let Some(segments) = parts.segments {
        segments::walk(arena, segments, &mut |_| (), &mut |block| {
            let size = block.requested.unwrap_or(block.size);
            let ours = block.device.is_none_or(|of| of == device);
            let Some(id) = block.address.filter(|&id| id > 0 && size > 0 && ours) else { return };
            let action = match block.state {
                BlockState::Free => return,
                BlockState::Allocated => Action::Alloc,
                BlockState::Pending => Action::Held,
            };
            if failed.is_some() || !mentioned.insert(id) {
                return;
            }
            match streams.number(block.stream, Place::Whole) {
                Ok(stream) => {
                    before.push(Event { time_ns: 0, id, size, thread: 0, stream, line: 0, action })
                }
                Err(error) => failed = Some(error),
            }
        });
    }
    if let Some(error) = failed {
        return Err(error);
    }
    notes.preexisting_blocks = before.len() as u64;
    let held = before.iter().filter(|event| event.action == Action::Held);
    notes.preexisting_pending_blocks = held.count() as u64;
    Ok(before)
}
