//! PyTorch's memory snapshots (`torch.cuda.memory._dump_snapshot`), as events.
//!
//! ```text
//!   { "device_traces": [ [ {action, addr, size, stream, time_us, frames…}, … ], … one list a device ],
//!     "segments":      [ {address, device, blocks: [ {size, state, …}, … ]}, … ] }
//! ```
//!
//! | action | event |
//! | --- | --- |
//! | `alloc` | [`Action::Alloc`] |
//! | `free_requested` | [`Action::Free`], in the order of the block's stream |
//! | `oom` | [`Action::Failure`] |
//! | `free_completed`, `segment_*`, `snapshot` and other marks | none, counted in [`Notes::ignored_entries`] |
//!
//! `free_requested` is the free, since that is when the program gave the block up; `free_completed` comes when PyTorch's
//! own allocator has seen the last stream that used it, which is for the replayed pool to work out.
//!
//! **Blocks from before the trace.** Recording often starts late, or its ring of entries wraps. A block whose first
//! mention is its free was live at the start, and so was one that the segments list as allocated and the trace never mentions
//! (weights, most often). They are put first, as allocations at time 0, or the peak would be too low. Their
//! [`Event::line`] is the entry of their free, or 0. The segments are read as far as they make sense.
//!
//! **Devices.** One is replayed: the one asked for, or the one with the most entries.
//!
//! Memory: the pickle's arena while reading (limited), then 40 bytes an event. Cost: O(entries).

use super::error::{ErrorKind, Place, TraceError};
use super::fields::Clock;
use super::input::Input;
use super::pickle::{self, Arena, Value, Word};
use super::streams::Streams;
use super::{Notes, ReadOptions};
use crate::event::{Action, Event};
use std::collections::HashSet;

const REMEDY: &str = "write the file with torch.cuda.memory._dump_snapshot, after torch.cuda.memory._record_memory_history()";

/// Reads a whole snapshot.
///
/// # Errors
/// The pickle is broken or no snapshot, the device is missing, or an entry lacks what its event needs.
pub(super) fn read(
    input: &mut Input<'_>,
    options: &ReadOptions,
    streams: &mut Streams,
    notes: &mut Notes,
) -> Result<Vec<Event>, TraceError> {
    let (arena, root) = pickle::read(input, options.limits.pickle_bytes)?;
    let (device, trace) = choose(&arena, root, options.device, notes)?;
    let list = arena.list(trace);
    let (items, dropped) = list.map_or((&[][..], 0), |l| (&l.items[..], l.dropped));
    if dropped > 0 {
        return Err(not_a_snapshot(
            format!("{dropped} entries of device {device} without any field of an event"),
            "entries with `action`, `addr` and `size`",
        ));
    }
    let mut clock = Clock::new(false, options.lenient);
    let mut events = Vec::new();
    let mut time_us = 0;
    for (index, &item) in items.iter().enumerate() {
        let Ok(line) = u32::try_from(index + 1) else {
            return Err(TraceError::new(
                ErrorKind::TooManyEvents,
                Place::Entry(index as u64 + 1),
                "one entry more",
                "at most 2^32 - 1 entries",
                "record fewer entries",
            ));
        };
        let entry = Entry { arena: &arena, item };
        let Some(action) = entry.action()? else {
            notes.ignored_entries += 1;
            continue;
        };
        // Snapshots before PyTorch 2.1 have no times.
        if entry.get(Word::TIME_US).is_some() {
            time_us = entry.number(Word::TIME_US, "`time_us`, microseconds from 0")?;
        }
        let Some(time) = time_us.checked_mul(1000) else {
            return Err(entry.error(
                ErrorKind::Overflow,
                time_us.to_string(),
                "a time in microseconds below 2^54",
            ));
        };
        let id = match action {
            Action::Failure => 0,
            _ => entry.number(Word::ADDR, "`addr`, an address")?,
        };
        events.push(Event {
            time_ns: clock.advance(time, Place::Entry(line.into()))?,
            id,
            size: entry.number(Word::SIZE, "`size`, bytes from 0")?,
            stream: streams.number(entry.stream()?, Place::Entry(line.into()))?,
            thread: 0,
            line,
            action,
        });
    }
    notes.clamped_times = clock.clamped();
    let mut before = live_before(&arena, root, device, &events, streams)?;
    notes.preexisting_blocks = before.len() as u64;
    if before.is_empty() {
        return Ok(events);
    }
    before.append(&mut events);
    Ok(before)
}

