//! Plays the turns of some streams: asks for what they ask, writes a stamp into each block, and looks whether it is still there.
//!
//! ```text
//!   stream  ─ write a ─ write b ─ check a ─ write c ─▶ submitted
//!                          ▲ completed      ╰ in flight: done later, in order
//! ```
//!
//! Every play is an operation of its stream, and the last [`in_flight`](super::ReplayOptions::in_flight) of them are not done yet. A block is
//! given back when its check is submitted, with that operation's epoch as its death: it goes on being used until the operation is done. Whoever
//! gets its bytes before that overwrites the stamp, and the check finds it.

use super::ReplayError;
use super::script::{Play, Turn};
use crate::RemotePool;
use crate::pool::Batched;
use crate::transfer::RemoteAddress;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use strandline_core::fleet::message::{Ask, OwnedDeath};
use strandline_core::{Acquire, Axis, Epoch, Frontier, PoolError, Reservation, SlabError, SlabId};
use strandline_host_native::MmapBuffer;
use strandline_replay::memory::{Memory, Tagged};
use strandline_replay::oracle::Range;

/// Where a player sits: at a lent pool, or at one of its own process.
pub(super) trait Seat {
    /// An axis for a stream.
    fn register(&self, stream: u32) -> Result<Axis, ReplayError>;
    /// Does these things in this order; an answer for each reservation asked for.
    fn batch(&self, batch: Vec<Batched>) -> Result<Vec<Result<Acquire, PoolError>>, PoolError>;
    /// The bytes.
    fn bytes(&self, reservation: &Reservation) -> Result<Bytes, ReplayError>;
    /// An axis has come to an epoch.
    fn advance(&self, axis: Axis, epoch: Epoch) -> Result<(), ReplayError>;
    /// The most bytes that were lent to it at once.
    fn peak(&self) -> u64;
}

/// What came of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Played {
    /// The stream's.
    pub(super) axis: Axis,
    /// How far it is.
    pub(super) reached: Epoch,
    /// Blocks whose stamp was not there any more.
    pub(super) wrong: u64,
    /// [`Seat::peak`].
    pub(super) peak: u64,
    /// The range of each block asked for, `None` if it was refused.
    pub(super) grants: Vec<Option<Range>>,
}

impl Played {
    /// One line of text.
    pub(super) fn encode(&self) -> String {
        let Self { axis, reached, wrong, peak, grants } = self;
        let mut line = format!("{} {reached} {wrong} {peak}", axis.to_bits());
        for grant in grants {
            let _ = match grant {
                Some(Range { slab, offset, size }) => {
                    write!(line, " {}:{offset}:{size}", slab.to_bits())
                }
                None => write!(line, " -"),
            };
        }
        line
    }

    /// What [`encode`](Self::encode) wrote.
    pub(super) fn decode(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let mut number = || words.next()?.parse::<u64>().ok();
        let (axis, reached, wrong, peak) = (number()?, number()?, number()?, number()?);
        let grant = |word: &str| {
            if word == "-" {
                return Some(None);
            }
            let mut parts = word.split(':').map(|part| part.parse().ok());
            let (slab, offset, size) = (parts.next()??, parts.next()??, parts.next()??);
            Some(Some(Range { slab: SlabId::from_bits(slab), offset, size }))
        };
        let grants = words.map(grant).collect::<Option<Vec<_>>>()?;
        Some(Self { axis: Axis::from_bits(axis), reached, wrong, peak, grants })
    }
}

/// How a block's bytes are reached.
#[derive(Clone, Debug)]
pub(super) enum Bytes {
    /// They are mapped.
    Mapped(MmapBuffer),
    /// By messages, which end with the reservation.
    Remote(Arc<RemotePool>, RemoteAddress),
}

impl Bytes {
    const fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(..))
    }

    /// How many of them are stamped: each message takes as long as thousands of words.
    fn len(&self) -> u64 {
        match self {
            Self::Mapped(bytes) => bytes.len(),
            Self::Remote(_, address) => address.size.min(STAMP),
        }
    }
}

/// Bytes of a stamp that is written by messages.
const STAMP: u64 = 64;

/// A block's bytes with what is written into them.
#[derive(Clone, Debug)]
struct Stamped {
    bytes: Bytes,
    tag: u64,
}

/// One block as slab 0 of a memory of its own.
#[derive(Debug)]
struct Window<'a>(&'a Bytes);

