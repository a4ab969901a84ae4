//! The allocator against an interval map, over generated programs.

use super::*;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Op {
    Alloc { bytes: u64, align: u32, shelf: u32 },
    Free { which: usize, shelf: u32, merge: bool },
    Move { which: usize, to: u32 },
    MergeRun { bytes: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (1u64..6000, 0u32..12, 0u32..3)
            .prop_map(|(bytes, align, shelf)| Op::Alloc { bytes, align, shelf }),
        4 => (any::<usize>(), 0u32..3, any::<bool>())
            .prop_map(|(which, shelf, merge)| Op::Free { which, shelf, merge }),
        1 => (any::<usize>(), 0u32..3).prop_map(|(which, to)| Op::Move { which, to }),
        1 => (1u64..20_000).prop_map(|bytes| Op::MergeRun { bytes }),
    ];
    prop::collection::vec(op, 1..400)
}

fn placements() -> impl Strategy<Value = Placement> {
    let search = prop_oneof![
        Just(Search::Head),
        (1u16..20, prop::sample::select(Tie::ALL.to_vec()))
            .prop_map(|(scan, tie)| Search::Best { scan, tie }),
    ];
    let carve = || prop::sample::select(Carve::ALL.to_vec());
    (search, 0u64..4096, carve(), carve()).prop_map(|(search, threshold, large, small)| Placement {
        search,
        threshold,
        large,
        small,
    })
}

#[derive(Clone, Copy, Debug)]
struct Rank(u64);

impl Label for Rank {
    fn rank(&self) -> u64 {
        self.0
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]

    #[test]
    fn live_blocks_never_overlap_and_everything_comes_back(
        ops in ops(), placement in placements(), bits in 3u8..=6, granule in 0u32..7,
    ) {
        let granule = 1 << granule;
        let config = Config { granule, second_level_bits: bits, placement };
        let mut tlsf = Tlsf::<Rank>::new(config).unwrap();
        for _ in 0..3 {
            tlsf.add_shelf().unwrap();
        }
        let mut regions = Vec::new();
        for size in [32 << 10, 64 << 10] {
            let (region, block) = tlsf.add_region(size, Rank(0)).unwrap();
            tlsf.insert(block, 0, Rank(0));
            regions.push((region, size));
        }
        let mut live: Vec<BlockId> = Vec::new();
        let mut map: BTreeMap<(RegionId, u64), u64> = BTreeMap::new();
        let mut clock = 0;
        for op in ops {
            clock += 1;
            match op {
                Op::Alloc { bytes, align, shelf } => {
                    let need = tlsf.need(bytes, 1 << align).unwrap();
                    let Some(place) = tlsf.find(shelf, need) else { continue };
                    let label = *tlsf.label(place.block);
                    let taken = tlsf.take(place, label).unwrap();
                    if let Some(loose) = taken.loose {
                        tlsf.insert(loose, shelf, label);
                    }
                    let (region, start) = (tlsf.region(taken.block), tlsf.offset(taken.block));
                    let size = tlsf.size(taken.block);
                    prop_assert!(size >= bytes && size < bytes + granule);
                    prop_assert_eq!(start % (1 << align).max(granule), 0);
                    let before = map.range(..=(region, start)).next_back();
                    if let Some((&(r, s), &len)) = before {
                        prop_assert!(r != region || s + len <= start);
                    }
                    if let Some((&(r, s), _)) = map.range((region, start)..).next() {
                        prop_assert!(r != region || start + size <= s);
                    }
                    map.insert((region, start), size);
                    live.push(taken.block);
                }
                Op::Free { which, shelf, merge } => {
                    if live.is_empty() {
                        continue;
                    }
                    let block = live.swap_remove(which % live.len());
                    map.remove(&(tlsf.region(block), tlsf.offset(block)));
                    tlsf.loosen(block);
                    for side in [Side::Left, Side::Right] {
                        if let Some((n, on)) = tlsf.neighbour(block, side)
                            && merge && on == shelf
                        {
                            tlsf.absorb(block, n);
                        }
                    }
                    tlsf.insert(block, shelf, Rank(if shelf == 0 { 0 } else { clock }));
                }
                Op::Move { which, to } => {
                    // Some free block: the first at or after a live one.
                    let Some(&block) = live.get(which % live.len().max(1)) else { continue };
                    let Some((free, _)) = tlsf.neighbour(block, Side::Right) else { continue };
                    tlsf.move_to(free, to, Rank(clock));
                    for side in [Side::Left, Side::Right] {
                        if let Some((n, on)) = tlsf.neighbour(free, side) && on == to {
                            tlsf.absorb(free, n);
                        }
                    }
                }
                Op::MergeRun { bytes } => {
                    let need = tlsf.need(bytes, 1).unwrap();
                    let Some(run) = tlsf.runs(need, 4).next() else { continue };
                    let blocks: Vec<_> = tlsf.run_blocks(run).collect();
                    prop_assert!(tlsf.fits_span(blocks[0], *blocks.last().unwrap(), need));
                    let first = blocks[0];
                    tlsf.remove(first);
                    for &next in &blocks[1..] {
                        tlsf.absorb(first, next);
                    }
                    tlsf.insert(first, 2, Rank(clock));
                }
            }
            tlsf.check();
        }
        for block in live {
            tlsf.loosen(block);
            tlsf.insert(block, 1, Rank(clock));
        }
        // Merge all, as an owner does when everything is ready.
        for (region, size) in regions {
            let blocks: Vec<_> = tlsf.blocks(region).collect();
            for &block in &blocks {
                tlsf.move_to(block, 0, Rank(0));
            }
            for &block in &blocks[1..] {
                tlsf.absorb(blocks[0], block);
            }
            tlsf.check();
            prop_assert_eq!(tlsf.size(tlsf.sole_free_block(region).unwrap()), size);
            prop_assert!(tlsf.remove_region(region));
        }
        tlsf.check();
        prop_assert_eq!(tlsf.shelf_bytes(0) + tlsf.shelf_bytes(1) + tlsf.shelf_bytes(2), 0);
    }
}

