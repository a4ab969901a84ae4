use super::*;
use crate::scale::scaled;
use std::fs;

fn slab(provider: &MmapSlabProvider, size: u64) -> Slab {
    match provider.acquire(size).unwrap() {
        Grant::Slab(slab) => slab,
        Grant::NoCapacity => panic!("no capacity for {size} bytes"),
    }
}

fn page() -> u64 {
    rustix::param::page_size() as u64
}

/// The access of the mapping around `address`, such as `rw-p`, and where that mapping starts and ends.
#[cfg(target_os = "linux")]
fn access(address: u64) -> Option<(u64, u64, String)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        (start..end).contains(&address).then(|| (start, end, rest[..4].to_owned()))
    })
}

#[test]
#[cfg(target_os = "linux")]
fn guard_pages_lie_on_both_sides_and_nothing_else_is_out_of_reach() {
    for alignment in [1, 1 << 16, 1 << 21] {
        let provider =
            MmapSlabProvider::builder().guard_pages(true).alignment(alignment).build().unwrap();
        let slab = slab(&provider, 3 * page() + 1);
        assert_eq!(slab.size, 4 * page());
        assert_eq!(provider.guard_bytes(), 2 * page());
        assert_eq!(provider.mapped_bytes(), slab.size, "guards do not count");
        let buffer = provider.map(slab.id, 0, slab.size).unwrap();
        let start = buffer.as_ptr().addr() as u64;
        assert_eq!(start % alignment, 0);
        assert_eq!(access(start), Some((start, start + slab.size, "rw-p".into())));
        for guard in [start - page(), start + slab.size] {
            assert_eq!(access(guard).unwrap().2, "---p");
            assert_eq!(access(guard + page() - 1).unwrap().2, "---p");
        }
        buffer.fill(1);
        provider.release(slab.id).unwrap();
        assert_eq!(provider.guard_bytes(), 2 * page(), "the buffer lives");
        drop(buffer);
        assert_eq!((provider.guard_bytes(), provider.mapped_bytes()), (0, 0));
    }
}

#[test]
fn capacity_is_refused_and_comes_back_with_the_memory() {
    let provider = MmapSlabProvider::builder().capacity(4 * page()).build().unwrap();
    let first = slab(&provider, 3 * page());
    assert_eq!(provider.acquire(page() + 1), Ok(Grant::NoCapacity));
    let second = slab(&provider, 1);
    assert_eq!(second.size, page());
    assert_eq!(provider.acquire(1), Ok(Grant::NoCapacity));
    let buffer = provider.map(first.id, 0, 1).unwrap();
    provider.release(first.id).unwrap();
    assert_eq!(provider.acquire(1), Ok(Grant::NoCapacity), "a buffer still holds the memory");
    drop(buffer);
    let third = slab(&provider, 3 * page());
    let stats = provider.stats();
    assert_eq!((stats.slabs, stats.acquires, stats.releases, stats.refusals), (2, 3, 1, 3));
    assert_eq!((stats.committed_bytes, stats.peak_committed_bytes), (4 * page(), 4 * page()));
    for id in [second.id, third.id] {
        provider.release(id).unwrap();
    }
    assert_eq!((provider.stats().slabs, provider.mapped_bytes()), (0, 0));
}

#[test]
fn ids_of_released_slabs_never_resolve_again() {
    let provider = MmapSlabProvider::builder().build().unwrap();
    let old = slab(&provider, 1).id;
    provider.release(old).unwrap();
    let new = slab(&provider, 1).id;
    assert_eq!(new.index(), old.index());
    assert_eq!(provider.release(old), Err(SlabError::UnknownSlab(old)));
    assert_eq!(provider.map(old, 0, 1).unwrap_err(), SlabError::UnknownSlab(old));
    assert_eq!(provider.prefault(old, 0, 1), Err(SlabError::UnknownSlab(old)));
    provider.release(new).unwrap();
    let never = SlabId::new(u32::MAX, 7);
    assert_eq!(provider.release(never), Err(SlabError::UnknownSlab(never)));
}

