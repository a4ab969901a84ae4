//! `inspect`: walks over blocks, packed into words.

use super::pools;
use crate::bindings::Component;
use crate::bindings::exported::inspect::{Guest, PoolBorrow, Summary};
use crate::convert;
use alloc::vec::Vec;
use strandline_core::inspect::{BlockState, BlockView, Snapshot};

const LIVE: u64 = 0;
const CLEAN: u64 = 1;
const PENDING: u64 = 2;
const TAINTED: u64 = 3;
/// Where a tag has the number of words that follow.
const COUNT_SHIFT: u32 = 8;

impl Guest for Component {
    fn summarize(pool: PoolBorrow<'_>) -> Summary {
        convert::summary(&Snapshot::of(&**pool.get::<pools::Handle>().pool()))
    }

    fn snapshot(pool: PoolBorrow<'_>) -> Vec<u64> {
        let mut words = Vec::new();
        pool.get::<pools::Handle>().pool().inspect(&mut |block| {
            let BlockView { slab, offset, size, state } = *block;
            let place = [slab.to_bits(), offset, size];
            words.extend_from_slice(&place);
            match state {
                BlockState::Live { requested } => {
                    words.extend_from_slice(&[LIVE | 1 << COUNT_SHIFT, requested]);
                }
                BlockState::Clean => words.push(CLEAN),
                BlockState::Pending(death) => {
                    words.push(PENDING | (2 * death.len() as u64) << COUNT_SHIFT);
                    for entry in death.entries() {
                        words.extend_from_slice(&[entry.axis.to_bits(), entry.epoch]);
                    }
                }
                BlockState::Tainted => words.push(TAINTED),
            }
        });
        words
    }
}
