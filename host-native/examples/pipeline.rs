//! A pipeline of three queues that share one pool: every tile's memory is allocated and freed in the order of queued
//! work, long before that work runs.
//!
//! ```text
//!   queue A   alloca(a) ─ fill a ──┐
//!   queue B      alloca(b) ────────┴▶ b = mix(a) ─ dealloca(a) ─┐
//!   queue C                                                     └▶ sum(b) ─ dealloca(b)
//! ```
//!
//! The host submits all tiles at once. The pool holds a few of them; what stage B has freed, stage A gets again for a
//! later tile as soon as that is ordered after, and no thread waits for memory. The queues signal their axes through
//! a proactor, so all of the host's state lives on this one thread.
//!
//! `cargo run --release -p strandline-host-native --example pipeline -- [io_uring|poll]`
//!
//! With `--features tracy`, a profiler that is connected shows the pool as memory and the queues as lanes.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost, PoolId, Request};
use strandline_core::pool_set::{PoolSet, Registration};
use strandline_core::{
    Axis, BufferId, Epoch, Frontier, Progress, QueueEvent, Queues, SlabMap, Tracker,
};
use strandline_host_native::proactor::{Proactor, ProactorKind};
use strandline_host_native::{Command, CpuQueue, MmapBuffer, MmapSlabProvider};

/// Tiles that run through the pipeline.
const TILES: u64 = 400;
/// The largest tile in bytes; the smallest is a quarter.
const TILE: u64 = 256 << 10;
/// What the pool may take from the system: room for a few tiles at each stage.
const CAPACITY: u64 = 4 << 20;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A buffer's memory, known once its alloca is decided.
type Memory = Rc<OnceCell<MmapBuffer>>;

/// What an epoch of a queue does, once it may be fed to the device.
struct Step {
    wait: Frontier,
    uses: Vec<Memory>,
    run: Option<Box<dyn FnOnce(Vec<MmapBuffer>) -> Command>>,
}

/// A queue and what is on its way to it.
struct Lane {
    queue: CpuQueue,
    steps: BTreeMap<Epoch, Step>,
    fed: Epoch,
}

/// The host: core's state machine on one side, queues with threads on the other.
struct Host {
    queues: Queues,
    provider: Arc<MmapSlabProvider>,
    lanes: BTreeMap<Axis, Lane>,
    memory: HashMap<BufferId, Memory>,
}

impl Host {
    fn alloca(
        &mut self,
        axis: Axis,
        pool: PoolId,
        size: u64,
        after: &Frontier,
    ) -> Outcome<(BufferId, Memory, Frontier)> {
        let request = Request::new(size).after(after.as_ref()).or_wait().or_grow();
        let (buffer, epoch) = self.queues.alloca(axis, pool, &request)?;
        let memory = Memory::default();
        self.memory.insert(buffer, memory.clone());
        Ok((buffer, memory, Frontier::from_entry(axis, epoch)))
    }

    fn work(
        &mut self,
        axis: Axis,
        wait: &Frontier,
        uses: Vec<Memory>,
        run: impl FnOnce(Vec<MmapBuffer>) -> Command + 'static,
    ) -> Outcome<Frontier> {
        let epoch = self.queues.work(axis, wait.as_ref())?;
        let step = Step { wait: wait.clone(), uses, run: Some(Box::new(run)) };
        self.lane(axis).steps.insert(epoch, step);
        Ok(Frontier::from_entry(axis, epoch))
    }

    fn lane(&mut self, axis: Axis) -> &mut Lane {
        self.lanes.get_mut(&axis).expect("a lane for each queue")
    }

    /// An epoch that only orders: an alloca or a dealloca.
    fn order(&mut self, axis: Axis, epoch: Epoch, wait: Frontier) {
        self.lane(axis).steps.insert(epoch, Step { wait, uses: Vec::new(), run: None });
    }

