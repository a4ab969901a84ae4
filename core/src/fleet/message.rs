//! What owner and members say to each other.
//!
//! | from | message | answer |
//! | --- | --- | --- |
//! | a peer | `Join` | `Welcome`, or `JoinRefused` with the reason |
//! | a member | `Renew` | `Renewed` |
//! | a member | `Call`: reservations asked for, released, canceled, shared | `Reply`, the same one however often it is asked |
//! | a member | `Leave` | `Left` |
//! | a member, to all | `Progress` | none |
//! | the owner, to all | `Digest` | none |
//!
//! Whoever is no member any more gets `Gone` for an answer. The encoding is strict: see [`Message::decode`].

mod reached;

pub use reached::Reached;

use super::names::{Names, Peer};
use super::remote::{Key, Piece};
use super::wire::{DecodeError, Reader, VERSION, Wire, wire_enum, wire_struct};
use crate::frontier::Frontier;
use crate::pool::PoolError;
use crate::slab::SlabError;
use crate::{Axis, Death};
use alloc::vec::Vec;

/// A member, of one owner and of no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who {
    /// Which run of the owner: a number that no other run of it has.
    pub incarnation: u64,
    /// The member's names.
    pub names: Names,
}

/// What a member asks of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Bytes.
    pub size: u64,
    /// A power of two.
    pub alignment: u64,
    /// What is known to have happened before the bytes are used.
    pub frontier: Frontier,
    /// The answer may be [`Answer::AfterWait`].
    pub may_wait: bool,
    /// The pool may grow for it.
    pub may_grow: bool,
}

impl Ask {
    /// `size` bytes, as [`Request::new`](crate::Request::new) asks for them.
    #[must_use]
    pub const fn new(size: u64) -> Self {
        let frontier = Frontier::new();
        Self { size, alignment: 1, frontier, may_wait: false, may_grow: true }
    }
}

/// What released bytes wait for: a [`Death`] that owns its frontier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedDeath {
    /// Nothing.
    Idle,
    /// A frontier.
    After {
        /// It names every machine whose work touches the bytes.
        frontier: Frontier,
    },
    /// Nobody knows: the bytes come back when the member has left, or is fenced.
    Unknown,
}

impl From<Death<'_>> for OwnedDeath {
    fn from(death: Death<'_>) -> Self {
        match death {
            Death::Idle => Self::Idle,
            Death::After(frontier) => Self::After { frontier: frontier.to_frontier() },
            Death::Unknown => Self::Unknown,
        }
    }
}

/// One thing of a call. They are done in the order in which they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A reservation is asked for.
    Acquire {
        /// What kind.
        ask: Ask,
    },
    /// A reservation is given back.
    Release {
        /// [`Lease::token`].
        token: u64,
        /// What its bytes wait for.
        death: OwnedDeath,
    },
    /// A reservation is given back that was never used.
    Cancel {
        /// [`Lease::token`].
        token: u64,
    },
    /// Others are about to touch the bytes of a reservation that the member goes on holding. To be answered before they do.
    Share {
        /// [`Lease::token`].
        token: u64,
        /// When they have done so.
        frontier: Frontier,
    },
    /// The key to the bytes of a reservation is asked for.
    Open {
        /// [`Lease::token`].
        token: u64,
    },
    /// Bytes of a reservation are asked for, with those of the whole call at most [`MAX_PIECE`](super::remote::MAX_PIECE).
    Read {
        /// The reservation's.
        key: Key,
        /// Bytes from the reservation's start.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Bytes are put into a reservation.
    Write {
        /// The reservation's.
        key: Key,
        /// Bytes from the reservation's start.
        offset: u64,
        /// The bytes.
        piece: Piece,
    },
}

