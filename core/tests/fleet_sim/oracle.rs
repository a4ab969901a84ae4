//! What really happens to bytes and axes, whatever owner and members believe.
//!
//! Every reservation that the owner gives out has a number, greater than those before. A byte remembers the greatest that touched it:
//! one that is touched for an earlier reservation after that was used again too early.

use std::collections::BTreeMap;
use std::collections::btree_map;
use strandline_core::fleet::message::Lease;
use strandline_core::{Axis, Epoch, Progress};

pub(crate) type Verdict<T = ()> = Result<T, String>;

/// Bytes that are looked at together.
const CELL: u64 = 256;

/// A reservation: of which run of the owner, which number, where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) run: u64,
    pub(crate) serial: u64,
    pub(crate) lease: Lease,
}

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    grants: BTreeMap<(u64, u64), Grant>,
    serial: u64,
    /// The last that touched each cell: run, slab, cell.
    cells: BTreeMap<(u64, u64), Vec<u64>>,
    reached: BTreeMap<(u64, Axis), Epoch>,
    pub(crate) touches: u64,
}

impl Oracle {
    /// The owner has given something out, or says again that it did.
    pub(crate) fn granted(&mut self, run: u64, lease: Lease) -> Verdict {
        match self.grants.entry((run, lease.token)) {
            btree_map::Entry::Vacant(place) => {
                self.serial += 1;
                place.insert(Grant { run, serial: self.serial, lease });
            }
            btree_map::Entry::Occupied(place) if place.get().lease != lease => {
                return Err(format!("one token for {lease:?} and {:?}", place.get()));
            }
            btree_map::Entry::Occupied(_) => {}
        }
        Ok(())
    }

    pub(crate) fn grant(&self, run: u64, lease: Lease) -> Verdict<Grant> {
        let grant = self.grants.get(&(run, lease.token)).copied();
        grant.ok_or_else(|| format!("{lease:?} was never given out"))
    }

    /// What was given out by this name.
    pub(crate) fn by_token(&self, run: u64, token: u64) -> Verdict<Grant> {
        let grant = self.grants.get(&(run, token)).copied();
        grant.ok_or_else(|| format!("the key of {token}, which was never given out"))
    }

    /// Something touches the bytes of a reservation.
    pub(crate) fn touch(&mut self, grant: &Grant, what: &str) -> Verdict {
        self.touches += 1;
        let Grant { run, serial, lease } = *grant;
        let cells = self.cells.entry((run, lease.slab)).or_default();
        let (first, end) = (lease.offset / CELL, (lease.offset + lease.size).div_ceil(CELL));
        if cells.len() < end as usize {
            cells.resize(end as usize, 0);
        }
        for cell in &mut cells[first as usize..end as usize] {
            if *cell > serial {
                return Err(format!("{what} touches {grant:?}, of which bytes went to {cell}"));
            }
            *cell = serial;
        }
        Ok(())
    }

    /// Work is done, or never will be.
    pub(crate) fn reach(&mut self, run: u64, axis: Axis, epoch: Epoch) {
        self.reached.insert((run, axis), epoch);
    }

    /// Whether nobody believes more than is true.
    pub(crate) fn judge(&self, run: u64, who: &str, progress: &impl Progress) -> Verdict {
        for (&(_, axis), &epoch) in
            self.reached.range((run, Axis::from_bits(0))..(run + 1, Axis::from_bits(0)))
        {
            let believed = progress.reached(axis);
            if believed > epoch {
                return Err(format!(
                    "{who} believes that {axis} is at {believed}; it is at {epoch}"
                ));
            }
        }
        Ok(())
    }
}
