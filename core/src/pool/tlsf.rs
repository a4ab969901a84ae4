//! The TLSF pool: any size, one set of bins over all slabs, free blocks kept by readiness.
//!
//! ```text
//!   release ─▶ inbox ─┐                            ┌─ slab 0 ─┐ ┌─ slab 1 ─┐
//!                     ├─ lock: settle, search ──▶  │ Heap: offsets + readiness
//!   acquire ──────────┘        │                   └──────────┘ └──────────┘
//!                              └─ nothing fits ──▶ unlock, ask the provider, lock, add a region
//! ```
//!
//! The order of an acquire: what the requester may use at once; then, if it may wait, the block that will
//! be ready soonest; only then growth, outside the lock. See [`heap`] for how readiness is kept.
//!
//! # What an answer promises
//! - Before the pool refuses, grows or lets the requester wait, it looks at everything that is ready for this requester: then
//!   no range of twice the request is ready, in which each byte is clean, or its death on each axis reached or covered.
//!   ([`Waiting::ToPack`] waits for a tighter place though another is ready.)
//! - Merging makes no byte wait longer, and a cancel restores the death of each byte.
//! - A wait names what is neither reached nor covered, and nothing else.
//!
//! # Cost
//! Acquire and release are O(1) in live, pending and free blocks and in slabs. A release is one
//! compare-exchange and one addition; its block is settled by the next acquire. A miss looks at every
//! axis that blocks wait for, once, and then at the blocks that the requester's frontier covers. Of many at once, [`acquire_each`](TlsfPool::acquire_each) and
//! [`release_each`](TlsfPool::release_each) save what each would repeat.

use super::inbox::{Drained, Inbox, StoredDeath, Ticket};
use super::planned::{Followed, Key};
use super::{
    Acquire, Origin, Pool, PoolError, PoolHost, PoolId, PoolProperties, PoolStats, ReleaseError,
    Request, Reservation, ReuseProof, Token,
    budget::Budget,
    growth::{Growth, most},
};
use crate::death::Death;
use crate::inspect::{BlockState, BlockView, Event};
use crate::notification::{Notification, Observation};
use crate::offset::tlsf::{BlockId, Config, Need, RegionId, TlsfError};
use crate::slab::retain::Retention;
use crate::slab::{Grant, Slab, SlabError, SlabProperties, SlabProvider, Trim};
use crate::sync::{Mutex, MutexGuard};
use crate::{Frontier, FrontierRef};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

mod batch;
mod eager;
mod elastic;
mod engine;
mod exchange;
#[cfg(feature = "planned")]
mod following;
mod guided;
pub mod heap;
mod newcomers;
mod pending;
mod present;
mod spare;
mod virgin;
#[cfg(feature = "hosted")]
mod wide;

pub use batch::{Answers, Held};

use elastic::Holes;
use engine::{Ask, Engine, Seek};
use heap::{BlockDeath, Taken};
use present::Present;

/// What may merge with what when a block is freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coalescing {
    /// Blocks that wait for none, and blocks that wait for one and the same axis, each byte for its own epoch. What waits for
    /// several axes merges with what dies alike. A ready byte never waits for its neighbours.
    #[default]
    Readiness,
    /// Every free neighbour, joining what they wait for; candidates are tried one by one. Bytes then wait for their neighbours:
    /// requests are refused that could be served, and [`ReuseProof::Dominance`] may be due to a neighbour's death alone.
    /// What is called complete is so. Here to be compared with.
    Eager,
}

/// What a request that may wait is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waiting {
    /// Waiting comes after everything that is ready, and before growth.
    #[default]
    LastResort,
    /// Waiting keeps memory compact: the tightest stretch of free memory is taken, and waited for when
    /// it is not ready. Many streams then need no more memory than one; see [`heap`].
    ToPack,
}

/// How a [`TlsfPool`] works.
#[derive(Clone, Copy, Debug)]
pub struct TlsfPoolConfig {
    /// Granule, size classes, placement.
    pub offsets: Config,
    /// How large slabs are, and how many.
    pub growth: Growth,
    /// How much may be reserved at once.
    pub budget: Budget,
    /// Which empty slabs survive [`Trim::Excess`].
    pub retention: Retention,
    /// What merges with what.
    pub coalescing: Coalescing,
    /// What a request that may wait is for.
    pub waiting: Waiting,
}

impl Default for TlsfPoolConfig {
    /// 64 MiB slabs, 256-byte granules, good fit, no budget, nothing retained.
    fn default() -> Self {
        Self {
            offsets: Config::default(),
            growth: Growth::slabs_of(64 << 20),
            budget: Budget::UNLIMITED,
            retention: Retention::NOTHING,
            coalescing: Coalescing::Readiness,
            waiting: Waiting::LastResort,
        }
    }
}

