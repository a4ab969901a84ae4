//! Lends memory of this machine to members of a fleet, shows a fleet, and plays a trace on worker processes.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use strandline_core::Tracker;
use strandline_core::fleet::Names;
use strandline_core::pool::PoolHost;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_host_fleet::link::{Admitted, Tls};
use strandline_host_fleet::owner::{self, Fence};
use strandline_host_fleet::replay::{self, ReplayError, ReplayOptions};
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
    /// Prints who is a member and what each holds, as JSON.
    Status {
        #[command(flatten)]
        reach: Reach,
        /// Seconds to wait for the owner.
        #[arg(long, default_value_t = 5)]
        patience: u64,
    },
    /// Plays a trace on worker processes through one pool that this process lends them, and reports what it took.
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
  strandline-fleet replay traces/vit_infer.csv.gz --workers 0     (this process alone, for comparison)";

#[derive(Debug, Args)]
struct Replay {
    /// The trace, in any format that `strandline replay` reads.
    trace: PathBuf,
    /// Processes that play it: stream s is worker s mod N's. With 0 this process plays it, and lends nothing.
    #[arg(long, value_name = "N", default_value_t = 2)]
    workers: u32,
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FenceBy {
    /// End the member's process: members of this machine.
    Kill,
    /// Trust its lease: members whose touches are bounded in time.
    Lease,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    reach: Reach,
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
    fence: FenceBy,
    /// Seconds for which a member is there after its latest word.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..86_400))]
    lease: u64,
    /// Who may join: a certificate's common name and the number that goes with it. Without any, whoever can connect.
    #[arg(long, value_name = "NAME=NUMBER", value_parser = admitted)]
    admit: Vec<Admitted>,
}

fn admitted(text: &str) -> Result<Admitted, String> {
    let (name, number) = text.rsplit_once('=').ok_or("NAME=NUMBER is what is expected")?;
    let peer = number.parse().map_err(|_| format!("{number:?} is no number"))?;
    Ok(Admitted { common_name: name.into(), peer })
}

impl Reach {
    fn link(&self) -> Link {
        if self.insecure {
            eprintln!(
                "strandline-fleet: --insecure: whoever reaches {} can join and disturb",
                self.endpoint
            );
        }
        let link = Link::new(&self.endpoint).insecure(self.insecure);
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

fn serve(serve: &Serve) -> Result<(), Failed> {
    if !serve.admit.is_empty() && !serve.reach.endpoint.starts_with("tls/") {
        return Err("--admit is by certificates: listen at tls/".into());
    }
    let (capacity, slab) = (serve.capacity << 20, serve.slab << 20);
    let memory = Arc::new(MmapSlabProvider::builder().shared(true).capacity(capacity).build()?);
    let tracker = Tracker::new(16_384);
    let host = PoolHost::new(memory.clone(), Arc::new(tracker.clone()));
    let config = TlsfPoolConfig { growth: Growth::slabs_of(slab), ..Default::default() };
    let pool = Arc::new(TlsfPool::new(host, config)?);
    let own = Names { session: 0, machine: 0 };
    let mut options = OwnerOptions::new(&serve.reach.name, serve.reach.link(), own);
    options.config.lease = serve.lease * 1_000_000_000;
    options.local = serve.local.clone();
    options.fence = match serve.fence {
        FenceBy::Kill => Fence::Kill,
        FenceBy::Lease => Fence::Lease,
    };
    options.admitted = (!serve.admit.is_empty()).then(|| serve.admit.clone());
    let owner = FleetOwner::open(options, pool, tracker, Some(memory))?;
    println!("lending {} MiB at {}", serve.capacity, serve.reach.endpoint);
    loop {
        std::thread::sleep(Duration::from_millis(200));
        for event in owner.events() {
            println!("{event:?}");
        }
    }
}

fn play(arguments: Replay) -> ExitCode {
    let mut options = ReplayOptions::new(arguments.trace, arguments.workers);
    options.streams = arguments.streams;
    options.in_flight = arguments.in_flight;
    options.capacity = arguments.capacity.map(|bytes| bytes.0);
    options.lenient = arguments.lenient;
    let program = std::env::current_exe().map_err(ReplayError::Io);
    match program.and_then(|program| replay::replay(&options, &program)) {
        Ok(report) if arguments.json => {
            println!("{}", report.to_json());
            report.exit_code().into()
        }
        Ok(report) => {
            print!("{report}");
            report.exit_code().into()
        }
        Err(error) => {
            eprintln!("strandline-fleet: {error}");
            2.into()
        }
    }
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Replay(arguments) => return play(arguments),
        Command::Work { order } => replay::work(&order).map_err(Into::into),
        Command::Serve(arguments) => serve(&arguments),
        Command::Status { reach, patience } => {
            let status = owner::status(&reach.name, &reach.link(), Duration::from_secs(patience));
            status.map(|text| println!("{text}")).map_err(Into::into)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("strandline-fleet: {error}");
            ExitCode::FAILURE
        }
    }
}
