use super::*;
use std::collections::BTreeMap;

fn host() -> MmapSlabProvider {
    MmapSlabProvider::builder().uncounted(true).build().unwrap()
}

fn slab(provider: &dyn SlabProvider, size: u64) -> SlabId {
    match provider.acquire(size) {
        Ok(Grant::Slab(slab)) => slab.id,
        other => panic!("{size}: {other:?}"),
    }
}

#[test]
fn numbers_grant_and_refuse_as_real_memory_does() {
    let backings = [Backing::numbers(Some(10_000)), Backing::mmap(Some(10_000)).unwrap()];
    for backing in backings {
        let provider = &backing.provider;
        let Ok(Grant::Slab(slab)) = provider.acquire(1) else { panic!("{backing:?}") };
        assert_eq!(slab.size, 4096);
        assert_eq!(provider.acquire(4097), Ok(Grant::NoCapacity));
        let Ok(Grant::Slab(_)) = provider.acquire(4096) else { panic!("{backing:?}") };
        assert_eq!(provider.acquire(1), Ok(Grant::NoCapacity), "8192 of 8192 whole pages are out");
        assert_eq!(provider.release(slab.id), Ok(()));
        assert!(matches!(provider.release(slab.id), Err(SlabError::UnknownSlab(_))));
        assert_eq!(provider.stats().committed_bytes, 4096);
        assert!(matches!(provider.acquire(0), Err(SlabError::InvalidSize { .. })));
    }
}

#[test]
fn mapped_bytes_are_read_back_and_ranges_are_checked() {
    let memory = Host(host());
    let slab = slab(&memory.0, 4096);
    memory.write(slab, 4090, b"strand").unwrap();
    let mut read = [0; 6];
    memory.read(slab, 4090, &mut read).unwrap();
    assert_eq!(&read, b"strand");
    assert!(memory.write(slab, 4091, b"strand").is_err());
    memory.0.release(slab).unwrap();
    assert!(memory.read(slab, 0, &mut read).is_err());
}

#[test]
fn a_block_that_was_written_over_is_noticed() {
    let memory = Mapped::new(host(), u64::MAX, RESIDENT);
    let slab = slab(&memory, 1 << 20);
    let blocks =
        [(0, 600, 1), (600, 100, 2)].map(|(offset, size, tag)| Tagged { slab, offset, size, tag });
    blocks.iter().for_each(|block| memory.tag(block).unwrap());
    memory.tag(&Tagged { slab, offset: 590, size: 8, tag: 3 }).unwrap();
    assert_eq!(memory.verify(&blocks[0]), Ok(false));
    assert_eq!(memory.verify(&blocks[1]), Ok(true));
    assert_eq!(memory.unchecked(), Unchecked::default());
    memory.release(slab).unwrap();
    assert_eq!(memory.verify(&blocks[1]), Err(SlabError::UnknownSlab(slab)));
}

/// A host that forbids overcommitment refuses to map; the grant depends on the capacity alone.
#[test]
fn what_the_host_refuses_to_map_is_granted_by_numbers_and_told() {
    let small = MmapSlabProvider::builder().capacity(1 << 20).build().unwrap();
    let memory = Mapped::new(small, 100 << 30, RESIDENT);
    let (mapped, unmapped) = (slab(&memory, 1 << 20), slab(&memory, 80 << 30));
    assert_eq!(memory.acquire(20 << 30), Ok(Grant::NoCapacity), "beyond the capacity");
    for slab in [mapped, unmapped] {
        let block = Tagged { slab, offset: 100, size: 1 << 16, tag: 1 };
        assert_eq!(memory.tag(&block), Ok(()));
        assert_eq!(memory.verify(&block), Ok(true));
    }
    let wrong = Tagged { slab: mapped, offset: 100, size: 1 << 16, tag: 2 };
    assert_eq!(memory.verify(&wrong), Ok(false), "what is mapped is looked at");
    memory.release(unmapped).unwrap();
    let again = slab(&memory, 10 << 30);
    assert_eq!(memory.unchecked().unmapped_bytes, 80 << 30, "the most at once");
    memory.release(again).unwrap();
    memory.release(mapped).unwrap();
    assert_eq!((memory.stats().committed_bytes, memory.lock().unmapped_bytes), (0, 0));
}

/// Against a map of all live blocks: the pages that are kept are never more than the limit, and what is tagged is found whole.
#[test]
fn tags_keep_few_pages_and_lose_nothing() {
    const LIMIT: u64 = 64;
    let provider = MmapSlabProvider::builder().uncounted(true).guard_pages(true).build().unwrap();
    let memory = Mapped::new(provider, u64::MAX, LIMIT * 4096);
    let slab = slab(&memory, 1 << 30);
    let mut live: BTreeMap<u64, Tagged> = BTreeMap::new();
    let mut random = 1u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    let (mut untagged, mut given_back) = (0, 0);
    for tag in 1..20_000 {
        // Mostly few blocks, so that all can be tagged; now and then more than the limit has room for.
        let most = if tag % 4000 < 3500 { 12 } else { 60 };
        while live.len() as u64 >= most {
            let first = live.range(next(1 << 30)..).next().or(live.iter().next());
            let block = *first.unwrap().1;
            assert_eq!(memory.verify(&block), Ok(true), "{block:?}");
            live.remove(&block.offset);
        }
        let size = if next(2) == 0 { 1 + next(600) } else { 1 + next(1 << 20) };
        let offset = next((1 << 30) - size);
        let before = live.range(..offset + size).next_back();
        if before.is_some_and(|(_, block)| block.offset + block.size > offset) {
            continue;
        }
        let block = Tagged { slab, offset, size, tag };
        let counted = memory.lock().resident.len();
        memory.tag(&block).unwrap();
        given_back += u64::from(memory.lock().resident.len() < counted);
        live.insert(offset, block);
        assert!(memory.lock().resident.len() as u64 <= LIMIT);
        untagged = memory.unchecked().untagged_blocks;
    }
    assert!(given_back > 100, "{given_back}");
    assert!(untagged > 10 && untagged < 2000, "{untagged}");
    #[cfg(target_os = "linux")]
    {
        let kept = memory.host.0.pages().unwrap();
        assert!(!kept.exact || kept.resident_bytes <= LIMIT * 4096, "{kept:?}");
    }
    live.values().for_each(|block| assert_eq!(memory.verify(block), Ok(true), "{block:?}"));
    memory.release(slab).unwrap();
    assert_eq!(memory.lock().resident.len(), 0);
}
