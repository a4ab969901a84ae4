//! What the pump does with a device: encodes commands, stages bytes, submits.

use super::QueueError;
use super::groups::Groups;
use crate::class::UsageClass;
use crate::command::{BufferRange, Command, FILL_BY_COPY, Work};
use crate::gpu::{Gpu, GpuError};
use crate::host_axis::HostAxis;
use crate::kernel::Kernel;
use crate::pools::GpuPools;
use crate::scopes::{checked, log_late};
use crate::slab::WgpuSlabProvider;
use crate::slice::{BindingKind, GpuSlice};
use crate::staging::{Readback, Short, StagingConfig, Upload, UploadChunks};
use crate::timeline::Timeline;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use strandline_core::slab::{Grant, SlabMap, SlabProvider};
use strandline_core::{Axis, Epoch, Failure, SlabError, Tracker};
use wgpu::CommandEncoder;

/// Repeats the first two words of a range over the rest of it. Only words from the third on are written, so nothing races.
const FILL: &str = "
@group(0) @binding(0) var<storage, read_write> data: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let pattern = vec2<u32>(data[0], data[1]);
    for (var i = id.x + 2u; i < arrayLength(&data); i += groups.x * 64u) {
        data[i] = pattern[i & 1u];
    }
}";

/// Copies within a buffer go through a buffer of this many bytes.
const BOUNCE: u64 = 1 << 20;

/// What a device needs to run commands.
#[derive(Debug)]
pub(super) struct Exec {
    gpu: Gpu,
    pub(super) upload: Upload,
    pub(super) readback: Readback,
    fill: Kernel,
    groups: Groups,
    /// For the bounce buffer only.
    scratch: WgpuSlabProvider,
    bounce: Option<GpuSlice>,
    slices: Vec<GpuSlice>,
}

impl Exec {
    pub(super) fn new(
        gpu: &Gpu,
        tracker: &Tracker,
        host_axis: Axis,
        staging: StagingConfig,
    ) -> Result<Self, QueueError> {
        let fill = Kernel::new(gpu, "fill", FILL, "main", &[BindingKind::Storage])
            .map_err(QueueError::Kernel)?;
        let chunks = UploadChunks::new(gpu, tracker, staging).map_err(QueueError::Staging)?;
        let readback = Readback::new(gpu, tracker, staging).map_err(QueueError::Staging)?;
        let host = Arc::new(HostAxis::new(gpu, tracker, host_axis)?);
        Ok(Self {
            gpu: gpu.clone(),
            upload: chunks.on(host),
            readback,
            fill,
            groups: Groups::default(),
            scratch: WgpuSlabProvider::new(gpu, UsageClass::Storage),
            bounce: None,
            slices: Vec::new(),
        })
    }

    /// Makes sure that a submission's bytes can be staged.
    pub(super) fn prepare(&mut self, upload: u64, readback: u64) -> Result<(), Short> {
        self.upload.prepare(upload)?;
        self.readback.prepare(readback)
    }

    pub(super) fn begin(&mut self, pools: &GpuPools) -> CommandEncoder {
        // Sums of counters that only grow: equal sums are equal counters.
        self.groups.tidy(pools.providers().map(|provider| provider.stats().releases).sum());
        self.gpu.device().create_command_encoder(&Default::default())
    }

    /// Hands a submission to wgpu, and sees to its staging. Without one, `behind` says that it comes after what other queues of the
    /// device have in flight.
    pub(super) fn submit(
        &mut self,
        timeline: &Timeline,
        last: Epoch,
        encoder: Option<CommandEncoder>,
        behind: bool,
    ) -> Result<(), Failure> {
        let Some(encoder) = encoder else {
            return timeline.issue_empty(last, behind).map_err(failure_of);
        };
        let (upload, queue) = (&mut self.upload, self.gpu.queue());
        let issued = timeline.issue(last, || {
            // What was recorded wrongly comes out here; wgpu then refuses the submission too.
            let commands = encoder.finish();
            upload.close();
            let index = queue.submit([commands]);
            // On a lost device nothing can be mapped, and wgpu says so to the callbacks.
            upload.reopen();
            index
        });
        match issued.map_err(failure_of) {
            Ok(()) => {
                self.readback.fetch();
                Ok(())
            }
            Err(failure) => {
                let failure = self.gpu.cause(failure);
                self.give_up(&failure);
                Err(failure)
            }
        }
    }