/// The device to replay and its list.
fn choose(
    arena: &Arena,
    root: Value,
    wanted: Option<u32>,
    notes: &mut Notes,
) -> Result<(u32, Value), TraceError> {
    let traces = arena.get(root, Word::DEVICE_TRACES);
    let Some(devices) = traces.and_then(|t| arena.list(t)) else {
        return Err(match traces {
            None => not_a_snapshot(
                format!("{} without `device_traces`", arena.describe(Some(root))),
                "a snapshot: a dictionary with `device_traces`",
            ),
            Some(_) => not_a_snapshot(
                format!("{} as `device_traces`", arena.describe(traces)),
                "a list with a list for each device",
            ),
        });
    };
    let length = |value: Value| arena.list(value).map(|l| l.items.len() as u64 + l.dropped);
    if devices.dropped > 0 || devices.items.iter().any(|&d| length(d).is_none()) {
        return Err(not_a_snapshot(
            "a device that is no list",
            "a list of entries for each device",
        ));
    }
    notes.devices = devices.items.len() as u32;
    let longest = (0..devices.items.len())
        .max_by_key(|&d| (length(devices.items[d]), core::cmp::Reverse(d)))
        .filter(|&d| length(devices.items[d]) > Some(0));
    let chosen = match wanted {
        Some(device) => device as usize,
        None => match longest {
            Some(device) => device,
            None => {
                return Err(not_a_snapshot(
                    "a snapshot without a single trace entry",
                    "entries in `device_traces`: memory history was not being recorded",
                ));
            }
        },
    };
    let Some(&trace) = devices.items.get(chosen) else {
        return Err(TraceError::new(
            ErrorKind::NoSuchDevice,
            Place::Whole,
            format!("{} devices", devices.items.len()),
            format!("a device {chosen}"),
            "ask for a device that the snapshot has, counted from 0",
        ));
    };
    notes.device = Some(chosen as u32);
    Ok((chosen as u32, trace))
}

fn not_a_snapshot(found: impl Into<String>, expected: &'static str) -> TraceError {
    TraceError::new(ErrorKind::NotASnapshot, Place::Whole, found, expected, REMEDY)
}

/// Allocations of the blocks that were live when the trace began.
fn live_before(
    arena: &Arena,
    root: Value,
    device: u32,
    events: &[Event],
    streams: &mut Streams,
) -> Result<Vec<Event>, TraceError> {
    let mut mentioned = HashSet::new();
    let mut before = Vec::new();
    for event in events {
        if event.action != Action::Failure
            && mentioned.insert(event.id)
            && event.action == Action::Free
        {
            before.push(Event { time_ns: 0, action: Action::Alloc, ..*event });
        }
    }
    let Some(segments) = arena.get(root, Word::SEGMENTS).and_then(|s| arena.list(s)) else {
        return Ok(before);
    };
    // A list may stand in many places: walked once for each, a small file could keep a reader busy for years.
    let mut left = arena.dictionaries();
    for &segment in &segments.items {
        let segment = Entry { arena, item: segment };
        let of_device = segment.known(Word::DEVICE).is_none_or(|d| d == u64::from(device));
        let blocks = segment.get(Word::BLOCKS).and_then(|b| arena.list(b));
        let (true, Some(base), Some(blocks)) = (of_device, segment.known(Word::ADDRESS), blocks)
        else {
            continue;
        };
        let mut next = Some(base);
        for &block in &blocks.items {
            left = match left.checked_sub(1) {
                Some(left) => left,
                None => return Ok(before),
            };
            let block = Entry { arena, item: block };
            // Older snapshots give a block no address: it follows the one before it.
            let address = block.known(Word::ADDRESS).or(next);
            let (Some(address), Some(size)) = (address, block.known(Word::SIZE)) else { break };
            next = address.checked_add(size);
            let size = block.known(Word::REQUESTED_SIZE).filter(|&s| s > 0).unwrap_or(size);
            let live = block.get(Word::STATE) == Some(Value::Str(Word::ACTIVE_ALLOCATED));
            if live && address > 0 && size > 0 && mentioned.insert(address) {
                let stream = streams.number(segment.stream()?, Place::Whole)?;
                before.push(Event {
                    time_ns: 0,
                    id: address,
                    size,
                    stream,
                    thread: 0,
                    line: 0,
                    action: Action::Alloc,
                });
            }
        }
    }
    Ok(before)
}

