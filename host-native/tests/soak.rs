//! Mixed load on both kinds of proactor for a while: everything ends, once, and memory and descriptors stay bounded.
//!
//! Two seconds by default; `STRANDLINE_SOAK_SECONDS=600 cargo test --release -p strandline-host-native --test soak`
//! for ten minutes.
#![cfg(target_os = "linux")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use strandline_core::{FrontierRef, Notification, Semaphore};
use strandline_host_native::event::Event;
use strandline_host_native::proactor::{
    Completion, Interest, Op, OpError, Proactor, ProactorHandle, ProactorKind, Sequence, SharedFd,
};
use strandline_host_native::{fence, relay, thread_wake};
use support::{PATIENCE, available, file, open_descriptors};

/// Operations under way at most.
const FLYING: usize = 256;
const SOURCES: usize = 8;

fn duration() -> Duration {
    let seconds = std::env::var("STRANDLINE_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

/// A small generator of numbers (Marsaglia's xorshift64), so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What is signaled all the time.
struct Sources {
    notifications: Vec<Arc<Notification>>,
    events: Vec<Event>,
}

impl Sources {
    fn new() -> Self {
        let notification = || Arc::new(Notification::new(Some(thread_wake())));
        Self {
            notifications: (0..SOURCES).map(|_| notification()).collect(),
            events: (0..SOURCES).map(|_| Event::new().unwrap()).collect(),
        }
    }

    fn signal(&self, stop: &AtomicBool, mut dice: Dice) {
        while !stop.load(Ordering::Relaxed) {
            let source = dice.roll(SOURCES as u64) as usize;
            match dice.roll(8) {
                0 => self.events[source].set(),
                1 => std::thread::sleep(Duration::from_micros(dice.roll(200))),
                2 => std::thread::yield_now(),
                _ => self.notifications[source].signal_if_observed(),
            }
        }
    }
}

/// One kind under load.
struct Load {
    sources: Arc<Sources>,
    data: SharedFd,
    flying: Arc<AtomicUsize>,
    ended: Arc<AtomicU64>,
    dice: Dice,
}

impl Load {
    /// Counts an operation in now, and out when it ends as `expected` says that it may.
    fn counted(
        &self,
        expected: fn(&Result<usize, OpError>) -> bool,
    ) -> impl FnOnce(Completion) + Send + 'static {
        self.flying.fetch_add(1, Ordering::Relaxed);
        let (flying, ended) = (self.flying.clone(), self.ended.clone());
        move |done| {
            assert!(expected(&done.result), "{:?}", done.result);
            flying.fetch_sub(1, Ordering::Relaxed);
            ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn submit_one(&mut self, handle: &ProactorHandle) {
        let fine = |result: &Result<usize, OpError>| matches!(result, Ok(_) | Err(OpError::Closed));
        let any = |result: &Result<usize, OpError>| {
            matches!(result, Ok(_) | Err(OpError::Closed | OpError::Canceled | OpError::TimedOut))
        };
        let soon = Instant::now() + Duration::from_micros(self.dice.roll(2000));
        let source = self.dice.roll(SOURCES as u64) as usize;
        let notification = self.sources.notifications[source].clone();
        let event = &self.sources.events[source];
        let offset = self.dice.roll(1 << 16);
        match self.dice.roll(12) {
            0 => drop(handle.submit(Op::nop(), self.counted(fine))),
            1 => drop(handle.submit(Op::timer(soon), self.counted(fine))),
            2..=4 => {
                let wait = Op::wait(notification.clone(), notification.observe(), Some(soon));
                handle.submit(wait, self.counted(any));
            }
            5 => drop(handle.submit(event.wait(Some(soon)), self.counted(any))),
            6 => {
                let ready = Op::ready(event.clone(), Interest::Readable, Some(soon));
                handle.cancel(handle.submit(ready, self.counted(any)));
            }
            7 => {
                let bytes = vec![7; 1 + self.dice.roll(8192) as usize];
                handle.submit(Op::write_at(self.data.clone(), offset, bytes), self.counted(fine));
            }
            8 => {
                let bytes = vec![0; 1 + self.dice.roll(8192) as usize];
                let id =
                    handle.submit(Op::read_at(self.data.clone(), offset, bytes), self.counted(any));
                if self.dice.roll(4) == 0 {
                    handle.cancel(id);
                }
            }
            9 => {
                let wait = Op::wait(notification.clone(), notification.observe(), Some(soon));
                let sequence = Sequence::new()
                    .then(Op::nop(), self.counted(any))
                    .then(wait, self.counted(any))
                    .then(Op::timer(soon), self.counted(any));
                let ids = handle.submit_sequence(sequence);
                if self.dice.roll(4) == 0 {
                    handle.cancel(ids[self.dice.roll(3) as usize]);
                }
            }
            10 => {
                // A notification and a relay of their own, gone at once.
                let target = Arc::new(Notification::new(Some(thread_wake())));
                let relay = relay::notification(handle, &notification, &target);
                let wait = Op::wait(target.clone(), target.observe(), Some(soon));
                let held = self.counted(any);
                handle.submit(wait, move |done| {
                    drop(relay);
                    held(done);
                });
            }
            _ => {
                let [from, to] = [Semaphore::new(0), Semaphore::new(0)];
                let Ok(exported) = fence::export(&from, 1) else { return };
                fence::import(handle, exported.event, &to, 1, None);
                let done = self.counted(|_| true);
                to.on_reach(1, move |_| done(Completion { result: Ok(0), buffer: None }));
                from.signal(1, FrontierRef::EMPTY).unwrap();
            }
        }
    }

    fn run(mut self, kind: ProactorKind, until: Instant) {
        let mut lives = 0;
        while Instant::now() < until {
            let thread = Proactor::builder().kind(kind).entries(16).spawn().unwrap();
            // A proactor lives for a while, and is dropped with operations in flight.
            for _ in 0..20_000 {
                if Instant::now() >= until {
                    break;
                }
                if self.flying.load(Ordering::Relaxed) >= FLYING {
                    std::thread::yield_now();
                } else {
                    self.submit_one(thread.handle());
                }
            }
            let handle = thread.handle().clone();
            drop(thread);
            // Everything has ended with it.
            assert_eq!(self.flying.load(Ordering::Relaxed), 0, "{kind}, life {lives}");
            let stats = handle.stats();
            assert_eq!(stats.submitted, stats.completed, "{kind}, life {lives}");
            lives += 1;
        }
        eprintln!("{kind}: {} operations in {lives} lives", self.ended.load(Ordering::Relaxed));
    }
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

#[test]
fn mixed_load_stays_bounded() {
    let before = open_descriptors();
    let start = Instant::now();
    let until = start + duration();
    let kinds = ProactorKind::ALL.into_iter().filter(|kind| available(*kind));
    let (sources, stop) = (Arc::new(Sources::new()), Arc::new(AtomicBool::new(false)));
    // Not in a scope: it would wait for a load that hangs, and so never say so.
    let loads: Vec<_> = kinds
        .enumerate()
        .map(|(index, kind)| {
            let load = Load {
                sources: sources.clone(),
                data: file(&[0; 1 << 16]).into(),
                flying: Arc::default(),
                ended: Arc::default(),
                dice: Dice(0x5eed + index as u64),
            };
            (kind, std::thread::spawn(move || load.run(kind, until)))
        })
        .collect();
    let signaler = {
        let (sources, stop) = (sources.clone(), stop.clone());
        std::thread::spawn(move || sources.signal(&stop, Dice(0x516)))
    };
    // Warm by a fifth of the time; from then on nothing may grow.
    let warm = start + duration() / 5;
    let (mut base, mut most_memory, mut most_descriptors) = (0, 0, 0);
    while let Some((kind, _)) = loads.iter().find(|(_, load)| !load.is_finished()) {
        assert!(Instant::now() < until + PATIENCE, "{kind} hangs");
        if Instant::now() >= warm {
            most_memory = resident().max(most_memory);
            most_descriptors = open_descriptors().max(most_descriptors);
            if base == 0 {
                base = resident();
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.store(true, Ordering::Relaxed);
    signaler.join().unwrap();
    loads.into_iter().for_each(|(_, load)| load.join().unwrap());
    // Each of the operations in flight may have two, and each loop a few.
    assert!(most_descriptors < before + 2 * (2 * FLYING + 64), "{most_descriptors} descriptors");
    // Sanitizers keep freed memory for a while.
    let spare =
        if std::env::var_os("STRANDLINE_TEST_SCALE").is_some() { 1 << 30 } else { 64 << 20 };
    assert!(most_memory < base + spare, "{base} bytes grew to {most_memory}");
    drop(sources);
    // What the kernel closes late (a ring's own end is asynchronous) has no descriptor any more.
    assert_eq!(open_descriptors(), before);
}
