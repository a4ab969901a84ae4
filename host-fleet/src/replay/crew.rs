//! The owner and its workers: started, told what to do, and looked after until all of their bytes are back.

use super::player::Played;
use super::script::Turn;
use super::worker::Order;
use super::{FLEET, Fallen, PATIENCE, Plan, ReplayError, Table, Worked, files};
use crate::owner::{Fence, OwnerOptions};
use crate::picture::Picture;
use crate::{FleetOwner, Link};
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use strandline_core::fleet::{Cause, Limits, Names, OwnerEvent, Peer};
use strandline_core::{Pool, Progress, Tracker};
use strandline_host_native::MmapSlabProvider;

/// A folder that only this user can look into, for sockets.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        let name = format!("strandline-{}-{:x}", std::process::id(), crate::clock::of_day());
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Worker {
    child: Child,
    to: ChildStdin,
    names: Option<Names>,
    /// It has said that it has come to its end.
    ended: bool,
    /// Nothing more comes from it.
    silent: bool,
    worked: Worked,
}

/// What comes from the workers: which one, and a line, or that there will be no more.
type Heard = (usize, Option<String>);

/// See the [module](self).
pub(super) struct Crew {
    // Before the folder, in which its sockets are.
    owner: FleetOwner,
    tracker: Tracker,
    workers: Vec<Worker>,
    heard: Receiver<Heard>,
    /// Why members failed, and those that are over.
    failed: HashMap<Names, Cause>,
    over: HashSet<Names>,
    fallen: Fallen,
    folder: Folder,
}

impl Drop for Crew {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            let _ = worker.child.kill();
            let _ = worker.child.wait();
        }
    }
}

impl Crew {
    /// Opens a fleet over `pool`, and starts workers of this `program`. Blocks until all have joined.
    pub(super) fn start(
        plan: &Plan,
        program: &Path,
        pool: Arc<dyn Pool>,
        tracker: Tracker,
        memory: Arc<MmapSlabProvider>,
    ) -> Result<Self, ReplayError> {
        let folder = Folder::new()?;
        let (endpoint, slabs) = files(&folder.0);
        let mut options =
            OwnerOptions::new(FLEET, Link::new(endpoint), Names { session: 0, machine: 0 });
        options.fence = Fence::Kill;
        options.oracle = true;
        options.local = Some(slabs);
        let workers = plan.options.workers;
        options.config.limits =
            Limits { members: workers as usize, axes: plan.streams as usize, ..Limits::default() };
        let owner = FleetOwner::open(options, pool, tracker.clone(), Some(memory))?;
        let (said, heard) = channel();
        let mut crew = Self {
            owner,
            tracker,
            workers: Vec::new(),
            heard,
            failed: HashMap::new(),
            over: HashSet::new(),
            fallen: Fallen::default(),
            folder,
        };
        for number in 0..workers {
            let order = Order {
                folder: crew.folder.0.clone(),
                trace: plan.options.trace.clone(),
                number,
                workers,
                streams: plan.streams,
                is_spread: plan.spread.is_some(),
                in_flight: plan.options.in_flight,
                lenient: plan.options.lenient,
            };
            let worker = Worker::start(program, &order, said.clone())?;
            crew.workers.push(worker);
        }
        let begin = Instant::now();
        while crew.workers.iter().any(|worker| worker.names.is_none()) {
            let heard = crew.heard.recv_timeout(Duration::from_millis(100));
            match heard {
                Ok((who, Some(line))) => {
                    let names = ready(&line).ok_or_else(|| astray(who, &line))?;
                    let worker = &mut crew.workers[who];
                    (worker.names, worker.worked.names) = (Some(names), Some(names));
                }
                Ok((who, None)) => {
                    let what = format!("worker {who} ended before it had joined");
                    return Err(ReplayError::Worker(what));
                }
                Err(_) if begin.elapsed() < PATIENCE => {}
                Err(_) => return Err(ReplayError::Worker("the workers did not join".into())),
            }
        }
        Ok(crew)
    }

    /// Takes up what has happened to members; the worker that has failed, if one has.
    fn look(&mut self) -> Option<usize> {
        let mut lost = None;
        for event in self.owner.events() {
            match event {
                OwnerEvent::Failed { names, peer: Peer(number), cause } => {
                    self.failed.insert(names, cause);
                    if cause != Cause::Left {
                        self.fallen.members += 1;
                        lost =
                            usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
                    }
                }
                OwnerEvent::Over { names, reservations, bytes, .. } => {
                    self.over.insert(names);
                    if self.failed.get(&names).is_some_and(|&cause| cause != Cause::Left) {
                        self.fallen.fenced += 1;
                        self.fallen.reservations += reservations as u64;
                        self.fallen.bytes += bytes;
                    }
                }
                _ => {}
            }
        }
        lost
    }

    /// Tells a worker something; what it says to that, without the words it begins with.
    fn tell(&mut self, of: usize, what: &str, begin: &str) -> Result<String, Trouble> {
        let to = &mut self.workers[of].to;
        writeln!(to, "{what}").and_then(|()| to.flush()).map_err(|_| Trouble::Lost(of))?;
        let line = self.hear(of)?;
        Ok(line.strip_prefix(begin).ok_or_else(|| astray(of, &line))?.to_owned())
    }

