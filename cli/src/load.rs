//! `strandline load`: every tensor of a file into reservations of one pool, by event loops side by side.
//!
//! ```text
//!   header ─▶ ranges ─▶ load ─▶ verify: each byte against a plain read ─▶ beside read(2) and mmap ─▶ report
//! ```

#[allow(unsafe_code, reason = "a file is mapped to be compared with; argued in the file")]
mod beside;
mod header;

use crate::Ending;
use crate::args::LoadArgs;
use crate::meter::Meter;
use crate::output::{self, Error};
use header::{Model, Tensor};
use serde_json::json;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{PoolHost, Reservation};
use strandline_core::{Axis, Death, Pool, SlabMap, Tracker};
use strandline_host_native::io_axis::{IoAxis, LoadError, load};
use strandline_host_native::proactor::{Proactor, ProactorKind, ProactorThread, SharedFd};
use strandline_host_native::{MmapSlabProvider, PageReport};
use strandline_replay::size::Bytes;

/// Tensors start at multiples of this: a cache line, and what vector instructions like.
const ALIGNMENT: u64 = 64;
/// A tensor takes at most this much more of a pool than it has bytes.
const SPACING: u64 = 512;
/// An ordinary slab has this many bytes at most.
const SLAB: u64 = 1 << 30;
/// Bytes compared at a time.
const CHUNK: u64 = 1 << 20;

pub(crate) fn run(args: &LoadArgs) -> Result<Ending, Error> {
    let path = &args.path;
    let at = |error: io::Error| -> Error { format!("{}: {error}", path.display()).into() };
    // Before it is opened: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(at)?.is_file() {
        return Err(format!("{}: not a regular file", path.display()).into());
    }
    let file = File::open(path).map_err(at)?;
    let model = header::read(path, &file)?;
    let machine = Machine::start(args, &model)?;
    prepare(&file, args.cold).map_err(at)?;

    let started = Instant::now();
    let loaded = machine.load(&file, &model).map_err(at)?;
    let took = started.elapsed();
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(LoadError::NoMemory { index, .. }) => {
            return no_memory(args, &model, &model.tensors[index]);
        }
        Err(error) => return Err(named(path, &model, &error)),
    };
    let pages = machine.provider.pages().ok();
    let wrong = machine.verify(&file, &model, &loaded).map_err(at)?;
    let slabs = machine.pool.stats().committed_bytes;
    machine.release(loaded);
    prepare(&file, args.cold).map_err(at)?;
    let read = beside::read(&file, &model.data).map_err(at)?;
    prepare(&file, args.cold).map_err(at)?;
    let map = beside::map(&file, &model.data).map_err(at)?;
    let report = Report {
        args,
        model: &model,
        kind: machine.kind(),
        rings: machine.axes.len(),
        took,
        read,
        map,
        pages,
        slabs,
        wrong,
    };
    output::print(&if args.json { report.json() } else { report.text() })?;
    Ok(if report.wrong.is_none() { Ending::Satisfied } else { Ending::Unsatisfied })
}

/// The first byte that differs.
struct Wrong<'a> {
    tensor: &'a Tensor,
    offset: u64,
}

/// The pool and those who fill it.
struct Machine {
    provider: Arc<MmapSlabProvider>,
    pool: TlsfPool,
    axes: Vec<IoAxis>,
    /// Dropped after the axes.
    loops: Vec<ProactorThread>,
}

