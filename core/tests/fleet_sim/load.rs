//! What processes do with lent memory: ask for it, put work on it, share it, give it back before the work is done.

use crate::oracle::{Grant, Verdict};
use crate::plant::Plant;
use crate::process::{Block, Gate, Intent, Process, Queue, Work};
use crate::world::{Event, MS, PLACES, World};
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use strandline_core::fleet::message::{Answer, Ask, Lease, Op, OwnedDeath, Refusal, Source};
use strandline_core::fleet::remote::Piece;
use strandline_core::fleet::{MemberEvent, Names};
use strandline_core::{Domain, Frontier, Merge, Progress};

/// Whether work may begin, as far as its process knows.
enum May {
    Begin,
    Wait,
    Skip,
}

fn join(into: &mut Frontier, other: &Frontier) {
    assert_eq!(into.merge(other.as_ref()), Merge::Done);
}

impl World {
    /// Hears what has happened, and sends what there is to say.
    pub(crate) fn pump(&mut self, place: usize) -> Verdict {
        self.flush(place);
        while let Some(event) = self.processes[place].member.poll_event() {
            match event {
                MemberEvent::Joined => self.joined(place),
                MemberEvent::Answered { call, answers } => {
                    let intents = self.processes[place].calls.remove(&call);
                    let intents = intents.ok_or("an answer to no call")?;
                    for (intent, answer) in intents.into_iter().zip(answers) {
                        self.answered(place, intent, answer)?;
                    }
                }
                MemberEvent::Moved => self.hit("told of free memory"),
                MemberEvent::PeerGone { .. } => self.hit("told of a member that is gone"),
                MemberEvent::Over(_) => self.kill(place),
                _ => {}
            }
            if !self.processes[place].is_alive {
                return Ok(());
            }
        }
        self.submit(place)?;
        self.flush(place);
        Ok(())
    }

    fn joined(&mut self, place: usize) {
        let process = &mut self.processes[place];
        process.run = process.member.who().unwrap().incarnation;
        for ordinal in 0..2 {
            let axis = process.member.register(Domain::Queue, ordinal << 24).unwrap();
            self.oracle.reach(process.run, axis, 0);
            let works = VecDeque::new();
            process.queues.push(Queue { axis, submitted: 0, works, is_busy: false });
        }
        self.hit("joined");
    }

    fn answered(&mut self, place: usize, intent: Intent, answer: Answer) -> Verdict {
        let run = self.processes[place].run;
        match (intent, answer) {
            (Intent::Acquire(asked), Answer::Ready { lease, source }) => {
                let after = match source {
                    Source::Dominance => asked,
                    Source::Fresh | Source::Completion => Frontier::new(),
                };
                self.hit(match source {
                    Source::Fresh => "fresh",
                    Source::Dominance => "reused by dominance",
                    Source::Completion => "reused by completion",
                });
                self.got(place, run, lease, after)
            }
            (Intent::Acquire(mut after), Answer::AfterWait { lease, wait }) => {
                join(&mut after, &wait);
                self.hit("after a wait");
                self.got(place, run, lease, after)
            }
            (Intent::Acquire(_), Answer::Exhausted { .. }) => {
                self.hit("exhausted");
                Ok(())
            }
            (Intent::Acquire(_), Answer::OverBudget) => {
                self.hit("over budget");
                Ok(())
            }
            (Intent::GiveBack, Answer::Done) => Ok(()),
            (Intent::Open, Answer::Key { .. }) | (Intent::Write, Answer::Done) => Ok(()),
            // It was given back in the meantime.
            (Intent::Open, Answer::Refused { why: Refusal::UnknownReservation }) => Ok(()),
            (Intent::Write, Answer::Refused { why: Refusal::Key }) => {
                self.hit("key refused");
                Ok(())
            }
            (Intent::Share(gate, shares), answer) => {
                shares.set(shares.get() - 1);
                match answer {
                    Answer::Done => gate.set(Gate::Open),
                    Answer::Refused { why: Refusal::UnknownAxis { .. } | Refusal::TooWide } => {
                        self.hit("share refused");
                        gate.set(Gate::Skip);
                    }
                    other => return Err(format!("a share is answered {other:?}")),
                }
                // Whoever waited for that looks now.
                (0..PLACES).try_for_each(|place| self.submit(place))
            }
            (intent, answer) => Err(format!("{intent:?} is answered {answer:?}")),
        }
    }

