//! The core in a sandbox against the core itself: generated programs, step by step.

#[path = "../../../core/tests/support/bytes.rs"]
mod bytes;
mod faults;
mod kinds;
#[allow(dead_code, reason = "core's own tests use the rest")]
#[path = "../../../core/tests/support/mod.rs"]
mod support;
mod twin;
mod world;

use std::sync::OnceLock;
use strandline_host_tenants::component::substrate::{
    SubstrateConfig, SubstrateModule, find_component,
};

/// The component as it was built.
fn wasm() -> &'static [u8] {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| {
        let path = find_component().unwrap_or_else(|error| panic!("{error}"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    })
}

/// Compiled once for all tests.
fn module() -> &'static SubstrateModule {
    static MODULE: OnceLock<SubstrateModule> = OnceLock::new();
    MODULE.get_or_init(|| {
        SubstrateModule::compile(wasm(), &SubstrateConfig::default())
            .unwrap_or_else(|error| panic!("{error}"))
    })
}