#[test]
fn sizes_that_cannot_be_are_typed_answers() {
    let provider = MmapSlabProvider::builder().max_slab_size(1 << 20).build().unwrap();
    for size in [0, (1 << 20) + 1, u64::MAX] {
        assert_eq!(provider.acquire(size), Err(SlabError::InvalidSize { size }));
    }
    let limitless = MmapSlabProvider::builder().guard_pages(true).alignment(1 << 30).build();
    let limitless = limitless.unwrap();
    let most = limitless.properties().max_slab_size;
    assert!(most > 1 << 40);
    // More than any machine's memory and address space: an answer, not an error.
    for size in [most, 1 << 50] {
        assert_eq!(limitless.acquire(size), Ok(Grant::NoCapacity));
    }
    assert_eq!((limitless.mapped_bytes(), limitless.guard_bytes()), (0, 0));
    assert_eq!(limitless.acquire(u64::MAX), Err(SlabError::InvalidSize { size: u64::MAX }));
}

#[test]
fn ranges_outside_a_slab_are_refused() {
    let provider = MmapSlabProvider::builder().build().unwrap();
    let slab = slab(&provider, 1);
    for (offset, len) in [(0, slab.size + 1), (slab.size, 1), (u64::MAX, 1), (1, u64::MAX)] {
        assert_eq!(provider.map(slab.id, offset, len).unwrap_err(), SlabError::InvalidRange);
        assert_eq!(provider.prefault(slab.id, offset, len), Err(SlabError::InvalidRange));
    }
    assert!(provider.map(slab.id, slab.size, 0).unwrap().is_empty());
    provider.prefault(slab.id, slab.size, 0).unwrap();
}

#[test]
fn alignments_that_cannot_be_are_refused() {
    for alignment in [0, 3, 4097, MmapBuilder::MAX_ALIGNMENT * 2, u64::MAX] {
        let built = MmapSlabProvider::builder().alignment(alignment).build();
        assert_eq!(built.unwrap_err(), MmapConfigError::InvalidAlignment { alignment });
    }
}

#[test]
fn slabs_start_as_aligned_as_asked() {
    for alignment in [1, 64, page(), 1 << 16, 1 << 22] {
        let provider = MmapSlabProvider::builder().alignment(alignment).build().unwrap();
        let properties = provider.properties();
        assert_eq!(properties.alignment, alignment.max(page()));
        let slabs: Vec<_> = (1..10).map(|pages| slab(&provider, pages * page())).collect();
        for slab in &slabs {
            let start = provider.map(slab.id, 0, 1).unwrap().as_ptr().addr() as u64;
            assert_eq!(start % properties.alignment, 0);
            assert_eq!(slab.size % properties.granularity, 0);
        }
    }
}

#[test]
fn memory_is_zeroed_and_prefault_leaves_it_alone() {
    let provider = MmapSlabProvider::builder().prefault(true).huge_pages(true).build().unwrap();
    let size = scaled(1 << 22) as u64;
    for _ in 0..2 {
        let slab = slab(&provider, size);
        let buffer = provider.map(slab.id, 0, slab.size).unwrap();
        assert_eq!(buffer.find_mismatch(0), None);
        buffer.fill_u64(0x0123_4567_89ab_cdef);
        provider.prefault(slab.id, 1, slab.size - 1).unwrap();
        assert_eq!(buffer.find_mismatch(0x0123_4567_89ab_cdef), None);
        provider.release(slab.id).unwrap();
        assert_eq!(buffer.find_mismatch(0x0123_4567_89ab_cdef), None, "still mapped");
    }
}

/// Which pages of the buffer are present, by the kernel's own table; `None` where a sandbox hides it.
#[cfg(target_os = "linux")]
fn present(buffer: &MmapBuffer) -> Option<Vec<bool>> {
    use std::os::unix::fs::FileExt;
    let pagemap = fs::File::open("/proc/self/pagemap").ok()?;
    let first = buffer.as_ptr().addr() as u64 / page();
    let pages = (0..buffer.len() / page()).map(|i| {
        let mut entry = [0; 8];
        pagemap.read_exact_at(&mut entry, (first + i) * 8).ok()?;
        Some(u64::from_ne_bytes(entry) >> 63 == 1)
    });
    pages.collect()
}

#[test]
#[cfg(target_os = "linux")]
fn prefault_makes_the_pages_of_the_range_present() {
    let provider = MmapSlabProvider::builder().build().unwrap();
    let slab = slab(&provider, 16 * page());
    let buffer = provider.map(slab.id, 0, slab.size).unwrap();
    let Some(before) = present(&buffer) else {
        eprintln!("skipped: no page table to be seen here");
        return;
    };
    assert_eq!(before, [false; 16]);
    // From the last byte of page 1 to the first of page 4.
    provider.prefault(slab.id, 2 * page() - 1, 2 * page() + 2).unwrap();
    let after = present(&buffer).unwrap();
    // The kernel may use larger pages than asked for, so of the others nothing is said.
    assert_eq!(after[1..5], [true; 4]);

    let eager = MmapSlabProvider::builder().prefault(true).build().unwrap();
    let Grant::Slab(slab) = eager.acquire(16 * page()).unwrap() else { panic!("no memory") };
    assert_eq!(present(&eager.map(slab.id, 0, slab.size).unwrap()), Some(vec![true; 16]));
}

