//! Generated programs on several queues and pools, run on a device that is simulated beside them.
//!
//! The device executes each queue in order, an operation as soon as its wait is reached and its event was
//! drained. It keeps who occupies each unit of memory between the *execution* of the alloca and that of
//! the dealloca, so handing bytes out before their death is ordered shows as two occupants.

use super::*;
use crate::pool::PoolHost;
use crate::pool::growth::Growth;
use crate::pool::tlsf::{Coalescing, TlsfPool, TlsfPoolConfig};
use crate::slab::{
    BufferUsage, Grant, MemoryType, Slab, SlabError, SlabId, SlabProperties, SlabProvider,
    SlabStats, SlabTable,
};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;
use proptest::sample::Index;

const AXES: [Axis; 3] = [A, B, C];

#[derive(Clone, Debug)]
enum Action {
    Alloca {
        queue: usize,
        pool: usize,
        units: u64,
        may_wait: bool,
        wait: Vec<Wait>,
    },
    Dealloca {
        queue: usize,
        buffer: Index,
    },
    /// Uses a buffer on a queue.
    Use {
        queue: usize,
        buffer: Index,
    },
    Work {
        queue: usize,
        wait: Vec<Wait>,
    },
    /// The device executes this many operations of a queue, if it can.
    Execute {
        queue: usize,
        count: usize,
    },
    Host,
    Drain,
    Poll,
    Notify {
        pool: usize,
    },
    Abandon {
        buffer: Index,
    },
    Break {
        pool: usize,
    },
    /// A queue fails after this many more operations.
    Fail {
        queue: usize,
        after: u64,
    },
    FailHost,
}

/// Part of a wait frontier: an axis (3 is the host's), and how far from the last epoch given out.
#[derive(Clone, Copy, Debug)]
struct Wait {
    axis: usize,
    back: i64,
}

/// What a program may do.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Anything.
    Wild,
    /// No failures, no waits for the future, and never more than the pools hold, in the order of
    /// submission.
    Fitting,
}

fn wait(kind: Kind) -> impl Strategy<Value = Vec<Wait>> {
    let (axes, ahead) = match kind {
        Kind::Wild => (4usize, 2i64),
        Kind::Fitting => (3, 0),
    };
    let one = (0..axes, -ahead..6).prop_map(|(axis, back)| Wait { axis, back });
    prop::collection::vec(one, 0..3)
}

fn action(kind: Kind) -> impl Strategy<Value = Action> {
    let units = match kind {
        Kind::Wild => 1..=3u64,
        // Units of equal size leave no holes, so that what fits in sum fits.
        Kind::Fitting => 1..=1,
    };
    let queue = 0..AXES.len();
    let buffer = any::<Index>;
    let common = prop_oneof![
        8 => (queue.clone(), 0..2usize, units, any::<bool>(), wait(kind)).prop_map(
            |(queue, pool, units, may_wait, wait)| Action::Alloca { queue, pool, units, may_wait, wait }
        ),
        6 => (queue.clone(), buffer()).prop_map(|(queue, buffer)| Action::Dealloca { queue, buffer }),
        4 => (queue.clone(), buffer()).prop_map(|(queue, buffer)| Action::Use { queue, buffer }),
        2 => (queue.clone(), wait(kind)).prop_map(|(queue, wait)| Action::Work { queue, wait }),
        6 => (queue.clone(), 1..4usize).prop_map(|(queue, count)| Action::Execute { queue, count }),
        1 => Just(Action::Host),
        3 => Just(Action::Drain),
        2 => Just(Action::Poll),
        1 => (0..2usize).prop_map(|pool| Action::Notify { pool }),
    ];
    let rare = prop_oneof![
        10 => any::<Index>().prop_map(|buffer| Action::Abandon { buffer }),
        10 => (0..2usize).prop_map(|pool| Action::Break { pool }),
        1 => (0..AXES.len(), 0..6u64).prop_map(|(queue, after)| Action::Fail { queue, after }),
        1 => Just(Action::FailHost),
    ];
    match kind {
        Kind::Wild => prop_oneof![25 => common, 1 => rare].boxed(),
        Kind::Fitting => common.boxed(),
    }
}

