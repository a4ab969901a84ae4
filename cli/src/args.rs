//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;
use strandline_replay::config::{Kind, Policy};
use strandline_replay::engine::Options;
use strandline_replay::format::ReadOptions;
use strandline_replay::serving::ServingOptions;
use strandline_replay::size::Bytes;

/// Replay real allocation traces through strandline's pools, and learn what memory they need.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  strandline replay traces/resnet50_train.csv.gz
  strandline fit traces/resnet50_train.csv.gz --output resnet50.toml
  strandline replay traces/resnet50_train.csv.gz --config resnet50.toml --plot resnet50.html
  strandline convert snapshot.pickle trace.csv.gz
  strandline explain snapshot.pickle
  strandline compare snapshot.pickle
  strandline plan traces/resnet50_train.csv.gz --out resnet50.plan

Exit status: 0 the trace was satisfied; 1 it was not; 2 bad input.";

const REPLAY_EXAMPLES: &str = "\
Examples:
  What does this trace need?
    strandline replay traces/bert_train.csv.gz
  Does it fit into 96 MiB, and if not, which event fails and why?
    strandline replay traces/bert_train.csv.gz --capacity 96MiB
  Eight streams that run 64 operations behind, waiting where memory is short:
    strandline replay traces/bert_train.csv.gz --streams 8 --in-flight 64 --allow-wait
  The same on a GPU (built with --features wgpu), whichever `strandline info` calls NVIDIA:
    strandline replay traces/bert_train.csv.gz --provider wgpu --adapter nvidia
  Why was this recorded run out of memory, and would it fit here?
    strandline replay snapshot.pickle
  How many requests of a serving log fit into 16 GiB, and who has to wait?
    strandline replay traces/azure_llm_code_2023.csv.gz --capacity 16GiB
  A serving log as a paged KV cache, drawn:
    strandline replay traces/azure_llm_code_2023.csv.gz --max-batch 32 --plot kv.html
  By four processes that share one lent pool, or as a member of a fleet that is there (with strandline-fleet; see `strandline fleet`):
    strandline replay traces/resnet50_train.csv.gz --workers 4

Sizes are bytes or have a unit: 4096, 512KiB, 1.5GiB.

Words: allocated is what the program holds; active is that and what other streams still use after it was freed; handed out is \
active with padding; reserved is what the pools took from the provider. In the JSON object `memory` has these words; in the older `pool`, \
`peak_reserved_bytes` is what was handed out and `committed` what was taken; `live` there is allocated. `pool.peak_reserved_bytes`, \
`pool.peak_committed_bytes`, `pool.final_committed_bytes`, `trace.peak_live_bytes` and `failure.live_bytes` are old names and will go.

Exit status: 0 the trace was satisfied, refused requests included; 1 it was not, and the report says which event failed, with the \
allocated bytes, the largest hole and what the free bytes wait for; 2 bad input, with file and line.";

const RUN_EXAMPLES: &str = "\
Examples:
  strandline run guest.wasm
  strandline run guest.wasm --memory 1GiB --budget 64MiB --timeout 10 -- first second

A guest is a WebAssembly component of the world `guest` in wit/. What it says goes to standard output, with control \
characters but line feed and tab spelled out.

A process of its own compiles it, and is ended when --timeout or --compile-memory is used up. A guest that would take the compiler \
too long, or too much memory, is refused before that, by limits on its size, nesting, instances, functions, code, loops and more. \
The refusal names the limit, and --compile-limit changes it: --compile-limit function_bytes=1000000.

Exit status: 0 it ended well; 1 it failed, trapped, or ran out of time or of memory to compile it; 2 it is not a guest, is too \
large to compile, or this strandline was built without the feature `component`.";

const LOAD_EXAMPLES: &str = "\
Examples:
  strandline load model.safetensors
  strandline load model.safetensors --proactor poll --json
  strandline load model.safetensors --cold

