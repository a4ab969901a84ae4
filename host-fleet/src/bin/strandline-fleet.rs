//! Lends memory of this machine to members of a fleet, says who is admitted, shows a fleet, and plays a trace on its members.

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use strandline_core::Tracker;
use strandline_core::fleet::Names;
use strandline_core::pool::PoolHost;
use strandline_host_fleet::config::{Access, FencingKind, PoolFile};
use strandline_host_fleet::link::{Admitted, Tls};
use strandline_host_fleet::owner;
use strandline_host_fleet::replay::{self, JoinOptions, ReplayError, ReplayOptions};
use strandline_host_fleet::{FleetOwner, Link, OwnerOptions};
use strandline_host_native::MmapSlabProvider;
use strandline_replay::size::Bytes;

/// A pool that several processes and machines share.
#[derive(Debug, Parser)]
#[command(name = "strandline-fleet", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lends memory of this machine, until it is ended.
    Serve(Serve),
    /// Says who may join: writes a file for `serve --access`.
    #[command(after_help = ADMIT_HELP)]
    Admit(Admit),
    /// Shows members, axes, lag, bytes lent, in doubt and fenced.
    Status(Status),
    /// Plays a trace on worker processes through one pool that this process lends them, and reports what it took; or plays some of its
    /// streams as one member of a fleet that is there.
    #[command(after_help = REPLAY_HELP)]
    Replay(Replay),
    /// A worker of `replay`.
    #[command(hide = true)]
    Work {
        #[arg(allow_hyphen_values = true)]
        order: Vec<OsString>,
    },
}

const REPLAY_HELP: &str = "\
The trace's order is kept: a stream's turn begins when the one before it is played, so the totals do not depend on --workers.
Each block is stamped, and looked at when its last operation is done, which is after it was given back.

Exit status:
  0  every request was served, no byte was in danger
  1  a request was refused, or a byte was used by two at once
  2  the trace cannot be read, or the options do not fit
  3  a worker was lost; the report says what was in doubt and came back

Examples:
  strandline-fleet replay traces/resnet50_train.csv.gz --workers 4
  strandline-fleet replay snapshot.pickle --workers 2 --streams 8 --in-flight 64
  strandline-fleet replay traces/bert_train.csv.gz --workers 2 --capacity 1.5GiB --json
  strandline-fleet replay traces/vit_infer.csv.gz --workers 0     (this process alone, for comparison)
  strandline-fleet replay traces/vit_infer.csv.gz --fleet tcp/127.0.0.1:7447 --peer 2 --streams 4 --play 1";

const ADMIT_HELP: &str = "\
Examples:
  strandline-fleet admit access.toml first                        (the least number that nobody has)
  strandline-fleet admit access.toml second --number 7 --budget 2GiB
  strandline-fleet admit access.toml second --remove
An owner that runs keeps to the file as it was when it was started.";

#[derive(Debug, Args)]
struct Replay {
    /// The trace, in any format that `strandline replay` reads.
    trace: PathBuf,
    /// Processes that play it: stream s is worker s mod N's. With 0 this process plays it, and lends nothing.
    #[arg(long, value_name = "N", default_value_t = 2)]
    workers: u32,
    /// Joins the fleet whose owner listens there, and plays only the streams of --play.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["workers", "capacity"])]
    fleet: Option<String>,
    /// This process's number in that fleet, which no other has at the same time.
    #[arg(long, value_name = "NUMBER", requires = "fleet", default_value_t = 1)]
    peer: u64,
    /// The streams that are played there, counted from 0.
    #[arg(
        long,
        value_name = "S,...",
        requires = "fleet",
        value_delimiter = ',',
        default_value = "0"
    )]
    play: Vec<u32>,
    /// The socket of the owner's slabs, on the same machine. Without, bytes go by messages.
    #[arg(long, value_name = "SOCKET", requires = "fleet")]
    local: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
    /// A trace of one stream is played on this many. Without, on one for each worker.
    #[arg(long, value_name = "M")]
    streams: Option<u32>,
    /// Operations by which completion trails submission on each stream.
    #[arg(long, value_name = "K", default_value_t = 16)]
    in_flight: u64,
    /// The most that is lent, like 512MiB. Without, room enough: what the trace has in use at once, twice and
    /// once more for each stream.
    #[arg(long, value_name = "SIZE")]
    capacity: Option<Bytes>,
    /// Reads past what a trace that was cut from a longer run may show.
    #[arg(long)]
    lenient: bool,
    /// Prints the report as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Where the owner is, and how it is reached.
