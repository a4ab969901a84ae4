//! Sixty-four members and ten thousand axes, beside one that floods its owner and one that never reads what it is sent.
#![cfg(target_os = "linux")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use strandline_core::fleet::message::{Ask, Message, Op, Reached, Who};
use strandline_core::fleet::{Counters, Names, Peer};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost, Request};
use strandline_core::{Axis, Death, Domain, Entry, Frontier, Progress, Tracker};
use strandline_host_fleet::member::MemberOptions;
use strandline_host_fleet::{FleetMember, FleetOwner, Link, OwnerOptions, RemotePool};
use strandline_host_native::MmapSlabProvider;
use support::{Folder, Other, ROLE, listen, say};
use zenoh::{Session, Wait};

const MEMBERS: u64 = 64;
const AXES: u64 = 157;
const ROUNDS: u64 = 2;
/// What the flooder says as fast as it can. It goes on at a slower pace, until the owner has heard of each kind.
const FLOOD: u64 = 1_000;
const SLAB: u64 = 8 << 20;
const BLOCK: u64 = 4096;
const PATIENCE: Duration = Duration::from_secs(120);
const ENDPOINT: &str = "STRANDLINE_TEST_ENDPOINT";
const FLOODER: u64 = 900;

fn endpoint(folder: &Folder) -> String {
    format!("unixsock-stream/{}", folder.0.join("zenoh").display())
}

fn own(endpoint: &str) -> (FleetOwner, Arc<TlsfPool>) {
    let memory = Arc::new(MmapSlabProvider::builder().shared(true).capacity(SLAB).build().unwrap());
    let tracker = Tracker::new(16_384);
    let host = PoolHost::new(memory.clone(), Arc::new(tracker.clone()));
    let config = TlsfPoolConfig { growth: Growth::slabs_of(SLAB), ..Default::default() };
    let pool = Arc::new(TlsfPool::new(host, config).unwrap());
    let mut options =
        OwnerOptions::new("test", Link::new(endpoint), Names { session: 0, machine: 0 });
    // Longer than the test, so that nobody is lost who is only slow.
    options.config.lease = 2 * PATIENCE.as_nanos() as u64;
    options.config.refresh = 5_000_000_000;
    options.config.limits.members = MEMBERS as usize + 2;
    options.config.limits.axes = AXES as usize;
    options.config.limits.budget = SLAB / 64;
    (options.hasty, options.oracle) = (false, true);
    let owner = FleetOwner::open(options, pool.clone(), tracker, Some(memory)).unwrap();
    (owner, pool)
}

fn join(endpoint: &str, peer: u64) -> FleetMember {
    let mut options = MemberOptions::new("test", Link::new(endpoint), Peer(peer));
    (options.axes, options.patience) = (16_384, PATIENCE);
    options.refresh = Duration::from_secs(5);
    FleetMember::join(options, None).unwrap()
}

/// Not a test by itself: a member that is stopped while it is sent everything.
#[test]
#[ignore = "started by the other test"]
fn the_other_process() {
    let Ok(_) = std::env::var(ROLE) else { return };
    let member = join(&std::env::var(ENDPOINT).unwrap(), FLOODER + 1);
    let pool = member.pool().unwrap();
    let block = pool.acquire(&Request::new(BLOCK)).unwrap().into_ready().unwrap();
    say("in");
    listen();
    pool.release(block, Death::Idle).unwrap();
    drop(pool);
    member.leave(PATIENCE).unwrap();
    say("left");
}

/// A session of zenoh's own, without the rules of a member.
fn session(endpoint: &str) -> Session {
    let mut config = zenoh::Config::default();
    let endpoints = format!("[{endpoint:?}]");
    for (key, value) in [
        ("mode", "\"client\""),
        ("scouting/multicast/enabled", "false"),
        ("scouting/gossip/enabled", "false"),
        ("connect/endpoints", &endpoints),
    ] {
        config.insert_json5(key, value).unwrap();
    }
    zenoh::open(config).wait().unwrap()
}

