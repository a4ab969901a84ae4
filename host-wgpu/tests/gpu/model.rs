//! Generated programs with gates, failures and a device that is destroyed at any point, against a model of every operation.
//!
//! ```text
//!   program ─▶ queues: two of the device that may be destroyed, one of another      gates: axes of the host that open, or fail
//!      │
//!      └─▶ model: what each operation comes after, the causes that must end it, those that may     ─▶ each ended, once, so
//! ```
//!
//! An operation ends with what its own roots say: reached if there are none, failed with one of them if there are. After the destruction
//! of a device everything of it that was not reached *may* fail with the loss, and what has work for the device *must*.
//! At the end nothing waits, no staging chunk is missing, no reservation is out, and no buffer is remembered.

use crate::support::*;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;
use std::thread::{self, Thread};
use std::time::Instant;
use strandline_core::pool::PoolId;
use strandline_core::pool_set::Registration;
use strandline_core::{
    Axis, Entry, Epoch, Failure, Frontier, FrontierRef, Progress, Request, Tracker, WaitError,
};
use strandline_host_wgpu::{
    Command, DeviceLost, Gpu, Queue, QueueError, QueueSet, ReadBack, StagingConfig, Transient,
    UsageClass, WaitsFor,
};

const QUEUES: usize = 3;
const GATES: usize = 2;
const CHUNK: u64 = 512;
const CHUNKS: u32 = 3;

/// Why an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Root {
    Gate(usize),
    Refused,
    Panicked,
    GivenUp,
    Lost,
}

impl Root {
    fn of(failure: &Failure) -> Self {
        let text = failure.to_string();
        match &*text {
            "gate 0 fell" => Self::Gate(0),
            "gate 1 fell" => Self::Gate(1),
            "recording a command panicked" => Self::Panicked,
            "given up by the host" => Self::GivenUp,
            _ if failure.get_ref().downcast_ref::<DeviceLost>().is_some() => Self::Lost,
            _ if text.contains("cannot be the same buffer") => Self::Refused,
            _ => panic!("nobody's cause: {text}"),
        }
    }
}

/// How the wait for an epoch ended, and how often.
#[derive(Default)]
struct End {
    calls: AtomicUsize,
    result: Mutex<Option<Result<(), Failure>>>,
}

struct Op {
    queue: usize,
    epoch: Epoch,
    /// Of its own, not of what it comes after.
    must: BTreeSet<Root>,
    waits: Frontier,
    /// The buffers that it uses.
    uses: Vec<usize>,
    /// The device has something to do.
    works: bool,
    /// It was submitted when its device had been destroyed.
    late: bool,
    end: Arc<End>,
    read: Option<(ReadBack, u8)>,
}

struct Buffer {
    name: Transient,
    queue: usize,
    uses: Frontier,
    tag: Option<u8>,
    /// Other queues have read it: it is not written again, since nothing orders that after them.
    frozen: bool,
    deallocated: bool,
    given_up: bool,
}

struct Gate {
    opened: Epoch,
    fell: bool,
}

struct Program {
    rng: Rng,
    tracker: Tracker,
    set: QueueSet,
    gpus: [Gpu; 2],
    pools: [PoolId; 2],
    queues: Vec<Queue>,
    gates: [Gate; GATES],
    ops: Vec<Op>,
    buffers: Vec<Buffer>,
    /// Refusals: queue, what it was to wait for, why.
    refused: Vec<(usize, Frontier, Failure)>,
    /// What each queue had reached when the first device was to be destroyed.
    destroyed: Option<Vec<Epoch>>,
    destroyer: Option<thread::JoinHandle<()>>,
    /// It was destroyed by now, whatever the threads do.
    gone: bool,
    tag: u8,
}

const fn gate(i: usize) -> Axis {
    Axis::host(1 + i as u32)
}

/// The device of a queue: the first, which may be destroyed, or the second.
const fn device_of(queue: usize) -> usize {
    if queue < 2 { 0 } else { 1 }
}