/// Bytes that a member has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Names the reservation; never used for another.
    pub token: u64,
    /// The owner's slab, as [`SlabId`](crate::SlabId) has it in bits.
    pub slab: u64,
    /// Bytes from the slab's start.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// Where ready bytes come from, as [`Origin`](crate::pool::Origin).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Never handed out before.
    Fresh,
    /// The requester's frontier covers what still uses them.
    Dominance,
    /// Nothing uses them any more.
    Completion,
}

/// What an [`Op`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Bytes to be used at once.
    Ready {
        /// The bytes.
        lease: Lease,
        /// Where they come from.
        source: Source,
    },
    /// Bytes to be used after a frontier.
    AfterWait {
        /// The bytes.
        lease: Lease,
        /// What to wait for.
        wait: Frontier,
    },
    /// Nothing fits now.
    Exhausted {
        /// No slab at hand could ever hold it.
        growth_required: bool,
    },
    /// Beyond the pool's budget, or the member's.
    OverBudget,
    /// Given back, shared, or written.
    Done,
    /// Not done, and nothing has changed.
    Refused {
        /// Why.
        why: Refusal,
    },
    /// To an [`Open`](Op::Open).
    Key {
        /// Good until the reservation ends or its holder is a member no more.
        key: Key,
    },
    /// To a [`Read`](Op::Read).
    Bytes {
        /// As many as were asked for.
        piece: Piece,
    },
}

/// Why an [`Op`] was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The member has no reservation of this token.
    UnknownReservation,
    /// The owner has not heard of this axis, or not yet.
    UnknownAxis {
        /// The axis.
        axis: Axis,
    },
    /// A frontier of more entries than [`MAX_ENTRIES`].
    TooWide,
    /// The pool's own error.
    Pool {
        /// Which.
        error: Fault,
    },
    /// The owner does not serve bytes: they are mapped, or reached by a transport of the host's.
    NotServed,
    /// A key that is none, or none any more.
    Key,
    /// The bytes do not lie in the reservation.
    Range,
}

/// A [`PoolError`], without its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// [`PoolError::ZeroSize`].
    ZeroSize,
    /// [`PoolError::InvalidAlignment`].
    InvalidAlignment {
        /// As requested.
        alignment: u64,
    },
    /// [`PoolError::TooLarge`].
    TooLarge {
        /// As requested, in bytes.
        size: u64,
        /// The most there is, in bytes.
        max: u64,
    },
    /// [`PoolError::TooManyBlocks`].
    TooManyBlocks,
    /// The provider's system call failed.
    System {
        /// The system's error number, as its bits.
        code: u32,
    },
    /// The owner's pool is lost or misconfigured.
    Lost,
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::ZeroSize => Self::ZeroSize,
            PoolError::InvalidAlignment { alignment } => Self::InvalidAlignment { alignment },
            PoolError::TooLarge { size, max } => Self::TooLarge { size, max },
            PoolError::TooManyBlocks => Self::TooManyBlocks,
            PoolError::Provider(SlabError::Os { code, .. }) => {
                Self::System { code: code.cast_unsigned() }
            }
            PoolError::Provider(_) | PoolError::InvalidConfig(_) | PoolError::Lost => Self::Lost,
        }
    }
}

impl From<Fault> for PoolError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::ZeroSize => Self::ZeroSize,
            Fault::InvalidAlignment { alignment } => Self::InvalidAlignment { alignment },
            Fault::TooLarge { size, max } => Self::TooLarge { size, max },
            Fault::TooManyBlocks => Self::TooManyBlocks,
            Fault::System { code } => Self::Provider(SlabError::Os {
                code: code.cast_signed(),
                operation: "the slab provider of the fleet's owner",
            }),
            Fault::Lost => Self::Lost,
        }
    }
}

/// A member, as all others are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberId {
    /// Its names.
    pub names: Names,
    /// Who may speak for them.
    pub peer: Peer,
}

