//! Guests in programs that have wasmtime already: an engine, a linker and stores of the embedder's own; calls that block; stores that are dropped in
//! mid-call; an engine that outlives thousands of tenants.

use core::future::{Future, pending};
use core::pin::pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost};
use strandline_core::{Frontier, Tracker};
use strandline_host_native::{MmapSlabProvider, thread_wake};
use strandline_host_tenants::component::guest::{
    Calls, Guest, GuestError, GuestHost, GuestLimits, GuestState, embed,
};
use strandline_host_tenants::tenant::{
    Answer, Ask, Device, PoolHandle, SharedPool, Tenant, TenantGroup, TenantLimits,
};
use strandline_host_tenants::wasmtime::component::{Component, Linker};
use strandline_host_tenants::wasmtime::{
    self, Config, Engine, PoolingAllocationConfig, Store, StoreContextMut,
};

const POOL: PoolHandle = PoolHandle::from_bits(0);
const CALLS: [Calls; 2] = [Calls::Synchronous, Calls::Concurrent];

/// A guest that does `body`, which leaves 1 for success, and says "yes" or "no". It may call `$outside`, the embedder's import `lucky`.
fn guest(body: &str) -> Vec<u8> {
    wat::parse_str(guest_text(body)).unwrap()
}

fn guest_text(body: &str) -> String {
    format!(
        r#"(component
          (import "lucky" (func $lucky (result u32)))
          (core module $memory
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))
          (core instance $memory (instantiate $memory))
          (core func $outside (canon lower (func $lucky)))
          (core module $program
            (import "" "memory" (memory 1))
            (import "" "outside" (func $outside (result i32)))
            (data (i32.const 16) "no yes")
            (func (export "run") (param i32 i32) (result i32)
              (i32.store (i32.const 68) (i32.const 16))
              (i32.store (i32.const 72) (i32.const 2))
              (if {body} (then
                (i32.store (i32.const 68) (i32.const 19))
                (i32.store (i32.const 72) (i32.const 3))))
              i32.const 64))
          (core instance $program (instantiate $program (with "" (instance
            (export "memory" (memory $memory "memory"))
            (export "outside" (func $outside))))))
          (func (export "run")
            (param "arguments" (list string)) (result (result string (error string)))
            (canon lift (core func $program "run")
              (memory $memory "memory") (realloc (func $memory "realloc")))))"#
    )
}

const LUCKY: &str = "(i32.eq (call $outside) (i32.const 7))";
const FOREVER: &str = "(loop (result i32) (br 0))";

struct Rig {
    device: Arc<Device>,
    pool: Arc<TlsfPool>,
}

fn rig() -> Rig {
    let memory = Arc::new(MmapSlabProvider::builder().capacity(64 << 20).build().unwrap());
    let tracker = Tracker::new(64);
    let host = PoolHost::new(memory.clone(), Arc::new(tracker.clone())).with_wake(thread_wake());
    let pool = Arc::new(TlsfPool::new(host, TlsfPoolConfig::default()).unwrap());
    Rig { device: Device::new(0, tracker, vec![SharedPool::new(pool.clone(), memory)]), pool }
}

impl Rig {
    /// A tenant that holds something.
    fn tenant(&self) -> Tenant {
        let mut tenant = Tenant::new(&self.device, TenantLimits::default()).unwrap();
        assert!(matches!(tenant.acquire(POOL, &Ask::new(4096)), Ok(Answer::Ready { .. })));
        tenant
    }

    fn is_empty(&self) -> bool {
        let stats = self.pool.stats();
        (stats.live, stats.reserved_bytes, stats.pending_bytes) == (0, 0, 0)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// All of an executor that a test needs. It has no clock.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::park();
    }
}

/// What an embedder keeps in its stores.
struct Mine {
    lucky: u32,
    guest: GuestState,
}

fn engine(calls: Calls) -> (Engine, Linker<Mine>) {
    let mut config = Config::new();
    config.max_wasm_stack(256 << 10);
    embed::prepare(&mut config, calls);
    let engine = Engine::new(&config).unwrap();
    let mut linker = Linker::new(&engine);
    embed::add_to_linker(&mut linker, calls, |mine: &mut Mine| &mut mine.guest).unwrap();
    (engine, linker)
}

