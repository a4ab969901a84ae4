//! The notifications that a proactor watches for its waits: each notification once, however many wait.
//!
//! ```text
//!   slot 0: notification A ── waits: (seen 3, op 17), (seen 4, op 20)     waiter  ──▶ Doorbell::ring(0)
//!   slot 1: notification B ── waits: (seen 0, op 18)                      waker ──▶ Doorbell::ring(1)
//! ```
//!
//! A signal rings: it sets the slot's ready bit, and the next turn compares every wait of the slot with
//! the notification's epoch. A bit that was set for a slot's former user makes a turn compare in vain, no
//! worse.
//!
//! A notification whose host wake is ours is reached through a waiter among its wake_list, which signal handlers may ring.
//! Any other gets a waker. Waiters of notifications that nobody waits for any more are kept for a while: most
//! are waited for again.

use super::doorbell::{Doorbell, SlotWaker};
use super::op::OpError;
use super::ready;
use super::serial::SerialMap;
use crate::wake::wake_list::{Left, Waiter, WakeList};
use crate::wake::{ThreadWake, address};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use strandline_core::notification::{WakerId, Watching};
use strandline_core::{Notification, Observation};

/// Waiters kept for notifications that are not waited for.
const IDLE_WAITERS: usize = 64;

struct Wait {
    serial: u64,
    seen: Observation,
}

/// How a notification reaches the doorbell.
enum Link {
    Waiter {
        waiter: Waiter<Doorbell>,
        word: usize,
        _watching: Watching,
    },
    /// Registered with the notification. A signal takes it.
    Waker(Option<WakerId>),
}

struct Watched {
    notification: Arc<Notification>,
    waits: Vec<Wait>,
    link: Link,
}

/// See the [module](self).
pub(super) struct WaitSet {
    doorbell: Arc<Doorbell>,
    slots: Vec<Option<Watched>>,
    free: Vec<u32>,
    /// By the notification's address: a slot keeps its notification alive, so the address is its own.
    by_address: SerialMap<usize, u32>,
    /// By the address of their wake_list, which they keep alive; the oldest first.
    idle: VecDeque<Waiter<Doorbell>>,
    /// Given up, while signalers may still be ringing.
    left: Vec<Left<Doorbell>>,
}

fn key(notification: &Arc<Notification>) -> usize {
    Arc::as_ptr(notification).addr()
}

impl WaitSet {
    pub(super) fn new(doorbell: Arc<Doorbell>) -> Self {
        Self {
            doorbell,
            slots: Vec::new(),
            free: Vec::new(),
            by_address: SerialMap::default(),
            idle: VecDeque::new(),
            left: Vec::new(),
        }
    }

    /// WaitSet for a signal after `seen`. The slot to [`remove`](Self::remove) it from, or `None` when there was
    /// a signal already.
    pub(super) fn add(
        &mut self,
        serial: u64,
        notification: Arc<Notification>,
        seen: Observation,
    ) -> Result<Option<u32>, OpError> {
        if notification.changed_since(seen) {
            return Ok(None);
        }
        let slot = match self.by_address.get(&key(&notification)) {
            Some(&slot) => slot,
            None => self.open(notification)?,
        };
        let Some(watched) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
            return Ok(None);
        };
        watched.waits.push(Wait { serial, seen });
        // The slot is looked at once more in this turn: that arms the link, and finds a signal that came
        // meanwhile.
        self.doorbell.ready().add(slot);
        Ok(Some(slot))
    }

    fn open(&mut self, notification: Arc<Notification>) -> Result<u32, OpError> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
                if slot >= ready::CAPACITY {
                    return Err(OpError::TooManyWatches);
                }
                self.doorbell.ready().prepare(slot);
                self.slots.push(None);
                slot
            }
        };
        self.by_address.insert(key(&notification), slot);
        let link = self.link(&notification);
        self.slots[slot as usize] = Some(Watched { notification, waits: Vec::new(), link });
        Ok(slot)
    }

    fn link(&mut self, notification: &Arc<Notification>) -> Link {
        let Some(wake) = notification.host_wake().and_then(|wake| ThreadWake::of(&**wake)) else {
            return Link::Waker(None);
        };
        let wake_list = wake.wake_list();
        let kept = self.idle.iter().position(|waiter| Arc::ptr_eq(waiter.wake_list(), wake_list));
        let waiter = kept.and_then(|index| self.idle.remove(index));
        let waiter = waiter.unwrap_or_else(|| WakeList::sit(wake_list, self.doorbell.clone()));
        // Counted before the waiter is armed, and that before the epoch is compared.
        let watching = notification.watch();
        Link::Waiter { waiter, word: address(watching.word()), _watching: watching }
    }

    fn close(&mut self, slot: u32) {
        let Some(watched) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.by_address.remove(&key(&watched.notification));
        self.free.push(slot);
        match watched.link {
            Link::Waker(None) => {}
            Link::Waker(Some(id)) => {
                watched.notification.unregister(id);
            }
            Link::Waiter { waiter, .. } => {
                waiter.disarm();
                self.idle.push_back(waiter);
                if self.idle.len() > IDLE_WAITERS {
                    self.left.extend(self.idle.pop_front().map(Waiter::leave));
                }
            }
        }
        // Dropped when that does not wait.
        self.left.retain(|left| !left.is_over());
    }

    /// Takes a wait back: it no longer comes out of [`take_signaled`](Self::take_signaled).
    pub(super) fn remove(&mut self, slot: u32, serial: u64) {
        let Some(watched) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        watched.waits.retain(|wait| wait.serial != serial);
        if watched.waits.is_empty() {
            self.close(slot);
        }
    }

    /// Hands the waits whose notification was signaled to `signaled`, and sees to it that the next signal
    /// for those that remain rings.
    pub(super) fn take_signaled(&mut self, mut signaled: impl FnMut(u64)) {
        if self.doorbell.ready().is_empty() {
            return;
        }
        let doorbell = self.doorbell.clone();
        doorbell.ready().take(|slot| self.look(slot, &mut signaled));
    }

    fn look(&mut self, slot: u32, signaled: &mut impl FnMut(u64)) {
        let Some(watched) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        if let Link::Waker(id) = &mut watched.link
            && let Some(id) = id.take()
        {
            watched.notification.unregister(id);
        }
        loop {
            let now = watched.notification.observe();
            watched.waits.retain(|wait| {
                let waits = wait.seen == now;
                if !waits {
                    signaled(wait.serial);
                }
                waits
            });
            if watched.waits.is_empty() {
                return self.close(slot);
            }
            let armed = match &mut watched.link {
                Link::Waiter { waiter, word, .. } => {
                    waiter.arm(*word, slot);
                    !watched.notification.changed_since(now)
                }
                Link::Waker(id) => {
                    let waker = Arc::new(SlotWaker { doorbell: self.doorbell.clone(), slot });
                    *id = watched.notification.register(now, Waker::from(waker));
                    id.is_some()
                }
            };
            // Otherwise there was a signal since this look.
            if armed {
                return;
            }
        }
    }
}

/// Waits for signalers that are ringing.
impl Drop for WaitSet {
    fn drop(&mut self) {
        for slot in 0..self.slots.len() as u32 {
            self.close(slot);
        }
        self.left.extend(self.idle.drain(..).map(Waiter::leave));
    }
}
