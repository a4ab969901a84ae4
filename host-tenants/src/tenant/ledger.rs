//! What one tenant is charged: exact, by address, and never less than the bytes that nobody else can have.
//!
//! ```text
//!   take(place)                       give(place, death)                  death reached
//!   ────────▶ held: footprint charged ────────▶ pending: still charged ─────────────────▶ free
//!      ▲          │                                 │
//!      │          └── restore (never used): what it │displaced comes back
//!      └───────────── own bytes reused before their death: charged once, not twice
//! ```
//!
//! Bytes that a tenant has released stay charged until their death is reached, because until then only the
//! tenant's own later requests can use them. A budget that forgot them on release would let a tenant pin
//! a whole pool with releases that die at an epoch it never signals. When the tenant itself gets those
//! bytes again, they are charged as held and no longer as pending, so memory that it cycles ahead of its
//! queue costs it what it takes, not more.
//!
//! # Invariants
//! - `pending` holds disjoint ranges, none of which overlaps a held one.
//! - `held_bytes` and `pending_bytes` are the sums over `held` and `pending`.
//! - Each pending range is filed once in `by_epoch`, under one entry of its death that was not reached when
//!   it was filed; a range without a death to wait for is not pending.
//!
//! # Cost
//! A few steps for what is held, logarithmic in what is pending. Settling costs a step per axis, and one for each range that it
//! frees or files anew.

use super::group::Share;
use std::collections::{BTreeMap, BTreeSet};
use strandline_core::table::Table;
use strandline_core::{Axis, Entry, Epoch, Frontier, FrontierRef, Progress, Reservation, SlabId};

/// What is not reached before the host declares quiescence: no tracker knows this axis.
pub(super) const NEVER: Entry = Entry::new(Axis::from_bits(u64::MAX), Epoch::MAX);

/// Where bytes are: the pool (as the tenant counts its pools), the slab, the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    pool: usize,
    slab: SlabId,
    offset: u64,
}

/// A released range that is still charged.
#[derive(Clone, Debug)]
struct Pending {
    len: u64,
    death: Frontier,
    /// Where it is filed.
    filed: (Axis, Epoch),
}

/// A range that was pending until the tenant got its bytes again.
#[derive(Debug)]
struct Displaced {
    spot: Spot,
    len: u64,
    death: Frontier,
}

/// A reservation that is out.
#[derive(Debug)]
pub(super) struct Held {
    /// Bytes charged.
    pub(super) footprint: u64,
    /// The host's pool's.
    pub(super) reservation: Reservation,
    spot: Spot,
    displaced: Vec<Displaced>,
}

/// What one pool's part of the ledger adds up to, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Charged for what is held.
    pub(super) held: u64,
    /// Asked for by what is held.
    pub(super) requested: u64,
    /// Charged for what was released and is waited for.
    pub(super) pending: u64,
    /// Reservations held.
    pub(super) count: u64,
}

/// What a request would come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It fits.
    Yes,
    /// It fits only if it gets bytes that are charged already, as pending.
    InOwnBytes,
    /// It does not fit.
    No,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Ledger {
    budget: u64,
    most_held: usize,
    most_pending: usize,
    held_bytes: u64,
    pending_bytes: u64,
    peak_bytes: u64,
    pools: Vec<Sums>,
    held: Table<u64, Held>,
    pending: BTreeMap<Spot, Pending>,
    by_epoch: BTreeMap<(Axis, Epoch), BTreeSet<Spot>>,
    /// What is charged to a group as well. It follows `charged`, and is never below it.
    share: Option<Share>,
}

impl Ledger {
    /// Nothing charged; at most `budget` bytes, `most_held` reservations and `most_pending` pending ranges.
    pub(super) fn new(budget: u64, most_held: usize, most_pending: usize, pools: usize) -> Self {
        Self {
            budget,
            most_held,
            most_pending,
            held_bytes: 0,
            pending_bytes: 0,
            peak_bytes: 0,
            pools: vec![Sums::default(); pools],
            held: Table::new(),
            pending: BTreeMap::new(),
            by_epoch: BTreeMap::new(),
            share: None,
        }
    }

    /// Charges a group as well, from now on. To be called while nothing is charged.
    pub(super) fn join(&mut self, share: Share) {
        self.share = Some(share);
    }

