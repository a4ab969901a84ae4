//! Explored by loom: two blocks a leaf and two cells below a cell, so that four blocks make a tree.

use super::*;
use loom::sync::Arc;
use loom::thread;

fn within(blocks: &FixedBlocks, limit: u64, hint: u32) -> Option<Taken> {
    blocks.take(0, Query { limit, hint, multiple: 1 }).taken
}

fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(run);
}

/// Two takers, two blocks: each gets one, and never the same.
#[test]
fn no_block_is_taken_twice() {
    model(|| {
        let blocks = Arc::new(FixedBlocks::new(4, 1));
        blocks.put_range(0, 1, 2);
        let other = blocks.clone();
        let taker = thread::spawn(move || within(&other, 0, 0));
        let mine = within(&blocks, 0, 2).expect("one for each");
        let theirs = taker.join().unwrap().expect("one for each");
        assert_ne!(mine.block, theirs.block);
        assert_eq!(within(&blocks, 0, 0), None);
    });
}

/// A put of a lower key races with a search that raises the cells it found too low: afterwards the block
/// is found, and what its owner wrote is seen.
#[test]
fn a_put_beside_a_raise_is_not_lost() {
    model(|| {
        let blocks = Arc::new(FixedBlocks::new(4, 1));
        // The cells stay at 1, too low, when block 0 is gone again.
        blocks.put(0, 0, 1);
        blocks.put(0, 3, 9);
        assert!(blocks.take_block(0, 0));
        let other = blocks.clone();
        let putter = thread::spawn(move || other.put(0, 1, 4));
        let early = within(&blocks, 5, 0);
        putter.join().unwrap();
        let late = within(&blocks, 5, 0);
        assert_eq!(early.or(late), Some(Taken { block: 1, key: 4 }));
        assert!(early.is_none() || late.is_none());
        assert_eq!(within(&blocks, 9, 0), Some(Taken { block: 3, key: 9 }));
    });
}

/// A search that raises, and one block going out and coming back with a lower key under it.
#[test]
fn a_block_that_comes_back_lower_is_not_lost() {
    model(|| {
        let blocks = Arc::new(FixedBlocks::new(4, 1));
        blocks.put(0, 1, 1);
        blocks.put(0, 0, 8);
        assert!(blocks.take_block(0, 1));
        let other = blocks.clone();
        let owner = thread::spawn(move || {
            if other.take_block(0, 0) {
                other.put(0, 0, 3);
            }
        });
        let early = within(&blocks, 5, 2);
        owner.join().unwrap();
        assert_eq!(early.or_else(|| within(&blocks, 5, 2)), Some(Taken { block: 0, key: 3 }));
    });
}
