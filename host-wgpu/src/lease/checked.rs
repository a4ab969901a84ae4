//! Leases that end.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// Misuse is looked for.
pub(crate) const CHECKED: bool = true;

/// Over once its frame has ended; one of no frame never is. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease(Option<Arc<AtomicBool>>);

impl Lease {
    /// For what is used for ever, as far as is known here.
    pub(crate) const FOREVER: Self = Self(None);

    /// The frame has ended. Relaxed: what is found depends on it, no memory does.
    pub(crate) fn end(&self) {
        if let Some(over) = &self.0 {
            over.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the frame has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|over| over.load(Ordering::Relaxed))
    }

    /// Makes it one for a new frame: the same flag, if nobody else has it any more.
    pub(crate) fn renew(&mut self) {
        match self.0.as_mut().and_then(Arc::get_mut) {
            Some(over) => *over.get_mut() = false,
            None => self.0 = Some(Arc::default()),
        }
    }
}