impl Memory for Window<'_> {
    fn write(&self, _slab: SlabId, offset: u64, bytes: &[u8]) -> Result<(), SlabError> {
        match self.0 {
            Bytes::Mapped(to) => to.write(offset, bytes).map_err(|_| SlabError::InvalidRange),
            Bytes::Remote(pool, to) => {
                pool.write(to, offset, bytes).map_err(|_| SlabError::InvalidRange)
            }
        }
    }

    fn read(&self, _slab: SlabId, offset: u64, bytes: &mut [u8]) -> Result<(), SlabError> {
        match self.0 {
            Bytes::Mapped(from) => from.read(offset, bytes).map_err(|_| SlabError::InvalidRange),
            Bytes::Remote(pool, from) => {
                pool.read(from, offset, bytes).map_err(|_| SlabError::InvalidRange)
            }
        }
    }
}

impl Stamped {
    fn tagged(&self) -> Tagged {
        Tagged { slab: SlabId::new(0, 0), offset: 0, size: self.bytes.len(), tag: self.tag }
    }

    fn write(&self) -> bool {
        self.tagged().write(&Window(&self.bytes)).is_ok()
    }

    fn check(&self) -> bool {
        self.tagged().check(&Window(&self.bytes)) == Ok(true)
    }
}

/// An operation of a stream.
#[derive(Debug)]
enum Work {
    Write(Stamped),
    Check(Stamped),
    /// A request that was refused, or its release.
    None,
}

impl Work {
    fn is_fine(&self) -> bool {
        match self {
            Self::Write(block) => block.write(),
            Self::Check(block) => block.check(),
            Self::None => true,
        }
    }
}

#[derive(Debug)]
struct Queue {
    axis: Axis,
    completed: Epoch,
    work: VecDeque<Work>,
}

impl Queue {
    fn submit(&mut self, work: Work) -> Epoch {
        self.work.push_back(work);
        self.completed + self.work.len() as u64
    }

    fn submitted(&self) -> Epoch {
        self.completed + self.work.len() as u64
    }

    /// Does the oldest operations, until `left` are in flight; how many found something wrong.
    fn complete(&mut self, left: u64) -> u64 {
        let many = (self.work.len() as u64).saturating_sub(left);
        self.completed += many;
        self.work.drain(..many as usize).filter(|work| !work.is_fine()).count() as u64
    }
}

/// See the [module](self).
pub(super) struct Player<S> {
    seat: S,
    in_flight: u64,
    queues: BTreeMap<u32, Queue>,
    blocks: HashMap<u32, (Reservation, Stamped)>,
    /// Blocks that were found wrong before they were given back, of the turn that is being played.
    wrong: u64,
    /// Tells the blocks of all players apart.
    tag: u64,
    step: u64,
}

/// What is asked for in the batch that is being put together: its slot, and its place among the stream's operations.
struct Asked {
    slot: u32,
    at: usize,
}

impl<S: Seat> Player<S> {
    /// Player number `number` of `of`.
    pub(super) fn new(seat: S, in_flight: u64, number: u32, of: u32) -> Self {
        let (queues, blocks) = (BTreeMap::new(), HashMap::new());
        let (tag, step) = (number.into(), of.max(1).into());
        Self { seat, in_flight, queues, blocks, wrong: 0, tag, step }
    }

    /// Its seat; what it holds is dropped.
    pub(super) fn into_seat(self) -> S {
        self.seat
    }

    /// Asks for what a turn asks for, and gives back what it gives back; the ranges of the blocks asked for.
    pub(super) fn ask(&mut self, turn: &Turn) -> Result<Vec<Option<Range>>, ReplayError> {
        if !self.queues.contains_key(&turn.stream) {
            let axis = self.seat.register(turn.stream)?;
            let queue = Queue { axis, completed: 0, work: VecDeque::new() };
            self.queues.insert(turn.stream, queue);
        }
        self.check_before_release(turn);
        let (mut batch, mut asked) = (Vec::new(), Vec::<Asked>::new());
        for play in &turn.plays {
            let queue = self.queue(turn.stream);
            match *play {
                Play::Acquire { slot, size } => {
                    let frontier = Frontier::from_entry(queue.axis, queue.submitted());
                    batch.push(Batched::Acquire(Ask { frontier, ..Ask::new(size) }));
                    asked.push(Asked { slot, at: queue.work.len() });
                    // What it is follows from the answer.
                    queue.submit(Work::None);
                }
                Play::Release { slot } => {
                    let (axis, block) = (queue.axis, self.blocks.remove(&slot));
                    let queue = self.queue(turn.stream);
                    let Some((reservation, stamped)) = block else {
                        // It was refused.
                        queue.submit(Work::None);
                        continue;
                    };
                    let check = match stamped.bytes {
                        Bytes::Mapped(_) => Work::Check(stamped),
                        Bytes::Remote(..) => Work::None,
                    };
                    let epoch = queue.submit(check);
                    let death = OwnedDeath::After { frontier: Frontier::from_entry(axis, epoch) };
                    batch.push(Batched::Release(reservation, death));
                }
            }
        }
        self.exchange(turn.stream, batch, asked)
    }

