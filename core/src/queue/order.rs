//! What is ordered after what: the timelines of the queues and the waits between them.
//!
//! ```text
//!   queue A  ──1──2──3──4──5          edges of A:  { B: (3 ▸ 7), (5 ▸ 8) }
//!                    ▲     ▲                       A@3 waits for B@7, A@5 for B@8
//!   queue B  ──…──7─┘──8──┘           the past of A@4: A@1…3, B@7, and the past of B@7
//! ```
//!
//! A queue is one timeline: an operation is ordered after all earlier ones of its queue. So of the waits
//! of a queue on another axis only the *rises* are kept, as a list in which both epochs ascend, and
//! the past of any operation is found by a binary search per axis, followed from axis to axis.
//!
//! Invariants: within a list both epochs strictly ascend; an edge whose own epoch has been reached is
//! dropped, for then everything it waited for has been reached as well.
//!
//! Cost: recording a wait is one step per entry. The past of a frontier visits each edge list that it
//! meets, a binary search each: it depends on the number of axes, not on the number of operations.

use crate::axis::{Axis, Epoch};
use crate::failure::Failure;
use crate::frontier::{Entry, Frontier, FrontierRef, INLINE_ENTRIES, MAX_ENTRIES, Merge};
use crate::progress::Progress;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// From `own` on, the queue is ordered after `other` on the list's axis.
#[derive(Clone, Copy, Debug)]
struct Rise {
    own: Epoch,
    other: Epoch,
}

/// One queue.
#[derive(Debug)]
pub(super) struct Timeline {
    pub(super) axis: Axis,
    /// The last epoch given out.
    pub(super) submitted: Epoch,
    /// Every operation up to here has all of its past submitted.
    pub(super) admitted: Epoch,
    /// By ascending axis, without the queue's own.
    rises: Vec<(Axis, VecDeque<Rise>)>,
    /// What the next operation is known to be ordered after: less than the truth at times, never more.
    known: Frontier,
}

/// A set of entries without the limit of a frontier.
#[derive(Debug, Default)]
pub(super) struct Cut(Vec<Entry>);

impl Cut {
    fn of(frontier: FrontierRef<'_>) -> Self {
        Self(frontier.entries().to_vec())
    }

    /// Raises `axis` to `epoch`; whether it was below.
    fn raise(&mut self, axis: Axis, epoch: Epoch) -> bool {
        match self.0.binary_search_by_key(&axis, |entry| entry.axis) {
            Ok(at) if self.0[at].epoch >= epoch => false,
            Ok(at) => {
                self.0[at].epoch = epoch;
                true
            }
            Err(at) => {
                self.0.insert(at, Entry::new(axis, epoch));
                true
            }
        }
    }

    fn get(&self, axis: Axis) -> Epoch {
        match self.0.binary_search_by_key(&axis, |entry| entry.axis) {
            Ok(at) => self.0[at].epoch,
            Err(_) => 0,
        }
    }
}

/// An axis that will not get to `from` any more.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) from: Epoch,
    /// The axis whose failure began it, and why.
    pub(super) origin: Axis,
    pub(super) failure: Failure,
}

/// All timelines.
#[derive(Debug, Default)]
pub(super) struct Order {
    pub(super) timelines: Vec<Timeline>,
    index: BTreeMap<Axis, usize>,
    broken: BTreeMap<Axis, Broken>,
}

impl Order {
    /// The position of the queue on `axis`.
    pub(super) fn find(&self, axis: Axis) -> Option<usize> {
        self.index.get(&axis).copied()
    }

    /// A new queue whose next operation gets epoch `reached + 1`. `None` when there is one already.
    pub(super) fn open(&mut self, axis: Axis, reached: Epoch) -> Option<usize> {
        if self.index.contains_key(&axis) {
            return None;
        }
        let position = self.timelines.len();
        self.index.insert(axis, position);
        self.timelines.push(Timeline {
            axis,
            submitted: reached,
            admitted: reached,
            rises: Vec::new(),
            known: Frontier::from_entry(axis, reached),
        });
        Some(position)
    }

    /// How `axis` broke, if it did.
    pub(super) fn broken(&self, axis: Axis) -> Option<&Broken> {
        self.broken.get(&axis)
    }

    /// The first entry that will never be reached.
    pub(super) fn broken_in(&self, frontier: FrontierRef<'_>) -> Option<&Broken> {
        if self.broken.is_empty() {
            return None;
        }
        frontier.entries().iter().find_map(|entry| {
            self.broken.get(&entry.axis).filter(|broken| broken.from <= entry.epoch)
        })
    }

