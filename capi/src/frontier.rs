//! Axes and frontiers: plain values, which need no handle.

use crate::status::{Fault, Output, guard, input, inputs, strandline_status};
use strandline_core::frontier::{Causality, Merge};
use strandline_core::{Axis, Entry, Frontier, FrontierRef};

/// One axis of a frontier: up to which epoch something is known of it, or waited for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct strandline_entry {
    /// Names the axis: strandline_axis_queue makes such a number.
    pub axis: u64,
    /// From 1 on; 0 means nothing yet and does not stand in a frontier.
    pub epoch: u64,
}

/// A vector clock: each axis at most once, in any order, 255 entries at most. The memory is the caller's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct strandline_frontier {
    /// May be null if there are none.
    pub entries: *const strandline_entry,
    /// How many.
    pub count: usize,
}

/// How two frontiers are ordered.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum strandline_order {
    /// The same.
    EQUAL = 0,
    /// The first happened before the second, which covers it.
    BEFORE = 1,
    /// The first covers the second.
    AFTER = 2,
    /// Neither covers the other.
    CONCURRENT = 3,
}

/// A frontier as the core has it; one entry, the usual case, without a copy to the heap.
pub(crate) enum Given {
    None,
    One(Entry),
    Many(Frontier),
}

impl Given {
    /// # Safety
    /// `entries` is null or points to `count` entries that nobody changes during the call.
    #[inline]
    pub(crate) unsafe fn read(frontier: &strandline_frontier) -> Result<Self, Fault> {
        // SAFETY: the caller's.
        let entries = unsafe { inputs(frontier.entries, frontier.count, "entries")? };
        match entries {
            [] => Ok(Self::None),
            [one] if one.epoch != 0 => Ok(Self::One(core_entry(one))),
            several => Frontier::from_entries(several.iter().map(core_entry))
                .map(Self::Many)
                .map_err(|error| Fault::new(strandline_status::INVALID, error)),
        }
    }

    #[inline]
    pub(crate) fn as_ref(&self) -> FrontierRef<'_> {
        match self {
            Self::None => FrontierRef::EMPTY,
            Self::One(entry) => FrontierRef::single(entry),
            Self::Many(frontier) => frontier.as_ref(),
        }
    }
}

#[inline]
fn core_entry(entry: &strandline_entry) -> Entry {
    Entry::new(Axis::from_bits(entry.axis), entry.epoch)
}

/// Writes entries into a caller's buffer of `capacity` entries; says how many there are also where they do not fit.
///
/// # Safety
/// `entries` is null or has room for `capacity` entries.
pub(crate) unsafe fn give(
    frontier: FrontierRef<'_>,
    entries: *mut strandline_entry,
    capacity: usize,
    count: &Output<usize>,
) -> Result<(), Fault> {
    let all = frontier.entries();
    count.set(all.len());
    if all.len() > capacity {
        return Err(Fault::new(
            strandline_status::BUFFER_TOO_SMALL,
            format_args!("{} entries, and room for {capacity}", all.len()),
        ));
    }
    if all.is_empty() {
        return Ok(());
    }
    // SAFETY: the caller's.
    unsafe { Output::new(entries, "entries")? };
    for (index, entry) in all.iter().enumerate() {
        let entry = strandline_entry { axis: entry.axis.to_bits(), epoch: entry.epoch };
        // SAFETY: neither null nor misaligned, and there is room for `capacity` entries.
        unsafe { entries.add(index).write(entry) };
    }
    Ok(())
}

/// The axis of a device's queue. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strandline_axis_queue(session: u8, machine: u8, device: u8, queue: u8) -> u64 {
    Axis::queue(device, queue).with_session(session).with_machine(machine).to_bits()
}

/// The axis of a host thread or of whatever else makes progress. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strandline_axis_host(session: u8, machine: u8, ordinal: u32) -> u64 {
    Axis::host(ordinal).with_session(session).with_machine(machine).to_bits()
}

/// How two frontiers are ordered. Any thread.
///
/// # Safety
/// Pointers are null or point to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strandline_frontier_compare(
    a: *const strandline_frontier,
    b: *const strandline_frontier,
    order: *mut strandline_order,
) -> strandline_status {
    guard(|| {
        // SAFETY: the caller's.
        let (a, b, order) = unsafe {
            (
                Given::read(input(a, "a")?)?,
                Given::read(input(b, "b")?)?,
                Output::new(order, "order")?,
            )
        };
        order.set(match a.as_ref().compare(b.as_ref()) {
            Causality::Equal => strandline_order::EQUAL,
            Causality::Before => strandline_order::BEFORE,
            Causality::After => strandline_order::AFTER,
            Causality::Concurrent => strandline_order::CONCURRENT,
        });
        Ok(())
    })
}

/// What covers both: of each axis the later epoch. Writes at most `capacity` entries, sorted, and how many there are; with
/// BUFFER_TOO_SMALL nothing but the count is written. FULL: more than 255 axes. Any thread.
///
/// # Safety
/// Pointers are null or point to what their types say; `entries` has room for `capacity` of them, and may be that of `a` or `b`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strandline_frontier_merge(
    a: *const strandline_frontier,
    b: *const strandline_frontier,
    entries: *mut strandline_entry,
    capacity: usize,
    count: *mut usize,
) -> strandline_status {
    guard(|| {
        // SAFETY: the caller's. What is read is copied before anything is written.
        let (mut merged, b, count) = unsafe {
            let a = Given::read(input(a, "a")?)?.as_ref().to_frontier();
            (a, Given::read(input(b, "b")?)?, Output::new(count, "count")?)
        };
        if merged.merge(b.as_ref()) != Merge::Done {
            return Err(Fault::new(strandline_status::FULL, "more axes than a frontier can have"));
        }
        // SAFETY: the caller's.
        unsafe { give(merged.as_ref(), entries, capacity, &count) }
    })
}
