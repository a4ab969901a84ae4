//! `sandbox`: the TLSF pool in the core's component against the same pool here, on the same stream of operations.
//!
//! A batch takes 256 blocks of mixed sizes and gives them back, in two crossings; here it is 512 calls, or two without a
//! boundary. Single calls cross once a pair: a release crosses with the acquire behind it. What a crossing costs by itself
//! stands beside them. Concurrency is wasmtime's support for concurrent calls, which the component
//! does not need. An instance is made from code compiled ahead. A guest calls pools of its host: a reservation by its
//! handle is two calls, by its key in a ledger one. It cannot wait, so it needs no concurrency either; the same program where
//! it can is there to be compared with.

use crate::harness::{Case, Contender, Goal, Stopwatch};
use crate::pairs::{self, Released, Same};
use crate::slabs::Numbers;
use crate::stream::Churn;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::{env, fs};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{Coalescing, TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{PoolHost, Request};
use strandline_core::{Acquire, Axis, Death, Entry, FrontierRef, NoProgress, Pool, Tracker};
use strandline_host_native::MmapSlabProvider;
use strandline_host_tenants::component::guest::{Calls, GuestHost, GuestLimits, GuestProgram};
use strandline_host_tenants::component::substrate::{
    Answer, SandboxPool, SubstrateConfig, SubstrateModule, find_component,
};
use strandline_host_tenants::tenant::{Device, SharedPool, Tenant, TenantLimits};

/// Operations of a batch.
const BATCH: usize = 256;
const AXIS: Axis = Axis::queue(0, 0).with_session(1);

const BATCHED: &str = "in the component, batches";
const SINGLE: &str = "in the component";
const CROSSING: &str = "a crossing, for nothing";
const CONCURRENT: &str = "in the component, concurrency on";
const HANDLES: &str = "a guest, handles";
const LEDGER: &str = "a guest, keys of a ledger";
const WAITING_LEDGER: &str = "a guest that can wait, keys of a ledger";
const WAITING_HANDLES: &str = "a guest that can wait, handles";
const INSTANCE: &str = "instance from compiled code";

pub(super) fn cases() -> impl Iterator<Item = Case> {
    let case = |name: &str, unit, goals, contenders: fn() -> Vec<Contender>| Case {
        group: "sandbox",
        name: name.into(),
        unit,
        reference: 0,
        goals,
        contenders: Box::new(contenders),
    };
    [
        case("batch of 256, mixed sizes", "pair", vec![Goal::ratio(BATCHED, 1.6)], batches),
        case("single calls, same size", "pair", vec![Goal::more(SINGLE, 700.0)], singles),
        case("pools of the host, same size", "pair", vec![Goal::ns(LEDGER, 400.0)], guests),
        case("instantiate", "instance", vec![Goal::ns(INSTANCE, 1e6)], instances),
    ]
    .into_iter()
}

fn wasm() -> Vec<u8> {
    let file = find_component().unwrap_or_else(|error| panic!("{error}"));
    fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn module(concurrency: bool) -> SubstrateModule {
    let config = SubstrateConfig { concurrency, ..SubstrateConfig::default() };
    SubstrateModule::compile(&wasm(), &config).unwrap_or_else(|error| panic!("{error}"))
}

fn pool(concurrency: bool) -> Arc<SandboxPool> {
    let substrate = module(concurrency).instantiate().unwrap_or_else(|error| panic!("{error}"));
    let host = PoolHost::new(Arc::new(Numbers::default()), Arc::new(NoProgress));
    let config = TlsfPoolConfig { growth: Growth::slabs_of(16 << 30), ..Default::default() };
    Arc::new(substrate.tlsf(host, config).unwrap_or_else(|error| panic!("{error}")))
}

fn singles() -> Vec<Contender> {
    let same =
        |pool| pairs::contender(SINGLE, vec![Box::new(Same::new(pool, 4096, Released::After))]);
    vec![
        pairs::contender(
            "here",
            vec![Box::new(Same::new(
                pairs::tlsf_pool(Coalescing::Readiness),
                4096,
                Released::After,
            ))],
        ),
        same(pool(false)),
        crossing(pool(false)),
        Contender { name: CONCURRENT.into(), ..same(pool(true)) },
    ]
}

fn crossing(pool: Arc<SandboxPool>) -> Contender {
    Contender::new(CROSSING, move |count| {
        let clock = Stopwatch::start();
        for _ in 0..count {
            black_box(pool.cross()).unwrap_or_else(|error| panic!("{error}"));
        }
        clock.elapsed()
    })
}

/// Sizes of one batch after the other, in a circle.
fn sizes() -> Vec<Vec<[u64; 2]>> {
    let churn = Churn::mixed(BATCH as u32);
    let sizes: Vec<_> = churn.swaps.iter().map(|swap| [u64::from(swap.size), 1]).collect();
    sizes.chunks_exact(BATCH).take(64).map(<[_]>::to_vec).collect()
}

fn batches() -> Vec<Contender> {
    let here = pairs::tlsf_pool(Coalescing::Readiness);
    let there = pool(false);
    let mut at = (0, 0);
    let streams = sizes();
    let native = Contender::new("here, single calls", move |pairs| {
        let clock = Stopwatch::start();
        // Half of all epochs: beyond whatever a run reaches.
        let known = Entry::new(AXIS, u64::MAX / 2);
        for _ in 0..pairs.div_ceil(BATCH as u64) {
            let stream = &streams[at.0 % streams.len()];
            at = (at.0 + 1, at.1 + 1);
            let death = Entry::new(AXIS, at.1);
            let mut held = Vec::with_capacity(BATCH);
            for &[size, _] in stream {
                let request = Request::new(size).after(FrontierRef::single(&known)).or_grow();
                match here.acquire(&request) {
                    Ok(Acquire::Ready { reservation, .. }) => held.push(reservation),
                    other => panic!("{size} bytes: {other:?}"),
                }
            }
            for reservation in held {
                let death = Death::After(FrontierRef::single(&death));
                here.release(reservation, death).unwrap_or_else(|error| panic!("{error}"));
            }
        }
        per_pair(clock.elapsed(), pairs)
    });
    let here = pairs::tlsf_pool(Coalescing::Readiness);
    let mut at = (0, 0);
    let streams = sizes();
    let native_batches = Contender::new("here, batches", move |pairs| {
        let clock = Stopwatch::start();
        let known = Entry::new(AXIS, u64::MAX / 2);
        for _ in 0..pairs.div_ceil(BATCH as u64) {
            let stream = &streams[at.0 % streams.len()];
            at = (at.0 + 1, at.1 + 1);
            let death = Entry::new(AXIS, at.1);
            let mut held = Vec::with_capacity(BATCH);
            let requests = stream
                .iter()
                .map(|&[size, _]| Request::new(size).after(FrontierRef::single(&known)).or_grow());
            here.acquire_each(requests, |answer| match answer {
                Ok(Acquire::Ready { reservation, .. }) => {
                    black_box((reservation.slab(), reservation.offset()));
                    held.push(reservation);
                    ControlFlow::Continue(())
                }
                other => panic!("{other:?}"),
            });
            let death = Death::After(FrontierRef::single(&death));
            let released = here.release_each(&mut held.into_iter(), death);
            released.unwrap_or_else(|refused| panic!("{refused:?}"));
        }
        per_pair(clock.elapsed(), pairs)
    });
    let mut at = (0, 0);
    let streams = sizes();
    let sandbox = Contender::new(BATCHED, move |pairs| {
        let clock = Stopwatch::start();
        let known = Entry::new(AXIS, u64::MAX / 2);
        for _ in 0..pairs.div_ceil(BATCH as u64) {
            let stream = &streams[at.0 % streams.len()];
            at = (at.0 + 1, at.1 + 1);
            let death = Entry::new(AXIS, at.1);
            let common = Request::new(1).after(FrontierRef::single(&known)).or_grow();
            let batch =
                there.acquire_batch(stream, &common).unwrap_or_else(|error| panic!("{error}"));
            let held: Vec<_> = batch
                .answers
                .into_iter()
                .map(|answer| match answer {
                    Answer::Ready { reservation, .. } => reservation,
                    other => panic!("{other:?}"),
                })
                .collect();
            let death = Death::After(FrontierRef::single(&death));
            there.release_batch(held, death).unwrap_or_else(|left| panic!("{left:?}"));
        }
        per_pair(clock.elapsed(), pairs)
    });
    vec![native, native_batches, sandbox]
}

/// What was done in whole batches, scaled to the pairs that were asked for.
fn per_pair(time: std::time::Duration, pairs: u64) -> std::time::Duration {
    let done = pairs.div_ceil(BATCH as u64) * BATCH as u64;
    time.mul_f64(pairs as f64 / done as f64)
}

/// A guest of `bench/guest`, which `cargo xtask bench` builds and names by a variable.
fn guest(variable: &str) -> Vec<u8> {
    let file = env::var_os(variable);
    let file =
        file.unwrap_or_else(|| panic!("run it with `cargo xtask bench`, which builds the guests"));
    fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn guests() -> Vec<Contender> {
    let here =
        vec![
            Box::new(Same::new(pairs::tlsf_pool(Coalescing::Readiness), 4096, Released::Idle)) as _
        ];
    let host = Arc::new(GuestHost::new().unwrap_or_else(|error| panic!("{error}")));
    let program = |variable, calls| {
        let program = host.compile(&guest(variable)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(program.calls(), calls, "what {variable} needs");
        Arc::new(program)
    };
    let sync = program("STRANDLINE_BENCH_SYNC_GUEST", Calls::Synchronous);
    let waiting = program("STRANDLINE_BENCH_GUEST", Calls::Concurrent);
    let run = |name: &str, program: &Arc<GuestProgram>, what: &'static str| {
        let (host, program) = (host.clone(), program.clone());
        let memory = MmapSlabProvider::builder().build().unwrap_or_else(|error| panic!("{error}"));
        let (memory, tracker) = (Arc::new(memory), Tracker::new(16));
        let pool = PoolHost::new(memory.clone(), Arc::new(tracker.clone()));
        let pool = TlsfPool::new(pool, TlsfPoolConfig::default());
        let pool = Arc::new(pool.unwrap_or_else(|error| panic!("{error}")));
        let device = Device::new(0, tracker, vec![SharedPool::new(pool, memory)]);
        Contender::new(name, move |pairs| {
            let tenant = Tenant::new(&device, TenantLimits::default());
            let tenant = tenant.unwrap_or_else(|error| panic!("{error}"));
            let arguments = [what.to_owned(), pairs.to_string()];
            let clock = Stopwatch::start();
            host.run(&program, tenant, &GuestLimits::default(), &arguments)
                .unwrap_or_else(|error| panic!("{error}"));
            clock.elapsed()
        })
    };
    vec![
        pairs::contender("here", here),
        run(LEDGER, &sync, "ledger"),
        run(HANDLES, &sync, "handles"),
        run(WAITING_LEDGER, &waiting, "ledger"),
        run(WAITING_HANDLES, &waiting, "handles"),
    ]
}

fn instances() -> Vec<Contender> {
    let module = module(false);
    vec![Contender::new(INSTANCE, move |count| {
        let clock = Stopwatch::start();
        for _ in 0..count {
            let made = module.instantiate().unwrap_or_else(|error| panic!("{error}"));
            black_box(&made);
        }
        clock.elapsed()
    })]
}