    fn got(&mut self, place: usize, run: u64, lease: Lease, after: Frontier) -> Verdict {
        let grant = self.oracle.grant(run, lease)?;
        let (uses, shares) = (Frontier::new(), Rc::default());
        let block = Block { grant, after, uses, is_used: false, shares };
        self.processes[place].blocks.push(block);
        Ok(())
    }

    /// What a process does next.
    pub(crate) fn use_memory(&mut self, place: usize) -> Verdict {
        if self.processes[place].queues.is_empty()
            || self.processes[place].member.ending().is_some()
        {
            return Ok(());
        }
        if self.processes[place].is_leaving {
            return self.wind_up(place);
        }
        let blocks = self.processes[place].blocks.len();
        match self.dice.below(12) {
            10 if blocks > 0 => self.open(place),
            11 => self.write(place),
            0..=2 if blocks < 12 => self.ask(place),
            3..=6 if blocks > 0 => self.work(place),
            7 if blocks > 0 => self.share(place),
            8..=9 if blocks > 0 => {
                let at = self.dice.below(blocks as u64) as usize;
                self.give_back(place, at);
            }
            _ => self.ask(place),
        }
        self.pump(place)
    }

    /// What has been submitted: by this process, or by all.
    fn frontier(&mut self, place: usize) -> Frontier {
        let mut frontier = Frontier::new();
        let (own, all) = (self.dice.chance(60), self.dice.chance(30));
        let run = self.processes[place].run;
        for (other, process) in self.processes.iter().enumerate() {
            if process.run != run || !process.is_alive || !(all || own && other == place) {
                continue;
            }
            for queue in process.queues.iter().filter(|queue| queue.submitted > 0) {
                assert_eq!(frontier.advance(queue.axis, queue.submitted), Merge::Done);
            }
        }
        frontier
    }

    fn ask(&mut self, place: usize) {
        let many = self.dice.between(1, 3);
        let (mut ops, mut intents) = (Vec::new(), Vec::new());
        for _ in 0..many {
            let frontier = self.frontier(place);
            let ask = Ask {
                alignment: 1 << self.dice.below(10),
                may_wait: self.dice.chance(30),
                may_grow: self.dice.chance(60),
                frontier: frontier.clone(),
                ..Ask::new(self.dice.between(1, 14) * 256)
            };
            ops.push(Op::Acquire { ask });
            intents.push(Intent::Acquire(frontier));
        }
        self.call(place, ops, intents);
    }

    fn call(&mut self, place: usize, ops: Vec<Op>, intents: Vec<Intent>) {
        let now = self.local(place);
        let process = &mut self.processes[place];
        match process.member.call(now, ops) {
            Ok(id) => {
                process.calls.insert(id, intents);
            }
            // It knows no such axis, say: then nothing of it is done.
            Err(_) => {
                for intent in intents {
                    if let Intent::Share(gate, shares) = intent {
                        gate.set(Gate::Skip);
                        shares.set(shares.get() - 1);
                    }
                }
                self.hit("call refused");
            }
        }
    }

    /// Work on some of the blocks.
    fn work(&mut self, place: usize) {
        let (which, time) = (self.dice.below(2) as usize, self.dice.between(50_000, 4 * MS));
        let process = &mut self.processes[place];
        if process.queues[which].works.len() > 8 {
            return;
        }
        let epoch = process.queues[which].submitted + 1;
        let axis = process.queues[which].axis;
        let (mut after, mut touches) = (Frontier::new(), Vec::new());
        for _ in 0..self.dice.between(1, 3) {
            let at = self.dice.below(process.blocks.len() as u64) as usize;
            let block = &mut process.blocks[at];
            join(&mut after, &block.after);
            assert_eq!(block.uses.advance(axis, epoch), Merge::Done);
            block.is_used = true;
            touches.push(block.grant);
        }
        process.put(which, after, touches, time, Gate::Open);
    }

