//! The way of a block back: to a shelf, or through the inbox to what is pending under the lock.

use super::counters::Mine;
use super::{CLEAN, FixedBlockPool, USED};
use crate::inspect::Event;
use crate::offset::fixed_block::MAX_KEY;
use crate::pool::inbox::Ticket;
use crate::pool::{ReleaseError, Reservation, Token};
use crate::sync::atomic::Ordering;
use crate::{Death, Entry, FrontierRef};

impl FixedBlockPool {
    /// The block and where it came from, if the reservation is one of ours.
    #[inline]
    pub(super) fn token(
        &self,
        reservation: Reservation,
    ) -> Result<(u32, u32, Reservation), ReleaseError> {
        match reservation.token {
            Token::Block(token) if reservation.pool == self.id => {
                Ok((token as u32, (token >> 32) as u32, reservation))
            }
            _ => Err(ReleaseError::other_pool(reservation)),
        }
    }

    /// Puts a block down that waits for `death`; counts its bytes.
    #[inline]
    pub(super) fn put_down(&self, block: u32, size: u64, death: Death<'_>) {
        let mine = self.counters.mine();
        let padding = self.shape.stride - size;
        match death.frontier().map(FrontierRef::entries) {
            // Counted before the block is there for others, so that no sum falls below zero.
            Some([]) => {
                mine.released(padding, false);
                self.blocks.put(CLEAN, block, USED);
            }
            Some(&[Entry { axis, epoch }])
                if epoch <= MAX_KEY
                    && let Some(shelf) = self.shelf_of(axis) =>
            {
                mine.released(padding, true);
                self.blocks.put(shelf, block, epoch);
            }
            _ => self.put_aside(block, padding, death, mine),
        }
        mine.set_hint(block);
    }

    #[cold]
    fn put_aside(&self, block: u32, padding: u64, death: Death<'_>, mine: Mine<'_>) {
        let mut ticket = Ticket::new();
        ticket.block = block;
        ticket.write(death, &|entry| self.has_reached(entry));
        if matches!(death, Death::Unknown) {
            self.tainted_blocks.fetch_add(1, Ordering::Relaxed);
            mine.released(padding, false);
        } else {
            mine.released(padding, true);
        }
        self.inbox.push(ticket);
    }

    #[inline]
    pub(super) fn after_release(&self, reservation: &Reservation) {
        self.refund();
        if self.host.sink.is_some() {
            let &Reservation { pool, slab, offset, size, .. } = reservation;
            self.emit(Event::Released { pool, slab, offset, size });
        }
        self.notification.signal_if_observed();
    }
}
