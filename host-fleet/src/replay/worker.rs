//! A worker: a process that plays the streams that fall to it, each turn when it is told to.
//!
//! ```text
//!   coordinator          turn 0 ─▶            go ─▶                end ─▶              (its standard input)
//!   worker      ◀─ ready          ◀─ asked 0        ◀─ played 0 …         ◀─ ended …   (its standard output)
//! ```

use super::player::{Bytes, Player, Seat};
use super::script::Script;
use super::{FLEET, PATIENCE, ReplayError, files};
use crate::member::MemberOptions;
use crate::pool::{Batched, RemotePool};
use crate::{FleetMember, Link};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use strandline_core::fleet::Peer;
use strandline_core::pool::Pool;
use strandline_core::{Acquire, Axis, Domain, Epoch, PoolError, Reservation};
use strandline_replay::format::ReadOptions;
use strandline_replay::session::TraceFile;

/// What a worker is told when it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) folder: PathBuf,
    pub(super) trace: PathBuf,
    /// Which it is, from 0, and of how many.
    pub(super) number: u32,
    pub(super) workers: u32,
    pub(super) streams: u32,
    /// The streams are spread over a trace of one.
    pub(super) is_spread: bool,
    pub(super) in_flight: u64,
    pub(super) lenient: bool,
}

impl Order {
    /// As arguments of a command.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let numbers = [self.number, self.workers, self.streams].map(|number| number.to_string());
        let flags = [self.is_spread, self.lenient].map(|flag| u8::from(flag).to_string());
        let paths = [&self.folder, &self.trace].map(|path| path.clone().into_os_string());
        let texts = numbers.into_iter().chain(flags).chain([self.in_flight.to_string()]);
        paths.into_iter().chain(texts.map(Into::into)).collect()
    }

    /// What [`arguments`](Self::arguments) wrote.
    pub(super) fn of(arguments: &[OsString]) -> Option<Self> {
        let [folder, trace, numbers @ ..] = arguments else { return None };
        let number = |text: &OsString| text.to_str()?.parse::<u64>().ok();
        let numbers = numbers.iter().map(number).collect::<Option<Vec<u64>>>()?;
        let &[number, workers, streams, is_spread, lenient, in_flight] = &numbers[..] else {
            return None;
        };
        Some(Self {
            folder: folder.into(),
            trace: trace.into(),
            number: number.try_into().ok()?,
            workers: workers.try_into().ok().filter(|&workers| workers > 0)?,
            streams: streams.try_into().ok()?,
            is_spread: is_spread == 1,
            lenient: lenient == 1,
            in_flight,
        })
    }
}

/// At the owner's pool.
pub(super) struct Lent {
    pub(super) member: FleetMember,
    pub(super) pool: Arc<RemotePool>,
    /// The owner's slabs are mapped.
    pub(super) is_mapped: bool,
}

impl Seat for Lent {
    fn register(&self, stream: u32) -> Result<Axis, ReplayError> {
        let axis = self.member.register(Domain::Host, stream.into());
        axis.map_err(|error| ReplayError::Worker(error.to_string()))
    }

    fn batch(&self, batch: Vec<Batched>) -> Result<Vec<Result<Acquire, PoolError>>, PoolError> {
        self.pool.batch(batch)
    }

    fn bytes(&self, reservation: &Reservation) -> Result<Bytes, ReplayError> {
        if !self.is_mapped {
            let address = self.pool.address(reservation);
            let address = address.map_err(|error| ReplayError::Worker(error.to_string()))?;
            return Ok(Bytes::Remote(self.pool.clone(), address));
        }
        let bytes = self.pool.map(reservation);
        bytes.map(Bytes::Mapped).map_err(|error| ReplayError::Worker(error.to_string()))
    }

    fn advance(&self, axis: Axis, epoch: Epoch) -> Result<(), ReplayError> {
        let advanced = self.member.advance(axis, epoch);
        advanced.map_err(|error| ReplayError::Worker(error.to_string()))
    }

    fn peak(&self) -> u64 {
        self.pool.stats().peak_reserved_bytes
    }
}

/// Plays what it is told to on standard input, until it is told that the end has come, or nothing more.
///
/// # Errors
/// [`ReplayError`].
pub fn work(arguments: &[OsString]) -> Result<(), ReplayError> {
    let wrong = || ReplayError::Options("a worker is started by `replay`, not by hand".into());
    let order = Order::of(arguments).ok_or_else(wrong)?;
    let (link, slabs) = files(&order.folder);
    let mut options = MemberOptions::new(FLEET, Link::new(link), Peer(u64::from(order.number) + 1));
    options.local = Some(slabs);
    options.axes = 1024.max(2 * order.streams as usize);
    options.patience = PATIENCE;
    let member = FleetMember::join(options, None)?;
    let names = member.names().ok_or_else(wrong)?;
    let pool = member.pool().ok_or_else(wrong)?;
    let trace = ReadOptions { lenient: order.lenient, ..ReadOptions::default() };
    let trace = TraceFile::new(&order.trace, trace);
    let mut script = Script::new(&trace, order.is_spread.then_some(order.streams))?;
    let seat = Lent { member, pool: Arc::new(pool), is_mapped: true };
    let mut player = Player::new(seat, order.in_flight, order.number, order.workers);

    let mut out = std::io::stdout().lock();
    writeln!(out, "ready {} {}", names.session, names.machine)?;
    out.flush()?;
    let mut lines = std::io::stdin().lines();
    while let Some(line) = lines.next() {
        let line = line?;
        if line == "end" {
            let wrong = player.finish()?;
            writeln!(out, "ended {wrong}")?;
            out.flush()?;
            return Ok(player.into_seat().member.leave(PATIENCE)?);
        }
        let number: u64 = line
            .strip_prefix("turn ")
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| ReplayError::Worker(format!("told {line:?}")))?;
        let turn = loop {
            let ended = || ReplayError::Worker(format!("no turn {number} in the trace"));
            let turn = script.turn()?.ok_or_else(ended)?;
            if turn.number == number {
                break turn;
            }
        };
        let grants = player.ask(&turn)?;
        writeln!(out, "asked {number}")?;
        out.flush()?;
        if lines.next().transpose()?.as_deref() != Some("go") {
            break;
        }
        let played = player.complete(&turn, grants)?;
        writeln!(out, "played {number} {}", played.encode())?;
        out.flush()?;
    }
    // Whoever told it what to do is gone.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_list_of_arguments() {
        let order = Order {
            folder: "/tmp/a b".into(),
            trace: "x.csv".into(),
            number: 1,
            workers: 4,
            streams: 8,
            is_spread: true,
            in_flight: 16,
            lenient: false,
        };
        let mut arguments = order.arguments();
        assert_eq!(Order::of(&arguments), Some(order));
        arguments.pop();
        assert_eq!(Order::of(&arguments), None);
    }
}
