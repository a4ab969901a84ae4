use super::*;
use alloc::collections::BTreeMap;
use proptest::prelude::*;

const ANY: Query = Query { limit: MAX_KEY, hint: 0, multiple: 1 };

fn take(blocks: &FixedBlocks, shelf: u32, limit: u64, hint: u32) -> Option<Taken> {
    blocks.take(shelf, Query { limit, hint, multiple: 1 }).taken
}

#[test]
fn masks_cover_exactly_the_range() {
    for (first, count) in [(0, 1), (0, 64), (3, 61), (3, 62), (63, 2), (64, 128), (10, 300)] {
        let mut seen = Vec::new();
        for (leaf, mask) in masks(first, count) {
            seen.extend((0..64).filter(|bit| mask >> bit & 1 != 0).map(|b| leaf as u32 * 64 + b));
        }
        assert!(seen.into_iter().eq(first..first + count), "{first}+{count}");
    }
}

#[test]
fn multiples_are_those_numbers() {
    for multiple in [1, 2, 4, 32, 64, 128, 4096] {
        for leaf in [0, 1, 2, 3, 64] {
            for bit in 0..64 {
                let number = leaf as u32 * 64 + bit;
                let expected = number.is_multiple_of(multiple);
                assert_eq!(multiples(leaf, multiple) >> bit & 1 != 0, expected, "{number}");
            }
        }
    }
}

#[test]
fn a_full_set_gives_each_block_once() {
    for count in [1, 63, 64, 65, 512, 513, 5000] {
        let blocks = FixedBlocks::new(count, 1);
        blocks.put_range(0, 0, count);
        let mut taken: Vec<u32> = core::iter::from_fn(|| take(&blocks, 0, 0, count / 2))
            .map(|taken| taken.block)
            .collect();
        assert_eq!(blocks.least(0), None, "the search in vain repaired the root");
        taken.sort_unstable();
        assert!(taken.into_iter().eq(0..count));
    }
}

#[test]
fn what_is_not_ready_is_looked_at_once() {
    // After one search in vain the root itself says that there is nothing.
    let blocks = FixedBlocks::new(10_000, 1);
    for block in 0..10_000 {
        blocks.put(0, block, 100 + u64::from(block));
    }
    blocks.put(0, 9_999, 1);
    assert_eq!(take(&blocks, 0, 50, 0), Some(Taken { block: 9_999, key: 1 }));
    assert_eq!(blocks.least(0), Some(1));
    assert_eq!(take(&blocks, 0, 50, 0), None);
    assert_eq!(blocks.least(0), Some(100));
}

#[test]
fn a_range_is_taken_whole_or_not_at_all() {
    let blocks = FixedBlocks::new(1000, 1);
    blocks.put_range(0, 100, 300);
    assert!(!blocks.take_range(0, 99, 10));
    assert!(!blocks.take_range(0, 390, 11));
    assert!(blocks.take_range(0, 100, 200));
    assert!(!blocks.take_range(0, 299, 10));
    assert!(blocks.take_range(0, 300, 100));
    assert_eq!(take(&blocks, 0, 0, 0), None);
}

#[derive(Clone, Debug)]
enum Op {
    Put { shelf: u32, pick: usize, key: u64 },
    Take { shelf: u32, limit: u64, hint: u32, multiple: u32 },
    TakeLeast { shelf: u32 },
    TakeBlock { shelf: u32, block: u32 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..3u32, any::<usize>(), 0..20u64)
            .prop_map(|(shelf, pick, key)| Op::Put { shelf, pick, key }),
        3 => (0..3u32, 0..20u64, 0..1300u32, 0..8u32).prop_map(|(shelf, limit, hint, log)| {
            Op::Take { shelf, limit, hint, multiple: 1 << log }
        }),
        1 => (0..3u32).prop_map(|shelf| Op::TakeLeast { shelf }),
        1 => (0..3u32, 0..1200u32).prop_map(|(shelf, block)| Op::TakeBlock { shelf, block }),
    ];
    prop::collection::vec(op, 1..400)
}

proptest! {
    /// Against a map: a search finds a block exactly when there is one, and never the wrong one.
    #[test]
    fn as_a_map(ops in ops()) {
        let blocks = FixedBlocks::new(1200, 3);
        let mut owned: Vec<u32> = (0..1200).collect();
        let mut model = [BTreeMap::new(), BTreeMap::new(), BTreeMap::new()];
        for op in ops {
            match op {
                Op::Put { shelf, pick, key } => {
                    if !owned.is_empty() {
                        let block = owned.swap_remove(pick % owned.len());
                        blocks.put(shelf, block, key);
                        model[shelf as usize].insert(block, key);
                    }
                }
                Op::Take { shelf, limit, hint, multiple } => {
                    let search = blocks.take(shelf, Query { limit, hint, multiple });
                    prop_assert!(!search.revived, "nobody else is here");
                    let on = &mut model[shelf as usize];
                    match search.taken {
                        Some(taken) => {
                            prop_assert!(taken.key <= limit && taken.block % multiple == 0);
                            prop_assert_eq!(on.remove(&taken.block), Some(taken.key));
                            owned.push(taken.block);
                        }
                        None => prop_assert!(
                            !on.iter().any(|(b, key)| *key <= limit && b % multiple == 0)
                        ),
                    }
                }
                Op::TakeLeast { shelf } => {
                    let taken = blocks.take_least(shelf, 0, 1).taken;
                    let on = &mut model[shelf as usize];
                    prop_assert_eq!(taken.map(|taken| taken.key), on.values().min().copied());
                    if let Some(taken) = taken {
                        prop_assert_eq!(on.remove(&taken.block), Some(taken.key));
                        owned.push(taken.block);
                    }
                }
                Op::TakeBlock { shelf, block } => {
                    let was = model[shelf as usize].remove(&block).is_some();
                    prop_assert_eq!(blocks.is_on(shelf, block), was);
                    prop_assert_eq!(blocks.take_block(shelf, block), was);
                    if was {
                        owned.push(block);
                    }
                }
            }
        }
        for (shelf, on) in (0..).zip(&model) {
            let least = on.values().min().copied();
            prop_assert!(least.is_none() || blocks.least(shelf) <= least);
            let found = core::iter::from_fn(|| blocks.take(shelf, ANY).taken).count();
            prop_assert_eq!(found, on.len());
        }
    }
}
