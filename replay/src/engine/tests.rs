use super::*;
use crate::testing::{FirstFit, Flaw, Heap};
use proptest::prelude::*;
use strandline_core::pool::PoolHost;

fn engine(capacity: u64, streams: u32, options: Options, flaw: Flaw) -> Engine {
    let heap = Arc::new(Heap::new(capacity));
    let memory: Arc<dyn Tags> = heap.clone();
    let streams = Streams::new(streams, options.in_flight, Some(memory.clone())).unwrap();
    let pool = FirstFit::new(PoolHost::new(heap, streams.progress()), capacity, flaw);
    Engine::new(Pools::one(Arc::new(pool)).unwrap(), streams, Some(memory), options)
}

fn step(what: What, size: u64, stream: u32) -> Step {
    Step { time_ns: 0, size, what, stream, line: 0 }
}

fn run(mut engine: Engine, steps: &[Step]) -> Outcome {
    for (event, step) in (1..).zip(steps) {
        if let Err(failure) = engine.play(event, step) {
            return engine.finish(Some(failure));
        }
    }
    engine.finish(None)
}

use What::{Alloc, Free as Release};

#[test]
fn peaks_say_when() {
    let steps = [
        step(Alloc(0), 1000, 0),
        step(Alloc(1), 3000, 0),
        step(Release(0), 1000, 0),
        step(Alloc(0), 500, 0),
        step(Release(0), 500, 0),
    ];
    let outcome = run(engine(1 << 16, 1, Options::default(), Flaw::None), &steps);
    assert!(outcome.is_ok(), "{:?}", outcome.failure);
    assert_eq!(outcome.peaks.live, Peak { value: 4000, event: 2 });
    assert_eq!(outcome.peaks.reserved, Peak { value: 4000, event: 2 });
    assert_eq!(outcome.peaks.committed, Peak { value: 1 << 16, event: 1 });
    assert_eq!((outcome.events, outcome.live_blocks), (5, 1));
    assert_eq!(outcome.peaks.free.largest_hole, (1 << 16) - 4000);
    assert_eq!(outcome.peaks.free.holes, 1);
    assert_eq!(outcome.peaks.free.event, 2);
    assert_eq!(outcome.latencies.acquire.len(), 3);
    assert_eq!(outcome.latencies.release.len(), 2);
    assert_eq!(outcome.timeline.last_event(), 5);
}

/// Two streams share 4096 bytes: the second must wait for the first.
fn handover() -> [Step; 4] {
    [
        step(Alloc(0), 4096, 0),
        step(Release(0), 4096, 0),
        step(Alloc(0), 4096, 1),
        step(Release(0), 4096, 1),
    ]
}

#[test]
fn without_permission_to_wait_the_failure_says_what_is_waited_for() {
    let options = Options { in_flight: 8, ..Options::default() };
    let outcome = run(engine(4096, 2, options, Flaw::None), &handover());
    let failure = outcome.failure.as_ref().unwrap();
    assert!(!outcome.is_ok());
    assert_eq!((failure.event, failure.bytes_requested, failure.live_bytes), (3, 4096, 0));
    assert_eq!((failure.free.pending, failure.free.largest_hole), (4096, 4096));
    let [waited] = failure.waited[..] else { panic!("{failure:?}") };
    assert_eq!((waited.epoch, waited.reached, waited.bytes), (2, 0, 4096));
    let text = failure.to_string();
    assert!(text.contains("wait for queue:0.0 to reach 2 (now 0)"), "{text}");
}

#[test]
fn with_permission_it_waits_once_and_is_satisfied() {
    let options = Options { in_flight: 8, allow_wait: true, ..Options::default() };
    let outcome = run(engine(4096, 2, options, Flaw::None), &handover());
    assert!(outcome.is_ok(), "{:?}", outcome.failure);
    assert_eq!((outcome.waits, outcome.stalls), (1, 0));
}

#[test]
fn nothing_in_flight_needs_no_wait() {
    let outcome = run(engine(4096, 2, Options::default(), Flaw::None), &handover());
    assert!(outcome.is_ok(), "{:?}", outcome.failure);
    assert_eq!(outcome.waits, 0);
    assert_eq!(outcome.peaks.pending.value, 0);
}

#[test]
fn a_stall_merges_what_no_single_wait_could() {
    // Two halves die on two streams; first fit keeps deaths apart, so the whole fits only once both are over and merged.
    let options = Options { in_flight: 8, allow_wait: true, ..Options::default() };
    let steps = [
        step(Alloc(0), 2048, 0),
        step(Alloc(1), 2048, 1),
        step(Release(0), 2048, 0),
        step(Release(1), 2048, 1),
        step(Alloc(0), 4096, 0),
    ];
    let outcome = run(engine(4096, 2, options, Flaw::None), &steps);
    assert_eq!(outcome.stalls, 1);
}