/// Growths that one acquire attempts before it answers that it is exhausted: another thread may take
/// what was just added.
const MAX_GROWTHS: u32 = 4;

/// Marks the block of a ticket that comes back unused. Blocks are numbered in fewer bits.
const CANCELED: u32 = 1 << 31;

/// See the [module](self).
pub struct TlsfPool {
    id: PoolId,
    host: PoolHost,
    config: TlsfPoolConfig,
    provider: SlabProperties,
    /// The most bytes that a request may come to.
    most: u64,
    /// Granules from which on a block may be too large to [break up](spare) an empty slab; none where the provider does not tell its room.
    large: Option<(u32, Present)>,
    notification: Arc<Notification>,
    inbox: Inbox,
    /// Deaths that were given up because they have more axes than a block can hold, counted by releases.
    #[cfg(not(feature = "hosted"))]
    taints: crate::sync::atomic::AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    engine: Engine,
    /// By region.
    slabs: Vec<Option<Slab>>,
    /// Of those that are not elastic.
    largest_slab: u64,
    /// Where slabs can be elastic.
    holes: Option<Holes>,
    /// The plan that is followed, if one is.
    follower: Option<Followed>,
    /// The engine's moves that those who wait were told of.
    told: u64,
    /// They are to be told of something else.
    untold: bool,
    /// Tickets to go out with the next reservations.
    #[expect(clippy::vec_box, reason = "the boxes travel; their addresses must not change")]
    tickets: Vec<Box<Ticket>>,
    /// All but the bytes that the engine knows.
    stats: PoolStats,
    /// Blocks whose death has more axes than one can hold.
    #[cfg(feature = "hosted")]
    wide: wide::Wide,
}

impl TlsfPool {
    /// A pool over the host's slabs. It holds no slab until it grows.
    ///
    /// # Errors
    /// [`PoolError::InvalidConfig`].
    pub fn new(host: PoolHost, config: TlsfPoolConfig) -> Result<Self, PoolError> {
        let engine = Engine::new(config.offsets, config.coalescing).map_err(config_error)?;
        let provider = host.provider.properties();
        let granule = config.offsets.granule;
        let elastic = host.provider.elastic().filter(|_| engine.heap().is_some());
        let holes = Holes::new(elastic, granule, provider.max_slab_size);
        let half = config.growth.slab_size / 2 / granule.max(1);
        let spares = holes.is_none() && host.provider.room().is_some();
        let half = u32::try_from(half).ok().filter(|_| spares);
        let large = half.and_then(|half| Some((half, present::present()?)));
        Ok(Self {
            id: PoolId::next(),
            notification: Arc::new(Notification::new(host.wake.clone())),
            most: most(&*host.provider, config.budget, config.growth.max_slabs, granule),
            host,
            config,
            provider,
            large,
            inbox: Inbox::new(),
            #[cfg(not(feature = "hosted"))]
            taints: crate::sync::atomic::AtomicU64::new(0),
            state: Mutex::new(State {
                engine,
                slabs: Vec::new(),
                largest_slab: 0,
                holes,
                follower: None,
                told: 0,
                untold: false,
                tickets: Vec::new(),
                stats: PoolStats::default(),
                #[cfg(feature = "hosted")]
                wide: wide::Wide::default(),
            }),
        })
    }

    /// How it works.
    #[must_use]
    pub const fn config(&self) -> &TlsfPoolConfig {
        &self.config
    }

    /// Takes returned tickets out of the inbox and frees their blocks. Whether there were any.
    #[inline]
    fn settle(&self, state: &mut State) -> bool {
        let mut any = false;
        let mut drained = self.inbox.drain();
        while let Some(ticket) = drained.next() {
            state.free(ticket, &self.host);
            if drained.goes_on() {
                state.free_followers(&mut drained, &self.host);
            }
            any = true;
        }
        any
    }

    /// Adds a slab for a request that found nothing, outside the lock. `None`: refused.
    fn grow(
        &self,
        sizes: impl IntoIterator<Item = Option<u64>>,
    ) -> Result<Option<Slab>, PoolError> {
        for size in sizes.into_iter().flatten() {
            if let Grant::Slab(slab) = self.host.provider.acquire(size)? {
                return Ok(Some(slab));
            }
        }
        Ok(None)
    }

