//! What happened in a recorded run: the peaks, each out-of-memory, who held the memory, and who kept the rest from being of use.
//!
//! ```text
//!   Run ─▶ moments ─▶ peaks, refusals with a verdict each
//!    └──▶ again, up to the entry in question ─▶ unused bytes by kind, holders, pinners
//! ```
//!
//! **Unused bytes** are reserved and nobody's: `rounding` within allocated blocks, `waiting` for streams, and free blocks, which are
//! seen from the stream of the entry in question: of `private_pools`, of `other_streams`, `whole_segments` (whole pages of
//! expandable ones) that could go back to the device at once, or `inside_segments` beside something live.
//!
//! **What a file does not tell** (its segments, what the device had free) is None here, null in JSON, and "not told" in the text; a verdict
//! that depends on it is left open.
//!
//! **Verdicts.** A request was refused for *shortage* if live and asked bytes exceed what the process had and the device had free. It
//! was *another process* if they do so now and did not before: the process itself has had more of this device. Otherwise
//! they would have fitted, packed: *fragmentation*, or *another pool* if the free bytes of its own stream's pool with those of the
//! device are too few.
//!
//! **A line pins** free bytes if they would be returned or joined were its blocks elsewhere: all free bytes of a segment that
//! nothing else lives in, and free blocks on both sides of a run of its blocks.
//!
//! Cost: one run and a few entries more; O(blocks) for each of the first [`MOST_REFUSALS`] refusals.

mod checkpoints;
mod json;
mod moments;
mod picture;
mod state;
#[cfg(test)]
mod tests;
mod text;

use crate::certify::{Certificate, Entries, Moment, Run, certify};
use crate::series::{Sample, Timeline};
use crate::snapshot::{Action, DeviceTrace, Snapshot};
use checkpoints::{Checkpoint, Checkpoints};
use moments::Follower;
pub use moments::Moments;
pub use state::{Holder, Pin, Pinner, Pins, Unused};
use std::sync::Arc;

/// Refusals that are looked at one by one.
pub const MOST_REFUSALS: usize = 64;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Live and asked bytes exceed the memory there was.
    Shortage,
    /// They would have fitted, packed.
    Fragmentation,
    /// The free bytes are in other streams' pools, or private ones.
    OtherPool,
    /// Somebody else took memory that the process had before.
    OtherProcess,
}

impl Verdict {
    /// The key's value.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Shortage => "shortage",
            Self::Fragmentation => "fragmentation",
            Self::OtherPool => "other_pool",
            Self::OtherProcess => "other_process",
        }
    }
}

/// A request that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The device.
    pub device: u32,
    /// Bytes at that moment; its entry is the refusal's.
    pub moment: Moment,
    /// Bytes asked for.
    pub requested: u64,
    /// Bytes that the device had free, if that was recorded.
    pub device_free: Option<u64>,
    /// What the allocator had, if the file tells of its segments.
    pub had: Option<Had>,
    /// Why, if that can be told.
    pub verdict: Option<Verdict>,
}

/// What the allocator had when it refused a request, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Had {
    /// All that it had taken from the device.
    pub reserved: u64,
    /// The largest free block of any pool.
    pub largest_hole: u64,
    /// Free bytes that the request's own stream and pool had.
    pub own_free: u64,
}

/// Which entry is looked at closely, and why that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// The one that was asked for.
    Asked,
    /// The first refusal.
    Refusal,
    /// The peak of the allocated bytes.
    Peak,
    /// The end: there is no request in the trace.
    End,
}

impl Focus {
    fn words(self) -> &'static str {
        match self {
            Self::Asked => "as asked for",
            Self::Refusal => "the first out-of-memory",
            Self::Peak => "the peak of the allocated bytes",
            Self::End => "the state at the end; no request was recorded",
        }
    }
}

/// A recorded run, explained.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The device.
    pub device: u32,
    /// Devices that the file lists.
    pub devices: u32,
    /// Entries of the device's trace.
    pub entries: usize,
    /// How far the twin reproduces the run.
    pub certificate: Certificate,
    /// The moments of the most allocated, active and reserved bytes.
    pub peaks: [Moment; 3],
    /// Refusals, the first [`MOST_REFUSALS`].
    pub refusals: Vec<Refusal>,
    /// All refusals.
    pub refusals_total: u64,
    /// The moment that is looked at closely.
    pub at: Moment,
    /// Why that one.
    pub focus: Focus,
    /// Reserved bytes that nobody used then, if the file tells of its segments.
    pub unused: Option<Unused>,
    /// Bytes by source line, most first.
    pub holders: Vec<Holder>,
    /// Bytes by call stack, most first: the first thousand.
    pub stacks: Vec<Holder>,
    /// Lines that pin free bytes, most first.
    pub pinners: Vec<Pinner>,
    /// The run, for a picture: reserved (as committed), active (as reserved), allocated (as live) and pending bytes.
    pub timeline: Timeline,
}

