//! What a TLSF pool's lock guards: the heap, its slabs, the counters.

use super::heap::{Ask, BlockDeath, Heap, Taken};
use super::{CANCELED, Holes};
use crate::offset::tlsf::{BlockId, Need, RegionId};
use crate::pool::inbox::Ticket;
use crate::pool::planned::{Followed, Key};
use crate::pool::still::Still;
use crate::pool::{Origin, PoolHost, PoolStats, Request, ReuseProof};
use crate::slab::{Slab, SlabId};
use crate::{Frontier, FrontierRef};
use alloc::boxed::Box;
use alloc::vec::Vec;

#[derive(Debug)]
pub(super) struct State {
    pub(super) heap: Heap,
    /// By region.
    pub(super) slabs: Vec<Option<Slab>>,
    /// Of those that are not elastic.
    pub(super) largest_slab: u64,
    /// Where slabs can be elastic.
    pub(super) holes: Option<Holes>,
    /// The plan that is followed, if one is.
    pub(super) follower: Option<Followed>,
    /// The heap's moves that those who wait were told of.
    told: u64,
    /// They are to be told of something else.
    pub(super) untold: bool,
    /// Tickets to go out with the next reservations.
    #[expect(clippy::vec_box, reason = "the boxes travel; their addresses must not change")]
    tickets: Vec<Box<Ticket>>,
    /// What the last answer that is no ready one has to wait for. Apart, because a frontier is large, and would be moved along
    /// with every answer that needs none.
    pub(super) wait: Frontier,
    /// All but the bytes that the heap knows.
    pub(super) stats: PoolStats,
    /// More is reserved or requested than ever, and not written down yet.
    pub(super) is_peak: bool,
    /// Whether an axis has moved since all of them were looked at, and no block has come or gone.
    pub(super) still: Still,
    /// Blocks whose death has more axes than one can hold.
    pub(super) wide: super::wide::Wide,
}

/// A search of the heap, which takes what it finds and writes down its death.
pub(super) type Search<'a> = dyn FnMut(&mut Heap, &Ask<'_>, &mut BlockDeath) -> Option<Taken> + 'a;

/// A request on its way through a pool.
pub(super) struct Asked<'a> {
    pub(super) request: &'a Request<'a>,
    /// The request as the heap counts.
    pub(super) need: Need,
    /// What a plan is asked for, where one is followed.
    pub(super) key: Option<Key>,
}

/// A reservation in the making, built under the lock.
pub(super) struct Found {
    pub(super) slab: SlabId,
    pub(super) offset: u64,
    pub(super) ticket: Box<Ticket>,
    /// `None`: after a wait, which [`State::wait`] holds.
    pub(super) ready: Option<Origin>,
    /// Where the plan has it.
    pub(super) is_planned: bool,
}

impl State {
    pub(super) fn new(heap: Heap, holes: Option<Holes>) -> Self {
        Self {
            heap,
            slabs: Vec::new(),
            largest_slab: 0,
            holes,
            follower: None,
            told: 0,
            untold: false,
            tickets: Vec::new(),
            wait: Frontier::new(),
            stats: PoolStats::default(),
            is_peak: false,
            still: Still::default(),
            wide: super::wide::Wide::default(),
        }
    }

    /// Bytes that are reserved.
    #[inline(always)]
    pub(super) fn reserved_bytes(&self) -> u64 {
        self.heap.reserved_bytes() - self.wide.bytes()
    }

    /// Free bytes that wait.
    #[inline(always)]
    pub(super) fn pending_bytes(&self) -> u64 {
        self.heap.pending_bytes() + self.wide.bytes()
    }

    /// Blocks that are live to the heap only: where they are, and what they wait for.
    pub(super) fn aside(&self) -> Vec<((RegionId, u64), FrontierRef<'_>)> {
        self.wide
            .blocks()
            .filter_map(|block| Some((self.heap.place_of(block), self.wide.of(block)?)))
            .collect()
    }

