//! The invariants of [`Tlsf`], checked by a full walk: for tests and fuzzing.

use super::shelf::NONE;
use super::{EDGE, LIVE, LOOSE, Label, MAX_RUN, NeighbourId, Tlsf};
use alloc::vec;

impl<L: Label> Tlsf<L> {
    /// Walks over everything and panics where an invariant is broken. O(blocks).
    ///
    /// # Panics
    /// When an invariant is broken, which is a bug in the allocator.
    pub fn check(&self) {
        let mut units = vec![0u64; self.shelves.len()];
        let mut in_runs = 0;
        for (index, region) in self.regions.iter().enumerate() {
            let Some(edge) = self.nodes.get(region.edge) else { continue };
            assert!(edge.shelf == EDGE && edge.run == NONE, "region {index} has no edge");
            let (mut at, mut left, mut end) = (edge.right, NeighbourId::held(region.edge), 0u64);
            while at.id() != region.edge {
                let (is_filed, here) = (at.is_filed(), at.id());
                let node = self.nodes.at(here);
                assert_eq!(node.region as usize, index, "block {here} is in another region");
                assert_eq!(node.left, left, "block {here}: left link");
                assert_eq!(u64::from(node.offset), end, "block {here} does not tile");
                assert!(node.units > 0, "block {here} is empty");
                assert!(node.shelf < LOOSE || node.shelf == LIVE, "block {here} is no block");
                assert_eq!(is_filed, node.shelf < LOOSE, "block {here}: what its neighbour knows");
                if node.shelf == LIVE {
                    assert_eq!(node.run, NONE, "live block {here} is in a run");
                } else {
                    units[node.shelf as usize] += u64::from(node.units);
                    in_runs += u32::from(node.run != NONE);
                }
                end += u64::from(node.units);
                (left, at) = (at, node.right);
            }
            assert_eq!(left, edge.left, "region {index}: last block");
            assert_eq!(end, u64::from(region.units), "region {index} is not covered");
        }
        for (index, shelf) in self.shelves.iter().enumerate() {
            assert_eq!(shelf.units, units[index], "shelf {index}: granules");
            let mut seen = 0u64;
            let mut bin = shelf.next_bin(0);
            while let Some(here) = bin {
                let (mut at, mut prev) = (shelf.head(here), NONE);
                assert_eq!(
                    self.nodes.at(at).units,
                    shelf.head_units(here),
                    "bin {here}: head's size"
                );
                while at != NONE {
                    let node = self.nodes.at(at);
                    assert_eq!(node.shelf as usize, index, "block {at} is on another shelf");
                    assert_eq!(self.classes.floor(node.units), here, "block {at}: wrong bin");
                    assert_eq!(node.link.prev, prev, "block {at}: link to the bin's previous");
                    seen += u64::from(node.units);
                    (prev, at) = (at, node.link.next);
                }
                bin = shelf.next_bin(here + 1);
            }
            assert_eq!(seen, shelf.units, "shelf {index}: bins and blocks differ");
        }
        for (id, run) in self.runs.all() {
            assert!((2..=MAX_RUN).contains(&run.len), "run {id}: {} blocks", run.len);
            let (mut at, mut len, mut sum) = (run.first, 0, 0);
            loop {
                let node = self.nodes.at(at);
                assert_eq!(node.run, id, "block {at} is not labeled with its run");
                assert!(node.shelf < LOOSE, "run {id} holds a block that is not free");
                len += 1;
                sum += node.units;
                if at == run.last {
                    break;
                }
                at = node.right.id();
            }
            assert_eq!((len, sum), (run.len, run.units), "run {id}: length and sum");
            in_runs -= len;
        }
        assert_eq!(in_runs, 0, "a block names a run that does not hold it");
    }
}
