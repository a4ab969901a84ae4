//! The guest that does what a model in the host wants of it, call by call.

use crate::bindings::{device, pools, stage, types};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use strandline_guest_tests::puppet::{
    AFTER, AFTER_WAIT, Call, IDLE, IN_LEDGER, MAY_WAIT, NOTHING, OF_BUFFER, Op, READY, TO_BUFFER,
    outcome,
};

/// What a slot holds.
#[derive(Debug)]
enum Held {
    Handle(pools::Reservation),
    /// A key of the pool's ledger.
    Key(u32),
}

#[derive(Debug, Default)]
struct Puppet {
    pools: Vec<(pools::Pool, pools::Ledger)>,
    queues: Vec<device::Queue>,
    held: Vec<(u64, Held)>,
    buffers: Vec<(u64, device::Buffer)>,
    readbacks: Vec<(u64, device::Readback)>,
}

/// Refused, or a slot that the model should not have named: the answer is the same.
type Said = Option<Vec<u64>>;

/// Does what it is told until there is no more.
pub(crate) fn obey() -> Result<(), String> {
    let mut puppet = Puppet::default();
    for pool in device::lent_pools() {
        let ledger = pool.ledger();
        puppet.pools.push((pool, ledger));
    }
    loop {
        let words = stage::next();
        if words.is_empty() {
            return Ok(());
        }
        let call = Call::unpack(&words).ok_or("not a call")?;
        match puppet.call(&call) {
            Some(answer) => stage::said(&[&[0], &answer[..]].concat()),
            None => stage::said(&[1]),
        }
    }
}

fn entries(list: &[strandline_guest_tests::Entry]) -> Vec<types::Entry> {
    crate::world::entries(list)
}

fn permissions(call: &Call) -> pools::Permissions {
    let mut may = pools::Permissions::GROW;
    may.set(pools::Permissions::WAIT, call.is(MAY_WAIT));
    may
}

fn death(call: &Call) -> types::Death {
    match call.flags {
        IDLE => types::Death::Idle,
        AFTER => types::Death::After(entries(&call.death)),
        _ => types::Death::Unknown,
    }
}

fn find<T>(list: &[(u64, T)], slot: u64) -> Option<&T> {
    list.iter().find(|(at, _)| *at == slot).map(|(_, value)| value)
}

fn take<T>(list: &mut Vec<(u64, T)>, slot: u64) -> Option<T> {
    let at = list.iter().position(|(at, _)| *at == slot)?;
    Some(list.swap_remove(at).1)
}

impl Puppet {
    fn pool(&self, call: &Call) -> Option<&(pools::Pool, pools::Ledger)> {
        self.pools.get(call.pool as usize)
    }

    fn queue(&self, call: &Call) -> Option<&device::Queue> {
        self.queues.get(call.queue as usize)
    }