Exit status: 0 every byte was loaded and verified; 1 there was no memory for it, or bytes differ; 2 bad input.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Explain a PyTorch memory snapshot: is it fragmentation, who holds the memory, who pins the waste
    #[command(after_help = crate::explain::EXAMPLES)]
    Explain(crate::explain::ExplainArgs),
    /// Compare what other settings and other allocators would have needed for a trace, with the line to paste
    #[command(after_help = crate::compare::EXAMPLES)]
    Compare(crate::compare::CompareArgs),
    /// Tell what grew, shrank or is new between two recorded runs, by source line where they are PyTorch memory snapshots
    #[command(after_help = crate::diff::EXAMPLES)]
    Diff(crate::diff::DiffArgs),
    /// Play a trace through real pools over real memory, checking every range and byte
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Find the smallest capacity at which a trace succeeds, and the configuration that gets there
    #[command(after_help = crate::fit::EXAMPLES)]
    Fit(FitArgs),
    /// Place the blocks of a recorded step, whose lifetimes are known, in the least memory
    #[command(after_help = crate::plan::EXAMPLES)]
    Plan(crate::plan::PlanArgs),
    /// Lend a pool to other processes and machines, show such a fleet, or play a trace through one
    #[command(after_help = crate::fleet::EXAMPLES, disable_help_flag = true)]
    Fleet(crate::fleet::FleetArgs),
    /// Show the providers of memory that are available here, and their properties
    Info(InfoArgs),
    /// Load a model's tensors into a pool through event loops, verify every byte, and compare with plain reads
    #[command(after_help = LOAD_EXAMPLES)]
    Load(LoadArgs),
    /// Convert a trace to another format
    Convert(ConvertArgs),
    /// Run a guest: a component that uses a pool and queues of this machine, within a budget
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// What `run` starts to compile a guest, with a component on standard input
    #[command(hide = true)]
    CompileGuest,
}

impl Command {
    /// Whether standard output is to have a JSON object, whatever comes.
    pub(crate) const fn json(&self) -> bool {
        match self {
            Self::Replay(args) => args.output.json,
            Self::Fit(args) => args.output.json,
            Self::Info(args) => args.json,
            Self::Load(args) => args.json,
            Self::Convert(_) | Self::Run(_) | Self::Fleet(_) | Self::CompileGuest => false,
            Self::Explain(args) => args.json,
            Self::Compare(args) => args.json,
            Self::Diff(args) => args.json,
            Self::Plan(args) => args.json,
        }
    }
}

/// How a trace is read.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// The trace: an RMM log, a PyTorch memory snapshot (pickle or JSON), an LLM serving log, lifetimes of buffers or a compact CSV, plain or
    /// gzip, told by content
    #[arg(value_name = "TRACE")]
    pub(crate) path: PathBuf,
    /// Skip and count the faults of a trace that was cut from a longer run, such as frees of unknown blocks
    #[arg(long)]
    pub(crate) lenient: bool,
    /// The device of a PyTorch snapshot, or all [default: the busiest of those that refused a request, else the busiest]
    #[arg(long, value_name = "N|all")]
    pub(crate) device: Option<DeviceArg>,
    #[command(flatten)]
    pub(crate) serving: ServingArgs,
}

/// Which device of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceArg {
    /// One after the other.
    All,
    One(u32),
}

impl core::str::FromStr for DeviceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            _ => text
                .parse()
                .map(Self::One)
                .map_err(|_| "a device is a number from 0, or all".to_owned()),
        }
    }
}

/// How a serving log is played.
#[derive(Debug, Args)]
#[command(next_help_heading = "Serving logs, played as a paged KV cache")]
pub(crate) struct ServingArgs {
    /// Tokens in a block of the KV cache
    #[arg(long, value_name = "N", default_value_t = ServingOptions::default().tokens_per_block)]
    tokens_per_block: u32,
    /// Bytes of a token's keys and values
    #[arg(long, value_name = "SIZE", default_value_t = ByteCount(ServingOptions::default().bytes_per_token))]
    bytes_per_token: ByteCount,
    /// Prompt tokens that a request reads in a second
    #[arg(long, value_name = "N", default_value_t = ServingOptions::default().prefill_tokens_per_s)]
    prefill_tokens_per_s: u32,
    /// Tokens that a request writes in a second
    #[arg(long, value_name = "N", default_value_t = ServingOptions::default().decode_tokens_per_s)]
    decode_tokens_per_s: u32,
    /// The most requests served at once
    #[arg(long, value_name = "N", default_value_t = ServingOptions::default().max_batch)]
    max_batch: u32,
    /// Tokens of the prompt that one of the log's hash_ids stands for [default: 512 or 16, whichever explains the first request]
    #[arg(long, value_name = "N")]
    tokens_per_hash: Option<u32>,
}

