//! Where a block is looked for: shelves without a lock, then what progress made ready, then what is pending under the lock.

use super::counters::Kind;
use super::{Admin, CLEAN, FixedBlockPool, Found, SIDE, USED};
use crate::offset::fixed_block::{MAX_KEY, Query, Taken};
use crate::pool::inbox::to_wait_for;
use crate::sync::atomic::Ordering;
use crate::{Axis, Entry, Epoch, Frontier, FrontierRef};

impl FixedBlockPool {
    /// Looks where no lock is needed and nothing outside the pool is asked, but for what proves that a block is ready.
    #[inline]
    pub(super) fn find_at_once(
        &self,
        frontier: FrontierRef<'_>,
        hint: u32,
        multiple: u32,
    ) -> Option<Found> {
        if !frontier.is_empty() {
            for (axis, shelf) in self.shelves() {
                let limit = match *frontier.entries() {
                    // The usual case, without a call.
                    [known] if known.axis == axis => known.epoch,
                    [_] => 0,
                    _ => frontier.get(axis),
                };
                let limit = limit.min(MAX_KEY);
                if self.blocks.least(shelf).is_none_or(|least| least > limit) {
                    continue;
                }
                let query = Query { limit, hint, multiple };
                if let Some(taken) = self.search(self.blocks.take(shelf, query)) {
                    let over = self.host.progress.has_reached(axis, taken.key);
                    return Some(Found {
                        block: taken.block,
                        source: shelf,
                        kind: if over { Kind::Completed } else { Kind::Dominated },
                        was_pending: true,
                    });
                }
            }
        }
        let query = Query { limit: MAX_KEY, hint, multiple };
        Some(clean(self.search(self.blocks.take(CLEAN, query))?))
    }

    /// Looks among blocks whose death was reached, and among those that are pending under the lock. `moved`: others may be usable by now, or nearer to it.
    #[cold]
    pub(super) fn find_by_progress(
        &self,
        frontier: FrontierRef<'_>,
        hint: u32,
        multiple: u32,
        moved: &mut bool,
    ) -> Option<Found> {
        for (axis, shelf) in self.shelves() {
            let own = frontier.get(axis);
            while let Some(least) = self.blocks.least(shelf) {
                let limit = self.reached(axis, least).max(own).min(MAX_KEY);
                if least > limit {
                    break;
                }
                let query = Query { limit, hint, multiple };
                if let Some(taken) = self.search(self.blocks.take_otherwise(shelf, query)) {
                    let over = self.has_reached(Entry::new(axis, taken.key));
                    let kind = if over { Kind::Completed } else { Kind::Dominated };
                    return Some(Found {
                        block: taken.block,
                        source: shelf,
                        kind,
                        was_pending: true,
                    });
                }
                // The search in vain has raised what was too low: then the provider may know of the next. If not, others
                // move blocks, or none lies right.
                if self.blocks.least(shelf) == Some(least) {
                    break;
                }
            }
        }
        if multiple > 1 {
            // A block that does not lie right can hide one behind it that the provider alone knows to be ready.
            *moved |= self.clean_shelves() != 0;
        }
        if !self.inbox.is_empty() || self.aside.load(Ordering::Relaxed) != 0 {
            let found = self.find_aside(frontier, multiple, moved);
            if found.is_some() {
                return found;
            }
        } else if !*moved {
            return None;
        }
        // What became clean just now.
        let query = Query { limit: MAX_KEY, hint, multiple };
        Some(clean(self.search(self.blocks.take_otherwise(CLEAN, query))?))
    }

    /// A block that is pending under the lock and that the requester may have.
    fn find_aside(
        &self,
        frontier: FrontierRef<'_>,
        multiple: u32,
        moved: &mut bool,
    ) -> Option<Found> {
        let admin = &mut *self.admin.lock();
        self.file_inbox(admin);
        let suits = |block: u32| block.is_multiple_of(multiple);
        let mut found = admin.pending.find_covered(frontier, &suits);
        if found.is_none() && self.advance_side(admin) {
            *moved = true;
            // What waits for fewer axes now may be covered on the rest.
            found = admin.pending.find_covered(frontier, &suits);
        }
        let found = found.and_then(|block| self.take_aside(admin, block, frontier));
        self.count_aside(admin);
        found.map(|(found, _)| found)
    }

    /// Takes a block that is pending under the lock, and what is left to wait for before it may be used: nothing, if it is ready.
    fn take_aside(
        &self,
        admin: &mut Admin,
        block: u32,
        frontier: FrontierRef<'_>,
    ) -> Option<(Found, Frontier)> {
        let death = admin.pending.take(block)?;
        let wait = to_wait_for(death, frontier, &|entry| self.has_reached(entry));
        let over = || death.entries().iter().all(|&entry| self.has_reached(entry));
        let kind = match wait.is_empty() {
            false => Kind::Waited,
            true if over() => Kind::Completed,
            true => Kind::Dominated,
        };
        Some((Found { block, source: SIDE, kind, was_pending: true }, wait))
    }