    /// Asks for the key to a block of which the bytes may be touched by now.
    fn open(&mut self, place: usize) {
        let process = &self.processes[place];
        let at = self.dice.below(process.blocks.len() as u64) as usize;
        let (block, tracker) = (&process.blocks[at], process.member.tracker());
        if block.after.as_ref().is_satisfied(tracker) {
            let token = block.grant.lease.token;
            self.call(place, vec![Op::Open { token }], vec![Intent::Open]);
        }
    }

    /// Writes by the owner, with a key that anybody was given: it asks neither whether it has a lease nor whether the key is good.
    fn write(&mut self, place: usize) {
        let keys = self.keys.len() as u64;
        if keys == 0 {
            return;
        }
        // Mostly one of the latest.
        let latest = if self.dice.chance(80) { keys.min(8) } else { keys };
        let back = self.dice.below(latest);
        let Some(&key) = self.keys.keys().rev().nth(back as usize) else { return };
        let piece = Piece::new(vec![1]).unwrap();
        self.call(place, vec![Op::Write { key, offset: 0, piece }], vec![Intent::Write]);
    }

    /// Another member is to touch a block, once the owner knows of it.
    fn share(&mut self, place: usize) {
        let other = self.dice.below(PLACES as u64) as usize;
        let run = self.processes[place].run;
        let there = &self.processes[other];
        let is_there =
            there.is_alive && there.run == run && !there.queues.is_empty() && !there.is_leaving;
        if other == place || !is_there || there.queues[0].works.len() > 8 {
            return;
        }
        let at = self.dice.below(self.processes[place].blocks.len() as u64) as usize;
        let time = self.dice.between(50_000, 4 * MS);
        let block = &self.processes[place].blocks[at];
        let (grant, mut after, shares) = (block.grant, block.after.clone(), block.shares.clone());
        join(&mut after, &block.uses);
        let there = &mut self.processes[other];
        let gate = there.put(0, after, vec![grant], time, Gate::Shut);
        let frontier = Frontier::from_entry(there.queues[0].axis, there.queues[0].submitted);
        if self.plant == Plant::ShareUnanswered {
            gate.set(Gate::Open);
            return;
        }
        shares.set(shares.get() + 1);
        self.hit("share");
        let op = Op::Share { token: grant.lease.token, frontier };
        self.call(place, vec![op], vec![Intent::Share(gate, shares)]);
    }

    /// Gives a block back, mostly before the work on it is done.
    fn give_back(&mut self, place: usize, at: usize) {
        let process = &mut self.processes[place];
        if process.blocks[at].shares.get() > 0 {
            return;
        }
        let Block { grant, uses, is_used, .. } = process.blocks.swap_remove(at);
        let token = grant.lease.token;
        let op = if !is_used && self.dice.chance(50) {
            Op::Cancel { token }
        } else if self.dice.chance(4) {
            Op::Release { token, death: OwnedDeath::Unknown }
        } else if uses.is_empty() || self.plant == Plant::ForgetUses {
            Op::Release { token, death: OwnedDeath::Idle }
        } else {
            Op::Release { token, death: OwnedDeath::After { frontier: uses } }
        };
        if matches!(op, Op::Release { death: OwnedDeath::Unknown, .. }) {
            self.hit("released with an unknown death");
        }
        self.call(place, vec![op], vec![Intent::GiveBack]);
    }

    /// Gives everything back, waits, and goes.
    fn wind_up(&mut self, place: usize) -> Verdict {
        let is_quiet = self.processes[place].blocks.iter().all(|block| block.shares.get() == 0);
        if is_quiet && !self.processes[place].blocks.is_empty() {
            self.give_back(place, 0);
        }
        let process = &self.processes[place];
        if process.blocks.is_empty() && process.calls.is_empty() && process.is_idle() {
            if self.is_ending && process.member.unanswered() == 0 {
                self.no_orphans(place)?;
            }
            let now = self.local(place);
            self.processes[place].member.leave(now);
        }
        self.pump(place)
    }

    /// A member that has given everything back holds nothing.
    fn no_orphans(&self, place: usize) -> Verdict {
        let names = self.processes[place].member.who().unwrap().names;
        let status = self.owner.status();
        let is_its = |of: Names| of == names && self.processes[place].run == self.run;
        match status.members.iter().find(|member| is_its(member.names)) {
            Some(member)
                if member.reservations > 0
                    && member.state == strandline_core::fleet::MemberState::Live =>
            {
                Err(format!("a member holds what it was never told of: {member:?}"))
            }
            _ => Ok(()),
        }
    }

