//! Lent memory read and written by messages, by members that have mapped nothing: over plain loopback and over TLS.

mod support;

use std::sync::Arc;
use std::time::Duration;
use strandline_core::fleet::remote::Key;
use strandline_core::fleet::{Names, Peer};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost, Request, Reservation};
use strandline_core::{Death, Tracker};
use strandline_host_fleet::link::Admitted;
use strandline_host_fleet::member::MemberOptions;
use strandline_host_fleet::owner::Fence;
use strandline_host_fleet::transfer::{RemoteAddress, TransferError};
use strandline_host_fleet::{FleetMember, FleetOwner, Link, OwnerOptions, RemotePool};
use strandline_host_native::MmapSlabProvider;

const SLAB: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

fn own(link: Link, change: impl FnOnce(&mut OwnerOptions)) -> FleetOwner {
    let memory = Arc::new(MmapSlabProvider::builder().shared(true).capacity(SLAB).build().unwrap());
    let tracker = Tracker::new(256);
    let host = PoolHost::new(memory.clone(), Arc::new(tracker.clone()));
    let config = TlsfPoolConfig { growth: Growth::slabs_of(SLAB), ..Default::default() };
    let pool = Arc::new(TlsfPool::new(host, config).unwrap());
    let mut options = OwnerOptions::new("test", link, Names { session: 0, machine: 0 });
    change(&mut options);
    FleetOwner::open(options, pool, tracker, Some(memory)).unwrap()
}

fn join(link: Link, peer: u64) -> (FleetMember, RemotePool) {
    let mut options = MemberOptions::new("test", link, Peer(peer));
    options.patience = PATIENCE;
    let member = FleetMember::join(options, None).unwrap();
    let pool = member.pool().unwrap();
    (member, pool)
}

fn take(pool: &RemotePool, size: u64) -> (Reservation, RemoteAddress) {
    let block = pool.acquire(&Request::new(size)).unwrap().into_ready().unwrap();
    let address = pool.address(&block).unwrap();
    (block, address)
}

fn pattern(len: usize, salt: u64) -> Vec<u8> {
    let byte = |at: u64| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(salt) >> 56) as u8;
    (0..len as u64).map(byte).collect()
}

/// What one writes another reads, in pieces; keys end with their reservations and their holders.
fn exchange(owner: &FleetOwner, link: impl Fn(u64) -> Link) {
    let ((first, ours), (second, theirs)) = (join(link(1), 1), join(link(2), 2));
    assert!(ours.map(&take(&ours, 64).0).is_err(), "nothing is mapped");
    // Odd lengths and places, over several pieces.
    let (block, address) = take(&ours, 1 << 20);
    let sent = pattern(700_001, 1);
    ours.write(&address, 333, &sent).unwrap();
    let mut got = vec![0; sent.len()];
    theirs.read(&address, 333, &mut got).unwrap();
    assert!(got == sent, "other bytes came");
    theirs.write(&address, 0, &[5; 8]).unwrap();
    let mut head = [0; 8];
    ours.read(&address, 0, &mut head).unwrap();
    assert_eq!(head, [5; 8]);
    // Beyond the end, and with a key that nobody was given.
    assert_eq!(ours.write(&address, (1 << 20) - 3, &[9; 4]), Err(TransferError::Range));
    let forged = RemoteAddress { key: Key::from_bits(address.key.to_bits() ^ 1), ..address };
    assert_eq!(theirs.write(&forged, 0, &[9; 8]), Err(TransferError::Revoked));
    assert_eq!(owner.status().counters.keys_refused, 2);
    // The next has the same bytes: whoever kept the old address changes nothing.
    ours.release(block, Death::Idle).unwrap();
    let begin = std::time::Instant::now();
    while owner.status().members.iter().any(|member| member.reservations > 1) {
        assert!(begin.elapsed() < PATIENCE, "{:?}", owner.status());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(theirs.write(&address, 0, &[9; 8]), Err(TransferError::Revoked));
    assert_eq!(ours.write(&address, 0, &[9; 8]), Err(TransferError::Revoked));
    let (_again, same) = take(&theirs, 1 << 20);
    assert_eq!((same.slab, same.offset), (address.slab, address.offset), "another place");
    assert_ne!(same.key, address.key);
    // A member that is counted as gone, and goes on: its own key, and one that it was handed.
    let (_held, own) = take(&ours, 4096);
    ours.write(&own, 0, &[1; 8]).unwrap();
    theirs.write(&same, 0, &[2; 8]).unwrap();
    assert!(owner.fail(first.names().unwrap()));
    assert_eq!(ours.write(&own, 0, &[9; 8]), Err(TransferError::Lost));
    assert_eq!(ours.write(&same, 0, &[9; 8]), Err(TransferError::Lost));
    assert!(!first.may_touch(Duration::ZERO));
    assert_eq!(theirs.read(&own, 0, &mut head), Err(TransferError::Revoked));
    theirs.read(&same, 0, &mut head).unwrap();
    assert_eq!(head, [2; 8]);
    let status = owner.status();
    assert!(status.counters.returned >= 1, "{status:?}");
    second.leave(PATIENCE).unwrap();
}

#[test]
fn bytes_go_by_messages_over_loopback() {
    let endpoint = format!("tcp/127.0.0.1:{}", support::free_port());
    let owner = own(Link::new(&endpoint), |options| options.fence = Fence::Lease);
    exchange(&owner, |_| Link::new(&endpoint));
}

#[test]
fn bytes_go_by_messages_over_tls() {
    if !support::has_openssl() {
        println!("skipped: there is no openssl to make certificates with");
        return;
    }
    let folder = support::Folder::new("transfer-tls");
    support::certificates(&folder.0, &["owner", "first", "second"]);
    let endpoint = format!("tls/localhost:{}", support::free_port());
    let link = |name: &str| Link::new(&endpoint).with_tls(support::tls(&folder.0, name));
    let admit = |common_name: &str, peer| Admitted { common_name: common_name.into(), peer };
    let owner = own(link("owner"), |options| {
        options.fence = Fence::Host;
        options.admitted = Some(vec![admit("first", 1), admit("second", 2)]);
    });
    exchange(&owner, |peer| link(if peer == 1 { "first" } else { "second" }));
}

/// Whoever has mapped nothing has nothing to be ended for: its bytes come back at once, and it writes no more.
#[test]
fn for_members_that_map_nothing_the_owners_refusal_is_the_fence() {
    let endpoint = format!("tcp/127.0.0.1:{}", support::free_port());
    let owner = own(Link::new(&endpoint), |options| options.fence = Fence::Kill);
    let ((first, ours), (_second, theirs)) =
        (join(Link::new(&endpoint), 1), join(Link::new(&endpoint), 2));
    let (_all, address) = take(&ours, SLAB);
    assert!(owner.fail(first.names().unwrap()));
    let begin = std::time::Instant::now();
    let again = loop {
        match theirs.acquire(&Request::new(SLAB)).unwrap().into_ready() {
            Ok(again) => break theirs.address(&again).unwrap(),
            Err(answer) => assert!(begin.elapsed() < PATIENCE, "{answer:?}"),
        }
    };
    theirs.write(&again, 0, &[2; 8]).unwrap();
    assert_eq!(ours.write(&address, 0, &[9; 8]), Err(TransferError::Lost));
    let mut head = [0; 8];
    theirs.read(&again, 0, &mut head).unwrap();
    assert_eq!(head, [2; 8]);
}
