//! The first step of a trace as a plan's problem, and what follows it as a trace of its own.
//!
//! ```text
//!   trace      … set up │ first step   │ next step │ next step …
//!                       └─ recorded ───┘└──────── the rest ─────┘    first the blocks that are live where it begins, then its steps
//! ```
//!
//! What the plan knows is the first step, and what is live at its end. That lives on beyond the plan's knowledge, so it is the plan's
//! prologue, requested once, with bytes of its own:
//!
//! - a block that was live through the whole step, such as a weight;
//! - a block that the step made and did not free. Either no later step makes it again, as an optimizer's state; or each step frees what the
//!   one before it made, and has the same bytes for its own. Where the recorded step freed one of the same size that was there before it, before it
//!   made its own, as gradients are, the next step is taken to free at the same time, and meanwhile the bytes are others'.
//!
//! Cost: O(n). Memory: the trace's steps, and the rest as text.

use crate::event::{Action, Event};
use crate::format::{Place, ReadOptions, TraceWriter, WriteFormat};
use crate::lifetimes::BlockLife;
use crate::session::{Input, SessionError, TraceFile};
use crate::steps::{self, Steps};
use crate::validate::{Step, What};
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::sync::Arc;

/// A request of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedRequest {
    /// Which of the [blocks](Recorded::blocks) it gets: two requests may have one.
    pub block: usize,
    /// The number of the first request by which it is over; the number of requests where that is the step's end.
    pub until: u32,
}

/// The first step of a trace, and what follows.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// What is to be placed: times are steps of the trace from the recorded one's beginning.
    pub blocks: Vec<BlockLife>,
    /// When the place of each block is not in use within the step, if there is such a time.
    pub gaps: Vec<Option<(u64, u64)>>,
    /// Who gets them, in order: first the prologue.
    pub requests: Vec<PlannedRequest>,
    /// Requests of the prologue.
    pub prologue: usize,
    /// Requests of the recorded step.
    pub step_requests: usize,
    /// Events before the rest: the set-up's and the recorded step's.
    pub events_before: u64,
    /// The most bytes in use at once in those.
    pub peak_before: u64,
    /// Whole steps that were found, the recorded one among them.
    pub steps: usize,
    /// How they were found.
    pub by: steps::By,
    /// What follows the recorded step.
    pub rest: TraceFile,
    /// Where steps begin in the rest: the events before them.
    pub begins: Vec<u64>,
}

/// Text in memory.
#[derive(Debug)]
struct Text(Arc<[u8]>);

impl Input for Text {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.0.clone())))
    }
}

/// A block while it is live.
#[derive(Clone, Copy)]
struct Live {
    /// The number of its allocation.
    number: u64,
    size: u64,
    stream: u32,
    line: u32,
    /// Of one that the recorded step made: which of its requests, and when.
    made: Option<(usize, u64)>,
    is_retired: bool,
}

const NO_STEP: &str = "no step repeats in this trace; `fit` without --plan finds the best pool for all of it, and `strandline plan` the least \
    memory. Steps are told by marks (snapshots that the recorded program took) or found where the same requests come again with as much live";

/// Reads a trace, finds its steps, and records the first.
///
/// # Errors
/// The trace cannot be read or is not sound, no step repeats in it, or nothing follows the first.
pub fn record(trace: &TraceFile) -> Result<Recorded, SessionError> {
    let reader = trace.open()?;
    if reader.is_state_only() {
        return Err(SessionError::StateOnly(trace.path().to_owned()));
    }
    let marks = reader.marks();
    let mut reader = reader.steps();
    let mut all = Vec::new();
    for step in reader.by_ref() {
        all.push(step.map_err(|error| SessionError::Trace(trace.path().to_owned(), error))?);
    }
    let no_step = |what: &str| SessionError::File(trace.path().to_owned(), None, what.to_owned());
    let Some(Steps { cuts, by }) = steps::find(&all, &marks) else { return Err(no_step(NO_STEP)) };
    let (from, to) = (cuts[0], cuts[1]);
    let is_request = |step: &Step| matches!(step.what, What::Alloc(_));
    if !all[to..].iter().any(is_request) {
        return Err(no_step(
            "nothing is requested after the first step: a plan has nothing to be followed by",
        ));
    }
    let (recorded, live, peak_before) = first_step(&all[..to], from);
    let Some(Problem { blocks, gaps, requests, prologue }) = recorded else {
        return Err(no_step("the first step requests nothing that a plan could place"));
    };
    let names = reader.events().streams();
    let (text, held) = rest(&all[to..], &live, names)
        .map_err(|error| SessionError::Open(trace.path().to_owned(), error))?;
    let begin = |&cut: &usize| (cut - to + held) as u64;
    let name = format!("{}, after its first step", trace.path().display());
    Ok(Recorded {
        step_requests: all[from..to].iter().filter(|step| is_request(step)).count(),
        events_before: to as u64,
        peak_before,
        steps: cuts.len() - 1,
        by,
        begins: cuts.iter().filter(|&&cut| cut >= to && cut < all.len()).map(begin).collect(),
        rest: TraceFile::of(name, Arc::new(Text(text.into())), ReadOptions::default()),
        blocks,
        gaps,
        requests,
        prologue,
    })
}

/// See [`Recorded`].
struct Problem {
    blocks: Vec<BlockLife>,
    gaps: Vec<Option<(u64, u64)>>,
    requests: Vec<PlannedRequest>,
    prologue: usize,
}

