//! A notification: "something changed, look again", without a lost wake.
//!
//! ```text
//!   waiter                                   signaler
//!   ───────────────────────────────          ──────────────────────────
//!   token = observe()                        change the state
//!   look at the state: not good enough       signal_if_observed():
//!   begin_wait(token): observers += 1          epoch += 1
//!     epoch ≠ token? ── yes: look again        observers ≠ 0? wake
//!     no: sleep while the word = token
//!   done: observers -= 1
//! ```
//!
//! An [`Observation`] is a snapshot of the epoch word, no more: it needs no taking back, and waiting
//! on one that is stale returns at once. Take it *before* looking at the state.
//!
//! # Why no wake is lost
//! Waiter and signaler each write one word and then read the other's: the waiter adds to
//! `observers` and reads `epoch`, the signaler adds to `epoch` and reads `observers`. All four are
//! sequentially consistent, so they stand in one total order, and whichever write comes second in it
//! is followed by a read that sees the first. Either the waiter sees the new epoch and does not
//! sleep, or the signaler sees the observer and wakes it. A thread that read the old epoch but is
//! not asleep yet is covered by the host's sleep: a futex compares the word once more.
//!
//! Looking is covered as well: the signaler's state changes happen before its addition to `epoch`,
//! and whoever reads the new epoch acquires them.
//!
//! # Cost
//! A signal that no one observes is one atomic addition and one load. The word has 32 bits because
//! futexes do; an observation that is held over exactly 2^32 signals would be mistaken for fresh.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, seq_cst_for_loom};

/// The type of the epoch word: the standard 32-bit atomic, except under `--cfg loom`.
pub type EpochWord = crate::sync::atomic::AtomicU32;

/// A snapshot of a [`Notification`]'s epoch: what a waiter has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Observation(u32);

impl Observation {
    /// The observation of an epoch word, for one that has crossed a boundary as a number.
    #[must_use]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// The value of the epoch word that was observed: what a futex is told to expect.
    #[must_use]
    pub const fn word(self) -> u32 {
        self.0
    }
}

/// How a host wakes threads that sleep on a notification's epoch word.
///
/// Wakes come from whoever signals, at any time, also before the sleeper sleeps; they must not
/// block. A host that parks no threads needs none: see [`Notification::register`].
///
/// There is no waking of one thread alone: waiters want different things (sizes, budgets), and a
/// wake handed to one that cannot use it would be lost to the others.
///
/// It is `Any`, so that a host which is given a notification can recognize its own kind of wake and
/// wait by means of that, where otherwise it would [`register`](Notification::register) a waker.
pub trait Wake: Any + Send + Sync {
    /// Wakes every thread that sleeps on `word`.
    fn wake_all(&self, word: &EpochWord);
}

/// Names a waker given to [`Notification::register`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WakerId(u64);

/// Wakers to call on the next signal, in the order they came.
#[derive(Debug, Default)]
struct Wakers {
    next: u64,
    /// By ascending number. What was taken back leaves a gap.
    waiting: Vec<(u64, Option<Waker>)>,
    /// How many are no gaps.
    count: usize,
}

impl Wakers {
    fn add(&mut self, waker: Waker) -> WakerId {
        let id = self.next;
        self.next += 1;
        self.waiting.push((id, Some(waker)));
        self.count += 1;
        WakerId(id)
    }

    fn remove(&mut self, id: WakerId) -> Option<Waker> {
        let place = self.waiting.binary_search_by_key(&id.0, |(id, _)| *id).ok()?;
        let waker = self.waiting[place].1.take()?;
        self.count -= 1;
        // Gaps are closed once they are the greater part: each costs one step more, on average.
        if self.waiting.len() > 2 * self.count {
            self.waiting.retain(|(_, waker)| waker.is_some());
        }
        Some(waker)
    }
}

/// In the epoch word: somebody has observed it since it was last advanced.
const OBSERVED: u32 = 1;

/// An epoch word and a count of those who watch it; see the [module](self).
///
/// ```
/// use strandline_core::Notification;
///
/// let changed = Notification::new(None);
/// let seen = changed.observe();
/// assert!(!changed.changed_since(seen));
/// changed.signal_if_observed();
/// assert!(changed.changed_since(seen));
/// // A stale observation never waits.
/// assert!(changed.begin_wait(seen).is_none());
/// ```
pub struct Notification {
    epoch: EpochWord,
    /// Sleeping threads, watchers and registered wakers, or those about to be.
    observers: EpochWord,
    /// Registered wakers alone, or those about to be: while there are none, no signal takes the lock.
    registered: EpochWord,
    wakers: Mutex<Wakers>,
    wake: Option<Arc<dyn Wake>>,
}

