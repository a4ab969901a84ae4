//! The invariants of the heap, checked by a full walk: for tests.

use super::super::pending::NONE;
use super::{FIRST_PENDING, Heap};
use crate::Epoch;
use crate::offset::tlsf::BlockId;

impl Heap {
    /// Checks the invariants by a full walk, for tests.
    ///
    /// # Panics
    /// When one is broken.
    pub fn check(&self) {
        self.tlsf.check();
        let mut pieced = 0;
        for region in self.tlsf.regions() {
            for block in self.tlsf.blocks(region) {
                self.check_pieces(block);
                pieced += usize::from(self.is_pieced(block));
            }
        }
        assert_eq!(pieced, self.rows_of_pieces(), "rows of pieces");
        for (shelf, class) in self.classes.iter().enumerate().skip(FIRST_PENDING as usize) {
            let mut listed = 0;
            let mut visit = |id: u32, epoch: Epoch| {
                let block = BlockId::from_index(id);
                listed += self.tlsf.size(block);
                assert!(epoch <= self.earliest(block), "listed too late");
                assert!(self.earliest(block) > class.reached[0], "reached and not clean");
                for i in 0..class.axes.len() {
                    assert!(self.epoch_of(block, i) <= class.ceiling[i], "above the ceiling");
                    assert!(self.epoch_of(block, i) >= class.floor[i], "below the floor");
                }
            };
            class.index.check(&self.tlsf, &mut visit);
            for &id in self.unsorted.ids() {
                let block = BlockId::from_index(id);
                let waits = self.tlsf.label(block).stamp == NONE;
                if waits && self.tlsf.shelf_of(block) == Some(shelf as u32) {
                    visit(id, 0);
                }
            }
            assert_eq!(listed, self.tlsf.shelf_bytes(shelf as u32), "shelf {shelf}");
        }
    }
}