impl TraceArgs {
    /// The same trace, of one device.
    pub(crate) fn read_options_of(&self, device: u32) -> ReadOptions {
        ReadOptions { device: Some(device), ..self.read_options(None) }
    }

    /// All devices are asked for.
    pub(crate) fn all_devices(&self) -> bool {
        self.device == Some(DeviceArg::All)
    }

    /// A serving log is played within `capacity`, if there is one: its requests wait and are preempted.
    pub(crate) fn read_options(&self, capacity: Option<Bytes>) -> ReadOptions {
        let serving = &self.serving;
        ReadOptions {
            lenient: self.lenient,
            device: match self.device {
                Some(DeviceArg::One(device)) => Some(device),
                Some(DeviceArg::All) | None => None,
            },
            serving: ServingOptions {
                tokens_per_block: serving.tokens_per_block,
                bytes_per_token: serving.bytes_per_token.0,
                prefill_tokens_per_s: serving.prefill_tokens_per_s,
                decode_tokens_per_s: serving.decode_tokens_per_s,
                max_batch: serving.max_batch,
                capacity: capacity.map(|bytes| bytes.0),
                tokens_per_hash: serving.tokens_per_hash,
            },
            ..ReadOptions::default()
        }
    }
}

/// A size that is shown in plain bytes, so that what the help prints can be typed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByteCount(pub(crate) u64);

impl core::fmt::Display for ByteCount {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

impl core::str::FromStr for ByteCount {
    type Err = strandline_replay::size::SizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<Bytes>().map(|bytes| Self(bytes.0))
    }
}

/// Streams and the execution model.
#[derive(Debug, Args)]
#[command(next_help_heading = "Streams")]
pub(crate) struct StreamArgs {
    /// Spread a trace of one stream over N, 16 allocations in a row to each; the report says that they are synthesized
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    streams: Option<u32>,
    /// Complete each operation N operations after its submission, on each stream
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1 << 24))]
    in_flight: u64,
    /// Let a request take memory that its stream has to wait for
    #[arg(long)]
    allow_wait: bool,
    /// Skip the requests that the recorded allocator refused, as the recorded program had to; by default the replay asks for each again,
    /// within the memory of the recorded device where the file names it
    #[arg(long, help_heading = "Refused requests")]
    as_recorded: bool,
}

