//! This process plays some streams of a trace as one member of a fleet that is there already.
//!
//! Nobody hands out turns: each stream goes on as fast as it can, members ask at the same time, and what the pool answers depends on
//! that. So totals are not those of [`replay`](super::replay()), and a request may be refused that would have been served in the trace's order. The
//! owner's oracle, if it has one, watches all members.
//!
//! Where the owner's slabs are not mapped, bytes go by [messages](crate::transfer): the first 64 of each block are stamped, and looked at before
//! the block is given back.

use super::player::Player;
use super::report::headline;
use super::script::Script;
use super::worker::Lent;
use super::{ReplayError, check_streams};
use crate::member::MemberOptions;
use crate::picture::Picture;
use crate::{FleetMember, Link, owner};
use core::fmt;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_core::fleet::{Names, Peer};
use strandline_core::{Pool, PoolError};
use strandline_replay::format::ReadOptions;
use strandline_replay::session::TraceFile;
use strandline_replay::size::Bytes;

/// How a part of a trace is played.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    /// The trace.
    pub trace: PathBuf,
    /// The fleet's name.
    pub fleet: String,
    /// Where its owner is.
    pub link: Link,
    /// This process's number.
    pub peer: u64,
    /// Which streams of the trace are played here.
    pub play: BTreeSet<u32>,
    /// A trace of one stream is spread over this many.
    pub streams: Option<u32>,
    /// Operations by which completion trails submission on each stream.
    pub in_flight: u64,
    /// The socket of the owner's slabs. Without, bytes go by messages.
    pub local: Option<PathBuf>,
    /// Reads past what a trace that was cut from a longer run may show.
    pub lenient: bool,
    /// How long to wait for the owner.
    pub patience: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Part {
    /// The trace's file.
    pub trace: String,
    /// Its streams, and those that were played here.
    pub streams: (u32, BTreeSet<u32>),
    /// The member that this was.
    pub names: Names,
    /// The last event that was played, and how many there are.
    pub played: (u64, u64),
    /// Blocks asked for.
    pub requests: u64,
    /// Of those, refused.
    pub refused: u64,
    /// Blocks whose stamp was gone.
    pub wrong: u64,
    /// The most bytes that were lent to it at once.
    pub peak: u64,
    /// From the first turn to the last.
    pub seconds: f64,
    /// It was a member no more before the end.
    pub is_lost: bool,
    /// The fleet when the last turn was played; `None` if the owner did not say.
    pub fleet: Option<Picture>,
}

/// Joins, plays, and leaves.
///
/// # Errors
/// [`ReplayError`]. That this member was lost, or a request refused, is in the [`Part`].
pub fn join(options: &JoinOptions) -> Result<Part, ReplayError> {
    let read = ReadOptions { lenient: options.lenient, ..ReadOptions::default() };
    let trace = TraceFile::new(&options.trace, read);
    let (scan, streams, spread) = check_streams(&trace, options.streams, 1)?;
    if options.play.is_empty() {
        return Err(ReplayError::Options("no stream is to be played".into()));
    }
    if let Some(&beyond) = options.play.iter().find(|&&stream| stream >= streams) {
        let what = format!("there is no stream {beyond}: the trace has {streams}, counted from 0");
        return Err(ReplayError::Options(what));
    }
    let mut joining = MemberOptions::new(&options.fleet, options.link.clone(), Peer(options.peer));
    joining.local.clone_from(&options.local);
    joining.axes = 16_384;
    joining.patience = options.patience;
    let member = FleetMember::join(joining, None)?;
    let lost = || ReplayError::Worker("the fleet ended while it was joined".into());
    let (names, pool) = (member.names().ok_or_else(lost)?, member.pool().ok_or_else(lost)?);
    let pool = Arc::new(pool);
    let seat = Lent { member, pool: pool.clone(), is_mapped: options.local.is_some() };
    // No two members have the same names, so no two blocks have the same tag.
    let number = u32::from(names.session) << 8 | u32::from(names.machine);
    let mut player = Player::new(seat, options.in_flight, number, 1 << 16);
    let mut part = Part {
        trace: options.trace.display().to_string(),
        streams: (streams, options.play.clone()),
        names,
        played: (0, scan.totals.events),
        requests: 0,
        refused: 0,
        wrong: 0,
        peak: 0,
        seconds: 0.0,
        is_lost: false,
        fleet: None,
    };
    let begin = Instant::now();
    let played = part.play(&mut player, Script::new(&trace, spread)?);
    part.seconds = begin.elapsed().as_secs_f64();
    part.fleet = owner::status(&options.fleet, &options.link, options.patience).ok();
    let ended = played.and_then(|()| player.finish()).map(|wrong| part.wrong += wrong);
    part.peak = pool.stats().peak_reserved_bytes;
    let member = player.into_seat().member;
    if ended.is_err() && member.ending().is_some() {
        part.is_lost = true;
        return Ok(part);
    }
    match ended {
        Err(ReplayError::Pool(PoolError::Lost)) => part.is_lost = true,
        ended => {
            ended?;
            part.is_lost = member.leave(options.patience).is_err();
        }
    }
    Ok(part)
}