impl Program {
    fn new(gpu: Gpu, seed: u64) -> Self {
        let tracker = Tracker::new(16);
        (0..GATES).for_each(|i| tracker.register(gate(i)).unwrap());
        let gpus = [gpu, noop()];
        let (mut pools, first) = storage(&gpus[0], &tracker, 4096, 1);
        let (pool, provider) =
            tlsf(&gpus[1], Arc::new(tracker.clone()), UsageClass::Storage, 4096, 1);
        let second = pools.add(pool, provider, Registration::new()).unwrap();
        let set = QueueSet::new(pools, &tracker);
        for (i, gpu) in (0..).zip(&gpus) {
            let staging = StagingConfig {
                chunk_size: CHUNK,
                upload_chunks: CHUNKS,
                readback_chunks: CHUNKS,
                prepared: false,
            };
            set.add_device(gpu, Axis::host(10 + i), staging).unwrap();
        }
        let queues = (0..QUEUES)
            .map(|i| set.open(&gpus[device_of(i)], queue_axis(0, i as u8)).unwrap())
            .collect();
        Self {
            rng: Rng(seed),
            tracker,
            set,
            gpus,
            pools: [first, second],
            queues,
            gates: [0, 1].map(|_| Gate { opened: 0, fell: false }),
            ops: Vec::new(),
            buffers: Vec::new(),
            refused: Vec::new(),
            destroyed: None,
            destroyer: None,
            gone: false,
            tag: 0,
        }
    }

    fn queue_of(&self, axis: Axis) -> Option<usize> {
        self.queues.iter().position(|queue| queue.axis() == axis)
    }

    /// Perhaps a gate that may open, perhaps another queue's last operation.
    fn wait(&mut self, mut wait: Frontier) -> Frontier {
        if self.rng.below(4) == 0 {
            let i = self.rng.below(GATES as u64) as usize;
            let _ = wait.advance(gate(i), self.gates[i].opened + self.rng.below(3));
        }
        if self.rng.below(5) == 0 {
            let other = self.rng.below(QUEUES as u64) as usize;
            let _ = wait.merge(self.queues[other].frontier().as_ref());
        }
        wait
    }

    /// Notes what was submitted, or why not.
    fn note(
        &mut self,
        queue: usize,
        waits: Frontier,
        submitted: Result<Epoch, QueueError>,
        uses: &[usize],
        works: bool,
    ) -> bool {
        let epoch = match submitted {
            Ok(epoch) => epoch,
            Err(
                QueueError::Failed(failure)
                | QueueError::Queue(strandline_core::QueueError::Failed { failure, .. }),
            ) => {
                self.refused.push((queue, waits, failure));
                return false;
            }
            // Its provider noticed first.
            Err(QueueError::Queue(strandline_core::QueueError::Pool(error))) => {
                assert!(self.destroyed.is_some() && device_of(queue) == 0, "{error}");
                return false;
            }
            Err(error) => panic!("{error:?}"),
        };
        let end = Arc::new(End::default());
        let called = end.clone();
        let axis = self.queues[queue].axis();
        let frontier = Frontier::from_entry(axis, epoch);
        self.tracker
            .wait(frontier.as_ref(), move |result| {
                let result = match result {
                    Ok(()) => Ok(()),
                    Err(WaitError::Failed { failure, .. }) => Err(failure),
                    Err(error) => panic!("{error}"),
                };
                *called.result.lock().unwrap() = Some(result);
                called.calls.fetch_add(1, Ordering::SeqCst);
            })
            .unwrap();
        for &buffer in uses {
            let _ = self.buffers[buffer].uses.advance(axis, epoch);
        }
        self.ops.push(Op {
            queue,
            epoch,
            must: BTreeSet::new(),
            waits,
            uses: uses.to_vec(),
            works,
            late: self.gone && device_of(queue) == 0,
            end,
            read: None,
        });
        true
    }

    fn alloca(&mut self) {
        let queue = self.rng.below(QUEUES as u64) as usize;
        let wait = self.wait(Frontier::new());
        let size = (1 + self.rng.below(4)) * 256;
        let request = Request::new(size).after(wait.as_ref()).or_grow();
        let pool = self.pools[device_of(queue)];
        let made = self.queues[queue].alloca(pool, &request);
        let epoch = made.as_ref().map(|(_, epoch)| *epoch).map_err(|error| format!("{error:?}"));
        let name = made.as_ref().ok().map(|(name, _)| *name);
        if self.note(queue, wait, made.map(|(_, epoch)| epoch), &[], false) {
            let (name, epoch) = (name.unwrap(), epoch.unwrap());
            let uses = Frontier::from_entry(self.queues[queue].axis(), epoch);
            self.buffers.push(Buffer {
                name,
                queue,
                uses,
                tag: None,
                frozen: false,
                deallocated: false,
                given_up: false,
            });
        }
    }