#[test]
fn touching_is_as_good_as_populating_and_leaves_the_contents() {
    let page = page() as usize;
    let layout = Layout::new(4 * page as u64, page, page, false).unwrap();
    let mapping =
        Arc::new(Mapping::new(layout, &Arc::new(Account::new(u64::MAX)), None, false).unwrap());
    let buffer = MmapBuffer::new(mapping.clone(), 0, 4 * page as u64).unwrap();
    buffer.slice(0, page as u64).unwrap().fill_u64(0x77);
    mapping.touch(0, 4 * page);
    assert_eq!(buffer.slice(0, page as u64).unwrap().find_mismatch(0x77), None);
    #[cfg(target_os = "linux")]
    if let Some(pages) = present(&buffer) {
        assert_eq!(pages, [true; 4]);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn uncounted_slabs_may_exceed_the_machine_and_discarded_pages_are_zero() {
    let provider = MmapSlabProvider::builder().uncounted(true).guard_pages(true).build().unwrap();
    // A terabyte, unless the system forbids overcommitment.
    let grant = provider.acquire(1 << 40).unwrap();
    let forbidden = std::fs::read_to_string("/proc/sys/vm/overcommit_memory")
        .is_ok_and(|policy| policy.trim() == "2");
    let slab = match grant {
        Grant::Slab(slab) => slab,
        Grant::NoCapacity if forbidden || cfg!(miri) => return,
        Grant::NoCapacity => panic!("a terabyte of addresses was refused"),
    };
    let page = page();
    let last = provider.map(slab.id, slab.size - 2 * page, 2 * page).unwrap();
    last.fill_u64(7);
    assert_eq!(last.find_mismatch(7), None);
    // Half a page more than the last one: that one alone lies in the range.
    provider.discard(slab.id, slab.size - page - page / 2, page + page / 2).unwrap();
    assert_eq!(last.slice(0, page).unwrap().find_mismatch(7), None);
    assert_eq!(last.slice(page, page).unwrap().find_mismatch(0), None);
    assert_eq!(provider.pages().unwrap().resident_bytes, page);
    assert_eq!(provider.discard(slab.id, slab.size, 1), Err(SlabError::InvalidRange));
    provider.release(slab.id).unwrap();
    assert!(matches!(provider.discard(slab.id, 0, 1), Err(SlabError::UnknownSlab(_))));
}

#[test]
fn two_providers_are_told_apart() {
    let [a, b] = [1, 2].map(|_| MmapSlabProvider::builder().build().unwrap());
    assert_ne!(a.stats().identity, b.stats().identity);
    assert_eq!(a.stats().identity, a.stats().identity);
}

#[test]
fn threads_share_a_provider() {
    let capacity = 8 * page();
    let provider = MmapSlabProvider::builder().capacity(capacity).build().unwrap();
    let rounds = scaled(2_000);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let provider = &provider;
            scope.spawn(move || {
                let mut held = Vec::new();
                for round in 0..rounds as u64 {
                    let tag = thread << 32 | round;
                    if let Grant::Slab(slab) = provider.acquire((1 + round % 3) * page()).unwrap() {
                        let buffer = provider.map(slab.id, 0, 64).unwrap();
                        assert_eq!(buffer.find_mismatch(0), None, "fresh memory");
                        buffer.fill_u64(tag);
                        held.push((slab, buffer, tag));
                    }
                    assert!(provider.mapped_bytes() <= capacity);
                    if held.len() > 2 || round % 2 == 1 {
                        for (slab, buffer, tag) in held.drain(..) {
                            assert_eq!(buffer.find_mismatch(tag), None, "nobody else's");
                            provider.release(slab.id).unwrap();
                        }
                    }
                }
                for (slab, ..) in held {
                    provider.release(slab.id).unwrap();
                }
            });
        }
    });
    let stats = provider.stats();
    assert_eq!((stats.slabs, stats.committed_bytes, provider.mapped_bytes()), (0, 0, 0));
    assert_eq!(stats.acquires, stats.releases);
    assert!(stats.peak_committed_bytes <= capacity);
}
