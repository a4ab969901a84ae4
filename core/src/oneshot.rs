//! One value from a callback to a future.

use core::mem;
use core::task::{Context, Poll, Waker};

use crate::sync::Mutex;

/// Holds the value until the future asks, or the future's waker until the value comes.
#[derive(Debug)]
pub(crate) struct Oneshot<T>(Mutex<State<T>>);

#[derive(Debug)]
enum State<T> {
    Waiting(Option<Waker>),
    Sent(T),
    /// The value has been taken, or no one wants it any more.
    Closed,
}

impl<T> Oneshot<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State::Waiting(None)))
    }

    /// Hands the value over. Only the first one counts.
    pub(crate) fn send(&self, value: T) {
        // Wakers are foreign code, so they are called and dropped after the lock.
        let waker = {
            let mut state = self.0.lock();
            match &mut *state {
                State::Waiting(waker) => {
                    let waker = waker.take();
                    *state = State::Sent(value);
                    waker
                }
                State::Sent(_) | State::Closed => None,
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The value, once; pending before it came and after it was taken.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<T> {
        // Cloned before the lock and dropped after it: both may run foreign code.
        let waker = context.waker().clone();
        let mut state = self.0.lock();
        let before = match &mut *state {
            State::Waiting(slot) => slot.replace(waker),
            State::Sent(_) => match mem::replace(&mut *state, State::Closed) {
                State::Sent(value) => return Poll::Ready(value),
                State::Waiting(_) | State::Closed => None,
            },
            State::Closed => None,
        };
        drop(state);
        drop(before);
        Poll::Pending
    }
}
