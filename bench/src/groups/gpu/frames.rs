//! A renderer's frames, generated and, where there is a recording, recorded, played through `Transients`, through a pool of the kind that a
//! renderer has itself, and through `create_buffer`; then uploads, and what is left after a burst.

use super::open;
use crate::figures::{Count, Figure};
use crate::harness::{Case, Contender, Goal};
use recording::{Recording, Request};
use sources::{Source, create, created, play, pooled, renderer, transients};
use std::time::{Duration, Instant};
use strandline_host_wgpu::Gpu;
use wgpu::{Buffer, BufferUsages};

mod recording;
mod repeated;
mod sources;

const RENDERER: &str = "a pool as the renderer's";
const TRANSIENTS: &str = "strandline, Transients";
const CREATED: &str = "wgpu, create_buffer";
const DESTROYED: &str = "wgpu, create_buffer + destroy";
const STAGED: &str = "wgpu, one write_buffer by hand";
const UPLOADED: &str = "strandline, frame.upload";

fn contender<S: Source + 'static>(
    name: &str,
    frames: &Recording,
    make: impl Fn(&Gpu) -> S + 'static,
) -> Contender {
    let (frames, mut state) = (frames.clone(), None);
    Contender::new(name, move |count| {
        let (gpu, source) = state.get_or_insert_with(|| {
            let gpu = open();
            let source = make(&gpu);
            (gpu, source)
        });
        play(gpu, &frames, source, count)
    })
}

pub(super) fn cases(adapter: &str) -> Vec<Case> {
    let mut cases = vec![
        Case {
            group: "gpu",
            name: format!("400 vertex buffers a frame, {adapter}"),
            unit: "frame",
            reference: 0,
            goals: vec![Goal::ratio(UPLOADED, 1.1)],
            contenders: Box::new(|| vec![staged(), uploaded()]),
        },
        Case {
            group: "gpu",
            name: format!("frames of 16 buffers of 64 KiB, {adapter}"),
            unit: "buffer",
            reference: 0,
            goals: vec![Goal::ratio(TRANSIENTS, 0.15)],
            contenders: Box::new(|| {
                let slot = |slot| {
                    [Request::Make {
                        slot,
                        size: 64 << 10,
                        usage: BufferUsages::STORAGE | BufferUsages::COPY_DST,
                    }]
                };
                let frames =
                    Recording { frames: vec![(0..16).flat_map(slot).collect()], slots: 16 };
                vec![
                    contender(DESTROYED, &frames, |gpu| created(gpu, true)),
                    contender(TRANSIENTS, &frames, |gpu| pooled(gpu, false)),
                ]
            }),
        },
    ];
    for (which, frames) in renderers() {
        cases.push(Case {
            group: "gpu",
            name: format!("a renderer's frames, {which}, {adapter}"),
            unit: "buffer",
            reference: 0,
            goals: vec![Goal::ratio(TRANSIENTS, 1.0)],
            contenders: Box::new(move || {
                vec![
                    contender(RENDERER, &frames, renderer),
                    contender(TRANSIENTS, &frames, |gpu| pooled(gpu, false)),
                    contender(CREATED, &frames, |gpu| created(gpu, false)),
                ]
            }),
        });
    }
    if recording::recorded().is_none() {
        eprintln!("gpu: left out, as there is no recording of one: a renderer's frames, recorded");
    }
    cases.push(repeated::case(adapter));
    cases
}

/// Those that there are, by name.
fn renderers() -> impl Iterator<Item = (&'static str, Recording)> {
    let recorded = recording::recorded().map(|frames| ("recorded", frames));
    [("generated", recording::generated())].into_iter().chain(recorded)
}

pub(super) fn counts(adapter: &str) -> Vec<Count> {
    let mut counts = vec![Count {
        group: "gpu",
        name: format!("bytes 1 s after a burst over those before it, {adapter}"),
        count: Box::new(|| Ok(vec![burst()?])),
    }];
    counts.extend(renderers().map(|(which, frames)| Count {
        group: "gpu",
        name: format!("a renderer's frames, {which}, bytes from the driver, {adapter}"),
        count: Box::new(move || driver_bytes(&frames)),
    }));
    counts.push(repeated::count(adapter));
    counts
}

