use super::*;
use crate::build::{Backing, Change};
use crate::testing::{FirstFit, Flaw, Heap};
use proptest::prelude::*;
use strandline_core::pool::PoolHost;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::slab::{Elastic, SlabProperties, SlabStats};
use strandline_core::{Grant, Progress, SlabError, SlabId, SlabProvider};

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

/// An engine for traces in which blocks are given up before they are over.
fn deferring(capacity: u64, deferred: u32, options: Options) -> Engine {
    let heap = Arc::new(Heap::new(capacity));
    let memory: Arc<dyn Tags> = heap.clone();
    let streams = Streams::deferring(1, deferred, options.in_flight, Some(memory.clone())).unwrap();
    let pool = FirstFit::new(PoolHost::new(heap, streams.progress()), capacity, Flaw::None);
    Engine::new(Pools::one(Arc::new(pool)).unwrap(), streams, Some(memory), options)
}

/// Two blocks fill the memory; one is given up, and is over when its free comes.
fn given_up(over_before_the_third: bool) -> Vec<Step> {
    let mut steps =
        vec![step(Alloc(0), 2048, 0), step(Alloc(1), 2048, 0), step(What::Retire(0), 2048, 0)];
    let third = step(Alloc(2), 2048, 0);
    let over = step(Release(0), 2048, 0);
    steps.extend(if over_before_the_third { [over, third] } else { [third, over] });
    steps
}

#[test]
fn a_block_that_is_given_up_is_pending_until_it_is_over() {
    // With and without a queue to defer it on.
    for deferred in [1, 0] {
        let options = Options::default();
        let outcome = run(deferring(4096, deferred, options), &given_up(true));
        assert!(outcome.is_ok(), "{deferred}: {:?}", outcome.failure);
        assert_eq!((outcome.peaks.live.value, outcome.peaks.active.value), (4096, 4096));
        assert_eq!(outcome.peaks.pending.value, if deferred > 0 { 2048 } else { 0 });
        let outcome = run(deferring(4096, deferred, options), &given_up(false));
        let failure = outcome.failure.as_ref().expect("the bytes are in use");
        assert_eq!((failure.event, failure.live_bytes), (4, 2048), "{deferred}");
        let text = failure.to_string();
        assert_eq!(
            text.contains("2048 B wait for the recorded completion"),
            deferred > 0,
            "{text}"
        );
    }
    // Who may wait does.
    let waiting = Options { allow_wait: true, ..Options::default() };
    let outcome = run(deferring(4096, 1, waiting), &given_up(false));
    assert!(outcome.is_ok(), "{:?}", outcome.failure);
    assert_eq!((outcome.waits, outcome.live_blocks), (1, 2));
}

#[test]
fn blocks_held_from_before_are_active_and_never_live() {
    let steps = [step(What::Held(0), 2048, 0), step(Alloc(1), 1024, 0), step(Release(0), 2048, 0)];
    let outcome = run(deferring(4096, 1, Options::default()), &steps);
    assert!(outcome.is_ok(), "{:?}", outcome.failure);
    assert_eq!((outcome.peaks.live.value, outcome.peaks.active.value), (1024, 3072));
}