    /// A slab for so many bytes, for which empty ones are given back as long as the pool holds as many as it may, or the
    /// provider has no capacity: the fewest that make room.
    fn grow_or_make_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        size: u64,
    ) -> Result<(MutexGuard<'a, State>, Option<Slab>), PoolError> {
        let growth = &self.config.growth;
        if growth.candidates(size, 0, &self.provider) == [None; 2] {
            return Ok((state, None));
        }
        loop {
            let sizes = growth.candidates(size, state.stats.slabs, &self.provider);
            // A plan that has no slab comes first, if that is one the request fits.
            let of_plan = Growth { slab_size: 0, ..*growth };
            let plan = state.plan_wants(size).and_then(|wanted| {
                of_plan.candidates(wanted, state.stats.slabs, &self.provider)[0]
            });
            self.unlock(state);
            let granted = self.grow(core::iter::once(plan).chain(sizes))?;
            state = self.state.lock();
            self.settle(&mut state);
            if granted.is_some() {
                return Ok((state, granted));
            }
            let (after, made_room) = self.give_one_back(state)?;
            state = after;
            if !made_room {
                return Ok((state, None));
            }
        }
    }

    /// Gives a slab back that is out of the heap. What the provider does not take serves on.
    fn give_slab_back(&self, (slab, untouched): (Slab, virgin::Virgin)) -> Result<(), SlabError> {
        match self.host.provider.release(slab.id) {
            Ok(()) => {
                self.emit(&Event::SlabReleased { pool: self.id, slab: slab.id });
                Ok(())
            }
            Err(error) => {
                // There was room for it before.
                let mut state = self.state.lock();
                if let Ok(region) = state.engine.add_region(slab.size) {
                    state.engine.set_untouched(region, untouched);
                    state.add_slab(region, slab);
                }
                Err(error)
            }
        }
    }

    /// Makes a granted slab a region, or gives it back.
    fn add_slab(&self, state: &mut State, slab: Slab) -> Result<(), PoolError> {
        match state.engine.add_region(slab.size) {
            Ok(region) => {
                state.add_slab(region, slab);
                Ok(())
            }
            Err(error) => {
                self.host.provider.release(slab.id)?;
                Err(config_error(error))
            }
        }
    }

    #[inline(always)]
    fn emit(&self, event: &Event) {
        if let Some(sink) = &self.host.sink {
            sink.event(event);
        }
    }

    /// What the request comes to, if this pool could ever serve it.
    #[inline(always)]
    fn need(&self, request: &Request<'_>) -> Result<Need, PoolError> {
        request.validate()?;
        if request.size > self.most {
            return Err(self.too_large(request));
        }
        if request.alignment > self.provider.alignment {
            // An offset can be no better aligned than the slab it counts from.
            return Err(PoolError::InvalidAlignment { alignment: request.alignment });
        }
        let need = self.config.offsets.need(request.size, request.alignment);
        need.ok_or_else(|| self.too_large(request))
    }

    /// Whether a block may be too large to break up an empty slab for it.
    fn is_large(&self, need: Need) -> bool {
        self.large.is_some_and(|(units, _)| need.units() > units)
    }

    #[inline]
    const fn too_large(&self, request: &Request<'_>) -> PoolError {
        PoolError::TooLarge { size: request.size, max: self.most }
    }

    /// The usual case: memory that is ready, before anything else is considered. `Err` says whether it was
    /// looked for.
    // In the component once, for its size.
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    #[cfg_attr(target_family = "wasm", inline(never))]
    fn find_first(
        &self,
        state: &mut State,
        need: Need,
        request: &Request<'_>,
    ) -> Result<Found, bool> {
        if self.packs(request) || self.is_large(need) || !self.allows(state, need) {
            return Err(false);
        }
        state.find_ready(need, request, &self.host).ok_or(true)
    }

    /// The request may wait, and waiting is for packing.
    #[inline]
    fn packs(&self, request: &Request<'_>) -> bool {
        request.may_wait && self.config.waiting == Waiting::ToPack
    }

    #[inline]
    fn allows(&self, state: &State, need: Need) -> bool {
        let size = state.engine.reserve_size(need);
        self.config.budget.allows(state.reserved_bytes(), size)
    }

    /// The rest of an acquire, when [`find_first`](Self::find_first) has found nothing, or was not allowed to look.
    #[inline(never)]
    fn acquire_otherwise<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        need: Need,
        request: &Request<'_>,
        mut observed: Observation,
        mut searched: bool,
        key: Option<Key>,
    ) -> Result<Acquire, PoolError> {
        #[cfg(feature = "hosted")]
        if state.look_aside(&self.host) {
            (searched, state.untold) = (false, true);
        }
        let planned = state.planned();
        let mut missed = false;
        let mut may_grow = request.may_grow;
        let mut growths = 0;
        if may_grow && self.is_large(need) && self.allows(&state, need) {
            state = self.spare_empty(state, need)?;
        }
        loop {
            let allowed = self.allows(&state, need);
            if allowed {
                let mut wait = None;
                let found =
                    self.look(&mut state, need, request, searched, &mut missed, &mut wait, key);
                if let Some(found) = found {
                    state.stray_unless_planned(key, planned);
                    self.unlock(state);
                    return Ok(self.reserved(found, request, wait));
                }
            }
            searched = false;
            if allowed && may_grow {
                let size = state.engine.reserve_size(need);
                if state.holes.is_some() && state.plan_wants(size).is_none() {
                    let (after, found) = self.grow_in_place(state, need, request)?;
                    state = after;
                    if let Some(found) = found {
                        state.stray_unless_planned(key, planned);
                        self.unlock(state);
                        return Ok(self.reserved(found, request, None));
                    }
                }
                // The worst that alignment can cost inside a slab, whose start is aligned: nothing.
                let (after, granted) = self.grow_or_make_room(state, size)?;
                state = after;
                growths += 1;
                // If it was refused, what was released in the meantime may do.
                may_grow = granted.is_some() && growths < MAX_GROWTHS;
                if let Some(slab) = granted {
                    self.add_slab(&mut state, slab)?;
                    state.untold |= slab.size > size;
                    self.emit(&Event::SlabAcquired {
                        pool: self.id,
                        slab: slab.id,
                        size: slab.size,
                    });
                }
                observed = self.notification.observe();
                self.settle(&mut state);
            } else if state.is_news() {
                // The signal was for this requester too: it looks again, from a later observation.
                self.unlock(state);
                observed = self.notification.observe();
                state = self.state.lock();
                self.settle(&mut state);
            } else if allowed {
                state.stats.exhausted += 1;
                let elastic = state.holes.as_ref().map_or(0, Holes::largest_stretch);
                let largest = state.largest_slab.max(elastic);
                let growth_required = state.engine.reserve_size(need) > largest;
                return Ok(Acquire::Exhausted { observed, growth_required });
            } else {
                state.stats.over_budget += 1;
                return Ok(Acquire::OverBudget { observed });
            }
        }
    }

    /// Every way to an answer but growth. `searched`: the first was tried already; `key`: what a plan is asked for.
    #[expect(clippy::too_many_arguments, reason = "what is known of the request on its way")]
    fn look(
        &self,
        state: &mut State,
        need: Need,
        request: &Request<'_>,
        searched: bool,
        missed: &mut bool,
        wait: &mut Option<Frontier>,
        key: Option<Key>,
    ) -> Option<Found> {
        let host = &self.host;
        if !searched {
            if let Some(key) = key {
                let may_wait = self.packs(request);
                let found = state.find_placed_again(key, need, request, may_wait, host, wait);
                if found.is_some() {
                    return found;
                }
            }
            if self.packs(request)
                && let Some(found) = state.find(Seek::Tightest, need, request, &self.host, wait)
            {
                return Some(found);
            }
            let found = state.find_ready_again(Seek::Ready, need, request, &self.host);
            if found.is_some() {
                return found;
            }
        }
        if !*missed {
            *missed = true;
            state.stats.missed += 1;
        }
        let found = state.find_everywhere(need, request, &self.host);
        if found.is_none() && request.may_wait {
            if let Some(key) = key {
                let found = state.find_placed_again(key, need, request, true, host, wait);
                if found.is_some() {
                    return found;
                }
            }
            return state.find(Seek::Soonest, need, request, &self.host, wait);
        }
        found
    }

    /// Ends a look at the state. Those who wait are told if it found out that there is memory which they may be able to use.
    #[inline(always)]
    fn unlock(&self, mut state: MutexGuard<'_, State>) {
        let is_news = state.is_news();
        state.tell();
        drop(state);
        if is_news {
            self.notification.signal_if_observed();
        }
    }

    #[inline]
    fn reserved(&self, found: Found, request: &Request<'_>, wait: Option<Frontier>) -> Acquire {
        let Found { slab, offset, ticket, ready } = found;
        self.emit(&Event::Reserved { pool: self.id, slab, offset, size: request.size });
        let token = Token::Ticket(ticket);
        let reservation = Reservation { pool: self.id, slab, offset, size: request.size, token };
        match ready {
            Some(origin) => Acquire::Ready { reservation, origin },
            None => Acquire::AfterWait { reservation, wait: wait.unwrap_or_default() },
        }
    }

    #[inline(always)]
    fn take_back(&self, reservation: Reservation) -> Result<Box<Ticket>, ReleaseError> {
        if reservation.pool != self.id {
            return Err(ReleaseError::other_pool(reservation));
        }
        let Reservation { pool, slab, offset, size, token } = reservation;
        match token {
            Token::Ticket(ticket) => {
                self.emit(&Event::Released { pool, slab, offset, size });
                Ok(ticket)
            }
            token @ (Token::Block(_) | Token::Foreign(_)) => {
                let reservation = Reservation { pool, slab, offset, size, token };
                Err(ReleaseError::other_pool(reservation))
            }
        }
    }

    /// Writes the block's death into its ticket. Whether it had too many axes for that.
    #[inline(always)]
    fn write_death(&self, ticket: &mut Ticket, death: Death<'_>) -> bool {
        let many = ticket.death.set(death, &*self.host.progress);
        if many {
            self.write_wide_death(ticket, death);
        }
        many
    }

    #[cold]
    fn write_wide_death(&self, ticket: &mut Ticket, death: Death<'_>) {
        #[cfg(feature = "hosted")]
        if let Death::After(frontier) = death {
            wide::keep(ticket, frontier, &self.host);
        }
        #[cfg(not(feature = "hosted"))]
        {
            let _ = (ticket, death);
            // Relaxed: a counter.
            self.taints.fetch_add(1, crate::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Deaths that were given up.
    fn taints(&self) -> u64 {
        #[cfg(not(feature = "hosted"))]
        return self.taints.load(crate::sync::atomic::Ordering::Relaxed);
        #[cfg(feature = "hosted")]
        0
    }
}

/// A reservation in the making, built under the lock. What it has to wait for stands apart: a frontier is large, and would be
/// moved along with every answer that needs none.
struct Found {
    slab: crate::SlabId,
    offset: u64,
    ticket: Box<Ticket>,
    /// `None`: after a wait.
    ready: Option<Origin>,
}

impl State {
    /// Bytes that are reserved.
    #[inline(always)]
    fn reserved_bytes(&self) -> u64 {
        #[cfg(feature = "hosted")]
        return self.engine.reserved_bytes() - self.wide.bytes();
        #[cfg(not(feature = "hosted"))]
        self.engine.reserved_bytes()
    }

    /// Free bytes that wait.
    #[inline(always)]
    fn pending_bytes(&self) -> u64 {
        #[cfg(feature = "hosted")]
        return self.engine.pending_bytes() + self.wide.bytes();
        #[cfg(not(feature = "hosted"))]
        self.engine.pending_bytes()
    }

    /// Blocks that are live to the heap only: where they are, and what they wait for.
    fn aside(&self) -> Vec<((RegionId, u64), FrontierRef<'_>)> {
        #[cfg(feature = "hosted")]
        return self
            .wide
            .blocks()
            .filter_map(|block| Some((self.engine.place_of(block), self.wide.of(block)?)))
            .collect();
        #[cfg(not(feature = "hosted"))]
        Vec::new()
    }

    #[cfg_attr(not(feature = "hosted"), expect(unused_mut, reason = "what is wide is taken out"))]
    fn free(&mut self, mut ticket: Box<Ticket>, host: &PoolHost) {
        self.stats.requested_bytes -= ticket.requested;
        self.stats.releases += 1;
        self.stats.live -= 1;
        #[cfg(feature = "hosted")]
        if let Some(wide) = ticket.wide.take()
            && self.put_aside(&mut ticket, &wide, host)
        {
            self.tickets.push(ticket);
            self.note_pending();
            return;
        }
        let block = BlockId::from_index(ticket.block & !CANCELED);
        if ticket.block & CANCELED == 0 {
            self.engine.free(block, ticket.death.get(), &*host.progress);
        } else {
            self.engine.cancel(block, ticket.death.get(), &*host.progress);
        }
        self.tickets.push(ticket);
        self.note_pending();
    }

    /// Frees the blocks whose death is that of the one just freed. What it waits for is looked at once.
    #[inline(never)]
    fn free_followers(&mut self, drained: &mut Drained, host: &PoolHost) {
        // The ticket of the one before was the last to be put by.
        let death = self.tickets.last().map_or(StoredDeath::IDLE, |before| before.death);
        if let Some((shelf, epoch)) = self.engine.shelf_for(death.get(), &*host.progress) {
            let Self { engine, tickets, stats, .. } = self;
            let (mut count, mut requested) = (0, 0);
            let blocks = core::iter::from_fn(|| {
                let ticket = drained.next_follower()?;
                count += 1;
                requested += ticket.requested;
                let block = BlockId::from_index(ticket.block);
                tickets.push(ticket);
                Some(block)
            });
            engine.file_each(blocks, shelf, epoch);
            stats.requested_bytes -= requested;
            stats.releases += count;
            stats.live -= count;
            self.note_pending();
        } else {
            // Each is looked at: the death is reached, or of several axes.
            while let Some(mut ticket) = drained.next_follower() {
                ticket.death = death;
                self.free(ticket, host);
            }
        }
    }

    /// There may be memory for those who wait, and they were not told.
    #[inline(always)]
    fn is_news(&self) -> bool {
        self.untold | (self.engine.moves() != self.told)
    }

    /// They are about to be.
    #[inline(always)]
    fn tell(&mut self) {
        (self.told, self.untold) = (self.engine.moves(), false);
    }

    #[inline(always)]
    fn note_pending(&mut self) {
        let pending = self.pending_bytes();
        self.stats.peak_pending_bytes = self.stats.peak_pending_bytes.max(pending);
    }

    fn add_slab(&mut self, region: RegionId, slab: Slab) {
        let index = region.index() as usize;
        if index == self.slabs.len() {
            self.slabs.push(None);
        }
        self.slabs[index] = Some(slab);
        self.largest_slab = self.largest_slab.max(slab.size);
        if let Some(follower) = self.follower.as_mut() {
            follower.offer(region, slab);
        }
        self.stats.slabs += 1;
        let committed = self.engine.committed_bytes();
        self.stats.peak_committed_bytes = self.stats.peak_committed_bytes.max(committed);
    }

    /// Takes what the engine finds, with its death in a ticket.
    #[inline(always)]
    fn take(
        &mut self,
        seek: Seek,
        need: Need,
        request: &Request<'_>,
        host: &PoolHost,
        search: impl FnOnce(&mut Engine, &Ask<'_>, &mut BlockDeath) -> Option<Taken>,
    ) -> Option<(Taken, Box<Ticket>)> {
        let mut ticket = self.tickets.pop().unwrap_or_else(Ticket::new);
        let ask = Ask {
            seek,
            need,
            frontier: request.frontier,
            progress: &*host.progress,
            requested: request.size,
        };
        let found = search(&mut self.engine, &ask, &mut ticket.death.after);
        let Some(taken) = found else {
            self.tickets.push(ticket);
            return None;
        };
        ticket.death.unknown = false;
        Some((taken, ticket))
    }

    /// What the requester may use at once.
    // Always: as values, not in memory, what was found passes to the answer without waiting for stores.
    #[inline(always)]
    fn find_ready(&mut self, need: Need, request: &Request<'_>, host: &PoolHost) -> Option<Found> {
        let (taken, ticket) = self.take(Seek::Ready, need, request, host, Engine::acquire_ready)?;
        let origin = self.origin(taken, &ticket, host);
        self.found(taken, request, ticket, Some(origin))
    }

    /// [`find_ready`](Self::find_ready), where it is not the usual case.
    #[inline(never)]
    fn find_ready_again(
        &mut self,
        seek: Seek,
        need: Need,
        request: &Request<'_>,
        host: &PoolHost,
    ) -> Option<Found> {
        let (taken, ticket) = self.take(seek, need, request, host, Engine::acquire)?;
        let origin = self.origin(taken, &ticket, host);
        self.found(taken, request, ticket, Some(origin))
    }

    /// Everything that the requester may use at once: looked for before the pool refuses, grows, or lets it wait.
    #[inline(never)]
    fn find_everywhere(
        &mut self,
        need: Need,
        request: &Request<'_>,
        host: &PoolHost,
    ) -> Option<Found> {
        let mut found = None;
        if self.engine.poll_all(&*host.progress, &*host.provider) {
            found = self.find_ready_again(Seek::Ready, need, request, host);
        }
        found.or_else(|| self.find_ready_again(Seek::Covered, need, request, host))
    }

    /// What the requester may have to wait for; if so, `wait` says for what.
    fn find(
        &mut self,
        seek: Seek,
        need: Need,
        request: &Request<'_>,
        host: &PoolHost,
        wait: &mut Option<Frontier>,
    ) -> Option<Found> {
        let (taken, ticket) = self.take(seek, need, request, host, Engine::acquire)?;
        self.found_after_wait(taken, ticket, request, host, wait)
    }

    /// What was taken, and what the requester has to wait for.
    fn found_after_wait(
        &mut self,
        taken: Taken,
        ticket: Box<Ticket>,
        request: &Request<'_>,
        host: &PoolHost,
        wait: &mut Option<Frontier>,
    ) -> Option<Found> {
        let death = &ticket.death.after;
        let left = self.engine.wait_for(&taken, death, request.frontier, &*host.progress);
        let Some(left) = left else {
            // Nobody can be told of so many axes.
            self.engine.cancel(taken.block, ticket.death.get(), &*host.progress);
            self.tickets.push(ticket);
            return None;
        };
        let ready = if left.is_empty() {
            Some(self.origin(taken, &ticket, host))
        } else {
            self.stats.waited += 1;
            None
        };
        *wait = Some(left);
        self.found(taken, request, ticket, ready)
    }

    /// Where ready bytes come from, counted.
    #[inline(always)]
    fn origin(&mut self, taken: Taken, ticket: &Ticket, host: &PoolHost) -> Origin {
        if taken.fresh {
            self.stats.fresh += 1;
            Origin::Fresh
        } else if self.engine.is_waited_for(&taken, &ticket.death.after, &*host.progress) {
            self.stats.dominated += 1;
            Origin::Reused(ReuseProof::Dominance)
        } else {
            // Clean, or reached since it was last looked at.
            self.stats.completed += 1;
            Origin::Reused(ReuseProof::Completion)
        }
    }

    #[inline(always)]
    fn found(
        &mut self,
        taken: Taken,
        request: &Request<'_>,
        mut ticket: Box<Ticket>,
        ready: Option<Origin>,
    ) -> Option<Found> {
        ticket.block = taken.block.index();
        ticket.requested = request.size;
        let reserved = self.reserved_bytes();
        let stats = &mut self.stats;
        stats.reserves += 1;
        stats.live += 1;
        stats.requested_bytes += request.size;
        stats.peak_requested_bytes = stats.peak_requested_bytes.max(stats.requested_bytes);
        stats.peak_reserved_bytes = stats.peak_reserved_bytes.max(reserved);
        let slab = self.slabs.as_slice()[taken.region.index() as usize]?.id;
        Some(Found { slab, offset: taken.offset, ticket, ready })
    }
}

fn config_error(error: TlsfError) -> PoolError {
    match error {
        TlsfError::Granule => PoolError::InvalidConfig("the granule must be a power of two"),
        TlsfError::SecondLevel => {
            PoolError::InvalidConfig("second-level bits must be between 3 and 6")
        }
        TlsfError::RegionSize => PoolError::InvalidConfig(
            "a slab is smaller than the granule, or has 2^32 granules: choose a larger granule",
        ),
        TlsfError::Full => PoolError::TooManyBlocks,
    }
}

impl Pool for TlsfPool {
    fn id(&self) -> PoolId {
        self.id
    }

    fn properties(&self) -> PoolProperties {
        PoolProperties {
            kind: "tlsf",
            memory_type: self.provider.memory_type,
            usage: self.provider.usage,
            alignment: self.config.offsets.granule.min(self.provider.alignment),
            max_request: self.most,
        }
    }

    /// Whole granules; what alignment cuts off stays free.
    fn footprint(&self, size: u64, _alignment: u64) -> u64 {
        // A power of two: no division.
        let below = self.config.offsets.granule.max(1) - 1;
        size.checked_add(below).map_or(u64::MAX, |end| end & !below)
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        let need = self.need(request)?;
        let observed: Observation = self.notification.observe();
        let mut state = self.state.lock();
        self.settle(&mut state);
        match self.find_first(&mut state, need, request) {
            Ok(found) => {
                self.unlock(state);
                Ok(self.reserved(found, request, None))
            }
            Err(searched) => self.acquire_otherwise(state, need, request, observed, searched, None),
        }
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        let reservation = self.host.check(reservation, death)?;
        let mut ticket = self.take_back(reservation)?;
        self.write_death(&mut ticket, death);
        self.inbox.push(ticket);
        self.notification.signal_if_observed();
        Ok(())
    }

    fn exchange(
        &self,
        reservation: Reservation,
        death: Death<'_>,
        request: &Request<'_>,
    ) -> Result<Result<Acquire, PoolError>, ReleaseError> {
        let reservation = self.host.check(reservation, death)?;
        let ticket = self.take_back(reservation)?;
        match self.turn(ticket, death, request) {
            Ok(found) => Ok(Ok(self.reserved(found, request, None))),
            Err(searched) => Ok(self.acquire_after(request, searched)),
        }
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        // The ticket still holds the death that the block had, the heap those of its pieces.
        let mut ticket = self.take_back(reservation)?;
        ticket.block |= CANCELED;
        self.inbox.push(ticket);
        self.notification.signal_if_observed();
        Ok(())
    }

    fn poll(&self) {
        let mut state = self.state.lock();
        self.settle(&mut state);
        #[cfg(feature = "hosted")]
        if state.look_aside(&self.host) {
            state.untold = true;
        }
        state.engine.poll_all(&*self.host.progress, &*self.host.provider);
        self.unlock(state);
    }

    fn quiesce(&self) {
        let mut state = self.state.lock();
        self.settle(&mut state);
        #[cfg(feature = "hosted")]
        state.file_all_aside(&self.host);
        state.engine.quiesce();
        state.tell();
        drop(state);
        self.notification.signal_if_observed();
    }

    fn trim(&self, how: Trim) -> Result<u64, PoolError> {
        let mut empty = Vec::new();
        let mut state = self.state.lock();
        self.settle(&mut state);
        #[cfg(feature = "hosted")]
        if state.look_aside(&self.host) {
            state.untold = true;
        }
        state.engine.poll_all(&*self.host.progress, &*self.host.provider);
        let (mut kept, mut kept_bytes, mut largest) = (0, 0, 0);
        let mut keeps = |size| {
            let keep = how == Trim::Excess && self.config.retention.keeps(kept, kept_bytes, size);
            if keep {
                kept += 1;
                kept_bytes += size;
            }
            keep
        };
        let (mut bytes, mut failure);
        (state, bytes, failure) = self.trim_elastic(state, &mut keeps);
        let State { engine, slabs, stats, largest_slab, holes, follower, .. } = &mut *state;
        for (index, slot) in slabs.iter_mut().enumerate() {
            let Some(slab) = *slot else { continue };
            let region = RegionId::from_index(index as u32);
            if holes.as_ref().is_some_and(|holes| holes.is_elastic(region)) {
                continue;
            }
            if engine.is_empty(region) && !keeps(slab.size) {
                let untouched = engine.untouched(region);
                if engine.remove_region(region, &*self.host.progress).is_some() {
                    *slot = None;
                    if let Some(follower) = follower.as_mut() {
                        follower.lose(slab.id);
                    }
                    stats.slabs -= 1;
                    empty.push((slab, untouched));
                    continue;
                }
            }
            largest = largest.max(slab.size);
        }
        *largest_slab = largest;
        // There will be room to grow, or a slab back that was out of sight for a moment.
        state.untold |= !empty.is_empty() || bytes != 0;
        drop(state);
        for slab in empty {
            let size = slab.0.size;
            match self.give_slab_back(slab) {
                Ok(()) => bytes += size,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        self.unlock(self.state.lock());
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(bytes),
        }
    }

    fn stats(&self) -> PoolStats {
        let mut state = self.state.lock();
        self.settle(&mut state);
        let engine = &state.engine;
        let reserved_bytes = state.reserved_bytes();
        let stats = PoolStats {
            reserved_bytes,
            free_bytes: engine.committed_bytes() - reserved_bytes,
            pending_bytes: state.pending_bytes(),
            tainted_bytes: engine.tainted_bytes(),
            committed_bytes: engine.committed_bytes(),
            tainted: self.taints() + engine.taints(),
            ..state.stats
        };
        self.unlock(state);
        stats
    }

    fn provider(&self) -> Option<&Arc<dyn SlabProvider>> {
        Some(&self.host.provider)
    }

    #[cfg(feature = "hosted")]
    fn progress(&self) -> Option<&Arc<dyn crate::Progress>> {
        Some(&self.host.progress)
    }

    fn notification(&self) -> &Arc<Notification> {
        &self.notification
    }

    fn inspect(&self, visit: &mut dyn FnMut(&BlockView<'_>)) {
        let mut state = self.state.lock();
        self.settle(&mut state);
        let mut slabs: Vec<_> = (0..)
            .zip(&state.slabs)
            .filter_map(|(index, slab)| slab.map(|slab| (slab, RegionId::from_index(index))))
            .collect();
        slabs.sort_unstable_by_key(|(slab, _)| slab.id);
        let aside = state.aside();
        for (slab, region) in slabs {
            state.engine.visit(region, &mut |offset, size, block| {
                let left = aside.iter().find(|(at, _)| *at == (region, offset));
                let state = left.map_or(block, |(_, left)| BlockState::Pending(*left));
                visit(&BlockView { slab: slab.id, offset, size, state });
            });
        }
        self.unlock(state);
    }
}

impl fmt::Debug for TlsfPool {
    /// Which pool: blocks are shown by [`inspect`](Pool::inspect), counters by [`stats`](Pool::stats).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::show(f, "TlsfPool", self.id)
    }
}

impl Drop for TlsfPool {
    /// Gives every slab back, whatever of it is still reserved or pending: the host drops a pool when
    /// its device is done with it.
    fn drop(&mut self) {
        let state = self.state.lock();
        for slab in state.slabs.iter().flatten() {
            // A provider that cannot take it back has nobody left to tell.
            let _ = self.host.provider.release(slab.id);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
