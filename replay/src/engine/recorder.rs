//! Keeps some instants of a run for a picture: bounded in number and bytes, however long the run.
//!
//! ```text
//!   events     0 ┬────┬────┬────┬──▲─┬────┬────┬─✕      every `stride` events, the peak of live bytes ▲, where the pool grew,
//!   too much?  0 ┬─────────┬───────▲─┬─────────┬─✕      the first and the last instant, and the failure ✕
//! ```
//! When there is too much, every second regular instant is dropped and the stride doubles.
//!
//! Cost: a walk over the blocks for each instant taken: a few times [`INSTANTS`] at most, fewer where blocks are many. Memory:
//! [`MOST_BYTES`], and one instant more.

use super::Engine;
use crate::validate::Totals;

/// Regular instants of a run, about.
pub const INSTANTS: u64 = 300;

/// Bytes that the instants may take, packed but not compressed.
pub const MOST_BYTES: usize = 24 << 20;

/// What is taken where the pool grew is at most this part of the regular stride apart.
const GROWTH: u64 = 4;

/// Why an instant is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It was the next one's turn.
    Regular,
    /// The pool held more than ever before.
    Growth,
    /// The beginning, the peak, the end.
    Always,
}

#[derive(Debug)]
struct Kept {
    event: u64,
    why: Why,
    frame: Vec<u8>,
}

/// Keeps some instants of a run for a picture, bounded in number and bytes, however long the run: about [`INSTANTS`] spread over
/// it, the first and the last, the peak of live bytes, where the pool grew, and the failure.
///
/// Cost: a walk over the blocks for each. Memory: [`MOST_BYTES`], and one instant more.
#[derive(Debug)]
pub struct Recorder {
    stride: u64,
    peak_live: u64,
    peak_seen: bool,
    committed: u64,
    grown_at: u64,
    bytes: usize,
    most_bytes: usize,
    kept: Vec<Kept>,
    pools: Vec<&'static str>,
}

/// Instants of a run that is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instants {
    /// The events, ascending.
    pub events: Vec<u64>,
    /// A [packed frame](crate::recording::Frame::to_bytes) for each.
    pub frames: Vec<Vec<u8>>,
    /// What kinds of pools there were, in the order in which frames count them.
    pub pools: Vec<&'static str>,
}

impl Recorder {
    /// For a trace of which the totals are known.
    #[must_use]
    pub fn new(totals: &Totals) -> Self {
        Self {
            stride: totals.events.div_ceil(INSTANTS).max(1),
            peak_live: totals.peak_live_bytes,
            peak_seen: false,
            committed: 0,
            grown_at: 0,
            bytes: 0,
            most_bytes: MOST_BYTES,
            kept: Vec::new(),
            pools: Vec::new(),
        }
    }

    /// Looks at the engine before the first event, and after each.
    pub fn look(&mut self, engine: &mut Engine) {
        let event = engine.event;
        if let Some(why) = self.why(engine) {
            self.take(event, why, engine);
            while self.kept.len() as u64 > 3 * INSTANTS || self.bytes > self.most_bytes {
                if !self.thin() {
                    break;
                }
            }
        }
    }

    /// The run is over: looks once more, and hands out what was kept.
    #[must_use]
    pub fn finish(mut self, engine: &mut Engine) -> Instants {
        // A failed event is shown as it was met, over what stood there before.
        if self.kept.last().is_none_or(|last| last.event != engine.event) {
            self.take(engine.event, Why::Always, engine);
        }
        let mut out = Instants { pools: self.pools, ..Instants::default() };
        for kept in self.kept {
            out.events.push(kept.event);
            out.frames.push(kept.frame);
        }
        out
    }

    fn why(&mut self, engine: &Engine) -> Option<Why> {
        let event = engine.event;
        if self.kept.is_empty() {
            self.pools =
                engine.pools.set().pools().iter().map(|pool| pool.properties().kind).collect();
            return Some(Why::Always);
        }
        if self.kept.last().is_some_and(|last| last.event == event) {
            return None;
        }
        if !self.peak_seen && engine.live_bytes == self.peak_live {
            self.peak_seen = true;
            return Some(Why::Always);
        }
        let committed = engine.pools.stats().committed_bytes;
        if committed > self.committed {
            self.committed = committed;
            if self.grown_at == 0 || event - self.grown_at >= (self.stride / GROWTH).max(1) {
                self.grown_at = event;
                return Some(Why::Growth);
            }
        }
        event.is_multiple_of(self.stride).then_some(Why::Regular)
    }

    fn take(&mut self, event: u64, why: Why, engine: &mut Engine) {
        let frame = engine.frame().to_bytes();
        self.bytes += frame.len();
        self.kept.push(Kept { event, why, frame });
    }

