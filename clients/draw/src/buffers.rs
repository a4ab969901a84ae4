//! Where a callback's buffers come from, and what is kept between the steps of a frame.

use egui_wgpu::wgpu::util::{BufferInitDescriptor, DeviceExt};
use egui_wgpu::wgpu::{
    BindingResource, Buffer, BufferSlice, BufferUsages, CommandEncoder, Device, RenderPipeline,
    SubmissionIndex,
};
use std::collections::HashMap;
use strandline_host_wgpu::{
    BindingKind, Frame, GpuError, GpuSlice, SliceError, TransientError, Transients,
};

/// Where a callback's buffers come from.
#[derive(Debug)]
pub enum Source {
    /// `device.create_buffer` for each.
    Plain,
    /// A frame of ours.
    Frames(Transients),
}

/// One buffer of a callback.
#[derive(Debug)]
pub(crate) enum Part {
    Plain(Buffer),
    Slice(GpuSlice),
}

impl Part {
    pub(crate) fn as_buffer_slice(&self) -> BufferSlice<'_> {
        match self {
            Self::Plain(buffer) => buffer.slice(..),
            Self::Slice(slice) => slice.as_buffer_slice(),
        }
    }

    pub(crate) fn binding(&self, kind: BindingKind) -> Result<BindingResource<'_>, SliceError> {
        match self {
            Self::Plain(buffer) => Ok(buffer.as_entire_binding()),
            Self::Slice(slice) => slice.binding(kind),
        }
    }
}

/// What a callback made in this frame.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) vertices: Part,
    pub(crate) indices: Part,
    pub(crate) group: egui_wgpu::wgpu::BindGroup,
    pub(crate) count: u32,
}

/// What the callbacks of a program share. It lies in the renderer's callback resources.
#[derive(Debug)]
pub struct Store {
    source: Source,
    /// The frame that is being prepared.
    frame: Option<Frame>,
    pub(crate) pipeline: RenderPipeline,
    /// By the number of the chart.
    pub(crate) drawn: HashMap<u64, Drawn>,
    /// Callbacks have no way to fail: the first failure is told after the frame.
    pub(crate) failed: Option<TransientError>,
    /// Buffers that were asked for.
    pub(crate) asked: u64,
}

impl Store {
    pub(crate) fn new(source: Source, pipeline: RenderPipeline) -> Self {
        Self { source, frame: None, pipeline, drawn: HashMap::new(), failed: None, asked: 0 }
    }

    /// A buffer that holds `bytes` when the frame's commands run.
    pub(crate) fn upload(
        &mut self,
        device: &Device,
        usage: BufferUsages,
        bytes: &[u8],
    ) -> Result<Part, TransientError> {
        self.asked += 1;
        match &self.source {
            Source::Plain => {
                let descriptor = BufferInitDescriptor { label: None, contents: bytes, usage };
                Ok(Part::Plain(device.create_buffer_init(&descriptor)))
            }
            Source::Frames(transients) => {
                let frame = self.frame.get_or_insert_with(|| transients.frame());
                Ok(Part::Slice(frame.upload(usage, bytes)?))
            }
        }
    }

    /// Records the uploads so far. Again, it records those since.
    pub(crate) fn flush(&mut self, encoder: &mut CommandEncoder) {
        if let Some(frame) = &mut self.frame {
            frame.flush(encoder);
        }
    }

    /// The frame is with wgpu: what was made for it is over.
    pub(crate) fn end(&mut self, index: SubmissionIndex) -> Result<(), GpuError> {
        self.drawn.clear();
        self.frame.take().map_or(Ok(()), |frame| frame.submitted(index).map(drop))
    }
}
