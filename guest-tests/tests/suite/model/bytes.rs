//! The byte map: whose each byte is, and which operations that were submitted are still to touch it.
//!
//! ```text
//!   bytes   0 ─────────── 256 ─────────── 512
//!   live    tenant 1, grant 7             host, grant 9
//!   uses    tenant 0, grant 4, queue@3 ◀── submitted, not reached: whoever gets these bytes comes after it
//! ```
//!
//! # Laws
//! - **Granted** bytes are nobody else's. Of every operation that is still to touch them, under an earlier grant, it is one of the
//!   new owner's own that he is ordered after, or one of the host's that he is ordered after; never another tenant's.
//! - **Watched**: no operation under a later grant is reached before all under earlier ones that touch the same bytes.

use std::collections::BTreeMap;

/// What is ordered before something: the last epoch of each axis.
pub(super) type Clock = BTreeMap<u64, u64>;

pub(super) fn join(clock: &mut Clock, other: &Clock) {
    for (&axis, &epoch) in other {
        let known = clock.entry(axis).or_default();
        *known = epoch.max(*known);
    }
}

/// Bytes of a pool's slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) pool: u64,
    pub(super) slab: u64,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Span {
    fn meets(&self, other: &Self) -> bool {
        (self.pool, self.slab) == (other.pool, other.slab)
            && self.from < other.to
            && other.from < self.to
    }

    pub(super) const fn len(&self) -> u64 {
        self.to - self.from
    }

    /// A part of it.
    pub(super) const fn part(&self, offset: u64, len: u64) -> Self {
        Self { from: self.from + offset, to: self.from + offset + len, ..*self }
    }
}

/// Who has bytes: a number that no other tenant of the program has.
pub(super) type Owner = usize;
/// The host itself.
pub(super) const HOST: Owner = usize::MAX;

#[derive(Clone, Copy, Debug)]
struct Touch {
    span: Span,
    owner: Owner,
    grant: u64,
    axis: u64,
    epoch: u64,
}

#[derive(Clone, Copy, Debug)]
struct Grant {
    span: Span,
    owner: Owner,
    grant: u64,
}

/// What an owner is ordered after when bytes are granted.
pub(super) struct Knows<'a> {
    pub(super) clock: &'a Clock,
    /// The pool may have added a wait that nobody sees: only that no other tenant is waited for can be told.
    pub(super) unseen: bool,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Map {
    live: Vec<Grant>,
    /// Given back, and not granted again.
    released: Vec<Grant>,
    touches: Vec<Touch>,
    grants: u64,
    /// What each operation is ordered after, itself included.
    clocks: BTreeMap<u64, BTreeMap<u64, Clock>>,
    /// Grants of bytes that operations were still to touch.
    pub(super) contended: u64,
}

impl Map {
    /// What is ordered before these entries, themselves included.
    pub(super) fn clock_of(&self, entries: impl IntoIterator<Item = (u64, u64)>) -> Clock {
        let mut clock = Clock::new();
        for (axis, epoch) in entries {
            let known = self
                .clocks
                .get(&axis)
                .and_then(|epochs| epochs.range(..=epoch).next_back().map(|(_, clock)| clock));
            join(&mut clock, known.unwrap_or(&Clock::new()));
            join(&mut clock, &Clock::from([(axis, epoch)]));
        }
        clock
    }

    /// An operation was submitted.
    pub(super) fn submitted(&mut self, axis: u64, epoch: u64, after: &Clock) {
        let mut clock = self.clock_of([(axis, epoch)]);
        join(&mut clock, after);
        self.clocks.entry(axis).or_default().insert(epoch, clock);
    }

    /// The last epoch that was submitted on each axis.
    pub(super) fn last(&self) -> Clock {
        let last = |(&axis, epochs): (&u64, &BTreeMap<u64, Clock>)| {
            Some((axis, *epochs.last_key_value()?.0))
        };
        self.clocks.iter().filter_map(last).collect()
    }