/// Explains one device's run: at `entry` (counted from 1) if that is given, else at its first refusal, or at its peak.
#[must_use]
pub fn explain(snapshot: &Snapshot, device: &DeviceTrace, entry: Option<u32>) -> Explanation {
    look(snapshot, device.into(), entry, false, &mut |_| ())
}

/// As [`explain`], with all the moments of the run, which is played once for both.
#[must_use]
pub fn explain_with_moments(
    snapshot: &Snapshot,
    device: &Arc<DeviceTrace>,
    entry: Option<u32>,
) -> (Explanation, Moments) {
    let mut follower = Follower::new(device);
    let entries = Entries::Shared(Arc::clone(device));
    let told = look(snapshot, entries, entry, false, &mut |run| follower.see(run));
    let moments = follower.finish(&told.certificate);
    (told, moments)
}

/// Explains one device's run at the peak of its allocated bytes, whatever failed.
#[must_use]
pub fn explain_peak(snapshot: &Snapshot, device: &DeviceTrace) -> Explanation {
    look(snapshot, device.into(), None, true, &mut |_| ())
}

/// `follow` sees the run before its first entry and at each moment of it.
fn look<'d>(
    snapshot: &Snapshot,
    device: Entries<'d>,
    entry: Option<u32>,
    at_peak: bool,
    follow: &mut dyn FnMut(&Run<'d>),
) -> Explanation {
    let mut peaks = [Moment::default(); 3];
    let (mut refusals, mut refusals_total) = (Vec::new(), 0);
    // What the process had at once, the device's free bytes included: the device has at least that.
    let mut had = 0;
    let mut timeline = Timeline::new();
    let mut checkpoints = Checkpoints::new(device.entries.len());
    let mut before: [Option<Checkpoint<'d>>; 3] = [None, None, None];
    let [before_asked, before_refusal, before_peak] = &mut before;
    let certificate = certify(device.clone(), snapshot.recorded.as_ref(), &mut |run, moment| {
        follow(run);
        let latest = checkpoints.see(run);
        if entry.is_some_and(|entry| moment.entry <= entry) {
            *before_asked = Some(latest.clone());
        }
        if moment.allocated > peaks[0].allocated || before_peak.is_none() {
            *before_peak = Some(latest.clone());
        }
        let of = |m: &Moment| [m.allocated, m.active, m.reserved];
        for (index, peak) in peaks.iter_mut().enumerate() {
            if of(&moment)[index] > of(peak)[index] {
                *peak = moment;
            }
        }
        had = had.max(moment.reserved);
        timeline.push(
            moment.entry.into(),
            Sample {
                committed: moment.reserved,
                reserved: moment.active,
                live: moment.allocated,
                pending: moment.active.saturating_sub(moment.allocated),
                slabs: 0,
            },
        );
        let last = (moment.entry as usize).checked_sub(1).map(|at| device.entries[at]);
        if let Some(entry) = last.filter(|e| e.action == Action::OutOfMemory) {
            refusals_total += 1;
            before_refusal.get_or_insert_with(|| latest.clone());
            if refusals.len() < MOST_REFUSALS {
                refusals.push(state::refusal(run, device.number, moment, entry, had));
            }
            had = had.max(moment.reserved.saturating_add(entry.device_free().unwrap_or(0)));
        }
    });
    let refused = refusals.first().filter(|_| !at_peak);
    let (focus, at) = match (entry, refused) {
        (Some(entry), _) => (Focus::Asked, entry),
        // The refusal's own entry changes nothing.
        (None, Some(refusal)) => (Focus::Refusal, refusal.moment.entry),
        // There the segments are as the file has them.
        (None, None) if device.is_state_only() => {
            (Focus::End, u32::try_from(device.entries.len()).unwrap_or(u32::MAX))
        }
        (None, None) => (Focus::Peak, peaks[0].entry),
    };
    let [asked, refusal, peak] = before;
    let from = match focus {
        Focus::Asked => asked,
        Focus::Refusal => refusal,
        Focus::Peak | Focus::End => peak,
    };
    let new = || Run::new(device.clone(), &certificate.settings, certificate.source);
    let mut run = from.map_or_else(new, |from| Run::clone(&from));
    while run.moment().entry < at && run.step() {}
    let at = run.moment();
    let stream = device.entries.get((at.entry as usize).saturating_sub(1)).map_or(0, |e| e.stream);
    let (holders, stacks) = state::holders(&run, &snapshot.stacks);
    Explanation {
        device: device.number,
        devices: snapshot.listed,
        entries: device.entries.len(),
        peaks,
        refusals,
        refusals_total,
        at,
        focus,
        unused: run.tells_segments().then(|| state::unused(&run, stream)),
        holders,
        stacks,
        pinners: state::pins(&run, &snapshot.stacks).lines,
        timeline,
        certificate,
    }
}
