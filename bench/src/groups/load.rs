//! `load`: a file of tensors, in the system's cache, into memory that is there already.
//!
//! Every contender reads the same tensors, going round the file, to the same place of a memory as large as the file. Wall time,
//! since some of the work is done on other threads.

use crate::harness::{Case, Contender, Goal};
use io_uring::{IoUring, opcode, types};
use memmap2::MmapMut;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Acquire, Pool, PoolHost, Request, Reservation};
use strandline_core::{Axis, Tracker};
use strandline_host_native::MmapSlabProvider;
use strandline_host_native::io_axis::{IoAxis, IoRequest, Transferred};
use strandline_host_native::proactor::{Proactor, ProactorKind, ProactorThread, SharedFd};

/// Bytes of a tensor.
const TENSOR: u64 = 16 << 20;
/// Bytes of one operation or call; what strandline uses, too.
const PART: usize = 4 << 20;
/// Operations in flight.
const DEPTH: usize = 8;
const RING: &str = "strandline, one io_uring";

pub(super) fn cases(file_bytes: u64) -> impl Iterator<Item = Case> {
    let tensors = (file_bytes / TENSOR).max(1);
    // The best of the two must not be more than a twentieth faster; so neither may be.
    [0, 1].into_iter().map(move |reference| Case {
        group: "load",
        name: format!(
            "{} MiB of tensors, beside {}",
            (tensors * TENSOR) >> 20,
            ["read(2)", "io_uring alone"][reference]
        ),
        unit: "MiB",
        reference,
        goals: vec![Goal::ratio(RING, 1.0 / 0.95)],
        contenders: Box::new(move || contenders(tensors)),
    })
}

fn contenders(tensors: u64) -> Vec<Contender> {
    let file = match file(tensors * TENSOR) {
        Ok(file) => file,
        Err(error) => panic!("a file of {} bytes: {error}", tensors * TENSOR),
    };
    let mut all = vec![contender("read(2), one thread", tensors, read(clone(&file), tensors))];
    match IoUring::new(DEPTH as u32) {
        Ok(ring) => {
            all.push(contender("io_uring alone", tensors, bare(ring, clone(&file), tensors)));
            all.push(contender(RING, tensors, ours(ProactorKind::IoUring, clone(&file), tensors)));
        }
        // Its place is kept, so that the reference is what it says.
        Err(_) => all.push(contender("io_uring alone", tensors, read(clone(&file), tensors))),
    }
    all.push(contender("strandline, one poll", tensors, ours(ProactorKind::Poll, file, tensors)));
    all
}

fn clone(file: &File) -> File {
    match file.try_clone() {
        Ok(file) => file,
        Err(error) => panic!("{error}"),
    }
}