#[test]
fn a_pool_that_ignores_deaths_is_caught_by_range_and_by_byte() {
    let options = Options { in_flight: 2, ..Options::default() };
    let mut steps = handover()[..3].to_vec();
    steps.extend([step(Alloc(1), 1, 1), step(Alloc(2), 1, 1), step(Release(0), 4096, 1)]);
    let mut steps_that_fit = Vec::new();
    for step in steps {
        // Leave room for the two small blocks.
        let size = if step.size == 4096 { 4000 } else { step.size };
        steps_that_fit.push(Step { size, ..step });
    }
    let outcome = run(engine(4096, 2, options, Flaw::IgnoresDeaths), &steps_that_fit);
    assert!(!outcome.is_ok());
    assert!(outcome.verdict.early_reuse >= 1, "{:?}", outcome.verdict);
    assert!(outcome.verdict.corruptions >= 1, "{:?}", outcome.verdict);
    assert_eq!(outcome.failure.unwrap().event, 3);
}

#[test]
fn a_pool_that_hands_out_live_bytes_is_caught() {
    let steps = [step(Alloc(0), 100, 0), step(Alloc(1), 100, 0), step(Release(0), 100, 0)];
    let outcome = run(engine(4096, 1, Options::default(), Flaw::Overlaps), &steps);
    assert_eq!((outcome.verdict.overlaps, outcome.verdict.corruptions), (1, 1));
    let failure = outcome.failure.unwrap();
    assert_eq!((failure.event, failure.reason), (2, Reason::Unsound));
}

#[test]
fn a_block_freed_on_another_stream_is_used_there_first() {
    let options = Options { in_flight: 4, allow_wait: true, ..Options::default() };
    let mut steps = vec![step(Alloc(0), 512, 0), step(Release(0), 512, 1)];
    for _ in 0..10 {
        steps.extend([step(Alloc(1), 64, 1), step(Release(1), 64, 1)]);
    }
    let outcome = run(engine(1 << 16, 2, options, Flaw::None), &steps);
    assert!(outcome.is_ok(), "{:?} {:?}", outcome.verdict, outcome.failure);
}

#[test]
fn spreading_takes_turns_in_bursts_and_frees_at_home() {
    let options = Options { spread: Some(4), in_flight: 1000, ..Options::default() };
    let mut engine = engine(1 << 20, 4, options, Flaw::None);
    for n in 0..200u32 {
        engine.play(u64::from(n) + 1, &step(Alloc(n), 64, 0)).unwrap();
        let expected = n / BURST as u32 % 4;
        assert_eq!(engine.live[n as usize].as_ref().unwrap().stream, expected);
    }
    let submitted =
        |engine: &Engine, stream| engine.streams.frontier(stream).get(engine.streams.axis(stream));
    let before = submitted(&engine, 1);
    engine.play(201, &step(Release(BURST as u32), 64, 0)).unwrap();
    assert_eq!(submitted(&engine, 1), before + 1);
}

#[derive(Clone, Debug)]
enum Op {
    Alloc { size: u64, stream: u32 },
    Free { which: usize, stream: u32 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (1..3000u64, 0..3u32).prop_map(|(size, stream)| Op::Alloc { size, stream }),
        2 => (any::<usize>(), 0..3u32).prop_map(|(which, stream)| Op::Free { which, stream }),
    ];
    prop::collection::vec(op, 1..300)
}

proptest! {
    /// A sound pool is never blamed, whatever the streams and however far completion trails.
    #[test]
    fn a_sound_pool_is_never_blamed(ops in ops(), in_flight in 0..20u64, allow_wait: bool) {
        let options = Options { in_flight, allow_wait, ..Options::default() };
        let mut engine = engine(1 << 16, 3, options, Flaw::None);
        let (mut live, mut free, mut next) = (Vec::new(), Vec::new(), 0);
        let mut failed = None;
        for (event, op) in (1..).zip(ops) {
            let step = match op {
                Op::Alloc { size, stream } => {
                    let slot = free.pop().unwrap_or_else(|| { next += 1; next - 1 });
                    live.push((slot, size));
                    step(Alloc(slot), size, stream)
                }
                Op::Free { which, stream } if !live.is_empty() => {
                    let (slot, size) = live.swap_remove(which % live.len());
                    free.push(slot);
                    step(Release(slot), size, stream)
                }
                Op::Free { .. } => continue,
            };
            if let Err(failure) = engine.play(event, &step) {
                prop_assert!(matches!(failure.reason, Reason::Exhausted { .. }), "{}", failure);
                failed = Some(failure);
                break;
            }
        }
        let outcome = engine.finish(failed);
        prop_assert!(outcome.verdict.is_sound(), "{:?}", outcome.verdict);
    }
}
