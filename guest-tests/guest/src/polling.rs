//! A guest of the world `guest-sync`: it cannot wait, so it looks again and again.

use crate::world;
use alloc::string::String;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use strandline_guest_tests::{Entry, Refusal};

#[allow(unsafe_code, missing_docs, reason = "generated")]
pub(crate) mod bindings {
    wit_bindgen::generate!({
        world: "strandline:guest-tests/conformance-sync",
        path: ["../../wit", "../wit"],
        generate_all,
    });
    pub(crate) use strandline::guest_tests::stage;
    pub(crate) use strandline::substrate::{device, frontiers, pools, types};

    export!(Program with_types_in self);

    /// What the world's export hangs on.
    pub(crate) struct Program;
}
use bindings::{device, pools, types};

impl bindings::Guest for bindings::Program {
    fn run(arguments: Vec<String>) -> Result<String, String> {
        if let Some((program, arguments)) = crate::hostile_program(&arguments) {
            return crate::hostile::run(program, arguments);
        }
        let mut case = pin!(crate::case(&arguments));
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(ended) = case.as_mut().poll(&mut context) {
                return ended;
            }
        }
    }
}

/// A queue to find out with whether an axis has failed.
#[derive(Debug, Default)]
pub(crate) struct Own(Option<device::Queue>);

impl Own {
    /// # Errors
    /// What a queue refuses to wait for, or what it failed with since.
    fn ask(&mut self, until: &[types::Entry]) -> Result<(), device::QueueError> {
        let queue = match self.0.take() {
            Some(queue) => queue,
            None => device::open_queue()?,
        };
        match queue.barrier(until) {
            // Too many barriers under way say nothing of what they wait for.
            Ok(_) | Err(device::QueueError::Limit) => {
                self.0 = Some(queue);
                Ok(())
            }
            // The queue may have failed with what it was to wait for: the next question needs another.
            Err(error) => Err(error),
        }
    }
}

/// Looks until the pool has changed.
pub(crate) async fn changed(pool: &pools::Pool, seen: u32) -> Result<(), Refusal> {
    let look = |_: &mut Context<'_>| {
        if pool.observe() == seen { Poll::Pending } else { Poll::Ready(Ok(())) }
    };
    poll_fn(look).await
}

/// Looks until these entries are reached, ever less often whether they still can be. That an axis has failed shows when something is submitted that waits for it.
pub(crate) async fn finish(own: &mut Own, until: &[Entry]) -> Result<(), Refusal> {
    let until = world::entries(until);
    let mut looks = 0_u64;
    let look = |_: &mut Context<'_>| {
        if until.iter().all(|entry| device::reached(entry.axis) >= entry.epoch) {
            return Poll::Ready(Ok(()));
        }
        looks += 1;
        if looks.is_power_of_two() {
            if let Err(error) = own.ask(&until) {
                return Poll::Ready(Err(world::queue_refusal(error)));
            }
        }
        Poll::Pending
    };
    poll_fn(look).await
}
