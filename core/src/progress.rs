//! Who knows how far each axis has come.
//!
//! Pools and frontiers ask through [`Progress`] and never see what answers: a tracker, a device's
//! own counter, a simulation.

use alloc::sync::Arc;

use crate::axis::{Axis, Epoch};
#[cfg(feature = "hosted")]
use crate::notification::Notification;

/// Answers how far an axis has come.
///
/// Answers may lag behind the truth but never run ahead of it: an epoch that was reported is
/// reached, and all the effects of the work before it are visible to whoever got the answer (an
/// implementation over atomics needs acquire loads). Answers about one axis never go back.
///
/// All methods are called on hot paths and must not block.
pub trait Progress: Send + Sync {
    /// The last epoch reached on `axis`, 0 when there is none or the axis is not known.
    fn reached(&self, axis: Axis) -> Epoch;

    /// Whether `axis` has reached `epoch`. Epoch 0 is always reached.
    fn has_reached(&self, axis: Axis, epoch: Epoch) -> bool {
        self.reached(axis) >= epoch
    }

    /// Whether `axis` is one that can make progress, or could once. A pool refuses a death that names one that is not: nobody
    /// would ever find out that it was reached. `true` where that is not kept track of.
    #[cfg(feature = "hosted")]
    fn is_known(&self, axis: Axis) -> bool {
        let _ = axis;
        true
    }

    /// The same knowledge as memory needs it, where that differs: an axis that has ended and is
    /// [fenced](crate::Tracker::fence_axis) counts as having reached every epoch there. Pools ask this.
    #[cfg(feature = "hosted")]
    fn for_memory(&self) -> Option<Arc<dyn Progress>> {
        None
    }

    /// Signaled after any axis has moved on or ended, as long as somebody [watches](Notification::watch); `None` where nobody
    /// tells. Who waits for memory sleeps on this beside the pool's notification.
    #[cfg(feature = "hosted")]
    fn moved(&self) -> Option<&Arc<Notification>> {
        None
    }

    /// A number that is another one once an axis has got somewhere: as long as it is the same, whoever has looked at axes since it
    /// was first returned need not look again. `None` where nobody keeps such a number, and every axis has to be asked each time.
    ///
    /// More exactly: an advance of any axis that happened before a call is seen in the number that the call returns, or else in
    /// every answer about the axis that was given after an earlier call which returned the same number. So the number is taken
    /// *before* the look that it stands for.
    ///
    /// ```
    /// use strandline_core::{Axis, Progress, Tracker};
    ///
    /// let tracker = Tracker::new(1);
    /// let axis = Axis::host(1);
    /// tracker.register(axis)?;
    /// let seen = tracker.version();
    /// assert_eq!(tracker.version(), seen);
    /// tracker.advance(axis, 1)?;
    /// assert_ne!(tracker.version(), seen);
    /// # Ok::<(), strandline_core::TrackerError>(())
    /// ```
    fn version(&self) -> Option<u64> {
        None
    }
}

/// Knows of no progress at all: every frontier but the empty one is unsatisfied.
///
/// ```
/// use strandline_core::{Axis, Frontier, FrontierRef, NoProgress};
///
/// assert!(FrontierRef::EMPTY.is_satisfied(&NoProgress));
/// let frontier = Frontier::from_entry(Axis::host(1), 1);
/// assert!(!frontier.as_ref().is_satisfied(&NoProgress));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn reached(&self, _axis: Axis) -> Epoch {
        0
    }

    fn version(&self) -> Option<u64> {
        Some(0)
    }
}

/// What points to a `Progress` is one.
macro_rules! points_to_progress {
    ($pointer:ty) => {
        impl<P: Progress + ?Sized> Progress for $pointer {
            fn reached(&self, axis: Axis) -> Epoch {
                (**self).reached(axis)
            }

            fn has_reached(&self, axis: Axis, epoch: Epoch) -> bool {
                (**self).has_reached(axis, epoch)
            }

            #[cfg(feature = "hosted")]
            fn is_known(&self, axis: Axis) -> bool {
                (**self).is_known(axis)
            }

            #[cfg(feature = "hosted")]
            fn for_memory(&self) -> Option<Arc<dyn Progress>> {
                (**self).for_memory()
            }

            #[cfg(feature = "hosted")]
            fn moved(&self) -> Option<&Arc<Notification>> {
                (**self).moved()
            }

            fn version(&self) -> Option<u64> {
                (**self).version()
            }
        }
    };
}

points_to_progress!(&P);
points_to_progress!(Arc<P>);
