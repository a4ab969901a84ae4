//! The TLSF pool against a map that knows of every byte when it died: nothing too early, nothing overlooked, no answer untrue.
//!
//! ```text
//!   program ──▶ pool ──▶ answer ──▶ map: are all bytes free, and ready as the answer says?
//!                                        does the wait name what is neither known nor reached, and nothing else?
//!                                        refused, grown or made to wait: was there no ready range of twice the need?
//! ```
//!
//! Programs come from seeds: several axes, several in one death, reached out of order; requesters that know a part; waits,
//! cancels, growth and trimming. `STRANDLINE_SOAK_OPERATIONS` sets how many operations are done. Each flaw of [`Flaw`] is planted
//! between the pool and the map once, and found.

#![cfg(not(loom))]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use strandline_core::inspect::BlockState;
use strandline_core::offset::tlsf::{Carve, Config, Placement, Search, Tie};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{Coalescing, TlsfPool, TlsfPoolConfig, Waiting};
use strandline_core::pool::{Origin, PoolHost, Reservation, ReuseProof};
use strandline_core::slab::{
    BufferUsage, MemoryType, SlabProperties, SlabProvider, SlabStats, Trim,
};
use strandline_core::{
    Acquire, Axis, Death, Entry, Epoch, Frontier, Grant, Pool, Progress, Request, Slab, SlabError,
    SlabId,
};

const AXES: usize = 12;

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn axis(i: usize) -> Axis {
    Axis::queue(0, 0, 0, i as u8)
}

fn index(axis: Axis) -> usize {
    usize::from(axis.queue_index().unwrap())
}

#[derive(Debug, Default)]
struct Dial([AtomicU64; AXES]);

impl Dial {
    fn at(&self, i: usize) -> Epoch {
        self.0[i].load(Ordering::Acquire)
    }
}

impl Progress for Dial {
    fn reached(&self, axis: Axis) -> Epoch {
        self.at(index(axis))
    }
}

#[derive(Debug, Default)]
struct Provider {
    out: Mutex<BTreeMap<SlabId, u64>>,
    next: AtomicU64,
    refuses: AtomicU64,
}

impl SlabProvider for Provider {
    fn properties(&self) -> SlabProperties {
        SlabProperties {
            memory_type: MemoryType::NONE,
            usage: BufferUsage::NONE,
            alignment: 64,
            granularity: 1,
            max_slab_size: 1 << 20,
        }
    }
    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        if self.refuses.load(Ordering::Relaxed) != 0 {
            return Ok(Grant::NoCapacity);
        }
        let id = SlabId::new(self.next.fetch_add(1, Ordering::Relaxed) as u32, 0);
        self.out.lock().unwrap().insert(id, size);
        Ok(Grant::Slab(Slab { id, size }))
    }
    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.out.lock().unwrap().remove(&id).map(drop).ok_or(SlabError::UnknownSlab(id))
    }
    fn stats(&self) -> SlabStats {
        SlabStats::default()
    }
}

/// What a byte waits for. Deaths are kept by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Byte {
    Live,
    Free(u32),
    Unknown,
}

/// What stands between the pool and the map, and is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// Every reuse is called a completion.
    Label,
    /// Every thousandth answer becomes a refusal.
    Refusal,
    /// A wait names an axis too many.
    WaitMore,
    /// A wait names an axis too few.
    WaitLess,
    /// Deaths are raised by one epoch.
    Raised,
    /// What is canceled dies at its wait.
    Cancel,
}

struct Held {
    reservation: Reservation,
    slab: SlabId,
    range: std::ops::Range<usize>,
    /// As they were.
    before: Vec<Byte>,
    wait: Frontier,
}

struct World {
    rng: Rng,
    flaw: Flaw,
    pool: TlsfPool,
    provider: Arc<Provider>,
    dial: Arc<Dial>,
    granule: u64,
    packs: bool,
    slabs: BTreeMap<SlabId, (Vec<Byte>, Vec<bool>)>,
    deaths: Vec<Frontier>,
    submitted: [Epoch; AXES],
    axes: usize,
    held: Vec<Held>,
    answers: u64,
}

type Verdict = Result<(), String>;

