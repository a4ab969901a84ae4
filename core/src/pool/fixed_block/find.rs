//! Where a block is looked for: shelves without a lock, then what progress made ready, then the side.

use super::counters::Kind;
use super::{Admin, CLEAN, FixedBlockPool, Found, SIDE, USED};
use crate::offset::fixed_block::{MAX_KEY, Query};
use crate::sync::atomic::Ordering;
use crate::{Death, Epoch, Frontier, FrontierRef};

impl FixedBlockPool {
    /// Looks where no lock is needed and nothing outside the pool is asked.
    #[inline]
    pub(super) fn find_at_once(
        &self,
        frontier: FrontierRef<'_>,
        hint: u32,
        multiple: u32,
    ) -> Option<Found> {
        if !frontier.is_empty() {
            for (axis, shelf) in self.shelves() {
                let limit = frontier.get(axis).min(MAX_KEY);
                if self.blocks.least(shelf).is_none_or(|least| least > limit) {
                    continue;
                }
                let query = Query { limit, hint, multiple };
                if let Some(taken) = self.search(self.blocks.take(shelf, query)) {
                    return Some(Found {
                        block: taken.block,
                        source: shelf,
                        kind: Kind::Dominated,
                        was_pending: true,
                    });
                }
            }
        }
        let query = Query { limit: MAX_KEY, hint, multiple };
        let taken = self.search(self.blocks.take(CLEAN, query))?;
        // The key says whether the block was ever handed out.
        let kind = if taken.key == 0 { Kind::Fresh } else { Kind::Completed };
        Some(Found { block: taken.block, source: CLEAN, kind, was_pending: false })
    }

    /// Looks among blocks whose death was reached, and on the side.
    #[cold]
    pub(super) fn find_by_progress(
        &self,
        frontier: FrontierRef<'_>,
        hint: u32,
        multiple: u32,
    ) -> Option<Found> {
        for (axis, shelf) in self.shelves() {
            let Some(least) = self.blocks.least(shelf) else { continue };
            let own = frontier.get(axis);
            let limit = self.reached(axis, least).max(own).min(MAX_KEY);
            if least > limit {
                continue;
            }
            if let Some(taken) =
                self.search(self.blocks.take_otherwise(shelf, Query { limit, hint, multiple }))
            {
                let kind = if taken.key <= own { Kind::Dominated } else { Kind::Completed };
                return Some(Found { block: taken.block, source: shelf, kind, was_pending: true });
            }
        }
        if self.inbox.is_empty() && self.aside.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let dominated = {
            let admin = &mut *self.admin.lock();
            self.sort_inbox(admin);
            let found =
                admin.side.take_dominated(frontier, &|entry| self.has_reached(entry), &|block| {
                    block.is_multiple_of(multiple)
                });
            self.count_aside(admin);
            found
        };
        if let Some(block) = dominated {
            let (source, kind) = (SIDE, Kind::Dominated);
            return Some(Found { block, source, kind, was_pending: true });
        }
        // What became clean just now.
        let query = Query { limit: MAX_KEY, hint, multiple };
        let taken = self.search(self.blocks.take_otherwise(CLEAN, query))?;
        let kind = if taken.key == 0 { Kind::Fresh } else { Kind::Completed };
        Some(Found { block: taken.block, source: CLEAN, kind, was_pending: false })
    }

    /// The pending block that will be ready soonest, as far as epochs on different axes can be compared, and
    /// what it waits for.
    pub(super) fn find_soonest(&self, hint: u32, multiple: u32) -> Option<(Found, Frontier)> {
        let reached = |axis| self.host.progress.reached(axis);
        let on_shelves = self
            .shelves()
            .filter_map(|(axis, shelf)| {
                let least = self.blocks.least(shelf)?;
                Some((least.saturating_sub(reached(axis)), axis, shelf))
            })
            .min_by_key(|(left, ..)| *left);
        let pending =
            |block, source| Found { block, source, kind: Kind::Waited, was_pending: true };
        if self.aside.load(Ordering::Relaxed) != 0 {
            let admin = &mut *self.admin.lock();
            let aside = admin.side.soonest(&reached, &|block| block.is_multiple_of(multiple));
            if let Some((left, axis, key)) = aside
                && on_shelves.is_none_or(|(other, ..)| left < other)
                && let Some(block) = admin.side.take(axis, key)
            {
                self.count_aside(admin);
                if let Death::After(wait) = admin.side.death_of(block).get() {
                    return Some((pending(block, SIDE), wait.to_frontier()));
                }
            }
        }
        let best = on_shelves.map(|(_, axis, shelf)| (axis, shelf));
        // The others only if the best turns out to have nothing that suits.
        for (axis, shelf) in best.into_iter().chain(self.shelves()) {
            if let Some(taken) = self.search(self.blocks.take_least(shelf, hint, multiple)) {
                let wait = Frontier::from_entry(axis, taken.key);
                return Some((pending(taken.block, shelf), wait));
            }
        }
        None
    }

    /// Files what came through the inbox and moves on what has been reached.
    pub(super) fn sort_inbox(&self, admin: &mut Admin) {
        let mut cleaned = 0;
        admin.tickets.extend(self.inbox.drain());
        for ticket in admin.tickets.drain(..) {
            if !admin.side.file(ticket.block, ticket.death, &|entry| self.has_reached(entry)) {
                self.blocks.put(CLEAN, ticket.block, USED);
                cleaned += 1;
            }
        }
        admin.side.advance(&|entry| self.has_reached(entry), &mut |block| {
            self.blocks.put(CLEAN, block, USED);
            cleaned += 1;
        });
        if cleaned != 0 {
            self.counters.mine().cleaned(cleaned);
        }
    }

    pub(super) fn count_aside(&self, admin: &Admin) {
        self.aside.store(admin.side.pending(), Ordering::Relaxed);
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
