//! Real allocation traces: formats, replay through pools, the oracle, and fitting.
pub mod oracle;
