//! A renderer's frames: the buffer requests of vello 0.11, recorded, played through `Transients`, through a pool of the kind that the
//! renderer has itself, and through `create_buffer`; then uploads, and what is left after a burst.
//!
//! The recording is not ours to ship. Where it is not there, its cases are not.

use super::open;
use crate::figures::{Count, Figure};
use crate::harness::{Case, Contender, Goal};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};
use strandline_host_wgpu::{Frame, Gpu, GpuSlice, Transients, TransientsConfig};
use wgpu::{Buffer, BufferDescriptor, BufferUsages};

const RECORDING: &str = "../../shared/traces/vello_12_frames.csv";

const RENDERER: &str = "a pool as the renderer's";
const TRANSIENTS: &str = "strandline, Transients";
const CREATED: &str = "wgpu, create_buffer";
const STAGED: &str = "wgpu, one write_buffer by hand";
const UPLOADED: &str = "strandline, frame.upload";

/// Slots stand for names, so that no contender pays for looking them up.
#[derive(Clone, Copy, Debug)]
enum Request {
    Make { slot: usize, size: u64, usage: BufferUsages },
    GiveUp { slot: usize },
}

/// The requests by frame, and how many slots they name.
#[derive(Clone, Debug, Default)]
struct Recording {
    frames: Vec<Vec<Request>>,
    slots: usize,
}

/// `None` where there is no recording, or it is not one.
fn recording() -> Option<Recording> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDING);
    let text = std::fs::read_to_string(path).ok()?;
    let mut slots = HashMap::new();
    let mut frames = Vec::new();
    for line in text.lines().skip(1) {
        let mut fields = line.split(',');
        let (op, name) = (fields.next()?, fields.next()?);
        let size = fields.next()?.parse().ok()?;
        let usage = fields.next()?.parse().ok()?;
        if op == "N" {
            frames.push(Vec::new());
            continue;
        }
        let next = slots.len();
        let slot = *slots.entry(name.to_owned()).or_insert(next);
        let request = match op {
            "B" => Request::Make { slot, size, usage: BufferUsages::from_bits_truncate(usage) },
            _ => Request::GiveUp { slot },
        };
        frames.last_mut()?.push(request);
    }
    (!frames.is_empty()).then_some(Recording { frames, slots: slots.len() })
}

/// Where a frame's buffers come from.
trait Source {
    type Buffer;
    fn begin(&mut self) {}
    fn make(&mut self, size: u64, usage: BufferUsages) -> Self::Buffer;
    /// Within its frame.
    fn give_up(&mut self, buffer: Self::Buffer);
    /// `commands` went out with everything of this frame.
    fn submitted(&mut self, index: wgpu::SubmissionIndex, rest: &mut Vec<Option<Self::Buffer>>);
    fn parts(buffer: &Self::Buffer) -> (&Buffer, u64);
}

/// Plays frames until `count` buffers were made; returns the time in `source`, without what wgpu does for the submission.
fn play<S: Source>(gpu: &Gpu, frames: &Recording, source: &mut S, count: u64) -> Duration {
    let mut held: Vec<Option<S::Buffer>> = Vec::new();
    held.resize_with(frames.slots, || None);
    let (mut made, mut time) = (0, Duration::ZERO);
    for frame in frames.frames.iter().cycle() {
        let begun = Instant::now();
        source.begin();
        for request in frame {
            match *request {
                Request::Make { slot, size, usage } => {
                    held[slot] = Some(source.make(size, usage));
                    made += 1;
                }
                Request::GiveUp { slot } => {
                    if let Some(buffer) = held[slot].take() {
                        source.give_up(buffer);
                    }
                }
            }
        }
        time += begun.elapsed();
        // Something of the frame's runs on the device.
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        if let Some(buffer) = held.iter().flatten().next() {
            let (buffer, offset) = S::parts(buffer);
            encoder.clear_buffer(buffer, offset, Some(4));
        }
        let index = gpu.queue().submit([encoder.finish()]);
        let begun = Instant::now();
        source.submitted(index, &mut held);
        time += begun.elapsed();
        if made >= count {
            // A frame is played to its end, and `count` of its buffers are counted.
            return time.mul_f64(count as f64 / made as f64);
        }
    }
    time
}

fn create(gpu: &Gpu, size: u64, usage: BufferUsages) -> Buffer {
    gpu.device().create_buffer(&BufferDescriptor {
        label: None,
        size,
        usage,
        mapped_at_creation: false,
    })
}

/// Buffers by exact usage and a size class of one bit, out again after the submission.
struct Renderer {
    gpu: Gpu,
    free: HashMap<(u64, BufferUsages), Vec<Buffer>>,
    used: Vec<Buffer>,
}

