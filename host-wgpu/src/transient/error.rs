//! Why there is no transient buffer.

use crate::class::UsageClass;
use crate::gpu::GpuError;
use crate::slice::SliceError;
use crate::upload::UploadError;
use core::fmt;
use strandline_core::pool_set::PoolSetError;
use strandline_core::{Failure, PoolError, SlabError};
use wgpu::BufferUsages;

/// Why there is no transient buffer.
#[derive(Debug)]
#[non_exhaustive]
pub enum TransientError {
    /// No buffer, or none that a frame may have, has all of these uses: mapping, for instance, or none at all.
    Usages(BufferUsages),
    /// A frame has no memory of this class.
    Class(UsageClass),
    /// Mapped at creation: use [`Frame::upload`](super::Frame::upload) or [`GpuSlice::write`](crate::GpuSlice::write) instead.
    Mapped,
    /// The pools refused; among others a size of zero, or one that never fits.
    Pool(PoolError),
    /// They could not be put together.
    Set(PoolSetError),
    /// A provider failed.
    Slab(SlabError),
    /// The bytes of a slice cannot be used so.
    Slice(SliceError),
    /// Nothing can be uploaded.
    Upload(UploadError),
    /// More would be handed out than the budget allows.
    OverBudget {
        /// What was asked for, in bytes.
        size: u64,
        /// The budget, in bytes.
        budget: u64,
    },
    /// The device has no memory left, or the capacity is used up.
    OutOfMemory {
        /// What was asked for, in bytes.
        size: u64,
    },
    /// The device.
    Gpu(GpuError),
}

impl fmt::Display for TransientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usages(usages) => write!(f, "a transient buffer cannot be all of {usages:?}"),
            Self::Class(class) => write!(f, "a frame has no {} memory", class.name()),
            Self::Mapped => f.write_str(
                "a transient buffer cannot be mapped at creation: upload its bytes, or write the slice",
            ),
            Self::Pool(error) => error.fmt(f),
            Self::Set(error) => error.fmt(f),
            Self::Slab(error) => error.fmt(f),
            Self::Slice(error) => error.fmt(f),
            Self::Upload(error) => error.fmt(f),
            Self::OverBudget { size, budget } => {
                write!(f, "{size} more bytes would exceed the budget of {budget} bytes")
            }
            Self::OutOfMemory { size } => {
                write!(f, "no {size} bytes are left on the device, or within the capacity")
            }
            Self::Gpu(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TransientError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Pool(error) => Some(error),
            Self::Set(error) => Some(error),
            Self::Slab(error) => Some(error),
            Self::Slice(error) => Some(error),
            Self::Upload(error) => Some(error),
            Self::Gpu(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SlabError> for TransientError {
    fn from(error: SlabError) -> Self {
        Self::Slab(error)
    }
}

impl From<SliceError> for TransientError {
    fn from(error: SliceError) -> Self {
        Self::Slice(error)
    }
}

impl From<UploadError> for TransientError {
    fn from(error: UploadError) -> Self {
        Self::Upload(error)
    }
}

impl From<PoolError> for TransientError {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<GpuError> for TransientError {
    fn from(error: GpuError) -> Self {
        Self::Gpu(error)
    }
}

/// For callers that keep failures.
impl From<TransientError> for Failure {
    fn from(error: TransientError) -> Self {
        Self::new(error)
    }
}
