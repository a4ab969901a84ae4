//! RMM, the RAPIDS Memory Manager: `pool_memory_resource`, `arena_memory_resource`, `binning_memory_resource`.

mod arena;
mod binning;
mod live;
mod pool;

pub use arena::{Arena, ArenaSettings};
pub use binning::{Binning, BinningSettings};
pub use pool::{Pool, PoolSettings};
