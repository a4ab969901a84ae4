//! Generated programs: two tenants, their queues, and a host that goes on or fails when it likes.

use super::bytes::{Clock, HOST, Knows, Map, Owner, Span, join};
use super::random::Random;
use super::{Puppet, Setup};
use crate::support::PATIENCE;
use std::collections::BTreeMap;
use std::time::Instant;
use strandline_core::{Acquire, Axis, Death, Frontier, Progress, Request, Reservation};
use strandline_guest_tests::Entry;
use strandline_guest_tests::puppet::{
    AFTER, Call, IDLE, IN_LEDGER, MAY_WAIT, OF_BUFFER, Op, TO_BUFFER, UNKNOWN, next_outcome,
};
use strandline_host_tenants::tenant::TenantLimits;

/// Bytes of each pool, and of the largest request.
pub(super) const POOL: u64 = 4096;
const BLOCK: u64 = 256;
/// Less than a pool, so that it is met.
pub(super) const BUDGET: u64 = 3072;
const STEPS: usize = 160;

/// What came of the programs: that they were not idle.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    pub(super) granted: u64,
    pub(super) contended: u64,
    pub(super) operations: u64,
    pub(super) compared: u64,
    pub(super) ended: u64,
}

/// Memory of a tenant.
#[derive(Debug, Default)]
struct Memory {
    slot: u64,
    pool: u64,
    len: u64,
    /// Where it is and under what grant, once that is known.
    at: Option<(Span, u64)>,
    /// As the tenant may expect to read it.
    content: Vec<u8>,
    /// The last operation of each queue on it.
    touched: Clock,
    /// What the first use is ordered after.
    claim: Clock,
    first: Option<(u64, u64)>,
    /// Operations before it was known where: what they touch, and when.
    unplaced: Vec<(u64, u64, (u64, u64))>,
    is_buffer: bool,
    /// Cannot be worked on.
    in_ledger: bool,
}

#[derive(Debug)]
struct Reading {
    slot: u64,
    at: (u64, u64),
    expected: Vec<u8>,
}

struct Side {
    owner: Owner,
    puppet: Box<dyn Puppet>,
    /// Axes, and the last epoch of each.
    queues: Vec<(u64, u64)>,
    memories: Vec<Memory>,
    readings: Vec<Reading>,
    /// Host axes, as far as it was told.
    told: Clock,
    ended_buffers: Vec<u64>,
    /// A buffer was freed while it was in line: it may be so still.
    ended_in_line: bool,
    slots: u64,
}

/// See the [module](self).
pub(super) struct Model<'a> {
    setup: &'a Setup<'a>,
    random: Random,
    map: Map,
    sides: Vec<Side>,
    owners: Owner,
    held: Vec<(u64, Reservation, u64)>,
    /// The host's axes: how far submitted, and how far completed.
    host: Vec<(u64, u64, u64)>,
    lost: Option<usize>,
    /// Allocas may be made to wait, for what nobody sees.
    unseen: bool,
    coverage: Coverage,
    log: Vec<String>,
}

type Checked<T = ()> = Result<T, String>;

fn list(clock: &Clock) -> Vec<Entry> {
    clock.iter().map(|(&axis, &epoch)| Entry { axis, epoch }).collect()
}

impl<'a> Model<'a> {
    /// Runs a program.
    ///
    /// # Errors
    /// What was wrong, and the calls up to there.
    pub(super) fn run(setup: &'a Setup<'a>, seed: u64) -> Checked<Coverage> {
        let mut model = Self {
            setup,
            random: Random::new(seed),
            map: Map::default(),
            sides: Vec::new(),
            owners: 0,
            held: Vec::new(),
            host: Vec::new(),
            lost: None,
            unseen: seed.is_multiple_of(3),
            coverage: Coverage::default(),
            log: Vec::new(),
        };
        match model.steps() {
            Ok(()) => {
                model.coverage.contended = model.map.contended;
                Ok(model.coverage)
            }
            Err(wrong) => {
                let log = model.log.join("\n");
                // Threads of a guest end with it.
                model.sides.into_iter().for_each(|side| side.puppet.end());
                Err(format!("{log}\nseed {seed}: {wrong}"))
            }
        }
    }