    /// A buffer that has not ended.
    fn living(&mut self) -> Option<usize> {
        let living: Vec<usize> =
            (0..self.buffers.len()).filter(|&i| !self.buffers[i].deallocated).collect();
        (!living.is_empty()).then(|| living[self.rng.below(living.len() as u64) as usize])
    }

    fn write(&mut self) {
        let Some(i) = self.living().filter(|&i| !self.buffers[i].frozen) else { return };
        let queue = self.buffers[i].queue;
        let wait = self.wait(Frontier::new());
        self.tag = self.tag.wrapping_add(1).max(1);
        let tag = self.tag;
        // Up to more than a chunk, less than the ring.
        let command =
            Command::write(self.buffers[i].name, vec![tag; self.buffers[i].name.size() as usize]);
        let done = self.queues[queue].submit(wait.as_ref(), [command]);
        if self.note(queue, wait, done, &[i], true) {
            self.buffers[i].tag = Some(tag);
        }
    }

    fn read(&mut self) {
        let Some(i) = self.living() else { return };
        let Some(tag) = self.buffers[i].tag else { return };
        let home = self.buffers[i].queue;
        // On its own queue, or on another of its device.
        let queue = if home < 2 { self.rng.below(2) as usize } else { home };
        let mut wait = Frontier::new();
        if queue != home {
            wait = self.queues[home].frontier();
            self.buffers[i].frozen = true;
        }
        let wait = self.wait(wait);
        let (read, done) = match self.queues[queue].read(wait.as_ref(), self.buffers[i].name) {
            Ok(read) => {
                (Some(read), Ok(self.queues[queue].frontier().get(self.queues[queue].axis())))
            }
            Err(error) => (None, Err(error)),
        };
        if self.note(queue, wait, done, &[i], true)
            && let Some(op) = self.ops.last_mut()
        {
            op.read = read.map(|read| (read, tag));
        }
    }

    /// A recording that wgpu refuses, or that panics, or that destroys the device.
    fn record(&mut self) {
        let Some(i) = self.living() else { return };
        let queue = self.buffers[i].queue;
        let kind = self.rng.below(3);
        if kind == 2 && (queue == 2 || self.destroyed.is_some()) {
            return;
        }
        let device = self.gpus[0].device().clone();
        if kind == 2 {
            self.note_destruction();
        }
        let command = Command::encode([self.buffers[i].name.into()], move |encoder, slices| {
            let (buffer, offset, _) = slices[0].parts();
            match kind {
                0 => encoder.copy_buffer_to_buffer(buffer, offset, buffer, offset + 128, 64),
                1 => panic!("a recording that panics (expected)"),
                _ => device.destroy(),
            }
        });
        let wait = self.wait(Frontier::new());
        let done = self.queues[queue].submit(wait.as_ref(), [command]);
        let frozen = self.buffers[i].frozen;
        if self.note(queue, wait, done, &[i], true)
            && let Some(op) = self.ops.last_mut()
        {
            match kind {
                0 => drop(op.must.insert(Root::Refused)),
                1 => drop(op.must.insert(Root::Panicked)),
                _ => {}
            }
        }
        self.buffers[i].frozen = frozen;
    }

    fn dealloca(&mut self) {
        let Some(i) = self.living() else { return };
        let home = self.buffers[i].queue;
        let queue = if home < 2 { self.rng.below(2) as usize } else { home };
        let uses = self.buffers[i].uses.clone();
        let wait = self.wait(uses);
        let done = self.queues[queue].dealloca(self.buffers[i].name, wait.as_ref());
        let name = self.buffers[i].name;
        if self.note(queue, wait, done, &[], false) {
            self.buffers[i].deallocated = true;
            let used = self.queues[queue]
                .submit(FrontierRef::EMPTY, [Command::write(name, vec![0; name.size() as usize])]);
            match used {
                Err(QueueError::UnknownBuffer(id)) => assert_eq!(id, name.id()),
                Err(
                    QueueError::Failed(_)
                    | QueueError::Queue(strandline_core::QueueError::Failed { .. }),
                ) => {}
                other => panic!("used after its dealloca: {other:?}"),
            }
        }
    }