    /// Has a turn played.
    fn try_play(&mut self, turn: &Turn, settle: &dyn Fn()) -> Result<Played, Trouble> {
        let (of, number) = (turn.stream as usize % self.workers.len(), turn.number);
        self.tell(of, &format!("turn {number}"), &format!("asked {number}"))?;
        settle();
        let said = self.tell(of, "go", &format!("played {number} "))?;
        let played = Played::decode(&said).ok_or_else(|| astray(of, &said))?;
        self.await_progress(&played)?;
        self.workers[of].worked.add(turn.stream, &played);
        Ok(played)
    }

    /// The next line of a worker.
    fn hear(&mut self, of: usize) -> Result<String, Trouble> {
        loop {
            match self.heard.recv_timeout(Duration::from_millis(20)) {
                Ok((who, Some(line))) if who == of => return Ok(line),
                Ok((who, Some(line))) => return Err(astray(who, &line).into()),
                Ok((who, None)) => {
                    self.workers[who].silent = true;
                    return Err(Trouble::Lost(who));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Trouble::Lost(of)),
                Err(RecvTimeoutError::Timeout) => self.look().map_or(Ok(()), Trouble::lost)?,
            }
        }
    }

    /// Waits until the owner has heard how far a stream is. A message that was lost is sent again, so this ends.
    fn await_progress(&mut self, played: &Played) -> Result<(), Trouble> {
        let mut looks = 0_u32;
        while !self.tracker.has_reached(played.axis, played.reached) {
            looks += 1;
            if looks < 200 {
                std::thread::yield_now();
                continue;
            }
            std::thread::sleep(Duration::from_micros(50));
            if looks.is_multiple_of(100) {
                self.look().map_or(Ok(()), Trouble::lost)?;
            }
        }
        Ok(())
    }

    /// The workers do what is in flight and leave; how many stamps were found to be gone, and what became of those who were lost.
    pub(super) fn finish(&mut self) -> Result<(u64, Fallen), ReplayError> {
        let mut wrong = 0;
        for worker in &mut self.workers {
            // One that has ended hears nothing.
            let _ = writeln!(worker.to, "end").and_then(|()| worker.to.flush());
        }
        let begin = Instant::now();
        while self.workers.iter().any(|worker| !worker.silent) {
            match self.heard.recv_timeout(Duration::from_millis(20)) {
                Ok((who, Some(line))) => {
                    // One that was taken for lost may still have played.
                    if let Some(many) = line.strip_prefix("ended ") {
                        wrong += many.parse::<u64>().map_err(|_| astray(who, &line))?;
                        self.workers[who].ended = true;
                    }
                }
                Ok((who, None)) => self.workers[who].silent = true,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if begin.elapsed() > PATIENCE => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.look();
                }
            }
        }
        // What became of them is told a little after they are members no more.
        while !self.workers.iter().all(|worker| worker.is_over(&self.over))
            && begin.elapsed() < 2 * PATIENCE
        {
            self.look();
            std::thread::sleep(Duration::from_millis(1));
        }
        for (number, worker) in self.workers.iter().enumerate() {
            if !worker.ended && !self.fallen.workers.contains(&(number as u32)) {
                self.fallen.workers.push(number as u32);
            }
        }
        Ok((wrong, self.fallen.clone()))
    }

    /// The fleet now.
    pub(super) fn picture(&self) -> Picture {
        self.owner.picture()
    }

    /// What each worker did.
    pub(super) fn worked(&self) -> Vec<Worked> {
        self.workers.iter().map(|worker| worker.worked.clone()).collect()
    }
}

/// Why a worker did not do what it was told.
enum Trouble {
    /// This one is lost; not always the one that was told.
    Lost(usize),
    Error(ReplayError),
}

impl Trouble {
    fn lost<T>(worker: usize) -> Result<T, Self> {
        Err(Self::Lost(worker))
    }
}

impl From<ReplayError> for Trouble {
    fn from(error: ReplayError) -> Self {
        Self::Error(error)
    }
}

impl Table for Crew {
    fn play(&mut self, turn: &Turn, settle: &dyn Fn()) -> Result<Option<Played>, ReplayError> {
        match self.try_play(turn, settle) {
            Ok(played) => Ok(Some(played)),
            Err(Trouble::Lost(worker)) => {
                self.fallen.workers.push(worker as u32);
                Ok(None)
            }
            Err(Trouble::Error(error)) => Err(error),
        }
    }
}

impl Worker {
    /// Everything that it had is back.
    fn is_over(&self, over: &HashSet<Names>) -> bool {
        self.names.is_none_or(|names| over.contains(&names))
    }

    fn start(program: &Path, order: &Order, said: Sender<Heard>) -> Result<Self, ReplayError> {
        let mut child = Command::new(program)
            .arg("work")
            .args(order.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let number = order.number as usize;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(ReplayError::Worker("no pipes".into()));
        };
        let listen = move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                if said.send((number, Some(line))).is_err() {
                    return;
                }
            }
            let _ = said.send((number, None));
        };
        std::thread::Builder::new().name("strandline worker".into()).spawn(listen)?;
        let worked = Worked { worker: order.number, ..Worked::default() };
        Ok(Self { child, to, names: None, ended: false, silent: false, worked })
    }
}

fn ready(line: &str) -> Option<Names> {
    let (session, machine) = line.strip_prefix("ready ")?.split_once(' ')?;
    Some(Names { session: session.parse().ok()?, machine: machine.parse().ok()? })
}

fn astray(worker: usize, line: &str) -> ReplayError {
    let line: String = line.chars().take(80).collect();
    ReplayError::Worker(format!("worker {worker} says {line:?}"))
}