/// Joins, and then says everything that it should not, as fast as it can, and reads no answer.
fn flood(endpoint: &str, stop: &AtomicBool) -> u64 {
    let session = session(endpoint);
    let (ask, progress) = ("strandline/test/peer/900/ask", "strandline/test/peer/900/progress");
    let join = Message::Join { nonce: 1 }.encode();
    let reply = session.get(ask).payload(join).wait().unwrap().recv().unwrap();
    let reply = reply.into_result().unwrap();
    let Ok(Message::Welcome { who, .. }) = Message::decode(&reply.payload().to_bytes()) else {
        panic!("not joined")
    };
    let axis = |ordinal| {
        Axis::host(ordinal).with_session(who.names.session).with_machine(who.names.machine)
    };
    let mut said = 0;
    while !stop.load(Ordering::Relaxed) {
        said += 1;
        if said > FLOOD {
            std::thread::sleep(Duration::from_millis(10));
        }
        let call = |id| {
            let ops = vec![Op::Acquire { ask: Ask::new(SLAB) }; 256];
            Message::Call { who, id, floor: 0, ops }.encode()
        };
        let asked = match said % 8 {
            // Within its window, beyond it, in another's name, no message, and too long.
            0 => call(said % 32),
            1 => call(1_000 + said),
            2 => {
                let names = Names { session: 0, machine: 1 };
                let who = Who { names, ..who };
                Message::Renew { who, number: said }.encode()
            }
            3 => vec![7; 1000],
            4 if said % 80 == 4 => vec![7; (1 << 20) + 1],
            _ => {
                let entry = |ordinal| Entry { axis: axis(ordinal), epoch: said };
                let reached = Reached((0..200).map(entry).collect());
                session.put(progress, Message::Progress { who, reached }.encode()).wait().unwrap();
                continue;
            }
        };
        session.get(ask).payload(asked).callback(|_| {}).wait().unwrap();
    }
    session.close().wait().unwrap();
    said
}

struct Worker {
    member: FleetMember,
    pool: RemotePool,
    axes: Vec<Axis>,
}

/// Blocks that die at an axis of the worker's own and at one of the next worker's; how long each question took.
fn round(worker: &Worker, other: Axis, epoch: u64) -> Vec<Duration> {
    let own = worker.axes[epoch as usize];
    let begin = Instant::now();
    while !worker.member.tracker().is_known(other) {
        assert!(begin.elapsed() < PATIENCE, "{other} was never heard of");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut took = Vec::new();
    for _ in 0..4 {
        let begin = Instant::now();
        let block = worker.pool.acquire(&Request::new(BLOCK)).unwrap().into_ready();
        took.push(begin.elapsed());
        // Others may still use all of it, or this member has its budget.
        let Ok(block) = block else { continue };
        let death = [Entry::new(own, epoch), Entry::new(other, epoch)];
        let death = Frontier::from_entries(death).unwrap();
        worker.pool.release(block, Death::After(death.as_ref())).unwrap();
    }
    for &axis in &worker.axes {
        worker.member.advance(axis, epoch).unwrap();
    }
    took
}

/// What of a flood the owner has not counted yet.
fn untouched(counters: &Counters) -> Option<&'static str> {
    let kinds = [
        ("malformed", counters.malformed),
        ("oversized", counters.oversized),
        ("forged", counters.forged),
        ("repeated", counters.repeated),
        ("flooded", counters.flooded),
        ("crowded", counters.crowded),
    ];
    kinds.into_iter().find(|(_, many)| *many == 0).map(|(what, _)| what)
}

