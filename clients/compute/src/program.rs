//! The program: threads that answer requests of varying length with a small transformer's shapes, each on a stream of cubecl.
//!
//! The arithmetic is that of a hash, in whole numbers, so that what the device returns is compared exactly with what the processor
//! computes; shapes and lifetimes are those of attention and a feed-forward layer, with weights that stay and caches of the last requests.

use crate::MIB;
use crate::device::{OpenError, Shared, open};
use crate::record::{Life, Recorder, Trace};
use core::fmt;
use cubecl_core as cubecl;
use cubecl_core::prelude::*;
use cubecl_core::server::{Handle, ServerError};
use cubecl_core::{MemoryScope, StreamMemoryReport};
use cubecl_ir::MemoryDeviceProperties;
use cubecl_server::runtime::Runtime;
use cubecl_wgpu::WgpuRuntime;
use std::collections::VecDeque;
use strandline_host_wgpu::{BindingKind, GpuError, Transients, TransientsConfig};

/// Width of the model, in words.
const WIDTH: usize = 96;
const LAYERS: usize = 2;
/// Requests that a thread answers.
const REQUESTS: usize = 8;
/// Requests whose caches are kept.
const KEPT: usize = 3;
/// Threads of a workgroup.
const GROUP: u32 = 64;

/// `output[i] = input[i mod …] * 1664525 + other[i mod …]`, in 32 bits: every word of the output depends on both.
#[cube(launch_unchecked)]
fn mix(input: &[u32], other: &[u32], output: &mut [u32]) {
    if ABSOLUTE_POS < output.len() {
        output[ABSOLUTE_POS] =
            input[ABSOLUTE_POS % input.len()] * 1664525u32 + other[ABSOLUTE_POS % other.len()];
    }
}

/// What cubecl's pools held, and what came out.
#[derive(Clone, Debug)]
pub struct Run {
    /// The most bytes that the pools of each stream held, added up.
    pub reserved: u64,
    /// The most bytes of each stream that were in use, added up.
    pub live: u64,
    /// What each stream asked for.
    pub traces: Vec<Trace>,
    /// The last answer of each thread.
    pub answers: Vec<Vec<u32>>,
    /// How large a page of the device can be, and where slices begin.
    pub memory: MemoryDeviceProperties,
}

/// Why the program did not run to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// There is no device.
    Open(OpenError),
    /// cubecl failed.
    Cubecl(ServerError),
    /// Our part of the device failed.
    Gpu(GpuError),
    /// Something else; the text says what.
    Other(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Cubecl(error) => write!(f, "cubecl: {error:?}"),
            Self::Gpu(error) => error.fmt(f),
            Self::Other(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(error) => Some(error),
            Self::Gpu(error) => Some(error),
            Self::Cubecl(_) | Self::Other(_) => None,
        }
    }
}

impl From<ServerError> for RunError {
    fn from(error: ServerError) -> Self {
        Self::Cubecl(error)
    }
}

/// A tensor of words, recorded from its allocation to its drop.
struct Tensor {
    handle: Handle,
    len: usize,
    _life: Life,
}

/// One thread's stream.
struct Stream {
    client: Client,
    recorder: Recorder,
    reserved: u64,
    live: u64,
}

impl Stream {
    /// Has the pools make pages of `page` bytes, if that is more than they begin with.
    fn begin(client: Client, page: Option<u64>) -> Self {
        if let Some(page) = page {
            // cubecl adds a mebibyte to what it is asked for and rounds up to mebibytes.
            drop(client.empty((page - MIB) as usize));
        }
        Self { client, recorder: Recorder::default(), reserved: 0, live: 0 }
    }

    fn note(&mut self) {
        let report = self.client.memory_report(MemoryScope::CurrentStream);
        // Auxiliary memories, for readback and uniforms, are not what the program asked for.
        let of = |stream: &StreamMemoryReport| stream.pools.usage();
        let (reserved, live) =
            report.streams.iter().map(of).fold((0, 0), |sum, usage| {
                (sum.0 + usage.bytes_reserved, sum.1 + usage.bytes_in_use)
            });
        self.reserved = self.reserved.max(reserved);
        self.live = self.live.max(live);
    }

    fn tensor(&mut self, len: usize) -> Tensor {
        let bytes = len * size_of::<u32>();
        let life = self.recorder.alloc(bytes as u64);
        let tensor = Tensor { handle: self.client.empty(bytes), len, _life: life };
        // Also waits until the reservation was made, so that what is dropped after it was there at that time.
        self.note();
        tensor
    }

    fn weight(&mut self, len: usize, seed: u32) -> Tensor {
        let tensor = self.tensor(len);
        let bytes = u32::as_bytes(&weight(len, seed)).to_vec();
        self.client.write(&tensor.handle, cubecl_core::bytes::Bytes::from_bytes_vec(bytes));
        tensor
    }

    fn mix(&mut self, input: &Tensor, other: &Tensor, len: usize) -> Tensor {
        let output = self.tensor(len);
        let groups = (len as u32).div_ceil(GROUP);
        let count = CubeCount::Static(groups.min(32768), groups.div_ceil(32768), 1);
        let of = |tensor: &Tensor| (tensor.handle.clone(), tensor.len);
        let [input, other, out] = [of(input), of(other), of(&output)];
        // SAFETY: lengths are those of the allocations, and the kernel checks its position against the output's.
        unsafe {
            mix::launch_unchecked(
                &self.client,
                count,
                CubeDim::new_1d(GROUP),
                BufferArg::from_raw_parts(input.0, input.1),
                BufferArg::from_raw_parts(other.0, other.1),
                BufferArg::from_raw_parts(out.0, out.1),
            );
        }
        output
    }

