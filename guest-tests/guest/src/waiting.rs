//! A guest of the world `guest`: it waits.

mod hostile;

use crate::world;
use alloc::string::String;
use alloc::vec::Vec;
use strandline_guest_tests::{Entry, Refusal};

#[allow(unsafe_code, missing_docs, reason = "generated")]
pub(crate) mod bindings {
    wit_bindgen::generate!({
        world: "strandline:guest-tests/conformance",
        path: ["../../wit", "../wit"],
        generate_all,
    });
    pub(crate) use strandline::guest_tests::stage;
    pub(crate) use strandline::substrate::{device, frontiers, pools, types, waits};

    export!(Program with_types_in self);

    /// What the world's export hangs on.
    pub(crate) struct Program;
}
use bindings::{pools, types, waits};

impl bindings::Guest for bindings::Program {
    async fn run(arguments: Vec<String>) -> Result<String, String> {
        match crate::hostile_program(&arguments) {
            Some((program, arguments)) => hostile::run(program, arguments).await,
            None => crate::case(&arguments).await,
        }
    }
}

/// It keeps nothing.
#[derive(Debug, Default)]
pub(crate) struct Own;

fn refused(error: types::WaitError) -> Refusal {
    match error {
        types::WaitError::InvalidFrontier(_) => Refusal::InvalidFrontier,
        types::WaitError::Failed(_) | types::WaitError::Retired(_) => Refusal::Failed,
        other => Refusal::Other(alloc::format!("{other:?}")),
    }
}

/// Waits until the pool has changed.
pub(crate) async fn changed(pool: &pools::Pool, seen: u32) -> Result<(), Refusal> {
    waits::changed(pool, seen).await.map_err(refused)
}

/// Waits until these entries are reached.
pub(crate) async fn finish(_: &mut Own, until: &[Entry]) -> Result<(), Refusal> {
    waits::wait(world::entries(until)).await.map_err(refused)
}