    /// What was recorded does not go out.
    pub(super) fn give_up(&mut self, failure: &Failure) {
        self.readback.give_up(failure);
    }

    /// The device is lost: whoever is still to be told is, and the staging chunks go back.
    pub(super) fn end(&mut self, failure: &Failure) {
        self.upload.end();
        self.readback.end(failure);
        self.groups.clear();
    }

    /// Records the commands of an operation and empties the list. A panic in the program's own recording is a failure like any
    /// other. What fails, the readers among them are told; what was recorded before stays in the encoder.
    pub(super) fn encode_all(
        &mut self,
        encoder: &mut CommandEncoder,
        commands: &mut Vec<Command>,
        epoch: Epoch,
    ) -> Result<(), Failure> {
        let mut rest = commands.drain(..);
        let encoded = catch_unwind(AssertUnwindSafe(|| {
            rest.by_ref().try_for_each(|command| self.encode(encoder, command, epoch))
        }));
        let encoded = encoded
            .unwrap_or_else(|_| Err(Failure::message("recording a command panicked")))
            .map_err(|failure| self.gpu.cause(failure));
        if let Err(failure) = &encoded {
            self.readback.withdraw(epoch, failure);
            rest.for_each(|command| command.fail(failure));
        }
        encoded
    }

    /// Records a command whose ranges are slices, and whose staging was prepared.
    fn encode(
        &mut self,
        encoder: &mut CommandEncoder,
        command: Command,
        epoch: Epoch,
    ) -> Result<(), Failure> {
        match command.0 {
            Work::Fill { target, pattern } => {
                self.encode_fill(encoder, &resolved(&target)?, pattern)
            }
            Work::Copy { source, target } => {
                self.encode_copy(encoder, &resolved(&source)?, &resolved(&target)?)
            }
            Work::Write { target, bytes } => {
                let target = resolved(&target)?;
                self.upload.stage(&bytes, |piece, at| copy(encoder, piece, &target, at))
            }
            Work::Dispatch { kernel, ranges, groups } => self
                .with_slices(&ranges, |this, slices| {
                    this.dispatch(encoder, &kernel, slices, groups)
                }),
            Work::Encode { ranges, encode } => self.with_slices(&ranges, |this, slices| {
                // Bind groups and the like are made in there; what is wrong with the recording itself comes out at its end.
                let late = log_late("recording a command");
                checked(this.gpu.device(), || encode(encoder, slices), late)
                    .map_err(Failure::message)
            }),
            Work::Read { source, sink } => {
                let staged = resolved(&source)
                    .and_then(|source| self.readback.stage(encoder, &source, &sink, epoch));
                staged.map_err(|failure| {
                    let failure = self.gpu.cause(failure);
                    sink.fail(&failure);
                    failure
                })
            }
        }
    }

