//! Events as a profiler draws them: pools as memory, queues as lanes.
//!
//! ```text
//!   Reserved, Released         ─▶ Memory ─▶ alloc(name, address, size), free(name, address)
//!   SlabAcquired, SlabReleased ─▶    "
//!   Submitted, Began, Completed, Ended ─▶ Lanes ─▶ a span per submission: open, start, end
//! ```
//!
//! Profilers trust their input: an address that is allocated twice, or freed twice, ends the session. Pools tell
//! their events without a lock held, so a range can be heard to be reserved again before it is heard to be
//! released. Both are straightened here: the second allocation frees the first one, and the late
//! release is swallowed.
//!
//! Nothing in this file knows a profiler; it draws on a [`Canvas`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use strandline_core::inspect::{Event, EventSink};
use strandline_core::pool::PoolId;
use strandline_core::{Axis, Epoch, SlabId};

/// What is drawn on.
pub(crate) trait Canvas: core::fmt::Debug + Send + Sync {
    /// A kind of memory, by name.
    type Name: core::fmt::Debug + Copy + Send;
    /// A row of spans.
    type Lane: core::fmt::Debug + Send;
    /// A submission on a lane. Dropped when it never comes to an end.
    type Span: core::fmt::Debug + Send;

    /// Memory that is called `name`, from now on for ever.
    fn name(&self, name: String) -> Self::Name;
    /// A lane that is called `name`; `None` when there can be no more.
    fn lane(&self, name: String) -> Option<Self::Lane>;
    /// `size` bytes of `name` are in use.
    fn alloc(&self, name: Self::Name, address: u64, size: u64);
    /// They are not any more.
    fn free(&self, name: Self::Name, address: u64);
    /// A submission came; `None` when it is not to be drawn.
    fn open(&self, lane: &Self::Lane) -> Option<Self::Span>;
    /// It began.
    fn start(&self, span: &Self::Span);
    /// It is done.
    fn end(&self, span: Self::Span);
}

/// The events of pools and queues, drawn.
#[derive(Debug)]
pub(crate) struct Drawing<C: Canvas> {
    canvas: C,
    state: Mutex<State<C>>,
}

#[derive(Debug)]
struct State<C: Canvas> {
    titles: HashMap<PoolId, String>,
    pools: HashMap<PoolId, Names<C::Name>>,
    memory: HashMap<(PoolId, Part, u64), Use>,
    /// `None`: not drawn.
    lanes: HashMap<Axis, Option<Lane<C>>>,
}

#[derive(Debug)]
struct Lane<C: Canvas> {
    lane: C::Lane,
    open: HashMap<Epoch, C::Span>,
}

/// What of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Blocks,
    Slabs,
}

#[derive(Clone, Copy, Debug)]
struct Names<N> {
    blocks: N,
    slabs: N,
}

impl<N: Copy> Names<N> {
    const fn of(&self, part: Part) -> N {
        match part {
            Part::Blocks => self.blocks,
            Part::Slabs => self.slabs,
        }
    }
}

/// How an address stands.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    live: bool,
    /// Releases that are still to be heard of, of uses that are over.
    late: u32,
}

/// Slabs side by side: 16 TiB from one to the next.
fn address(slab: SlabId, offset: u64) -> u64 {
    const STRIDE: u32 = 44;
    u64::from(slab.index()) << STRIDE | offset & ((1 << STRIDE) - 1)
}

impl<C: Canvas> Drawing<C> {
    pub(crate) fn new(canvas: C) -> Self {
        Self {
            canvas,
            state: Mutex::new(State {
                titles: HashMap::new(),
                pools: HashMap::new(),
                memory: HashMap::new(),
                lanes: HashMap::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        // Nothing panics between two writes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a pool called `title`, if nothing was drawn of it yet.
    pub(crate) fn title(&self, pool: PoolId, title: &str) -> bool {
        let mut state = self.lock();
        let new = !state.pools.contains_key(&pool);
        if new {
            state.titles.insert(pool, title.to_owned());
        }
        new
    }

    fn alloc(&self, pool: PoolId, part: Part, address: u64, size: u64) {
        let state = &mut *self.lock();
        let names = names(&self.canvas, state, pool);
        let used = state.memory.entry((pool, part, address)).or_default();
        if used.live {
            self.canvas.free(names.of(part), address);
            used.late += 1;
        }
        used.live = true;
        self.canvas.alloc(names.of(part), address, size);
    }

    fn free(&self, pool: PoolId, part: Part, address: u64) {
        let state = &mut *self.lock();
        let names = names(&self.canvas, state, pool);
        // Of what came before this sink: passed over.
        let Some(used) = state.memory.get_mut(&(pool, part, address)) else { return };
        if used.late > 0 {
            used.late -= 1;
            return;
        }
        state.memory.remove(&(pool, part, address));
        self.canvas.free(names.of(part), address);
    }

    fn submitted(&self, axis: Axis, epoch: Epoch) {
        let state = &mut *self.lock();
        let lane = state.lanes.entry(axis).or_insert_with(|| {
            self.canvas.lane(axis.to_string()).map(|lane| Lane { lane, open: HashMap::new() })
        });
        if let Some(lane) = lane
            && let Some(span) = self.canvas.open(&lane.lane)
        {
            lane.open.insert(epoch, span);
        }
    }

    fn began(&self, axis: Axis, epoch: Epoch) {
        if let Some(Some(lane)) = self.lock().lanes.get(&axis)
            && let Some(span) = lane.open.get(&epoch)
        {
            self.canvas.start(span);
        }
    }

    fn completed(&self, axis: Axis, epoch: Epoch) {
        if let Some(Some(lane)) = self.lock().lanes.get_mut(&axis)
            && let Some(span) = lane.open.remove(&epoch)
        {
            self.canvas.end(span);
        }
    }

    fn ended(&self, axis: Axis) {
        // The lane stays: a later queue on the axis goes on with it.
        if let Some(Some(lane)) = self.lock().lanes.get_mut(&axis) {
            lane.open.clear();
        }
    }
}

/// The names of a pool's memory, made when it is first heard of.
fn names<C: Canvas>(canvas: &C, state: &mut State<C>, pool: PoolId) -> Names<C::Name> {
    let State { titles, pools, .. } = state;
    *pools.entry(pool).or_insert_with(|| {
        let title = titles.remove(&pool).unwrap_or_else(|| format!("{pool:?}"));
        Names { slabs: canvas.name(format!("{title} slabs")), blocks: canvas.name(title) }
    })
}

impl<C: Canvas> EventSink for Drawing<C> {
    fn event(&self, event: &Event) {
        match *event {
            Event::Reserved { pool, slab, offset, size } => {
                self.alloc(pool, Part::Blocks, address(slab, offset), size);
            }
            Event::Released { pool, slab, offset, .. } => {
                self.free(pool, Part::Blocks, address(slab, offset));
            }
            Event::SlabAcquired { pool, slab, size } => {
                self.alloc(pool, Part::Slabs, address(slab, 0), size);
            }
            Event::SlabReleased { pool, slab } => self.free(pool, Part::Slabs, address(slab, 0)),
            Event::Submitted { axis, epoch } => self.submitted(axis, epoch),
            Event::Began { axis, epoch } => self.began(axis, epoch),
            Event::Completed { axis, epoch } => self.completed(axis, epoch),
            Event::Ended { axis } => self.ended(axis),
            // Kinds of events that this file does not know yet.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
