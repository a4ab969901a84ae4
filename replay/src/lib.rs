//! Real allocation traces: formats, replay through pools, the oracle, and fitting.
//!
//! ```text
//!   file ─▶ format ─▶ validate ─▶ Step ─▶ engine ─▶ report ─▶ text, JSON, plot
//!                                           │ acquire, release       ▲
//!                     config ─▶ build ─▶ pools over slabs         series
//!                        ▲                  │
//!                       fit              oracle, memory: every range and byte is checked
//!                                        recording: what a picture shows of an instant
//! ```

pub mod build;
pub mod certify;
pub mod clock;
pub mod compare;
pub mod config;
pub mod diff;
pub mod engine;
pub mod event;
pub mod explain;
pub mod fit;
pub mod format;
#[cfg(feature = "wgpu")]
pub mod gpu;
pub mod hash;
pub mod lifetimes;
pub mod lives;
pub mod memory;
pub mod oracle;
pub mod plan;
pub mod planned;
pub mod plot;
pub mod pools;
pub mod recorded;
pub mod recording;
pub mod report;
pub mod series;
pub mod serving;
pub mod session;
pub mod size;
pub mod snapshot;
pub mod steps;
pub mod streams;
pub mod synthetic;
#[cfg(test)]
mod testing;
pub mod validate;
