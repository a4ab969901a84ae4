//! Any bytes as calls of two untrusted tenants on one device: arguments of every kind, in every order.
//!
//! Nothing may panic, no tenant may be charged more than its budget or hold more of the pool than it is charged
//! for, and when both are gone every byte is back and clean. These are the functions that a guest's calls end
//! in; the layer above them only turns handles and lists of the interface into their arguments.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use strandline_core::inspect::BlockState;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost};
use strandline_core::{Axis, Entry, Progress as _, Tracker};
use strandline_host_native::{MmapSlabProvider, thread_wake};
use strandline_host_tenants::tenant::{
    Answer, Ask, BufferHandle, Device, Memory, PoolHandle, QueueHandle, Range, ReadbackHandle,
    ReservationHandle, Returned, SharedPool, Tenant, TenantError, TenantLimits,
};

const SLAB: u64 = 1 << 16;
const BUDGET: u64 = 40 << 10;
const MOST_CALLS: usize = 300;

struct World {
    device: Arc<Device>,
    pool: Arc<TlsfPool>,
}

/// One device for all inputs: a leak of one would show in the next.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let memory = Arc::new(MmapSlabProvider::builder().capacity(SLAB).build().unwrap());
        let tracker = Tracker::new(1024);
        let host =
            PoolHost::new(memory.clone(), Arc::new(tracker.clone())).with_wake(thread_wake());
        let growth = Growth::slabs_of(SLAB);
        let config = TlsfPoolConfig { growth, ..TlsfPoolConfig::default() };
        let pool = Arc::new(TlsfPool::new(host, config).unwrap());
        let device = Device::new(0, tracker, vec![SharedPool::new(pool.clone(), memory)]);
        World { device, pool }
    })
}

fuzz_target!(|data: &[u8]| {
    let World { device, pool } = world();
    let limits = TenantLimits {
        budget: BUDGET,
        reservations: 40,
        pending: 100,
        buffers: 10,
        queues: 2,
        operations: 50,
        transfer_bytes: 1 << 14,
        clear: true,
    };
    let mut tenants = [(); 2].map(|()| Caller::new(Tenant::new(device, limits).unwrap()));
    let mut bytes = Bytes(data);
    for _ in 0..MOST_CALLS {
        if bytes.0.is_empty() {
            break;
        }
        let who = bytes.byte() as usize % 2;
        tenants[who].call(&mut bytes);
        let charged = tenants.each_ref().map(|caller| caller.tenant.charged().0);
        assert!(charged.iter().all(|&bytes| bytes <= BUDGET), "{charged:?}");
    }
    // Settled: what is reserved is charged to someone.
    let charged: u64 = tenants.iter().map(|caller| caller.tenant.charged().0).sum();
    pool.poll();
    let stats = pool.stats();
    assert!(stats.reserved_bytes <= charged, "{stats:?}, charged {charged}");
    assert_eq!(stats.tainted, 0);
    drop(tenants);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        pool.poll();
        let stats = pool.stats();
        if stats.live == 0 && stats.clean_bytes() == stats.committed_bytes {
            break;
        }
        assert!(Instant::now() < deadline, "left behind: {stats:?}{}", waited_for(device, pool));
        std::thread::yield_now();
    }
});

/// What the blocks wait for that are not clean, and where those axes stand.
fn waited_for(device: &Device, pool: &TlsfPool) -> String {
    let mut blocks = String::new();
    pool.inspect(&mut |block| {
        let BlockState::Pending(death) = block.state else { return };
        let _ = write!(blocks, "\n{} bytes at {}:", block.size, block.offset);
        for entry in death.entries() {
            let axis = entry.axis;
            let (reached, end) = (device.tracker().reached(axis), device.tracker().end_of(axis));
            let _ = write!(blocks, " {axis} at {}, is at {reached}, ended {end:?};", entry.epoch);
        }
    });
    blocks
}

/// The input, read from its start.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// Mostly small, at times the extremes.
    fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => 1 << 63,
            253 => SLAB + 1,
            small @ 0..100 => u64::from(small),
            other => u64::from(other) << 7,
        }
    }

    /// One of those that there are, or any at all.
    fn handle(&mut self, known: &[u64]) -> u64 {
        let byte = self.byte();
        match known {
            [] => self.number(),
            _ if byte > 240 => self.number(),
            known => known[usize::from(byte) % known.len()],
        }
    }
}

fn ask<'a>(bytes: &mut Bytes<'_>, after: &'a [Entry]) -> Ask<'a> {
    let flags = bytes.byte();
    Ask {
        size: bytes.number(),
        alignment: 1_u64.checked_shl(u32::from(flags >> 2)).unwrap_or(3),
        after,
        may_wait: flags & 1 != 0,
        may_grow: flags & 2 == 0,
    }
}

struct Caller {
    tenant: Tenant,
    queues: u64,
    reservations: Vec<u64>,
    buffers: Vec<u64>,
    readbacks: Vec<u64>,
}

impl Caller {
    fn new(tenant: Tenant) -> Self {
        Self { tenant, queues: 0, reservations: vec![], buffers: vec![], readbacks: vec![] }
    }

