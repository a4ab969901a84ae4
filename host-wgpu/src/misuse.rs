//! Misuse of frames that no type can forbid, found in builds with debug assertions or the feature `checks`.
//!
//! wgpu takes buffers by reference and knows no slices, so a program may still use one whose bytes are another frame's by now. What can be
//! answered with an error is; the rest is told to a hook, as wgpu tells its uncaptured errors. By default it is logged as an error.

use crate::gpu::Gpu;
use core::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};

/// Something that a program must not do with a frame's buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// A slice was used after its frame was submitted: its bytes may be another frame's.
    AfterSubmission {
        /// The label of its buffer, or its class.
        label: String,
        /// Where it was used.
        at: &'static Location<'static>,
    },
    /// A frame that had handed out buffers was dropped without a submission. What was recorded with them may still be submitted, so their
    /// bytes are set aside. Submit the frame, or say with [`Frame::discard`](crate::Frame::discard) that nothing of it will be.
    DroppedFrame {
        /// How many buffers it had handed out.
        buffers: usize,
    },
    /// A frame was reported as submitted while uploads of it had no encoder to go out with: their bytes were never written.
    UploadsLeft {
        /// How many bytes.
        bytes: u64,
    },
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AfterSubmission { label, at } => {
                write!(f, "{at}: {label:?} is used after its frame was submitted")
            }
            Self::DroppedFrame { buffers } => write!(
                f,
                "a frame of {buffers} buffers was dropped: submit it after its encoder, or discard it"
            ),
            Self::UploadsLeft { bytes } => write!(
                f,
                "{bytes} bytes were uploaded and not flushed into an encoder before the submission"
            ),
        }
    }
}

pub(crate) type Hook = Mutex<Option<Arc<dyn Fn(&Misuse) + Send + Sync>>>;

impl Gpu {
    /// Has misuse told to `hook`, on the thread that commits it and with no lock held. By default it is logged.
    pub fn on_misuse(&self, hook: impl Fn(&Misuse) + Send + Sync + 'static) {
        *self.shared().misuse.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
    }

    pub(crate) fn misused(&self, misuse: &Misuse) {
        let hook = self.shared().misuse.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match hook {
            Some(hook) => hook(misuse),
            None => log::error!("{misuse}"),
        }
    }
}
