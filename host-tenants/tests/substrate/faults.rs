//! When the component fails: a typed error, no second entry, and every slab back.

use crate::support::progress::Dial;
use crate::support::provider::MockProvider;
use crate::{module, wasm};
use std::sync::Arc;
use std::time::Duration;
use strandline_core::pool::fixed_block::FixedBlockPoolConfig;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::TlsfPoolConfig;
use strandline_core::pool::{PoolHost, Request};
use strandline_core::slab::Trim;
use strandline_core::{Acquire, Axis, Death, Epoch, Frontier, Pool, PoolError, Progress};
use strandline_host_tenants::component::substrate::{
    Answer, SandboxPool, SubstrateConfig, SubstrateError, SubstrateLimits, SubstrateModule,
};

fn provider() -> Arc<MockProvider> {
    Arc::new(MockProvider::new(4096, 4096, 1 << 20, 1 << 30))
}

fn config() -> TlsfPoolConfig {
    TlsfPoolConfig { growth: Growth::slabs_of(1 << 20), ..TlsfPoolConfig::default() }
}

fn host(provider: &Arc<MockProvider>) -> PoolHost {
    PoolHost::new(provider.clone(), Arc::new(Dial::new(1)))
}

fn limited(limits: SubstrateLimits) -> SubstrateModule {
    let config = SubstrateConfig { limits, ..SubstrateConfig::default() };
    SubstrateModule::compile(wasm(), &config).unwrap()
}

/// Takes small blocks until the component has no memory left for its books.
fn fill(pool: &SandboxPool) -> Vec<strandline_core::Reservation> {
    let mut held = Vec::new();
    loop {
        match pool.acquire(&Request::new(256).or_grow()) {
            Ok(Acquire::Ready { reservation, .. }) => held.push(reservation),
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert_eq!(error, PoolError::Lost);
                return held;
            }
        }
    }
}

#[test]
fn out_of_memory_is_a_fault_and_nothing_is_lost() {
    let module = limited(SubstrateLimits { memory_bytes: 2 << 20, ..SubstrateLimits::default() });
    let substrate = module.instantiate().unwrap();
    let provider = provider();
    let pool = substrate.tlsf(host(&provider), config()).unwrap();
    let other = substrate.tlsf(host(&provider), config()).unwrap();
    let mut held = fill(&pool);
    assert!(held.len() > 100, "{}", held.len());
    assert!(matches!(substrate.fault(), Some(SubstrateError::Trapped(_))));

    // No call enters it again, of either pool; each says so in its own way.
    assert_eq!(other.acquire(&Request::new(1)).map(drop), Err(PoolError::Lost));
    let first = held.swap_remove(0);
    let place = (first.slab(), first.offset());
    let refused = pool.release(first, Death::Idle).unwrap_err().reservation;
    assert_eq!((refused.slab(), refused.offset()), place, "it comes back unharmed");
    assert_eq!(pool.trim(Trim::All), Err(PoolError::Lost));
    pool.poll();
    pool.quiesce();
    pool.inspect(&mut |block| panic!("{block:?}"));
    assert_eq!(pool.stats(), pool.stats());
    assert!(substrate.tlsf(host(&provider), config()).is_err());

    // Live reservations keep their slabs until the pool goes; then every slab is back, once.
    assert!(!provider.out().is_empty());
    drop((pool, other));
    assert!(provider.out().is_empty());
    assert_eq!(provider.crimes(), Vec::<String>::new());
}

#[test]
fn an_instance_that_traps_leaves_others_alone() {
    let module = limited(SubstrateLimits { memory_bytes: 2 << 20, ..SubstrateLimits::default() });
    let (sick, well) = (module.instantiate().unwrap(), module.instantiate().unwrap());
    let provider = provider();
    let pool = well.tlsf(host(&provider), config()).unwrap();
    fill(&sick.tlsf(host(&provider), config()).unwrap());
    assert!(sick.fault().is_some() && well.fault().is_none());
    assert!(matches!(pool.acquire(&Request::new(1).or_grow()), Ok(Acquire::Ready { .. })));
}

/// Progress that takes its time, for the clock of a call to run out in.
struct Slow;

impl Progress for Slow {
    fn reached(&self, _: Axis) -> Epoch {
        std::thread::sleep(Duration::from_millis(5));
        0
    }
}

#[test]
fn a_call_that_takes_too_long_ends() {
    let time = Some(Duration::from_millis(50));
    let module = limited(SubstrateLimits { call_time: time, ..SubstrateLimits::default() });
    let substrate = module.instantiate().unwrap();
    let provider = provider();
    let host = PoolHost::new(provider.clone(), Arc::new(Slow));
    let pool = substrate.tlsf(host, config()).unwrap();
    // Blocks that wait for many axes: a miss asks for the progress of each.
    let axes = 400;
    for ordinal in 0..axes {
        let Ok(Acquire::Ready { reservation, .. }) = pool.acquire(&Request::new(2048).or_grow())
        else {
            break;
        };
        let death = Frontier::from_entry(Axis::host(ordinal), 1);
        if pool.release(reservation, Death::After(death.as_ref())).is_err() {
            break;
        }
    }
    for _ in 0..100 {
        if pool.acquire(&Request::new(1 << 20)).is_err() {
            break;
        }
        pool.poll();
    }
    assert!(matches!(substrate.fault(), Some(SubstrateError::Trapped(_))), "{substrate:?}");
    drop(pool);
    assert!(provider.out().is_empty());
}

