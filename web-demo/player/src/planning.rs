//! The interface `planning`: the least memory for a trace whose future is known, as `strandline plan` finds it, and pools that follow such a plan.
//!
//! ```text
//!   trace ─▶ lifetimes ─▶ searches, each from the beginning with a seed and a time of its own; the best is kept ─▶ check ─▶ places, plan file
//! ```
//!
//! The command lets two workers search beside each other, with even and odd seeds. Here is one thread, and a search cannot be interrupted
//! from outside: whoever drives it makes searches that become longer, and ends between them.

use crate::bindings::planning::{Guest, GuestProblem, Plan, Problem as ProblemHandle, Source};
use crate::bindings::{Player, stage};
use crate::play::{Opened, open, told};
use flate2::read::MultiGzDecoder;
use std::cell::{Cell, RefCell};
use std::io::Read as _;
use std::sync::Arc;
use strandline_planner::file::{PlanFile, PlannedBlock};
use strandline_planner::{Lifetime, Options, Problem as Prepared, check, csv, streams};
use strandline_replay::format::Format;
use strandline_replay::lifetimes::{self, BlockLife};
use strandline_replay::planned::{self, PlanBlock, Planned};
use strandline_replay::session::{Input, SessionError, TraceFile};

/// Blocks of a trace start at multiples of so many bytes, as by the command.
const ALIGNMENT: u64 = 64;

/// Nanoseconds between two words about a search.
const NEWS: u64 = 100_000_000;

/// What is planned.
pub(crate) struct Problem {
    prepared: Prepared,
    /// When the blocks live in steps of the trace, and where they are requested.
    lives: Vec<BlockLife>,
    best: RefCell<Option<strandline_planner::Plan>>,
}

impl GuestProblem for Problem {
    fn open(source: Source) -> Result<ProblemHandle, String> {
        let Opened { file: trace, input, .. } = open(source)?;
        let (mut lives, _) = told(lifetimes::of(&trace))?;
        let planned = match told(own_lifetimes(&trace, &*input))? {
            Some(rows) => {
                lives.sort_by_key(|block| block.line);
                if !rows.iter().map(|row| row.size).eq(lives.iter().map(|block| block.size)) {
                    return Err(format!("{}: rows that are no blocks", trace.path().display()));
                }
                rows
            }
            None => lives.iter().map(lifetime).collect(),
        };
        let prepared = told(Prepared::new(&planned))?;
        Ok(ProblemHandle::new(Self { prepared, lives, best: RefCell::new(None) }))
    }

    fn search(&self, seed: u64, nanoseconds: u64) -> Result<Plan, String> {
        let begun = stage::now();
        let last = Cell::new(begun);
        let kept = self.best.borrow().as_ref().map_or(u64::MAX, |best| best.bytes);
        let go_on = |bytes: u64| {
            let now = stage::now();
            if now.saturating_sub(last.get()) >= NEWS {
                last.set(now);
                stage::searching(bytes.min(kept));
            }
            now.saturating_sub(begun) < nanoseconds
        };
        let found = strandline_planner::plan(&self.prepared, &Options { seed, enough: 0 }, &go_on);
        let lifetimes = self.prepared.lifetimes();
        // Nothing is told of a plan that does not hold, whoever made it.
        check::check(lifetimes, &found.offsets, found.bytes)
            .map_err(|fault| format!("the plan is not sound, a fault of strandline: {fault}"))?;
        let mut best = self.best.borrow_mut();
        // One search may have proved a higher bound, and another found the smaller plan.
        let bound = best.as_ref().map_or(found.bound, |best| best.bound.max(found.bound));
        let chosen = match best.take() {
            Some(best) if best.bytes <= found.bytes => best,
            _ => found,
        };
        let optimal = chosen.bytes == bound;
        let chosen = best.insert(strandline_planner::Plan { bound, optimal, ..chosen });
        let waits: usize =
            streams::frontiers(lifetimes, &chosen.offsets).iter().map(Vec::len).sum();
        Ok(Plan {
            bytes: chosen.bytes,
            bound_bytes: chosen.bound,
            blocks: lifetimes.len() as u32,
            optimal: chosen.optimal,
            waits: waits as u64,
        })
    }

    fn places(&self) -> Vec<u64> {
        let best = self.best.borrow();
        let Some(best) = best.as_ref() else { return Vec::new() };
        let words = |(life, &offset): (&BlockLife, &u64)| {
            [offset, life.size, life.lower, life.upper, life.line.into()]
        };
        self.lives.iter().zip(&best.offsets).flat_map(words).collect()
    }

    fn file(&self) -> Vec<u8> {
        let best = self.best.borrow();
        let Some(best) = best.as_ref() else { return Vec::new() };
        let lifetimes = self.prepared.lifetimes();
        PlanFile::new(lifetimes, &best.offsets, best.bytes, best.bound).encode()
    }
}

impl Guest for Player {
    type Problem = Problem;
}

fn lifetime(block: &BlockLife) -> Lifetime {
    Lifetime {
        lower: block.lower,
        upper: block.upper,
        size: block.size,
        alignment: ALIGNMENT,
        stream: block.stream,
    }
}

/// The rows of a file of lifetimes, with its own times and alignments; none of another trace.
fn own_lifetimes(
    trace: &TraceFile,
    input: &dyn Input,
) -> Result<Option<Vec<Lifetime>>, SessionError> {
    let reader = trace.open()?;
    if reader.format() != Format::Lifetimes {
        return Ok(None);
    }
    let failed = |line, what| SessionError::File(trace.path().to_owned(), line, what);
    let named = |error| SessionError::Open(trace.path().to_owned(), error);
    let mut file = input.open().map_err(named)?;
    let mut text = String::new();
    let read = if reader.compressed() {
        MultiGzDecoder::new(file).read_to_string(&mut text)
    } else {
        file.read_to_string(&mut text)
    };
    read.map_err(|error| failed(None, error.to_string()))?;
    let rows = csv::read(&text).map_err(|error| failed(Some(error.line as u64), error.what))?;
    Ok(Some(rows.lifetimes))
}

/// Pools that follow a plan file.
pub(crate) fn following(file: &[u8]) -> Result<Arc<Planned>, String> {
    let file = told(PlanFile::decode(file))?;
    let block = |block: &PlannedBlock| PlanBlock {
        offset: block.offset,
        size: block.size,
        alignment: block.alignment,
        stream: block.stream,
        until: block.until,
    };
    let plan = planned::Plan::new(file.bytes, file.blocks.iter().map(block).collect());
    Ok(Arc::new(Planned::new(told(plan)?)))
}
