//! Frames that repeat, with a plan and without: what they hold, whether a buffer stands where it stood, and what a buffer takes.

use super::recording::{self, Recording, Request};
use super::sources::{pooled, transients};
use super::{TRANSIENTS, contender};
use crate::figures::{Count, Figure};
use crate::groups::gpu::open;
use crate::harness::Case;
use std::collections::VecDeque;
use strandline_host_wgpu::{Frame, GpuSlice, Transients};
use wgpu::BufferDescriptor;

const PLANNED: &str = "strandline, Transients::planned";

pub(super) fn case(adapter: &str) -> Case {
    Case {
        group: "gpu",
        name: format!("an interface's frames, {adapter}"),
        unit: "buffer",
        reference: 0,
        goals: Vec::new(),
        contenders: Box::new(|| {
            let frames = recording::interface(128);
            vec![
                contender(TRANSIENTS, &frames, |gpu| pooled(gpu, false)),
                contender(PLANNED, &frames, |gpu| pooled(gpu, true)),
            ]
        }),
    }
}

pub(super) fn count(adapter: &str) -> Count {
    Count {
        group: "gpu",
        name: format!("frames that repeat, bytes held over those of a frame, {adapter}"),
        count: Box::new(|| {
            let ways = ways();
            Ok(ways
                .iter()
                .flat_map(|way| [false, true].map(|planned| held(way, planned)))
                .collect())
        }),
    }
}

/// How a program records its frames.
struct Way {
    name: &'static str,
    frames: Recording,
    /// Frames that are open when the next one begins.
    open: usize,
    /// After so many frames the same one comes again.
    period: usize,
}

fn ways() -> Vec<Way> {
    let one = || recording::interface(128);
    let turns = |widgets: &[usize]| {
        let mut all = Recording::default();
        for &widgets in widgets {
            let Recording { frames, slots } = recording::interface(widgets);
            all.frames.extend(frames);
            all.slots = all.slots.max(slots);
        }
        all
    };
    vec![
        Way { name: "one after the other", frames: one(), open: 0, period: 1 },
        Way { name: "the next begun before the last is over", frames: one(), open: 1, period: 2 },
        Way { name: "three at once", frames: one(), open: 2, period: 3 },
        Way { name: "two kinds in turn", frames: turns(&[128, 40]), open: 0, period: 2 },
        Way { name: "none like another", frames: turns(&PRIMES), open: 0, period: PRIMES.len() },
    ]
}

/// No step of few frames repeats.
const PRIMES: [usize; 13] = [97, 31, 127, 61, 103, 43, 89, 113, 37, 71, 109, 53, 79];

fn make(frame: &mut Frame, request: &Request) -> Option<GpuSlice> {
    let Request::Make { size, usage, .. } = *request else { return None };
    let descriptor = BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
    Some(frame.create_buffer(&descriptor).unwrap_or_else(|error| panic!("{error}")))
}

/// What is held in the end, over the most bytes that frames had at once.
fn held(way: &Way, planned: bool) -> Figure {
    const FRAMES: usize = 600;
    let gpu = open();
    let transients: Transients = transients(&gpu, planned);
    let mut open_frames: VecDeque<Frame> = VecDeque::new();
    let mut before: VecDeque<Vec<GpuSlice>> = VecDeque::new();
    let (mut same, mut made, mut most) = (0_u64, 0_u64, 0);
    let mut committed = Vec::new();
    for (turn, requests) in way.frames.frames.iter().cycle().take(FRAMES).enumerate() {
        let mut frame = transients.frame();
        let slices: Vec<GpuSlice> =
            requests.iter().filter_map(|request| make(&mut frame, request)).collect();
        if before.len() == way.period {
            let last = before.pop_front().unwrap_or_default();
            if turn >= FRAMES / 2 {
                made += slices.len() as u64;
                same += slices.iter().zip(&last).filter(|(a, b)| a.is_same(b)).count() as u64;
            }
        }
        // Slices hold their slab: only places are kept, of what is in use again anyway.
        before.push_back(slices);
        open_frames.push_back(frame);
        let stats = transients.stats();
        if turn >= FRAMES / 2 {
            most = most.max(stats.reserved_bytes);
            committed.push(stats.committed_bytes);
        }
        if open_frames.len() > way.open {
            let submitted = open_frames.pop_front().map(|frame| frame.submit([]));
            assert!(matches!(submitted, Some(Ok(_))), "the device is there");
        }
    }
    committed.sort_unstable();
    let middle = committed[committed.len() / 2];
    let hits = transients.planned_stats().plan_hit_share();
    let share = |part: u64, of: u64| 100.0 * part as f64 / of.max(1) as f64;
    let planned_share =
        if planned { format!(", {:.1} % planned", 100.0 * hits) } else { String::new() };
    Figure {
        name: format!("{}, {}", way.name, if planned { PLANNED } else { TRANSIENTS }),
        ratio: middle as f64 / most as f64,
        detail: format!(
            "{:.0} KiB, most {:.0}, {:.1} % of buffers where they were{planned_share}",
            middle as f64 / 1024.0,
            committed.last().copied().unwrap_or_default() as f64 / 1024.0,
            share(same, made),
        ),
        sound: true,
        goal: None,
    }
}