impl Machine {
    fn start(args: &LoadArgs, model: &Model) -> Result<Self, Error> {
        let mut builder = Proactor::builder();
        if let Some(kind) = args.proactor {
            builder = builder.kind(kind.into());
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let rings = args.rings.map_or(processors.min(4), usize::from);
        // Slabs are as large as the model, up to the limit, and at least as its largest tensor, for which the pool looks
        // one size class higher. Memory that no tensor gets is never touched.
        let size = |tensor: &Tensor| tensor.range.end - tensor.range.start;
        let largest = model.tensors.iter().map(size).max().unwrap_or(0);
        let slack = largest / 16 + SPACING;
        let padding = SPACING * model.tensors.len() as u64;
        let total = model.data.end - model.data.start;
        let slab = (total + padding + slack).min(SLAB).max(largest + slack);
        let slab = args.capacity.map_or(slab, |capacity| slab.min(capacity.0.max(1)));
        let capacity = args.capacity.map_or(u64::MAX, |capacity| capacity.0);
        let provider = MmapSlabProvider::builder().capacity(capacity).huge_pages(true).build()?;
        let provider = Arc::new(provider);
        let tracker = Tracker::new(rings);
        let host = PoolHost::new(provider.clone(), Arc::new(tracker.clone()));
        let config = TlsfPoolConfig { growth: Growth::slabs_of(slab), ..TlsfPoolConfig::default() };
        let pool = TlsfPool::new(host, config)?;
        let (mut loops, mut axes) = (Vec::new(), Vec::new());
        for ring in 0..rings {
            let thread = builder.spawn()?;
            // At most 64 of them.
            let axis = Axis::host(ring as u32);
            axes.push(IoAxis::new(&tracker, axis, thread.handle().clone(), provider.clone())?);
            loops.push(thread);
        }
        Ok(Self { provider, pool, axes, loops })
    }

    fn kind(&self) -> Option<ProactorKind> {
        self.loops.first().map(ProactorThread::kind)
    }

    fn load(
        &self,
        file: &File,
        model: &Model,
    ) -> io::Result<Result<Vec<Option<Reservation>>, LoadError>> {
        let shared = SharedFd::from(file.try_clone()?);
        let meter = Meter::new("loading", model.data.end - model.data.start);
        let ranges: Vec<_> = model.tensors.iter().map(|tensor| tensor.range.clone()).collect();
        let mut progress = |bytes| meter.at(bytes);
        Ok(load(&self.axes, &self.pool, &shared, &ranges, ALIGNMENT, &mut progress))
    }

    /// Compares every byte with a plain read.
    fn verify<'a>(
        &self,
        file: &File,
        model: &'a Model,
        loaded: &[Option<Reservation>],
    ) -> io::Result<Option<Wrong<'a>>> {
        let meter = Meter::new("verifying", model.data.end - model.data.start);
        let (mut ours, mut theirs) = (vec![0; CHUNK as usize], vec![0; CHUNK as usize]);
        for (tensor, reservation) in model.tensors.iter().zip(loaded) {
            let Some(reservation) = reservation else { continue };
            let (slab, offset) = (reservation.slab(), reservation.offset());
            let buffer =
                self.provider.map(slab, offset, reservation.size()).map_err(io::Error::other)?;
            let mut at = 0;
            while at < buffer.len() {
                let len = (buffer.len() - at).min(CHUNK);
                let (ours, theirs) = (&mut ours[..len as usize], &mut theirs[..len as usize]);
                buffer.read(at, ours).map_err(io::Error::other)?;
                file.read_exact_at(theirs, tensor.range.start + at)?;
                if ours != theirs {
                    let differs = ours.iter().zip(theirs.iter()).take_while(|(a, b)| a == b);
                    return Ok(Some(Wrong { tensor, offset: at + differs.count() as u64 }));
                }
                at += len;
                meter.at(tensor.range.start + at - model.data.start);
            }
        }
        Ok(None)
    }

    fn release(&self, loaded: Vec<Option<Reservation>>) {
        for reservation in loaded.into_iter().flatten() {
            if let Err(error) = self.pool.release(reservation, Death::Idle) {
                log::error!("{error}");
            }
        }
        // The comparison is to find as much free memory as the load did.
        if let Err(error) = self.pool.trim(strandline_core::slab::Trim::All) {
            log::error!("{error}");
        }
    }
}

