//! The list of cases, and how one is found by its name.

mod frontier;
mod pool;
mod queue;
mod reuse;

use crate::check::Wrong;
use crate::needs::{Needs, PoolKind, PoolNeeds};
use crate::world::World;

/// A pool of one slab of 64 KiB, of any size.
const TLSF: PoolNeeds = PoolNeeds::new(PoolKind::Tlsf { slab: 1 << 16 });
/// The same, by a plan.
const PLANNED: PoolNeeds = PoolNeeds::new(PoolKind::Planned { slab: 1 << 16 });
/// A pool of 16 blocks of 4 KiB.
const FIXED: PoolNeeds = PoolNeeds::new(PoolKind::Fixed { block: 4096 });

/// Pools that cannot grow beyond one slab.
const fn of(pools: &'static [PoolNeeds]) -> Needs {
    Needs { pools, capacity: 1 << 16, queues: false }
}

/// The same, with queues.
const fn queued(pools: &'static [PoolNeeds]) -> Needs {
    Needs { queues: true, ..of(pools) }
}

/// Declares every case: its module, its name, what it needs.
macro_rules! cases {
    ($($module:ident::$name:ident: $needs:expr;)*) => {
        /// Every case's name.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// What the case of this name needs; `None` when there is none.
        #[must_use]
        pub fn needs_of(name: &str) -> Option<Needs> {
            match name {
                $(stringify!($name) => {
                    const NEEDS: Needs = $needs;
                    Some(NEEDS)
                })*
                _ => None,
            }
        }

        /// Runs the case of this name.
        ///
        /// # Errors
        /// What it found wrong, or that there is no such case.
        pub async fn run<W: World>(name: &str, world: &mut W) -> Result<(), Wrong> {
            match name {
                $(stringify!($name) => $module::$name(world).await,)*
                _ => Err(Wrong(alloc::format!("no case is called {name}"))),
            }
        }

        /// Calls a macro with the names of all cases, for it to make a test of each:
        /// `for_each_case!(suite! native)` becomes `suite!(native: a, b, c)`.
        #[macro_export]
        macro_rules! for_each_case {
            ($suite:ident! $argument:tt) => { $suite!($argument: $($name),*); };
        }
    };
}

cases! {
    frontier::frontier_order_laws: of(&[]);
    frontier::frontier_join_laws: of(&[]);
    frontier::frontier_undominated: of(&[]);
    frontier::frontier_wire: of(&[]);
    frontier::frontier_bad_input: of(&[]);
    reuse::dominance_reuse: of(&[TLSF, FIXED, PLANNED]);
    reuse::completion_reuse: of(&[TLSF, FIXED, PLANNED]);
    reuse::two_axes_are_both_needed: of(&[TLSF, FIXED, PLANNED]);
    reuse::waits: of(&[TLSF, PLANNED]);
    reuse::cancel_restores_the_death: of(&[TLSF, PLANNED]);
    reuse::taint: of(&[TLSF, FIXED, PLANNED]);
    pool::exhaustion: of(&[TLSF, FIXED, PLANNED]);
    pool::budgets: of(&[TLSF.budget(8192), FIXED.budget(8192), PLANNED.budget(8192)]);
    pool::routing: of(&[
        TLSF.up_to(1 << 16),
        FIXED.first_up_to(4096),
        TLSF.up_to(1 << 16).upload_only(),
    ]);
    pool::oversized: of(&[
        FIXED,
        PoolNeeds::new(PoolKind::Passthrough).oversized(),
    ]);
    pool::alignment: of(&[TLSF, FIXED, PLANNED, PoolNeeds::new(PoolKind::Arena { generation: 8192 })]);
    pool::bad_requests: of(&[TLSF, FIXED, PLANNED]);
    pool::other_pools_reservations: of(&[TLSF, FIXED, PLANNED]);
    pool::trim: of(&[TLSF, PLANNED]);
    pool::wakeups: of(&[TLSF, PLANNED]);
    pool::counters: of(&[TLSF, FIXED, PLANNED]);
    pool::arena_generations: of(&[PoolNeeds::new(PoolKind::Arena { generation: 4096 })]);
    queue::queue_order: queued(&[TLSF]);
    queue::queue_reuse_before_completion: queued(&[TLSF]);
    queue::queue_alloca_in_line: queued(&[TLSF]);
    queue::queue_copies_between_queues: queued(&[TLSF]);
    queue::queue_uses_reservations: queued(&[TLSF]);
    queue::queue_ranges: queued(&[TLSF]);
    queue::device_loss: queued(&[TLSF]);
    queue::cancellation: queued(&[TLSF]);
}