#[test]
fn what_was_refused_is_asked_for_again_and_given_back() {
    let steps = [
        step(Alloc(0), 1024, 0),
        step(What::Failure, 8192, 0),
        step(What::Failure, 3072, 0),
        step(Alloc(1), 3072, 0),
        step(Release(1), 3072, 0),
        step(Release(0), 1024, 0),
    ];
    let outcome = run(engine(4096, 1, Options::default(), Flaw::None), &steps);
    assert_eq!(outcome.served, [false, true]);
    assert_eq!((outcome.events, outcome.live_blocks), (6, 0), "the run goes on");
    let failure = outcome.failure.as_ref().unwrap();
    assert_eq!((failure.event, failure.bytes_requested), (2, 8192));
    assert!(failure.refused_before && !outcome.is_ok());
    let skipping = Options { as_recorded: true, ..Options::default() };
    let outcome = run(engine(4096, 1, skipping, Flaw::None), &steps);
    assert!(outcome.is_ok() && outcome.served.is_empty());
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

/// Four blocks fill the slab, are freed and over; first fit does not put together what waited.
fn never_merged(size: u64) -> Vec<Step> {
    let mut steps: Vec<Step> = (0..4).map(|slot| step(Alloc(slot), 1024, 0)).collect();
    steps.extend((0..4).map(|slot| step(Release(slot), 1024, 0)));
    steps.push(step(Alloc(4), size, 0));
    steps
}

#[test]
fn memory_that_was_there_and_not_found_is_counted_once() {
    for (size, missed) in [(1024, 0), (1025, 1), (2048, 1), (2049, 0)] {
        for allow_wait in [false, true] {
            let options = Options { in_flight: 2, allow_wait, ..Options::default() };
            let outcome = run(engine(4096, 1, options, Flaw::None), &never_merged(size));
            // Refused, refused again after a stall, and refused for good: one request.
            assert_eq!(outcome.verdict.missed_fits, missed, "{size}");
            assert_eq!(outcome.is_ok(), size == 1024, "{size}");
            assert!(outcome.verdict.is_sound(), "no byte was in danger");
        }
    }
    let options = Options { in_flight: 2, unchecked: true, ..Options::default() };
    let outcome = run(engine(4096, 1, options, Flaw::None), &never_merged(2048));
    assert_eq!(outcome.verdict.missed_fits, 0, "a search does not look");
}

/// Elastic slabs whose memory is put in up to `grants` bytes, while `room` are told.
#[derive(Debug)]
struct Stingy {
    numbers: Backing,
    grants: u64,
    room: u64,
}

impl SlabProvider for Stingy {
    fn properties(&self) -> SlabProperties {
        self.numbers.provider.properties()
    }
    fn acquire(&self, _: u64) -> Result<Grant, SlabError> {
        Ok(Grant::NoCapacity)
    }
    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.numbers.provider.release(id)
    }
    fn elastic(&self) -> Option<Elastic> {
        self.numbers.provider.elastic()
    }
    fn reserve(&self, size: u64) -> Result<Grant, SlabError> {
        self.numbers.provider.reserve(size)
    }
    fn commit(&self, id: SlabId, offset: u64, len: u64) -> Result<bool, SlabError> {
        let held = self.numbers.provider.stats().committed_bytes;
        if held + len > self.grants {
            return Ok(false);
        }
        self.numbers.provider.commit(id, offset, len)
    }
    fn decommit(&self, id: SlabId, offset: u64, len: u64) -> Result<(), SlabError> {
        self.numbers.provider.decommit(id, offset, len)
    }
    fn stats(&self) -> SlabStats {
        self.numbers.provider.stats()
    }
}

impl Committed for Stingy {
    fn addresses(&self, slab: SlabId) -> Option<u64> {
        self.numbers.committed.as_ref()?.addresses(slab)
    }
    fn changes(&self) -> Vec<Change> {
        self.numbers.committed.as_ref().map_or_else(Vec::new, |by| by.changes())
    }
    fn room(&self) -> u64 {
        self.room.saturating_sub(self.stats().committed_bytes)
    }
    fn step(&self) -> u64 {
        4096
    }
}