impl Notification {
    /// A notification whose sleeping threads `wake` wakes; `None` when no thread ever sleeps on it.
    #[must_use]
    pub fn new(wake: Option<Arc<dyn Wake>>) -> Self {
        Self {
            epoch: EpochWord::new(0),
            observers: EpochWord::new(0),
            registered: EpochWord::new(0),
            wakers: Mutex::new(Wakers::default()),
            wake,
        }
    }

    /// What there is to see now. Take it before looking at the state that the signals are about.
    ///
    /// Cost: an atomic operation if nobody has observed since the last signal, a load otherwise.
    #[inline]
    #[must_use]
    pub fn observe(&self) -> Observation {
        let now = self.epoch.load(Ordering::Acquire);
        // What a signal must not miss is that it is observed: so the word itself says so.
        let now = if now & OBSERVED == 0 {
            let before = self.epoch.fetch_or(OBSERVED, Ordering::SeqCst);
            seq_cst_for_loom();
            before | OBSERVED
        } else {
            now
        };
        Observation(now)
    }

    /// Whether there was a signal since.
    #[inline]
    #[must_use]
    pub fn changed_since(&self, seen: Observation) -> bool {
        self.epoch.load(Ordering::Acquire) != seen.0
    }

    /// What wakes the sleeping threads, as given to [`new`](Self::new).
    #[must_use]
    pub const fn host_wake(&self) -> Option<&Arc<dyn Wake>> {
        self.wake.as_ref()
    }

    /// Advances the epoch and wakes all, whether or not anyone is known to observe.
    pub fn signal(&self) {
        self.advance();
        self.wake_observers();
    }

    /// Advances the epoch, and wakes all if anyone observes.
    ///
    /// Cost: one atomic addition and one load when no one does.
    ///
    /// As long as no waker is [registered](Self::register) it takes no lock and allocates nothing, so
    /// it may be called from a signal handler if the host's [`Wake`] may.
    #[inline]
    pub fn signal_if_observed(&self) {
        if self.advance() {
            self.wake_observers();
        }
    }

    /// Advances the epoch and wakes all if anyone observes, else changes nothing. For signals that are many and seldom waited for:
    /// who waits must count as an observer before looking at the state, by [`watch`](Self::watch).
    ///
    /// Cost: one load when no one does.
    #[cfg(feature = "hosted")]
    #[inline]
    pub fn signal_if_watched(&self) {
        // The state was changed before, by a sequentially consistent write; see the module on why that is enough.
        if self.observers.load(Ordering::SeqCst) != 0 {
            self.signal();
        }
    }

    /// [`signal_if_observed`](Self::signal_if_observed), unless nobody has [observed](Self::observe) since the last signal: then
    /// there is nobody to whom it would say anything. Whoever observes after this looks at the state after it.
    ///
    /// Cost: a load when nobody has.
    #[inline(always)]
    pub(crate) fn signal_if_awaited(&self) {
        seq_cst_for_loom();
        if self.epoch.load(Ordering::SeqCst) & OBSERVED != 0 {
            self.signal_awaited();
        }
    }