    /// Frees the block of a ticket that came back.
    pub(super) fn free(&mut self, mut ticket: Box<Ticket>, host: &PoolHost) {
        self.still.forget();
        self.stats.requested_bytes -= ticket.requested;
        self.stats.releases += 1;
        self.stats.live -= 1;
        if let Some(follower) = self.follower.as_mut() {
            follower.freed(ticket.block & !CANCELED);
        }
        if let Some(wide) = ticket.wide.take()
            && self.put_aside(&mut ticket, &wide, host)
        {
            self.tickets.push(ticket);
            self.note_pending();
            return;
        }
        let block = BlockId::from_index(ticket.block & !CANCELED);
        if ticket.block & CANCELED == 0 {
            self.heap.free(block, ticket.death.get(), &*host.progress);
        } else {
            self.heap.cancel(block, ticket.death.get(), &*host.progress);
        }
        self.tickets.push(ticket);
        self.note_pending();
    }

    #[inline(always)]
    pub(super) fn note_pending(&mut self) {
        let pending = self.pending_bytes();
        self.stats.peak_pending_bytes = self.stats.peak_pending_bytes.max(pending);
    }

    /// So many more bytes may wait, and are not more than ever.
    #[inline]
    pub(super) fn pending_room(&self) -> u64 {
        self.stats.peak_pending_bytes.saturating_sub(self.pending_bytes())
    }

    /// So many more bytes that wait would be more than ever.
    #[inline]
    pub(super) fn is_pending_peak(&self, more: u64) -> bool {
        self.pending_bytes() + more > self.stats.peak_pending_bytes
    }

    /// There may be memory for those who wait, and they were not told.
    #[inline(always)]
    pub(super) fn is_news(&self) -> bool {
        self.untold | (self.heap.moves() != self.told)
    }

    /// They are about to be.
    #[inline(always)]
    pub(super) fn tell(&mut self) {
        (self.told, self.untold) = (self.heap.moves(), false);
    }

    /// Looks at every axis that blocks wait for, unless nothing can have changed since the last time: a refusal that is repeated asks no
    /// axis. Whether any block got further.
    pub(super) fn poll_all(&mut self, host: &PoolHost) -> bool {
        if self.still.stands(host) {
            return false;
        }
        let device = &*host.provider;
        self.heap.poll_all(&*host.progress, |axis, epoch| device.query_epoch(axis, epoch))
    }

    pub(super) fn add_slab(&mut self, region: RegionId, slab: Slab) {
        let index = region.index() as usize;
        if index == self.slabs.len() {
            self.slabs.push(None);
        }
        self.slabs[index] = Some(slab);
        self.largest_slab = self.largest_slab.max(slab.size);
        if let Some(follower) = self.follower.as_mut() {
            follower.offer(region, slab);
        }
        self.stats.slabs += 1;
        self.note_committed();
    }

    pub(super) fn note_peaks(&mut self) {
        let reserved = self.reserved_bytes();
        let stats = &mut self.stats;
        stats.peak_requested_bytes = stats.peak_requested_bytes.max(stats.requested_bytes);
        stats.peak_reserved_bytes = stats.peak_reserved_bytes.max(reserved);
        self.is_peak = false;
    }

    pub(super) fn note_committed(&mut self) {
        let committed = self.heap.committed_bytes();
        self.stats.peak_committed_bytes = self.stats.peak_committed_bytes.max(committed);
    }

