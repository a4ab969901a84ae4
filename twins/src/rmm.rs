//! RMM, the RAPIDS Memory Manager: `pool_memory_resource`.

mod pool;

pub use pool::{Pool, PoolSettings};