    /// Takes in what the state machine has decided, then feeds the devices in order.
    fn turn(&mut self) -> Outcome<()> {
        while let Some(event) = self.queues.next_event() {
            match event {
                QueueEvent::Ready { buffer, axis, epoch, place, wait } => {
                    let mapped = self.provider.map(place.slab, place.offset, place.size)?;
                    if let Some(memory) = self.memory.get(&buffer) {
                        let set = memory.set(mapped);
                        assert!(set.is_ok(), "{buffer:?} has its memory once");
                    }
                    self.order(axis, epoch, wait);
                }
                QueueEvent::Released { buffer, axis, epoch, wait } => {
                    self.memory.remove(&buffer);
                    self.order(axis, epoch, wait);
                }
                QueueEvent::Failed { cause, .. } => return Err(cause.to_string().into()),
                QueueEvent::QueueFailed { failure, .. } => return Err(failure.to_string().into()),
            }
        }
        for (axis, lane) in &mut self.lanes {
            let resolved = self.queues.resolved(*axis).unwrap_or(0);
            while lane.fed < resolved {
                let next = lane.fed + 1;
                let known = |step: &Step| step.uses.iter().all(|memory| memory.get().is_some());
                if !lane.steps.get(&next).is_some_and(known) {
                    break;
                }
                let Some(step) = lane.steps.remove(&next) else { break };
                let uses = step.uses.iter().filter_map(|memory| memory.get().cloned()).collect();
                let command = step.run.map(|run| run(uses));
                let epoch = lane.queue.submit(step.wait.as_ref(), command)?;
                assert_eq!(epoch, next, "both sides count alike");
                lane.fed = next;
            }
        }
        Ok(())
    }

    /// Whether every queue has done everything.
    fn is_done(&self, tracker: &Tracker) -> bool {
        self.lanes.keys().all(|&axis| Some(tracker.reached(axis)) == self.queues.submitted(axis))
    }
}

