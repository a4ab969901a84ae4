use super::*;
use rustix::io::Errno;
use strandline_core::slab::{MemoryType, Slab};
use strandline_core::{Grant, SlabMap, SlabProvider};

fn provider() -> MmapSlabProvider {
    MmapSlabProvider::builder().shared(true).build().unwrap()
}

fn slab(provider: &MmapSlabProvider, size: u64) -> Slab {
    match provider.acquire(size).unwrap() {
        Grant::Slab(slab) => slab,
        Grant::NoCapacity => panic!("no capacity for {size} bytes"),
    }
}

fn page() -> u64 {
    rustix::param::page_size() as u64
}

#[test]
fn both_sides_see_the_same_bytes_and_keep_them() {
    let provider = provider();
    assert!(provider.properties().memory_type.contains(MemoryType::SHARED));
    let slab = slab(&provider, 3 * page() - 1);
    assert_eq!(slab.size, 3 * page());
    let here = provider.map(slab.id, 0, slab.size).unwrap();
    assert_eq!(here.find_mismatch(0), None, "zeroed");
    let shared = provider.share(slab.id).unwrap();
    assert_eq!(shared.size(), slab.size);
    let there = SharedSlab::try_from(OwnedFd::from(shared)).unwrap().map().unwrap();
    assert_eq!(there.len(), slab.size);
    assert_ne!(there.as_ptr(), here.as_ptr());
    there.fill_u64(0x1122_3344_5566_7788);
    assert_eq!(here.find_mismatch(0x1122_3344_5566_7788), None);

    // The provider's accounts know nothing of the other side's mapping.
    drop(here);
    provider.release(slab.id).unwrap();
    assert_eq!(provider.mapped_bytes(), 0);
    assert_eq!(there.find_mismatch(0x1122_3344_5566_7788), None, "its memory is still there");
    assert!(matches!(
        provider.share(slab.id),
        Err(SharedSlabError::Slab(SlabError::UnknownSlab(_)))
    ));
}

#[test]
fn every_slab_is_a_memory_of_its_own_whatever_else_is_asked() {
    let provider = MmapSlabProvider::builder()
        .shared(true)
        .guard_pages(true)
        .alignment(1 << 16)
        .huge_pages(true)
        .prefault(true)
        .capacity(1 << 24)
        .build()
        .unwrap();
    let [a, b] = [slab(&provider, page()), slab(&provider, page())];
    let [first, second] = [a, b].map(|slab| provider.share(slab.id).unwrap().map().unwrap());
    first.fill(1);
    assert_eq!(second.find_mismatch(0), None);
    assert_eq!(provider.guard_bytes(), 4 * page());
    assert_eq!(provider.map(a.id, 0, a.size).unwrap().as_ptr().addr() % (1 << 16), 0);
}

#[test]
fn private_slabs_are_not_shared() {
    let provider = MmapSlabProvider::builder().build().unwrap();
    let slab = slab(&provider, 1);
    assert!(!provider.properties().memory_type.contains(MemoryType::SHARED));
    assert!(matches!(provider.share(slab.id), Err(SharedSlabError::NotShared)));
}

/// A peer cannot take the memory away under our feet.
#[test]
fn the_size_is_sealed() {
    let provider = provider();
    let slab = slab(&provider, 2 * page());
    let peer = provider.share(slab.id).unwrap();
    assert_eq!(ftruncate(&peer, page()), Err(Errno::PERM));
    assert_eq!(ftruncate(&peer, 3 * page()), Err(Errno::PERM));
    assert_eq!(fcntl_add_seals(&peer, SealFlags::WRITE), Err(Errno::PERM));
}

#[test]
fn descriptors_that_are_no_slab_are_refused() {
    let refusal = |file: OwnedFd| SharedSlab::try_from(file).map(|_| ()).unwrap_err();
    let null = std::fs::File::open("/dev/null").unwrap();
    assert!(matches!(refusal(null.into()), SharedSlabError::NotMemory));
    let (reader, _writer) = io::pipe().unwrap();
    assert!(matches!(refusal(reader.into()), SharedSlabError::NotMemory));

    let memory = |len: u64, seals: SealFlags| {
        let file = memfd_create("peer", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&file, len).unwrap();
        fcntl_add_seals(&file, seals).unwrap();
        file
    };
    for seals in [SealFlags::empty(), SealFlags::SHRINK, SealFlags::GROW, SealFlags::SEAL] {
        assert!(matches!(refusal(memory(page(), seals)), SharedSlabError::Resizable), "{seals:?}");
    }
    for bytes in [0, 1, page() - 1, page() + 1] {
        let error = refusal(memory(bytes, SEALS));
        assert!(matches!(error, SharedSlabError::Size { bytes: b } if b == bytes), "{error}");
    }
    assert!(SharedSlab::try_from(memory(page(), SEALS)).is_ok());
    // Memory that was sealed against writing cannot be mapped writable: an error, no fault.
    let read_only = memory(page(), SEALS.difference(SealFlags::SEAL));
    fcntl_add_seals(&read_only, SealFlags::WRITE).unwrap();
    let error = SharedSlab::try_from(read_only).unwrap().map().unwrap_err();
    let SharedSlabError::Os(error) = error else { panic!("{error}") };
    assert_eq!(error.raw_os_error(), Some(Errno::PERM.raw_os_error()));
}