/// What the driver gave, after a hundred frames.
fn driver_bytes(frames: &Recording) -> Result<Vec<Figure>, String> {
    let played = |name: &str, run: &dyn Fn(&Gpu)| {
        let gpu = open();
        run(&gpu);
        let report = gpu.device().generate_allocator_report();
        let report = report.ok_or("this adapter does not report its memory")?;
        Ok::<_, String>((
            name.to_owned(),
            report.total_reserved_bytes,
            report.total_allocated_bytes,
        ))
    };
    let count = 100 * frames.frames[0].len() as u64;
    let rows = [
        // What is reported is what is held: each source lives until its report is made.
        played(RENDERER, &|gpu| {
            let mut source = renderer(gpu);
            play(gpu, frames, &mut source, count);
            std::mem::forget(source);
        })?,
        played(TRANSIENTS, &|gpu| {
            let mut source = pooled(gpu, false);
            play(gpu, frames, &mut source, count);
            std::mem::forget(source);
        })?,
    ];
    let reference = rows[0].1 as f64;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok(rows
        .iter()
        .map(|(name, reserved, allocated)| Figure {
            name: name.clone(),
            ratio: *reserved as f64 / reference,
            detail: format!("{:.0} MiB, {:.0} allocated", mib(*reserved), mib(*allocated)),
            sound: true,
            goal: (name == TRANSIENTS).then_some(1.1),
        })
        .collect())
}

/// Sixty frames a second; ten of them are forty times as large.
fn burst() -> Result<Figure, String> {
    let gpu = open();
    let transients = transients(&gpu, false);
    let frame = |scale: usize| {
        let begun = Instant::now();
        let mut frame = transients.frame();
        let bytes = vec![1; 8 * scale];
        for i in 1..=8 {
            for usage in [BufferUsages::VERTEX, BufferUsages::UNIFORM, BufferUsages::STORAGE] {
                let uploaded = frame.upload(usage, &bytes[..i * scale]);
                uploaded.map_err(|error| error.to_string())?;
            }
        }
        frame.submit([]).map_err(|error| error.to_string())?;
        std::thread::sleep(Duration::from_micros(16_667).saturating_sub(begun.elapsed()));
        Ok::<_, String>(())
    };
    for _ in 0..60 {
        frame(4 << 10)?;
    }
    let steady = transients.existing_bytes();
    for _ in 0..10 {
        frame(160 << 10)?;
    }
    let most = transients.existing_bytes();
    let over = Instant::now();
    while over.elapsed() < Duration::from_secs(1) {
        frame(4 << 10)?;
    }
    let after = transients.existing_bytes();
    Ok(Figure {
        name: TRANSIENTS.into(),
        ratio: after as f64 / steady as f64,
        detail: format!("{steady} bytes, {most} in the burst, {after} after it"),
        sound: most > 4 * steady,
        goal: Some(1.2),
    })
}

/// Bytes of a vertex buffer, and how many of them a frame has.
const VERTICES: usize = 1000;
const BUFFERS: usize = 400;

fn target(gpu: &Gpu) -> Buffer {
    create(gpu, VERTICES as u64, BufferUsages::COPY_DST)
}

/// All bytes in one list, written at once to one buffer that is made once.
fn staged() -> Contender {
    let mut state = None;
    Contender::new(STAGED, move |count| {
        let (gpu, all, to) = state.get_or_insert_with(|| {
            let gpu = open();
            let usage = BufferUsages::VERTEX | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
            let all = create(&gpu, (BUFFERS * 1024) as u64, usage);
            let to = target(&gpu);
            (gpu, all, to)
        });
        let vertices = [1; VERTICES];
        let mut bytes = vec![0; BUFFERS * 1024];
        let mut time = Duration::ZERO;
        for _ in 0..count {
            let begun = Instant::now();
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            for (i, place) in bytes.chunks_exact_mut(1024).enumerate() {
                place[..VERTICES].copy_from_slice(&vertices);
                encoder.copy_buffer_to_buffer(all, i as u64 * 1024, to, 0, VERTICES as u64);
            }
            gpu.queue().write_buffer(all, 0, &bytes);
            gpu.queue().submit([encoder.finish()]);
            time += begun.elapsed();
            settle(gpu);
        }
        time
    })
}

fn uploaded() -> Contender {
    let mut state = None;
    Contender::new(UPLOADED, move |count| {
        let (gpu, transients, to) = state.get_or_insert_with(|| {
            let gpu = open();
            let (transients, to) = (transients(&gpu, false), target(&gpu));
            (gpu, transients, to)
        });
        let vertices = [1; VERTICES];
        let usage = BufferUsages::VERTEX | BufferUsages::COPY_SRC;
        let mut time = Duration::ZERO;
        for _ in 0..count {
            let begun = Instant::now();
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            let mut frame = transients.frame();
            for _ in 0..BUFFERS {
                let slice =
                    frame.upload(usage, &vertices).unwrap_or_else(|error| panic!("{error}"));
                encoder.copy_buffer_to_buffer(slice.buffer(), slice.offset(), to, 0, slice.size());
            }
            let submitted = frame.submit([encoder.finish()]);
            time += begun.elapsed();
            assert!(submitted.is_ok(), "the device is there");
            settle(gpu);
        }
        time
    })
}

/// Frames are apart, as on a screen.
fn settle(gpu: &Gpu) {
    if let Err(error) = gpu.device().poll(wgpu::PollType::wait_indefinitely()) {
        panic!("{error}");
    }
}