macro_rules! ensure {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}

impl World {
    fn new(seed: u64, flaw: Flaw) -> Self {
        let mut rng = Rng(seed);
        let granule = [1, 1, 1, 2, 4][rng.below(5) as usize];
        let carve = |rng: &mut Rng| Carve::ALL[rng.below(Carve::ALL.len() as u64) as usize];
        let placement = match rng.below(3) {
            0 => Placement::FAST,
            1 => Placement {
                large: carve(&mut rng),
                small: carve(&mut rng),
                threshold: 8,
                ..Placement::FAST
            },
            _ => Placement {
                search: Search::Best { scan: 1 + rng.below(6) as u16, tie: Tie::First },
                threshold: 8,
                large: carve(&mut rng),
                small: carve(&mut rng),
            },
        };
        let packs = rng.one_in(4);
        let config = TlsfPoolConfig {
            offsets: Config { granule, second_level_bits: 3 + rng.below(4) as u8, placement },
            growth: Growth { slab_size: 16 + rng.below(400), max_slabs: 1 + rng.below(4) as u32 },
            waiting: if packs { Waiting::ToPack } else { Waiting::LastResort },
            coalescing: Coalescing::Readiness,
            ..TlsfPoolConfig::default()
        };
        let (provider, dial) = (Arc::new(Provider::default()), Arc::new(Dial::default()));
        let host = PoolHost::new(provider.clone(), dial.clone());
        let most = if rng.one_in(3) { AXES as u64 } else { 4 };
        let axes = 1 + rng.below(most) as usize;
        Self {
            rng,
            flaw,
            pool: TlsfPool::new(host, config).unwrap(),
            provider,
            dial,
            granule,
            packs,
            slabs: BTreeMap::new(),
            deaths: vec![Frontier::new()],
            submitted: [0; AXES],
            axes,
            held: Vec::new(),
            // So that a thousandth answer comes in some programs.
            answers: seed * 800,
        }
    }

