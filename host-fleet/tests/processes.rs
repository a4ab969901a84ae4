//! An owner and members in processes of their own, on this machine: this test's own program, started again.
#![cfg(target_os = "linux")]

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_core::fleet::{Names, OwnerEvent, Peer};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Acquire, Pool, PoolHost, Request, Reservation};
use strandline_core::{Death, Domain, Entry, Progress, SlabMap, Tracker};
use strandline_host_fleet::member::MemberOptions;
use strandline_host_fleet::owner::Fence;
use strandline_host_fleet::{FleetMember, FleetOwner, Link, OwnerOptions};
use strandline_host_native::MmapSlabProvider;
use support::{Folder, Other, ROLE, listen, say};

const FOLDER: &str = "STRANDLINE_TEST_FLEET";
const SLAB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_secs(2);

struct Owning {
    owner: FleetOwner,
    pool: Arc<TlsfPool>,
    memory: Arc<MmapSlabProvider>,
    tracker: Tracker,
}

fn link(folder: &std::path::Path) -> Link {
    Link::new(format!("unixsock-stream/{}", folder.join("zenoh").display()))
}

/// An owner of one slab of a MiB.
fn own(folder: &std::path::Path, fence: Fence) -> Owning {
    let memory = Arc::new(MmapSlabProvider::builder().shared(true).capacity(SLAB).build().unwrap());
    let tracker = Tracker::new(1024);
    let host = PoolHost::new(memory.clone(), Arc::new(tracker.clone()));
    let config = TlsfPoolConfig { growth: Growth::slabs_of(SLAB), ..Default::default() };
    let pool = Arc::new(TlsfPool::new(host, config).unwrap());
    let mut options = OwnerOptions::new("test", link(folder), Names { session: 0, machine: 0 });
    options.config.lease = LEASE.as_nanos() as u64;
    options.local = Some(folder.join("slabs"));
    options.fence = fence;
    options.hasty = false;
    options.oracle = true;
    let owner =
        FleetOwner::open(options, pool.clone(), tracker.clone(), Some(memory.clone())).unwrap();
    Owning { owner, pool, memory, tracker }
}

