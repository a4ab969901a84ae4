//! A pool under pressure: what is not to be had now is a value, and says what to wait for.
//!
//! ```sh
//! cargo run -p strandline-core --example pressure
//! ```

use std::error::Error;
use std::sync::Arc;

use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost, Request};
use strandline_core::slab::CpuSlabs;
use strandline_core::{Acquire, Axis, Death, Frontier, Tracker};

const MIB: u64 = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let queue = Axis::queue(0, 0);
    let tracker = Tracker::new(16);
    tracker.register(queue)?;
    let host = PoolHost::new(Arc::new(CpuSlabs::new(64 * MIB)), Arc::new(tracker.clone()));
    let pool = TlsfPool::new(
        host,
        TlsfPoolConfig {
            growth: Growth { slab_size: 32 * MIB, max_slabs: 1 },
            ..TlsfPoolConfig::default()
        },
    )?;

    let first = pool.acquire(&Request::new(24 * MIB))?.into_ready().map_err(|_| "no memory")?;

    // Not to be had: not an error, and the pool is as before.
    let answer = pool.acquire(&Request::new(16 * MIB))?;
    let Acquire::Exhausted { observed, .. } = answer else {
        return Err(format!("32 MiB are all there is: {answer:?}").into());
    };
    println!("24 of 32 MiB are in use, 16 are not to be had");

    // Submission 1 is the last to use the first block. Whoever may wait gets its bytes now, with the frontier that the device waits for.
    pool.release(first, Death::from(&Frontier::from_entry(queue, 1)))?;
    assert!(pool.notification().changed_since(observed), "a release wakes who saw less");
    let answer = pool.acquire(&Request::new(16 * MIB).or_wait().without_growth())?;
    let Acquire::AfterWait { reservation, wait } = answer else {
        return Err(format!("the released block was to be had after a wait: {answer:?}").into());
    };
    println!("16 MiB are ours once the device has reached {wait}");

    tracker.advance(queue, 1)?;
    assert!(wait.as_ref().is_satisfied(&tracker));
    pool.release(reservation, Death::Idle)?;
    pool.poll();
    println!("{:?}", pool.stats());
    Ok(())
}
