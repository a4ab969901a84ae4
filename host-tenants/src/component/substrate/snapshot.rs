//! Reading the packed snapshot of the interface `inspect`. Part of every Rust program that looks into the component's pools.

use strandline_core::frontier::Entry;
use strandline_core::inspect::{BlockState, BlockView};
use strandline_core::{Axis, FrontierRef, SlabId};

/// Visits the blocks of a snapshot; see the interface `inspect`. `None` when it is not one.
pub(super) fn unpack(mut words: &[u64], visit: &mut dyn FnMut(&BlockView<'_>)) -> Option<()> {
    let mut death: Vec<Entry> = Vec::new();
    while let Some((&[slab, offset, size, tag], rest)) = words.split_first_chunk() {
        let more = usize::try_from((tag as u32) >> 8).ok()?;
        let (payload, rest) = rest.split_at_checked(more)?;
        let state = match (tag as u8, payload) {
            (0, &[requested]) => BlockState::Live { requested },
            (1, []) => BlockState::Clean,
            (2, entries) => {
                death.clear();
                for pair in entries.chunks(2) {
                    let &[axis, epoch] = pair else { return None };
                    death.push(Entry::new(Axis::from_bits(axis), epoch));
                }
                BlockState::Pending(FrontierRef::try_from_sorted(&death).ok()?)
            }
            (3, []) => BlockState::Tainted,
            _ => return None,
        };
        visit(&BlockView { slab: SlabId::from_bits(slab), offset, size, state });
        words = rest;
    }
    words.is_empty().then_some(())
}