#[derive(Clone, Copy, Debug)]
enum Does {
    Alloca(usize),
    Dealloca(usize),
    Use(usize),
    Nothing,
}

/// Which units a place covers.
fn units(place: Place, unit: u64) -> core::ops::Range<usize> {
    (place.offset / unit) as usize..((place.offset + place.size) / unit) as usize
}

#[derive(Debug)]
struct Op {
    does: Does,
    /// What the device waits for; `None` until the event came.
    wait: Option<Frontier>,
}

#[derive(Debug)]
struct Known {
    id: BufferId,
    pool: usize,
    units: u64,
    /// Where its alloca stands.
    alloca: Entry,
    /// What its users were told.
    place: Option<Place>,
    uses: Frontier,
    deallocated: bool,
    failed: bool,
    /// The alloca was executed, and it had memory then.
    occupies: bool,
}

/// What the pools are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pools {
    /// One byte a unit.
    Test,
    /// A granule a unit, one slab.
    Tlsf(Coalescing),
}

impl Pools {
    pub(super) const GRANULE: u64 = 256;

    fn unit(self) -> u64 {
        match self {
            Self::Test => 1,
            Self::Tlsf(_) => Self::GRANULE,
        }
    }

    fn setup(self, units: [usize; 2]) -> Setup {
        let Self::Tlsf(coalescing) = self else { return setup(&units) };
        setup_tlsf(coalescing, units)
    }
}

/// Queues over TLSF pools of these many granules.
pub(super) fn setup_tlsf(coalescing: Coalescing, units: [usize; 2]) -> Setup {
    let clock = Arc::new(Clock::default());
    let pools = units.map(|units| {
        let size = units as u64 * Pools::GRANULE;
        let provider = Arc::new(Small { size, slabs: Mutex::new(SlabTable::new()) });
        let growth = Growth::slabs_of(size);
        let config = TlsfPoolConfig { growth, coalescing, ..TlsfPoolConfig::default() };
        let pool = TlsfPool::new(PoolHost::new(provider, clock.clone()), config).unwrap();
        Arc::new(pool) as Arc<dyn Pool>
    });
    Setup { queues: queues_over(pools.into_iter(), &clock), clock, pools: Vec::new() }
}

/// A provider of one slab.
#[derive(Debug)]
struct Small {
    size: u64,
    slabs: Mutex<SlabTable<()>>,
}

impl SlabProvider for Small {
    fn properties(&self) -> SlabProperties {
        SlabProperties {
            memory_type: MemoryType::NONE,
            usage: BufferUsage::NONE,
            alignment: Pools::GRANULE,
            granularity: Pools::GRANULE,
            max_slab_size: self.size,
        }
    }

    fn acquire(&self, _size: u64) -> Result<Grant, SlabError> {
        let mut slabs = self.slabs.lock();
        if !slabs.is_empty() {
            return Ok(Grant::NoCapacity);
        }
        let id = slabs.insert(()).map_err(|()| SlabError::Lost)?;
        Ok(Grant::Slab(Slab { id, size: self.size }))
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.slabs.lock().remove(id).ok_or(SlabError::UnknownSlab(id))
    }

    fn stats(&self) -> SlabStats {
        SlabStats::default()
    }
}

struct Model {
    s: Setup,
    ids: Vec<PoolId>,
    unit: u64,
    kind: Kind,
    ops: Vec<Vec<Op>>,
    executed: [u64; 3],
    broken: [Option<Epoch>; 3],
    host: (Epoch, bool),
    buffers: Vec<Known>,
    by_id: BTreeMap<BufferId, usize>,
    occupants: [Vec<Option<usize>>; 2],
    /// Units in use in the order of submission.
    demand: [u64; 2],
    /// Per pool, allocas without memory, in order.
    line: [VecDeque<usize>; 2],
    log: String,
}