/// The number that tile `tile` is filled with.
const fn seed(tile: u64) -> u64 {
    (tile + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

const fn mix(word: u64) -> u64 {
    word.rotate_left(13) ^ 0x5bd1_e995
}

const fn size(tile: u64) -> u64 {
    TILE / 4 + seed(tile) % (3 * TILE / 4 / 4096) * 4096
}

/// Reads all words of a buffer.
fn words(buffer: &MmapBuffer, mut visit: impl FnMut(u64)) {
    let mut bytes = [0; 4096];
    for at in (0..buffer.len()).step_by(bytes.len()) {
        buffer.read(at, &mut bytes).expect("tiles are whole pages");
        let (chunks, _) = bytes.as_chunks::<8>();
        chunks.iter().for_each(|chunk| visit(u64::from_le_bytes(*chunk)));
    }
}

/// Stage B.
fn transform(from: &MmapBuffer, to: &MmapBuffer) {
    let (mut at, mut page) = (0, Vec::with_capacity(4096));
    words(from, |word| {
        page.extend_from_slice(&mix(word).to_le_bytes());
        if page.len() == page.capacity() {
            to.write(at, &page).expect("as large as the source");
            at += page.len() as u64;
            page.clear();
        }
    });
}

/// Stage C.
fn sum(buffer: &MmapBuffer) -> u64 {
    let mut sum = 0_u64;
    words(buffer, |word| sum = sum.wrapping_add(word));
    sum
}

fn submit(
    host: &mut Host,
    [a, b, c]: [Axis; 3],
    pool: PoolId,
    sums: &Sender<(u64, u64)>,
) -> Outcome<()> {
    for tile in 0..TILES {
        let size = size(tile);
        let (raw, raw_memory, at_raw) = host.alloca(a, pool, size, &Frontier::new())?;
        let filled = host.work(a, &at_raw, vec![raw_memory.clone()], move |uses| {
            Command::fill(uses[0].clone(), seed(tile))
        })?;
        let (mixed, mixed_memory, _) = host.alloca(b, pool, size, &filled)?;
        let done = host.work(b, &filled, vec![raw_memory, mixed_memory.clone()], |uses| {
            Command::call(move || transform(&uses[0], &uses[1]))
        })?;
        let freed = host.queues.dealloca(b, raw, done.as_ref())?;
        assert!(freed > done.get(b));
        let sums = sums.clone();
        let summed = host.work(c, &done, vec![mixed_memory], move |uses| {
            Command::call(move || sums.send((tile, sum(&uses[0]))).expect("the receiver lives"))
        })?;
        host.queues.dealloca(c, mixed, summed.as_ref())?;
    }
    Ok(())
}

fn check(sums: &Receiver<(u64, u64)>) {
    let mut seen = 0;
    for (tile, sum) in sums.try_iter() {
        assert_eq!(tile, seen, "stage C runs in order");
        let words = size(tile) / 8;
        assert_eq!(sum, mix(seed(tile)).wrapping_mul(words), "tile {tile}");
        seen += 1;
    }
    assert_eq!(seen, TILES);
}

/// Runs it over a kind of proactor, or the best there is.
pub(crate) fn run(kind: Option<ProactorKind>) -> Outcome<()> {
    let builder = Proactor::builder();
    let mut proactor =
        kind.map_or_else(|| builder.clone(), |kind| builder.clone().kind(kind)).build()?;

    let tracker = Tracker::new(3);
    let provider = Arc::new(MmapSlabProvider::builder().capacity(CAPACITY).build()?);
    let pool_host = PoolHost::new(provider.clone(), Arc::new(tracker.clone()));
    #[cfg(feature = "tracy")]
    let tracy = Arc::new(strandline_host_native::TracySink::start());
    #[cfg(feature = "tracy")]
    let pool_host = pool_host.with_sink(tracy.clone());
    let config = TlsfPoolConfig { growth: Growth::slabs_of(CAPACITY), ..Default::default() };
    let pool: Arc<dyn Pool> = Arc::new(TlsfPool::new(pool_host, config)?);
    let mut pools = PoolSet::new();
    pools.add(pool.clone(), Registration::default())?;

    let axes = [0, 1, 2].map(|queue| Axis::queue(0, queue));
    let mut queues = Queues::new(Arc::new(pools), Arc::new(tracker.clone()));
    let mut lanes = BTreeMap::new();
    for axis in axes {
        let queue = CpuQueue::builder(&tracker, axis).proactor(proactor.handle());
        #[cfg(feature = "tracy")]
        let queue = queue.sink(tracy.clone());
        lanes.insert(axis, Lane { queue: queue.start()?, steps: BTreeMap::new(), fed: 0 });
        queues.open(axis)?;
    }
    let mut host = Host { queues, provider: provider.clone(), lanes, memory: HashMap::new() };

    let (sender, sums) = channel();
    submit(&mut host, axes, pool.id(), &sender)?;
    let parked: usize = host.queues.parked().map(|parked| parked.count).sum();
    let mut turns = 0_u64;
    loop {
        host.turn()?;
        if host.is_done(&tracker) {
            break;
        }
        if proactor.poll(Some(Duration::from_secs(10)))? == 0 {
            return Err("no queue made progress for ten seconds".into());
        }
        for &axis in &axes {
            if let Some(end) = tracker.end_of(axis)? {
                return Err(format!("{axis}: {end}").into());
            }
        }
        // Memory may be free now that epochs were reached.
        host.queues.poll();
        turns += 1;
    }
    check(&sums);

    let stats = pool.stats();
    let total: u64 = (0..TILES).map(|tile| 2 * size(tile)).sum();
    let reused = stats.dominated + stats.completed + stats.waited;
    assert_eq!(stats.live, 0, "everything came back");
    assert_eq!(stats.reserves, 2 * TILES);
    assert!(stats.peak_committed_bytes <= CAPACITY, "one pool, three queues, one budget");
    assert!(reused > stats.fresh, "stages live off each other's memory");
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("{TILES} tiles through 3 queues over {}, {turns} turns of the loop", proactor.kind());
    println!("allocated   {:.1} MiB in all, {parked} allocas parked at first", mib(total));
    println!("committed   {:.1} MiB at most", mib(stats.peak_committed_bytes));
    println!("fresh       {}", stats.fresh);
    println!(
        "reused      {} ordered after its last use, {} already over, {} after a wait",
        stats.dominated, stats.completed, stats.waited
    );
    println!("sums        as computed directly");
    for (axis, lane) in host.lanes {
        lane.queue.finish().map_err(|error| format!("{axis}: {error}"))?;
    }
    Ok(())
}

fn main() -> Outcome<()> {
    match std::env::args().nth(1).as_deref() {
        None => run(None),
        Some("io_uring") => run(Some(ProactorKind::IoUring)),
        Some("poll") => run(Some(ProactorKind::Poll)),
        Some(other) => Err(format!("{other}: io_uring or poll").into()),
    }
}