    fn slice(&self, buffer: bool, slot: u64, offset: u64, len: u64) -> Option<device::Slice<'_>> {
        let memory = if buffer {
            device::Memory::Transient(find(&self.buffers, slot)?)
        } else {
            match find(&self.held, slot)? {
                Held::Handle(reservation) => device::Memory::Reserved(reservation),
                Held::Key(_) => return None,
            }
        };
        Some(device::Slice { memory, offset, len })
    }

    /// Keeps a reservation of a ledger under a slot.
    fn keep(&mut self, slot: u64, answer: pools::Outcome) -> Vec<u64> {
        let mut words = Vec::new();
        match answer {
            pools::Outcome::Ready(held) => {
                self.held.push((slot, Held::Key(held.key)));
                outcome(&mut words, Some((held.slab, held.offset)), None);
            }
            pools::Outcome::AfterWait(held) => {
                self.held.push((slot, Held::Key(held.key)));
                let wait = crate::world::list(&held.wait);
                outcome(&mut words, Some((held.slab, held.offset)), Some(&wait));
            }
            _ => outcome(&mut words, None, None),
        }
        words
    }

    fn acquire(&mut self, call: &Call) -> Said {
        let after = entries(&call.wait);
        if call.is(IN_LEDGER) {
            let (_, ledger) = self.pool(call)?;
            let answer = ledger.acquire(call.len, 1, &after, permissions(call)).ok()?;
            return Some(self.keep(call.slot, answer));
        }
        let request =
            pools::Request { size: call.len, alignment: 1, after, may: permissions(call) };
        let mut words = Vec::new();
        match self.pool(call)?.0.acquire(&request).ok()? {
            pools::Acquired::Ready(ready) => {
                outcome(&mut words, Some((ready.place.slab, ready.place.offset)), None);
                self.held.push((call.slot, Held::Handle(ready.reservation)));
            }
            pools::Acquired::AfterWait(after) => {
                let wait = crate::world::list(&after.wait);
                outcome(&mut words, Some((after.place.slab, after.place.offset)), Some(&wait));
                self.held.push((call.slot, Held::Handle(after.reservation)));
            }
            _ => outcome(&mut words, None, None),
        }
        Some(words)
    }

    fn acquire_batch(&mut self, call: &Call) -> Said {
        let requests = [call.len, 1].repeat(call.value as usize);
        let (_, ledger) = self.pool(call)?;
        let answers =
            ledger.acquire_batch(&requests, &entries(&call.wait), permissions(call)).ok()?;
        let mut waits = answers.waits.as_slice();
        let mut words = Vec::new();
        for (slot, [head, slab, offset]) in (call.slot..).zip(answers.words.as_chunks::<3>().0) {
            let kind = head & 0xff;
            if kind > 3 {
                words.push(NOTHING);
                continue;
            }
            self.held.push((slot, Held::Key((head >> 32) as u32)));
            words.extend([if kind == 3 { AFTER_WAIT } else { READY }, *slab, *offset]);
            if kind == 3 {
                let wait = waits.split_off(..(head >> 8 & 0xff) as usize)?;
                words.push(wait.len() as u64);
                words.extend(wait.iter().flat_map(|entry| [entry.axis, entry.epoch]));
            }
        }
        Some(words)
    }

    fn release(&mut self, call: &Call) -> Said {
        let held = take(&mut self.held, call.slot)?;
        let (pool, ledger) = self.pool(call)?;
        let refused = match held {
            Held::Handle(reservation) => match pool.release(reservation, &death(call)) {
                Ok(()) => None,
                Err(refusal) => Some(Held::Handle(crate::world::refused(refusal).0)),
            },
            Held::Key(key) => ledger.release(key, &death(call)).err().map(|_| Held::Key(key)),
        };
        match refused {
            None => Some(vec![]),
            Some(held) => {
                self.held.push((call.slot, held));
                None
            }
        }
    }

    /// All or none: no key is unknown, and a death is looked at first.
    fn release_batch(&mut self, call: &Call) -> Said {
        let slots = call.slot..call.slot + call.value;
        let mut keys = Vec::new();
        for slot in slots.clone() {
            match find(&self.held, slot)? {
                Held::Key(key) => keys.push(*key),
                Held::Handle(_) => return None,
            }
        }
        self.pool(call)?.1.release_batch(&keys, &death(call)).ok()?;
        self.held.retain(|(slot, _)| !slots.contains(slot));
        Some(vec![])
    }

    fn cancel(&mut self, call: &Call) -> Said {
        let held = take(&mut self.held, call.slot)?;
        let (pool, ledger) = self.pool(call)?;
        match held {
            Held::Handle(reservation) => pool.cancel(reservation).ok()?,
            Held::Key(key) => ledger.cancel(key).ok()?,
        }
        Some(vec![])
    }

    fn exchange(&mut self, call: &Call) -> Said {
        let Some(&Held::Key(key)) = find(&self.held, call.slot) else { return None };
        let first = |list: &[strandline_guest_tests::Entry]| entries(list).into_iter().next();
        let back = pools::Returned { key, death: first(&call.death), reached: 0 };
        let (_, ledger) = self.pool(call)?;
        let answer = ledger.exchange(Some(back), call.len, 1, first(&call.wait), permissions(call));
        let answer = match answer {
            pools::Exchanged::Ready(held) => Some(Ok(pools::Outcome::Ready(held))),
            pools::Exchanged::Other => ledger.answer(),
            pools::Exchanged::Refused(_) => return None,
        };
        take(&mut self.held, call.slot)?;
        match answer? {
            Ok(answer) => Some(self.keep(call.other, answer)),
            // It is given back all the same.
            Err(_) => Some(vec![NOTHING]),
        }
    }

    fn call(&mut self, call: &Call) -> Said {
        let wait = entries(&call.wait);
        let done = |epoch: Result<u64, device::QueueError>| epoch.ok().map(|epoch| vec![epoch]);
        let slice = || self.slice(call.is(OF_BUFFER), call.slot, call.offset, call.len);
        match call.op {
            Op::Open => {
                let queue = device::open_queue().ok()?;
                let said = vec![queue.axis(), queue.submitted()];
                self.queues.push(queue);
                Some(said)
            }
            Op::Acquire => self.acquire(call),
            Op::AcquireBatch => self.acquire_batch(call),
            Op::Release => self.release(call),
            Op::ReleaseBatch => self.release_batch(call),
            Op::Cancel => self.cancel(call),
            Op::Exchange => self.exchange(call),
            Op::Alloca => {
                let request = pools::Request {
                    size: call.len,
                    alignment: 1,
                    after: wait,
                    may: permissions(call),
                };
                let done = self.queue(call)?.alloca(&self.pool(call)?.0, &request).ok()?;
                self.buffers.push((call.slot, done.buffer));
                Some(vec![done.epoch])
            }
            Op::Dealloca => {
                let buffer = take(&mut self.buffers, call.slot)?;
                match self.queue(call)?.dealloca(buffer, &wait) {
                    Ok(epoch) => Some(vec![epoch]),
                    Err(refusal) => {
                        self.buffers.push((call.slot, refusal.buffer));
                        None
                    }
                }
            }
            Op::Status => {
                let buffer = find(&self.buffers, call.slot)?;
                Some(match (buffer.status(), buffer.place()) {
                    (device::BufferStatus::Ready(_), Some(place)) => {
                        vec![1, place.slab, place.offset]
                    }
                    (device::BufferStatus::Failed(_), _) => vec![2],
                    _ => vec![0],
                })
            }
            Op::Fill => done(self.queue(call)?.fill(&slice()?, call.value as u8, &wait)),
            Op::Copy => {
                let target = self.slice(call.is(TO_BUFFER), call.other, call.to, call.len)?;
                done(self.queue(call)?.copy(&slice()?, &target, &wait))
            }
            Op::Write => {
                let bytes = vec![call.value as u8; call.len as usize];
                done(self.queue(call)?.write(&slice()?, &bytes, &wait))
            }
            Op::Read => {
                let readback = self.queue(call)?.read(&slice()?, &wait).ok()?;
                let epoch = readback.epoch();
                self.readbacks.push((call.other, readback));
                Some(vec![epoch])
            }
            Op::Take => match find(&self.readbacks, call.other)?.take().ok()? {
                None => Some(vec![0]),
                Some(bytes) => {
                    take(&mut self.readbacks, call.other)?;
                    Some([1].into_iter().chain(bytes.into_iter().map(u64::from)).collect())
                }
            },
            Op::Barrier => done(self.queue(call)?.barrier(&wait)),
            Op::Poll => Some(vec![device::reached(0)]),
            Op::End => panic!("{}", "as it was told".to_string()),
        }
    }
}