/// A dictionary of the snapshot.
struct Entry<'p> {
    arena: &'p Arena,
    item: Value,
}

impl Entry<'_> {
    fn get(&self, key: Word) -> Option<Value> {
        self.arena.get(self.item, key)
    }

    #[cold]
    fn error(&self, kind: ErrorKind, found: String, expected: &'static str) -> TraceError {
        let at = Place::Byte(self.arena.offset(self.item));
        TraceError::new(kind, at, found, expected, REMEDY)
    }

    /// A number from 0 to 2^64 - 1, if that is what is there.
    fn known(&self, key: Word) -> Option<u64> {
        match self.get(key)? {
            Value::Int(value) => u64::try_from(value).ok(),
            Value::Uint(value) => Some(value),
            _ => None,
        }
    }

    /// A number from 0 to 2^64 - 1 that must be there.
    fn number(&self, key: Word, expected: &'static str) -> Result<u64, TraceError> {
        if let Some(value) = self.known(key) {
            return Ok(value);
        }
        let found = self.get(key);
        let kind = match found {
            Some(Value::Int(_)) => ErrorKind::Negative,
            Some(Value::Huge) => ErrorKind::Overflow,
            _ => ErrorKind::NotASnapshot,
        };
        Err(self.error(kind, self.arena.describe(found), expected))
    }

    /// The stream's handle as 64 bits; 0, the default stream, if there is none.
    fn stream(&self) -> Result<u64, TraceError> {
        match self.get(Word::STREAM) {
            None => Ok(0),
            Some(Value::Int(value)) => Ok(value as u64),
            Some(Value::Uint(value)) => Ok(value),
            found => Err(self.error(
                ErrorKind::NotASnapshot,
                self.arena.describe(found),
                "`stream`, a number of 64 bits",
            )),
        }
    }

    /// What the entry asks of an allocator, or None for what PyTorch's allocator did inside.
    fn action(&self) -> Result<Option<Action>, TraceError> {
        let action = self.get(Word::ACTION);
        if let Some(Value::Str(word)) = action {
            match word {
                Word::ALLOC => return Ok(Some(Action::Alloc)),
                Word::FREE_REQUESTED => return Ok(Some(Action::Free)),
                Word::OOM => return Ok(Some(Action::Failure)),
                Word::FREE_COMPLETED
                | Word::SEGMENT_ALLOC
                | Word::SEGMENT_FREE
                | Word::SEGMENT_MAP
                | Word::SEGMENT_UNMAP
                | Word::SNAPSHOT
                | Word::WORKSPACE_SNAPSHOT
                | Word::USER_DEFINED => return Ok(None),
                _ => {}
            }
        }
        Err(self.error(
            ErrorKind::BadAction,
            self.arena.describe(action),
            "`action`, one that PyTorch records (`alloc`, `free_requested`, …)",
        ))
    }
}