impl Model {
    fn new(kind: Kind, pools: Pools, units: [usize; 2]) -> Self {
        let s = pools.setup(units);
        Self {
            ids: s.queues.pools().pools().iter().map(|pool| pool.id()).collect(),
            unit: pools.unit(),
            s,
            kind,
            ops: vec![Vec::new(), Vec::new(), Vec::new()],
            executed: [0; 3],
            broken: [None; 3],
            host: (0, false),
            buffers: Vec::new(),
            by_id: BTreeMap::new(),
            occupants: units.map(|units| vec![None; units]),
            demand: [0; 2],
            line: [VecDeque::new(), VecDeque::new()],
            log: String::new(),
        }
    }

    fn frontier(&self, wait: &[Wait]) -> Frontier {
        let mut frontier = Frontier::new();
        for wait in wait {
            let (axis, last) = match AXES.get(wait.axis) {
                Some(&axis) => (axis, self.ops[wait.axis].len() as i64),
                None => (HOST, self.host.0 as i64),
            };
            let _ = frontier.advance(axis, (last - wait.back).max(0) as u64);
        }
        frontier
    }

    /// Notes an operation that was accepted; epochs have no gaps.
    fn accepted(&mut self, queue: usize, epoch: Epoch, does: Does, wait: Option<Frontier>) {
        self.ops[queue].push(Op { does, wait });
        assert_eq!(epoch, self.ops[queue].len() as u64);
    }