    fn open(&mut self, i: usize, to: Epoch) {
        if !self.gates[i].fell && to > self.gates[i].opened {
            self.gates[i].opened = to;
            self.tracker.advance(gate(i), to).unwrap();
        }
    }

    fn fell(&mut self, i: usize) {
        if !self.gates[i].fell {
            self.gates[i].fell = true;
            self.tracker.fail_axis(gate(i), Failure::message(format!("gate {i} fell"))).unwrap();
        }
    }

    fn note_destruction(&mut self) {
        let reached = self.queues.iter().map(|queue| self.tracker.reached(queue.axis()));
        self.destroyed = Some(reached.collect());
    }

    /// Destroys the first device: here, or on a thread of its own, or on the polling thread.
    fn destroy(&mut self) {
        if self.destroyed.is_some() {
            return;
        }
        self.note_destruction();
        let device = self.gpus[0].device().clone();
        match self.rng.below(3) {
            0 => {
                device.destroy();
                self.gone = true;
            }
            1 => {
                let spins = self.rng.below(20_000);
                self.destroyer = Some(thread::spawn(move || {
                    (0..spins).for_each(|_| core::hint::spin_loop());
                    device.destroy();
                    let _ = device.poll(wgpu::PollType::Poll);
                }));
            }
            _ => {
                let queue = &self.queues[self.rng.below(2) as usize];
                let next = queue.frontier().get(queue.axis()) + 1;
                let frontier = Frontier::from_entry(queue.axis(), next);
                let destroy = move |_: Result<(), WaitError>| device.destroy();
                self.tracker.wait(frontier.as_ref(), destroy).unwrap();
            }
        }
    }

    fn step(&mut self) {
        match self.rng.below(64) {
            0..12 => self.alloca(),
            12..26 => self.write(),
            26..40 => self.read(),
            40..50 => self.dealloca(),
            50..57 => {
                let i = self.rng.below(GATES as u64) as usize;
                self.open(i, self.gates[i].opened + 1);
            }
            57 => {
                let i = self.rng.below(GATES as u64) as usize;
                self.fell(i);
            }
            58 => self.record(),
            59 => self.destroy(),
            60 => thread::yield_now(),
            61 => self.set.poll(),
            _ => {
                let queue = self.rng.below(QUEUES as u64) as usize;
                let wait = self.wait(Frontier::new());
                let done = self.queues[queue].submit(wait.as_ref(), []);
                self.note(queue, wait, done, &[], false);
            }
        }
    }

    /// Opens what is left, and gives up what stands still for want of memory, until nothing waits.
    fn run_out(&mut self) {
        for i in 0..GATES {
            self.open(i, 1 << 20);
        }
        if let Some(destroyer) = self.destroyer.take() {
            destroyer.join().unwrap();
        }
        let begun = Instant::now();
        loop {
            // Nothing is polled from here: whatever can go on must be noticed without.
            let standing: Vec<_> = self.queues.iter().flat_map(Queue::parked).collect();
            let over = |op: &Op| op.end.calls.load(Ordering::SeqCst) > 0;
            if standing.is_empty() && self.ops.iter().all(over) {
                if self.destroyed.is_some() {
                    // Perhaps it came to nothing so far.
                    self.gpus[0].device().destroy();
                }
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "forgotten: {standing:#?}");
            // Heads that wait for memory, and for nothing else: no event of the program would bring it.
            let still = self.queues.iter().all(|queue| {
                queue.parked().first().is_none_or(|head| {
                    !head.waits_for.is_empty()
                        && head.waits_for.iter().all(|what| {
                            matches!(what, WaitsFor::Memory(_))
                                || matches!(what, WaitsFor::Axis(Entry { axis, .. })
                                    if self.queue_of(*axis).is_some())
                        })
                })
            });
            if still && self.gpus.iter().all(|gpu| gpu.in_flight() == 0) {
                let memory = standing.iter().find_map(|one| {
                    one.waits_for.iter().find_map(|what| match what {
                        WaitsFor::Memory(buffer) => Some(*buffer),
                        _ => None,
                    })
                });
                if let Some(id) = memory {
                    let i = self.buffers.iter().position(|buffer| buffer.name.id() == id).unwrap();
                    // It may have been served meanwhile, and ended.
                    if !self.buffers[i].given_up
                        && self.queues[0].slice_of(self.buffers[i].name).is_none()
                    {
                        self.buffers[i].given_up = true;
                        let _ = self.set.abandon(self.buffers[i].name);
                    }
                }
            }
            thread::yield_now();
        }
    }

