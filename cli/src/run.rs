//! `strandline run`: a guest over one pool of this machine's memory.
//!
//! The guest is compiled by this program in another process, which can be ended; it runs here. What it says is printed as a
//! terminal can be shown it, within limits of bytes and of time: neither a guest that says much nor a reader that has stopped
//! keeps this program.

use crate::Ending;
use crate::args::RunArgs;
use crate::output::{self, Error};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_core::Tracker;
use strandline_core::pool::PoolHost;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_host_native::{MmapSlabProvider, thread_wake};
use strandline_host_tenants::component::guest::{
    CompileLimits, CompileProcess, GuestError, GuestHost, GuestLimits, printable, serve_compile,
};
use strandline_host_tenants::tenant::{Device, SharedPool, Tenant, TenantLimits};

/// Bytes of an ordinary slab; less where the memory is less.
const SLAB: u64 = 16 << 20;

/// Axes: the guest's queues.
const AXES: usize = 512;

/// How long printing may take at least, however late it is.
const PRINTING: Duration = Duration::from_secs(5);

/// The other process: compiles what comes on standard input.
pub(crate) fn compile_guest() -> ExitCode {
    serve_compile()
}

/// This program, to compile a guest. On Linux it is the very file that runs, even if another has taken its name.
fn worker() -> std::io::Result<Command> {
    let program =
        if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
    let mut command = Command::new(program);
    command.arg("compile-guest");
    Ok(command)
}

fn compiler(args: &RunArgs, timeout: Duration) -> Result<CompileProcess, Error> {
    // SAFETY: this program does nothing with `compile-guest` but `serve_compile`, and writes nothing to standard output before
    // or after it.
    let mut process = unsafe { CompileProcess::new(worker) };
    process.timeout = timeout;
    process.memory_bytes = args.compile_memory.0;
    for (name, value) in &args.compile_limit {
        if !process.limits.set(name, *value) {
            let names = CompileLimits::NAMES.join(", ");
            return Err(format!("no compile limit is named {name}; the limits are {names}").into());
        }
    }
    Ok(process)
}

/// A file's bytes, not many more of them than a guest may have.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(bytes)
}

pub(crate) fn run(args: &RunArgs) -> Result<Ending, Error> {
    let timeout = Duration::try_from_secs_f64(args.timeout)
        .map_err(|error| format!("--timeout {}: {error}", args.timeout))?;
    let began = Instant::now();
    let process = compiler(args, timeout)?;
    let bytes = read(&args.path, process.limits.bytes)?;
    let guests = GuestHost::new()?;
    let program = match guests.compile_in(&process, &bytes) {
        Ok(program) => program,
        Err(error) => return ended(&args.path, &error),
    };

    let memory = Arc::new(MmapSlabProvider::builder().capacity(args.memory.0).build()?);
    let tracker = Tracker::new(AXES);
    let host = PoolHost::new(memory.clone(), Arc::new(tracker.clone())).with_wake(thread_wake());
    let growth = Growth::slabs_of(SLAB.min(args.memory.0));
    let pool = TlsfPool::new(host, TlsfPoolConfig { growth, ..TlsfPoolConfig::default() })?;
    let device = Device::new(0, tracker, vec![SharedPool::new(Arc::new(pool), memory)]);
    let budget = args.budget.map_or(args.memory.0, |budget| budget.0);
    let tenant = Tenant::new(&device, TenantLimits { budget, ..TenantLimits::default() })?;

    let left = timeout.saturating_sub(began.elapsed());
    let limits = GuestLimits { timeout: Some(left), ..GuestLimits::default() };
    match guests.run(&program, tenant, &limits, &args.arguments) {
        Ok(said) => {
            let left = timeout.saturating_sub(began.elapsed());
            print(&said, args.output_limit.0, left.max(PRINTING))
        }
        Err(error) => ended(&args.path, &error),
    }
}

/// Tells how a guest ended that did not end well.
fn ended(path: &Path, error: &GuestError) -> Result<Ending, Error> {
    let told: Error = format!("{}: {error}", path.display()).into();
    match error {
        GuestError::Trapped(_)
        | GuestError::TimedOut
        | GuestError::Failed(_)
        | GuestError::Start(_)
        | GuestError::Compile(_) => {
            output::complain(&told);
            Ok(Ending::Unsatisfied)
        }
        _ => Err(told),
    }
}

/// Prints what a guest said, at most `most` bytes of it and for at most `time`.
fn print(said: &str, most: u64, time: Duration) -> Result<Ending, Error> {
    let (shown, left_out) = printable(said, usize::try_from(most).unwrap_or(usize::MAX));
    let mut shown = shown.into_owned();
    if !shown.is_empty() && !shown.ends_with('\n') {
        shown.push('\n');
    }
    let printed =
        output::within(time, move || output::print(&shown).map_err(|error| error.to_string()));
    if left_out > 0 {
        output::note(&format!("{left_out} more bytes are not printed (--output-limit {most})"));
    }
    match printed {
        Some(printed) => {
            printed?;
            Ok(Ending::Satisfied)
        }
        None => {
            let why = format!(
                "could not write the guest's output within {time:?}: its reader does not read"
            );
            output::complain(&why.into());
            Ok(Ending::Unsatisfied)
        }
    }
}