/// What the owner tells everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The owner's run.
    pub incarnation: u64,
    /// Greater than those of all digests before.
    pub number: u64,
    /// Greater than before when memory may have become free.
    pub moves: u64,
    /// All members. Who was told of before and is not here is gone.
    pub members: Vec<MemberId>,
    /// How far axes are: all of them now and then, none in between.
    pub reached: Reached,
}

/// What a member has to keep to, and what the pool is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Nanoseconds of the owner's clock for which a renewal is good.
    pub lease: u64,
    /// What clocks may be off by.
    pub drift_ppm: u32,
    /// Bytes of the longest message that the owner takes.
    pub message_bytes: u64,
    /// Things in one call.
    pub ops: u64,
    /// Calls that wait for an answer at once.
    pub window: u64,
    /// Axes.
    pub axes: u64,
    /// [`PoolProperties::memory_type`](crate::pool::PoolProperties), as bits.
    pub memory_type: u32,
    /// [`PoolProperties::usage`](crate::pool::PoolProperties), as bits.
    pub usage: u32,
    /// [`PoolProperties::alignment`](crate::pool::PoolProperties), in bytes.
    pub alignment: u64,
    /// [`PoolProperties::max_request`](crate::pool::PoolProperties), in bytes.
    pub max_request: u64,
}

/// Why a peer may not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRefusal {
    /// All names were given out.
    NoNames,
    /// As many members are there as there may be.
    Full,
    /// This very process was a member, and is gone: it has to join anew.
    Returned,
    /// A process of this peer that started later is a member.
    Superseded,
}

/// Why a member is none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The owner that it joined has ended; this is another one.
    OtherOwner,
    /// It failed, by its lease or otherwise.
    Failed,
    /// It failed and was fenced, or it left.
    Over,
}

/// Everything that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A peer wants to be a member.
    Join {
        /// Names the process: greater than that of every process of this peer that started before.
        nonce: u64,
    },
    /// A member is there.
    Renew {
        /// The member.
        who: Who,
        /// Greater than those before.
        number: u64,
    },
    /// A member asks the pool for something.
    Call {
        /// The member.
        who: Who,
        /// Names the call: greater than those before.
        id: u64,
        /// The answers to all calls below this number have come.
        floor: u64,
        /// What is to be done.
        ops: Vec<Op>,
    },
    /// A member goes; nothing of it touches lent memory any more.
    Leave {
        /// The member.
        who: Who,
    },
    /// A member's own axes.
    Progress {
        /// The member.
        who: Who,
        /// How far they are.
        reached: Reached,
    },
    /// A peer is a member.
    Welcome {
        /// Of the [`Join`](Self::Join).
        nonce: u64,
        /// The member.
        who: Who,
        /// What it has to keep to.
        terms: Terms,
        /// All axes and all members.
        digest: Digest,
    },
    /// A peer is no member.
    JoinRefused {
        /// Of the [`Join`](Self::Join).
        nonce: u64,
        /// Why.
        why: JoinRefusal,
    },
    /// A [`Renew`](Self::Renew) has come.
    Renewed {
        /// The member.
        who: Who,
        /// Its number.
        number: u64,
    },
    /// What a [`Call`](Self::Call) came to.
    Reply {
        /// The member.
        who: Who,
        /// The call.
        id: u64,
        /// One for each thing that was asked.
        answers: Vec<Answer>,
    },
    /// Whoever asked is no member.
    Gone {
        /// As it called itself.
        who: Who,
        /// Why.
        why: Gone,
    },
    /// A [`Leave`](Self::Leave) has come.
    Left {
        /// The member that was.
        who: Who,
    },
    /// To all members.
    Digest {
        /// What there is to know.
        digest: Digest,
    },
}

/// The most entries of a frontier in a [`Call`](Message::Call), so that three of them have room in one.
pub const MAX_ENTRIES: usize = 64;

/// The most things in one [`Call`](Message::Call), whatever the owner permits.
pub const MAX_OPS: usize = 1024;