/// Every way of reading starts alike: with the whole file in the system's cache, or with nothing of it.
fn prepare(file: &File, cold: bool) -> io::Result<()> {
    if cold {
        file.sync_all().or_else(|error| match error.kind() {
            // A file system that cannot has nothing to write.
            io::ErrorKind::InvalidInput | io::ErrorKind::ReadOnlyFilesystem => Ok(()),
            _ => Err(error),
        })?;
        rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
        return Ok(());
    }
    let mut chunk = vec![0; CHUNK as usize];
    let mut at = 0;
    loop {
        match file.read_at(&mut chunk, at) {
            Ok(0) => return Ok(()),
            Ok(read) => at += read as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The error with the tensor's name.
fn named(path: &Path, model: &Model, error: &LoadError) -> Error {
    let path = path.display();
    let (index, why) = match error {
        LoadError::Refused { index, why } => (index, why.to_string()),
        LoadError::Transfer { index, error } => (index, error.to_string()),
        other => return format!("{path}: {other}").into(),
    };
    let name = model.tensors.get(*index).map_or("?", |tensor| &tensor.name);
    format!("{path}: tensor {name}: {why}").into()
}

/// Not bad input, and not satisfied.
fn no_memory(args: &LoadArgs, model: &Model, tensor: &Tensor) -> Result<Ending, Error> {
    let bytes = tensor.range.end - tensor.range.start;
    let total = model.data.end - model.data.start;
    let text = if args.json {
        let failure = json!({ "tensor": tensor.name, "bytes_requested": bytes });
        let report = json!({
            "file": args.path.display().to_string(),
            "tensors": model.tensors.len(),
            "bytes": total,
            "ok": false,
            "failure": failure,
        });
        format!("{report:#}\n")
    } else {
        output::coloured(&format!(
            "FAILED     no memory for tensor {}: {} of {} in all\n",
            tensor.name,
            Bytes(bytes),
            Bytes(total)
        ))
    };
    output::print(&text)?;
    Ok(Ending::Unsatisfied)
}

struct Report<'a> {
    args: &'a LoadArgs,
    model: &'a Model,
    kind: Option<ProactorKind>,
    rings: usize,
    took: Duration,
    read: Duration,
    map: Duration,
    pages: Option<PageReport>,
    slabs: u64,
    wrong: Option<Wrong<'a>>,
}

impl Report<'_> {
    fn bytes(&self) -> u64 {
        self.model.data.end - self.model.data.start
    }

    fn per_second(&self, time: Duration) -> u64 {
        (self.bytes() as f64 / time.as_secs_f64().max(1e-9)) as u64
    }

    fn kind(&self) -> String {
        self.kind.map_or_else(String::new, |kind| kind.to_string())
    }

    fn json(&self) -> String {
        let way = |time: Duration| json!({ "ns": time.as_nanos() as u64, "bytes_per_s": self.per_second(time) });
        let wrong = self.wrong.as_ref().map(|wrong| {
            json!({ "tensor": wrong.tensor.name, "offset": wrong.offset, "reason": "bytes differ" })
        });
        let report = json!({
            "file": self.args.path.display().to_string(),
            "tensors": self.model.tensors.len(),
            "bytes": self.bytes(),
            "proactor": self.kind(),
            "rings": self.rings,
            "cold": self.args.cold,
            "load": way(self.took),
            "read": way(self.read),
            "mmap": way(self.map),
            "pool": {
                "committed_bytes": self.slabs,
                "huge_bytes": self.pages.map(|pages| pages.huge_bytes),
            },
            "ok": self.wrong.is_none(),
            "failure": wrong,
        });
        format!("{report:#}\n")
    }

    fn text(&self) -> String {
        let largest =
            self.model.tensors.iter().max_by_key(|tensor| tensor.range.end - tensor.range.start);
        let largest = largest.map_or_else(String::new, |tensor| {
            let bytes = Bytes(tensor.range.end - tensor.range.start);
            format!(", the largest {} {}{:?} of {bytes}", tensor.name, tensor.kind, tensor.shape)
        });
        let way = |name: &str, time: Duration| {
            let ratio = time.as_secs_f64() / self.took.as_secs_f64().max(1e-9);
            let ms = time.as_secs_f64() * 1e3;
            format!(
                "  {name:28}  {:>12}/s  {ms:>9.1} ms  {:.2}\n",
                Bytes(self.per_second(time)).to_string(),
                ratio
            )
        };
        let huge = self.pages.map_or_else(String::new, |pages| {
            format!(", {} of it in huge pages", Bytes(pages.huge_bytes))
        });
        let verdict = match &self.wrong {
            None => "ok         every byte equals that of a plain read\n".to_owned(),
            Some(Wrong { tensor, offset }) => {
                format!(
                    "FAILED     tensor {} differs from a plain read at byte {offset}\n",
                    tensor.name
                )
            }
        };
        let state =
            if self.args.cold { "the file not in the cache" } else { "the file in the cache" };
        let rings = self.rings;
        output::coloured(&format!(
            "file       {}: {} in {} tensors{largest}\n\
             pool       tlsf, {}{huge}\n\
             \n\
             {state:30}  {:>14}  {:>12}  time over the load's\n{}{}{}\
             \n{verdict}",
            self.args.path.display(),
            Bytes(self.bytes()),
            self.model.tensors.len(),
            Bytes(self.slabs),
            "bytes",
            "time",
            way(&format!("load, {rings} × {}", self.kind()), self.took),
            way("read(2), one thread", self.read),
            way("mmap, every byte looked at", self.map),
        ))
    }
}