    /// The first entry on a queue that has not come that far in admission.
    pub(super) fn unadmitted(&self, frontier: FrontierRef<'_>) -> Option<(usize, Epoch)> {
        frontier.entries().iter().find_map(|entry| {
            let queue = self.find(entry.axis)?;
            (self.timelines[queue].admitted < entry.epoch).then_some((queue, entry.epoch))
        })
    }

    /// The frontier with all of its past, as far as it is submitted and not yet reached.
    fn past(&self, frontier: FrontierRef<'_>) -> Cut {
        let mut cut = Cut::of(frontier);
        let mut todo = cut.0.clone();
        while let Some(Entry { axis, epoch }) = todo.pop() {
            let Some(queue) = self.find(axis) else { continue };
            for (other, rises) in &self.timelines[queue].rises {
                let known = rises.partition_point(|rise| rise.own <= epoch);
                let Some(rise) = known.checked_sub(1).map(|last| rises[last]) else { continue };
                if cut.raise(*other, rise.other) {
                    todo.push(Entry::new(*other, rise.other));
                }
            }
        }
        cut
    }

    /// The first answer about a queue and how far `frontier` and its past reach on it.
    pub(super) fn any_past<T>(
        &self,
        frontier: FrontierRef<'_>,
        mut ask: impl FnMut(usize, Epoch) -> Option<T>,
    ) -> Option<T> {
        let past = self.past(frontier);
        past.0.iter().find_map(|entry| ask(self.find(entry.axis)?, entry.epoch))
    }

    /// Whether waiting for `frontier` would make `queue`'s operation of `epoch` wait for itself.
    pub(super) fn is_cycle(&self, queue: usize, epoch: Epoch, frontier: FrontierRef<'_>) -> bool {
        self.past(frontier).get(self.timelines[queue].axis) >= epoch
    }

    /// Whether `queue`'s operation of `epoch` may wait for `frontier` too: not for itself, not for what
    /// will never come, and of every other queue not for more than up to `limit`.
    pub(super) fn may_wait(
        &self,
        queue: usize,
        epoch: Epoch,
        frontier: FrontierRef<'_>,
        limit: impl Fn(usize) -> Epoch,
    ) -> bool {
        let past = self.past(frontier);
        past.0.iter().all(|entry| {
            let broken = self.broken.get(&entry.axis);
            if broken.is_some_and(|broken| broken.from <= entry.epoch) {
                return false;
            }
            match self.find(entry.axis) {
                Some(own) if own == queue => entry.epoch < epoch,
                Some(other) => entry.epoch <= limit(other),
                None => true,
            }
        })
    }

    /// What `queue`'s next operation, waiting for `wait`, is known to be ordered after. When that does
    /// not fit in a frontier, something smaller that is as true.
    pub(super) fn knowledge(
        &self,
        queue: usize,
        wait: FrontierRef<'_>,
        progress: &dyn Progress,
    ) -> Frontier {
        let timeline = &self.timelines[queue];
        let known = timeline.known.as_ref();
        if known.dominates(wait) {
            return timeline.known.clone();
        }
        let mut past = self.past(wait);
        if past.0.len() > INLINE_ENTRIES {
            // A pool asks for progress by itself: what has been reached adds nothing to knowledge.
            past.0.retain(|entry| !progress.has_reached(entry.axis, entry.epoch));
        }
        if past.0.len() <= MAX_ENTRIES
            && let Ok(mut all) = Frontier::from_entries(past.0)
            && all.merge(known) == Merge::Done
        {
            return all;
        }
        let mut some = timeline.known.clone();
        // On overflow the queue's own knowledge is still true.
        let _ = some.merge(wait);
        some
    }

    /// Gives the next epoch of `queue` to an operation that waits for `wait`.
    pub(super) fn submit(&mut self, queue: usize, wait: FrontierRef<'_>) -> Epoch {
        let epoch = self.timelines[queue].submitted + 1;
        self.timelines[queue].submitted = epoch;
        self.wait_more(queue, epoch, wait);
        epoch
    }

    /// The operation at `epoch` is ordered after `wait`, too.
    pub(super) fn wait_more(&mut self, queue: usize, epoch: Epoch, wait: FrontierRef<'_>) {
        let timeline = &mut self.timelines[queue];
        for &entry in wait.entries() {
            if entry.axis == timeline.axis {
                continue;
            }
            let at = match timeline.rises.binary_search_by_key(&entry.axis, |(axis, _)| *axis) {
                Ok(at) => at,
                Err(at) => {
                    timeline.rises.insert(at, (entry.axis, VecDeque::new()));
                    at
                }
            };
            insert_rise(&mut timeline.rises[at].1, Rise { own: epoch, other: entry.epoch });
        }
    }

