//! Without the feature `wgpu`: what is missing, and how to get it.

use crate::output::Error;
use serde_json::Value;
use strandline_replay::build::Backing;

const MISSING: &str = "this strandline was built without GPUs; build it with them: cargo run --release --features wgpu -- …";

pub(crate) fn backing(_: Option<&str>, _: Option<u64>) -> Result<Backing, Error> {
    Err(MISSING.into())
}

/// What `info` says about adapters.
pub(crate) struct Adapters {
    /// For people.
    pub(crate) text: String,
    /// For programs: null, nobody looked.
    pub(crate) json: Value,
}

pub(crate) fn adapters() -> Adapters {
    let text = "provider wgpu: not in this build (cargo run --release --features wgpu -- info)\n";
    Adapters { text: text.to_owned(), json: Value::Null }
}