fn store(engine: &Engine, tenant: Tenant) -> Store<Mine> {
    let limits = GuestLimits::default();
    let mine = Mine { lucky: 7, guest: GuestState::new(tenant, limits.handles) };
    let mut store = Store::new(engine, mine);
    limits.apply(&mut store);
    store
}

#[test]
fn an_embedders_engine_linker_and_store_run_guests() {
    let rig = rig();
    for calls in CALLS {
        let (engine, mut linker) = engine(calls);
        let lucky = |store: StoreContextMut<'_, Mine>, ()| Ok((store.data().lucky,));
        linker.root().func_wrap("lucky", lucky).unwrap();
        let bytes = guest(LUCKY);
        embed::check(&bytes, &Default::default()).unwrap();
        let component = Component::new(&engine, &bytes).unwrap();
        let program = Guest::link(&linker, &component, calls).unwrap();
        assert_eq!(program.calls(), calls);
        for (number, says) in [(7, "yes"), (8, "no")] {
            let mut store = store(&engine, rig.tenant());
            store.data_mut().lucky = number;
            assert_eq!(block_on(program.run(&mut store, &[])).unwrap(), says);
            // The tenant is the embedder's to go on with.
            let tenant = store.into_data().guest.into_tenant();
            assert_eq!(tenant.charged().0, 4096);
        }
        assert!(rig.is_empty());
        let strange = Component::new(&Engine::default(), &bytes).unwrap();
        assert!(matches!(Guest::link(&linker, &strange, calls), Err(GuestError::Invalid(_))));
    }
}

#[test]
fn a_store_that_is_dropped_in_mid_call_leaves_nothing() {
    let rig = rig();
    for calls in CALLS {
        let (engine, mut linker) = engine(calls);
        linker
            .root()
            .func_wrap_async("lucky", |_, ()| {
                Box::new(async { pending::<wasmtime::Result<(u32,)>>().await })
            })
            .unwrap();
        let component = Component::new(&engine, guest(LUCKY)).unwrap();
        let program = Guest::link(&linker, &component, calls).unwrap();
        let mut store = store(&engine, rig.tenant());
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut run = pin!(program.run(&mut store, &[]));
            assert!(run.as_mut().poll(&mut context).is_pending());
            assert!(!rig.is_empty());
        }
        drop(store);
        assert!(rig.is_empty());
    }
}

/// A host whose guests may ask for a number.
fn lucky_host(lucky: fn() -> u32) -> GuestHost {
    let mut host = GuestHost::new().unwrap();
    host.add_imports(|linker, _| linker.root().func_wrap("lucky", move |_, ()| Ok((lucky(),))))
        .unwrap();
    host
}

#[test]
fn a_host_runs_guests_as_futures_and_keeps_their_time() {
    let rig = rig();
    let host = lucky_host(|| 7);
    let program = host.compile(&guest(LUCKY)).unwrap();
    let limits = GuestLimits::default();
    let run = host.run_async(&program, rig.tenant(), (), &limits, &[]);
    assert_eq!(block_on(run).0.unwrap(), "yes");
    assert_eq!(host.run(&program, rig.tenant(), &limits, &[]).unwrap(), "yes");

    let endless = host.compile(&guest(FOREVER)).unwrap();
    let short = GuestLimits { timeout: Some(Duration::from_millis(40)), ..limits };
    let begin = Instant::now();
    let (ended, ()) = block_on(host.run_async(&endless, rig.tenant(), (), &short, &[]));
    assert!(matches!(ended, Err(GuestError::TimedOut)), "{ended:?}");
    assert!(begin.elapsed() >= Duration::from_millis(40));
    // It lets go of the thread: two of them take turns on one.
    let slow = GuestLimits { timeout: Some(Duration::from_millis(400)), ..limits };
    let mut both =
        [(); 2].map(|()| Box::pin(host.run_async(&endless, rig.tenant(), (), &slow, &[])));
    let mut polls = [0; 2];
    block_on(core::future::poll_fn(|context| {
        let mut open = 0;
        for (run, polls) in both.iter_mut().zip(&mut polls) {
            if *polls == usize::MAX {
                continue;
            }
            *polls += 1;
            match run.as_mut().poll(context) {
                Poll::Ready((ended, ())) => {
                    assert!(matches!(ended, Err(GuestError::TimedOut)), "{ended:?}");
                    assert!(*polls > 1, "it held the thread");
                    *polls = usize::MAX;
                }
                Poll::Pending => open += 1,
            }
        }
        if open == 0 { Poll::Ready(()) } else { Poll::Pending }
    }));
    drop(both);
    assert!(rig.is_empty());
}

