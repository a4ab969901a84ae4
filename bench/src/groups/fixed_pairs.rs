//! `fixed pair`: acquire and release of equal blocks through the lock-free fixed-block pool.
//!
//! Each thread takes 4 KiB and gives it back at once. The reference is offset-allocator behind a mutex; the TLSF pool does the
//! same work beside it. The goals in nanoseconds are half, on two threads a third, of what IREE's fixed-block
//! pool took on a machine of this kind.

use crate::harness::{Case, Contender, Goal};
use crate::pairs::{self, Locked, Released, Same, Worker};
use std::sync::Arc;
use strandline_core::Pool;
use strandline_core::pool::tlsf::Coalescing;

const FRONTIER: &str = "strandline fixed-block pool, 1-entry frontiers";
const IDLE: &str = "strandline fixed-block pool, idle";

pub(super) fn cases() -> impl Iterator<Item = Case> {
    let all = [("1 thread", 1, 17.0, 14.0), ("2 threads", 2, 60.0, 60.0)];
    all.into_iter().map(|(name, threads, frontier, idle)| Case {
        group: "fixed pair",
        name: name.into(),
        unit: "pair",
        reference: 0,
        goals: vec![Goal::ns(FRONTIER, frontier), Goal::ns(IDLE, idle)],
        contenders: Box::new(move || contenders(threads)),
    })
}

fn contenders(threads: u32) -> Vec<Contender> {
    let fixed = |released| team(pairs::fixed_pool(4096), threads, released);
    let tlsf = team(pairs::tlsf_pool(Coalescing::Readiness), threads, Released::After);
    vec![
        pairs::contender("mutex around offset-allocator", Locked::team(threads, None)),
        pairs::contender(FRONTIER, fixed(Released::After)),
        pairs::contender(IDLE, fixed(Released::Idle)),
        pairs::contender("strandline TLSF pool, 1-entry frontiers", tlsf),
    ]
}

fn team<P: Pool + 'static>(pool: Arc<P>, threads: u32, released: Released) -> Vec<Box<dyn Worker>> {
    let worker = |_| -> Box<dyn Worker> { Box::new(Same::new(Arc::clone(&pool), 4096, released)) };
    (0..threads).map(worker).collect()
}
