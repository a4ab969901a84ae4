//! Many small parts: every byte of an arena goes on waiting for its own part's death, and a TLSF pool finds what lies side by
//! side, however many blocks that once were.

use crate::support::progress::Dial;
use crate::support::provider::MockProvider;
use std::sync::Arc;
use strandline_core::offset::tlsf;
use strandline_core::pool::arena::{ArenaPool, ArenaPoolConfig};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{PoolHost, Request};
use strandline_core::{Acquire, Death, Entry, Frontier, Pool, Reservation};

const PARTS: u64 = 1000;

/// What waits for the part at an offset: two axes take turns.
fn death(part: u64) -> Entry {
    Entry::new(Dial::axis(part as usize % 2), part / 2 + 1)
}

/// Knows of the deaths of all parts below this one, and of no others.
fn knows(part: u64) -> Frontier {
    let last = (part.saturating_sub(2)..part).map(death);
    Frontier::from_entries(last).unwrap()
}

fn ready(answer: Acquire) -> Reservation {
    let Acquire::Ready { reservation, .. } = answer else { panic!("{answer:?}") };
    reservation
}

#[test]
fn each_of_many_parts_keeps_its_own_death() {
    let provider = Arc::new(MockProvider::new(8, 8, 1 << 16, 1 << 16));
    let config =
        ArenaPoolConfig { generations: 1, generation_size: PARTS, ..ArenaPoolConfig::default() };
    let pool = ArenaPool::new(PoolHost::new(provider, Arc::new(Dial::new(2))), config).unwrap();
    let parts: Vec<_> =
        (0..PARTS).map(|_| ready(pool.acquire(&Request::new(1).or_grow()).unwrap())).collect();
    for part in parts {
        let after = Frontier::from_entries([death(part.offset())]).unwrap();
        pool.release(part, Death::After(after.as_ref())).unwrap();
    }
    for part in 1..PARTS {
        let known = knows(part);
        let ask = |size| Request::new(size).after(known.as_ref());
        // All that is known, and not a byte more.
        let found = ready(pool.acquire(&ask(part)).unwrap());
        pool.cancel(found).unwrap();
        let more = pool.acquire(&ask(part + 1)).unwrap();
        assert!(matches!(more, Acquire::Exhausted { .. }), "{part}: {more:?}");
        let Acquire::AfterWait { reservation, wait } =
            pool.acquire(&ask(part + 1).or_wait()).unwrap()
        else {
            panic!("{part} cannot be waited for")
        };
        assert_eq!(wait.as_ref().entries(), [death(part)]);
        pool.cancel(reservation).unwrap();
    }
}

/// 70 blocks side by side are more than one run of the offsets below holds. When the first 60 are taken, the others lie across the
/// border of two runs, both short by then.
#[test]
fn what_is_left_of_a_long_stretch_can_be_waited_for() {
    let provider = Arc::new(MockProvider::new(2, 8, 1 << 16, 1 << 16));
    let config = TlsfPoolConfig {
        offsets: tlsf::Config { granule: 1, ..tlsf::Config::default() },
        growth: Growth { slab_size: 70, max_slabs: 1 },
        ..TlsfPoolConfig::default()
    };
    let pool = TlsfPool::new(PoolHost::new(provider, Arc::new(Dial::new(4))), config).unwrap();
    let mut parts: Vec<_> =
        (0..70).map(|_| ready(pool.acquire(&Request::new(1).or_grow()).unwrap())).collect();
    parts.sort_by_key(Reservation::offset);
    for part in parts {
        // Neighbours wait for different axes, so that they stay apart.
        let offset = part.offset();
        let axis = Dial::axis(offset as usize % 2 + if offset < 60 { 0 } else { 2 });
        let after = Frontier::from_entry(axis, 1);
        pool.release(part, Death::After(after.as_ref())).unwrap();
        let _ = pool.stats();
    }
    let known = Frontier::from_entries([0, 1].map(|axis| Entry::new(Dial::axis(axis), 1))).unwrap();
    for _ in 0..60 {
        let _ = ready(pool.acquire(&Request::new(1).after(known.as_ref())).unwrap());
    }
    let answer = pool.acquire(&Request::new(8).after(known.as_ref()).or_wait()).unwrap();
    assert!(matches!(answer, Acquire::AfterWait { .. }), "{answer:?}");
}
