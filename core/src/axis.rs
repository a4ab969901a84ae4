//! An axis names one source of progress: a device queue, a collective channel, a host context.
//!
//! ```text
//!  63       56 55       48 47       40 39                                      0
//! ┌───────────┬───────────┬───────────┬─────────────────────────────────────────┐
//! │ session 8 │ machine 8 │ domain  8 │               ordinal 40                │
//! └───────────┴───────────┴───────────┴─────────────────────────────────────────┘
//!                          domain Queue: device 8 │ queue 8 │    reserved 24
//! ```
//!
//! Progress on an axis is an [`Epoch`] that never goes back. Each axis has exactly one writer, so
//! a pair (axis, epoch) means the same to everyone who reads it, on any machine of the session.
//!
//! Ordering axes orders their bits: by session, then machine, domain and ordinal. The order says
//! nothing about time; it only lets frontiers be sorted lists.

use core::fmt;

/// How far one axis has come. It never goes back, and 0 means "nothing yet".
pub type Epoch = u64;

const ORDINAL_BITS: u32 = 40;
const ORDINAL_MASK: u64 = (1 << ORDINAL_BITS) - 1;
const DOMAIN_SHIFT: u32 = ORDINAL_BITS;
const MACHINE_SHIFT: u32 = 48;
const SESSION_SHIFT: u32 = 56;
const DEVICE_SHIFT: u32 = 32;
const QUEUE_SHIFT: u32 = 24;

/// What kind of thing makes progress on an [`Axis`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Domain {
    /// A device queue: its epochs are submissions that have completed.
    Queue = 0,
    /// A collective channel: its epochs are collective operations that all members finished.
    Collective = 1,
    /// Work that runs after a queue's own, such as the tail of a command buffer.
    Epilogue = 2,
    /// A host context: a thread, an executor, an I/O ring.
    Host = 3,
}

impl Domain {
    /// The domain with this code, or `None` where no domain has it.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Queue),
            1 => Some(Self::Collective),
            2 => Some(Self::Epilogue),
            3 => Some(Self::Host),
            _ => None,
        }
    }
}

/// One source of progress, in 64 bits (see the [module](self) for the layout).
///
/// ```
/// use strandline_core::{Axis, Domain};
///
/// let axis = Axis::queue(2, 3).with_session(1);
/// assert_eq!(axis.domain(), Some(Domain::Queue));
/// assert_eq!((axis.device(), axis.queue_index()), (Some(2), Some(3)));
/// assert_eq!(Axis::from_bits(axis.to_bits()), axis);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Axis(u64);

impl Axis {
    /// The number of ordinals in a domain: ordinals are below 2^40.
    pub const ORDINALS: u64 = 1 << ORDINAL_BITS;

    /// An axis from its parts, or `None` when `ordinal` does not fit in 40 bits.
    ///
    /// ```
    /// use strandline_core::{Axis, Domain};
    ///
    /// assert!(Axis::new(0, 0, Domain::Host, Axis::ORDINALS - 1).is_some());
    /// assert!(Axis::new(0, 0, Domain::Host, Axis::ORDINALS).is_none());
    /// ```
    #[must_use]
    pub const fn new(session: u8, machine: u8, domain: Domain, ordinal: u64) -> Option<Self> {
        if ordinal >= Self::ORDINALS {
            return None;
        }
        Some(Self::pack(session, machine, domain, ordinal))
    }

    /// The axis of queue number `queue` of device number `device`, in session 0 on machine 0: the order in which it is
    /// printed, `queue:DEVICE.QUEUE`.
    ///
    /// A program that shares axes with others, or with its own next run, names those too:
    ///
    /// ```
    /// use strandline_core::Axis;
    ///
    /// let axis = Axis::queue(2, 3).with_session(1).with_machine(4);
    /// assert_eq!((axis.session(), axis.machine()), (1, 4));
    /// assert_eq!((axis.device(), axis.queue_index()), (Some(2), Some(3)));
    /// ```
    #[must_use]
    pub const fn queue(device: u8, queue: u8) -> Self {
        let ordinal = (device as u64) << DEVICE_SHIFT | (queue as u64) << QUEUE_SHIFT;
        Self::pack(0, 0, Domain::Queue, ordinal)
    }