    /// It touches bytes.
    pub(super) fn touch(
        &mut self,
        owner: Owner,
        grant: u64,
        span: Span,
        (axis, epoch): (u64, u64),
    ) {
        self.touches.push(Touch { span, owner, grant, axis, epoch });
    }

    /// Bytes are handed out.
    ///
    /// # Errors
    /// They may not be.
    pub(super) fn grant(
        &mut self,
        owner: Owner,
        span: Span,
        knows: &Knows<'_>,
        reached: &impl Fn(u64) -> u64,
    ) -> Result<u64, String> {
        if let Some(other) = self.live.iter().find(|other| other.span.meets(&span)) {
            return Err(format!("{span:?} for {owner}: it is {other:?}"));
        }
        let pending = self.touches.iter().filter(|touch| touch.span.meets(&span));
        let mut contended = false;
        for touch in pending.filter(|touch| reached(touch.axis) < touch.epoch) {
            contended = true;
            let covered = knows.clock.get(&touch.axis).is_some_and(|&epoch| epoch >= touch.epoch);
            let may_be = touch.owner == owner || touch.owner == HOST;
            if !may_be || !(covered || knows.unseen) {
                return Err(format!(
                    "{span:?} for {owner}, which knows {:?}: {touch:?} is to come",
                    knows.clock
                ));
            }
        }
        self.contended += u64::from(contended);
        self.released.retain(|released| !released.span.meets(&span));
        self.grants += 1;
        self.live.push(Grant { span, owner, grant: self.grants });
        Ok(self.grants)
    }

    /// Bytes are given back.
    pub(super) fn release(&mut self, grant: u64) {
        if let Some(at) = self.live.iter().position(|live| live.grant == grant) {
            self.released.push(self.live.swap_remove(at));
        }
    }

    /// An owner is gone, with all that it had.
    pub(super) fn gone(&mut self, owner: Owner) {
        self.live.retain(|live| live.owner != owner);
        self.released.retain(|released| released.owner != owner);
    }

    /// Bytes that nobody but this owner can have now: what it must be charged at least.
    pub(super) fn pinned(&self, owner: Owner, reached: &impl Fn(u64) -> u64) -> u64 {
        let of = |grant: &&Grant| grant.owner == owner;
        let live: u64 = self.live.iter().filter(of).map(|live| live.span.len()).sum();
        let is_used = |grant: &&Grant| {
            self.touches
                .iter()
                .any(|touch| touch.grant == grant.grant && reached(touch.axis) < touch.epoch)
        };
        let released = self.released.iter().filter(of).filter(is_used);
        live + released.map(|released| released.span.len()).sum::<u64>()
    }

    /// Looks at what has been reached, and forgets that.
    ///
    /// # Errors
    /// An operation was reached before another that came before it.
    pub(super) fn watch(&mut self, reached: &impl Fn(u64) -> u64) -> Result<(), String> {
        let axes = || self.touches.iter().map(|touch| touch.axis);
        let first: Clock = axes().map(|axis| (axis, reached(axis))).collect();
        // What came before was reached before, so it shows in a later look.
        let second: Clock = axes().map(|axis| (axis, reached(axis))).collect();
        let is_done = |clock: &Clock, touch: &Touch| clock[&touch.axis] >= touch.epoch;
        let to_come: Vec<&Touch> = self.touches.iter().filter(|t| !is_done(&second, t)).collect();
        for done in self.touches.iter().filter(|touch| is_done(&first, touch)) {
            let early =
                |to_come: &&&Touch| to_come.grant < done.grant && to_come.span.meets(&done.span);
            if let Some(to_come) = to_come.iter().find(early) {
                return Err(format!("{done:?} is done, and {to_come:?} is to come"));
            }
        }
        self.touches.retain(|touch| !is_done(&first, touch));
        Ok(())
    }

    /// Operations that were not reached yet.
    pub(super) fn to_come(&self) -> usize {
        self.touches.len()
    }

    /// The host has declared quiescence: what was not reached never will be.
    pub(super) fn quiesce(&mut self) {
        self.touches.clear();
    }
}