    /// What must end an operation, and what may, by its place in the list: with all that it comes after.
    fn roots(&self) -> Vec<(BTreeSet<Root>, BTreeSet<Root>)> {
        let mut roots: Vec<(BTreeSet<Root>, BTreeSet<Root>)> = Vec::new();
        for (at, op) in self.ops.iter().enumerate() {
            let (mut must, mut may) = (op.must.clone(), BTreeSet::new());
            self.add_waits(&op.waits, at, &roots, &mut must, &mut may);
            if let Some(before) = (0..at).rev().find(|&i| self.ops[i].queue == op.queue) {
                must.extend(&roots[before].0);
                may.extend(&roots[before].1);
            }
            if op.uses.iter().any(|&buffer| self.buffers[buffer].given_up) {
                // Unless it was served in that moment.
                may.insert(Root::GivenUp);
            }
            if let (Some(reached), 0) = (&self.destroyed, device_of(op.queue)) {
                if op.epoch > reached[op.queue] {
                    may.insert(Root::Lost);
                }
                if op.late && op.works {
                    must.insert(Root::Lost);
                }
            }
            roots.push((must, may));
        }
        roots
    }

    fn add_waits(
        &self,
        waits: &Frontier,
        at: usize,
        roots: &[(BTreeSet<Root>, BTreeSet<Root>)],
        must: &mut BTreeSet<Root>,
        may: &mut BTreeSet<Root>,
    ) {
        for &Entry { axis, epoch } in waits.as_ref().entries() {
            if let Some(queue) = self.queue_of(axis) {
                let on = (0..at)
                    .find(|&i| self.ops[i].queue == queue && self.ops[i].epoch == epoch)
                    .expect("only what was submitted is waited for");
                must.extend(&roots[on].0);
                may.extend(&roots[on].1);
            } else if let Some(i) = (0..GATES).find(|&i| gate(i) == axis)
                && epoch > self.gates[i].opened
            {
                must.insert(Root::Gate(i));
            }
        }
    }

    fn check(mut self) -> Ends {
        let roots = self.roots();
        let last = roots.len();
        for (queue, waits, failure) in &self.refused {
            let (mut must, mut may) = (BTreeSet::new(), BTreeSet::new());
            self.add_waits(waits, last, &roots, &mut must, &mut may);
            for (_, (m, n)) in self.ops.iter().zip(&roots).filter(|(op, _)| op.queue == *queue) {
                must.extend(m);
                may.extend(n);
            }
            if self.destroyed.is_some() && device_of(*queue) == 0 {
                may.insert(Root::Lost);
            }
            let root = Root::of(failure);
            assert!(must.contains(&root) || may.contains(&root), "refused: {failure}");
        }
        let mut ends = Ends::default();
        for (at, (op, (must, may))) in self.ops.drain(..).zip(&roots).enumerate() {
            let Op { queue, epoch, end, read, .. } = op;
            let what =
                format!("operation {at}: queue {queue} @ {epoch}, must {must:?}, may {may:?}");
            let fits = |result: &Result<(), Failure>| match result {
                Ok(()) => assert!(must.is_empty(), "{what}: it was reached"),
                Err(failure) => {
                    let root = Root::of(failure);
                    assert!(must.contains(&root) || may.contains(&root), "{what}: {failure}");
                }
            };
            assert_eq!(end.calls.load(Ordering::SeqCst), 1, "{what}: once");
            let reached = end.result.lock().unwrap().take().unwrap();
            fits(&reached);
            match &reached {
                Ok(()) => ends.reached += 1,
                Err(failure) => *ends.failed.entry(Root::of(failure)).or_default() += 1,
            }
            if let Some((read, tag)) = read {
                match block(read, &what) {
                    Ok(bytes) => {
                        ends.read += 1;
                        assert!(
                            reached.is_ok() || may.contains(&Root::Lost),
                            "{what}: bytes of nothing"
                        );
                        assert!(
                            bytes.iter().all(|&byte| byte == tag),
                            "{what}: not {tag}: {bytes:?}"
                        );
                    }
                    // What was read may be lost on its way, though its epoch was reached.
                    Err(failure) => {
                        let root = Root::of(&failure);
                        let on_its_way =
                            root == Root::Lost && self.destroyed.is_some() && device_of(queue) == 0;
                        let known = must.contains(&root) || may.contains(&root);
                        assert!(on_its_way || reached.is_err() && known, "{what}: {failure}");
                    }
                }
            }
        }
        self.nothing_is_missing();
        ends
    }

