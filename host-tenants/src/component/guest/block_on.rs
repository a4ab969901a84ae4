//! Runs one future on this thread, up to a deadline: all the executor that a guest needs.
//!
//! Between polls the thread is parked; wakers unpark it. A future that is not over at the deadline is dropped
//! by the caller, and with it everything that it was waiting for.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::thread::{self, Thread};
use std::time::Instant;

struct Unpark {
    thread: Thread,
    /// Set by a wake and not yet acted on: a future that polls others may use up the park token.
    woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// The future's value, or `None` when the deadline came first.
pub(super) fn block_on<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    let unpark = Arc::new(Unpark { thread: thread::current(), woken: AtomicBool::new(false) });
    let waker = unpark.clone().into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        while !unpark.woken.swap(false, Ordering::Acquire) {
            match deadline {
                None => thread::park(),
                Some(deadline) => {
                    let now = Instant::now();
                    if now >= deadline {
                        return None;
                    }
                    thread::park_timeout(deadline - now);
                }
            }
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::future::{pending, poll_fn, ready};
    use std::time::Duration;

    #[test]
    fn ends_with_the_value_or_the_deadline() {
        assert_eq!(block_on(ready(3), None), Some(3));
        let soon = Instant::now() + Duration::from_millis(5);
        assert_eq!(block_on(pending::<()>(), Some(soon)), None);
        assert!(Instant::now() >= soon);
    }

    #[test]
    fn a_wake_from_another_thread_polls_again() {
        let mut first = true;
        let value = block_on(
            poll_fn(|context| {
                if !core::mem::take(&mut first) {
                    return Poll::Ready(7);
                }
                let waker = context.waker().clone();
                thread::spawn(move || waker.wake());
                Poll::Pending
            }),
            None,
        );
        assert_eq!(value, Some(7));
    }

    #[test]
    fn a_future_that_never_stops_waking_is_stopped() {
        let soon = Instant::now() + Duration::from_millis(5);
        let never = poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert_eq!(block_on(never, Some(soon)), None);
    }
}