#[test]
fn a_request_for_a_whole_region_is_served_whatever_its_class() {
    for size in [1u64, 37, 1000, 4097, 1_000_003] {
        let config = Config { granule: 1, second_level_bits: 3, placement: Placement::FAST };
        let mut tlsf = Tlsf::<()>::new(config).unwrap();
        tlsf.add_shelf().unwrap();
        let (_, block) = tlsf.add_region(size, ()).unwrap();
        tlsf.insert(block, 0, ());
        let need = tlsf.need(size, 1).unwrap();
        let taken = tlsf.take(tlsf.find(0, need).unwrap(), ()).unwrap();
        assert!(taken.source_gone);
        assert!(tlsf.find(0, tlsf.need(1, 1).unwrap()).is_none());
        tlsf.free(taken.block, ());
        tlsf.check();
    }
}

#[test]
fn what_cannot_be_counted_is_refused() {
    let config = Config::default();
    let mut tlsf = Tlsf::<()>::new(config).unwrap();
    assert!(tlsf.need(u64::MAX, 1).is_none());
    assert!(tlsf.need(1, 1 << 63).is_none());
    assert!(tlsf.need(u64::from(u32::MAX) << 8, 1 << 40).is_none());
    assert_eq!(tlsf.add_region(255, ()).unwrap_err(), TlsfError::RegionSize);
    assert_eq!(tlsf.add_region(u64::MAX, ()).unwrap_err(), TlsfError::RegionSize);
    assert!(Tlsf::<()>::new(Config { granule: 3, ..config }).is_err());
    assert!(Tlsf::<()>::new(Config { second_level_bits: 7, ..config }).is_err());
}
