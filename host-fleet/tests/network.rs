//! A network that breaks: links that go down, a partition, a way that stalls and cuts, a member that is stopped beyond its lease. The owner
//! fences by the lease, members reach their bytes by messages, stamp them, and look whether the stamps are there until they give them back.
//!
//! Always: no byte is used too early (the stamps and the owner's oracle say so), none is lost, and all are back after the fence.
#![cfg(target_os = "linux")]

mod support;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strandline_core::fleet::{Names, OwnerEvent, Peer};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolError, PoolHost, Request};
use strandline_core::{Axis, Death, Domain, Entry, Tracker};
use strandline_host_fleet::member::MemberOptions;
use strandline_host_fleet::owner::Fence;
use strandline_host_fleet::picture::Picture;
use strandline_host_fleet::transfer::TransferError;
use strandline_host_fleet::{FleetMember, FleetOwner, Link, OwnerOptions, RemotePool};
use strandline_host_native::MmapSlabProvider;
use support::net::Net;
use support::relay::Relay;
use support::{Other, ROLE, listen, say};

const SLAB: u64 = 1 << 20;
const BLOCK: u64 = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(90);
const ENDPOINT: &str = "STRANDLINE_TEST_ENDPOINT";

/// Nanoseconds of a clock that all processes of this machine have, and that goes on while one is stopped.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Not a test by itself: what the other processes run.
#[test]
#[ignore = "started by the other tests"]
fn the_other_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let link = Link::new(std::env::var(ENDPOINT).unwrap()).insecure(true);
    match role.split_once(' ').unwrap() {
        ("owner", lease) => own(link, lease.parse().unwrap()),
        ("member", peer) => work(link, peer.parse().unwrap()),
        _ => panic!("{role}?"),
    }
}

