//! Slots under every interleaving: no block is lost or handed out twice, and nobody who was refused sleeps beside one.

use super::*;
use crate::pool::inbox::Inbox;
use crate::{NoProgress, Notification};
use loom::sync::Arc;
use loom::thread;

const SIZE: u64 = 256;

struct World {
    slots: Slots,
    inbox: Inbox,
    released: Notification,
}

impl World {
    /// The thread's seat keeps blocks of this size.
    fn new() -> Arc<Self> {
        let slots = Slots::new(SIZE, 4 * SIZE);
        assert!(slots.take(0, &Request::new(SIZE), &NoProgress, drop).is_none());
        Arc::new(Self { slots, inbox: Inbox::new(), released: Notification::new(None) })
    }

    fn release(&self, block: u32) {
        let mut ticket = Ticket::new();
        (ticket.block, ticket.requested) = (block, SIZE);
        if let Some(ticket) = self.slots.put(0, ticket) {
            self.inbox.push(ticket);
        }
        self.released.signal_if_awaited();
    }

    fn acquire(&self) -> Option<u32> {
        let inbox = |ticket| self.inbox.push(ticket);
        let taken = self.slots.take(0, &Request::new(SIZE), &NoProgress, inbox);
        taken.map(|(ticket, _)| ticket.block)
    }

    /// As one does who holds the lock.
    fn collect(&self) -> Vec<u32> {
        self.inbox.drain().chain(self.slots.empty()).map(|ticket| ticket.block).collect()
    }
}

#[test]
fn who_is_refused_has_the_block_or_is_woken() {
    loom::model(|| {
        let world = World::new();
        let releaser = {
            let world = world.clone();
            thread::spawn(move || world.release(7))
        };
        let seen = world.released.observe();
        let found = world.collect();
        releaser.join().unwrap();
        assert!(!found.is_empty() || world.released.changed_since(seen), "asleep beside a block");
        let left = world.collect();
        assert_eq!(found.len() + left.len(), 1);
    });
}

#[test]
fn two_who_are_refused_are_both_woken() {
    loom::model(|| {
        let world = World::new();
        let refuse = |world: &World| {
            let seen = world.released.observe();
            let found = world.collect();
            (seen, found.len())
        };
        let other = {
            let world = world.clone();
            thread::spawn(move || refuse(&world))
        };
        world.release(7);
        let (seen, found) = other.join().unwrap();
        assert!(found == 1 || world.released.changed_since(seen));
        // The first signal is over: whoever is refused now is woken by the next one.
        let (seen, _) = refuse(&world);
        world.release(8);
        assert!(world.released.changed_since(seen));
    });
}

/// The thread of the seat: it asks once, and gives block 2 back.
fn owner(world: &Arc<World>) -> thread::JoinHandle<Option<u32>> {
    let world = world.clone();
    thread::spawn(move || {
        let taken = world.acquire();
        world.release(2);
        taken
    })
}

#[test]
fn a_block_is_taken_or_emptied_and_never_both() {
    loom::model(|| {
        let world = World::new();
        world.release(1);
        let owner = owner(&world);
        let mut all = world.collect();
        all.extend(owner.join().unwrap());
        all.extend(world.collect());
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
        assert_eq!(world.slots.seats[0].held(), 0);
    });
}

#[test]
fn who_only_looks_loses_nothing() {
    loom::model(|| {
        let world = World::new();
        world.release(1);
        let owner = owner(&world);
        let seen = world.slots.lift();
        world.slots.lay(seen, |ticket| world.inbox.push(ticket));
        let mut all: Vec<u32> = owner.join().unwrap().into_iter().collect();
        all.extend(world.collect());
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
        assert_eq!(world.slots.seats[0].held(), 0);
    });
}