    /// The axis of host context number `ordinal`, in session 0 on machine 0.
    ///
    /// ```
    /// use strandline_core::{Axis, Domain};
    ///
    /// let axis = Axis::host(7);
    /// assert_eq!((axis.session(), axis.machine(), axis.ordinal()), (0, 0, 7));
    /// assert_eq!(Some(axis), Axis::new(0, 0, Domain::Host, 7));
    /// ```
    #[must_use]
    pub const fn host(ordinal: u32) -> Self {
        Self::pack(0, 0, Domain::Host, ordinal as u64)
    }

    /// The same axis in another session: what a run hands out after a restart is told from what the run before it handed out.
    #[must_use]
    pub const fn with_session(self, session: u8) -> Self {
        Self(self.0 & !(0xff << SESSION_SHIFT) | (session as u64) << SESSION_SHIFT)
    }

    /// The same axis on another machine of the session.
    #[must_use]
    pub const fn with_machine(self, machine: u8) -> Self {
        Self(self.0 & !(0xff << MACHINE_SHIFT) | (machine as u64) << MACHINE_SHIFT)
    }

    const fn pack(session: u8, machine: u8, domain: Domain, ordinal: u64) -> Self {
        Self(
            (session as u64) << SESSION_SHIFT
                | (machine as u64) << MACHINE_SHIFT
                | (domain as u64) << DOMAIN_SHIFT
                | ordinal,
        )
    }

    /// The axis with these bits. Every pattern is an axis; one whose domain is not known here is
    /// only a name, compared and stored like any other.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits of the axis.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The session epoch: it tells the axes of one run from those of the run before.
    #[must_use]
    pub const fn session(self) -> u8 {
        (self.0 >> SESSION_SHIFT) as u8
    }

    /// The machine within the session.
    #[must_use]
    pub const fn machine(self) -> u8 {
        (self.0 >> MACHINE_SHIFT) as u8
    }

    /// The domain, or `None` where its code is not one of [`Domain`].
    #[must_use]
    pub const fn domain(self) -> Option<Domain> {
        Domain::from_bits((self.0 >> DOMAIN_SHIFT) as u8)
    }

    /// The number of the axis within its domain, below 2^40.
    #[must_use]
    pub const fn ordinal(self) -> u64 {
        self.0 & ORDINAL_MASK
    }

    /// The device of a queue axis, `None` for the other domains.
    #[must_use]
    pub const fn device(self) -> Option<u8> {
        match self.domain() {
            Some(Domain::Queue) => Some((self.0 >> DEVICE_SHIFT) as u8),
            _ => None,
        }
    }

    /// The queue's number on its device, `None` for the other domains.
    #[must_use]
    pub const fn queue_index(self) -> Option<u8> {
        match self.domain() {
            Some(Domain::Queue) => Some((self.0 >> QUEUE_SHIFT) as u8),
            _ => None,
        }
    }
}

/// Writes `queue:2.3`, `host:7`, `collective:1`, `epilogue:1` or the domain's code, preceded by
/// `session/machine/` unless both are 0.
///
/// ```
/// use strandline_core::Axis;
///
/// assert_eq!(Axis::queue(2, 3).to_string(), "queue:2.3");
/// assert_eq!(Axis::host(7).with_session(1).with_machine(2).to_string(), "1/2/host:7");
/// ```
impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (self.session(), self.machine()) != (0, 0) {
            write!(f, "{}/{}/", self.session(), self.machine())?;
        }
        let ordinal = self.ordinal();
        match self.domain() {
            Some(Domain::Queue) => {
                let (device, queue) = (ordinal >> DEVICE_SHIFT, (ordinal >> QUEUE_SHIFT) as u8);
                write!(f, "queue:{device}.{queue}")?;
                // The reserved bits are zero in every axis built here, but not in all that arrive.
                match ordinal & ((1 << QUEUE_SHIFT) - 1) {
                    0 => Ok(()),
                    reserved => write!(f, "+{reserved:#x}"),
                }
            }
            Some(Domain::Collective) => write!(f, "collective:{ordinal}"),
            Some(Domain::Epilogue) => write!(f, "epilogue:{ordinal}"),
            Some(Domain::Host) => write!(f, "host:{ordinal}"),
            None => write!(f, "domain{}:{ordinal}", (self.0 >> DOMAIN_SHIFT) as u8),
        }
    }
}

/// The same as [`Display`](fmt::Display): the parts say more than the bits.
impl fmt::Debug for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Axis({self})")
    }
}
