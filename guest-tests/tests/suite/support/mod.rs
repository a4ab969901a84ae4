//! Runners: what makes the pools that a case needs, and lets the case at them across a boundary.

#[cfg(feature = "guests")]
pub(crate) mod artifacts;
pub(crate) mod convert;
#[cfg(feature = "wgpu")]
pub(crate) mod gpu;
#[cfg(feature = "guests")]
pub(crate) mod guest;
pub(crate) mod host;
pub(crate) mod native;
#[cfg(feature = "wgpu")]
#[path = "../../../../host-wgpu/tests/gpu/real.rs"]
pub(crate) mod real;
pub(crate) mod rig;
#[cfg(feature = "guests")]
pub(crate) mod sandbox;

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::task::Wake;
use std::thread::Thread;
use std::time::{Duration, Instant};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// How long a case may take. Generous: it is only reached by a case that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a future on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        let now = Instant::now();
        assert!(now < deadline, "the case hangs");
        std::thread::park_timeout(deadline - now);
    }
}