#[test]
fn a_deadline_ends_a_guest_that_waits_on_an_executor_without_a_clock() {
    let rig = rig();
    let mut host = GuestHost::new().unwrap();
    host.add_imports(|linker, _| {
        linker.root().func_wrap_async("lucky", |_, ()| {
            Box::new(async { pending::<wasmtime::Result<(u32,)>>().await })
        })
    })
    .unwrap();
    let program = host.compile(&guest(LUCKY)).unwrap();
    let timeout = Some(Duration::from_millis(30));
    let limits = GuestLimits { timeout, ..GuestLimits::default() };
    let (ended, ()) = block_on(host.run_async(&program, rig.tenant(), (), &limits, &[]));
    assert!(matches!(ended, Err(GuestError::TimedOut)), "{ended:?}");
    assert!(rig.is_empty());
}

#[test]
fn an_import_that_blocks_is_over_before_the_guest_is_ended() {
    let rig = rig();
    let host = lucky_host(|| {
        std::thread::sleep(Duration::from_millis(60));
        7
    });
    // Asked again and again: ended at the first look after its time.
    let program =
        host.compile(&guest("(loop (result i32) (drop (call $outside)) (br 0))")).unwrap();
    let timeout = Some(Duration::from_millis(20));
    let limits = GuestLimits { timeout, ..GuestLimits::default() };
    let begin = Instant::now();
    let ended = host.run(&program, rig.tenant(), &limits, &[]);
    assert!(matches!(ended, Err(GuestError::TimedOut)), "{ended:?}");
    assert!(begin.elapsed() >= Duration::from_millis(60));
    assert!(rig.is_empty());
}

#[test]
fn an_engine_outlives_ten_thousand_tenants() {
    let rig = rig();
    let small = std::env::var("STRANDLINE_TEST_SCALE").is_ok_and(|scale| scale == "small");
    let (engine, mut linker) = engine(Calls::Synchronous);
    linker.root().func_wrap("lucky", |_, ()| Ok((7_u32,))).unwrap();
    let component = Component::new(&engine, guest(LUCKY)).unwrap();
    let program = Guest::link(&linker, &component, Calls::Synchronous).unwrap();
    let group = TenantGroup::new(64 << 10);
    for number in 0..if small { 600 } else { 10_000 } {
        let limits = TenantLimits { budget: 32 << 10, ..TenantLimits::default() };
        let mut tenant = Tenant::in_group(&rig.device, limits, &group).unwrap();
        let answer = tenant.acquire(POOL, &Ask::new(32 << 10)).unwrap();
        assert!(matches!(answer, Answer::Ready { .. }), "{number}: {answer:?}");
        // Every so often one uses a queue, and leaves with its work under way.
        if number % 16 == 0 {
            let queue = tenant.open_queue().unwrap();
            tenant.barrier(queue, &[]).unwrap();
            assert_ne!(tenant.frontier(queue).unwrap(), Frontier::new());
        }
        let mut store = store(&engine, tenant);
        assert_eq!(block_on(program.run(&mut store, &[])).unwrap(), "yes");
    }
    assert!(rig.is_empty() && group.charged() == 0);
    assert!(rig.device.resting_queues() < 64, "queues pass from one to the next");
}