    /// What processes wait for.
    pub(crate) fn stuck(&self) -> String {
        let mut text = String::new();
        for (place, process) in self.processes.iter().enumerate().filter(|(_, p)| p.is_alive) {
            let (who, calls) = (process.member.who(), process.member.unanswered());
            let blocks = process.blocks.len();
            text += &format!("\n{place}: {who:?}, {blocks} blocks, {calls} calls");
            for queue in &process.queues {
                let Some(work) = queue.works.front() else { continue };
                let tracker = process.member.tracker();
                let entries = work.after.as_ref().entries();
                let left: Vec<_> = entries
                    .iter()
                    .filter(|entry| !tracker.has_reached(entry.axis, entry.epoch))
                    .map(|entry| {
                        format!(
                            "{} @ {}: {:?}",
                            entry.axis,
                            entry.epoch,
                            tracker.end_of(entry.axis)
                        )
                    })
                    .collect();
                text += &format!(
                    "\n  {} waits for {left:?}, {:?}, busy {}",
                    queue.axis,
                    work.gate.get(),
                    queue.is_busy
                );
            }
        }
        let members = self.owner.status().members;
        text + &format!("\n{members:?}")
    }

    fn may(&self, place: usize, work: &Work) -> May {
        match work.gate.get() {
            Gate::Shut => return May::Wait,
            Gate::Skip => return May::Skip,
            Gate::Open => {}
        }
        let process = &self.processes[place];
        let tracker = process.member.tracker();
        for entry in work.after.as_ref().entries() {
            if tracker.has_reached(entry.axis, entry.epoch) {
                continue;
            }
            return match tracker.end_of(entry.axis) {
                Ok(None) => May::Wait,
                Ok(Some(_)) => May::Skip,
                // It was never heard of, and may have gone before it was.
                Err(_) if self.is_gone(process.run, Names::of(entry.axis)) => May::Skip,
                Err(_) => May::Wait,
            };
        }
        let time = process.clock.at_most(work.time);
        if self.asks && !process.member.may_touch(self.local(place), time) {
            return May::Wait;
        }
        May::Begin
    }

    /// Hands the device what may begin.
    pub(crate) fn submit(&mut self, place: usize) -> Verdict {
        // Nothing is decided while the process is stopped.
        if !self.processes[place].is_alive || self.is_paused(place) {
            return Ok(());
        }
        for which in 0..self.processes[place].queues.len() {
            loop {
                let process = &self.processes[place];
                let queue = &process.queues[which];
                let Some(work) = queue.works.front().filter(|_| !queue.is_busy) else { break };
                let may = self.may(place, work);
                if matches!(may, May::Wait) {
                    break;
                }
                let process = &mut self.processes[place];
                let (life, run) = (process.life, process.run);
                let queue = &mut process.queues[which];
                let Some(Work { epoch, touches, time, .. }) = queue.works.pop_front() else {
                    break;
                };
                let axis = queue.axis;
                if matches!(may, May::Skip) {
                    self.oracle.reach(run, axis, epoch);
                    let _ = process.member.tracker().advance(axis, epoch);
                    self.hit("work skipped");
                    continue;
                }
                queue.is_busy = true;
                for grant in &touches {
                    self.oracle.touch(grant, "the begin of a work")?;
                }
                self.hit("work done");
                let event = Event::Done { place, life, run, queue: which, axis, epoch, touches };
                self.after(time, event);
            }
        }
        Ok(())
    }
}

impl Process {
    fn put(
        &mut self,
        which: usize,
        after: Frontier,
        touches: Vec<Grant>,
        time: u64,
        gate: Gate,
    ) -> Rc<Cell<Gate>> {
        let gate = Rc::new(Cell::new(gate));
        let queue = &mut self.queues[which];
        queue.submitted += 1;
        let epoch = queue.submitted;
        queue.works.push_back(Work { epoch, after, touches, time, gate: gate.clone() });
        gate
    }
}