    fn refused(&self, error: &QueueError) {
        // Only what the program itself asked for.
        match (self.kind, error) {
            (Kind::Wild, QueueError::Cycle { .. } | QueueError::Failed { .. }) => {}
            (Kind::Wild, QueueError::Pool(PoolError::Provider(_))) => {}
            _ => panic!("{error:?}"),
        }
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::Alloca { queue, pool, units, may_wait, wait } => {
                self.alloca(*queue, *pool, *units, *may_wait, wait);
            }
            Action::Dealloca { queue, buffer } => {
                let live: Vec<usize> = self.buffers_where(|buffer| !buffer.deallocated);
                if !live.is_empty() {
                    self.dealloca(*queue, live[buffer.index(live.len())]);
                }
            }
            Action::Use { queue, buffer } => {
                let live: Vec<usize> = self.buffers_where(|buffer| !buffer.deallocated);
                if !live.is_empty() {
                    self.use_buffer(*queue, live[buffer.index(live.len())]);
                }
            }
            Action::Work { queue, wait } => {
                let wait = self.frontier(wait);
                match self.s.queues.work(AXES[*queue], wait.as_ref()) {
                    Ok(epoch) => self.accepted(*queue, epoch, Does::Nothing, Some(wait)),
                    Err(error) => self.refused(&error),
                }
            }
            Action::Execute { queue, count } => {
                for _ in 0..*count {
                    self.execute(*queue);
                }
            }
            Action::Host => self.host(),
            Action::Drain => self.drain(),
            Action::Poll => self.poll(),
            Action::Notify { pool } => self.s.queues.notify(self.ids[*pool]).unwrap(),
            Action::Abandon { buffer } => {
                let live: Vec<usize> = self.buffers_where(|buffer| !buffer.deallocated);
                if !live.is_empty() {
                    let buffer = live[buffer.index(live.len())];
                    let id = self.buffers[buffer].id;
                    let waited = self.s.queues.status(id).unwrap() == BufferStatus::Waiting;
                    self.s.queues.abandon(id).unwrap();
                    self.buffers[buffer].deallocated = !waited;
                    let status = self.s.queues.status(id);
                    if waited {
                        assert_eq!(status.unwrap(), BufferStatus::Failed);
                    } else {
                        assert!(matches!(status, Err(QueueError::AlreadyDeallocated(_))));
                    }
                }
            }
            Action::Break { pool } => {
                if let Some(pool) = self.s.pools.get(*pool) {
                    pool.failing.store(1, Ordering::Relaxed);
                }
            }
            Action::Fail { queue, after } => {
                let from = self.executed[*queue] + after;
                self.s.queues.fail_from(AXES[*queue], from, &Failure::message("queue lost"));
            }
            Action::FailHost => {
                self.host.1 = true;
                self.s.queues.fail(HOST, &Failure::message("host lost"));
            }
        }
    }

    fn buffers_where(&self, keep: impl Fn(&Known) -> bool) -> Vec<usize> {
        (0..self.buffers.len()).filter(|&buffer| keep(&self.buffers[buffer])).collect()
    }

    fn alloca(&mut self, queue: usize, pool: usize, units: u64, may_wait: bool, wait: &[Wait]) {
        let capacity = self.occupants[pool].len() as u64;
        if matches!(self.kind, Kind::Fitting) && self.demand[pool] + units > capacity {
            return;
        }
        let wait = self.frontier(wait);
        let mut request = Request::new(units * self.unit).after(wait.as_ref()).or_grow();
        request.may_wait = may_wait;
        if units > capacity {
            return;
        }
        match self.s.queues.alloca(AXES[queue], self.ids[pool], &request) {
            Ok((id, epoch)) => {
                let buffer = self.buffers.len();
                self.accepted(queue, epoch, Does::Alloca(buffer), None);
                assert_eq!(self.by_id.insert(id, buffer), None, "an id was given out twice");
                self.demand[pool] += units;
                self.line[pool].push_back(buffer);
                self.buffers.push(Known {
                    id,
                    pool,
                    units,
                    alloca: Entry::new(AXES[queue], epoch),
                    place: None,
                    uses: Frontier::new(),
                    deallocated: false,
                    failed: false,
                    occupies: false,
                });
            }
            Err(error) => self.refused(&error),
        }
    }

    fn use_buffer(&mut self, queue: usize, buffer: usize) {
        let Known { id, alloca: entry, .. } = self.buffers[buffer];
        let wait = Frontier::from_entry(entry.axis, entry.epoch);
        match self.s.queues.work_on(AXES[queue], wait.as_ref(), [id]) {
            Ok(epoch) => {
                self.accepted(queue, epoch, Does::Use(buffer), Some(wait));
                let _ = self.buffers[buffer].uses.advance(AXES[queue], epoch);
            }
            Err(error) => self.refused(&error),
        }
    }

    fn dealloca(&mut self, queue: usize, buffer: usize) {
        let known = &self.buffers[buffer];
        let (id, pool, units) = (known.id, known.pool, known.units);
        let uses = known.uses.clone();
        match self.s.queues.dealloca(AXES[queue], id, uses.as_ref()) {
            Ok(epoch) => {
                self.accepted(queue, epoch, Does::Dealloca(buffer), None);
                self.buffers[buffer].deallocated = true;
                self.demand[pool] -= units;
                let again = self.s.queues.dealloca(AXES[queue], id, FrontierRef::EMPTY);
                let used = self.s.queues.work_on(AXES[queue], FrontierRef::EMPTY, [id]);
                for refused in [again, used] {
                    assert!(matches!(
                        refused,
                        Err(QueueError::AlreadyDeallocated(_) | QueueError::Failed { .. })
                    ));
                }
            }
            Err(error) => self.refused(&error),
        }
    }

    fn host(&mut self) {
        if !self.host.1 {
            self.host.0 += 1;
            self.s.clock.advance(HOST, self.host.0);
        }
    }

    /// Polls; then every pool with a line has been asked since its last signal.
    fn poll(&mut self) {
        self.s.queues.poll();
        for parked in self.s.queues.parked() {
            let pool = self.s.queues.pools().get(parked.pool).unwrap();
            assert!(!pool.notification().changed_since(parked.observed), "a release is missed");
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.s.queues.next_event() {
            self.log.push_str(&self.anonymous(&event));
            match event {
                QueueEvent::Ready { buffer, axis, epoch, place, wait } => {
                    let known = self.by_id[&buffer];
                    let queue = AXES.iter().position(|&own| own == axis).unwrap();
                    let pool = self.buffers[known].pool;
                    if matches!(self.kind, Kind::Fitting) {
                        assert_eq!(self.line[pool].front(), Some(&known), "overtaken");
                    }
                    self.line[pool].retain(|&waiting| waiting != known);
                    self.buffers[known].place = Some(place);
                    assert_eq!(place.size, self.buffers[known].units * self.unit);
                    assert!(wait.get(axis) < epoch);
                    self.decide(queue, epoch, wait);
                }
                QueueEvent::Released { buffer, axis, epoch, wait } => {
                    let known = &self.buffers[self.by_id[&buffer]];
                    assert!(known.deallocated && (known.failed || known.place.is_some()));
                    let queue = AXES.iter().position(|&own| own == axis).unwrap();
                    self.decide(queue, epoch, wait);
                }
                QueueEvent::Failed { buffer, axis, epoch, wait, cause } => {
                    let allowed =
                        matches!((self.kind, &cause), (Kind::Wild, _) | (_, Cause::Shutdown));
                    assert!(allowed, "{cause:?}");
                    let known = self.by_id[&buffer];
                    self.line[self.buffers[known].pool].retain(|&waiting| waiting != known);
                    assert!(!core::mem::replace(&mut self.buffers[known].failed, true), "twice");
                    assert_eq!(self.buffers[known].alloca, Entry::new(axis, epoch));
                    assert_eq!(wait.is_none(), self.buffers[known].place.is_some());
                    // The host goes on past an alloca that failed alone, in order all the same.
                    if let Some(wait) = wait {
                        let queue = AXES.iter().position(|&own| own == axis).unwrap();
                        self.decide(queue, epoch, wait);
                    }
                }
                QueueEvent::QueueFailed { axis, from, .. } => {
                    assert!(matches!(self.kind, Kind::Wild));
                    let queue = AXES.iter().position(|&own| own == axis).unwrap();
                    assert!(from > self.executed[queue], "what has completed does not fail");
                    assert!(self.broken[queue].is_none_or(|earlier| from < earlier));
                    self.broken[queue] = Some(from);
                }
            }
        }
    }

    /// Pools are numbered across the process; the log is compared between runs.
    fn anonymous(&self, event: &QueueEvent) -> String {
        match event {
            QueueEvent::Ready { buffer, axis, epoch, place, wait } => {
                let pool = self.buffers[self.by_id[buffer]].pool;
                format!("{buffer:?} {axis} {epoch} {pool}:{} {wait}\n", place.offset)
            }
            other => format!("{other:?}\n"),
        }
    }

    fn decide(&mut self, queue: usize, epoch: Epoch, wait: Frontier) {
        let op = &mut self.ops[queue][epoch as usize - 1];
        assert!(op.wait.is_none(), "decided twice: {op:?}");
        op.wait = Some(wait);
    }

    /// Executes the next operation of a queue, if it can; whether it did.
    fn execute(&mut self, queue: usize) -> bool {
        let epoch = self.executed[queue] + 1;
        // What the host has not drained it does not know: neither failures nor allocas.
        if self.s.queues.order.broken(AXES[queue]).is_some_and(|broken| broken.from <= epoch) {
            return false;
        }
        let Some(op) = self.ops[queue].get(epoch as usize - 1) else { return false };
        let Some(wait) = &op.wait else { return false };
        if !wait.as_ref().is_satisfied(&*self.s.clock) {
            return false;
        }
        assert!(self.s.queues.resolved(AXES[queue]).unwrap() >= epoch);
        match op.does {
            Does::Nothing => {}
            Does::Alloca(buffer) => {
                let known = &mut self.buffers[buffer];
                if let (Some(place), false) = (known.place, known.failed) {
                    known.occupies = true;
                    let units = units(place, self.unit);
                    for unit in &mut self.occupants[known.pool][units] {
                        assert_eq!(*unit, None, "{buffer} is given bytes that are in use");
                        *unit = Some(buffer);
                    }
                }
            }
            Does::Use(buffer) | Does::Dealloca(buffer) => {
                let known = &mut self.buffers[buffer];
                if let (Some(place), true) = (known.place, known.occupies) {
                    let units = units(place, self.unit);
                    let end = matches!(op.does, Does::Dealloca(_));
                    for unit in &mut self.occupants[known.pool][units] {
                        assert_eq!(*unit, Some(buffer), "{buffer} lost its bytes");
                        // Bytes of a failed buffer are not known to be out of use.
                        if end && !known.failed {
                            *unit = None;
                        }
                    }
                }
            }
        }
        self.executed[queue] = epoch;
        self.s.clock.advance(AXES[queue], epoch);
        true
    }

    /// Lets the device do all it can.
    fn run_out(&mut self) {
        loop {
            self.poll();
            self.drain();
            let mut moved = false;
            for queue in 0..AXES.len() {
                while self.execute(queue) {
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// What holds at the end of any program.
    fn finish(mut self) -> String {
        self.run_out();
        if matches!(self.kind, Kind::Fitting) {
            for (queue, ops) in self.ops.iter().enumerate() {
                assert_eq!(self.executed[queue], ops.len() as u64, "queue {queue} is stuck");
            }
            assert_eq!(self.s.queues.parked().count(), 0);
            assert!(self.line.iter().all(VecDeque::is_empty));
        }
        self.s.queues.shutdown(Death::Idle);
        self.drain();
        assert_eq!((self.s.live(), self.s.queues.live()), (0, 0), "a reservation is lost");
        assert!(self.s.queues.parked().next().is_none());
        // Every buffer had exactly one end.
        for (index, known) in self.buffers.iter().enumerate() {
            assert!(known.deallocated || known.failed, "{index} never ended");
        }
        self.log
    }
}

fn run(kind: Kind, pools: Pools, units: [usize; 2], program: &[Action]) -> String {
    let mut model = Model::new(kind, pools, units);
    for action in program {
        model.apply(action);
    }
    model.finish()
}

fn pools() -> impl Strategy<Value = Pools> {
    prop_oneof![
        2 => Just(Pools::Test),
        2 => Just(Pools::Tlsf(Coalescing::Readiness)),
        1 => Just(Pools::Tlsf(Coalescing::Eager)),
    ]
}

proptest! {
    /// Failures, aborts, waits for the future, more demand than memory: nothing is in use twice,
    /// nothing is lost, and the same program has the same events.
    #[test]
    fn wild_programs_are_safe(
        pools in pools(),
        units in [3..8usize, 3..5usize],
        program in prop::collection::vec(action(Kind::Wild), 1..150),
    ) {
        let log = run(Kind::Wild, pools, units, &program);
        prop_assert_eq!(log, run(Kind::Wild, pools, units, &program), "not deterministic");
    }

    /// What fits in the order of submission gets its memory, in that order for each pool.
    #[test]
    fn fitting_programs_complete(
        units in [1..4usize, 1..3usize],
        program in prop::collection::vec(action(Kind::Fitting), 1..200),
    ) {
        run(Kind::Fitting, Pools::Test, units, &program);
    }

    /// The same over a TLSF pool.
    #[test]
    fn fitting_programs_complete_over_tlsf(
        units in [1..4usize, 1..3usize],
        program in prop::collection::vec(action(Kind::Fitting), 1..200),
    ) {
        run(Kind::Fitting, Pools::Tlsf(Coalescing::Readiness), units, &program);
    }
}