    /// The pending block that will be ready soonest, as far as epochs on different axes can be compared, and
    /// what is left to wait for. There is one unless none is pending that lies right.
    pub(super) fn find_soonest(
        &self,
        frontier: FrontierRef<'_>,
        hint: u32,
        multiple: u32,
    ) -> Option<(Found, Frontier)> {
        let known =
            |axis: Axis| -> Epoch { self.host.progress.reached(axis).max(frontier.get(axis)) };
        // Shelves on which nothing lies right.
        let mut tried = 0u32;
        loop {
            let untried = self.shelves().filter(|&(_, shelf)| tried & 1 << shelf == 0);
            let leasts = untried.filter_map(|(axis, shelf)| {
                let least = self.blocks.least(shelf)?;
                Some((least.saturating_sub(known(axis)), least, axis, shelf))
            });
            let best = leasts.min_by_key(|(left, ..)| *left);
            if self.aside.load(Ordering::Relaxed) != 0 {
                let admin = &mut *self.admin.lock();
                let suits = |block: u32| block.is_multiple_of(multiple);
                if let Some((left, block)) = admin.pending.soonest(&known, &suits)
                    && best.is_none_or(|(other, ..)| left < other)
                {
                    let taken = self.take_aside(admin, block, frontier);
                    self.count_aside(admin);
                    return taken;
                }
            }
            let (_, least, axis, shelf) = best?;
            let query = Query { limit: least, hint, multiple };
            let mut taken = self.search(self.blocks.take_otherwise(shelf, query));
            if taken.is_none() {
                // The hint was too low, and the search has raised it: another shelf may be the best. Or what is least does not
                // lie right.
                if self.blocks.least(shelf).is_some_and(|now| now > least) {
                    continue;
                }
                taken = self.search(self.blocks.take_least(shelf, hint, multiple));
            }
            let Some(taken) = taken else {
                tried |= 1 << shelf;
                continue;
            };
            return Some(self.after_wait(taken, axis, shelf, frontier));
        }
    }

    /// A block of a shelf, and what is left to wait for.
    fn after_wait(
        &self,
        taken: Taken,
        axis: Axis,
        shelf: u32,
        frontier: FrontierRef<'_>,
    ) -> (Found, Frontier) {
        let over = self.has_reached(Entry::new(axis, taken.key));
        let (kind, wait) = if over {
            (Kind::Completed, Frontier::new())
        } else if frontier.get(axis) >= taken.key {
            (Kind::Dominated, Frontier::new())
        } else {
            (Kind::Waited, Frontier::from_entry(axis, taken.key))
        };
        (Found { block: taken.block, source: shelf, kind, was_pending: true }, wait)
    }

    /// Files what came through the inbox.
    fn file_inbox(&self, admin: &mut Admin) {
        for ticket in self.inbox.drain() {
            let death = ticket.written();
            if !admin.pending.file(ticket.block, death, &|entry| self.has_reached(entry)) {
                self.counters.mine().cleaned(1);
                self.blocks.put(CLEAN, ticket.block, USED);
            }
        }
    }

    /// Moves on what is pending under the lock for what has been reached. Whether there was any.
    fn advance_side(&self, admin: &mut Admin) -> bool {
        if admin.still.stands(&self.host) {
            return false;
        }
        admin.pending.advance(&|entry| self.has_reached(entry), &mut |block| {
            self.counters.mine().cleaned(1);
            self.blocks.put(CLEAN, block, USED);
        })
    }

    /// Files what came through the inbox and moves on what has been reached. Whether there was any.
    pub(super) fn settle_pending(&self, admin: &mut Admin) -> bool {
        self.file_inbox(admin);
        let moved = self.advance_side(admin);
        self.count_aside(admin);
        moved
    }

    pub(super) fn count_aside(&self, admin: &Admin) {
        self.aside.store(admin.pending.pending(), Ordering::Relaxed);
    }

    /// Moves what has been reached from the shelves of axes to the clean ones; how many that were.
    pub(super) fn clean_shelves(&self) -> u64 {
        let mut cleaned = 0;
        for (axis, shelf) in self.shelves() {
            while let Some(least) = self.blocks.least(shelf) {
                let reached = self.reached(axis, least);
                if least > reached {
                    break;
                }
                let count = self.clean_shelf(shelf, reached);
                cleaned += count;
                if count == 0 && self.blocks.least(shelf) == Some(least) {
                    break;
                }
            }
        }
        cleaned
    }

    /// Moves all blocks of a shelf up to `limit` to the clean ones.
    pub(super) fn clean_shelf(&self, shelf: u32, limit: Epoch) -> u64 {
        let mut cleaned = 0;
        let query = Query { limit: limit.min(MAX_KEY), hint: 0, multiple: 1 };
        while let Some(taken) = self.search(self.blocks.take_otherwise(shelf, query)) {
            self.counters.mine().cleaned(1);
            self.blocks.put(CLEAN, taken.block, taken.key.max(USED));
            cleaned += 1;
        }
        cleaned
    }
}

/// A block of the clean shelf; its key says whether it was ever handed out.
#[inline]
const fn clean(taken: Taken) -> Found {
    let kind = if taken.key == 0 { Kind::Fresh } else { Kind::Completed };
    Found { block: taken.block, source: CLEAN, kind, was_pending: false }
}