    fn entries(&self, bytes: &mut Bytes<'_>) -> Vec<Entry> {
        let count = match bytes.byte() {
            0..180 => 0,
            180..250 => 1,
            250..254 => 2,
            _ => 300,
        };
        (0..count)
            .map(|_| {
                let axis = match bytes.byte() {
                    0..200 => self
                        .tenant
                        .axis_of(QueueHandle::from_bits(u64::from(bytes.byte() % 2)))
                        .unwrap_or(Axis::queue(0, 0)),
                    byte => Axis::queue(0, byte - 200),
                };
                Entry::new(axis, bytes.number())
            })
            .collect()
    }

    fn queue(&self, bytes: &mut Bytes<'_>) -> QueueHandle {
        QueueHandle::from_bits(match bytes.byte() {
            250.. => bytes.number(),
            byte => u64::from(byte) % self.queues.max(1),
        })
    }

    fn reservation(&self, bytes: &mut Bytes<'_>) -> ReservationHandle {
        ReservationHandle::from_bits(bytes.handle(&self.reservations))
    }

    fn buffer(&self, bytes: &mut Bytes<'_>) -> BufferHandle {
        BufferHandle::from_bits(bytes.handle(&self.buffers))
    }

    fn range(&self, bytes: &mut Bytes<'_>) -> Range {
        let memory = if bytes.byte().is_multiple_of(2) {
            Memory::Reserved(self.reservation(bytes))
        } else {
            Memory::Transient(self.buffer(bytes))
        };
        Range { memory, offset: bytes.number(), len: bytes.number() }
    }

    fn keep(&mut self, answer: Result<Answer, TenantError>) {
        if let Ok(Answer::Ready { reservation, .. } | Answer::AfterWait { reservation, .. }) =
            answer
        {
            self.reservations.push(reservation.to_bits());
        }
    }

    fn call(&mut self, bytes: &mut Bytes<'_>) {
        let pool = PoolHandle::from_bits(u64::from(bytes.byte() > 250));
        match bytes.byte() % 16 {
            0 => self.queues += u64::from(self.tenant.open_queue().is_ok()),
            1..=3 => {
                let after = self.entries(bytes);
                let ask = ask(bytes, &after);
                let answer = self.tenant.acquire(pool, &ask);
                self.keep(answer);
            }
            4 | 5 => {
                let (reservation, entries) = (self.reservation(bytes), self.entries(bytes));
                let death = match bytes.byte() % 4 {
                    0 => Returned::Unknown,
                    1 => Returned::Idle,
                    _ => Returned::After(&entries),
                };
                let after = self.entries(bytes);
                if bytes.byte().is_multiple_of(2) {
                    let ask = ask(bytes, &after);
                    if let Ok(answer) = self.tenant.exchange(pool, reservation, death, &ask) {
                        self.keep(answer.answer());
                    }
                } else {
                    let _ = self.tenant.release(pool, reservation, death);
                }
            }
            6 => {
                let reservation = self.reservation(bytes);
                let _ = self.tenant.cancel(pool, reservation);
            }
            7 | 8 => {
                let (queue, after) = (self.queue(bytes), self.entries(bytes));
                let ask = Ask { after: &after, may_wait: true, ..Ask::new(bytes.number()) };
                if let Ok((buffer, _)) = self.tenant.alloca(queue, pool, &ask.or_grow()) {
                    self.buffers.push(buffer.to_bits());
                }
            }
            9 => {
                let (queue, buffer, wait) =
                    (self.queue(bytes), self.buffer(bytes), self.entries(bytes));
                let _ = self.tenant.dealloca(queue, buffer, &wait);
            }
            10 => {
                let (queue, range, wait) =
                    (self.queue(bytes), self.range(bytes), self.entries(bytes));
                let _ = self.tenant.fill(queue, range, bytes.byte(), &wait);
            }
            11 => {
                let (queue, from, to) = (self.queue(bytes), self.range(bytes), self.range(bytes));
                let wait = self.entries(bytes);
                let _ = self.tenant.copy(queue, from, to, &wait);
            }
            12 => {
                let (queue, range, wait) =
                    (self.queue(bytes), self.range(bytes), self.entries(bytes));
                let data = vec![1; range.len.min(1 << 12) as usize];
                let _ = self.tenant.write(queue, range, data, &wait);
            }
            13 => {
                let (queue, range, wait) =
                    (self.queue(bytes), self.range(bytes), self.entries(bytes));
                if let Ok(readback) = self.tenant.read(queue, range, &wait) {
                    self.readbacks.push(readback.to_bits());
                }
            }
            14 => {
                let readback = ReadbackHandle::from_bits(bytes.handle(&self.readbacks));
                // Memory is zeroed or written by this tenant, with ones or a fill's byte.
                let _ = self.tenant.take(readback);
                let buffer = self.buffer(bytes);
                let _ = self.tenant.status(buffer);
            }
            _ => {
                let (queue, wait) = (self.queue(bytes), self.entries(bytes));
                let _ = self.tenant.barrier(queue, &wait);
                let _ = self.tenant.wait(&wait);
                if bytes.byte() == 0 {
                    // The host says so, not the tenant.
                    self.tenant.quiesce();
                }
            }
        }
    }
}