#[test]
fn a_configuration_that_cannot_work_is_refused_in_the_same_words() {
    let substrate = module().instantiate().unwrap();
    let provider = provider();
    let config = FixedBlockPoolConfig { block_size: 0, ..FixedBlockPoolConfig::default() };
    let native = strandline_core::pool::fixed_block::FixedBlockPool::new(host(&provider), config);
    let sandbox = substrate.fixed_block(host(&provider), config);
    let (Err(native), Err(sandbox)) = (native, sandbox) else { panic!("both refuse") };
    assert_eq!(native, sandbox);
    assert!(substrate.fault().is_none());
}

#[test]
fn what_is_not_the_component_is_refused() {
    for bytes in [&b""[..], b"\0asm\x0d\0\x01\0", &wasm()[..wasm().len() / 2]] {
        let refused = SubstrateModule::compile(bytes, &SubstrateConfig::default());
        assert!(matches!(refused, Err(SubstrateError::Load(_))), "{refused:?}");
    }
}

#[test]
fn reservations_of_other_pools_are_refused() {
    let substrate = module().instantiate().unwrap();
    let provider = provider();
    let pools = [0, 1].map(|_| substrate.tlsf(host(&provider), config()).unwrap());
    let Ok(Acquire::Ready { reservation, .. }) = pools[0].acquire(&Request::new(1).or_grow())
    else {
        panic!("room")
    };
    let reservation = pools[1].release(reservation, Death::Idle).unwrap_err().reservation;
    let reservation = pools[1].cancel(reservation).unwrap_err().reservation;
    pools[0].release(reservation, Death::Idle).unwrap();
    assert_eq!(pools[0].stats().live, 0);
}

#[test]
fn a_batch_does_what_its_calls_would() {
    let substrate = module().instantiate().unwrap();
    let provider = provider();
    let [one, many] = [0, 1].map(|_| substrate.tlsf(host(&provider), config()).unwrap());
    let sizes: Vec<[u64; 2]> = (0..256).map(|i| [1 + i * 37 % 5000, 1 << (i % 9)]).collect();
    let common = Request::new(1).or_grow();
    let batch = many.acquire_batch(&sizes, &common).unwrap();
    assert_eq!(batch.stopped, None);
    let mut held = Vec::new();
    let mut single = Vec::new();
    for (answer, &[size, alignment]) in batch.answers.into_iter().zip(&sizes) {
        let request = Request { size, alignment, ..common };
        let (
            Answer::Ready { reservation, origin },
            Ok(Acquire::Ready { reservation: b, origin: o }),
        ) = (answer, one.acquire(&request))
        else {
            panic!("room for {size}")
        };
        assert_eq!((reservation.offset(), reservation.size(), origin), (b.offset(), size, o));
        held.push(reservation);
        single.push(b);
    }
    let death = Frontier::from_entry(Axis::host(0), 1);
    let seen = many.notification().observe();
    many.release_batch(held, Death::After(death.as_ref())).unwrap();
    assert!(many.notification().changed_since(seen));
    for reservation in single {
        one.release(reservation, Death::After(death.as_ref())).unwrap();
    }
    assert_eq!(one.stats(), many.stats());

    // An invalid request stops the batch where it stands; what came before is reserved.
    let batch = many.acquire_batch(&[[64, 1], [0, 1], [64, 1]], &common).unwrap();
    assert_eq!((batch.answers.len(), batch.stopped), (1, Some(PoolError::ZeroSize)));
    assert_eq!(many.stats().live, 1);
}

#[test]
fn releases_cross_with_the_next_call() {
    let substrate = module().instantiate().unwrap();
    let provider = provider();
    let pool = substrate.tlsf(host(&provider), config()).unwrap();
    let take = || match pool.acquire(&Request::new(256).or_grow()) {
        Ok(Acquire::Ready { reservation, .. }) => reservation,
        other => panic!("{other:?}"),
    };
    let first = take();
    let (place, before) = ((first.slab(), first.offset()), substrate.crossings());
    pool.release(first, Death::Idle).unwrap();
    assert_eq!(substrate.crossings(), before, "it waits");
    let again = take();
    assert_eq!(substrate.crossings(), before + 1, "it crossed within the acquire");
    assert_eq!((again.slab(), again.offset()), place, "and before it");

    // However many are released, they do not wait for an acquire that may never come.
    let held: Vec<_> = (0..1000).map(|_| take()).collect();
    let before = substrate.crossings();
    for reservation in held {
        pool.release(reservation, Death::Idle).unwrap();
    }
    let crossed = substrate.crossings() - before;
    assert_eq!(crossed, 3, "a batch whenever 256 wait");
    let stats = pool.stats();
    assert_eq!((stats.live, stats.releases), (1, 1001), "whoever looks sees all of them");

    // What was released before the component was lost goes back with its pool.
    pool.release(again, Death::Idle).unwrap();
    drop(pool);
    assert!(provider.out().is_empty());
    assert_eq!(provider.crimes(), Vec::<String>::new());
}

#[test]
fn precompiled_code_makes_the_same_pools() {
    let config_ = SubstrateConfig::default();
    let code = SubstrateModule::precompile(wasm(), &config_).unwrap();
    // SAFETY: it is what `precompile` has just made.
    #[allow(unsafe_code, reason = "loads what the test itself precompiled")]
    let module = unsafe { SubstrateModule::deserialize(&code, &config_) }.unwrap();
    let provider = provider();
    let pool = module.instantiate().unwrap().tlsf(host(&provider), config()).unwrap();
    assert!(matches!(pool.acquire(&Request::new(1).or_grow()), Ok(Acquire::Ready { .. })));
}
