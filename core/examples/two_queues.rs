//! Memory that one queue gives up is used by another before the device has run either's work.
//!
//! ```sh
//! cargo run -p strandline-core --example two_queues
//! ```
//!
//! A program with a copy queue and a compute queue would otherwise wait for the copy to end, or keep a pool per queue.

use std::error::Error;
use std::sync::Arc;

use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Origin, Pool, PoolHost, Request};
use strandline_core::slab::CpuSlabs;
use strandline_core::{Acquire, Axis, Death, Entry, Frontier, Tracker};

fn main() -> Result<(), Box<dyn Error>> {
    let (copy, compute) = (Axis::queue(0, 0), Axis::queue(0, 1));
    let tracker = Tracker::new(16);
    tracker.register(copy)?;
    tracker.register(compute)?;
    let host = PoolHost::new(Arc::new(CpuSlabs::new(64 << 20)), Arc::new(tracker));
    let pool = TlsfPool::new(host, TlsfPoolConfig::default())?;

    // The copy queue's third submission is the last to read the staging block: that is the block's death.
    let staging = pool.acquire(&Request::new(1 << 20))?.into_ready().map_err(|_| "no memory")?;
    let address = staging.range();
    let death = Frontier::from_entry(copy, 3);
    pool.release(staging, Death::from(&death))?;

    // The compute queue waits on the device for the copy before its next submission, and says so: it is ordered after the death.
    let knows = Frontier::from_entries([Entry::new(copy, 3), Entry::new(compute, 8)])?;
    let Acquire::Ready { reservation, origin } =
        pool.acquire(&Request::new(1 << 20).after(&knows))?
    else {
        return Err("the block was to be had at once".into());
    };
    assert_eq!(reservation.range(), address);
    assert!(matches!(origin, Origin::Reused(_)));
    println!("the compute queue has the staging block, and nothing waited: {origin:?}");

    // Who is not ordered after the copy gets other bytes.
    let stranger = pool.acquire(&Request::new(1 << 20))?.into_ready().map_err(|_| "no memory")?;
    assert_ne!(stranger.range(), address);
    pool.release(reservation, Death::from(&knows))?;
    pool.release(stranger, Death::Idle)?;
    println!("{:?}", pool.stats());
    Ok(())
}