/// An engine whose instances come from a pool of a few places, each taken again after a tenant that ended, trapped or was dropped in mid-call.
#[test]
fn instances_may_come_from_wasmtimes_pooling_allocator() {
    const PLACES: u32 = 3;
    let rig = rig();
    for calls in CALLS {
        let mut places = PoolingAllocationConfig::new();
        places
            .total_component_instances(PLACES)
            .total_core_instances(8 * PLACES)
            .total_memories(PLACES)
            .total_tables(4 * PLACES)
            .total_stacks(2 * PLACES)
            .max_memory_size(1 << 20);
        let mut config = Config::new();
        config.max_wasm_stack(256 << 10).allocation_strategy(places);
        // Otherwise 4 GiB of addresses for each place.
        config.memory_reservation(1 << 20).memory_guard_size(0);
        embed::prepare(&mut config, calls);
        let engine = Engine::new(&config).unwrap();
        let mut linker = Linker::new(&engine);
        embed::add_to_linker(&mut linker, calls, |mine: &mut Mine| &mut mine.guest).unwrap();
        linker
            .root()
            .func_wrap("lucky", |store: StoreContextMut<'_, Mine>, ()| match store.data().lucky {
                0 => Err(wasmtime::Error::msg("a trap")),
                lucky => Ok((lucky,)),
            })
            .unwrap();
        let component = Component::new(&engine, guest(LUCKY)).unwrap();
        let program = Guest::link(&linker, &component, calls).unwrap();
        let run = |lucky| {
            let mut store = store(&engine, rig.tenant());
            store.data_mut().lucky = lucky;
            let said = block_on(program.run(&mut store, &[]));
            (said, store)
        };
        for round in 0..40 {
            let (said, _) = run(if round % 2 == 0 { 7 } else { 0 });
            assert_eq!(said.is_ok(), round % 2 == 0, "{said:?}");
        }
        // An instance lives as long as its store. Where no place is left, the guest is refused, and the tenant is as it was.
        let held: Vec<_> = (0..PLACES).map(|_| run(7)).collect();
        assert!(held.iter().all(|(said, _)| said.is_ok()));
        let (refused, store) = run(7);
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(store.into_data().guest.into_tenant().charged().0, 4096);
        drop(held);
        assert_eq!(run(7).0.unwrap(), "yes");
        assert!(rig.is_empty());
    }
}

/// What an embedder compiled earlier and kept, in a file or by wasmtime's cache, is linked as what was compiled now.
#[test]
fn guests_may_be_compiled_ahead_of_time() {
    let rig = rig();
    for calls in CALLS {
        let (engine, mut linker) = engine(calls);
        linker.root().func_wrap("lucky", |_, ()| Ok((7_u32,))).unwrap();
        let kept = engine.precompile_component(&guest(LUCKY)).unwrap();
        // SAFETY: the bytes are what the same engine has made, unchanged.
        let component = unsafe { Component::deserialize(&engine, &kept) }.unwrap();
        let program = Guest::link(&linker, &component, calls).unwrap();
        let mut store = store(&engine, rig.tenant());
        assert_eq!(block_on(program.run(&mut store, &[])).unwrap(), "yes");
        drop(store);
        assert!(rig.is_empty());
        // Another configuration's code is refused by wasmtime, not run.
        let other = Engine::new(Config::new().consume_fuel(true)).unwrap();
        // SAFETY: as above; wasmtime compares the engine's settings before anything else.
        assert!(unsafe { Component::deserialize(&other, &kept) }.is_err());
    }
}

/// As those that Rust's standard library imports: there, and a trap when they are called.
#[test]
fn imports_of_wasi_are_stubs_that_trap() {
    let rig = rig();
    let host = lucky_host(|| 7);
    let wasi = r#"
      (import "wasi:io/error@0.2.9" (instance $error
        (export "error" (type $error (sub resource)))
        (export "[method]error.to-debug-string" (func
          (param "self" (borrow $error)) (result string)))))
      (alias export $error "error" (type $resource))
      (import "wasi:cli/terminal@0.2.9" (instance $cli
        (export "error" (type $error (eq $resource)))
        (export "last" (func (result u32)))))"#;
    let with_wasi = |body: &str, import: &str| {
        let lucky = r#"(import "lucky" (func $lucky (result u32)))"#;
        let text = guest_text(body).replace(lucky, import);
        wat::parse_str(text).unwrap()
    };
    let beside = format!(r#"(import "lucky" (func $lucky (result u32))) {wasi}"#);
    let program = host.compile(&with_wasi(LUCKY, &beside)).unwrap();
    let limits = GuestLimits::default();
    assert_eq!(host.run(&program, rig.tenant(), &limits, &[]).unwrap(), "yes");
    let instead = format!(r#"{wasi} (alias export $cli "last" (func $lucky))"#);
    let program = host.compile(&with_wasi(LUCKY, &instead)).unwrap();
    let trap = host.run(&program, rig.tenant(), &limits, &[]).unwrap_err();
    assert!(matches!(trap, GuestError::Trapped(_)), "{trap:?}");
    assert!(trap.to_string().contains("wasi:cli/terminal@0.2.9#last is not given"), "{trap}");
    // What is missing of other packages is told, as before.
    let other = beside.replace("wasi:cli", "wasy:cli");
    let refused = host.compile(&with_wasi(LUCKY, &other)).unwrap_err();
    assert!(refused.to_string().contains("wasy:cli"), "{refused}");
    assert!(rig.is_empty());
}
