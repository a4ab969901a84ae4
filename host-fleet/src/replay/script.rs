//! A trace cut into turns: what one stream does before another does something.
//!
//! ```text
//!   trace   s0 alloc, s0 alloc, s1 alloc, s0 free, s0 alloc, s1 free
//!   turns   ╰─────── 0 ───────╯ ╰── 1 ──╯ ╰────── 2 ───────╯ ╰─ 3 ─╯
//! ```
//!
//! A turn is one message: it ends before a block is given back that was asked for in it, because that block's name comes with the answer.
//! The order of the turns is the trace's, and it does not depend on how many processes play them: so neither does what the pool answers.
//!
//! A block is given back by the stream that allocated it, whichever stream the trace says: a reservation is one member's. A block that is
//! [retired](What::Retire) is in use until it is over, and is held until then. Requests that the recorded allocator refused are left out.

use super::ReplayError;
use std::path::Path;
use strandline_replay::engine::BURST;
use strandline_replay::format::TraceReader;
use strandline_replay::session::{SessionError, TraceFile};
use strandline_replay::validate::{Steps, What};

/// The most plays of a turn: as many as one message holds.
const MOST_PLAYS: usize = 256;

/// One thing that a stream does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Play {
    /// A block of `size` bytes into an empty slot.
    Acquire { slot: u32, size: u64 },
    /// The block in a slot is given back.
    Release { slot: u32 },
}

/// What a stream does before another does something.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    /// Counts from 0.
    pub(super) number: u64,
    pub(super) stream: u32,
    /// The event of the trace with which it ends, counted from 1.
    pub(super) event: u64,
    pub(super) plays: Vec<Play>,
}

/// Whether a block is given back that was asked for by one of these.
fn is_of(plays: &[Play], play: Play) -> bool {
    let Play::Release { slot } = play else { return false };
    plays.iter().any(|play| matches!(play, Play::Acquire { slot: of, .. } if *of == slot))
}

/// See the [module](self).
pub(super) struct Script<'a> {
    path: &'a Path,
    steps: Steps<TraceReader<'static>>,
    /// A trace of one stream goes over so many.
    spread: Option<u32>,
    allocs: u64,
    /// Which stream allocated what is in a slot.
    stream_of: Vec<u32>,
    ahead: Option<(u32, u64, Play)>,
    turns: u64,
}

impl<'a> Script<'a> {
    pub(super) fn new(trace: &'a TraceFile, spread: Option<u32>) -> Result<Self, SessionError> {
        Ok(Self {
            path: trace.path(),
            steps: trace.open()?.steps(),
            spread,
            allocs: 0,
            stream_of: Vec::new(),
            ahead: None,
            turns: 0,
        })
    }

    /// The next turn; `None` at the end.
    pub(super) fn turn(&mut self) -> Result<Option<Turn>, ReplayError> {
        let first = match self.ahead.take() {
            None => self.play()?,
            ahead => ahead,
        };
        let Some((stream, mut event, play)) = first else { return Ok(None) };
        let mut plays = vec![play];
        while plays.len() < MOST_PLAYS {
            match self.play()? {
                Some((of, at, play)) if of == stream && !is_of(&plays, play) => {
                    event = at;
                    plays.push(play);
                }
                other => {
                    self.ahead = other;
                    break;
                }
            }
        }
        let number = self.turns;
        self.turns += 1;
        Ok(Some(Turn { number, stream, event, plays }))
    }

    /// The next thing, which stream does it, and with which event.
    fn play(&mut self) -> Result<Option<(u32, u64, Play)>, ReplayError> {
        while let Some(step) = self.steps.next() {
            let step = step.map_err(|error| SessionError::Trace(self.path.to_owned(), error))?;
            let event = self.steps.totals().events;
            match step.what {
                What::Alloc(slot) | What::Held(slot) => {
                    let stream = match self.spread {
                        Some(streams) => ((self.allocs / BURST) % u64::from(streams)) as u32,
                        None => step.stream,
                    };
                    self.allocs += 1;
                    let at = slot as usize;
                    if self.stream_of.len() <= at {
                        self.stream_of.resize(at + 1, 0);
                    }
                    self.stream_of[at] = stream;
                    return Ok(Some((stream, event, Play::Acquire { slot, size: step.size })));
                }
                What::Free(slot) => {
                    let stream = self.stream_of[slot as usize];
                    return Ok(Some((stream, event, Play::Release { slot })));
                }
                What::Retire(_) | What::Failure => {}
            }
        }
        Ok(None)
    }
}
