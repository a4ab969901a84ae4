//! Deaths of more axes than a block remembers, kept until enough of the axes have got there.
//!
//! ```text
//!   release, 11 axes ─▶ inbox ─▶ aside ──── 3 of them reached ────▶ a shelf, as any block
//! ```
//!
//! Until then the block is nobody's: live to the heap, pending to whoever asks for the counters, and not in the budget. A requester who covers
//! the whole death gets it no earlier.
//!
//! # Cost
//! A release of such a death allocates. A miss, a poll and a trim look at the axes of each block that is aside; where there is none, at the
//! length of a list.

use super::state::State;
use crate::frontier::{Frontier, FrontierRef};
use crate::offset::tlsf::BlockId;
use crate::pool::inbox::{Ticket, unreached};
use crate::pool::{MAX_DEATH_AXES, PoolHost};
use alloc::vec::Vec;

#[derive(Debug)]
struct Aside {
    block: BlockId,
    /// Bytes that it takes of the pool.
    bytes: u64,
    /// What of its death was not reached when that was last looked at.
    left: Frontier,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Wide {
    list: Vec<Aside>,
    bytes: u64,
}

impl Wide {
    /// Bytes that are aside.
    #[inline(always)]
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What a block that is aside waits for.
    pub(super) fn of(&self, block: BlockId) -> Option<FrontierRef<'_>> {
        let aside = self.list.iter().find(|aside| aside.block == block)?;
        Some(aside.left.as_ref())
    }

    /// The blocks that are aside.
    pub(super) fn blocks(&self) -> impl Iterator<Item = BlockId> {
        self.list.iter().map(|aside| aside.block)
    }
}

impl State {
    /// Puts a released block aside, unless its death can be remembered by now: then that is in the ticket. Whether it was put aside.
    #[cold]
    pub(super) fn put_aside(
        &mut self,
        ticket: &mut Ticket,
        wide: &Frontier,
        host: &PoolHost,
    ) -> bool {
        let progress = &*host.progress;
        ticket.write(wide.into(), &|entry| progress.has_reached(entry.axis, entry.epoch));
        let Some(left) = ticket.wide.take() else { return false };
        let block = BlockId::from_index(ticket.block);
        let bytes = self.heap.offsets().size(block);
        self.wide.list.push(Aside { block, bytes, left: *left });
        self.wide.bytes += bytes;
        true
    }

    /// Files the blocks whose death can be remembered by now. Whether there were any.
    #[inline]
    pub(super) fn look_aside(&mut self, host: &PoolHost) -> bool {
        !self.wide.list.is_empty() && self.file_aside(host, false)
    }

    /// The device is quiescent: files all of them.
    pub(super) fn file_all_aside(&mut self, host: &PoolHost) {
        self.file_aside(host, true);
    }

    #[cold]
    fn file_aside(&mut self, host: &PoolHost, all: bool) -> bool {
        let mut any = false;
        for mut aside in core::mem::take(&mut self.wide.list) {
            aside.left = if all { Frontier::new() } else { left_of(&aside.left, host) };
            if aside.left.len() > MAX_DEATH_AXES {
                self.wide.list.push(aside);
                continue;
            }
            self.wide.bytes -= aside.bytes;
            self.still.forget();
            self.heap.free(aside.block, aside.left.as_ref().into(), &*host.progress);
            any = true;
        }
        // The heap counts what it has now.
        self.note_pending();
        any
    }
}

fn left_of(frontier: &Frontier, host: &PoolHost) -> Frontier {
    unreached(frontier.as_ref(), &|entry| host.progress.has_reached(entry.axis, entry.epoch))
}
