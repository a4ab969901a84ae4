//! `pool pair`: acquire and release through a whole pool, on one thread and on two that share it.
//!
//! *Same size* takes 4 KiB and gives it back; *mixed* keeps 256 blocks among all threads, log-uniform from 256 B
//! to 1 MiB, and replaces a random one. The reference is what one would write with what is published:
//! offset-allocator behind a mutex, which knows no frontier. The goals in nanoseconds are half, on two
//! threads a third, of what IREE's pools took on a machine of this kind.

use crate::harness::{Case, Contender, Goal};
use crate::pairs::{self, Locked, Mixed, Released, Same, Worker};
use strandline_core::pool::tlsf::Coalescing;

/// Blocks that live in a mixed case.
const LIVE: u32 = 256;

const FRONTIER: &str = "strandline TLSF pool, 1-entry frontiers";
const IDLE: &str = "strandline TLSF pool, idle";

pub(super) fn cases() -> impl Iterator<Item = Case> {
    let all = [
        ("same size, 1 thread", 1, None, 37.5),
        ("same size, 2 threads", 2, None, 155.0),
        ("mixed sizes, 256 live, 1 thread", 1, Some(LIVE), 45.0),
        ("mixed sizes, 256 live, 2 threads", 2, Some(LIVE / 2), 530.0 / 3.0),
    ];
    all.into_iter().map(|(name, threads, live, goal)| Case {
        group: "pool pair",
        name: name.into(),
        unit: "pair",
        reference: 0,
        goals: vec![Goal::ns(FRONTIER, goal)],
        contenders: Box::new(move || contenders(threads, live)),
    })
}

fn contenders(threads: u32, live: Option<u32>) -> Vec<Contender> {
    let tlsf = |released| {
        let pool = pairs::tlsf_pool(Coalescing::Readiness);
        let worker = || -> Box<dyn Worker> {
            let pool = pool.clone();
            match live {
                Some(live) => Box::new(Mixed::new(pool, live, released)),
                None => Box::new(Same::new(pool, 4096, released)),
            }
        };
        (0..threads).map(|_| worker()).collect()
    };
    vec![
        pairs::contender("mutex around offset-allocator", Locked::team(threads, live)),
        pairs::contender(FRONTIER, tlsf(Released::After)),
        pairs::contender(IDLE, tlsf(Released::Idle)),
    ]
}