    #[cold]
    #[inline(never)]
    fn signal_awaited(&self) {
        // One addition that also clears the mark. If another signal comes between, it is as good as this one: it is later
        // than what this one is about.
        let now = self.epoch.load(Ordering::SeqCst);
        let next = now.wrapping_add(OBSERVED);
        if now & OBSERVED != 0
            && self.epoch.compare_exchange(now, next, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        {
            seq_cst_for_loom();
            if self.observers.load(Ordering::SeqCst) != 0 {
                self.wake_observers();
            }
        }
    }

    /// Advances the epoch and says whether anyone observes. Wraps around. The mark stays.
    #[inline]
    fn advance(&self) -> bool {
        self.epoch.fetch_add(2 * OBSERVED, Ordering::SeqCst);
        seq_cst_for_loom();
        self.observers.load(Ordering::SeqCst) != 0
    }

    #[cold]
    fn wake_observers(&self) {
        if let Some(wake) = &self.wake {
            wake.wake_all(&self.epoch);
        }
        // Read after the epoch was advanced, and written before `enter` reads the epoch: the same
        // argument as for the observers. A waker that is missed here has seen the new epoch.
        if self.registered.load(Ordering::SeqCst) == 0 {
            return;
        }
        // Wakers are foreign code: call them with the lock released.
        let waiting = {
            let mut wakers = self.wakers.lock();
            let count = core::mem::take(&mut wakers.count);
            if count != 0 {
                self.leave(count);
                self.registered.fetch_sub(count as u32, Ordering::Relaxed);
            }
            core::mem::take(&mut wakers.waiting)
        };
        for (_, waker) in waiting {
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Counts one more observer, unless there was a signal since `seen`: then nothing changes.
    fn enter(&self, seen: Observation) -> bool {
        self.observers.fetch_add(1, Ordering::SeqCst);
        seq_cst_for_loom();
        let fresh = self.epoch.load(Ordering::SeqCst) == seen.0;
        if !fresh {
            self.leave(1);
        }
        fresh
    }

    /// Counts `count` observers less. A signaler that still sees them wakes in vain, no worse.
    fn leave(&self, count: usize) {
        // The count fits: each of them added 1 to a 32-bit word before.
        self.observers.fetch_sub(count as u32, Ordering::Relaxed);
    }

    /// Begins a wait for a thread that is going to sleep, or says `None` when there was a signal
    /// since `seen`. From here until the [`Waiting`] is dropped every signal calls the host's
    /// [`Wake`].
    #[must_use]
    pub fn begin_wait(&self, seen: Observation) -> Option<Waiting<'_>> {
        // Lazily: a `Waiting` that is made in vain would be counted out when dropped.
        self.enter(seen).then(|| Waiting { notification: self, seen })
    }

    /// Counts a watcher among the observers until the [`Watching`] is dropped: from here on every
    /// signal calls the host's [`Wake`]. For event loops that wait by means of that, without a thread.
    ///
    /// A signal from before may have gone unnoticed: compare with
    /// [`changed_since`](Self::changed_since) *after* this call, and after whatever the [`Wake`] needs
    /// to reach the watcher.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use strandline_core::Notification;
    ///
    /// let changed = Arc::new(Notification::new(None));
    /// let seen = changed.observe();
    /// let watching = changed.watch();
    /// assert!(!watching.notification().changed_since(seen));
    /// ```
    pub fn watch(self: &Arc<Self>) -> Watching {
        self.observers.fetch_add(1, Ordering::SeqCst);
        seq_cst_for_loom();
        Watching { notification: Arc::clone(self) }
    }

    /// Has `waker` called once, by the next signal, from the thread that signals; `None`, with the
    /// waker dropped, when there was a signal since `seen`. For event loops and futures, which
    /// wait without a thread. Cost: logarithmic in the number of wakers, and a lock.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::task::Waker;
    /// use strandline_core::Notification;
    ///
    /// let changed = Notification::new(None);
    /// let id = changed.register(changed.observe(), Waker::noop().clone()).unwrap();
    /// assert!(changed.unregister(id), "no signal came before");
    ///
    /// let id = changed.register(changed.observe(), Waker::noop().clone()).unwrap();
    /// changed.signal_if_observed();
    /// assert!(!changed.unregister(id), "the signal came first and called it");
    /// ```
    #[must_use]
    pub fn register(&self, seen: Observation, waker: Waker) -> Option<WakerId> {
        let mut wakers = self.wakers.lock();
        // Entered with the lock held: a signaler that sees the observer waits for the waker to be
        // there, and one that does not see it makes this read the new epoch.
        self.registered.fetch_add(1, Ordering::SeqCst);
        if !self.enter(seen) {
            self.registered.fetch_sub(1, Ordering::Relaxed);
            drop(wakers);
            return None;
        }
        Some(wakers.add(waker))
    }

    /// Takes a waker back. True when it had not been called and never will be; false when a signal
    /// came first.
    pub fn unregister(&self, id: WakerId) -> bool {
        let removed = {
            let mut wakers = self.wakers.lock();
            let removed = wakers.remove(id);
            if removed.is_some() {
                self.leave(1);
                self.registered.fetch_sub(1, Ordering::Relaxed);
            }
            removed
        };
        // Dropping a waker runs foreign code too, so it happens here, after the lock.
        removed.is_some()
    }

    /// A future that ends at the first signal after `seen`; dropping it takes its waker back.
    ///
    /// ```
    /// use core::task::{Context, Poll, Waker};
    /// use strandline_core::Notification;
    ///
    /// let changed = Notification::new(None);
    /// let mut signal = Box::pin(changed.changed(changed.observe()));
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert_eq!(signal.as_mut().poll(&mut context), Poll::Pending);
    /// changed.signal_if_observed();
    /// assert_eq!(signal.as_mut().poll(&mut context), Poll::Ready(()));
    /// ```
    pub const fn changed(&self, seen: Observation) -> Changed<'_> {
        Changed { notification: self, seen, registered: None }
    }
}

impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification")
            .field("epoch", &self.epoch)
            .field("observers", &self.observers)
            .finish_non_exhaustive()
    }
}

