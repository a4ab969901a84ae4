//! What the C interface adds to an acquire and a release: both ways, round by round, in one process.
//!
//! `cargo run --release -p strandline-capi --example pair`

use std::error::Error;
use std::hint::black_box;
use std::ptr::null;
use std::sync::Arc;
use std::time::Instant;
use strandline_c::*;
use strandline_core::pool::PoolHost;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::{Acquire, Death, Pool, Request, Tracker};
use strandline_host_native::MmapSlabProvider;

// Many short rounds: the least of them is of a moment at which the machine did nothing else.
const ROUNDS: usize = 2001;
const PAIRS: u32 = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    let provider = Arc::new(MmapSlabProvider::builder().build()?);
    let host = PoolHost::new(provider, Arc::new(Tracker::new(1)));
    let rust: Box<dyn Pool> = Box::new(TlsfPool::new(host, TlsfPoolConfig::default())?);

    let (mut tracker, mut slabs) = (strandline_tracker::default(), strandline_slabs::default());
    let mut pool = strandline_pool::default();
    // SAFETY: places for handles; null is all zeros.
    let made = unsafe {
        [
            strandline_tracker_create(1, &raw mut tracker),
            strandline_slabs_host(0, 0, 0, &raw mut slabs),
            strandline_pool_create(slabs, tracker, null(), &raw mut pool),
        ]
    };
    if made != [strandline_status::OK; 3] {
        return Err("no pool".into());
    }

    let rust_pair = || {
        let Ok(Acquire::Ready { reservation, .. }) =
            rust.acquire(black_box(&Request::new(4096).or_grow()))
        else {
            return false;
        };
        rust.release(reservation, Death::Idle).is_ok()
    };
    let request = strandline_request {
        size: 4096,
        alignment: 0,
        after: strandline_frontier { entries: null(), count: 0 },
        wait: std::ptr::null_mut(),
        wait_capacity: 0,
        flags: STRANDLINE_MAY_GROW,
    };
    let c_pair = || {
        let mut grant = strandline_grant::default();
        // SAFETY: what the types say.
        unsafe {
            strandline_acquire(pool, black_box(&raw const request), &raw mut grant)
                == strandline_status::OK
                && strandline_release(pool, grant.reservation, null()) == strandline_status::OK
        }
    };
    let time = |pair: &dyn Fn() -> bool| -> Result<f64, Box<dyn Error>> {
        let start = Instant::now();
        for _ in 0..PAIRS {
            if !pair() {
                return Err("a pair failed".into());
            }
        }
        Ok(start.elapsed().as_nanos() as f64 / f64::from(PAIRS))
    };
    let mut sides = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        sides[0].push(time(&rust_pair)?);
        sides[1].push(time(&c_pair)?);
    }
    let [rust, c] = sides.map(|mut side| {
        side.sort_by(f64::total_cmp);
        (side[0], side[ROUNDS / 2])
    });
    println!("ns a pair     least  median");
    println!("Rust          {:5.1}   {:5.1}", rust.0, rust.1);
    println!("C             {:5.1}   {:5.1}", c.0, c.1);
    println!("more          {:5.1}   {:5.1}", c.0 - rust.0, c.1 - rust.1);
    Ok(())
}
