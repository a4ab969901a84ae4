//! What an instance may use, and how it is compiled.

use std::time::Duration;
use wasmtime::{Config, Inlining, StoreLimits, StoreLimitsBuilder};

/// What one instance may use. Beyond it, the instance traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubstrateLimits {
    /// Bytes of linear memory: the books of its pools, some 100 bytes for each block.
    pub memory_bytes: usize,
    /// How long one call may take; `None` for as long as it likes. Time is counted in tenths of this, so that
    /// a call is stopped between one and 1.1 times it. Time spent in the provider counts, but a call
    /// that is inside the provider is not stopped.
    pub call_time: Option<Duration>,
    /// Handles, to providers and for the component's own resources.
    pub handles: usize,
    /// Bytes that one call may copy from the component to the host: a snapshot takes some 50 a block.
    pub copied_bytes: usize,
}

impl Default for SubstrateLimits {
    /// 512 MiB of memory, 10 s a call, 65,536 handles, 256 MiB copied.
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            call_time: Some(Duration::from_secs(10)),
            handles: 1 << 16,
            copied_bytes: 256 << 20,
        }
    }
}

impl SubstrateLimits {
    pub(super) fn store_limits(&self) -> StoreLimits {
        StoreLimitsBuilder::new()
            .memory_size(self.memory_bytes)
            // The component is one core module with one memory; the rest is what its adapters take.
            .instances(16)
            .memories(2)
            .tables(4)
            .table_elements(10_000)
            .trap_on_grow_failure(false)
            .build()
    }
}

/// How a substrate component is compiled and run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubstrateConfig {
    /// What an instance may use.
    pub limits: SubstrateLimits,
    /// Run with wasmtime's support for concurrent calls. The component needs none and calls are slower with
    /// it; here to be measured.
    pub concurrency: bool,
}

impl SubstrateConfig {
    pub(super) fn engine(&self) -> Config {
        let mut config = Config::new();
        config.wasm_component_model(true);
        config.concurrency_support(self.concurrency);
        if !self.concurrency {
            config.wasm_component_model_async(false);
        }
        // The component is built for size, which leaves small functions where they are.
        config.compiler_inlining(Inlining::Yes);
        config.epoch_interruption(self.limits.call_time.is_some());
        config
    }
}
