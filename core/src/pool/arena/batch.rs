//! What becomes of a batch: its parts come back, it ends, and what its bytes wait for is looked at and counted.

use super::past::Fate;
use super::{ArenaPool, CANCELED, Generation, PART_BITS, Part, PartState, State};
use crate::offset::arena::Ring;
use crate::sync::atomic::Ordering;

impl ArenaPool {
    /// Takes in what was released, and closes batches whose last part is gone.
    pub(super) fn sort_inbox(&self, state: &mut State) {
        let State { ring, generations, tickets, still, .. } = state;
        for ticket in self.inbox.drain() {
            let at = (ticket.block >> PART_BITS) as usize;
            let generation = &mut generations[at];
            let index = (ticket.block & ((1 << PART_BITS) - 1)) as usize;
            let part = &mut generation.parts[index];
            let (offset, size) = (part.offset, part.size);
            self.arriving.fetch_sub(size, Ordering::Relaxed);
            let freed = if ticket.requested == CANCELED {
                part.state = PartState::Canceled;
                let canceled = |part: &mut Part| matches!(part.state, PartState::Canceled);
                while generation.parts.pop_if(canceled).is_some() {}
                ring.put_back(at, offset, size);
                generation.past.bytes(offset, offset + size)
            } else {
                let fate = Fate::from(ticket.written());
                let freed = if fate == Fate::Unknown { [0, size] } else { [size, 0] };
                part.state = PartState::Released(fate);
                generation.released[0] += freed[0];
                generation.released[1] += freed[1];
                freed
            };
            if ring.release(at) {
                self.close(generation);
                // Deaths that were told long ago are looked at from now on.
                still.forget();
                self.count(generation, ring, at);
            } else {
                self.counted(generation, freed, false);
            }
            tickets.push(ticket);
        }
    }

    /// The batch is over.
    fn close(&self, generation: &mut Generation) {
        generation.released = [0; 2];
        let past = &mut generation.past;
        if let [Part { offset, size, state: PartState::Released(fate) }] = &mut generation.parts[..]
            && past.succeed_in_place(*offset, *offset + *size, fate)
        {
            generation.parts.clear();
            return;
        }
        let mut parts = core::mem::take(&mut generation.parts);
        if !parts.is_sorted_by_key(|part| part.offset) {
            parts.sort_unstable_by_key(|part| part.offset);
        }
        let left = parts.drain(..).filter_map(|part| match part.state {
            PartState::Released(fate) => Some((part.offset, part.offset + part.size, fate)),
            PartState::Live | PartState::Canceled => None,
        });
        generation.past.succeed(left);
        generation.parts = parts;
        generation.past.compact(&|entry| self.has_reached(entry));
    }

    /// Counts bytes, pending and tainted, that became free, or that were taken.
    pub(super) fn counted(&self, generation: &mut Generation, bytes: [u64; 2], taken: bool) {
        let counters = [&self.counters.pending, &self.counters.tainted_bytes];
        for ((counter, counted), bytes) in
            counters.into_iter().zip(&mut generation.counted).zip(bytes)
        {
            match taken {
                false => {
                    *counted += bytes;
                    counter.add(bytes);
                }
                true => {
                    *counted -= bytes;
                    counter.sub(bytes);
                }
            }
        }
    }

    /// Counts what is pending and tainted anew.
    pub(super) fn count(&self, generation: &mut Generation, ring: &Ring, at: usize) {
        let mut now = generation.released;
        for (start, end) in ring.free(at) {
            let [pending, tainted] = generation.past.bytes(start, end);
            now[0] += pending;
            now[1] += tainted;
        }
        let before = core::mem::replace(&mut generation.counted, now);
        if before != now {
            self.counters.pending.change(before[0], now[0]);
            self.counters.tainted_bytes.change(before[1], now[1]);
        }
    }

    /// Takes note of what has been reached. Whether anything was that free bytes waited for.
    pub(super) fn refresh(&self, state: &mut State) -> bool {
        self.sort_inbox(state);
        let State { ring, generations, still, .. } = state;
        let mut moved = false;
        if still.stands(&self.host) {
            return moved;
        }
        for (at, generation) in generations.iter_mut().enumerate() {
            if generation.past.refresh(&|entry| self.has_reached(entry)) {
                moved = true;
                self.count(generation, ring, at);
            }
        }
        moved
    }
}