#[test]
fn many_members_and_axes_beside_one_that_floods_and_one_that_never_reads() {
    let folder = Folder::new("many");
    let endpoint = endpoint(&folder);
    let (owner, pool) = own(&endpoint);
    let mut command = std::process::Command::new(support::program());
    command.env(ENDPOINT, &endpoint);
    let mut deaf = Other::start(command, "deaf");
    assert_eq!(deaf.hear(), "in");
    deaf.signal("-STOP");
    let begin = Instant::now();
    let work = |peer| {
        let member = join(&endpoint, peer);
        let register = |ordinal| member.register(Domain::Host, ordinal).unwrap();
        let axes = (0..AXES).map(register).collect();
        Worker { pool: member.pool().unwrap(), member, axes }
    };
    let workers: Vec<Worker> = std::thread::scope(|scope| {
        let some = |from| scope.spawn(move || (from..from + 8).map(work).collect::<Vec<_>>());
        let all: Vec<_> = (1..=MEMBERS).step_by(8).map(some).collect();
        all.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, to) = (stop.clone(), endpoint.clone());
    let flooder = std::thread::spawn(move || flood(&to, &stopped));
    println!("{MEMBERS} joined in {:?}", begin.elapsed());
    let others: Vec<Axis> =
        (0..workers.len()).map(|at| workers[(at + 1) % workers.len()].axes[0]).collect();
    let mut took = Vec::new();
    for epoch in 1..=ROUNDS {
        let each = workers.iter().zip(&others);
        took.extend(std::thread::scope(|scope| {
            let spawn = |(worker, &other)| scope.spawn(move || round(worker, other, epoch));
            let all: Vec<_> = each.map(spawn).collect();
            all.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        }));
    }
    took.sort_unstable();
    println!(
        "asked {}, half within {:?}, all within {:?}, after {:?}",
        took.len(),
        took[took.len() / 2],
        took[took.len() - 1],
        begin.elapsed()
    );
    // Everybody hears of every axis, though much of what was told was lost.
    for worker in &workers {
        for axis in workers.iter().flat_map(|worker| &worker.axes) {
            while !worker.member.tracker().has_reached(*axis, ROUNDS) {
                assert!(
                    begin.elapsed() < PATIENCE,
                    "{axis} is at {}",
                    worker.member.tracker().reached(*axis)
                );
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    println!("all heard of all after {:?}", begin.elapsed());
    // Nobody takes more axes of one member than it may have.
    let floods = owner.status().members.iter().find(|m| m.peer == Peer(FLOODER)).unwrap().names;
    for worker in &workers {
        let axes = worker.member.tracker().axes();
        let of_it = axes.iter().filter(|status| Names::of(status.axis) == floods).count();
        assert!(of_it <= AXES as usize, "{of_it} axes of one");
    }
    let status = owner.status();
    let axes: usize = status.members.iter().map(|member| member.axes).sum();
    assert!(axes >= (MEMBERS * AXES) as usize && status.members.len() == 66, "{axes} {status:?}");
    assert_eq!((status.over, status.in_doubt), (0, 0), "{status:?}");

    let begin = Instant::now();
    while let Some(what) = untouched(&owner.status().counters) {
        assert!(begin.elapsed() < PATIENCE, "nothing was {what}: {:?}", owner.status());
        std::thread::sleep(Duration::from_millis(10));
    }
    stop.store(true, Ordering::Relaxed);
    println!("the flooder has said {}", flooder.join().unwrap());
    deaf.signal("-CONT");
    deaf.tell("leave");
    assert_eq!(deaf.hear(), "left");
    for Worker { member, pool, .. } in workers {
        drop(pool);
        member.leave(PATIENCE).unwrap();
    }
    // The flooder did not leave.
    let names = owner.status().members.iter().map(|member| member.names).collect::<Vec<_>>();
    assert_eq!(names.len(), 1, "{:?}", owner.status());
    assert!(owner.fail(names[0]));
    let begin = Instant::now();
    while !owner.status().members.is_empty() {
        assert!(begin.elapsed() < PATIENCE, "{:?}", owner.status());
        std::thread::sleep(Duration::from_millis(1));
    }
    let status = owner.status();
    println!("{:?}", status.counters);
    let found = owner.found().unwrap();
    assert!(found.verdict.is_sound() && found.watched > 0, "{found:?}");
    let all = pool.acquire(&Request::new(SLAB)).unwrap().into_ready();
    assert!(all.is_ok(), "bytes are lost: {status:?}");
}
