//! This build has no sandbox: says how to get one.

use crate::output::Error;
use std::path::Path;
use std::sync::Arc;
use strandline_replay::build::Maker;
use strandline_replay::report::Boundary;

/// None of it can exist.
#[derive(Debug)]
pub(crate) enum Sandbox {}

impl Sandbox {
    pub(crate) fn start(_: Option<&Path>) -> Result<Self, Error> {
        Err("this strandline was built without the sandbox; build it with `--features component` (as in `cargo run \
             --release --features component -- replay …`), and the component with `cargo xtask component`"
            .into())
    }

    pub(crate) fn maker(&self) -> Arc<dyn Maker> {
        match *self {}
    }

    pub(crate) fn boundary(&self) -> Result<Boundary, Error> {
        match *self {}
    }
}
