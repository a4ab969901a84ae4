//! Why a pool refuses a call, or what broke while it served one. Running out is not among these: that is an answer, [`Acquire`](super::Acquire).

use core::fmt;

use super::Reservation;
use crate::Axis;
use crate::slab::SlabError;

/// Why a request could not even be considered, or what broke while it was.
// Exhaustive, as are the other types that cross a component boundary: whoever adds a case adds it to every
// conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// A request for nothing.
    ZeroSize,
    /// The alignment is not a power of two, or above that of the provider's slabs: an offset can be no better aligned than the slab
    /// that it counts from.
    InvalidAlignment {
        /// As requested.
        alignment: u64,
    },
    /// No slab of this pool could ever hold it.
    TooLarge {
        /// As requested, in bytes.
        size: u64,
        /// The most this pool can serve, in bytes.
        max: u64,
    },
    /// More blocks or slabs than the pool can number.
    TooManyBlocks,
    /// The provider failed. Nothing was reserved and the pool stays usable.
    Provider(SlabError),
    /// The configuration cannot work; the text says what to change.
    InvalidConfig(&'static str),
    /// What the pool runs on has failed (a sandbox trapped); it takes no more requests.
    Lost,
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroSize => f.write_str("a request for zero bytes"),
            Self::InvalidAlignment { alignment } if alignment.is_power_of_two() => {
                write!(f, "alignment {alignment} is above that of the pool's slabs")
            }
            Self::InvalidAlignment { alignment } => {
                write!(f, "alignment {alignment} is not a power of two")
            }
            Self::TooLarge { size, max } => {
                write!(f, "{size} bytes requested, the pool serves at most {max}")
            }
            Self::TooManyBlocks => f.write_str("more blocks than the pool can number"),
            Self::Provider(error) => write!(f, "slab provider: {error}"),
            Self::InvalidConfig(what) => write!(f, "invalid pool configuration: {what}"),
            Self::Lost => f.write_str("what the pool runs on has failed"),
        }
    }
}

impl core::error::Error for PoolError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Provider(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SlabError> for PoolError {
    fn from(error: SlabError) -> Self {
        Self::Provider(error)
    }
}

/// A release that the pool refused; the reservation comes back, so nothing is lost.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReleaseError {
    /// The reservation, unharmed.
    pub reservation: Reservation,
    /// Why.
    pub refusal: ReleaseRefusal,
}

/// Why a pool refused a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReleaseRefusal {
    /// The reservation is another pool's.
    OtherPool,
    /// The death names an axis that was never registered: nobody would find out that it was reached, and the bytes would be lost.
    UnknownAxis(Axis),
}

impl ReleaseError {
    /// The refusal of another pool's reservation.
    #[must_use]
    pub const fn other_pool(reservation: Reservation) -> Self {
        Self { reservation, refusal: ReleaseRefusal::OtherPool }
    }

    /// The refusal of a death that names an axis which nobody registered.
    #[must_use]
    pub const fn unknown_axis(reservation: Reservation, axis: Axis) -> Self {
        Self { reservation, refusal: ReleaseRefusal::UnknownAxis(axis) }
    }
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.refusal {
            ReleaseRefusal::OtherPool => {
                write!(f, "{:?} does not belong to this pool", self.reservation)
            }
            ReleaseRefusal::UnknownAxis(axis) => {
                write!(
                    f,
                    "{:?} would wait for axis {axis}, which is not registered",
                    self.reservation
                )
            }
        }
    }
}

impl core::error::Error for ReleaseError {}

/// Why an exchange gave no answer: one of its two calls failed.
#[derive(Debug)]
pub enum ExchangeError {
    /// The release was refused, and nothing was acquired: the reservation is in here.
    Release(ReleaseError),
    /// The acquire failed; the reservation is released.
    Acquire(PoolError),
}

impl From<ReleaseError> for ExchangeError {
    fn from(error: ReleaseError) -> Self {
        Self::Release(error)
    }
}

impl From<PoolError> for ExchangeError {
    fn from(error: PoolError) -> Self {
        Self::Acquire(error)
    }
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(error) => error.fmt(f),
            Self::Acquire(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ExchangeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Release(error) => error.source(),
            Self::Acquire(error) => error.source(),
        }
    }
}