impl StreamArgs {
    pub(crate) fn options(&self) -> Options {
        Options {
            spread: self.streams,
            in_flight: self.in_flight,
            allow_wait: self.allow_wait,
            as_recorded: self.as_recorded,
            unchecked: false,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub(crate) trace: TraceArgs,
    #[command(flatten)]
    pub(crate) pool: PoolArgs,
    /// Follow a plan that `strandline plan --out FILE` wrote; what it does not have, a TLSF pool serves
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pool", "config", "slab", "policy", "via"])]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
    #[command(flatten)]
    pub(crate) streams: StreamArgs,
    #[command(flatten)]
    pub(crate) via: ViaArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Whose memory it is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Memory")]
pub(crate) struct MemoryArgs {
    /// Where slabs come from; on a GPU the tags are written and checked there, and the report has its completion latency
    #[arg(long, value_enum, default_value_t = ProviderKind::Mmap)]
    pub(crate) provider: ProviderKind,
    /// The GPU whose name contains this, in upper or lower case; of several the first [default: the fastest]
    #[arg(long, value_name = "NAME")]
    pub(crate) adapter: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProviderKind {
    /// This machine's memory
    Mmap,
    /// A GPU's buffers; needs a build with --features wgpu
    Wgpu,
}

/// Where the pools are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Boundary")]
pub(crate) struct ViaArgs {
    /// Where the pools are: here, or in the core's component in a sandbox; the report then tells what the boundary cost
    #[arg(long, value_enum, default_value_t = Via::Native)]
    pub(crate) via: Via,
    /// The component [default: what STRANDLINE_COMPONENT names, or what `cargo xtask component` built]
    #[arg(long, value_name = "FILE")]
    pub(crate) component: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// The core itself
    Native,
    /// The core as a component, in wasmtime
    Component,
}

/// The pool and its limits.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pool")]
pub(crate) struct PoolArgs {
    /// The kind of pool; auto is fixed for a trace of one size, else tlsf, configured so that the capacity (if given) suffices
    #[arg(long, value_enum, default_value_t = PoolKind::Auto)]
    pub(crate) pool: PoolKind,
    /// Bytes of an ordinary slab [default: the capacity, or as much as the trace needs, committed in place]
    #[arg(long, value_name = "SIZE", value_parser = some_bytes)]
    pub(crate) slab: Option<Bytes>,
    /// Take at most this many bytes from the provider; without other pool options, use the first of fit's configurations that fits
    #[arg(long, value_name = "SIZE")]
    pub(crate) capacity: Option<Bytes>,
    /// The most bytes that may be handed out at once, padding included
    #[arg(long, value_name = "SIZE")]
    pub(crate) budget: Option<Bytes>,
    /// Which neighbours a freed block merges with; eager merging is there for comparison
    #[arg(long, value_enum)]
    pub(crate) policy: Option<PolicyArg>,
    /// A pool configuration file (TOML or JSON), as fit writes it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pool", "slab", "policy"])]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PoolKind {
    /// Chosen by the sizes in the trace
    Auto,
    /// Any size
    Tlsf,
    /// Blocks of one size
    Fixed,
    /// Batches that die together
    Arena,
    /// One slab a block
    Passthrough,
}

impl PoolKind {
    pub(crate) const fn kind(self) -> Option<Kind> {
        match self {
            Self::Auto => None,
            Self::Tlsf => Some(Kind::Tlsf),
            Self::Fixed => Some(Kind::Fixed),
            Self::Arena => Some(Kind::Arena),
            Self::Passthrough => Some(Kind::Passthrough),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyArg {
    /// Merging never makes a ready block wait
    Readiness,
    /// Merge every free neighbour at once, joining deaths
    Eager,
}

impl From<PolicyArg> for Policy {
    fn from(arg: PolicyArg) -> Self {
        match arg {
            PolicyArg::Readiness => Self::Readiness,
            PolicyArg::Eager => Self::Eager,
        }
    }
}

/// What is shown.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Print the report as one JSON object on standard output, on success and on failure alike
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw reserved, handed-out, allocated and pending bytes over time
    #[arg(long, value_name = "FILE.svg|FILE.html")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[cfg_attr(not(feature = "component"), allow(dead_code, reason = "read where guests can be run"))]
pub(crate) struct RunArgs {
    /// The guest: a component of the world `guest` or `guest-sync` (which cannot wait) of strandline:substrate. It may import interfaces of WASI that it
    /// never calls, as a standard library does: a call of one is a trap
    #[arg(value_name = "GUEST.wasm")]
    pub(crate) path: PathBuf,
    /// The device's memory, lent to the guest through one pool
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    pub(crate) memory: Bytes,
    /// The most device memory that the guest may hold at once [default: all of --memory]
    #[arg(long, value_name = "SIZE")]
    pub(crate) budget: Option<Bytes>,
    /// How long compiling and running the guest may take, waits included, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub(crate) timeout: f64,
    /// The most address space that the process which compiles the guest may use
    #[arg(long, value_name = "SIZE", default_value = "4GiB")]
    pub(crate) compile_memory: Bytes,
    /// Change a limit that is checked before the guest is compiled; a refusal names its limit
    #[arg(long, value_name = "NAME=N", value_parser = named_number)]
    pub(crate) compile_limit: Vec<(String, u64)>,
    /// Print at most this much of the guest's output
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    pub(crate) output_limit: Bytes,
    /// Arguments for the guest
    #[arg(last = true)]
    pub(crate) arguments: Vec<String>,
}

/// A name and a number with `=` between.
fn named_number(text: &str) -> Result<(String, u64), String> {
    let (name, number) = text.split_once('=').ok_or("expected NAME=N, such as loops=128")?;
    let number = number.parse().map_err(|error| format!("{number:?}: {error}"))?;
    Ok((name.to_owned(), number))
}

/// The one device that a command is about.
pub(crate) fn one_device(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(DeviceArg::One(device)) => Ok(device),
        Ok(DeviceArg::All) => Err("this command takes one device: say which one".to_owned()),
        Err(error) => Err(error),
    }
}

/// A size above 0.
fn some_bytes(text: &str) -> Result<Bytes, String> {
    match text.parse::<Bytes>() {
        Ok(Bytes(0)) => Err("expected a size above 0".to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

/// A time that is not negative and that a clock can hold.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 =
        text.parse().map_err(|_| "expected a number of seconds, such as 60".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(_) => Ok(seconds),
        Err(_) => Err("expected a number of seconds from 0, such as 60".to_owned()),
    }
}

/// A number from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a share from 0 to 1, such as 0.05".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct FitArgs {
    #[command(flatten)]
    pub(crate) trace: TraceArgs,
    #[command(flatten)]
    pub(crate) streams: StreamArgs,
    /// For a serving log: find the capacity at which at most this share of the requests, 0 to 1, waits for memory
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) at_most_queued: Option<f64>,
    /// Stop the search after this time with the best configuration so far; the report says how many were not tried
    #[arg(
        long = "for",
        value_name = "SECONDS",
        default_value_t = 60.0,
        value_parser = seconds,
        allow_negative_numbers = true
    )]
    pub(crate) limit: f64,
    /// Plan the first step of a trace whose steps repeat, and play the rest by that plan; --for limits the planning
    #[arg(long, conflicts_with_all = ["at_most_queued", "plot", "output_config"])]
    pub(crate) plan: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Write the pool configuration here, for replay --config [default: standard output, below the report]
    #[arg(long = "output", short, value_name = "FILE")]
    pub(crate) output_config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// Show whether event loops can use this kernel interface [default: show the one that they use]
    #[arg(long, value_enum)]
    pub(crate) proactor: Option<ProactorArg>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// A file of tensors in the safetensors format
    #[arg(value_name = "FILE.safetensors")]
    pub(crate) path: PathBuf,
    /// The kernel interface to load through [default: io_uring; poll where io_uring is refused]
    #[arg(long, value_enum)]
    pub(crate) proactor: Option<ProactorArg>,
    /// Event loops that load side by side, each on a thread of its own [default: as many as processors, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) rings: Option<u8>,
    /// The pool takes at most this many bytes from the system
    #[arg(long, value_name = "SIZE")]
    pub(crate) capacity: Option<Bytes>,
    /// Ask the system to drop the file from its page cache before each measurement, so that each one reads the disk
    #[arg(long)]
    pub(crate) cold: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProactorArg {
    /// The kernel's submission and completion rings
    #[value(name = "io_uring")]
    IoUring,
    /// poll(2), with threads that read files
    Poll,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strandline convert snapshot.pickle trace.csv
  strandline convert traces/vit_infer.csv.gz vit.csv.gz --to compact")]
pub(crate) struct ConvertArgs {
    #[command(flatten)]
    pub(crate) trace: TraceArgs,
    /// The file to write; compressed with gzip if its name ends in .gz
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
    /// The format to write: compact keeps every event, rmm is for RMM's own tools; neither keeps what a snapshot says of its device
    #[arg(long, value_enum, default_value_t = WriteKind::Compact)]
    pub(crate) to: WriteKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WriteKind {
    /// Strandline's own CSV
    Compact,
    /// The RAPIDS Memory Manager's CSV log
    Rmm,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