/// Two sizes to an octave.
fn one_bit(size: u64) -> u64 {
    let size = size.max(4);
    let step = 1 << (size.ilog2() - 1);
    size.next_multiple_of(step)
}

impl Source for Renderer {
    type Buffer = Buffer;

    fn make(&mut self, size: u64, usage: BufferUsages) -> Buffer {
        let size = one_bit(size);
        let free = self.free.get_mut(&(size, usage)).and_then(Vec::pop);
        free.unwrap_or_else(|| create(&self.gpu, size, usage))
    }

    fn give_up(&mut self, buffer: Buffer) {
        self.used.push(buffer);
    }

    fn submitted(&mut self, _: wgpu::SubmissionIndex, rest: &mut Vec<Option<Buffer>>) {
        let rest = rest.iter_mut().filter_map(Option::take);
        for buffer in self.used.drain(..).chain(rest) {
            self.free.entry((buffer.size(), buffer.usage())).or_default().push(buffer);
        }
    }

    fn parts(buffer: &Buffer) -> (&Buffer, u64) {
        (buffer, 0)
    }
}

struct Pooled {
    transients: Transients,
    frame: Option<Frame>,
}

impl Source for Pooled {
    type Buffer = GpuSlice;

    fn begin(&mut self) {
        self.frame = Some(self.transients.frame());
    }

    fn make(&mut self, size: u64, usage: BufferUsages) -> GpuSlice {
        let Some(frame) = &mut self.frame else { panic!("a frame is open") };
        let made = frame.create_buffer(&BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        });
        made.unwrap_or_else(|error| panic!("{error}"))
    }

    fn give_up(&mut self, _: GpuSlice) {}

    fn submitted(&mut self, index: wgpu::SubmissionIndex, rest: &mut Vec<Option<GpuSlice>>) {
        rest.fill_with(|| None);
        let submitted = self.frame.take().map(|frame| frame.submitted(index));
        assert!(matches!(submitted, Some(Ok(_))), "the device is there");
    }

    fn parts(buffer: &GpuSlice) -> (&Buffer, u64) {
        (buffer.buffer(), buffer.offset())
    }
}

struct Created(Gpu);

impl Source for Created {
    type Buffer = Buffer;

    fn make(&mut self, size: u64, usage: BufferUsages) -> Buffer {
        create(&self.0, size, usage)
    }

    fn give_up(&mut self, _: Buffer) {}

    fn submitted(&mut self, _: wgpu::SubmissionIndex, rest: &mut Vec<Option<Buffer>>) {
        rest.fill_with(|| None);
    }

    fn parts(buffer: &Buffer) -> (&Buffer, u64) {
        (buffer, 0)
    }
}

fn renderer(gpu: &Gpu) -> Renderer {
    Renderer { gpu: gpu.clone(), free: HashMap::new(), used: Vec::new() }
}

fn transients(gpu: &Gpu) -> Transients {
    let made = Transients::new(gpu, TransientsConfig::default());
    made.unwrap_or_else(|error| panic!("{error}"))
}

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
                    contender(CREATED, &frames, |gpu| Created(gpu.clone())),
                    contender(TRANSIENTS, &frames, |gpu| Pooled {
                        transients: transients(gpu),
                        frame: None,
                    }),
                ]
            }),
        },
    ];
    if let Some(frames) = recording() {
        cases.push(Case {
            group: "gpu",
            name: format!("a renderer's frames, {adapter}"),
            unit: "buffer",
            reference: 0,
            goals: vec![Goal::ratio(TRANSIENTS, 1.0)],
            contenders: Box::new(move || {
                vec![
                    contender(RENDERER, &frames, renderer),
                    contender(TRANSIENTS, &frames, |gpu| Pooled {
                        transients: transients(gpu),
                        frame: None,
                    }),
                    contender(CREATED, &frames, |gpu| Created(gpu.clone())),
                ]
            }),
        });
    }
    cases
}

pub(super) fn counts(adapter: &str) -> Vec<Count> {
    let mut counts = vec![Count {
        group: "gpu",
        name: format!("bytes 1 s after a burst over those before it, {adapter}"),
        count: Box::new(|| Ok(vec![burst()?])),
    }];
    if let Some(frames) = recording() {
        counts.push(Count {
            group: "gpu",
            name: format!("a renderer's frames, bytes from the driver, {adapter}"),
            count: Box::new(move || driver_bytes(&frames)),
        });
    }
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
            let mut source = Pooled { transients: transients(gpu), frame: None };
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
    let transients = transients(&gpu);
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
            let (transients, to) = (transients(&gpu), target(&gpu));
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