#[derive(Debug, Args)]
struct Reach {
    /// Where the owner listens: tcp/127.0.0.1:7447, tls/HOST:PORT, unixsock-stream/PATH.
    endpoint: String,
    #[command(flatten)]
    trust: Trust,
}

/// The fleet's name, and who is believed.
#[derive(Debug, Args)]
struct Trust {
    /// The fleet's name.
    #[arg(long, default_value = "fleet")]
    name: String,
    /// Plain TCP may leave this machine: whoever reaches the port can join and disturb.
    #[arg(long)]
    insecure: bool,
    /// The authority's certificate (PEM).
    #[arg(long, requires_all = ["certificate", "key"])]
    authority: Option<PathBuf>,
    /// This side's certificate (PEM).
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long)]
    key: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    reach: Reach,
    /// The pool's file: kind, capacity, slab, block, budget, budgets, fencing, lease-seconds, members, axes.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["capacity", "slab", "fence", "lease"])]
    pool: Option<PathBuf>,
    /// MiB that are lent at most.
    #[arg(long, default_value_t = 1024)]
    capacity: u64,
    /// MiB of a slab.
    #[arg(long, default_value_t = 64)]
    slab: u64,
    /// The socket from which members of this machine map slabs.
    #[arg(long)]
    local: Option<PathBuf>,
    /// What makes sure that a lost member touches memory no more.
    #[arg(long, value_enum, default_value = "kill")]
    fence: FencingKind,
    /// Seconds for which a member is there after its latest word.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..86_400))]
    lease: u64,
    /// Who may join: a certificate's common name and the number that goes with it. Without any, whoever can connect.
    #[arg(long, value_name = "NAME=NUMBER", value_parser = admitted)]
    admit: Vec<Admitted>,
    /// Who may join: a file that `admit` writes.
    #[arg(long, value_name = "FILE", conflicts_with = "admit")]
    access: Option<PathBuf>,
    /// An oracle watches all members; `status` and `replay --fleet` tell what it found.
    #[arg(long)]
    oracle: bool,
}

#[derive(Debug, Args)]
struct Admit {
    /// The file; it is begun if it is not there.
    file: PathBuf,
    /// The common name of the certificate. Without, everybody who is admitted is listed.
    name: Option<String>,
    /// The number under which its holder speaks.
    #[arg(long, requires = "name")]
    number: Option<u64>,
    /// The most that is lent to it, like 2GiB.
    #[arg(long, value_name = "SIZE", requires = "name")]
    budget: Option<Bytes>,
    /// Admits it no more.
    #[arg(long, requires = "name", conflicts_with_all = ["number", "budget"])]
    remove: bool,
}

#[derive(Debug, Args)]
struct Status {
    #[command(flatten)]
    reach: Reach,
    /// Seconds to wait for the owner.
    #[arg(long, default_value_t = 5)]
    patience: u64,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
    /// Writes a page of its own to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
    /// Again after so many seconds, until it is ended; a page that is open follows.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..86_400))]
    every: Option<u64>,
}

fn admitted(text: &str) -> Result<Admitted, String> {
    let (name, number) = text.rsplit_once('=').ok_or("NAME=NUMBER is what is expected")?;
    let peer = number.parse().map_err(|_| format!("{number:?} is no number"))?;
    Ok(Admitted { common_name: name.into(), peer })
}

impl Reach {
    fn link(&self) -> Link {
        self.trust.link(&self.endpoint)
    }
}

impl Trust {
    fn link(&self, endpoint: &str) -> Link {
        if self.insecure {
            eprintln!(
                "strandline-fleet: --insecure: whoever reaches {endpoint} can join and disturb"
            );
        }
        let link = Link::new(endpoint).insecure(self.insecure);
        match (&self.authority, &self.certificate, &self.key) {
            (Some(authority), Some(certificate), Some(key)) => link.with_tls(Tls {
                authority: authority.clone(),
                certificate: certificate.clone(),
                key: key.clone(),
            }),
            _ => link,
        }
    }
}

type Failed = Box<dyn core::error::Error>;

impl Serve {
    /// The file, or what the options say.
    fn file(&self) -> Result<PoolFile, Failed> {
        if let Some(path) = &self.pool {
            return Ok(PoolFile::read(path)?);
        }
        let mut file = PoolFile::of(Bytes(self.capacity << 20));
        file.slab = Some(Bytes(self.slab << 20));
        file.lease_seconds = self.lease;
        file.fencing = self.fence;
        Ok(file)
    }
}