    /// All up to `epoch` has its past submitted, and what comes next in the queue is ordered after
    /// `knowledge` and `epoch`.
    pub(super) fn admit(&mut self, queue: usize, epoch: Epoch, mut knowledge: Frontier) {
        let timeline = &mut self.timelines[queue];
        timeline.admitted = epoch;
        if knowledge.advance(timeline.axis, epoch) == Merge::Done {
            timeline.known = knowledge;
        } else {
            timeline.known = Frontier::from_entry(timeline.axis, epoch);
        }
    }

    /// What comes next in the queue is ordered after `wait`.
    pub(super) fn learn(&mut self, queue: usize, wait: FrontierRef<'_>) {
        // On overflow it knows less than it could, which is safe.
        let _ = self.timelines[queue].known.merge(wait);
    }

    /// Drops what has been reached. Cost: the queues and what is dropped.
    pub(super) fn prune(&mut self, queue: usize, progress: &dyn Progress) -> Epoch {
        let timeline = &mut self.timelines[queue];
        let reached = progress.reached(timeline.axis);
        for (_, rises) in &mut timeline.rises {
            while rises.front().is_some_and(|rise| rise.own <= reached) {
                rises.pop_front();
            }
        }
        timeline.rises.retain(|(_, rises)| !rises.is_empty());
        if timeline.known.len() > INLINE_ENTRIES {
            let live = timeline.known.as_ref().entries().iter().copied();
            let live = live.filter(|entry| !progress.has_reached(entry.axis, entry.epoch));
            // Entries of a frontier, fewer of them, are a frontier; otherwise it stays as it is.
            if let Ok(known) = Frontier::from_entries(live) {
                timeline.known = known;
            }
        }
        reached
    }

    /// `axis` will not get to `from` any more. Returns the queues that break with it, with the first
    /// epoch that does, in order of position.
    ///
    /// Cost: a binary search per queue and broken axis.
    pub(super) fn fail(
        &mut self,
        axis: Axis,
        from: Epoch,
        failure: &Failure,
    ) -> Vec<(usize, Epoch)> {
        let mut hit = BTreeMap::new();
        let mut todo = Vec::new();
        let root = Broken { from, origin: axis, failure: failure.clone() };
        self.lower(axis, root.clone(), &mut todo);
        while let Some((broken, from)) = todo.pop() {
            if let Some(queue) = self.find(broken) {
                // A queue may come up more than once: the lowest epoch counts.
                let lowest = hit.entry(queue).or_insert(from);
                *lowest = from.min(*lowest);
            }
            for queue in 0..self.timelines.len() {
                let timeline = &self.timelines[queue];
                let Ok(at) = timeline.rises.binary_search_by_key(&broken, |(axis, _)| *axis) else {
                    continue;
                };
                let rises = &timeline.rises[at].1;
                let first = rises.partition_point(|rise| rise.other < from);
                if let Some(rise) = rises.get(first) {
                    let (axis, from) = (timeline.axis, rise.own);
                    self.lower(axis, Broken { from, ..root.clone() }, &mut todo);
                }
            }
        }
        hit.into_iter().collect()
    }

    /// Marks an axis broken from an epoch on, unless it is from there already.
    fn lower(&mut self, axis: Axis, broken: Broken, todo: &mut Vec<(Axis, Epoch)>) {
        let from = broken.from;
        match self.broken.get_mut(&axis) {
            Some(earlier) if earlier.from <= from => {}
            // One that reaches further back is why all from there on fails, whatever was told of the rest.
            Some(earlier) => {
                *earlier = broken;
                todo.push((axis, from));
            }
            None => {
                self.broken.insert(axis, broken);
                todo.push((axis, from));
            }
        }
    }
}

/// Keeps both epochs of the list ascending.
fn insert_rise(rises: &mut VecDeque<Rise>, rise: Rise) {
    let at = rises.partition_point(|earlier| earlier.own <= rise.own);
    if at > 0 {
        let before = &mut rises[at - 1];
        if before.other >= rise.other {
            return;
        }
        if before.own == rise.own {
            before.other = rise.other;
            drop_covered(rises, at, rise.other);
            return;
        }
    }
    drop_covered(rises, at, rise.other);
    rises.insert(at, rise);
}

/// Removes what the rise before `at` makes redundant.
fn drop_covered(rises: &mut VecDeque<Rise>, at: usize, other: Epoch) {
    let covered = rises.range(at..).take_while(|later| later.other <= other).count();
    rises.drain(at..at + covered);
}
