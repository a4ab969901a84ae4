//! The owner's oracle: hears what members ask and what the owner answers, and judges whether a byte was handed out too early.
//!
//! ```text
//!   members ── messages ──▶ owner ── answers ──▶ members
//!                  ╰──────────┬──────────╯
//!                           watch: ranges that begin and end, epochs that members say, who is fenced
//! ```
//!
//! It reads the same bytes as the members and shares nothing with the pool, the owner or its tracker: how far an axis is, it has from the
//! member's own messages, and who is gone from what is told to the host. A reservation that is canceled ends without a death, so what its bytes
//! waited for before is not judged again.
//!
//! Cost: each message is decoded once more, and a range costs a few lookups, logarithmic in the ranges of its slab.

use std::collections::{BTreeMap, BTreeSet};
use strandline_core::fleet::message::{Answer, Ask, Lease, Message, Op, OwnedDeath, Source, Who};
use strandline_core::fleet::{Names, OwnerEvent};
use strandline_core::{Axis, Death, Entry, Epoch, Frontier, Merge, Progress, SlabId, Tracker};
use strandline_replay::oracle::{Oracle, Range, Verdict};

/// How far members say that they are; who is fenced has reached everything.
#[derive(Debug)]
struct Heard {
    reached: BTreeMap<Axis, Epoch>,
    over: BTreeSet<Names>,
    /// The owner's names, and its word on its own axes.
    own: Names,
    tracker: Tracker,
}

impl Progress for Heard {
    fn reached(&self, axis: Axis) -> Epoch {
        if self.over.contains(&Names::of(axis)) {
            return Epoch::MAX;
        }
        if Names::of(axis) == self.own {
            return self.tracker.reached(axis);
        }
        self.reached.get(&axis).copied().unwrap_or(0)
    }
}

impl Heard {
    fn unreached(&self, frontier: &Frontier) -> Frontier {
        let entries = frontier.as_ref().entries().iter().copied();
        let left = entries.filter(|entry| !self.has_reached(entry.axis, entry.epoch));
        Frontier::from_entries(left).unwrap_or_default()
    }
}

/// A reservation that is out.
#[derive(Debug)]
struct Out {
    names: Names,
    range: Range,
    /// What the bytes go on waiting for whatever the member says: what it counted on, and what others were to do.
    counted: Frontier,
}

/// What was found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What is wrong, if anything is.
    pub verdict: Verdict,
    /// Reservations that were handed out.
    pub watched: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Watch {
    oracle: Oracle,
    heard: Heard,
    out: BTreeMap<u64, Out>,
    /// Calls of each member that were judged: copies of them were done once.
    judged: BTreeMap<Names, BTreeSet<u64>>,
    watched: u64,
}

impl Watch {
    /// Of an owner of these names, whose own axes this tracker has.
    pub(crate) fn new(own: Names, tracker: Tracker) -> Self {
        let (reached, over) = (BTreeMap::new(), BTreeSet::new());
        Self {
            oracle: Oracle::new(),
            heard: Heard { reached, over, own, tracker },
            out: BTreeMap::new(),
            judged: BTreeMap::new(),
            watched: 0,
        }
    }

    /// A message has come, and was answered, or was not.
    pub(crate) fn hear(&mut self, message: &[u8], answer: Option<&[u8]>) {
        let Ok(Message::Call { who, id, floor, ops }) = Message::decode(message) else { return };
        let Some(Ok(Message::Reply { answers, .. })) = answer.map(Message::decode) else { return };
        let judged = self.judged.entry(who.names).or_default();
        *judged = judged.split_off(&floor);
        if judged.insert(id) {
            for (op, answer) in ops.into_iter().zip(answers) {
                self.judge(who.names, op, answer);
            }
        }
        self.oracle.tidy(&self.heard);
    }

