//! Leases that end.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// Misuse is looked for.
pub(crate) const CHECKED: bool = true;

/// Over once its frame has ended. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease(Arc<AtomicBool>);

impl Lease {
    /// The frame has ended. Relaxed: what is found depends on it, no memory does.
    pub(crate) fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the frame has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// One for a new frame: this, if nobody else has it any more.
    pub(crate) fn renewed(mut self) -> Self {
        match Arc::get_mut(&mut self.0) {
            Some(over) => {
                *over.get_mut() = false;
                self
            }
            None => Self::default(),
        }
    }
}
