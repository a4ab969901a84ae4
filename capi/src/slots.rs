//! Reservations under handles, without a lock on the way of an acquire or a release.
//!
//! ```text
//!   handle:  generation 32 │ index 32 ─▶ chunk, place ─▶ slot { generation, pool, reservation }
//!   vacant slots:  of this thread (no atomics) ◀─ batches ─▶ of all threads (a lock)
//! ```
//!
//! Slots are never given back to the system, so an index that was valid once is valid for ever, and a handle that
//! nobody handed out finds a slot of another generation, or none. Cost: an acquire writes a slot; a release is one compare-exchange.

mod slot;

use crate::status::{Fault, strandline_status};
use slot::{Slot, Taken};
use std::cell::RefCell;
use std::sync::{Mutex, OnceLock, PoisonError};
use strandline_core::Reservation;

/// Slots of the first chunk; each other chunk has as many as all before it.
const FIRST: usize = 1 << 10;
const CHUNKS: usize = 21;
/// Vacant slots that go between a thread and the others at once.
const BATCH: usize = 64;

static SLOTS: [OnceLock<Box<[Slot<Reservation>]>>; CHUNKS] = [const { OnceLock::new() }; CHUNKS];
static SHARED: Mutex<Shared> = Mutex::new(Shared { vacant: Vec::new(), made: 0 });

/// Vacant slots of no thread, and how many slots there are.
struct Shared {
    vacant: Vec<u32>,
    made: usize,
}

/// Vacant slots of this thread; the others have them when it ends.
struct Own(Vec<u32>);

impl Drop for Own {
    fn drop(&mut self) {
        shared(|all| all.vacant.append(&mut self.0));
    }
}

thread_local! {
    static OWN: RefCell<Own> = const { RefCell::new(Own(Vec::new())) };
}

fn shared<R>(work: impl FnOnce(&mut Shared) -> R) -> R {
    work(&mut SHARED.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The chunk of an index, and the place in it.
const fn place(index: u32) -> (usize, usize) {
    let index = index as usize;
    if index < FIRST {
        return (0, index);
    }
    let power = index.ilog2();
    ((power - FIRST.ilog2() + 1) as usize, index - (1 << power))
}

fn slot(index: u32) -> Option<&'static Slot<Reservation>> {
    let (chunk, place) = place(index);
    SLOTS.get(chunk)?.get()?.get(place)
}

/// Puts a reservation of a pool under a handle, which is never 0.
///
/// # Errors
/// Gives the reservation back when there are as many as handles.
pub(crate) fn put(pool: u64, reservation: Reservation) -> Result<u64, Reservation> {
    let Some(index) = vacant() else { return Err(reservation) };
    // A vacant slot is there, and is this thread's alone.
    let Some(slot) = slot(index) else { return Err(reservation) };
    Ok(u64::from(slot.fill(pool, reservation)) << 32 | u64::from(index))
}

/// Takes the reservation that a handle names, if it is one of the pool. Of several calls with one handle one gets it.
pub(crate) fn take(pool: u64, handle: u64) -> Result<Reservation, Fault> {
    let (index, generation) = (handle as u32, (handle >> 32) as u32);
    match slot(index).map_or(Taken::Unknown, |slot| slot.take(generation, pool)) {
        Taken::Value { value, again } => {
            if again {
                give_back(index);
            }
            Ok(value)
        }
        Taken::OtherOwner => Err(Fault::new(
            strandline_status::OTHER_POOL,
            format_args!("{handle:#x} is a reservation of another pool"),
        )),
        Taken::Unknown => Err(Fault::new(
            strandline_status::UNKNOWN_HANDLE,
            format_args!("{handle:#x} is no reservation, or one that was released"),
        )),
    }
}

fn vacant() -> Option<u32> {
    let own = OWN.try_with(|own| {
        let own = &mut own.borrow_mut().0;
        own.pop().or_else(|| {
            refill(own);
            own.pop()
        })
    });
    // A thread that ends has no slots of its own.
    own.unwrap_or_else(|_| {
        let mut one = Vec::new();
        refill(&mut one);
        let index = one.pop();
        shared(|all| all.vacant.append(&mut one));
        index
    })
}

fn give_back(index: u32) {
    let kept = OWN.try_with(|own| {
        let own = &mut own.borrow_mut().0;
        own.push(index);
        if own.len() >= 2 * BATCH {
            let many = own.split_off(BATCH);
            shared(|all| all.vacant.extend(many));
        }
    });
    if kept.is_err() {
        shared(|all| all.vacant.push(index));
    }
}

/// Takes a batch of vacant slots from the others, or makes a chunk.
#[cold]
fn refill(own: &mut Vec<u32>) {
    shared(|all| {
        if all.vacant.is_empty() {
            let (chunk, _) = place(u32::try_from(all.made).unwrap_or(u32::MAX));
            let Some(cell) = SLOTS.get(chunk) else { return };
            let count = if chunk == 0 { FIRST } else { all.made };
            cell.get_or_init(|| (0..count).map(|_| Slot::new()).collect());
            all.vacant.extend((all.made..all.made + count).rev().map(|index| index as u32));
            all.made += count;
        }
        let rest = all.vacant.len().saturating_sub(BATCH);
        own.extend(all.vacant.drain(rest..));
    });
}

#[cfg(test)]
mod tests {
    use super::{CHUNKS, FIRST, place};

    #[test]
    fn indexes_fill_chunk_after_chunk() {
        let mut expected = (0, 0);
        for index in 0..1_u32 << 16 {
            assert_eq!(place(index), expected);
            let size = if expected.0 == 0 { FIRST } else { FIRST << (expected.0 - 1) };
            expected = if expected.1 + 1 == size {
                (expected.0 + 1, 0)
            } else {
                (expected.0, expected.1 + 1)
            };
        }
        assert!(place(u32::MAX).0 >= CHUNKS, "no index beyond the last chunk is found");
    }
}
