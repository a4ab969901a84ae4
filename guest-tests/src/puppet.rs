//! A program that does what it is told, call by call: [`Call`], as words that cross a boundary.
//!
//! ```text
//!   model ──▶ Call ──▶ words ──▶ tenant of this process              ──▶ words ──▶ answer
//!                             └▶ guest: stage.next() … stage.said() ┘
//! ```
//!
//! A model that knows every byte drives tenants on whatever side of a boundary they are. It names reservations, buffers and
//! readbacks by slots of its own, and the puppet keeps the handles. An answer begins with 0, or with 1 when the call
//! was refused; what follows is said at each [`Op`].

use crate::world::Entry;
use alloc::vec::Vec;

/// What a call does, and what is answered after the 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Op {
    /// Opens the next queue. Its axis, and the last epoch given out.
    Open,
    /// Acquires `len` bytes of `pool` into `slot`, for use after `wait`. An outcome: see [`READY`], then the slab, the offset,
    /// and of [`AFTER_WAIT`] the entries.
    Acquire,
    /// The same for `value` slots from `slot` on, in a ledger. The outcomes, one after the other.
    AcquireBatch,
    /// Gives `slot` back with `death`, which is of the kind in `flags`: [`IDLE`], [`AFTER`] or [`UNKNOWN`].
    Release,
    /// The same for `value` slots from `slot` on, which are a ledger's.
    ReleaseBatch,
    /// Gives `slot` back, unused.
    Cancel,
    /// Gives `slot` back with `death`, of one entry at the most, and acquires into `other` in one call. An outcome.
    Exchange,
    /// Allocates `len` bytes of `pool` in order of `queue` into the buffer `slot`. Its epoch.
    Alloca,
    /// Frees the buffer `slot` in order of `queue`. Its epoch.
    Dealloca,
    /// The state of the buffer `slot`: 0 waiting, 1 with memory, and where, 2 failed.
    Status,
    /// Fills with `value`. Its epoch, as of all operations.
    Fill,
    /// Copies from `slot` to `other`.
    Copy,
    /// Writes `len` times `value`.
    Write,
    /// Reads into the readback `other`.
    Read,
    /// The bytes of the readback `other`: 0, or 1 and each byte.
    Take,
    /// An epoch after `wait`.
    Barrier,
    /// Looks whether something has come about.
    Poll,
    /// Ends without giving anything back, by a trap where there is one.
    End,
}

const OPS: [Op; 18] = [
    Op::Open,
    Op::Acquire,
    Op::AcquireBatch,
    Op::Release,
    Op::ReleaseBatch,
    Op::Cancel,
    Op::Exchange,
    Op::Alloca,
    Op::Dealloca,
    Op::Status,
    Op::Fill,
    Op::Copy,
    Op::Write,
    Op::Read,
    Op::Take,
    Op::Barrier,
    Op::Poll,
    Op::End,
];

/// Outcome of an acquire: usable now.
pub const READY: u64 = 0;
/// Outcome of an acquire: after a wait.
pub const AFTER_WAIT: u64 = 1;
/// Outcome of an acquire: nothing.
pub const NOTHING: u64 = 2;
/// Kind of a death.
pub const IDLE: u64 = 0;
/// Kind of a death.
pub const AFTER: u64 = 1;
/// Kind of a death.
pub const UNKNOWN: u64 = 2;
/// In `flags` of an acquire or an alloca: the answer may require a wait.
pub const MAY_WAIT: u64 = 1;
/// In `flags` of an acquire: into a ledger, if there is one.
pub const IN_LEDGER: u64 = 2;
/// In `flags` of an operation: `slot` is a buffer. Else it is a reservation.
pub const OF_BUFFER: u64 = 1;
/// In `flags` of a copy: `other` is a buffer.
pub const TO_BUFFER: u64 = 2;

/// One call.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "as each operation says")]
pub struct Call {
    pub op: Op,
    pub pool: u64,
    pub queue: u64,
    pub slot: u64,
    pub other: u64,
    pub offset: u64,
    pub to: u64,
    pub len: u64,
    pub value: u64,
    pub flags: u64,
    pub wait: Vec<Entry>,
    pub death: Vec<Entry>,
}

fn put(words: &mut Vec<u64>, entries: &[Entry]) {
    words.push(entries.len() as u64);
    words.extend(entries.iter().flat_map(|entry| [entry.axis, entry.epoch]));
}

fn take(words: &mut &[u64]) -> Option<Vec<Entry>> {
    let (&count, rest) = words.split_first()?;
    let (list, rest) = rest.split_at_checked(2 * usize::try_from(count).ok()?)?;
    *words = rest;
    let (pairs, _) = list.as_chunks::<2>();
    Some(pairs.iter().map(|&[axis, epoch]| Entry { axis, epoch }).collect())
}

impl Call {
    /// A call with nothing in it.
    #[must_use]
    pub const fn new(op: Op) -> Self {
        Self {
            op,
            pool: 0,
            queue: 0,
            slot: 0,
            other: 0,
            offset: 0,
            to: 0,
            len: 0,
            value: 0,
            flags: 0,
            wait: Vec::new(),
            death: Vec::new(),
        }
    }

    /// Whether `flag` is set.
    #[must_use]
    pub const fn is(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    /// As words.
    #[must_use]
    pub fn pack(&self) -> Vec<u64> {
        let Self { op, pool, queue, slot, other, offset, to, len, value, flags, wait, death } =
            self;
        let mut words = alloc::vec![
            *op as u64, *pool, *queue, *slot, *other, *offset, *to, *len, *value, *flags
        ];
        put(&mut words, wait);
        put(&mut words, death);
        words
    }

    /// From words; `None` when they are not those of a call.
    #[must_use]
    pub fn unpack(words: &[u64]) -> Option<Self> {
        let (&[op, pool, queue, slot, other, offset, to, len, value, flags], mut rest) =
            words.split_first_chunk()?;
        let &op = OPS.get(usize::try_from(op).ok()?)?;
        let (wait, death) = (take(&mut rest)?, take(&mut rest)?);
        Some(Self { op, pool, queue, slot, other, offset, to, len, value, flags, wait, death })
    }
}

/// An outcome with its entries, as words.
pub fn outcome(words: &mut Vec<u64>, place: Option<(u64, u64)>, wait: Option<&[Entry]>) {
    match (place, wait) {
        (Some((slab, offset)), None) => words.extend([READY, slab, offset]),
        (Some((slab, offset)), Some(wait)) => {
            words.extend([AFTER_WAIT, slab, offset]);
            put(words, wait);
        }
        (None, _) => words.push(NOTHING),
    }
}

/// The next outcome of an answer: where the bytes are, and what is to be waited for.
pub fn next_outcome(words: &mut &[u64]) -> Option<Option<(u64, u64, Vec<Entry>)>> {
    let (&kind, rest) = words.split_first()?;
    *words = rest;
    if kind == NOTHING {
        return Some(None);
    }
    let (&[slab, offset], rest) = words.split_first_chunk()?;
    *words = rest;
    let wait = if kind == AFTER_WAIT { take(words)? } else { Vec::new() };
    Some(Some((slab, offset, wait)))
}