wire_struct!(Names { session, machine });
wire_struct!(Who { incarnation, names });
wire_struct!(Ask { size, alignment, frontier, may_wait, may_grow });
wire_enum!(OwnedDeath, "death" { 0 => Idle {}, 1 => After { frontier }, 2 => Unknown {} });
wire_enum!(Op, "operation" at most MAX_OPS, {
    0 => Acquire { ask },
    1 => Release { token, death },
    2 => Cancel { token },
    3 => Share { token, frontier },
    4 => Open { token },
    5 => Read { key, offset, len },
    6 => Write { key, offset, piece },
});
wire_struct!(Lease { token, slab, offset, size });
wire_enum!(Source, "origin" { 0 => Fresh {}, 1 => Dominance {}, 2 => Completion {} });
wire_enum!(Answer, "answer" at most MAX_OPS, {
    0 => Ready { lease, source },
    1 => AfterWait { lease, wait },
    2 => Exhausted { growth_required },
    3 => OverBudget {},
    4 => Done {},
    5 => Refused { why },
    6 => Key { key },
    7 => Bytes { piece },
});
wire_enum!(Refusal, "refusal" {
    0 => UnknownReservation {},
    1 => UnknownAxis { axis },
    2 => TooWide {},
    3 => Pool { error },
    4 => NotServed {},
    5 => Key {},
    6 => Range {},
});
wire_enum!(Fault, "error of a pool" {
    0 => ZeroSize {},
    1 => InvalidAlignment { alignment },
    2 => TooLarge { size, max },
    3 => TooManyBlocks {},
    4 => System { code },
    5 => Lost {},
});
wire_struct!(MemberId { names, peer });
wire_struct!(Digest { incarnation, number, moves, members, reached });
wire_struct!(Terms {
    lease,
    drift_ppm,
    message_bytes,
    ops,
    window,
    axes,
    memory_type,
    usage,
    alignment,
    max_request,
});
wire_enum!(JoinRefusal, "reason to refuse a join" {
    0 => NoNames {},
    1 => Full {},
    2 => Returned {},
    3 => Superseded {},
});
wire_enum!(Gone, "reason to be gone" { 0 => OtherOwner {}, 1 => Failed {}, 2 => Over {} });
wire_enum!(Message, "message" {
    0 => Join { nonce },
    1 => Renew { who, number },
    2 => Call { who, id, floor, ops },
    3 => Leave { who },
    4 => Progress { who, reached },
    16 => Welcome { nonce, who, terms, digest },
    17 => JoinRefused { nonce, why },
    18 => Renewed { who, number },
    19 => Reply { who, id, answers },
    20 => Gone { who, why },
    21 => Left { who },
    22 => Digest { digest },
});

impl Wire for Peer {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(u64::take(from)?))
    }
}

impl Message {
    /// The message as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = alloc::vec![VERSION];
        self.put(&mut out);
        out
    }

    /// The message that `bytes` are. Each message has one encoding, and nothing else is accepted; what is allocated is a small multiple
    /// of the bytes.
    ///
    /// # Errors
    /// [`DecodeError`] says which rule they break.
    ///
    /// ```
    /// use strandline_core::fleet::DecodeError;
    /// use strandline_core::fleet::message::Message;
    ///
    /// let join = Message::Join { nonce: 300 };
    /// assert_eq!(Message::decode(&join.encode()), Ok(join));
    /// assert_eq!(Message::decode(&[9, 0, 0]), Err(DecodeError::Version { found: 9 }));
    /// assert_eq!(Message::decode(&[1, 0, 0x80]), Err(DecodeError::Truncated));
    /// ```
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let found = from.byte()?;
        if found != VERSION {
            return Err(DecodeError::Version { found });
        }
        let message = Self::take(&mut from)?;
        from.end()?;
        match message {
            Self::Call { id, floor, .. } if floor > id => Err(DecodeError::Floor),
            message => Ok(message),
        }
    }
}

#[cfg(test)]
mod tests;