/// A refusal of an elastic pool is missed if its provider had room, and not if that was all there was.
#[test]
fn a_refusal_where_memory_might_have_been_put_in_is_counted() {
    for (room, missed) in [(1 << 20, 1), (16 << 10, 0)] {
        let numbers = Backing::numbers(None);
        let provider = Arc::new(Stingy { numbers, grants: 16 << 10, room });
        let streams = Streams::new(1, 0, None).unwrap();
        let host = PoolHost::new(provider.clone(), streams.progress());
        let pool = TlsfPool::new(host, TlsfPoolConfig::default()).unwrap();
        let pools = Pools::one(Arc::new(pool)).unwrap();
        let engine = Engine::new(pools, streams, None, Options::default()).asking(Some(provider));
        let steps = [
            step(Alloc(0), 4096, 0),
            step(Alloc(1), 4096, 0),
            step(Release(0), 4096, 0),
            step(Alloc(0), 64, 0),
            step(Alloc(2), 16 << 10, 0),
        ];
        let outcome = run(engine, &steps);
        assert_eq!(outcome.failure.as_ref().unwrap().event, 5);
        assert_eq!(outcome.verdict.missed_fits, missed, "{room}");
    }
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

/// Steps of a seeded load: blocks of mixed sizes on some streams, freed at random.
fn mixed(events: u64, streams: u32, seed: u64) -> Vec<Step> {
    let mut state = seed | 1;
    let mut next = move |below: u64| {
        // Xorshift (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    };
    let mut held: Vec<(u32, u64, u32)> = Vec::new();
    let mut vacant: Vec<u32> = (0..64).rev().collect();
    let mut steps = Vec::new();
    for _ in 0..events {
        if vacant.is_empty() || !held.is_empty() && next(2) == 0 {
            let (slot, size, stream) = held.swap_remove(next(held.len() as u64) as usize);
            steps.push(step(Release(slot), size, stream));
            vacant.push(slot);
        } else {
            let slot = vacant.pop().unwrap();
            let (size, stream) = (1 + next(20_000), next(streams.into()) as u32);
            steps.push(step(Alloc(slot), size, stream));
            held.push((slot, size, stream));
        }
    }
    steps
}

fn tlsf(streams: u32, options: Options) -> Engine {
    let streams = Streams::new(streams, options.in_flight, None).unwrap();
    let config = crate::config::Config {
        pools: vec![crate::config::PoolSpec {
            slab: Some(crate::size::Bytes(1 << 18)),
            ..crate::config::PoolSpec::of(crate::config::Kind::Tlsf)
        }],
        ..crate::config::Config::default()
    };
    let backing = crate::build::Backing::numbers(None);
    let pools =
        crate::build::pools(&config, crate::build::Sizes::default(), &backing, &streams.progress())
            .unwrap();
    Engine::new(pools, streams, None, options)
}

#[test]
fn a_frame_adds_up_and_looking_changes_nothing() {
    use crate::recording::State;
    let options = Options { in_flight: 24, allow_wait: true, ..Options::default() };
    let steps = mixed(3000, 3, 77);
    let unseen = run(tlsf(3, options), &steps);
    let mut engine = tlsf(3, options).remembering();
    let mut seen = std::collections::HashSet::new();
    for (event, step) in (1..).zip(&steps) {
        engine.play(event, step).unwrap();
        let frame = engine.frame();
        assert_eq!(frame.event, event);
        let sum = |state| -> u64 {
            frame.blocks.iter().filter(|b| b.state == state).map(|b| b.bytes).sum()
        };
        let stats = frame.stats;
        assert_eq!(sum(State::Live), stats.reserved_bytes);
        assert_eq!(sum(State::Clean), stats.clean_bytes());
        assert_eq!(sum(State::Pending), stats.pending_bytes);
        assert_eq!(frame.slabs.iter().map(|slab| slab.bytes).sum::<u64>(), stats.committed_bytes);
        assert_eq!(frame.slabs.len() as u64, stats.slabs);
        assert_eq!(
            frame.blocks.iter().map(|b| b.requested).sum::<u64>(),
            frame.live_bytes,
            "what is live was asked for"
        );
        let mut death = 0;
        for block in &frame.blocks {
            let entries = &frame.deaths[death..block.death_end as usize];
            death = block.death_end as usize;
            assert_eq!(block.state == State::Pending, !entries.is_empty(), "{block:?}");
            match block.state {
                State::Live => {
                    assert!(block.stream.is_some_and(|stream| stream < 3), "{block:?}");
                    let since = &steps[block.since as usize - 1];
                    assert_eq!((since.size, Some(since.stream)), (block.requested, block.stream));
                }
                State::Pending => {
                    let waited = |stream| entries.iter().any(|&(axis, _)| axis == stream);
                    assert!(block.stream.map_or(entries.len() > 1, waited), "{block:?}");
                }
                State::Clean | State::Tainted => {}
            }
            seen.insert(block.state as u8);
        }
        assert_eq!(death, frame.deaths.len());
        assert!(frame.axes.iter().all(|axis| axis.completed <= axis.submitted));
    }
    assert_eq!(seen.len(), 3, "live, clean and pending were all met");
    let outcome = engine.finish(None);
    assert_eq!(outcome.stats, unseen.stats);
    assert_eq!((outcome.waits, outcome.stalls), (unseen.waits, unseen.stalls));
    assert_eq!(outcome.timeline.buckets(), unseen.timeline.buckets());
}

/// A device completes in the order of submission, whenever it likes; the pools must stay sound, and no stream run ahead of it.
#[test]
fn what_completes_outside_is_waited_for_and_stays_sound() {
    #[derive(Debug, Default)]
    struct Device(std::sync::Mutex<Vec<(u32, Epoch)>>);
    impl crate::streams::Listener for Device {
        fn advanced(&self, _: strandline_core::Axis, _: Epoch) {}
        fn submitted(&self, stream: u32, epoch: Epoch, _: &Work) {
            self.0.lock().unwrap().push((stream, epoch));
        }
    }
    for in_flight in [1, 3, 50] {
        let options = Options { in_flight, allow_wait: true, ..Options::default() };
        let mut engine = tlsf(3, options).completing_outside();
        let device = Arc::new(Device::default());
        let streams = core::mem::replace(&mut engine.streams, Streams::new(1, 0, None).unwrap());
        engine.streams = streams.telling(Some(device.clone()));
        let (mut done, mut waited) = (0, 0);
        for (event, step) in (1..).zip(&mixed(4000, 3, 5)) {
            while engine.must_wait(step) {
                // A few operations are over, not all: the others stay under way.
                let submitted = device.0.lock().unwrap().clone();
                let some = (done + 2).min(submitted.len());
                for &(stream, epoch) in &submitted[done..some] {
                    engine.complete_to(stream, epoch);
                }
                assert!(some > done, "what is waited for was submitted");
                done = some;
                waited += 1;
            }
            engine.play(event, step).unwrap();
            for stream in 0..3 {
                let reached = engine.streams.tracker().reached(engine.streams.axis(stream));
                assert!(engine.streams.submitted(stream) - reached <= in_flight);
            }
        }
        assert!(waited > 100, "{in_flight}: {waited}");
        let outcome = engine.finish(None);
        assert!(outcome.is_ok(), "{:?} {:?}", outcome.verdict, outcome.failure);
        // With one in flight, what a stream freed is over before the stream asks again.
        assert_eq!(outcome.stats.dominated > 0, in_flight > 1, "{in_flight}");
    }
}

#[test]
fn where_free_bytes_were_at_a_peak_is_what_they_were_then() {
    for seed in 0..20 {
        let steps = mixed(3000, 2, seed);
        let outcome = run(tlsf(2, Options { in_flight: 8, ..Options::default() }), &steps);
        let (free, peaks) = (&outcome.peaks.free, &outcome.peaks);
        assert!(free.event > 0, "there was a look");
        // Up to that event, and not beyond it, the trace played by itself has its peak there.
        let before = &steps[..usize::try_from(free.event).unwrap()];
        let then = run(tlsf(2, Options { in_flight: 8, ..Options::default() }), before);
        assert_eq!(then.peaks.reserved.event, free.event, "seed {seed}");
        assert_eq!(then.peaks.reserved.value, free.reserved, "seed {seed}");
        assert!(free.reserved <= peaks.reserved.value);
        assert_eq!(free.reserved + free.clean + free.pending + free.tainted, free.committed);
    }
}