    /// The group is charged no more than this ledger.
    #[inline(always)]
    fn follow(&mut self) {
        let charged = self.charged();
        if let Some(share) = &mut self.share {
            // It is less than before, or as much.
            share.set(charged);
        }
    }

    /// All bytes charged.
    pub(super) const fn charged(&self) -> u64 {
        self.held_bytes + self.pending_bytes
    }

    /// The most bytes that were charged at once.
    pub(super) const fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// What the pool's part adds up to.
    pub(super) fn sums(&self, pool: usize) -> Sums {
        self.pools[pool]
    }

    /// Whether another reservation can be kept track of.
    pub(super) fn has_place(&self) -> bool {
        // A reservation may leave up to two pieces of a range that it overlaps, which is one more.
        self.held.len() < self.most_held && self.pending.len() < self.most_pending
    }

    /// Whether `footprint` more bytes fit. To be asked after [`settle`](Self::settle).
    pub(super) fn room(&self, footprint: u64) -> Room {
        let in_group = |n| self.share.as_ref().is_none_or(|share| share.allows(n));
        let fits = |charged: u64| {
            charged.checked_add(footprint).is_some_and(|n| n <= self.budget && in_group(n))
        };
        match (fits(self.charged()), fits(self.held_bytes)) {
            (true, _) => Room::Yes,
            (false, true) => Room::InOwnBytes,
            (false, false) => Room::No,
        }
    }

    /// Charges a reservation of the pool with this index and keeps it under a key.
    ///
    /// # Errors
    /// The reservation when it is beyond the budget after all: nothing has changed then.
    #[inline(always)]
    pub(super) fn take(
        &mut self,
        pool: usize,
        footprint: u64,
        reservation: Reservation,
    ) -> Result<u64, Reservation> {
        let spot = Spot { pool, slab: reservation.slab(), offset: reservation.offset() };
        let displaced = self.displace(spot, footprint);
        let charged = self.charged().checked_add(footprint);
        let charged = charged.filter(|&charged| charged <= self.budget);
        let Self { share, held, .. } = self;
        let in_group = |&n: &u64| share.as_mut().is_none_or(|share| share.set(n));
        let place = held.vacant();
        let charged = charged.filter(|_| place.is_some()).filter(in_group);
        let (Some(charged), Some(place)) = (charged, place) else {
            self.reinstate(displaced);
            return Err(reservation);
        };
        self.held_bytes += footprint;
        let sums = &mut self.pools[pool];
        sums.held += footprint;
        sums.requested += reservation.size();
        sums.count += 1;
        self.peak_bytes = self.peak_bytes.max(charged);
        Ok(place.fill(Held { footprint, reservation, spot, displaced }))
    }

    /// What is known of a reservation that is out.
    pub(super) fn get(&self, key: u64) -> Option<&Held> {
        self.held.get(key)
    }

    /// A reservation is given back: its bytes stay charged until `death` is reached.
    #[inline(always)]
    pub(super) fn give(
        &mut self,
        key: u64,
        death: FrontierRef<'_>,
        progress: &dyn Progress,
    ) -> Option<Reservation> {
        let held = self.remove(key)?;
        if !death.is_empty() {
            self.file(held.spot, held.footprint, death.to_frontier(), progress);
        }
        self.follow();
        Some(held.reservation)
    }

    /// A reservation is given back unused: what was pending before it is pending again.
    pub(super) fn restore(&mut self, key: u64) -> Option<Reservation> {
        let held = self.remove(key)?;
        self.reinstate(held.displaced);
        self.follow();
        Some(held.reservation)
    }

    /// Forgets what has been reached since.
    pub(super) fn settle(&mut self, progress: &dyn Progress) {
        let mut from = None;
        // One axis after the other: its epochs are in order, and stop at the first that is not reached.
        while let Some((&(axis, _), _)) = match from {
            None => self.by_epoch.first_key_value(),
            Some(after) => self.by_epoch.range((after, 0)..).next(),
        } {
            let reached = progress.reached(axis);
            while let Some((&key, _)) = self.by_epoch.range((axis, 0)..=(axis, reached)).next() {
                for spot in self.by_epoch.remove(&key).unwrap_or_default() {
                    if let Some(pending) = self.pending.remove(&spot) {
                        self.uncharge(spot, pending.len);
                        self.file(spot, pending.len, pending.death, progress);
                    }
                }
            }
            match axis.to_bits().checked_add(1) {
                Some(next) => from = Some(Axis::from_bits(next)),
                None => break,
            }
        }
        self.follow();
    }