    /// Looks at the blocks that a turn gives back and that are reached by messages: they are not there any more once they are given back.
    fn check_before_release(&mut self, turn: &Turn) {
        let given_back = turn.plays.iter().filter_map(|play| match play {
            Play::Release { slot } => Some(self.blocks.get(slot)?.1.clone()),
            Play::Acquire { .. } => None,
        });
        let remote: Vec<Stamped> = given_back.filter(|block| block.bytes.is_remote()).collect();
        if !remote.is_empty() {
            // They may be yet to be written.
            let wrong = self.queue(turn.stream).complete(0);
            self.wrong += wrong + remote.iter().filter(|block| !block.check()).count() as u64;
        }
    }

    /// Does what is not in flight any more once a turn's questions were answered.
    pub(super) fn complete(
        &mut self,
        turn: &Turn,
        grants: Vec<Option<Range>>,
    ) -> Result<Played, ReplayError> {
        let left = self.in_flight;
        let queue = self.queue(turn.stream);
        let wrong = queue.complete(left);
        let (axis, reached) = (queue.axis, queue.completed);
        self.seat.advance(axis, reached)?;
        let wrong = wrong + core::mem::take(&mut self.wrong);
        Ok(Played { axis, reached, wrong, peak: self.seat.peak(), grants })
    }

    fn queue(&mut self, stream: u32) -> &mut Queue {
        self.queues.get_mut(&stream).unwrap_or_else(|| unreachable!("registered by its turn"))
    }

    /// Asks for what was put together.
    fn exchange(
        &mut self,
        stream: u32,
        batch: Vec<Batched>,
        asked: Vec<Asked>,
    ) -> Result<Vec<Option<Range>>, ReplayError> {
        let mut grants = Vec::with_capacity(asked.len());
        let answers = self.seat.batch(batch).map_err(ReplayError::Pool)?;
        for (Asked { slot, at }, answer) in asked.into_iter().zip(answers) {
            let reservation = match answer {
                Ok(Acquire::Ready { reservation, .. }) => reservation,
                Ok(Acquire::Exhausted { .. } | Acquire::OverBudget { .. })
                | Err(PoolError::TooLarge { .. }) => {
                    grants.push(None);
                    continue;
                }
                Ok(Acquire::AfterWait { .. }) => {
                    return Err(ReplayError::Worker("a wait, which was not asked for".into()));
                }
                Err(error) => return Err(ReplayError::Pool(error)),
            };
            let (slab, offset, size) = reservation.range();
            grants.push(Some(Range { slab, offset, size }));
            self.tag += self.step;
            let stamped = Stamped { bytes: self.seat.bytes(&reservation)?, tag: self.tag };
            self.queue(stream).work[at] = Work::Write(stamped.clone());
            self.blocks.insert(slot, (reservation, stamped));
        }
        Ok(grants)
    }

    /// Does everything that is in flight, and looks at all blocks that are there; how many were wrong.
    pub(super) fn finish(&mut self) -> Result<u64, ReplayError> {
        let mut wrong = 0;
        for queue in self.queues.values_mut() {
            wrong += queue.complete(0);
            self.seat.advance(queue.axis, queue.completed)?;
        }
        let is_wrong = |block: &&(Reservation, Stamped)| !block.1.check();
        Ok(wrong + self.blocks.values().filter(is_wrong).count() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_a_turn_is_a_line() {
        let range = Range { slab: SlabId::new(3, 1), offset: 4096, size: 100 };
        let played = Played {
            axis: Axis::host(3).with_session(1).with_machine(2),
            reached: 40,
            wrong: 1,
            peak: 1 << 40,
            grants: vec![Some(range), None, Some(range)],
        };
        let line = played.encode();
        assert_eq!(Played::decode(&line), Some(played), "{line}");
        for none in ["", "1 2 3", "1 2 3 4 5", "1 2 3 4 5:6", "1 2 3 4 x"] {
            assert_eq!(Played::decode(none), None, "{none}");
        }
    }
}