    /// Drops what is least missed; false when nothing may go.
    fn thin(&mut self) -> bool {
        let before = self.kept.len();
        self.stride *= 2;
        let stride = self.stride;
        self.kept.retain(|kept| kept.why != Why::Regular || kept.event.is_multiple_of(stride));
        if self.kept.len() == before {
            // Nothing regular was in between: of the others, every second goes.
            let mut odd = false;
            self.kept.retain(|kept| {
                odd ^= kept.why != Why::Always;
                kept.why == Why::Always || odd
            });
        }
        self.bytes = self.kept.iter().map(|kept| kept.frame.len()).sum();
        self.kept.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Options;
    use crate::pools::Pools;
    use crate::streams::Streams;
    use crate::testing::{FirstFit, Flaw, Heap};
    use crate::validate::{Step, What};
    use std::sync::Arc;
    use strandline_core::pool::PoolHost;

    /// Sixty-four blocks that come and go, and one moment with twice as many.
    fn steps(events: u64, peak_at: u64) -> Vec<Step> {
        let step = |what, size| Step { time_ns: 0, size, what, stream: 0, line: 0 };
        let mut out: Vec<Step> = (0..64).map(|slot| step(What::Alloc(slot), 256)).collect();
        let mut turn = 0;
        while (out.len() as u64) < events {
            if out.len() as u64 == peak_at {
                out.extend((64..128).map(|slot| step(What::Alloc(slot), 256)));
                out.extend((64..128).map(|slot| step(What::Free(slot), 256)));
            }
            out.push(step(What::Free(turn % 64), 256));
            out.push(step(What::Alloc(turn % 64), 256));
            turn += 1;
        }
        out
    }

    fn record(steps: &[Step], peak_live_bytes: u64, most_bytes: usize) -> Instants {
        let heap = Arc::new(Heap::new(1 << 20));
        let streams = Streams::new(1, 4, None).unwrap();
        let pool = FirstFit::new(PoolHost::new(heap, streams.progress()), 1 << 16, Flaw::None);
        let pools = Pools::one(Arc::new(pool)).unwrap();
        let options = Options { in_flight: 4, ..Options::default() };
        let mut engine = Engine::new(pools, streams, None, options).remembering();
        let totals = Totals { events: steps.len() as u64, peak_live_bytes, ..Totals::default() };
        let mut recorder = Recorder { most_bytes, ..Recorder::new(&totals) };
        recorder.look(&mut engine);
        for (step, event) in steps.iter().zip(1..) {
            if engine.play(event, step).is_err() {
                break;
            }
            recorder.look(&mut engine);
        }
        recorder.finish(&mut engine)
    }

    #[test]
    fn beginning_peak_and_end_are_there_and_the_rest_is_spread() {
        let steps = steps(6000, 3000);
        let peak_event = 1 + steps
            .iter()
            .scan(0u64, |live, step| {
                *live = match step.what {
                    What::Alloc(_) => *live + step.size,
                    _ => *live - step.size,
                };
                Some(*live)
            })
            .position(|live| live == 128 * 256)
            .unwrap() as u64;
        let instants = record(&steps, 128 * 256, MOST_BYTES);
        assert_eq!(instants.events.len(), instants.frames.len());
        assert_eq!(instants.events[0], 0);
        assert_eq!(*instants.events.last().unwrap(), steps.len() as u64);
        assert!(instants.events.contains(&peak_event), "{peak_event}");
        assert!(instants.events.windows(2).all(|pair| pair[0] < pair[1]));
        let widest = instants.events.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(widest <= (steps.len() as u64).div_ceil(INSTANTS), "{widest}");
        assert_eq!(instants.pools.len(), 1);
        // Each says of itself which instant it is.
        for (event, frame) in instants.events.iter().zip(&instants.frames) {
            assert_eq!(f64::from_le_bytes(frame[32..40].try_into().unwrap()) as u64, *event);
        }
    }

    #[test]
    fn bytes_are_bounded_and_what_matters_stays() {
        let steps = steps(20_000, 10_000);
        let all = record(&steps, 128 * 256, usize::MAX);
        let frame = all.frames.iter().map(Vec::len).max().unwrap();
        for most in [4 * frame, 20 * frame] {
            let some = record(&steps, 128 * 256, most);
            let bytes: usize = some.frames.iter().map(Vec::len).sum();
            assert!(bytes <= most + frame, "{bytes} of {most}");
            assert!(some.events.len() >= 3 && some.events.len() < all.events.len());
            assert_eq!(some.events[0], 0);
            assert_eq!(*some.events.last().unwrap(), steps.len() as u64);
            assert!(some.events.iter().all(|event| all.events.contains(event)));
        }
    }

    #[test]
    fn the_failure_is_the_last_instant() {
        let mut steps = steps(100, 1000);
        steps.push(Step { time_ns: 0, size: 1 << 30, what: What::Alloc(200), stream: 0, line: 0 });
        let failed = steps.len() as u64;
        steps.push(Step { time_ns: 0, size: 256, what: What::Alloc(201), stream: 0, line: 0 });
        let instants = record(&steps, u64::MAX, MOST_BYTES);
        assert_eq!(*instants.events.last().unwrap(), failed);
    }
}