    /// The device is quiescent: what waits for an axis that has ended is charged no longer. Cost: what is pending.
    pub(super) fn forget_ended(&mut self, ended: impl Fn(Axis) -> bool) {
        let is_over = |death: &Frontier| death.as_ref().entries().iter().any(|e| ended(e.axis));
        let pending = self.pending.iter().filter(|(_, pending)| is_over(&pending.death));
        let over: Vec<_> = pending.map(|(&spot, of)| (spot, of.len, of.filed)).collect();
        for (spot, len, filed) in over {
            self.pending.remove(&spot);
            self.uncharge(spot, len);
            self.unfile(spot, filed);
        }
        self.follow();
    }

    #[inline(always)]
    fn remove(&mut self, key: u64) -> Option<Held> {
        let held = self.held.remove(key)?;
        self.held_bytes -= held.footprint;
        let sums = &mut self.pools[held.spot.pool];
        sums.held -= held.footprint;
        sums.requested -= held.reservation.size();
        sums.count -= 1;
        Some(held)
    }

    /// Makes a range pending under an entry that is not reached; a range with none is free.
    fn file(&mut self, spot: Spot, len: u64, death: Frontier, progress: &dyn Progress) {
        let entries = death.as_ref().entries();
        let Some(entry) =
            entries.iter().find(|entry| !progress.has_reached(entry.axis, entry.epoch))
        else {
            return;
        };
        let filed = (entry.axis, entry.epoch);
        self.insert(spot, Pending { len, death, filed });
    }

    fn insert(&mut self, spot: Spot, pending: Pending) {
        self.pending_bytes += pending.len;
        self.pools[spot.pool].pending += pending.len;
        self.by_epoch.entry(pending.filed).or_default().insert(spot);
        self.pending.insert(spot, pending);
    }

    fn uncharge(&mut self, spot: Spot, len: u64) {
        self.pending_bytes -= len;
        self.pools[spot.pool].pending -= len;
    }

    fn unfile(&mut self, spot: Spot, filed: (Axis, Epoch)) {
        if let Some(spots) = self.by_epoch.get_mut(&filed) {
            spots.remove(&spot);
            if spots.is_empty() {
                self.by_epoch.remove(&filed);
            }
        }
    }

    /// Takes the pending ranges, or the parts of them, that lie in `[spot, spot + len)`.
    fn displace(&mut self, spot: Spot, len: u64) -> Vec<Displaced> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let end = spot.offset.saturating_add(len);
        let first = Spot { offset: 0, ..spot };
        let last = Spot { offset: end, ..spot };
        // Ranges are disjoint, so of those that begin before `spot` only the last can reach into it.
        let before = self.pending.range(first..spot).next_back().map(|(&at, _)| at);
        let within = self.pending.range(spot..last).map(|(&at, _)| at);
        let overlapping: Vec<Spot> = before.into_iter().chain(within).collect();
        let mut displaced = Vec::new();
        for at in overlapping {
            let Some(range) = self.pending.get(&at) else { continue };
            let range_end = at.offset + range.len;
            if range_end <= spot.offset {
                continue;
            }
            let Some(Pending { len, death, filed }) = self.pending.remove(&at) else { continue };
            self.uncharge(at, len);
            self.unfile(at, filed);
            let mut keep = |from: u64, to: u64| {
                if from < to {
                    let piece = Pending { len: to - from, death: death.clone(), filed };
                    self.insert(Spot { offset: from, ..at }, piece);
                }
            };
            keep(at.offset, spot.offset);
            keep(end, range_end);
            let from = at.offset.max(spot.offset);
            let len = range_end.min(end) - from;
            displaced.push(Displaced { spot: Spot { offset: from, ..at }, len, death });
        }
        displaced
    }

    fn reinstate(&mut self, displaced: Vec<Displaced>) {
        for Displaced { spot, len, death } in displaced {
            // It was not reached when it was taken; if it is by now, the next settling finds that.
            let Some(entry) = death.as_ref().entries().first() else { continue };
            let filed = (entry.axis, entry.epoch);
            self.insert(spot, Pending { len, death, filed });
        }
    }
}

#[cfg(test)]
mod tests;