/// A thread's wait on a [`Notification`], counted among its observers until dropped.
///
/// A host sleeps in a loop while [`word`](Self::word) holds [`expected`](Self::expected), or while
/// [`changed`](Self::changed) is false where it has no futex:
///
/// ```
/// use std::sync::{Arc, Condvar, Mutex};
/// use strandline_core::notification::{EpochWord, Notification, Wake};
///
/// #[derive(Default)]
/// struct Parking(Mutex<()>, Condvar);
///
/// impl Wake for Parking {
///     fn wake_all(&self, _word: &EpochWord) {
///         // Taking the lock makes sure that no one is between its check and its sleep.
///         drop(self.0.lock().unwrap());
///         self.1.notify_all();
///     }
/// }
///
/// let parking = Arc::new(Parking::default());
/// let freed = Notification::new(Some(parking.clone()));
/// let seen = freed.observe();
/// std::thread::scope(|scope| {
///     scope.spawn(|| freed.signal_if_observed());
///     if let Some(wait) = freed.begin_wait(seen) {
///         let guard = parking.0.lock().unwrap();
///         let _guard = parking.1.wait_while(guard, |()| !wait.changed()).unwrap();
///     }
/// });
/// assert!(freed.changed_since(seen));
/// ```
#[derive(Debug)]
#[must_use = "the wait ends when this is dropped"]
pub struct Waiting<'a> {
    notification: &'a Notification,
    seen: Observation,
}

impl<'a> Waiting<'a> {
    /// Whether there was a signal since the observation.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.notification.changed_since(self.seen)
    }

    /// The epoch word, to sleep on.
    #[must_use]
    pub const fn word(&self) -> &'a EpochWord {
        &self.notification.epoch
    }

    /// The value of the word while there was no signal.
    #[must_use]
    pub const fn expected(&self) -> u32 {
        self.seen.0
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.notification.leave(1);
    }
}

/// A watcher of a [`Notification`], counted among its observers until dropped; from
/// [`Notification::watch`].
#[derive(Debug)]
#[must_use = "the watch ends when this is dropped"]
pub struct Watching {
    notification: Arc<Notification>,
}

impl Watching {
    /// What is watched.
    #[must_use]
    pub const fn notification(&self) -> &Arc<Notification> {
        &self.notification
    }

    /// The epoch word: what the host's [`Wake`] is called with.
    #[must_use]
    pub fn word(&self) -> &EpochWord {
        &self.notification.epoch
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.notification.leave(1);
    }
}

/// The future of [`Notification::changed`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Changed<'a> {
    notification: &'a Notification,
    seen: Observation,
    registered: Option<WakerId>,
}

impl Changed<'_> {
    fn unregister(&mut self) {
        if let Some(id) = self.registered.take() {
            self.notification.unregister(id);
        }
    }
}

impl Future for Changed<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // A task may come back with another waker: the last one counts.
        self.unregister();
        self.registered = self.notification.register(self.seen, context.waker().clone());
        if self.registered.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        self.unregister();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn observers(notification: &Notification) -> u32 {
        notification.observers.load(Ordering::Relaxed)
    }

    #[test]
    fn every_observer_is_counted_in_once_and_out_once() {
        let notification = Notification::new(None);
        let stale = notification.observe();
        notification.signal();
        assert!(notification.begin_wait(stale).is_none());
        assert!(notification.register(stale, Waker::noop().clone()).is_none());
        assert_eq!(observers(&notification), 0);

        let seen = notification.observe();
        let wait = notification.begin_wait(seen);
        let id = notification.register(seen, Waker::noop().clone());
        let other = notification.register(seen, Waker::noop().clone());
        assert_eq!(observers(&notification), 3);
        assert!(id.is_some_and(|id| notification.unregister(id) && !notification.unregister(id)));
        assert_eq!(observers(&notification), 2);
        notification.signal_if_observed();
        assert_eq!(observers(&notification), 1);
        assert!(other.is_some_and(|id| !notification.unregister(id)));
        drop(wait);
        assert_eq!(observers(&notification), 0);
    }
}