    /// A member's word on how far it is, which the owner took.
    pub(crate) fn hear_progress(&mut self, message: &[u8], is_its: impl Fn(Who) -> bool) {
        let Ok(Message::Progress { who, reached }) = Message::decode(message) else { return };
        if !is_its(who) {
            return;
        }
        for Entry { axis, epoch } in reached.0 {
            if Names::of(axis) == who.names {
                let latest = self.heard.reached.entry(axis).or_default();
                *latest = epoch.max(*latest);
            }
        }
    }

    /// What the owner tells its host.
    pub(crate) fn take(&mut self, event: &OwnerEvent) {
        if let OwnerEvent::Over { names, .. } = *event {
            self.heard.over.insert(names);
            self.heard.reached.retain(|axis, _| Names::of(*axis) != names);
            self.judged.remove(&names);
            let back: Vec<_> = self.out.extract_if(.., |_, out| out.names == names).collect();
            for (_, out) in back {
                self.end(&out, Frontier::new());
            }
        }
    }

    pub(crate) fn found(&self) -> Found {
        Found { verdict: self.oracle.verdict(), watched: self.watched }
    }

    fn judge(&mut self, names: Names, op: Op, answer: Answer) {
        match (op, answer) {
            (Op::Acquire { ask }, Answer::Ready { lease, source }) => {
                let counted = match source {
                    Source::Dominance => ask.frontier.clone(),
                    Source::Fresh | Source::Completion => Frontier::new(),
                };
                self.begin(names, &ask, lease, counted);
            }
            (Op::Acquire { mut ask }, Answer::AfterWait { lease, wait }) => {
                let _ = ask.frontier.merge(wait.as_ref());
                let counted = ask.frontier.clone();
                self.begin(names, &ask, lease, counted);
            }
            // It is out until its member is over.
            (Op::Release { death: OwnedDeath::Unknown, .. }, Answer::Done) => {}
            (Op::Release { token, death }, Answer::Done) => {
                let frontier = match death {
                    OwnedDeath::After { frontier } => frontier,
                    OwnedDeath::Idle | OwnedDeath::Unknown => Frontier::new(),
                };
                if let Some(out) = self.out.remove(&token) {
                    self.end(&out, frontier);
                }
            }
            (Op::Cancel { token }, Answer::Done) => {
                if let Some(mut out) = self.out.remove(&token) {
                    out.counted = Frontier::new();
                    self.end(&out, Frontier::new());
                }
            }
            (Op::Share { token, frontier }, Answer::Done) => {
                if let Some(out) = self.out.get_mut(&token) {
                    let _ = out.counted.merge(frontier.as_ref());
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, names: Names, ask: &Ask, lease: Lease, counted: Frontier) {
        let Lease { token, slab, offset, size } = lease;
        let range = Range { slab: SlabId::from_bits(slab), offset, size };
        self.oracle.begin(range, ask.frontier.as_ref(), &self.heard);
        self.watched += 1;
        self.out.insert(token, Out { names, range, counted });
    }

    fn end(&mut self, out: &Out, mut death: Frontier) {
        if death.merge(self.heard.unreached(&out.counted).as_ref()) != Merge::Done {
            // More than a frontier holds: nobody may have the bytes any more.
            self.oracle.end(out.range, Death::Unknown);
            return;
        }
        let left = self.heard.unreached(&death);
        self.oracle.end(out.range, Death::After(left.as_ref()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Names = Names { session: 0, machine: 0 };
    const A: Who = Who { incarnation: 1, names: Names { session: 0, machine: 1 } };
    const B: Who = Who { incarnation: 1, names: Names { session: 0, machine: 2 } };

    fn axis(of: Who) -> Axis {
        Axis::host(0).with_session(of.names.session).with_machine(of.names.machine)
    }

    struct Script {
        watch: Watch,
        calls: u64,
    }

    impl Script {
        fn new() -> Self {
            Self { watch: Watch::new(OWN, Tracker::new(8)), calls: 0 }
        }

        fn call(&mut self, who: Who, op: Op, answer: Answer) -> (Vec<u8>, Vec<u8>) {
            self.calls += 1;
            let (id, floor) = (self.calls, self.calls);
            let call = Message::Call { who, id, floor, ops: vec![op] }.encode();
            let reply = Message::Reply { who, id, answers: vec![answer] }.encode();
            self.watch.hear(&call, Some(&reply));
            (call, reply)
        }

        /// Bytes 0 to 100 are handed out, by this name.
        fn lend(
            &mut self,
            who: Who,
            token: u64,
            after: &Frontier,
            source: Source,
        ) -> (Vec<u8>, Vec<u8>) {
            let lease = Lease { token, slab: 0, offset: 0, size: 100 };
            let ask = Ask { frontier: after.clone(), ..Ask::new(100) };
            self.call(who, Op::Acquire { ask }, Answer::Ready { lease, source })
        }

        fn release(&mut self, who: Who, token: u64, frontier: Frontier) {
            let death = OwnedDeath::After { frontier };
            self.call(who, Op::Release { token, death }, Answer::Done);
        }

        fn reach(&mut self, who: Who, epoch: u64) {
            let reached = vec![Entry { axis: axis(who), epoch }];
            let reached = strandline_core::fleet::message::Reached(reached);
            let message = Message::Progress { who, reached }.encode();
            self.watch.hear_progress(&message, |of| of == who);
        }

        fn early(&self) -> u64 {
            self.watch.found().verdict.early_reuse
        }
    }

    #[test]
    fn bytes_that_are_handed_out_too_early_are_found() {
        for (epoch, early) in [(4, 1), (5, 0)] {
            let mut script = Script::new();
            script.lend(A, 1, &Frontier::new(), Source::Fresh);
            script.release(A, 1, Frontier::from_entry(axis(A), 5));
            script.reach(A, epoch);
            script.lend(B, 2, &Frontier::new(), Source::Completion);
            assert_eq!(script.early(), early, "{epoch}");
        }
    }

    #[test]
    fn bytes_that_are_out_twice_are_found_and_copies_of_a_call_are_not_two() {
        let mut script = Script::new();
        let (call, reply) = script.lend(A, 1, &Frontier::new(), Source::Fresh);
        script.watch.hear(&call, Some(&reply));
        assert_eq!(script.watch.found().verdict.overlaps, 0);
        script.lend(B, 2, &Frontier::new(), Source::Fresh);
        assert_eq!(script.watch.found().verdict.overlaps, 1);
    }

    /// B came after A's work and says nothing of it; C comes after neither.
    #[test]
    fn what_a_member_counted_on_is_part_of_the_death() {
        let mut script = Script::new();
        let after = Frontier::from_entry(axis(A), 5);
        script.lend(A, 1, &Frontier::new(), Source::Fresh);
        script.release(A, 1, after.clone());
        script.lend(B, 2, &after, Source::Dominance);
        assert_eq!(script.early(), 0);
        script.release(B, 2, Frontier::new());
        script.lend(B, 3, &Frontier::new(), Source::Completion);
        assert_eq!(script.early(), 1);
    }

    #[test]
    fn failed_is_not_reached_and_over_is() {
        let over = |names| OwnerEvent::Over {
            names,
            peer: strandline_core::fleet::Peer(1),
            reservations: 1,
            bytes: 100,
        };
        for is_over in [false, true] {
            let mut script = Script::new();
            script.lend(A, 1, &Frontier::new(), Source::Fresh);
            script.release(A, 1, Frontier::from_entry(axis(A), 5));
            if is_over {
                script.watch.take(&over(A.names));
            }
            script.lend(B, 2, &Frontier::new(), Source::Completion);
            assert_eq!(script.early(), u64::from(!is_over));
        }
        // What it held comes back with it.
        let mut script = Script::new();
        script.lend(A, 1, &Frontier::new(), Source::Fresh);
        script.watch.take(&over(A.names));
        script.lend(B, 2, &Frontier::new(), Source::Completion);
        assert!(script.watch.found().verdict.is_sound());
    }
}
