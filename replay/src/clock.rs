//! The time, also where there is no clock.
//!
//! On a machine with an operating system this is [`std::time::Instant`]. WebAssembly without one has no clock, and the standard
//! library's would panic: there an [`Instant`] is what the host said last (`set`), so that times are as fine as the
//! host's telling, and 0 if it never told any.

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
pub use std::time::Instant;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub use told::{Instant, set};

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
mod told {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    static NOW: AtomicU64 = AtomicU64::new(0);

    /// It is `nanoseconds` after a moment that never changes.
    pub fn set(nanoseconds: u64) {
        // One thread: there is nothing to order.
        NOW.store(nanoseconds, Ordering::Relaxed);
    }

    /// A moment, as the host told it.
    #[derive(Clone, Copy, Debug)]
    pub struct Instant(u64);

    impl Instant {
        /// The moment that the host told last.
        #[must_use]
        pub fn now() -> Self {
            Self(NOW.load(Ordering::Relaxed))
        }

        /// What has passed since.
        #[must_use]
        pub fn elapsed(&self) -> Duration {
            Duration::from_nanos(Self::now().0.saturating_sub(self.0))
        }
    }
}