    fn reached(&self) -> impl Fn(u64) -> u64 + 'a {
        let tracker = self.setup.rig.stage.tracker.clone();
        move |axis| tracker.reached(Axis::from_bits(axis))
    }

    fn steps(&mut self) -> Checked {
        for _ in 0..2 {
            let axis = self.setup.submit(self.host.len());
            self.host.push((axis.axis, 1, 0));
        }
        let lost_at = if self.random.below(4) == 0 { self.random.below(STEPS) } else { STEPS };
        for _ in 0..2 {
            let side = self.side()?;
            self.sides.push(side);
        }
        for step in 0..STEPS {
            if step == lost_at {
                self.log.push("lost".to_owned());
                self.setup.rig.stage.lose(1);
                self.lost = Some(1);
                self.setup.rig.device.progressed();
            }
            self.step()?;
            self.watch()?;
        }
        self.finish()
    }

    fn side(&mut self) -> Checked<Side> {
        let owner = self.owners;
        self.owners += 1;
        let limits = TenantLimits { budget: BUDGET, ..TenantLimits::default() };
        let mut side = Side {
            owner,
            puppet: self.setup.puppet(limits),
            queues: Vec::new(),
            memories: Vec::new(),
            readings: Vec::new(),
            told: Clock::new(),
            ended_buffers: Vec::new(),
            ended_in_line: false,
            slots: 0,
        };
        for _ in 0..3 {
            let opened = side.puppet.call(&Call::new(Op::Open)).ok_or("no queue")?;
            side.queues.push((opened[0], opened[1]));
        }
        Ok(side)
    }

    /// A call of a side, and what can be seen after it: its charge, and where its buffers are.
    fn call(&mut self, at: usize, call: &Call) -> Checked<Option<Vec<u64>>> {
        let side = &mut self.sides[at];
        let answer = side.puppet.call(call);
        let charged = side.puppet.charged();
        self.log.push(format!("{} {call:?} = {answer:?}", side.owner));
        if charged > BUDGET {
            return Err(format!("charged {charged}"));
        }
        Ok(answer)
    }

    fn watch(&mut self) -> Checked {
        let reached = self.reached();
        for at in 0..self.sides.len() {
            for memory in 0..self.sides[at].memories.len() {
                self.place(at, memory)?;
            }
            let side = &mut self.sides[at];
            let charged = side.puppet.charged();
            let pinned = self.map.pinned(side.owner, &reached);
            if charged < pinned {
                return Err(format!("{} is charged {charged} and pins {pinned}", side.owner));
            }
        }
        self.map.watch(&reached)
    }

    /// Whether a buffer has memory by now.
    fn place(&mut self, at: usize, memory: usize) -> Checked {
        let of = &self.sides[at].memories[memory];
        if !of.is_buffer || of.at.is_some() {
            return Ok(());
        }
        let status = Call { slot: of.slot, ..Call::new(Op::Status) };
        let answer = self.call(at, &status)?.ok_or("a buffer is not known")?;
        let &[1, slab, offset] = &answer[..] else { return Ok(()) };
        let side = &mut self.sides[at];
        let of = &mut side.memories[memory];
        let span = Span { pool: of.pool, slab, from: offset, to: offset + of.len };
        let alloca = of.first.ok_or("an alloca has an epoch")?;
        let clock = self.map.clock_of([alloca]);
        let knows = Knows { clock: &clock, unseen: self.unseen };
        let grant = self.map.grant(side.owner, span, &knows, &|axis| {
            self.setup.rig.stage.tracker.reached(Axis::from_bits(axis))
        })?;
        self.coverage.granted += 1;
        of.at = Some((span, grant));
        // It is zeroed.
        self.map.touch(side.owner, grant, span, alloca);
        for (offset, len, when) in std::mem::take(&mut of.unplaced) {
            self.map.touch(side.owner, grant, span.part(offset, len), when);
        }
        Ok(())
    }

    /// Some of what a tenant may wait for: epochs of its own, and the host's that it was told of.
    fn entries(&mut self, at: usize, most: usize) -> Clock {
        let mut clock = Clock::new();
        let side = &self.sides[at];
        let known: Vec<_> = side
            .queues
            .iter()
            .copied()
            .chain(side.told.iter().map(|(&axis, &epoch)| (axis, epoch)))
            .filter(|&(_, epoch)| epoch > 0)
            .collect();
        for _ in 0..self.random.below(most + 1) {
            if let Some(&(axis, last)) = self.random.one_of(&known) {
                // Mostly the last, at times an earlier one.
                let back = if self.random.below(3) == 0 { self.random.below(3) as u64 } else { 0 };
                clock.insert(axis, last.saturating_sub(back).max(1));
            }
        }
        clock
    }

    fn step(&mut self) -> Checked {
        let at = self.random.below(2);
        match self.random.below(100) {
            0..8 => self.acquire(at),
            8..14 => self.life(at),
            14..18 => self.acquire_batch(at),
            18..31 => self.release(at),
            31..34 => self.cancel(at),
            34..39 => self.exchange(at),
            39..46 => self.alloca(at),
            46..52 => self.dealloca(at),
            52..70 => self.operate(at),
            70..76 => self.take(at),
            76..78 => self.barrier(at),
            78 => self.mistake(at),
            79 => self.life(at),
            80..84 => self.host_work(),
            84..89 => self.host_axis(at),
            89..97 => self.complete(),
            97 => self.end(at),
            _ => self.call(at, &Call::new(Op::Poll)).map(drop),
        }
    }

    fn size(&mut self) -> u64 {
        match self.random.below(8) {
            0 => POOL / 2,
            1 => self.random.below(1024) as u64 + 1,
            _ => [BLOCK, BLOCK, 512, 100][self.random.below(4)],
        }
    }

    /// A request of a pool, by fields of a call.
    fn ask(&mut self, at: usize, op: Op, most: usize) -> Call {
        let pool = u64::from(self.random.below(3) == 0);
        let len = if pool == 0 { self.size() } else { BLOCK };
        let flags = if self.random.below(2) == 0 { MAY_WAIT } else { 0 };
        let wait = list(&self.entries(at, most));
        Call { pool, len, flags, wait, ..Call::new(op) }
    }

    /// Notes bytes that a tenant has got.
    fn got(&mut self, at: usize, call: &Call, slot: u64, words: &mut &[u64]) -> Checked {
        let outcome = next_outcome(words).ok_or("half an answer")?;
        let Some((slab, offset, wait)) = outcome else { return Ok(()) };
        let mut knows = self.map.clock_of(call.wait.iter().map(|entry| (entry.axis, entry.epoch)));
        join(&mut knows, &self.map.clock_of(wait.iter().map(|entry| (entry.axis, entry.epoch))));
        let side = &mut self.sides[at];
        for entry in &wait {
            // The answer has told it.
            if let Some(told) = side.told.get_mut(&entry.axis) {
                *told = entry.epoch.max(*told);
            }
        }
        let span = Span { pool: call.pool, slab, from: offset, to: offset + call.len };
        let tracker = &self.setup.rig.stage.tracker;
        let reached = |axis| tracker.reached(Axis::from_bits(axis));
        let knowing = Knows { clock: &knows, unseen: self.unseen };
        let grant = self.map.grant(side.owner, span, &knowing, &reached)?;
        self.coverage.granted += 1;
        side.memories.push(Memory {
            slot,
            pool: call.pool,
            len: call.len,
            at: Some((span, grant)),
            content: vec![0; call.len as usize],
            claim: knows,
            in_ledger: call.is(IN_LEDGER) && side.puppet.keeps_ledgers_apart(),
            ..Memory::default()
        });
        Ok(())
    }

    fn slots(&mut self, at: usize, count: u64) -> u64 {
        let first = self.sides[at].slots;
        self.sides[at].slots += count;
        first
    }

    fn acquire(&mut self, at: usize) -> Checked {
        let mut call = self.ask(at, Op::Acquire, 3);
        if self.random.below(4) == 0 {
            call.flags |= IN_LEDGER;
        }
        call.slot = self.slots(at, 1);
        let Some(words) = self.call(at, &call)? else { return Ok(()) };
        self.got(at, &call, call.slot, &mut &words[..])
    }

    fn acquire_batch(&mut self, at: usize) -> Checked {
        let mut call = self.ask(at, Op::AcquireBatch, 3);
        call.flags |= IN_LEDGER;
        call.value = 2 + self.random.below(3) as u64;
        call.slot = self.slots(at, call.value);
        let Some(words) = self.call(at, &call)? else { return Ok(()) };
        let mut words = &words[..];
        for slot in call.slot..call.slot + call.value {
            self.got(at, &call, slot, &mut words)?;
        }
        Ok(())
    }

    /// One of a side's memories.
    fn one(&mut self, at: usize, is: impl Fn(&Memory) -> bool) -> Option<usize> {
        let memories = &self.sides[at].memories;
        let these: Vec<usize> = (0..memories.len()).filter(|&one| is(&memories[one])).collect();
        self.random.one_of(&these).copied()
    }

    /// What a tenant says of bytes that it gives back, true or not.
    fn death(&mut self, at: usize, call: &mut Call, touched: &Clock, most: usize) {
        (call.flags, call.death) = match self.random.below(20) {
            0..10 => (IDLE, Vec::new()),
            10..15 if touched.len() <= most => (AFTER, list(touched)),
            19 if most > 1 => (UNKNOWN, Vec::new()),
            _ => (AFTER, list(&self.entries(at, most))),
        };
    }

    /// A memory was given back.
    fn gone(&mut self, at: usize, memory: usize) -> Memory {
        let memory = self.sides[at].memories.swap_remove(memory);
        if let Some((_, grant)) = memory.at {
            self.map.release(grant);
        }
        memory
    }

    fn release(&mut self, at: usize) -> Checked {
        match self.one(at, |memory| !memory.is_buffer) {
            Some(memory) => self.release_of(at, memory),
            None => Ok(()),
        }
    }

    fn release_of(&mut self, at: usize, memory: usize) -> Checked {
        let of = &self.sides[at].memories[memory];
        let (slot, pool, in_ledger) = (of.slot, of.pool, of.in_ledger);
        let touched = of.touched.clone();
        // With the next of its ledger, if there is one.
        let next = |of: &Memory| (of.slot, of.pool, of.in_ledger) == (slot + 1, pool, true);
        let second = self.sides[at].memories.iter().position(next).filter(|_| in_ledger);
        let mut call = Call { pool, slot, ..Call::new(Op::Release) };
        if second.is_some() {
            call.op = Op::ReleaseBatch;
            call.value = 2;
        }
        self.death(at, &mut call, &touched, 3);
        if self.call(at, &call)?.is_some() {
            let mut both = vec![memory];
            both.extend(second);
            both.sort_unstable();
            for memory in both.into_iter().rev() {
                self.gone(at, memory);
            }
        }
        Ok(())
    }

    fn cancel(&mut self, at: usize) -> Checked {
        let Some(memory) = self.one(at, |memory| !memory.is_buffer) else { return Ok(()) };
        let of = &self.sides[at].memories[memory];
        let call = Call { pool: of.pool, slot: of.slot, ..Call::new(Op::Cancel) };
        self.call(at, &call)?.ok_or("a cancel was refused")?;
        self.gone(at, memory);
        Ok(())
    }

    fn exchange(&mut self, at: usize) -> Checked {
        let apart = self.sides[at].puppet.keeps_ledgers_apart();
        let is = |memory: &Memory| !memory.is_buffer && (memory.in_ledger || !apart);
        let Some(memory) = self.one(at, is) else { return Ok(()) };
        let of = &self.sides[at].memories[memory];
        let (slot, pool) = (of.slot, of.pool);
        let touched = of.touched.clone();
        let mut call = self.ask(at, Op::Exchange, 1);
        let may_wait = call.flags;
        self.death(at, &mut call, &touched, 1);
        call.flags = may_wait | IN_LEDGER;
        (call.pool, call.slot, call.other) = (pool, slot, self.slots(at, 1));
        if pool == 1 {
            call.len = BLOCK;
        }
        let Some(words) = self.call(at, &call)? else { return Ok(()) };
        self.gone(at, memory);
        self.got(at, &call, call.other, &mut &words[..])
    }

    fn alloca(&mut self, at: usize) -> Checked {
        let mut call = self.ask(at, Op::Alloca, 2);
        if !self.unseen {
            call.flags = 0;
        }
        let queue = self.random.below(3);
        (call.queue, call.slot) = (queue as u64, self.slots(at, 1));
        let Some(words) = self.call(at, &call)? else { return Ok(()) };
        let when = self.submitted(at, queue, words[0], &call.wait, Clock::new())?;
        self.sides[at].memories.push(Memory {
            slot: call.slot,
            pool: call.pool,
            len: call.len,
            content: vec![0; call.len as usize],
            first: Some(when),
            is_buffer: true,
            ..Memory::default()
        });
        Ok(())
    }

    fn dealloca(&mut self, at: usize) -> Checked {
        let Some(memory) = self.one(at, |memory| memory.is_buffer) else { return Ok(()) };
        // One without memory will get it when nobody can see where.
        if self.sides[at].memories[memory].at.is_none() && self.random.below(4) > 0 {
            return Ok(());
        }
        self.dealloca_of(at, memory)
    }

    fn dealloca_of(&mut self, at: usize, memory: usize) -> Checked {
        let queue = self.random.below(3);
        let wait = list(&self.entries(at, 1));
        let of = &self.sides[at].memories[memory];
        let call = Call { queue: queue as u64, slot: of.slot, wait, ..Call::new(Op::Dealloca) };
        let Some(words) = self.call(at, &call)? else { return Ok(()) };
        let of = &self.sides[at].memories[memory];
        // It is promised to come after every use.
        let mut after = self.map.clock_of(of.touched.iter().map(|(&axis, &epoch)| (axis, epoch)));
        join(&mut after, &self.map.clock_of(of.first));
        self.submitted(at, queue, words[0], &call.wait, after)?;
        let of = self.gone(at, memory);
        self.sides[at].ended_in_line |= of.at.is_none();
        self.sides[at].ended_buffers.push(of.slot);
        Ok(())
    }

    /// Notes an operation: its wait, and what else it is promised to come after.
    fn submitted(
        &mut self,
        at: usize,
        queue: usize,
        epoch: u64,
        wait: &[Entry],
        mut after: Clock,
    ) -> Checked<(u64, u64)> {
        let (axis, last) = self.sides[at].queues[queue];
        if epoch != last + 1 {
            return Err(format!("epoch {epoch} comes after {last}"));
        }
        self.sides[at].queues[queue].1 = epoch;
        join(&mut after, &self.map.clock_of(wait.iter().map(|entry| (entry.axis, entry.epoch))));
        self.map.submitted(axis, epoch, &after);
        self.coverage.operations += 1;
        Ok((axis, epoch))
    }

    /// Notes that an operation touches a memory.
    fn touched(&mut self, at: usize, memory: usize, (offset, len): (u64, u64), when: (u64, u64)) {
        let side = &mut self.sides[at];
        let of = &mut side.memories[memory];
        let all = of.first.is_none();
        of.first.get_or_insert(when);
        of.touched.insert(when.0, when.1);
        match of.at {
            // The first use zeroes all of it.
            Some((span, grant)) => {
                let span = if all { span } else { span.part(offset, len) };
                self.map.touch(side.owner, grant, span, when);
            }
            None => of.unplaced.push((offset, len, when)),
        }
    }

    /// All of a buffer's life, or a reservation's, with uses that mostly wait for the host.
    fn life(&mut self, at: usize) -> Checked {
        self.host_axis(at)?;
        let had = self.sides[at].memories.len();
        let is_buffer = self.random.below(2) == 0;
        if is_buffer {
            self.alloca(at)?
        } else {
            self.acquire(at)?
        }
        if self.sides[at].memories.len() == had {
            return Ok(());
        }
        self.place(at, had)?;
        if !self.sides[at].memories[had].in_ledger {
            for _ in 0..1 + self.random.below(3) {
                self.operate_on(at, had)?;
            }
        }
        if is_buffer { self.dealloca_of(at, had) } else { self.release_of(at, had) }
    }

    fn operate(&mut self, at: usize) -> Checked {
        match self.one(at, |memory| !memory.in_ledger) {
            Some(memory) => self.operate_on(at, memory),
            None => Ok(()),
        }
    }

    fn operate_on(&mut self, at: usize, memory: usize) -> Checked {
        let queue = self.random.below(3);
        let of = &self.sides[at].memories[memory];
        let len = 1 + self.random.below(of.len.min(64) as usize) as u64;
        let offset = self.random.below((of.len - len + 1) as usize) as u64;
        let op = [Op::Fill, Op::Write, Op::Read, Op::Read, Op::Copy][self.random.below(5)];
        let value = 1 + self.random.below(255) as u64;
        let slot = of.slot;
        let flags = if of.is_buffer { OF_BUFFER } else { 0 };
        let mut call =
            Call { slot, offset, len, value, flags, queue: queue as u64, ..Call::new(op) };
        let target = match op {
            Op::Copy => {
                let other = |of: &Memory| !of.in_ledger && of.slot != slot && of.len >= len;
                let Some(target) = self.one(at, other) else { return Ok(()) };
                let of = &self.sides[at].memories[target];
                call.other = of.slot;
                call.to = self.random.below((of.len - len + 1) as usize) as u64;
                call.flags |= if of.is_buffer { TO_BUFFER } else { 0 };
                Some(target)
            }
            _ => None,
        };
        if op == Op::Read {
            call.other = self.slots(at, 1);
        }
        // After all that touched the memory before, so that it is known what is read; and after what else there is.
        let mut wait = if self.random.below(2) == 0 { self.entries(at, 2) } else { Clock::new() };
        let mut promised = Clock::new();
        for memory in [Some(memory), target].into_iter().flatten() {
            let of = &self.sides[at].memories[memory];
            join(&mut wait, &of.touched);
            // What the layer adds: what was counted on, or the first use.
            match of.first {
                Some(first) => join(&mut promised, &self.map.clock_of([first])),
                None => join(&mut promised, &of.claim),
            }
        }
        call.wait = list(&wait);
        let Some(words) = self.call(at, &call)? else { return Ok(()) };
        let when = self.submitted(at, queue, words[0], &call.wait, promised)?;
        self.touched(at, memory, (offset, len), when);
        if let Some(target) = target {
            self.touched(at, target, (call.to, len), when);
        }
        let side = &mut self.sides[at];
        let bytes = offset as usize..(offset + len) as usize;
        match (op, target) {
            (Op::Read, _) => {
                let expected = side.memories[memory].content[bytes].to_vec();
                side.readings.push(Reading { slot: call.other, at: when, expected });
            }
            (Op::Copy, Some(target)) => {
                let copied = side.memories[memory].content[bytes].to_vec();
                let to = call.to as usize;
                side.memories[target].content[to..to + len as usize].copy_from_slice(&copied);
            }
            _ => side.memories[memory].content[bytes].fill(value as u8),
        }
        Ok(())
    }

    fn take(&mut self, at: usize) -> Checked {
        if self.sides[at].readings.is_empty() {
            return Ok(());
        }
        let which = self.random.below(self.sides[at].readings.len());
        self.take_one(at, which).map(drop)
    }

    /// Whether a readback is there and taken.
    fn take_one(&mut self, at: usize, which: usize) -> Checked<bool> {
        let reached = self.reached();
        let Reading { slot, at: (axis, epoch), .. } = self.sides[at].readings[which];
        let is_there = reached(axis) >= epoch;
        match self.call(at, &Call { other: slot, ..Call::new(Op::Take) })?.as_deref() {
            // The queue has failed, or the buffer with it.
            None if self.lost.is_some() => {}
            Some([0]) if !is_there => return Ok(false),
            Some([1, bytes @ ..]) => {
                let expected = &self.sides[at].readings[which].expected;
                if !bytes.iter().copied().eq(expected.iter().copied().map(u64::from)) {
                    return Err(format!("read {bytes:?} instead of {expected:?}"));
                }
                self.coverage.compared += 1;
            }
            other => return Err(format!("{other:?} was read")),
        }
        self.sides[at].readings.swap_remove(which);
        Ok(true)
    }

    fn barrier(&mut self, at: usize) -> Checked {
        let queue = self.random.below(3);
        let wait = list(&self.entries(at, 3));
        let call = Call { queue: queue as u64, wait, ..Call::new(Op::Barrier) };
        let Some(words) = self.call(at, &call)? else { return Ok(()) };
        self.submitted(at, queue, words[0], &call.wait, Clock::new()).map(drop)
    }

    /// What is refused: epochs of the other's queues, buffers that have ended.
    fn mistake(&mut self, at: usize) -> Checked {
        let (axis, last) = self.sides[1 - at].queues[self.random.below(3)];
        let theirs = vec![Entry { axis, epoch: last.max(1) }];
        let mut calls = vec![
            Call { wait: theirs.clone(), ..Call::new(Op::Barrier) },
            Call { wait: theirs, len: 64, slot: u64::MAX, ..Call::new(Op::Acquire) },
        ];
        let slot = self.random.one_of(&self.sides[at].ended_buffers).copied();
        if let Some(slot) = slot {
            let ended =
                Call { slot, len: 1, other: u64::MAX, flags: OF_BUFFER, ..Call::new(Op::Fill) };
            for op in [Op::Fill, Op::Write, Op::Read, Op::Dealloca, Op::Status] {
                calls.push(Call { op, ..ended.clone() });
            }
        }
        for call in calls {
            if let Some(answer) = self.call(at, &call)? {
                return Err(format!("{call:?} was answered with {answer:?}"));
            }
        }
        Ok(())
    }

    /// The host itself takes bytes, or gives them back after work of its own that is to come.
    fn host_work(&mut self) -> Checked {
        let pools = &self.setup.rig.stage.pools;
        if self.held.is_empty() || self.random.below(2) == 0 {
            let pool = self.random.below(2);
            let Ok(Acquire::Ready { reservation, .. }) =
                pools[pool].acquire(&Request::new(BLOCK).or_grow())
            else {
                return Ok(());
            };
            let (slab, from) = (reservation.slab().to_bits(), reservation.offset());
            let span = Span { pool: pool as u64, slab, from, to: from + BLOCK };
            self.log.push(format!("the host has {span:?}"));
            let knows = Knows { clock: &Clock::new(), unseen: false };
            let reached = self.reached();
            let grant = self.map.grant(HOST, span, &knows, &reached)?;
            self.held.push((pool as u64, reservation, grant));
            return Ok(());
        }
        let (pool, reservation, grant) = self.held.swap_remove(self.random.below(self.held.len()));
        let (slab, from) = (reservation.slab().to_bits(), reservation.offset());
        let span = Span { pool, slab, from, to: from + BLOCK };
        let which = self.random.below(2);
        let death = if self.lost == Some(which) || self.random.below(3) == 0 {
            Frontier::new()
        } else {
            let entry = self.setup.submit(which);
            self.host[which].1 = entry.epoch;
            self.map.touch(HOST, grant, span, (entry.axis, entry.epoch));
            Frontier::from_entry(Axis::from_bits(entry.axis), entry.epoch)
        };
        self.log.push(format!("the host gives {span:?} back after {death:?}"));
        let released = pools[pool as usize].release(reservation, Death::from(death.as_ref()));
        released.map_err(|error| error.to_string())?;
        self.map.release(grant);
        Ok(())
    }

    /// The host submits something, or tells of it.
    fn host_axis(&mut self, at: usize) -> Checked {
        let which = self.random.below(2);
        if self.lost != Some(which) && self.random.below(2) == 0 {
            self.host[which].1 = self.setup.submit(which).epoch;
        }
        let (axis, submitted, _) = self.host[which];
        let side = &mut self.sides[at];
        self.log.push(format!("{} is lent {axis:#x} up to {submitted}", side.owner));
        side.puppet.lend(axis, submitted);
        side.told.insert(axis, submitted);
        Ok(())
    }

    fn complete(&mut self) -> Checked {
        let which = self.random.below(2);
        let (axis, submitted, completed) = self.host[which];
        if self.lost == Some(which) || submitted == completed {
            return Ok(());
        }
        let epoch = completed + 1 + self.random.below((submitted - completed) as usize) as u64;
        self.host[which].2 = epoch;
        self.log.push(format!("the host completes {axis:#x} up to {epoch}"));
        self.setup.complete(Entry { axis, epoch });
        Ok(())
    }

    /// A tenant ends in the middle, and another comes.
    fn end(&mut self, at: usize) -> Checked {
        let next = self.side()?;
        let side = std::mem::replace(&mut self.sides[at], next);
        self.log.push(format!("{} ends", side.owner));
        side.puppet.end();
        self.map.gone(side.owner);
        self.coverage.ended += 1;
        Ok(())
    }

    /// Everything ends, and nothing is left.
    fn finish(&mut self) -> Checked {
        let pools = &self.setup.rig.stage.pools;
        for (pool, reservation, grant) in std::mem::take(&mut self.held) {
            pools[pool as usize].release(reservation, Death::Idle).map_err(|e| e.to_string())?;
            self.map.release(grant);
        }
        let early = self.random.below(2) == 0;
        if early {
            self.complete_all();
            self.take_all()?;
        }
        for side in std::mem::take(&mut self.sides) {
            side.puppet.end();
            self.map.gone(side.owner);
            self.watch()?;
        }
        if !early {
            self.complete_all();
        }
        self.log.push("all have ended".to_owned());
        let reached = self.reached();
        let deadline = Instant::now() + PATIENCE;
        let last: BTreeMap<u64, u64> = self.map.last();
        let tracker = &self.setup.rig.stage.tracker;
        let mut rest = |done: &mut dyn FnMut(&Map) -> bool, what: &str| -> Checked {
            loop {
                self.map.watch(&reached)?;
                if done(&self.map) {
                    return Ok(());
                }
                if Instant::now() > deadline {
                    let stats: Vec<_> = pools.iter().map(|pool| pool.stats()).collect();
                    return Err(format!("{what}: {stats:?}"));
                }
                std::thread::yield_now();
            }
        };
        rest(
            &mut |_| {
                last.iter().all(|(&axis, &epoch)| {
                    let has_ended = !matches!(tracker.end_of(Axis::from_bits(axis)), Ok(None));
                    has_ended || reached(axis) >= epoch
                })
            },
            "the queues do not run dry",
        )?;
        if self.lost.is_some() {
            pools.iter().for_each(|pool| pool.quiesce());
            self.map.quiesce();
        }
        let is_clean = |map: &Map| {
            let clean = pools.iter().all(|pool| {
                pool.poll();
                let stats = pool.stats();
                let left = [stats.live, stats.reserved_bytes, stats.pending_bytes];
                left == [0; 3]
                    && stats.tainted_bytes == 0
                    && (self.lost.is_some() || stats.tainted == 0)
            });
            clean && map.to_come() == 0
        };
        loop {
            self.map.watch(&reached)?;
            if is_clean(&self.map) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let stats: Vec<_> = pools.iter().map(|pool| pool.stats()).collect();
                return Err(format!("something is left: {stats:?}"));
            }
            std::thread::yield_now();
        }
    }

    /// Takes what was read. With nothing in line for memory and no axis lost, all of it comes.
    fn take_all(&mut self) -> Checked {
        let reached = self.reached();
        let deadline = Instant::now() + PATIENCE;
        for at in 0..self.sides.len() {
            while let Some(&Reading { slot, at: (axis, epoch), .. }) =
                self.sides[at].readings.last()
            {
                let is_in_line = |of: &Memory| of.is_buffer && of.at.is_none();
                let stuck = self.lost.is_some()
                    || self.sides[at].ended_in_line
                    || self.sides[at].memories.iter().any(is_in_line);
                while !stuck && reached(axis) < epoch {
                    self.call(at, &Call::new(Op::Poll))?;
                    self.watch()?;
                    if Instant::now() > deadline {
                        return Err(format!("readback {slot} does not come"));
                    }
                }
                if !self.take_one(at, self.sides[at].readings.len() - 1)? {
                    self.sides[at].readings.pop();
                }
            }
        }
        Ok(())
    }

    fn complete_all(&mut self) {
        for which in 0..self.host.len() {
            let (axis, submitted, _) = self.host[which];
            if self.lost != Some(which) {
                self.setup.complete(Entry { axis, epoch: submitted });
            }
        }
    }
}
