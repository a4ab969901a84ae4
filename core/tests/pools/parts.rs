//! Batches of a thousand parts: every byte of an arena goes on waiting for its own part's death.

use crate::support::progress::Dial;
use crate::support::provider::MockProvider;
use std::sync::Arc;
use strandline_core::pool::arena::{ArenaPool, ArenaPoolConfig};
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
