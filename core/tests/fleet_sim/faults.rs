//! What breaks: processes stop and die, connections part, the owner is started again, somebody lies.

use crate::process::Clock;
use crate::world::{DRIFT, LEASE, MS, OWNER, PLACES, World, make_owner};
use strandline_core::Axis;
use strandline_core::fleet::message::{Message, Who};
use strandline_core::fleet::{Names, Peer};

impl World {
    pub(crate) fn break_something(&mut self) {
        let who = self.dice.below(PLACES as u64 + 1) as usize;
        let time = match self.dice.below(4) {
            0 => self.dice.between(LEASE, 3 * LEASE),
            _ => self.dice.between(MS, LEASE / 2),
        };
        match self.dice.below(100) {
            0..=14 => {
                self.paused[who] = self.now + time;
                self.hit(if time > LEASE { "pause beyond the lease" } else { "pause" });
            }
            15..=34 => {
                let other = self.dice.below(PLACES as u64 + 1) as usize;
                self.parted.insert((who.min(other), who.max(other)), self.now + time);
            }
            35..=42 if who != OWNER => {
                self.kill(who);
                self.hit("kill");
                // The connection tells, or it does not.
                if self.dice.chance(50)
                    && let Some(names) = self.owner.member_of(Peer(who as u64))
                {
                    self.owner.fail(names);
                }
            }
            43..=45 => {
                // A suspicion that may be wrong.
                if let Some(names) = self.owner.member_of(Peer(who as u64)) {
                    self.owner.fail(names);
                }
            }
            46 if self.dice.chance(40) => self.restart_owner(),
            47..=60 => self.forge(who),
            61..=64 => {
                let bytes = (0..self.dice.below(40)).map(|_| self.dice.next() as u8).collect();
                self.hit("garbage");
                self.send(who.min(PLACES - 1), OWNER, bytes);
            }
            65..=66 => {
                self.hit("oversized");
                self.send(who.min(PLACES - 1), OWNER, vec![1; 9 << 10]);
            }
            67..=72 if who != OWNER => {
                let process = &mut self.processes[who];
                if process.is_alive && process.member.who().is_some() {
                    process.is_leaving = true;
                    self.hit("leave");
                }
            }
            _ => {}
        }
    }

    fn restart_owner(&mut self) {
        self.hit("owner restarted");
        self.run += 1;
        (self.owner, self.pool) = make_owner(self.run, self.fencing, &self.written);
        self.owner_clock = Clock::draw(&mut self.dice, DRIFT);
        // Its reservations are of other memory; whoever is stopped is not its business any more.
        self.paused[OWNER] = 0;
    }

    /// Somebody speaks in another's name.
    fn forge(&mut self, from: usize) {
        let records: Vec<_> =
            self.seated.range((self.run, Names { session: 0, machine: 0 })..).collect();
        let Some(((_, names), (place, _))) =
            records.get(self.dice.below(records.len().max(1) as u64) as usize)
        else {
            return;
        };
        let (names, from) = (*names, from.min(PLACES - 1));
        if *place == from {
            return;
        }
        let who = Who { incarnation: self.run, names };
        let message = match self.dice.below(3) {
            0 => Message::Leave { who },
            1 => Message::Renew { who, number: u64::MAX },
            _ => {
                // Its own name, another's axis: a future that has not come.
                let own = self.processes[from].member.who().unwrap_or(who);
                let axis =
                    Axis::queue(0, 0).with_session(names.session).with_machine(names.machine);
                let entry = strandline_core::Entry { axis, epoch: 1 << 40 };
                let reached = strandline_core::fleet::message::Reached(vec![entry]);
                Message::Progress { who: own, reached }
            }
        };
        self.hit("forged");
        let bytes = message.encode();
        if matches!(message, Message::Progress { .. }) {
            for other in 0..PLACES {
                if other != from {
                    self.send(from, other, bytes.clone());
                }
            }
        }
        self.send(from, OWNER, bytes);
    }
}