    /// Takes what a search finds that the requester may use at once.
    #[inline(always)]
    pub(super) fn find(
        &mut self,
        asked: &Asked<'_>,
        host: &PoolHost,
        search: impl FnOnce(&mut Heap, &Ask<'_>, &mut BlockDeath) -> Option<Taken>,
    ) -> Option<Found> {
        let (taken, ticket) = self.take(asked, host, search)?;
        let origin = self.origin(taken, &ticket, host);
        self.found(taken, ticket, asked, Some(origin))
    }

    /// [`find`](Self::find), where it is not the usual case.
    #[inline(never)]
    pub(super) fn find_again(
        &mut self,
        asked: &Asked<'_>,
        host: &PoolHost,
        search: &mut Search<'_>,
    ) -> Option<Found> {
        self.find(asked, host, search)
    }

    /// Takes what a search finds, and what of it the requester has to wait for.
    #[inline(never)]
    pub(super) fn find_to_wait(
        &mut self,
        asked: &Asked<'_>,
        host: &PoolHost,
        search: &mut Search<'_>,
    ) -> Option<Found> {
        let (taken, ticket) = self.take(asked, host, search)?;
        let ask = ask(asked, host);
        let Some(wait) = self.heap.wait_for(&taken, &ticket.death.after, &ask) else {
            // Nobody can be told of so many axes.
            self.heap.cancel(taken.block, ticket.death.get(), &*host.progress);
            self.tickets.push(ticket);
            return None;
        };
        let ready = if wait.is_empty() {
            Some(self.origin(taken, &ticket, host))
        } else {
            self.stats.waited += 1;
            None
        };
        self.wait = wait;
        self.found(taken, ticket, asked, ready)
    }

    /// Takes what a search finds, with its death in a ticket.
    #[inline(always)]
    fn take(
        &mut self,
        asked: &Asked<'_>,
        host: &PoolHost,
        search: impl FnOnce(&mut Heap, &Ask<'_>, &mut BlockDeath) -> Option<Taken>,
    ) -> Option<(Taken, Box<Ticket>)> {
        let mut ticket = self.tickets.pop().unwrap_or_else(Ticket::new);
        let Some(taken) = search(&mut self.heap, &ask(asked, host), &mut ticket.death.after) else {
            self.tickets.push(ticket);
            return None;
        };
        ticket.death.unknown = false;
        // What is left of it is filed anew.
        self.still.forget();
        Some((taken, ticket))
    }

    /// Where ready bytes come from, counted.
    #[inline(always)]
    fn origin(&mut self, taken: Taken, ticket: &Ticket, host: &PoolHost) -> Origin {
        if taken.fresh {
            self.stats.fresh += 1;
            Origin::Fresh
        } else if self.heap.is_waited_for(&taken, &ticket.death.after, &*host.progress) {
            self.stats.dominated += 1;
            Origin::Reused(ReuseProof::Dominance)
        } else {
            // Clean, or reached since it was last looked at.
            self.stats.completed += 1;
            Origin::Reused(ReuseProof::Completion)
        }
    }

    #[inline(always)]
    fn found(
        &mut self,
        taken: Taken,
        mut ticket: Box<Ticket>,
        asked: &Asked<'_>,
        ready: Option<Origin>,
    ) -> Option<Found> {
        let requested = asked.request.size;
        (ticket.block, ticket.requested) = (taken.block.index(), requested);
        ticket.has_pieces = self.heap.has_pieces(taken.block);
        let reserved = self.reserved_bytes();
        let stats = &mut self.stats;
        stats.reserves += 1;
        stats.live += 1;
        stats.requested_bytes += requested;
        // What lies in hot slots counts as live here: how much it is more than ever is found out without.
        self.is_peak |= stats.requested_bytes > stats.peak_requested_bytes
            || reserved > stats.peak_reserved_bytes;
        let slab = self.slabs.as_slice()[taken.region.index() as usize]?.id;
        Some(Found { slab, offset: taken.offset, ticket, ready, is_planned: false })
    }
}

/// The request as the heap is asked.
#[inline(always)]
fn ask<'a>(asked: &Asked<'a>, host: &'a PoolHost) -> Ask<'a> {
    let &Request { frontier, size, .. } = asked.request;
    Ask { need: asked.need, frontier, progress: &*host.progress, requested: size }
}