impl Part {
    fn play(
        &mut self,
        player: &mut Player<Lent>,
        mut script: Script<'_>,
    ) -> Result<(), ReplayError> {
        while let Some(turn) = script.turn()? {
            if !self.streams.1.contains(&turn.stream) {
                continue;
            }
            let grants = player.ask(&turn)?;
            self.requests += grants.len() as u64;
            self.refused += grants.iter().filter(|grant| grant.is_none()).count() as u64;
            self.wrong += player.complete(&turn, grants)?.wrong;
            self.played.0 = turn.event;
        }
        Ok(())
    }

    /// No byte was in danger, as the stamps and the owner's oracle say.
    fn is_sound(&self) -> bool {
        self.wrong == 0 && self.fleet.as_ref().is_none_or(Picture::is_sound)
    }

    /// 0 when every request was served and no byte was in danger, 1 when not, 3 when this member was lost.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match (self.is_lost, self.is_sound() && self.refused == 0) {
            (true, _) => 3,
            (false, true) => 0,
            (false, false) => 1,
        }
    }

    /// What the report begins with.
    #[must_use]
    pub fn headline(&self) -> String {
        let lost =
            self.is_lost.then(|| format!("this member was lost after event {}", self.played.0));
        headline(self.is_sound(), lost, self.refused, self.requests)
    }

    /// The report as one object. Numbers are bytes where the key does not say otherwise.
    #[must_use]
    pub fn to_json(&self) -> String {
        let fleet = self.fleet.as_ref().and_then(|fleet| serde_json::to_value(fleet).ok());
        json!({
            "ok": self.exit_code() == 0,
            "verdict": self.headline(),
            "trace": {
                "file": self.trace,
                "events": self.played.1,
                "played": self.played.0,
                "streams": self.streams.0,
                "streams_played": self.streams.1,
            },
            "member": {
                "names": self.names.to_string(),
                "requests": self.requests,
                "refused": self.refused,
                "corruptions": self.wrong,
                "peak_bytes": self.peak,
                "lost": self.is_lost,
            },
            "seconds": self.seconds,
            "fleet": fleet.unwrap_or(Value::Null),
        })
        .to_string()
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "verdict    {}", self.headline())?;
        let streams: Vec<_> = self.streams.1.iter().map(u32::to_string).collect();
        writeln!(
            f,
            "trace      {}: stream {} of {}, up to event {} of {}",
            self.trace,
            streams.join(", "),
            self.streams.0,
            self.played.0,
            self.played.1
        )?;
        writeln!(
            f,
            "member     {}: {} requests, {} refused, {} corruptions, {} at peak, in {:.2} s",
            self.names,
            self.requests,
            self.refused,
            self.wrong,
            Bytes(self.peak),
            self.seconds
        )?;
        match &self.fleet {
            Some(fleet) => write!(f, "{fleet}"),
            None => writeln!(f, "fleet      the owner did not say"),
        }
    }
}
