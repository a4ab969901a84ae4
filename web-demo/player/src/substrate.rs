//! The other component's pools, as core's.

/// The interfaces by the names that a host of the component has for them, for the file below.
mod bindings {
    pub(super) mod exports {
        pub(crate) mod strandline {
            pub(crate) use crate::bindings::strandline::substrate;
        }
    }
    pub(super) use crate::bindings::strandline;
}
/// The one conversion between core's types and the interfaces', which the native host has too: its file.
#[path = "../../../host-tenants/src/component/substrate/convert.rs"]
#[allow(dead_code, reason = "the native host also answers the component's imports")]
mod convert;
mod maker;
mod pool;
#[path = "../../../host-tenants/src/component/substrate/snapshot.rs"]
mod snapshot;

pub(crate) use maker::There;
pub(crate) use pool::{LEDGERS, Link, POOLS, TRACKERS};