fn serve(serve: &Serve) -> Result<(), Failed> {
    let by_certificates = serve.reach.endpoint.starts_with("tls/");
    if !by_certificates && (!serve.admit.is_empty() || serve.access.is_some()) {
        return Err("--admit and --access are by certificates: listen at tls/".into());
    }
    let file = serve.file()?;
    let capacity = file.capacity.0;
    let memory = Arc::new(MmapSlabProvider::builder().shared(true).capacity(capacity).build()?);
    let tracker = Tracker::new(16_384);
    let pool = file.build(PoolHost::new(memory.clone(), Arc::new(tracker.clone())))?;
    let own = Names { session: 0, machine: 0 };
    let mut options = OwnerOptions::new(&serve.reach.trust.name, serve.reach.link(), own);
    file.apply(&mut options);
    options.local = serve.local.clone();
    options.oracle = serve.oracle;
    options.admitted = (!serve.admit.is_empty()).then(|| serve.admit.clone());
    if let Some(path) = &serve.access {
        Access::read(path)?.apply(&mut options);
    }
    let owner = FleetOwner::open(options, pool, tracker, Some(memory))?;
    println!("lending {} at {}", file.capacity, serve.reach.endpoint);
    loop {
        std::thread::sleep(Duration::from_millis(200));
        for event in owner.events() {
            println!("{event:?}");
        }
    }
}

fn admit(admit: &Admit) -> Result<(), Failed> {
    let mut access = Access::read_or_new(&admit.file)?;
    if let Some(name) = &admit.name {
        if admit.remove {
            access.remove(name)?;
        } else {
            access.admit(name, admit.number, admit.budget)?;
        }
        access.write(&admit.file)?;
    }
    for peer in &access.peers {
        let budget = peer.budget.map(|budget| format!(", {budget} at most")).unwrap_or_default();
        println!("{} speaks as {}{budget}", peer.name, peer.number);
    }
    Ok(())
}

fn status(status: &Status) -> Result<(), Failed> {
    let Reach { endpoint, trust } = &status.reach;
    let (link, patience) = (status.reach.link(), Duration::from_secs(status.patience));
    loop {
        let picture = owner::status(&trust.name, &link, patience)?;
        let title = format!("Fleet {} at {endpoint}", trust.name);
        match &status.html {
            Some(path) => write_page(path, &picture.to_html(&title, status.every.unwrap_or(2)))?,
            None if status.json => println!("{}", picture.to_json()),
            None => print!("{picture}"),
        }
        let Some(seconds) = status.every else { return Ok(()) };
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

/// Whoever loads the page meanwhile finds the old one or the new one.
fn write_page(path: &Path, page: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, page)?;
    std::fs::rename(&beside, path)
}

/// Prints what came of a replay.
fn tell(is_json: bool, json: &str, text: &str, code: u8) -> ExitCode {
    if is_json {
        println!("{json}");
    } else {
        print!("{text}");
    }
    code.into()
}

fn play(arguments: Replay) -> ExitCode {
    let is_json = arguments.json;
    let told = match &arguments.fleet {
        Some(endpoint) => {
            let options = JoinOptions {
                trace: arguments.trace.clone(),
                fleet: arguments.trust.name.clone(),
                link: arguments.trust.link(endpoint),
                peer: arguments.peer,
                play: arguments.play.iter().copied().collect(),
                streams: arguments.streams,
                in_flight: arguments.in_flight,
                local: arguments.local.clone(),
                lenient: arguments.lenient,
                patience: Duration::from_secs(30),
            };
            replay::join(&options)
                .map(|part| tell(is_json, &part.to_json(), &part.to_string(), part.exit_code()))
        }
        None => {
            let mut options = ReplayOptions::new(arguments.trace, arguments.workers);
            options.streams = arguments.streams;
            options.in_flight = arguments.in_flight;
            options.capacity = arguments.capacity.map(|bytes| bytes.0);
            options.lenient = arguments.lenient;
            let program = std::env::current_exe().map_err(ReplayError::Io);
            program.and_then(|program| replay::replay(&options, &program)).map(|report| {
                tell(is_json, &report.to_json(), &report.to_string(), report.exit_code())
            })
        }
    };
    told.unwrap_or_else(|error| {
        eprintln!("strandline-fleet: {error}");
        2.into()
    })
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Replay(arguments) => return play(arguments),
        Command::Work { order } => replay::work(&order).map_err(Into::into),
        Command::Serve(arguments) => serve(&arguments),
        Command::Admit(arguments) => admit(&arguments),
        Command::Status(arguments) => status(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("strandline-fleet: {error}");
            ExitCode::FAILURE
        }
    }
}
