//! Two tenants, two budgets, one device: what an embedder of untrusted guests writes.
//!
//! ```text
//! cargo run -p strandline-host-tenants --features component --example embed -- GUEST.wasm [ARGUMENT…]
//! ```
//!
//! Both run the same program at the same time. They share the pool and its memory; neither can take more than its
//! budget, name the other's epochs or see its bytes. Whatever one of them does, the other goes on.

use std::sync::Arc;
use std::time::Duration;
use strandline_core::Tracker;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost};
use strandline_host_native::{MmapSlabProvider, thread_wake};
use strandline_host_tenants::component::guest::{GuestHost, GuestLimits};
use strandline_host_tenants::tenant::{Device, SharedPool, Tenant, TenantLimits};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        return Err("usage: embed GUEST.wasm [ARGUMENT...]".into());
    };
    let arguments: Vec<String> = arguments.collect();

    // 1. Memory, and who knows how far work has come.
    let memory = Arc::new(MmapSlabProvider::builder().capacity(64 << 20).build()?);
    let tracker = Tracker::new(1024);

    // 2. A pool over it. A pool that lives in a sandbox would do as well: a pool is a `Pool`.
    let host = PoolHost::new(memory.clone(), Arc::new(tracker.clone())).with_wake(thread_wake());
    let growth = Growth::slabs_of(16 << 20);
    let pool = Arc::new(TlsfPool::new(host, TlsfPoolConfig { growth, ..Default::default() })?);

    // 3. A device that lends it.
    let device = Device::new(0, tracker, vec![SharedPool::new(pool.clone(), memory)]);

    // 4. Guests: compiled once, run as tenants with budgets of their own.
    let guests = GuestHost::new()?;
    let program = guests.compile(&std::fs::read(&path)?)?;
    let limits = GuestLimits { timeout: Some(Duration::from_secs(10)), ..Default::default() };
    std::thread::scope(|scope| {
        for (name, budget) in [("small", 1 << 20), ("large", 32 << 20)] {
            let (guests, program, limits) = (&guests, &program, &limits);
            let (device, arguments) = (&device, &arguments);
            scope.spawn(move || {
                let tenant_limits = TenantLimits { budget, ..TenantLimits::default() };
                match Tenant::new(device, tenant_limits) {
                    Ok(tenant) => match guests.run(program, tenant, limits, arguments) {
                        Ok(said) => println!("{name}: {said}"),
                        Err(error) => println!("{name}: {error}"),
                    },
                    Err(error) => println!("{name}: {error}"),
                }
            });
        }
    });

    // 5. However they ended, nothing of theirs is left.
    let stats = pool.stats();
    println!("afterwards: {} bytes reserved, {} live", stats.reserved_bytes, stats.live);
    Ok(())
}