/// Says when members fail and are over, and answers what it is asked.
fn own(link: Link, lease: u64) {
    let memory = Arc::new(MmapSlabProvider::builder().shared(true).capacity(SLAB).build().unwrap());
    let tracker = Tracker::new(1024);
    let host = PoolHost::new(memory.clone(), Arc::new(tracker.clone()));
    let config = TlsfPoolConfig { growth: Growth::slabs_of(SLAB), ..Default::default() };
    let pool = Arc::new(TlsfPool::new(host, config).unwrap());
    let mut options = OwnerOptions::new("test", link, Names { session: 0, machine: 0 });
    options.config.lease = lease * 1_000_000_000;
    (options.fence, options.hasty, options.oracle) = (Fence::Lease, false, true);
    let owner = Arc::new(FleetOwner::open(options, pool.clone(), tracker, Some(memory)).unwrap());
    let told = owner.clone();
    std::thread::spawn(move || {
        loop {
            for event in told.events() {
                if let OwnerEvent::Over { peer: Peer(peer), .. } = event {
                    say(&format!("over {peer} {}", now()));
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    say("open");
    loop {
        match listen().as_str() {
            "picture" => say(&format!("picture {}", owner.picture().to_json())),
            "all" => {
                let all = pool.acquire(&Request::new(SLAB)).unwrap().into_ready();
                say(&format!("all {}", all.is_ok()));
            }
            _ => return,
        }
    }
}

/// Why a member's work ended.
enum End {
    Lost,
    Wrong,
}

impl From<TransferError> for End {
    fn from(error: TransferError) -> Self {
        // A key is revoked when its holder fails, and nothing else does it here.
        match error {
            TransferError::Lost | TransferError::Revoked => Self::Lost,
            other => panic!("{other}"),
        }
    }
}

/// Stamps some blocks, looks at them, and gives them back before its axis says that they are done with.
fn round(member: &FleetMember, pool: &RemotePool, axis: Axis, epoch: u64) -> Result<(), End> {
    let mut held = Vec::new();
    for answer in pool.acquire_each(&[Request::new(BLOCK); 4]) {
        match answer {
            Ok(answer) => held.extend(answer.into_ready().ok()),
            Err(PoolError::Lost) => return Err(End::Lost),
            Err(error) => panic!("{error}"),
        }
    }
    let names = member.names().ok_or(End::Lost)?;
    let mut stamps = Vec::new();
    for (at, block) in held.iter().enumerate() {
        let address = pool.address(block)?;
        let who = u64::from(names.session) << 8 | u64::from(names.machine);
        let stamp = (who << 48 | epoch << 8 | at as u64).to_le_bytes().repeat(32);
        pool.write(&address, BLOCK / 2, &stamp)?;
        stamps.push((address, stamp));
    }
    let mut is_wrong = false;
    for (address, stamp) in &stamps {
        let mut found = vec![0; stamp.len()];
        pool.read(address, BLOCK / 2, &mut found)?;
        is_wrong |= found != *stamp;
    }
    for block in held {
        pool.release(block, Death::from(&Entry::new(axis, epoch))).unwrap();
    }
    // The blocks of some rounds are waited for.
    if epoch.is_multiple_of(3) && member.advance(axis, epoch).is_err() {
        return Err(End::Lost);
    }
    if is_wrong { Err(End::Wrong) } else { Ok(()) }
}

/// Works until it is told to leave, or is lost: then it says until when it would have touched mapped memory.
fn work(link: Link, peer: u64) {
    let mut options = MemberOptions::new("test", link, Peer(peer));
    options.patience = PATIENCE;
    let member = Arc::new(FleetMember::join(options, None).unwrap());
    let pool = member.pool().unwrap();
    let axis = member.register(Domain::Host, 0).unwrap();
    let (touched, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (of_thread, latest, stop) = (member.clone(), touched.clone(), is_over.clone());
    let watch = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            // Both times are before the answer, so what it allows is at the earlier one too.
            let time = now();
            if of_thread.may_touch(Duration::ZERO) {
                latest.store(time, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    });
    let is_to_leave = Arc::new(AtomicBool::new(false));
    let told = is_to_leave.clone();
    std::thread::spawn(move || {
        listen();
        told.store(true, Ordering::Relaxed);
    });
    say("working");
    let mut epoch = 0;
    let end = loop {
        if is_to_leave.load(Ordering::Relaxed) {
            break None;
        }
        epoch += 1;
        match round(&member, &pool, axis, epoch) {
            Ok(()) => say(&format!("at {epoch}")),
            Err(end) => break Some(end),
        }
    };
    is_over.store(true, Ordering::Relaxed);
    watch.join().unwrap();
    match end {
        Some(End::Wrong) => say("wrong"),
        Some(End::Lost) => say(&format!("lost {}", touched.load(Ordering::Relaxed))),
        None => {
            drop(pool);
            let member = Arc::into_inner(member).unwrap();
            say(if member.leave(PATIENCE).is_ok() { "left" } else { "lost 0" });
        }
    }
}

fn start(mut command: Command, endpoint: &str, role: &str, first: &str) -> Other {
    command.env(ENDPOINT, endpoint);
    let mut other = Other::start(command, role);
    assert_eq!(other.hear(), first, "{role}");
    other
}

fn program() -> Command {
    Command::new(support::program())
}

/// A member has worked on since it was looked at.
fn goes_on(member: &mut Other) {
    for _ in 0..20 {
        member.hear_of("at");
    }
}

/// When the member of a peer was over, as its owner says.
fn over(owner: &mut Other, peer: u64) -> u64 {
    loop {
        let said = owner.hear_of("over");
        let (who, when) = said.split_once(' ').unwrap();
        if who == peer.to_string() {
            return when.parse().unwrap();
        }
    }
}

/// All leave, the oracle has found nothing, and all bytes are there.
fn end(mut owner: Other, members: Vec<Other>, fenced: u64) {
    for mut member in members {
        member.tell("leave");
        member.hear_of("left");
    }
    let begin = Instant::now();
    loop {
        owner.tell("picture");
        let picture = Picture::from_json(owner.hear_of("picture").as_bytes()).unwrap();
        let oracle = picture.oracle.clone().unwrap();
        assert!(picture.is_sound() && oracle.watched > 0, "{picture}");
        if picture.members.is_empty() {
            assert_eq!(picture.fenced, fenced, "{picture}");
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "{picture}");
        std::thread::sleep(Duration::from_millis(10));
    }
    owner.tell("all");
    assert_eq!(owner.hear_of("all"), "true", "bytes are lost");
}

/// A network of two members, or why there is none.
fn net() -> Option<(Net, u16)> {
    match Net::new(2) {
        Ok(net) => Some((net, support::free_port())),
        Err(why) => {
            println!("skipped: no network namespaces can be made here: {why}");
            None
        }
    }
}

fn in_net(net: &Net, port: u16, lease: u64) -> (Other, Vec<Other>) {
    let program = support::program();
    let program = program.to_str().unwrap();
    let everywhere = format!("tcp/0.0.0.0:{port}");
    let owner = start(net.at_owner(program), &everywhere, &format!("owner {lease}"), "open");
    let member = |number| {
        let command = net.at_member(number, program);
        start(command, &Net::endpoint(number, port), &format!("member {number}"), "working")
    };
    (owner, vec![member(1), member(2)])
}

#[test]
fn a_link_that_is_down_for_less_than_the_lease_costs_nobody_its_membership() {
    let Some((net, port)) = net() else { return };
    let (owner, mut members) = in_net(&net, port, 20);
    members.iter_mut().for_each(goes_on);
    for _ in 0..2 {
        net.set_link(1, false);
        // The other does not notice.
        goes_on(&mut members[1]);
        std::thread::sleep(Duration::from_millis(700));
        net.set_link(1, true);
        goes_on(&mut members[0]);
    }
    end(owner, members, 0);
}

/// The owner believes that the member is gone, and the member that it is one: until its time is over, which is before its bytes are another's.
#[test]
fn in_a_partition_a_member_stops_before_its_bytes_are_anothers() {
    let Some((net, port)) = net() else { return };
    let (mut owner, mut members) = in_net(&net, port, 3);
    members.iter_mut().for_each(goes_on);
    net.set_link(1, false);
    let over = over(&mut owner, 1);
    goes_on(&mut members[1]);
    let touched: u64 = members[0].hear_of("lost").parse().unwrap();
    assert!(touched < over, "it would have touched memory until {touched}, and was over at {over}");
    println!("it stopped {} ms before", (over - touched) / 1_000_000);
    // It comes back, as another member.
    net.set_link(1, true);
    let program = support::program();
    let command = net.at_member(1, program.to_str().unwrap());
    members[0] = start(command, &Net::endpoint(1, port), "member 1", "working");
    members.iter_mut().for_each(goes_on);
    end(owner, members, 1);
}

#[test]
fn a_member_that_was_stopped_beyond_its_lease_writes_nothing_late() {
    let endpoint = format!("tcp/127.0.0.1:{}", support::free_port());
    let mut owner = start(program(), &endpoint, "owner 2", "open");
    let member = |peer| start(program(), &endpoint, &format!("member {peer}"), "working");
    let mut members = vec![member(1), member(2)];
    members.iter_mut().for_each(goes_on);
    members[0].signal("-STOP");
    over(&mut owner, 1);
    // Its bytes are the other's.
    goes_on(&mut members[1]);
    members[0].signal("-CONT");
    members[0].hear_of("lost");
    members[0] = member(1);
    members.iter_mut().for_each(goes_on);
    end(owner, members, 1);
}

/// At the level of TCP: pieces are held up and connections are cut, which is what lost packets come to.
#[test]
fn a_way_that_stalls_and_cuts_loses_no_byte() {
    let port = support::free_port();
    let owner = start(program(), &format!("tcp/127.0.0.1:{port}"), "owner 10", "open");
    let relay = Relay::start(port, 400);
    let endpoint = format!("tcp/127.0.0.1:{}", relay.port);
    let member = |peer: usize| start(program(), &endpoint, &format!("member {peer}"), "working");
    let mut members = vec![member(1), member(2)];
    let (begin, mut lost) = (Instant::now(), 0);
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    while count(&relay.done.cut) < 3 || count(&relay.done.stalled) < 30 {
        assert!(begin.elapsed() < PATIENCE, "{:?}", relay.done);
        for (number, peer) in members.iter_mut().zip(1..) {
            let said = number.hear();
            assert_ne!(said, "wrong", "bytes of two at once");
            // A connection that is away for as long as the lease is a member that is lost.
            if said.starts_with("lost") {
                lost += 1;
                *number = member(peer);
            }
        }
    }
    println!("{:?}, {lost} members lost, in {:?}", relay.done, begin.elapsed());
    members.iter_mut().for_each(goes_on);
    end(owner, members, lost);
}
