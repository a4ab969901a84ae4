//! Certificates: who shows one speaks under its own number, and nobody else does.

mod support;

use std::sync::Arc;
use std::time::Duration;
use strandline_core::Tracker;
use strandline_core::fleet::{Names, Peer};
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost, Request};
use strandline_core::slab::CpuSlabs;
use strandline_host_fleet::link::Admitted;
use strandline_host_fleet::member::MemberOptions;
use strandline_host_fleet::{FleetMember, FleetOwner, Link, OwnerOptions};

fn join(link: Link, peer: u64, patience: u64) -> Option<FleetMember> {
    let mut options = MemberOptions::new("test", link, Peer(peer));
    options.patience = Duration::from_secs(patience);
    FleetMember::join(options, None).ok()
}

#[test]
fn a_certificate_is_bound_to_a_number() {
    if !support::has_openssl() {
        println!("skipped: there is no openssl to make certificates with");
        return;
    }
    let folder = support::Folder::new("tls");
    support::certificates(&folder.0, &["owner", "first", "second", "stranger"]);
    let port = support::free_port();
    let endpoint = format!("tls/localhost:{port}");
    let link = |name: &str| Link::new(&endpoint).with_tls(support::tls(&folder.0, name));

    let tracker = Tracker::new(64);
    let host = PoolHost::new(Arc::new(CpuSlabs::new(64 << 20)), Arc::new(tracker.clone()));
    let pool = Arc::new(TlsfPool::new(host, TlsfPoolConfig::default()).unwrap());
    let mut options = OwnerOptions::new("test", link("owner"), Names { session: 0, machine: 0 });
    let admit = |common_name: &str, peer| Admitted { common_name: common_name.into(), peer };
    options.admitted = Some(vec![admit("first", 1), admit("second", 2)]);
    let owner = FleetOwner::open(options, pool, tracker, None).unwrap();

    let first = join(link("first"), 1, 30).expect("its certificate and its number");
    let lent = first.pool().unwrap();
    let block = lent.acquire(&Request::new(4096));
    let block = block.unwrap_or_else(|error| panic!("{error}: {:?}", owner.events()));
    let block = block.into_ready().unwrap();
    // With a good certificate, and another's number; with one of the authority that is not admitted.
    assert!(join(link("second"), 1, 3).is_none(), "another's number");
    assert!(join(link("stranger"), 3, 3).is_none(), "not admitted");
    assert!(join(link("stranger"), 1, 3).is_none(), "not admitted, another's number");
    assert_eq!(owner.status().members.len(), 1, "{:?}", owner.status());
    // Without a certificate there is no connection.
    assert!(join(Link::new(format!("tcp/127.0.0.1:{port}")), 1, 3).is_none());
    let second = join(link("second"), 2, 30).expect("its certificate and its number");
    lent.cancel(block).unwrap();
    second.leave(Duration::from_secs(30)).unwrap();
    first.leave(Duration::from_secs(30)).unwrap();
}