    /// Calls `use_them` with the slices of `ranges`, in a list that is used again.
    fn with_slices(
        &mut self,
        ranges: &[BufferRange],
        use_them: impl FnOnce(&mut Self, &[GpuSlice]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut slices = core::mem::take(&mut self.slices);
        let done = ranges
            .iter()
            .try_for_each(|range| {
                slices.push(resolved(range)?);
                Ok(())
            })
            .and_then(|()| use_them(self, &slices));
        slices.clear();
        self.slices = slices;
        done
    }

    fn dispatch(
        &mut self,
        encoder: &mut CommandEncoder,
        kernel: &Kernel,
        slices: &[GpuSlice],
        groups: [u32; 3],
    ) -> Result<(), Failure> {
        let group = self.groups.get(self.gpu.device(), kernel, slices)?;
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(kernel.pipeline());
        pass.set_bind_group(0, group, &[]);
        let [x, y, z] = groups;
        pass.dispatch_workgroups(x, y, z);
        Ok(())
    }

    fn encode_fill(
        &mut self,
        encoder: &mut CommandEncoder,
        target: &GpuSlice,
        pattern: u64,
    ) -> Result<(), Failure> {
        let size = target.size();
        if pattern == 0 {
            encoder.clear_buffer(target.buffer(), target.offset(), Some(size));
            return Ok(());
        }
        // Shorter than the words of a pattern or not where bindings start: by copies.
        if size >= 64 && target.binding(BindingKind::Storage).is_ok() {
            self.upload.stage(&pattern.to_le_bytes(), |piece, at| {
                copy(encoder, piece, target, at);
            })?;
            let fill = self.fill.clone();
            let groups = (size / 4).div_ceil(64).min(1024) as u32;
            return self.dispatch(encoder, &fill, core::slice::from_ref(target), [groups, 1, 1]);
        }
        let mut bytes = [0; FILL_BY_COPY as usize];
        let len = size.min(FILL_BY_COPY) as usize;
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&pattern.to_le_bytes());
        }
        self.upload.stage(&bytes[..len], |piece, at| {
            // The piece repeats: it is a whole number of patterns, but perhaps for the last one.
            let mut start = at;
            while start < size {
                let len = piece.size().min(size - start);
                if let Ok(part) = piece.slice(0, len) {
                    copy(encoder, &part, target, start);
                }
                start += FILL_BY_COPY;
            }
        })
    }

    fn encode_copy(
        &mut self,
        encoder: &mut CommandEncoder,
        source: &GpuSlice,
        target: &GpuSlice,
    ) -> Result<(), Failure> {
        if source.buffer() != target.buffer() {
            copy(encoder, source, target, 0);
            return Ok(());
        }
        // wgpu does not copy within a buffer.
        let bounce = self.bounce()?;
        let mut at = 0;
        while at < source.size() {
            let len = BOUNCE.min(source.size() - at);
            let part = source.slice(at, len).map_err(Failure::new)?;
            copy(encoder, &part, &bounce, 0);
            let part = bounce.slice(0, len).map_err(Failure::new)?;
            copy(encoder, &part, target, at);
            at += len;
        }
        Ok(())
    }

    /// The bounce buffer, made when it is first needed.
    fn bounce(&mut self) -> Result<GpuSlice, Failure> {
        if let Some(bounce) = &self.bounce {
            return Ok(bounce.clone());
        }
        let made = match self.scratch.acquire(BOUNCE).map_err(Failure::new)? {
            Grant::Slab(slab) => self.scratch.map(slab.id, 0, BOUNCE),
            Grant::NoCapacity => {
                return Err(Failure::message("no memory for a copy's bounce buffer"));
            }
        };
        let bounce = made.map_err(|error: SlabError| Failure::new(error))?;
        self.bounce = Some(bounce.clone());
        Ok(bounce)
    }
}

fn copy(encoder: &mut CommandEncoder, source: &GpuSlice, target: &GpuSlice, at: u64) {
    encoder.copy_buffer_to_buffer(
        source.buffer(),
        source.offset(),
        target.buffer(),
        target.offset() + at,
        source.size(),
    );
}

/// What a device's error means for an axis.
pub(super) fn failure_of(error: GpuError) -> Failure {
    match error {
        GpuError::Lost(failure) | GpuError::Refused(failure) => failure,
        other => Failure::new(other),
    }
}

fn resolved(range: &BufferRange) -> Result<GpuSlice, Failure> {
    range.resolved().map_err(Failure::new)
}