    fn run(&mut self, operations: u64) -> Verdict {
        for _ in 0..operations {
            match self.rng.below(64) {
                0..28 => self.acquire()?,
                28..48 => self.release(),
                48..53 => self.cancel(),
                53..60 => self.reach(),
                60 => {
                    self.pool.poll();
                    self.inspect()?;
                }
                61 => self.trim()?,
                62 => {
                    let refuses = self.rng.below(2);
                    self.provider.refuses.store(refuses, Ordering::Relaxed);
                }
                _ => {
                    if self.rng.one_in(8) {
                        self.pool.quiesce();
                        for byte in self.slabs.values_mut().flat_map(|(bytes, _)| bytes) {
                            if *byte != Byte::Live {
                                *byte = Byte::Free(0);
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn reach(&mut self) {
        let i = self.rng.below(self.axes as u64) as usize;
        let ahead = self.submitted[i].saturating_sub(self.dial.at(i));
        let by = if self.rng.one_in(4) { ahead } else { ahead.min(1) };
        self.dial.0[i].fetch_add(by, Ordering::Release);
    }

    /// What a requester knows: of each axis nothing, something, or everything.
    fn knowledge(&mut self) -> Frontier {
        let mut known = Frontier::new();
        let all = self.rng.one_in(6);
        for i in 0..self.axes {
            let epoch = match self.rng.below(4) {
                _ if all => self.submitted[i] + 1,
                0 => self.submitted[i],
                1 => self.submitted[i].saturating_sub(self.rng.below(12)),
                _ => 0,
            };
            if epoch > 0 {
                let _ = known.advance(axis(i), epoch);
            }
        }
        known
    }

    fn reached(&self, entry: &Entry) -> bool {
        self.dial.at(index(entry.axis)) >= entry.epoch
    }

    fn is_ready(&self, byte: Byte, known: &Frontier) -> bool {
        match byte {
            Byte::Live | Byte::Unknown => false,
            Byte::Free(death) => {
                self.deaths[death as usize].as_ref().entries().iter().all(|entry| {
                    self.reached(entry) || known.as_ref().get(entry.axis) >= entry.epoch
                })
            }
        }
    }

    /// A range of at least twice the need in which the need fits and every byte `may` be used.
    fn fits(&self, size: u64, alignment: u64, may: impl Fn(Byte) -> bool) -> Option<String> {
        let need = size.next_multiple_of(self.granule) as usize;
        let align = alignment.max(self.granule) as usize;
        for (id, (bytes, _)) in &self.slabs {
            let whole = bytes.len() - bytes.len() % self.granule as usize;
            let mut from = 0_usize;
            for at in 0..=whole {
                if bytes[..whole].get(at).copied().is_some_and(&may) {
                    continue;
                }
                let start = from.next_multiple_of(align);
                if at >= from + 2 * need && at >= start + need {
                    return Some(format!("{id:?} {from}..{at} for {need}"));
                }
                from = at + 1;
            }
        }
        None
    }

    fn acquire(&mut self) -> Verdict {
        let size = match self.rng.below(8) {
            0 => 1 + self.rng.below(120),
            1..4 => 1 + self.rng.below(24),
            _ => 1 + self.rng.below(6),
        };
        let alignment = if self.rng.one_in(6) { 1 << self.rng.below(7) } else { 1 };
        let known = self.knowledge();
        let (may_wait, may_grow) = (self.rng.one_in(3), self.rng.one_in(3));
        let request = Request {
            may_wait,
            may_grow,
            ..Request::new(size).aligned(alignment).after(known.as_ref())
        };
        let slabs = self.provider.out.lock().unwrap().len();
        let mut answer = self.pool.acquire(&request).map_err(|error| error.to_string())?;
        let grown = self.provider.out.lock().unwrap().len() > slabs;
        self.answers += 1;
        if self.flaw == Flaw::Refusal
            && self.answers.is_multiple_of(1000)
            && let Acquire::Ready { reservation, .. } = answer
        {
            self.pool.cancel(reservation).unwrap();
            let observed = self.pool.notification().observe();
            answer = Acquire::Exhausted { observed, growth_required: false };
        }
        let waits = matches!(answer, Acquire::AfterWait { .. });
        let refused = matches!(answer, Acquire::Exhausted { .. });
        if refused || grown || waits && !self.packs {
            let missed = self.fits(size, alignment, |byte| self.is_ready(byte, &known));
            ensure!(missed.is_none(), "{answer:?} grown {grown}, but {missed:?} is ready");
        }
        if may_wait && (refused || grown) {
            let missed = self.fits(size, alignment, |byte| matches!(byte, Byte::Free(_)));
            ensure!(missed.is_none(), "{answer:?} grown {grown}, but {missed:?} can be waited for");
        }
        for (&id, &size) in self.provider.out.lock().unwrap().iter() {
            let size = size as usize;
            self.slabs.entry(id).or_insert_with(|| (vec![Byte::Free(0); size], vec![false; size]));
        }
        let (reservation, origin, mut wait) = match answer {
            Acquire::Ready { reservation, origin } => (reservation, Some(origin), Frontier::new()),
            Acquire::AfterWait { reservation, wait } => (reservation, None, wait),
            Acquire::Exhausted { growth_required, .. } => {
                let need = size.next_multiple_of(self.granule);
                let largest = self.slabs.values().map(|(bytes, _)| bytes.len()).max().unwrap_or(0);
                ensure!(growth_required == (need > largest as u64), "{need} of {largest}");
                return Ok(());
            }
            other => return Err(format!("{other:?}")),
        };
        let slab = reservation.slab();
        let from = reservation.offset() as usize;
        let range = from..from + size.next_multiple_of(self.granule) as usize;
        ensure!(reservation.offset().is_multiple_of(alignment), "{reservation:?} at {alignment}");
        let (bytes, touched) = &self.slabs[&slab];
        ensure!(range.end <= bytes.len(), "{reservation:?} ends behind its slab");
        let before = bytes[range.clone()].to_vec();
        let fresh = !touched[range.clone()].contains(&true);
        let mut left = Frontier::new();
        let mut unreached = false;
        for &byte in &before {
            let Byte::Free(death) = byte else {
                return Err(format!("{reservation:?} has a byte that is {byte:?}"));
            };
            for entry in self.deaths[death as usize].as_ref().entries() {
                unreached |= !self.reached(entry);
                if !self.reached(entry) && known.as_ref().get(entry.axis) < entry.epoch {
                    let _ = left.advance(entry.axis, entry.epoch);
                }
            }
        }
        match self.flaw {
            Flaw::WaitMore if origin.is_none() => {
                let _ = wait.advance(axis(AXES - 1), 1 << 40);
            }
            Flaw::WaitLess if origin.is_none() => {
                let rest = wait.as_ref().entries().iter().skip(1).copied();
                wait = Frontier::from_entries(rest).unwrap();
            }
            _ => {}
        }
        ensure!(wait == left, "{reservation:?} {origin:?} waits for {wait}, not for {left}");
        let origin = match origin {
            Some(Origin::Reused(_)) if self.flaw == Flaw::Label => {
                Some(Origin::Reused(ReuseProof::Completion))
            }
            origin => origin,
        };
        match origin {
            None => ensure!(!left.is_empty(), "{reservation:?} need not wait"),
            Some(Origin::Fresh) => ensure!(fresh, "{reservation:?} is not fresh"),
            Some(Origin::Reused(proof)) => {
                ensure!(!fresh, "{reservation:?} is fresh");
                let truth = if unreached { ReuseProof::Dominance } else { ReuseProof::Completion };
                ensure!(proof == truth, "{reservation:?} was reused by {truth:?}, not {proof:?}");
            }
        }
        let (bytes, touched) = self.slabs.get_mut(&slab).unwrap();
        bytes[range.clone()].fill(Byte::Live);
        touched[range.clone()].fill(true);
        self.held.push(Held { reservation, slab, range, before, wait });
        Ok(())
    }

    fn pick(&mut self) -> Option<Held> {
        let len = self.held.len() as u64;
        (len > 0).then(|| self.rng.below(len) as usize).map(|at| self.held.swap_remove(at))
    }

    fn release(&mut self) {
        let Some(held) = self.pick() else { return };
        let mut death = Frontier::new();
        let kind = self.rng.below(40);
        let count = match kind {
            0 | 1 => 0,
            2 => self.axes,
            3..30 => 1,
            _ => 1 + self.rng.below(3) as usize,
        };
        let first = self.rng.below(self.axes as u64) as usize;
        for i in (first..first + count.min(self.axes)).map(|i| i % self.axes) {
            // Usually later work; now and then what was submitted before, as by who knows that it used less.
            if self.rng.one_in(4) {
                let epoch = self.submitted[i].saturating_sub(self.rng.below(6)).max(1);
                let _ = death.advance(axis(i), epoch);
                self.submitted[i] = self.submitted[i].max(epoch);
            } else {
                self.submitted[i] += 1;
                let _ = death.advance(axis(i), self.submitted[i]);
            }
        }
        let unknown = self.rng.one_in(200);
        let told = if unknown {
            Death::Unknown
        } else if death.is_empty() {
            Death::Idle
        } else {
            Death::After(death.as_ref())
        };
        let raised = Frontier::from_entries(
            death.as_ref().entries().iter().map(|entry| Entry::new(entry.axis, entry.epoch + 1)),
        )
        .unwrap();
        let told = match told {
            Death::After(_) if self.flaw == Flaw::Raised => Death::After(raised.as_ref()),
            told => told,
        };
        self.pool.release(held.reservation, told).unwrap();
        // What is reached is forgotten before a death is too large.
        let open = death.as_ref().entries().iter().filter(|entry| !self.reached(entry)).count();
        let byte = if unknown || open > 8 {
            Byte::Unknown
        } else {
            self.deaths.push(death);
            Byte::Free(self.deaths.len() as u32 - 1)
        };
        self.slabs.get_mut(&held.slab).unwrap().0[held.range].fill(byte);
        // The pool looks at once at what is reached, and an axis may move before the next acquire settles it.
        let _ = self.pool.stats();
    }

    fn cancel(&mut self) {
        let Some(held) = self.pick() else { return };
        if self.flaw == Flaw::Cancel {
            self.pool.release(held.reservation, Death::After(held.wait.as_ref())).unwrap();
        } else {
            self.pool.cancel(held.reservation).unwrap();
        }
        let bytes = &mut self.slabs.get_mut(&held.slab).unwrap().0[held.range];
        bytes.copy_from_slice(&held.before);
    }

    fn trim(&mut self) -> Verdict {
        self.pool.trim(Trim::All).map_err(|error| error.to_string())?;
        let none = Frontier::new();
        let out = self.provider.out.lock().unwrap().clone();
        let is_ready = |bytes: &[Byte]| {
            let whole = bytes.len() - bytes.len() % self.granule as usize;
            bytes[..whole].iter().all(|&byte| self.is_ready(byte, &none))
        };
        for (id, (bytes, _)) in &self.slabs {
            let returned = !out.contains_key(id);
            ensure!(returned == is_ready(bytes), "{id:?} returned: {returned}");
        }
        self.slabs.retain(|id, _| out.contains_key(id));
        Ok(())
    }

    /// After a poll, what the pool shows and counts is what is.
    fn inspect(&self) -> Verdict {
        let mut verdict = Ok(());
        let mut shown = 0;
        let open = |death: &[Entry]| -> Vec<Entry> {
            death.iter().filter(|entry| !self.reached(entry)).copied().collect()
        };
        self.pool.inspect(&mut |block| {
            let range = block.offset as usize..(block.offset + block.size) as usize;
            for &byte in &self.slabs[&block.slab].0[range] {
                shown += 1;
                let death = match byte {
                    Byte::Free(death) => self.deaths[death as usize].as_ref().entries(),
                    _ => &[],
                };
                let agrees = match block.state {
                    BlockState::Live { .. } => byte == Byte::Live,
                    BlockState::Tainted => byte == Byte::Unknown,
                    BlockState::Clean => matches!(byte, Byte::Free(_)) && open(death).is_empty(),
                    BlockState::Pending(shown) => {
                        !open(death).is_empty() && open(shown.entries()) == open(death)
                    }
                };
                if !agrees && verdict.is_ok() {
                    verdict = Err(format!("{block:?} has a byte that dies {death:?}"));
                }
            }
        });
        verdict?;
        let (mut pending, mut tainted, mut all) = (0, 0, 0);
        for (bytes, _) in self.slabs.values() {
            let whole = bytes.len() - bytes.len() % self.granule as usize;
            all += whole;
            for &byte in &bytes[..whole] {
                match byte {
                    Byte::Unknown => tainted += 1,
                    Byte::Free(_) if !self.is_ready(byte, &Frontier::new()) => pending += 1,
                    _ => {}
                }
            }
        }
        let stats = self.pool.stats();
        ensure!(shown == all, "{shown} bytes shown of {all}");
        ensure!(
            (stats.pending_bytes, stats.tainted_bytes) == (pending, tainted),
            "{stats:?}, but {pending} are pending and {tainted} tainted"
        );
        Ok(())
    }
}

fn programs(flaw: Flaw, operations: u64) -> Verdict {
    const EACH: u64 = 2_000;
    let first = std::env::var("STRANDLINE_SEED").ok().and_then(|seed| seed.parse().ok());
    let first = first.unwrap_or(0);
    for seed in first..first + operations / EACH {
        let mut world = World::new(seed, flaw);
        world.run(EACH).map_err(|what| format!("seed {seed}: {what}"))?;
    }
    Ok(())
}

#[test]
fn every_byte_is_as_the_map_says() {
    let asked = std::env::var("STRANDLINE_SOAK_OPERATIONS").ok().and_then(|n| n.parse().ok());
    let usual = if cfg!(miri) {
        4_000
    } else if cfg!(debug_assertions) {
        200_000
    } else {
        1_000_000
    };
    if let Err(what) = programs(Flaw::None, asked.unwrap_or(usual)) {
        panic!("{what}");
    }
}

#[test]
fn planted_flaws_are_found() {
    for flaw in
        [Flaw::Label, Flaw::Refusal, Flaw::WaitMore, Flaw::WaitLess, Flaw::Raised, Flaw::Cancel]
    {
        assert!(programs(flaw, if cfg!(miri) { 8_000 } else { 100_000 }).is_err(), "{flaw:?}");
    }
}