impl Owning {
    /// Waits until something has happened; what, and after how long.
    fn await_event(&self, is_it: impl Fn(&OwnerEvent) -> bool) -> (OwnerEvent, Duration) {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(event) = self.owner.events().into_iter().find(&is_it) {
                return (event, begin.elapsed());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("it did not happen: {:#?}", self.owner.status());
    }

    /// All of the slab can be had.
    fn take_all(&self) -> Option<Reservation> {
        self.pool.acquire(&Request::new(SLAB)).unwrap().into_ready().ok()
    }
}

/// This test's own program again.
fn start(folder: &Folder, role: &str) -> Other {
    let mut command = Command::new(support::program());
    command.env(FOLDER, &folder.0);
    Other::start(command, role)
}

fn join(folder: &std::path::Path, peer: u64) -> FleetMember {
    let mut options = MemberOptions::new("test", link(folder), Peer(peer));
    options.local = Some(folder.join("slabs"));
    options.patience = PATIENCE;
    FleetMember::join(options, None).unwrap()
}

/// Not a test by itself: what the other processes run.
#[test]
#[ignore = "started by the other tests"]
fn the_other_process() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    match std::env::var(ROLE).unwrap().as_str() {
        "owner" => {
            let _owning = own(&folder, Fence::Kill);
            say("open");
            listen();
        }
        "holder" => {
            let member = join(&folder, 1);
            let pool = member.pool().unwrap();
            let block = pool.acquire(&Request::new(SLAB)).unwrap().into_ready().unwrap();
            let bytes = pool.map(&block).unwrap();
            say("holding");
            loop {
                bytes.fill(1);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        "worker" => {
            let member = join(&folder, 2);
            let pool = member.pool().unwrap();
            let axis = member.register(Domain::Host, 0).unwrap();
            let block = pool.acquire(&Request::new(4096)).unwrap().into_ready().unwrap();
            assert!(member.may_touch(Duration::from_millis(1)));
            pool.map(&block).unwrap().fill(7);
            say(&format!("{} {}", block.slab().to_bits(), block.offset()));
            // Given back before the work is done.
            pool.release(block, Death::from(&Entry::new(axis, 1))).unwrap();
            assert_eq!(listen(), "go on");
            member.advance(axis, 1).unwrap();
            assert_eq!(listen(), "leave");
            member.leave(PATIENCE).unwrap();
            say("left");
        }
        role => match role.split_once(' ') {
            Some(("roller", words)) => roll(&folder, words),
            _ => panic!("{role}?"),
        },
    }
}

/// Works in memory that it has given back already, so many times; it looks whether anybody else was there.
fn roll(folder: &std::path::Path, words: &str) {
    let (peer, times) = words.split_once(' ').unwrap();
    let member = join(folder, peer.parse().unwrap());
    let pool = member.pool().unwrap();
    let axis = member.register(Domain::Host, 0).unwrap();
    say("working");
    for epoch in 1..=times.parse().unwrap() {
        let answers = pool.acquire_each(&[Request::new(4096); 8]);
        let ready = answers.into_iter().filter_map(|answer| answer.unwrap().into_ready().ok());
        let blocks: Vec<_> = ready.map(|block| (pool.map(&block).unwrap(), block)).collect();
        let stamp = |at: usize| u64::from(std::process::id()) << 32 | epoch << 8 | at as u64;
        let mut held = Vec::new();
        for (at, (bytes, block)) in blocks.into_iter().enumerate() {
            bytes.fill_u64(stamp(at));
            pool.release(block, Death::from(&Entry::new(axis, epoch))).unwrap();
            held.push(bytes);
        }
        std::thread::yield_now();
        for (at, bytes) in held.iter().enumerate() {
            if bytes.find_mismatch(stamp(at)).is_some() {
                say("wrong");
            }
        }
        member.advance(axis, epoch).unwrap();
    }
    member.leave(PATIENCE).unwrap();
    say("left");
}

/// How long members are started again; a few rounds, if nobody says.
const SECONDS: &str = "STRANDLINE_FLEET_SECONDS";

/// Members are started again one after the other, killed or by their own leave, while the others work.
#[test]
fn members_that_are_started_again_under_load_lose_no_byte() {
    const PEERS: usize = 3;
    let folder = Folder::new("fleet");
    let owning = own(&folder.0, Fence::Kill);
    let roll = |peer: usize, times: u64| {
        let mut roller = start(&folder, &format!("roller {} {times}", 10 + peer));
        assert_eq!(roller.hear(), "working");
        roller
    };
    let mut rollers: Vec<_> = (0..PEERS).map(|peer| roll(peer, u64::MAX)).collect();
    let mut gone = Vec::new();
    let seconds = std::env::var(SECONDS).ok().map_or(0, |seconds| seconds.parse().unwrap());
    let begin = Instant::now();
    let mut rounds = 0;
    while rounds < 4 * PEERS || begin.elapsed() < Duration::from_secs(seconds) {
        let round = rounds;
        rounds += 1;
        let peer = round % PEERS;
        // What was there before is replaced, whether it was killed or not.
        if round % 2 == 0 {
            rollers[peer].child.kill().unwrap();
        }
        let next = roll(peer, if round % 4 == 3 { 50 } else { u64::MAX });
        gone.push(core::mem::replace(&mut rollers[peer], next));
        if round % 4 == 3 {
            assert_eq!(rollers[peer].hear(), "left");
        }
    }
    for roller in &mut rollers {
        let _ = roller.child.kill();
    }
    for roller in gone.iter_mut().chain(&mut rollers) {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut roller.from, &mut rest).unwrap();
        assert!(!rest.contains("said wrong"), "bytes of two at once");
    }
    let begin = Instant::now();
    while !owning.owner.status().members.is_empty() {
        assert!(begin.elapsed() < PATIENCE, "{:#?}", owning.owner.status());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(owning.owner.status().over >= rounds as u64, "{:#?}", owning.owner.status());
    assert!(owning.take_all().is_some(), "{:#?}", owning.owner.status());
    println!("{rounds} restarts, {:?}", owning.owner.found());
    assert!(owning.owner.found().unwrap().verdict.is_sound(), "{:?}", owning.owner.found());
}

#[test]
fn a_member_works_in_the_owners_memory_and_gives_it_back_before_it_is_done() {
    let folder = Folder::new("fleet");
    let owning = own(&folder.0, Fence::Kill);
    let mut worker = start(&folder, "worker");
    let said = worker.hear();
    let (slab, offset) = said.split_once(' ').unwrap();
    let slab = strandline_core::SlabId::from_bits(slab.parse().unwrap());
    let bytes = owning.memory.map(slab, offset.parse().unwrap(), 4096).unwrap();
    assert_eq!(bytes.find_mismatch(0x0707_0707_0707_0707), None);
    let (event, _) = owning.await_event(|event| matches!(event, OwnerEvent::Joined { .. }));
    let OwnerEvent::Joined { names, .. } = event else { unreachable!() };
    let axis =
        strandline_core::Axis::host(0).with_session(names.session).with_machine(names.machine);
    // The release has come, and waits.
    let begin = Instant::now();
    while owning.owner.status().members[0].reservations > 0 {
        assert!(begin.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(owning.take_all().is_none(), "the work is not done");
    worker.tell("go on");
    let begin = Instant::now();
    while !owning.tracker.has_reached(axis, 1) {
        assert!(begin.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(owning.take_all().is_some());
    worker.tell("leave");
    assert_eq!(worker.hear(), "left");
    assert!(owning.owner.status().members.is_empty());
}

/// Its bytes come back, and not before its process has ended.
fn lose(how: impl FnOnce(&mut Other)) -> Duration {
    let folder = Folder::new("fleet");
    let owning = own(&folder.0, Fence::Kill);
    let mut holder = start(&folder, "holder");
    assert_eq!(holder.hear(), "holding");
    assert!(owning.take_all().is_none());
    let begin = Instant::now();
    how(&mut holder);
    let (event, _) = owning.await_event(|event| matches!(event, OwnerEvent::Over { .. }));
    let took = begin.elapsed();
    assert!(matches!(event, OwnerEvent::Over { reservations: 1, bytes: SLAB, .. }), "{event:?}");
    assert!(owning.take_all().is_some());
    let ended = holder.child.try_wait().unwrap();
    assert!(ended.is_some(), "its bytes were handed out while it was there");
    took
}

#[test]
fn bytes_of_a_member_that_is_killed_come_back() {
    let took = lose(|holder| holder.child.kill().unwrap());
    println!("after {took:?}");
    assert!(took >= LEASE / 2, "the lease is what tells");
}

#[test]
fn a_member_that_is_stopped_beyond_its_lease_is_ended() {
    let took = lose(|holder| holder.signal("-STOP"));
    println!("after {took:?}");
}

#[test]
fn a_member_without_its_owner_stops_before_the_lease_is_over() {
    let folder = Folder::new("fleet");
    let mut owner = start(&folder, "owner");
    assert_eq!(owner.hear(), "open");
    let member = join(&folder.0, 3);
    let pool = member.pool().unwrap();
    let block = pool.acquire(&Request::new(4096)).unwrap().into_ready().unwrap();
    assert!(member.may_touch(Duration::ZERO));
    owner.child.kill().unwrap();
    owner.child.wait().unwrap();
    let begin = Instant::now();
    while member.may_touch(Duration::ZERO) {
        assert!(begin.elapsed() < LEASE, "it goes on after the lease");
        std::thread::sleep(Duration::from_millis(1));
    }
    let refused = pool.acquire(&Request::new(4096));
    assert!(matches!(refused, Err(strandline_core::PoolError::Lost)), "{refused:?}");
    pool.release(block, Death::Idle).unwrap();
}

/// Batches, a refusal that is waited for, and counters.
#[test]
fn a_remote_pool_is_a_pool() {
    let folder = Folder::new("fleet");
    let owning = own(&folder.0, Fence::Kill);
    let member = join(&folder.0, 4);
    let pool = member.pool().unwrap();
    let requests = [Request::new(4096); 256];
    let blocks: Vec<_> = pool
        .acquire_each(&requests)
        .into_iter()
        .map(|answer| answer.unwrap().into_ready().unwrap())
        .collect();
    assert_eq!(pool.asked(), 1);
    assert_eq!(pool.stats().live, 256);
    let Acquire::Exhausted { observed, .. } = pool.acquire(&Request::new(4096)).unwrap() else {
        panic!()
    };
    for block in blocks {
        pool.release(block, Death::Idle).unwrap();
    }
    let begin = Instant::now();
    while !pool.notification().changed_since(observed) {
        assert!(begin.elapsed() < PATIENCE, "nobody told that memory is free");
        std::thread::sleep(Duration::from_millis(1));
    }
    // The first of the releases may be heard before the others have arrived: nothing relies on their order.
    let block = loop {
        match pool.acquire(&Request::new(SLAB)).unwrap() {
            Acquire::Ready { reservation, .. } => break reservation,
            answer => assert!(begin.elapsed() < PATIENCE, "not all comes back: {answer:?}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    pool.cancel(block).unwrap();
    assert!(pool.acquire(&Request::new(0)).is_err());
    member.leave(PATIENCE).unwrap();
    assert!(owning.take_all().is_some());
}
