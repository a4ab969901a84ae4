//! The core in a sandbox against the core itself: generated programs, step by step.

#[path = "../../../core/tests/support/bytes.rs"]
mod bytes;
mod faults;
mod kinds;
mod plans;
#[allow(dead_code, reason = "core's own tests use the rest")]
#[path = "../../../core/tests/support/mod.rs"]
mod support;
mod twin;
mod world;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use strandline_host_tenants::component::substrate::{
    SubstrateConfig, SubstrateModule, find_component,
};

/// The component as it was built.
fn wasm() -> &'static [u8] {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| read(&find_component().unwrap_or_else(|error| panic!("{error}"))))
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn compile(wasm: &[u8]) -> SubstrateModule {
    SubstrateModule::compile(wasm, &SubstrateConfig::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Compiled once for all tests.
fn module() -> &'static SubstrateModule {
    static MODULE: OnceLock<SubstrateModule> = OnceLock::new();
    MODULE.get_or_init(|| compile(wasm()))
}

/// The component that can make planned pools: beside the other, unless a variable names it.
fn module_with_plans() -> &'static SubstrateModule {
    static MODULE: OnceLock<SubstrateModule> = OnceLock::new();
    MODULE.get_or_init(|| {
        let beside = || find_component().unwrap().with_file_name("strandline-plans.wasm");
        let named = std::env::var_os("STRANDLINE_PLANS_COMPONENT");
        compile(&read(&named.map_or_else(beside, PathBuf::from)))
    })
}
