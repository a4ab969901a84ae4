//! Lends memory of this machine to members of a fleet, and shows a fleet.

use clap::{Args, Parser, Subcommand, ValueEnum};
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
use strandline_host_fleet::{FleetOwner, Link, OwnerOptions};
use strandline_host_native::MmapSlabProvider;

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

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
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
