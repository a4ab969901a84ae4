//! The fleet, for people and for programs: members, axes, lag, bytes lent, in doubt, fenced.
//!
//! ```text
//!   fleet      2 members, 5 axes; 96.00 MiB lent, 32.00 MiB in doubt; 1 over, of them 1 fenced with 8.00 MiB
//!   member   peer  state     axes       lag         lent   waited for
//!   0/2         2  live         4    0.12 s    96.00 MiB          0 B  ███████████████░░░░░
//!   0/3         3  in doubt     1   10.31 s    32.00 MiB          0 B  █████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒  its lease is over
//! ```

mod html;

use crate::Found;
use core::fmt;
use serde::{Deserialize, Serialize};
use strandline_core::fleet::{Counters, MemberState, MemberStatus, OwnerStatus};
use strandline_replay::size::Bytes;

/// A member that is live or in doubt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its names, as `session/machine`.
    pub names: String,
    /// Its peer's number.
    pub peer: u64,
    /// `live`, or `in doubt: ` and why.
    pub state: String,
    /// Its axes.
    pub axes: usize,
    /// Nanoseconds since its latest renewal.
    pub lag_ns: u64,
    /// Reservations.
    pub reservations: usize,
    /// Their bytes.
    pub held: u64,
    /// Bytes that it released and that are waited for.
    pub pending: u64,
}

/// Messages that were not simply done: [`Counters`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the words of `Counters`, which has them")]
pub struct Messages {
    pub malformed: u64,
    pub oversized: u64,
    pub forged: u64,
    pub returned: u64,
    pub repeated: u64,
    pub replayed: u64,
    pub flooded: u64,
    pub crowded: u64,
    pub keys_refused: u64,
    pub joins_refused: u64,
}

/// The pool, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSeen {
    /// Handed out.
    pub reserved: u64,
    /// Given back and waited for.
    pub pending: u64,
    /// Free.
    pub free: u64,
    /// Of slabs.
    pub committed: u64,
}

/// What the owner's oracle found: [`Found`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OracleSeen {
    /// Ranges that were handed out while they were another's.
    pub overlaps: u64,
    /// Ranges that were handed out before their last use was over.
    pub early_reuse: u64,
    /// Ranges that were looked at.
    pub watched: u64,
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Members that are live or in doubt, by their names.
    pub members: Vec<Seen>,
    /// Bytes that live members hold.
    pub lent: u64,
    /// Bytes that failed members held.
    pub in_doubt: u64,
    /// Members that are over.
    pub over: u64,
    /// Of those, fenced after they had failed.
    pub fenced: u64,
    /// Bytes that came back with their fences.
    pub fenced_bytes: u64,
    /// How many can join yet.
    pub names_left: usize,
    /// Messages.
    pub messages: Messages,
    /// The pool.
    pub pool: PoolSeen,
    /// The oracle, if there is one.
    pub oracle: Option<OracleSeen>,
}

impl Picture {
    pub(crate) fn new(status: &OwnerStatus, found: Option<Found>) -> Self {
        let member = |member: &MemberStatus| Seen {
            names: member.names.to_string(),
            peer: member.peer.0,
            state: match member.state {
                MemberState::Live => "live".to_owned(),
                MemberState::Failed { cause, .. } => format!("in doubt: {cause}"),
            },
            axes: member.axes,
            lag_ns: member.lag,
            reservations: member.reservations,
            held: member.held,
            pending: member.pending,
        };
        let (Counters { malformed, oversized, forged, .. }, pool) = (status.counters, &status.pool);
        Self {
            members: status.members.iter().map(member).collect(),
            lent: status.lent,
            in_doubt: status.in_doubt,
            over: status.over,
            fenced: status.fenced,
            fenced_bytes: status.fenced_bytes,
            names_left: status.names_left,
            messages: Messages {
                malformed,
                oversized,
                forged,
                returned: status.counters.returned,
                repeated: status.counters.repeated,
                replayed: status.counters.replayed,
                flooded: status.counters.flooded,
                crowded: status.counters.crowded,
                keys_refused: status.counters.keys_refused,
                joins_refused: status.counters.joins_refused,
            },
            pool: PoolSeen {
                reserved: pool.reserved_bytes,
                pending: pool.pending_bytes,
                free: pool.free_bytes,
                committed: pool.committed_bytes,
            },
            oracle: found.map(|found| OracleSeen {
                overlaps: found.verdict.overlaps,
                early_reuse: found.verdict.early_reuse,
                watched: found.watched,
            }),
        }
    }

