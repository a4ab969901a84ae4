//! Pools and queues for programs that nobody need trust.
//!
//! ```text
//!   a program in the process        a guest in wasmtime          the core itself in a sandbox
//!            │                             │                                │
//!            │                      component::guest                component::substrate
//!            ▼                             │                                │ imports
//!   tenant: handles, budgets, limits ◀─────┘                                ▼
//!            │                                                   slabs and progress of the host
//!            ▼
//!   pools of strandline-core, queues and memory of strandline-host-native
//! ```
//!
//! | module | idea |
//! | --- | --- |
//! | [`tenant`] | [`Tenant`](tenant::Tenant): what one program may name, hold and wait for |
//! | `component` | feature `component`: wasmtime in front of tenants, and around the core |
#![deny(unsafe_code)]

#[cfg(feature = "component")]
pub mod component;
pub mod tenant;
/// The version of wasmtime whose types the feature `component` has in its interface.
#[cfg(feature = "component")]
pub use wasmtime;

#[cfg(all(test, feature = "component"))]
#[path = "../../host-native/src/scale.rs"]
mod scale;