    /// Chunks, reservations, buffers.
    fn nothing_is_missing(&self) {
        for buffer in &self.buffers {
            // Some have ended.
            let _ = self.set.abandon(buffer.name);
            let _ = self.set.abandon(buffer.name);
        }
        let stats = self.set.pools().set().stats().pools;
        assert_eq!((stats.reserved_bytes, stats.live), (0, 0), "{stats:?}");
        let debug = format!("{:?}", self.set);
        assert_eq!(debug.matches("buffers: 0").count(), 2, "{debug}");
        let begun = Instant::now();
        for (i, gpu) in self.gpus.iter().enumerate() {
            if i == 0 && self.destroyed.is_some() {
                // Its rings are of no use; they hold nothing.
                while gpu.find_loss().is_none() || {
                    let staging = self.set.staging_stats(gpu).unwrap();
                    (staging.upload.live, staging.readback.live) != (0, 0)
                } {
                    assert!(begun.elapsed() < PATIENCE, "{:?}", self.set.staging_stats(gpu));
                    thread::yield_now();
                }
                continue;
            }
            // All chunks, at once.
            let bytes = CHUNK * u64::from(CHUNKS);
            let (pool, provider) =
                tlsf(gpu, Arc::new(self.tracker.clone()), UsageClass::Storage, 4096, 1);
            let mut pools = strandline_host_wgpu::GpuPools::new();
            let _ = pools.add(pool, provider.clone(), Registration::new()).unwrap();
            use strandline_core::slab::{Grant, SlabMap, SlabProvider};
            let Grant::Slab(slab) = provider.acquire(bytes).unwrap() else { panic!("no memory") };
            let slice = provider.map(slab.id, 0, bytes).unwrap();
            let queue = self.set.open(gpu, queue_axis(1, i as u8)).unwrap();
            let write = Command::write(slice.clone(), vec![9; bytes as usize]);
            queue.submit(FrontierRef::EMPTY, [write]).unwrap();
            let read = queue.read(FrontierRef::EMPTY, slice).unwrap();
            let bytes = block(read, "all chunks").unwrap();
            assert!(bytes.iter().all(|&byte| byte == 9));
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The end of a future, which wakes whoever waits for it in time.
fn block<T>(future: impl Future<Output = T>, what: &str) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "{what}: forgotten");
        thread::park_timeout(left);
    }
}

/// How many operations ended how.
#[derive(Debug, Default)]
struct Ends {
    reached: usize,
    /// Reads that got their bytes.
    read: usize,
    failed: BTreeMap<Root, usize>,
}

fn run(gpu: Gpu, seed: u64) -> Ends {
    println!("seed {seed}");
    let mut program = Program::new(gpu, seed);
    let steps = 20 + program.rng.below(100);
    for _ in 0..steps {
        program.step();
    }
    program.run_out();
    program.check()
}

/// How many programs, unless the environment says otherwise, and from which seed on.
fn seeds(default: u64) -> core::ops::Range<u64> {
    let of = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    let first = of("STRANDLINE_SEED").unwrap_or(0);
    first..first + of("STRANDLINE_PROGRAMS").unwrap_or(default)
}

#[test]
fn every_operation_ends_once_with_its_own_cause() {
    let mut all = Ends::default();
    for seed in seeds(300) {
        let Ends { reached, read, failed } = run(noop(), seed);
        all.reached += reached;
        all.read += read;
        failed.iter().for_each(|(root, count)| *all.failed.entry(*root).or_default() += count);
    }
    println!("{all:?}");
    if std::env::var_os("STRANDLINE_PROGRAMS").is_none() {
        assert!(all.read > 0 && all.reached > 0, "{all:?}");
        assert_eq!(all.failed.len(), 6, "every cause happens: {all:?}");
    }
}

#[test]
fn also_on_a_device_that_takes_its_time() {
    for seed in seeds(10) {
        let Some(gpu) = real() else { return };
        run(gpu, seed);
    }
}