    /// As one object. Numbers are bytes where the key does not say otherwise.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("numbers and texts"))
    }

    /// What [`to_json`](Self::to_json) wrote.
    #[must_use]
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// As a page of its own that loads itself again after so many seconds: live as long as the file is written again.
    #[must_use]
    pub fn to_html(&self, title: &str, seconds: u64) -> String {
        html::page(self, title, seconds)
    }

    /// Whether no byte was in danger, as far as somebody looked.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.oracle.as_ref().is_none_or(|oracle| oracle.overlaps == 0 && oracle.early_reuse == 0)
    }

    fn headline(&self) -> String {
        let axes: usize = self.members.iter().map(|member| member.axes).sum();
        let many = |number: usize, what: &str| match number {
            1 => format!("1 {what}"),
            number => format!("{number} {what}s"),
        };
        let mut text = format!(
            "{}, {}; {} lent, {} in doubt; {} over, of them {} fenced",
            many(self.members.len(), "member"),
            if axes == 1 { "1 axis".to_owned() } else { format!("{axes} axes") },
            Bytes(self.lent),
            Bytes(self.in_doubt),
            self.over,
            self.fenced
        );
        if self.fenced > 0 {
            text += &format!(" with {}", Bytes(self.fenced_bytes));
        }
        text
    }

    fn verdict(&self) -> String {
        match &self.oracle {
            None => "does not watch".into(),
            Some(OracleSeen { overlaps, early_reuse, watched }) => format!(
                "{}: {overlaps} overlaps, {early_reuse} early reuses in {watched} blocks",
                if self.is_sound() { "sound" } else { "UNSOUND" }
            ),
        }
    }

    /// What was not simply done.
    fn odd_messages(&self) -> Vec<(&'static str, u64)> {
        let Messages { malformed, oversized, forged, returned, repeated, .. } = self.messages;
        let Messages { replayed, flooded, crowded, keys_refused, joins_refused, .. } =
            self.messages;
        let all = [
            ("malformed", malformed),
            ("oversized", oversized),
            ("forged", forged),
            ("of members that are none any more", returned),
            ("repeated", repeated),
            ("replayed", replayed),
            ("beyond the window", flooded),
            ("axes too many", crowded),
            ("keys refused", keys_refused),
            ("joins refused", joins_refused),
        ];
        all.into_iter().filter(|(_, many)| *many > 0).collect()
    }

    /// Of the slabs' bytes, in so many parts: what a member holds, and what it released that is waited for.
    fn parts(&self, member: &Seen, of: u64) -> (u64, u64) {
        let part = |bytes: u64| {
            let all = u128::from(self.pool.committed.max(1));
            let rounded = (u128::from(bytes) * u128::from(of) + all / 2) / all;
            // What is there is seen.
            (rounded as u64).max(u64::from(bytes > 0)).min(of)
        };
        let held = part(member.held);
        (held, part(member.pending).min(of - held))
    }
}

impl Seen {
    fn is_live(&self) -> bool {
        self.state == "live"
    }

    /// The state in two words at most, and why.
    fn words(&self) -> (&str, &str) {
        self.state.split_once(": ").unwrap_or((&self.state, ""))
    }

    fn lag(&self) -> String {
        format!("{:.2} s", self.lag_ns as f64 / 1e9)
    }
}

/// Bytes held, waited for, and of others or nobody.
const BAR: [&str; 3] = ["█", "▒", "░"];
const WIDTH: u64 = 20;

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "fleet      {}", self.headline())?;
        writeln!(f, "oracle     {}", self.verdict())?;
        let PoolSeen { reserved, pending, free, committed } = self.pool;
        writeln!(
            f,
            "pool       {} reserved, {} waited for, {} free, of {}",
            Bytes(reserved),
            Bytes(pending),
            Bytes(free),
            Bytes(committed)
        )?;
        let odd = self.odd_messages();
        if !odd.is_empty() {
            let odd: Vec<_> = odd.iter().map(|(what, many)| format!("{many} {what}")).collect();
            writeln!(f, "messages   {}", odd.join(", "))?;
        }
        if !self.members.is_empty() {
            writeln!(f, "\nmember    peer  state      axes        lag         lent   waited for")?;
        }
        for member in &self.members {
            let (held, pending) = self.parts(member, WIDTH);
            let (state, why) = member.words();
            let bar = [held, pending, WIDTH - held - pending];
            let bar: String =
                BAR.iter().zip(bar).map(|(sign, many)| sign.repeat(many as usize)).collect();
            let line = format!(
                "{:<8} {:>5}  {state:<8} {:>6} {:>10} {:>12} {:>12}  {bar}  {why}",
                member.names,
                member.peer,
                member.axes,
                member.lag(),
                Bytes(member.held).to_string(),
                Bytes(member.pending).to_string(),
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
