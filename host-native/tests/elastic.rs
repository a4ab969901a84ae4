//! Elastic slabs of mmap memory: bytes count where they are committed, and a pool over them holds what it needs.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use strandline_core::pool::PoolHost;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::slab::{SlabError, SlabMap, Trim};
use strandline_core::{Acquire, Death, Grant, Pool, Request, SlabId, SlabProvider, Tracker};
use strandline_host_native::MmapSlabProvider;

const GRANULES: u64 = 64;

/// A provider with memory for `most` granules, an elastic slab of 64, and the bytes of a granule.
fn elastic(most: u64) -> (MmapSlabProvider, SlabId, u64) {
    let page = rustix::param::page_size() as u64;
    let provider =
        MmapSlabProvider::builder().capacity(most * page).elastic(GRANULES * page).build().unwrap();
    let granule = provider.elastic().unwrap().granule;
    assert_eq!(granule, page);
    let Ok(Grant::Slab(slab)) = provider.reserve(GRANULES * page) else { panic!("no addresses") };
    (provider, slab.id, granule)
}

#[test]
fn bytes_count_where_they_are_committed() {
    let (provider, slab, granule) = elastic(4);
    let counted = || (provider.mapped_bytes(), provider.stats().committed_bytes);
    assert_eq!(counted(), (0, 0), "addresses are no memory");
    assert!(provider.map(slab, 0, granule).is_err(), "nothing is there to be used");

    assert_eq!(provider.commit(slab, 0, 3 * granule), Ok(true));
    assert_eq!(counted(), (3 * granule, 3 * granule));
    let buffer = provider.map(slab, 0, 3 * granule).unwrap();
    buffer.write(0, &[7; 16]).unwrap();

    assert_eq!(provider.commit(slab, 8 * granule, 2 * granule), Ok(false), "over the capacity");
    assert_eq!(provider.commit(slab, 2 * granule, 2 * granule), Err(SlabError::InvalidRange));
    assert_eq!(provider.commit(slab, 3 * granule + 1, granule), Err(SlabError::InvalidRange));
    assert_eq!(provider.commit(slab, GRANULES * granule, granule), Err(SlabError::InvalidRange));
    assert_eq!(provider.decommit(slab, 2 * granule, 2 * granule), Err(SlabError::InvalidRange));
    assert_eq!(counted(), (3 * granule, 3 * granule), "a refusal changes nothing");

    provider.decommit(slab, 0, granule).unwrap();
    assert_eq!(counted(), (2 * granule, 2 * granule));
    assert_eq!(provider.commit(slab, 0, granule), Ok(true));
    let mut bytes = [1; 16];
    buffer.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 16], "memory that was taken out comes back as zeros");

    drop(buffer);
    provider.release(slab).unwrap();
    assert_eq!(counted(), (0, 0));
    assert_eq!(provider.commit(slab, 0, granule), Err(SlabError::UnknownSlab(slab)));
}

#[test]
fn any_order_of_commits_and_decommits_counts_as_a_set_of_granules_does() {
    let most = GRANULES / 2;
    let (provider, slab, granule) = elastic(most);
    let mut has = [false; GRANULES as usize];
    let mut seed = 1_u64;
    let mut dice = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut outcomes = [0; 5];
    for _ in 0..4000 {
        let from = dice(GRANULES);
        let count = 1 + dice((GRANULES - from).min(8));
        let (offset, len) = (from * granule, count * granule);
        let held = has.iter().filter(|&&has| has).count() as u64;
        let range = &mut has[from as usize..(from + count) as usize];
        if dice(2) == 0 {
            let expected = if range.contains(&true) {
                Err(SlabError::InvalidRange)
            } else {
                Ok(held + count <= most)
            };
            assert_eq!(provider.commit(slab, offset, len), expected);
            outcomes[match expected {
                Ok(true) => {
                    range.fill(true);
                    0
                }
                Ok(false) => 1,
                Err(_) => 2,
            }] += 1;
        } else if range.contains(&false) {
            assert_eq!(provider.decommit(slab, offset, len), Err(SlabError::InvalidRange));
            outcomes[3] += 1;
        } else {
            provider.decommit(slab, offset, len).unwrap();
            range.fill(false);
            outcomes[4] += 1;
        }
        let held = has.iter().filter(|&&has| has).count() as u64;
        assert_eq!(provider.mapped_bytes(), held * granule);
        assert_eq!(provider.stats().committed_bytes, held * granule);
    }
    assert!(outcomes.iter().all(|&times| times > 0), "every outcome was met: {outcomes:?}");
}

#[test]
fn a_pool_holds_what_it_needs_and_gives_all_of_it_back() {
    let page = rustix::param::page_size() as u64;
    let provider =
        Arc::new(MmapSlabProvider::builder().capacity(16 * page).elastic(1 << 30).build().unwrap());
    let pool = TlsfPool::new(
        PoolHost::new(provider.clone(), Arc::new(Tracker::new(1))),
        TlsfPoolConfig::default(),
    )
    .unwrap();
    let mut held = Vec::new();
    for count in 1..=16 {
        let Ok(Acquire::Ready { reservation, .. }) = pool.acquire(&Request::new(page).or_grow())
        else {
            panic!("{count} pages of 16")
        };
        let bytes = provider.map(reservation.slab(), reservation.offset(), page).unwrap();
        bytes.write(page - 8, &u64::to_le_bytes(count)).unwrap();
        held.push((reservation, bytes, count));
        assert_eq!(pool.stats().committed_bytes, count * page, "as much as is in use");
    }
    let refused = pool.acquire(&Request::new(1).or_grow());
    assert!(matches!(refused, Ok(Acquire::Exhausted { .. })), "{refused:?}");
    for (reservation, bytes, count) in held {
        let mut last = [0; 8];
        bytes.read(page - 8, &mut last).unwrap();
        assert_eq!(u64::from_le_bytes(last), count);
        drop(bytes);
        pool.release(reservation, Death::Idle).unwrap();
    }
    // All of it in one piece, of the same memory.
    let Ok(Acquire::Ready { reservation, .. }) = pool.acquire(&Request::new(16 * page)) else {
        panic!("16 pages side by side")
    };
    pool.release(reservation, Death::Idle).unwrap();
    pool.trim(Trim::All).unwrap();
    assert_eq!(pool.stats().committed_bytes, 0);
    assert_eq!(provider.mapped_bytes(), 0);
}
