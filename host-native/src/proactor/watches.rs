//! The notifications that a proactor watches for its waits: each notification once, however many wait.
//!
//! ```text
//!   slot 0: notification A ── waits: (seen 3, op 17), (seen 4, op 20)     waker ──▶ Doorbell::ring(0)
//!   slot 1: notification B ── waits: (seen 0, op 18)                      waker ──▶ Doorbell::ring(1)
//! ```
//!
//! A signal calls the waker, the waker sets the slot's ready bit, and the next turn compares every wait of the
//! slot with the notification's epoch. A bit that was set for a slot's former user makes a turn
//! compare in vain, no worse.

use super::doorbell::{Doorbell, SlotWaker};
use super::op::OpError;
use super::ready;
use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use strandline_core::notification::WakerId;
use strandline_core::{Notification, Observation};

struct Wait {
    serial: u64,
    seen: Observation,
}

struct Watched {
    notification: Arc<Notification>,
    waits: Vec<Wait>,
    /// Registered with the notification. A signal takes it.
    waker: Option<WakerId>,
}

/// See the [module](self).
pub(super) struct Watches {
    doorbell: Arc<Doorbell>,
    slots: Vec<Option<Watched>>,
    free: Vec<u32>,
    /// By the notification's address: a slot keeps its notification alive, so the address is its own.
    by_address: HashMap<usize, u32>,
}

fn address(notification: &Arc<Notification>) -> usize {
    Arc::as_ptr(notification).addr()
}

impl Watches {
    pub(super) fn new(doorbell: Arc<Doorbell>) -> Self {
        Self { doorbell, slots: Vec::new(), free: Vec::new(), by_address: HashMap::new() }
    }

    /// Watches for a signal after `seen`. The slot to [`remove`](Self::remove) it from, or `None` when there was
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
        let slot = match self.by_address.get(&address(&notification)) {
            Some(&slot) => slot,
            None => self.open(notification)?,
        };
        let Some(watched) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
            return Ok(None);
        };
        watched.waits.push(Wait { serial, seen });
        // The slot is looked at once more in this turn: that registers the waker, and finds a signal that
        // came meanwhile.
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
        self.by_address.insert(address(&notification), slot);
        self.slots[slot as usize] = Some(Watched { notification, waits: Vec::new(), waker: None });
        Ok(slot)
    }

    fn close(&mut self, slot: u32) {
        let Some(watched) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        if let Some(id) = watched.waker {
            watched.notification.unregister(id);
        }
        self.by_address.remove(&address(&watched.notification));
        self.free.push(slot);
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
        if let Some(id) = watched.waker.take() {
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
            let waker = SlotWaker { doorbell: self.doorbell.clone(), slot };
            watched.waker = watched.notification.register(now, Waker::from(Arc::new(waker)));
            // `None`: there was a signal since this look.
            if watched.waker.is_some() {
                return;
            }
        }
    }
}