    fn answer(&mut self, seed: u32) -> Result<Vec<u32>, RunError> {
        let weights: Vec<[Tensor; 4]> = (0..LAYERS as u32)
            .map(|layer| {
                [1, 2, 3, 4].map(|part| self.weight(weight_len(part), seed + 8 * layer + part))
            })
            .collect();
        let mut caches = VecDeque::new();
        let mut answer = Vec::new();
        for request in 0..REQUESTS {
            let tokens = tokens(seed, request);
            let mut x = self.weight(tokens * WIDTH, seed + 100 + request as u32);
            for [wq, wk, up, down] in &weights {
                let q = self.mix(&x, wq, tokens * WIDTH);
                let k = self.mix(&x, wk, tokens * WIDTH);
                let scores = self.mix(&q, &k, tokens * tokens);
                let mixed = self.mix(&scores, &x, tokens * WIDTH);
                drop((q, scores));
                let wide = self.mix(&mixed, up, tokens * WIDTH * 4);
                x = self.mix(&wide, down, tokens * WIDTH);
                caches.push_back(k);
                self.client.flush()?;
            }
            while caches.len() > KEPT * LAYERS {
                caches.pop_front();
            }
            let bytes = self.client.read_one(x.handle.clone())?;
            answer = u32::from_bytes(&bytes).to_vec();
        }
        Ok(answer)
    }
}

/// Tokens of a request: short ones first, so that pages have to grow.
fn tokens(seed: u32, request: usize) -> usize {
    let length = [96, 200, 64, 520, 330, 800, 150, 640][request % 8];
    length + 8 * (seed as usize % 5)
}

fn weight_len(part: u32) -> usize {
    WIDTH * WIDTH * if part > 2 { 4 } else { 1 }
}

fn weight(len: usize, seed: u32) -> Vec<u32> {
    (0..len as u32).map(|i| i.wrapping_mul(2654435761).wrapping_add(seed)).collect()
}

/// The answer of the thread with this number, by the processor.
#[must_use]
pub fn expected(thread: usize) -> Vec<u32> {
    let seed = seed_of(thread);
    let mix = |input: &[u32], other: &[u32], len: usize| -> Vec<u32> {
        let one = |i: usize| {
            let word = input[i % input.len()].wrapping_mul(1664525);
            word.wrapping_add(other[i % other.len()])
        };
        (0..len).map(one).collect()
    };
    let request = REQUESTS - 1;
    let tokens = tokens(seed, request);
    let mut x = weight(tokens * WIDTH, seed + 100 + request as u32);
    for layer in 0..LAYERS as u32 {
        let [wq, wk, up, down] =
            [1, 2, 3, 4].map(|part| weight(weight_len(part), seed + 8 * layer + part));
        let q = mix(&x, &wq, tokens * WIDTH);
        let k = mix(&x, &wk, tokens * WIDTH);
        let scores = mix(&q, &k, tokens * tokens);
        let mixed = mix(&scores, &x, tokens * WIDTH);
        let wide = mix(&mixed, &up, tokens * WIDTH * 4);
        x = mix(&wide, &down, tokens * WIDTH);
    }
    x
}

fn seed_of(thread: usize) -> u32 {
    1000 * (thread as u32 + 1)
}

/// Runs the program on `pages.len()` threads of a new device; a thread's pages have the size that is given for it.
///
/// # Errors
/// [`RunError`].
pub fn run(pages: &[Option<u64>]) -> Result<Run, RunError> {
    let shared = open().map_err(RunError::Open)?;
    let client = WgpuRuntime::<cubecl_wgpu::AutoCompiler>::client(&shared.device);
    let streams: Vec<Result<(Stream, Vec<u32>), RunError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = pages
            .iter()
            .enumerate()
            .map(|(thread, &page)| {
                let client = client.clone();
                scope.spawn(move || {
                    let mut stream = Stream::begin(client, page);
                    let answer = stream.answer(seed_of(thread))?;
                    Ok((stream, answer))
                })
            })
            .collect();
        let ended = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            let panicked = |_| Err(RunError::Other("a thread panicked".to_owned()));
            thread.join().unwrap_or_else(panicked)
        };
        threads.into_iter().map(ended).collect()
    });
    beside(&shared)?;
    let memory = client.properties().memory.clone();
    let mut run = Run { reserved: 0, live: 0, traces: Vec::new(), answers: Vec::new(), memory };
    for stream in streams {
        let (stream, answer) = stream?;
        run.reserved += stream.reserved;
        run.live += stream.live;
        run.traces.push(stream.recorder.trace());
        run.answers.push(answer);
    }
    Ok(run)
}

/// The device serves us, too, after all that.
fn beside(shared: &Shared) -> Result<(), RunError> {
    let other = |error: &dyn fmt::Display| RunError::Other(error.to_string());
    let transients =
        Transients::new(&shared.gpu, TransientsConfig::default()).map_err(|error| other(&error))?;
    let mut frame = transients.frame();
    let usage = cubecl_wgpu::wgpu::BufferUsages::UNIFORM;
    let slice = frame.upload(usage, &[1; 64]).map_err(|error| other(&error))?;
    slice.binding(BindingKind::Uniform).map_err(|error| other(&error))?;
    frame.submit([]).map_err(RunError::Gpu)?;
    match shared.gpu.find_loss() {
        None => Ok(()),
        Some(failure) => Err(other(failure)),
    }
}
