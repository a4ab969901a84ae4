//! Where a frame's buffers come from: the ways that are compared.

use super::recording::{Recording, Request};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use strandline_host_wgpu::{Frame, Gpu, GpuSlice, Transients, TransientsConfig};
use wgpu::{Buffer, BufferDescriptor, BufferUsages};

/// Where a frame's buffers come from.
pub(super) trait Source {
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
pub(super) fn play<S: Source>(
    gpu: &Gpu,
    frames: &Recording,
    source: &mut S,
    count: u64,
) -> Duration {
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

pub(super) fn create(gpu: &Gpu, size: u64, usage: BufferUsages) -> Buffer {
    gpu.device().create_buffer(&BufferDescriptor {
        label: None,
        size,
        usage,
        mapped_at_creation: false,
    })
}

/// Buffers by exact usage and a size class of one bit, out again after the submission.
pub(super) struct Renderer {
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

pub(super) struct Pooled {
    pub(super) transients: Transients,
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

pub(super) struct Created {
    gpu: Gpu,
    /// Or left to wgpu, which does the same when it looks after what is done.
    destroys: bool,
}

/// Each buffer is made, and dropped, or destroyed, when it was submitted.
pub(super) fn created(gpu: &Gpu, destroys: bool) -> Created {
    Created { gpu: gpu.clone(), destroys }
}

impl Source for Created {
    type Buffer = Buffer;

    fn make(&mut self, size: u64, usage: BufferUsages) -> Buffer {
        create(&self.gpu, size, usage)
    }

    fn give_up(&mut self, _: Buffer) {}

    fn submitted(&mut self, _: wgpu::SubmissionIndex, rest: &mut Vec<Option<Buffer>>) {
        for buffer in rest.iter_mut().filter_map(Option::take) {
            if self.destroys {
                buffer.destroy();
            }
        }
    }

    fn parts(buffer: &Buffer) -> (&Buffer, u64) {
        (buffer, 0)
    }
}

pub(super) fn renderer(gpu: &Gpu) -> Renderer {
    Renderer { gpu: gpu.clone(), free: HashMap::new(), used: Vec::new() }
}

pub(super) fn transients(gpu: &Gpu, planned: bool) -> Transients {
    let mut config = TransientsConfig::default();
    config.planned = planned;
    Transients::new(gpu, config).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn pooled(gpu: &Gpu, planned: bool) -> Pooled {
    Pooled { transients: transients(gpu, planned), frame: None }
}
