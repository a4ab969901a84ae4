//! Conformance of wakes: what every way to sleep on a notification does. Cases are written once, in
//! `cases`, and every backend registers with the one list of them: a backend without a case, or a case
//! that is not in the list, does not compile.
//!
//! | backend | who sleeps |
//! | --- | --- |
//! | `blocked` | a thread, by futex |
//! | `uring`, `poll` | an event loop that its caller polls |
//! | `uring_thread`, `poll_thread` | an event loop with its own thread |
//! | `shared_blocked` | a thread, on a notification shared between processes |
//! | `shared_uring`, `shared_poll` | an event loop that mirrors one |
#![cfg(target_os = "linux")]
#![deny(dead_code)]

#[path = "wakes/backends.rs"]
mod backends;
#[path = "wakes/cases.rs"]
mod cases;
mod support;

use backends::{Blocked, Looping, Shared, SharedLooping, Threaded};
use strandline_host_native::proactor::ProactorKind;

/// The list of cases. Each backend's tests are made from it.
macro_rules! register {
    ($($module:ident: $backend:expr;)*) => { $(
        mod $module {
            use super::*;
            register!(@cases $backend;
                a_stale_observation_does_not_sleep,
                a_signal_after_the_look_ends_the_wait,
                a_signal_reaches_every_waiter,
                signals_that_come_close_together_count_as_one,
                a_deadline_ends_the_wait_and_not_before,
                a_deadline_that_has_passed_looks_once,
                a_deadline_may_race_with_a_signal,
                no_wake_is_lost_between_two_that_take_turns,
                registering_races_with_signaling,
                a_signal_handler_may_signal,
                interrupted_sleeps_go_on,
                many_notifications_come_and_go,
                two_waiters_of_different_observations,
            );
        }
    )* };
    (@cases $backend:expr; $($case:ident,)*) => { $(
        #[test]
        fn $case() {
            if let Some(backend) = $backend {
                cases::$case(&backend);
            }
        }
    )* };
}

register! {
    blocked: Some(Blocked);
    uring: Looping::new(ProactorKind::IoUring);
    poll: Looping::new(ProactorKind::Poll);
    uring_thread: Threaded::new(ProactorKind::IoUring);
    poll_thread: Threaded::new(ProactorKind::Poll);
    shared_blocked: Some(Shared);
    shared_uring: SharedLooping::new(ProactorKind::IoUring);
    shared_poll: SharedLooping::new(ProactorKind::Poll);
}

/// Every kind of proactor is registered above: a new one makes this incomplete.
const _: fn(ProactorKind) = |kind| match kind {
    ProactorKind::IoUring | ProactorKind::Poll => {}
};