/// A file without a name, in the cache and on the disk.
fn file(bytes: u64) -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("strandline-bench-{}", std::process::id()));
    let mut file = OpenOptions::new().create_new(true).read(true).write(true).open(&path)?;
    fs::remove_file(&path)?;
    let tensor: Vec<u8> = (0..TENSOR).map(|at| (at ^ at >> 9) as u8).collect();
    for _ in 0..bytes / TENSOR {
        file.write_all(&tensor)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// `load` reads the tensors of a range, once around the file at most.
fn contender(name: &str, tensors: u64, mut load: impl FnMut(Range<u64>) + 'static) -> Contender {
    let mut at = 0;
    Contender::new(name, move |mib| {
        let wanted = mib << 20;
        let start = Instant::now();
        let mut left = wanted.div_ceil(TENSOR);
        let read = left * TENSOR;
        while left > 0 {
            let now = left.min(tensors - at);
            load(at..at + now);
            at = (at + now) % tensors;
            left -= now;
        }
        // More was read than was asked for.
        start.elapsed().mul_f64(wanted as f64 / read as f64)
    })
}

/// Memory with all its pages.
fn memory(tensors: u64) -> MmapMut {
    let mut memory = match MmapMut::map_anon((tensors * TENSOR) as usize) {
        Ok(memory) => memory,
        Err(error) => panic!("{error}"),
    };
    memory.chunks_mut(4096).for_each(|page| page[0] = 1);
    memory
}

fn read(file: File, tensors: u64) -> impl FnMut(Range<u64>) {
    let mut memory = memory(tensors);
    move |range| {
        let bytes = (range.start * TENSOR) as usize..(range.end * TENSOR) as usize;
        let start = bytes.start;
        for (index, part) in memory[bytes].chunks_mut(PART).enumerate() {
            if let Err(error) = file.read_exact_at(part, (start + index * PART) as u64) {
                panic!("{error}");
            }
        }
    }
}

/// The ring as one would use it for just this.
fn bare(mut ring: IoUring, file: File, tensors: u64) -> impl FnMut(Range<u64>) {
    let mut memory = memory(tensors);
    move |range| {
        let (mut next, end) = ((range.start * TENSOR) as usize, (range.end * TENSOR) as usize);
        let mut flying = 0;
        while next < end || flying > 0 {
            while next < end && flying < DEPTH {
                let part = &mut memory[next..(next + PART).min(end)];
                let fd = types::Fd(file.as_raw_fd());
                let entry = opcode::Read::new(fd, part.as_mut_ptr(), part.len() as u32)
                    .offset(next as u64)
                    .build()
                    .user_data(part.len() as u64);
                // SAFETY: the part lies in memory that outlives this call, which does not return before the
                // operation is over; parts in flight do not overlap.
                if unsafe { ring.submission().push(&entry) }.is_err() {
                    break;
                }
                next += PART;
                flying += 1;
            }
            if let Err(error) = ring.submit_and_wait(1) {
                panic!("{error}");
            }
            for done in ring.completion() {
                assert_eq!(i64::from(done.result()), done.user_data() as i64, "a short read");
                flying -= 1;
            }
        }
    }
}

/// A pool full of tensors, and an I/O axis.
struct Ours {
    io: IoAxis,
    file: SharedFd,
    held: Vec<Option<Reservation>>,
    sender: Sender<Transferred>,
    over: Receiver<Transferred>,
    _pool: TlsfPool,
    _proactor: ProactorThread,
}

impl Ours {
    fn new(
        kind: ProactorKind,
        file: File,
        tensors: u64,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let tracker = Tracker::new(1);
        let slabs = Arc::new(MmapSlabProvider::builder().prefault(true).build()?);
        let host = PoolHost::new(slabs.clone(), Arc::new(tracker.clone()));
        let growth = Growth::slabs_of((tensors + 1) * TENSOR);
        let pool = TlsfPool::new(host, TlsfPoolConfig { growth, ..TlsfPoolConfig::default() })?;
        let mut held = Vec::new();
        for _ in 0..tensors {
            match pool.acquire(&Request::new(TENSOR).or_grow())? {
                Acquire::Ready { reservation, .. } => held.push(Some(reservation)),
                other => return Err(format!("{other:?}").into()),
            }
        }
        let proactor = Proactor::builder().kind(kind).spawn()?;
        let io = IoAxis::new(&tracker, Axis::host(0), proactor.handle().clone(), slabs)?;
        let (sender, over) = channel();
        Ok(Self { io, file: file.into(), held, sender, over, _pool: pool, _proactor: proactor })
    }

    fn load(&mut self, range: Range<u64>) {
        for tensor in range.clone() {
            let Some(reservation) = self.held[tensor as usize].take() else {
                panic!("tensor {tensor} is under way")
            };
            let bytes = tensor * TENSOR..(tensor + 1) * TENSOR;
            let sender = self.sender.clone();
            let done = move |over| drop::<Result<_, _>>(sender.send(over));
            if let Err(refused) =
                self.io.read_into(reservation, IoRequest::new(self.file.clone(), bytes), done)
            {
                panic!("{refused}");
            }
        }
        for _ in range.clone() {
            match self.over.recv_timeout(Duration::from_secs(60)) {
                Ok(Transferred { reservation, result: Ok(TENSOR), .. }) => {
                    // Any place will do: all are alike.
                    let empty = self.held[range.start as usize..range.end as usize]
                        .iter_mut()
                        .find(|slot| slot.is_none());
                    if let Some(slot) = empty {
                        *slot = Some(reservation);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn ours(kind: ProactorKind, file: File, tensors: u64) -> impl FnMut(Range<u64>) {
    let mut ours = match Ours::new(kind, file, tensors) {
        Ok(ours) => ours,
        Err(error) => panic!("{error}"),
    };
    move |range| ours.load(range)
}
