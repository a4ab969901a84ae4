//! `tlsf pair`: a random live block dies and a block of another size takes its place.
//!
//! Sizes are log-uniform from 256 B to 1 MiB. The capacity is twice the peak of live bytes, so that nothing ever
//! fails. The allocators that write into the memory they manage are left out at 50,000 live, where they could touch up to 12 GiB each;
//! so is gpu-allocator, whose cost is seen to grow with live blocks before that.

use crate::harness::{Case, Contender, Goal};
use crate::peers::{Deaths, GpuAllocator, OffsetAllocator, Ours, Peer, Queues, Rlsf, Talc};
use crate::stream::Churn;
use crate::tape;
use std::rc::Rc;
use strandline_core::offset::tlsf::{Config, Placement};

pub(super) fn cases() -> impl Iterator<Item = Case> {
    [(1_000, "1k live"), (10_000, "10k live"), (50_000, "50k live")].into_iter().map(
        |(live, name)| Case {
            group: "tlsf pair",
            name: name.into(),
            unit: "pair",
            reference: 0,
            goals: vec![Goal::ratio("strandline, 1-entry frontiers", 1.0)],
            contenders: Box::new(move || contenders(live)),
        },
    )
}

fn contenders(live: u32) -> Vec<Contender> {
    let churn = Rc::new(Churn::mixed(live));
    let capacity = 2 * churn.peak_bytes();
    let ours = |placement, deaths, queues| {
        let config = Config { placement, ..Config::default() };
        Ours::new(capacity, live, config, deaths, Queues(queues)).ok()
    };
    let never = Deaths::Behind(u64::MAX);
    let mut all = vec![
        contender("offset-allocator", Some(OffsetAllocator::new(capacity, live)), &churn),
        contender("strandline, 1-entry frontiers", ours(Placement::FAST, never, 1), &churn),
        contender(
            "strandline, 1-entry frontiers, 64 in flight",
            ours(Placement::FAST, Deaths::Behind(64), 1),
            &churn,
        ),
        contender(
            "strandline, 4 queues, 64 in flight",
            ours(Placement::FAST, Deaths::Behind(64), 4),
            &churn,
        ),
        contender("strandline, idle", ours(Placement::FAST, Deaths::Idle, 1), &churn),
        contender(
            "strandline, 1-entry frontiers, packed placement",
            ours(Placement::PACKED, never, 1),
            &churn,
        ),
    ];
    #[cfg(feature = "vma")]
    all.push(contender(
        "VMA virtual block",
        crate::peers::VirtualBlock::new(capacity, live),
        &churn,
    ));
    if live <= 10_000 {
        all.push(contender("rlsf", Rlsf::new(capacity, live), &churn));
        all.push(contender("talc", Talc::new(capacity, live), &churn));
        all.push(contender("gpu-allocator", GpuAllocator::new(live), &churn));
    }
    all
}

fn contender<P: Peer + 'static>(name: &str, peer: Option<P>, churn: &Rc<Churn>) -> Contender {
    tape::contender(name, peer, Rc::clone(churn))
}