/// The problem of the step that begins at `from`, what is live at its end, by slot, and the most bytes in use at once until then.
fn first_step(all: &[Step], from: usize) -> (Option<Problem>, BTreeMap<u32, Live>, u64) {
    let mut live: BTreeMap<u32, Live> = BTreeMap::new();
    let mut number = 0;
    let (mut bytes, mut most) = (0, 0);
    // Blocks of the step: when they begin and end.
    let mut made: Vec<BlockLife> = Vec::new();
    // By size and stream, when the step freed blocks that were there before it, the first allocated first.
    let mut freed_old: BTreeMap<(u64, u32), BTreeMap<u64, u64>> = BTreeMap::new();
    for (at, step) in all.iter().enumerate() {
        let now = at.checked_sub(from).map(|now| now as u64);
        match step.what {
            What::Alloc(slot) | What::Held(slot) => {
                let &Step { size, stream, line, .. } = step;
                let is_retired = matches!(step.what, What::Held(_));
                let of_step = now.map(|lower| {
                    made.push(BlockLife { lower, upper: u64::MAX, size, stream, line });
                    (made.len() - 1, lower)
                });
                live.insert(slot, Live { number, size, stream, line, made: of_step, is_retired });
                bytes += size;
                most = most.max(bytes);
                number += 1;
            }
            What::Retire(slot) => {
                if let Some(block) = live.get_mut(&slot) {
                    block.is_retired = true;
                }
            }
            What::Free(slot) => {
                let Some(freed) = live.remove(&slot) else { continue };
                bytes -= freed.size;
                let Some(now) = now else { continue };
                match freed.made {
                    Some((block, _)) => made[block].upper = now,
                    None => {
                        let alike = freed_old.entry((freed.size, freed.stream)).or_default();
                        alike.insert(freed.number, now);
                    }
                }
            }
            What::Failure => {}
        }
    }
    let end = (all.len() - from) as u64;
    let mut held: Vec<Live> = live.values().copied().collect();
    held.sort_unstable_by_key(|block| block.number);
    let mut blocks = Vec::new();
    // When the prologue's blocks are over, and which block each request of the step gets.
    let mut over: Vec<u64> = Vec::new();
    let mut gaps: Vec<Option<(u64, u64)>> = Vec::new();
    let mut gets: Vec<Option<usize>> = vec![None; made.len()];
    for block in &held {
        let &Live { size, stream, line, made, .. } = block;
        // The next step makes such a block where this one makes it: by then the one before is over, or it will not be made again.
        if let Some((request, _)) = made {
            gets[request] = Some(blocks.len());
        }
        let made_at = made.map_or(end, |(_, lower)| lower);
        let alike = made.and_then(|_| freed_old.get_mut(&(size, stream)));
        let freed_at = alike.and_then(BTreeMap::pop_first).map(|(_, freed)| freed);
        let gap = freed_at.filter(|&freed| freed < made_at).map(|freed| (freed, made_at));
        over.push(gap.map_or(made_at, |(freed, _)| freed));
        gaps.push(gap);
        blocks.push(BlockLife { lower: 0, upper: end, size, stream, line });
    }
    let prologue = blocks.len();
    for (request, block) in made.iter().enumerate() {
        if block.upper != u64::MAX {
            gets[request] = Some(blocks.len());
            blocks.push(*block);
            gaps.push(None);
        }
    }
    let step: Vec<(u64, u64, usize)> = made
        .iter()
        .zip(gets)
        .filter_map(|(life, block)| Some((life.lower, life.upper.min(end), block?)))
        .collect();
    if step.is_empty() {
        return (None, live, most);
    }
    let number = |time: u64| (prologue + step.partition_point(|&(lower, ..)| lower < time)) as u32;
    let requests = (0..prologue)
        .map(|block| PlannedRequest { block, until: number(over[block]) })
        .chain(step.iter().map(|&(_, upper, block)| PlannedRequest { block, until: number(upper) }))
        .collect();
    (Some(Problem { blocks, gaps, requests, prologue }), live, most)
}

/// A trace of what is live, then of these steps; and how many events come first.
fn rest(steps: &[Step], live: &BTreeMap<u32, Live>, names: &[u64]) -> io::Result<(Vec<u8>, usize)> {
    let mut out = TraceWriter::new(Vec::new(), WriteFormat::Compact)?;
    let start = steps.first().map_or(0, |step| step.time_ns);
    let mut write = |action, slot: Option<u32>, size, stream: u32, time_ns| {
        // An id is above 0.
        let id = slot.map_or(0, |slot| u64::from(slot) + 1);
        let event = Event { time_ns, id, size, thread: 0, stream, line: 0, action };
        let name = names.get(stream as usize).copied().unwrap_or_default();
        out.write(&event, name, Place::Whole).map_err(|error| io::Error::other(error.to_string()))
    };
    let mut held: Vec<(&u32, &Live)> = live.iter().collect();
    held.sort_unstable_by_key(|(_, block)| block.number);
    for &(&slot, block) in &held {
        let action = if block.is_retired { Action::Held } else { Action::Alloc };
        write(action, Some(slot), block.size, block.stream, 0)?;
    }
    for step in steps {
        let (action, slot) = match step.what {
            What::Alloc(slot) => (Action::Alloc, Some(slot)),
            What::Held(slot) => (Action::Held, Some(slot)),
            What::Retire(slot) => (Action::Retire, Some(slot)),
            What::Free(slot) => (Action::Free, Some(slot)),
            What::Failure => (Action::Failure, None),
        };
        write(action, slot, step.size, step.stream, step.time_ns.saturating_sub(start))?;
    }
    Ok((out.finish()?, held.len()))
}

#[cfg(test)]
mod tests;
