//! A chart as a paint callback: bars whose heights are a storage buffer, their outline as vertices and indices, the view as a uniform.

use crate::buffers::{Drawn, Store};
use bytemuck::{Pod, Zeroable};
use egui::PaintCallbackInfo;
use egui_wgpu::wgpu::{
    self, BindGroupDescriptor, BindGroupEntry, BufferUsages, CommandBuffer, CommandEncoder, Device,
    IndexFormat, Queue, RenderPass, RenderPipeline, TextureFormat,
};
use egui_wgpu::{CallbackResources, CallbackTrait, ScreenDescriptor};
use strandline_host_wgpu::{BindingKind, TransientError};

/// One chart of a frame.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Its number in the program.
    pub id: u64,
    /// Heights of the bars, from 0 to 1.
    pub heights: Vec<f32>,
    /// Its colour: red, green, blue and opacity, from 0 to 1.
    pub tint: [f32; 4],
}

/// A corner of a bar: which one, and how far it is up.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Corner {
    /// Across the chart, from -1 to 1.
    x: f32,
    /// 0 at the foot of a bar, 1 at its top.
    up: f32,
    bar: u32,
}

/// What the shader calls `View`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct View {
    tint: [f32; 4],
    foot: f32,
    scale: f32,
    padding: [f32; 2],
}

/// How far the bars reach over the chart's lower edge, and how high the highest is.
const FOOT: f32 = -0.9;
const SCALE: f32 = 1.8;

const SHADER: &str = "
struct View { tint: vec4f, foot: f32, scale: f32 }
@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var<storage, read> heights: array<f32>;

struct Out { @builtin(position) at: vec4f, @location(0) color: vec4f }

@vertex
fn corner(@location(0) at: vec2f, @location(1) bar: u32) -> Out {
    let y = view.foot + at.y * heights[bar] * view.scale;
    return Out(vec4f(at.x, y, 0.0, 1.0), vec4f(view.tint.rgb * (0.5 + 0.5 * at.y), view.tint.a));
}

@fragment
fn color(in: Out) -> @location(0) vec4f {
    return in.color;
}
";

/// The pipeline of all charts.
pub(crate) fn pipeline(device: &Device, format: TextureFormat) -> RenderPipeline {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("chart"),
        source: wgpu::ShaderSource::Wgsl(SHADER.into()),
    });
    let corner = wgpu::VertexBufferLayout {
        array_stride: size_of::<Corner>() as u64,
        step_mode: wgpu::VertexStepMode::Vertex,
        attributes: &wgpu::vertex_attr_array![0 => Float32x2, 1 => Uint32],
    };
    device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some("chart"),
        layout: None,
        vertex: wgpu::VertexState {
            module: &module,
            entry_point: Some("corner"),
            buffers: &[Some(corner)],
            compilation_options: Default::default(),
        },
        primitive: Default::default(),
        depth_stencil: None,
        multisample: Default::default(),
        fragment: Some(wgpu::FragmentState {
            module: &module,
            entry_point: Some("color"),
            targets: &[Some(format.into())],
            compilation_options: Default::default(),
        }),
        multiview_mask: None,
        cache: None,
    })
}

impl Chart {
    fn corners(&self) -> Vec<Corner> {
        let width = 2.0 / self.heights.len() as f32;
        let bar = |bar: u32| {
            let left = -1.0 + bar as f32 * width;
            let right = left + 0.8 * width;
            [(left, 0.0), (right, 0.0), (left, 1.0), (right, 1.0)].map(|(x, up)| Corner {
                x,
                up,
                bar,
            })
        };
        (0..self.heights.len() as u32).flat_map(bar).collect()
    }

    fn indices(&self) -> Vec<u16> {
        let bar = |bar: u16| [0, 1, 2, 2, 1, 3].map(|corner| 4 * bar + corner);
        (0..self.heights.len() as u16).flat_map(bar).collect()
    }

    fn make(&self, device: &Device, store: &mut Store) -> Result<Drawn, TransientError> {
        let view = View { tint: self.tint, foot: FOOT, scale: SCALE, padding: [0.0; 2] };
        let view = store.upload(device, BufferUsages::UNIFORM, bytemuck::bytes_of(&view))?;
        let heights = bytemuck::cast_slice(&self.heights);
        let heights = store.upload(device, BufferUsages::STORAGE, heights)?;
        let corners = self.corners();
        let corners = bytemuck::cast_slice(&corners);
        let vertices = store.upload(device, BufferUsages::VERTEX, corners)?;
        let indices = self.indices();
        let count = indices.len() as u32;
        let indices = store.upload(device, BufferUsages::INDEX, bytemuck::cast_slice(&indices))?;
        let group = device.create_bind_group(&BindGroupDescriptor {
            label: None,
            layout: &store.pipeline.get_bind_group_layout(0),
            entries: &[
                BindGroupEntry { binding: 0, resource: view.binding(BindingKind::Uniform)? },
                BindGroupEntry {
                    binding: 1,
                    resource: heights.binding(BindingKind::ReadOnlyStorage)?,
                },
            ],
        });
        Ok(Drawn { vertices, indices, group, count })
    }
}

impl CallbackTrait for Chart {
    fn prepare(
        &self,
        device: &Device,
        _: &Queue,
        _: &ScreenDescriptor,
        _: &mut CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<CommandBuffer> {
        if let Some(store) = resources.get_mut::<Store>() {
            match self.make(device, store) {
                Ok(drawn) => drop(store.drawn.insert(self.id, drawn)),
                Err(error) => drop(store.failed.get_or_insert(error)),
            }
        }
        Vec::new()
    }

    fn finish_prepare(
        &self,
        _: &Device,
        _: &Queue,
        encoder: &mut CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<CommandBuffer> {
        if let Some(store) = resources.get_mut::<Store>() {
            store.flush(encoder);
        }
        Vec::new()
    }

    fn paint(
        &self,
        _: PaintCallbackInfo,
        pass: &mut RenderPass<'static>,
        resources: &CallbackResources,
    ) {
        let store = resources.get::<Store>();
        let Some((store, drawn)) =
            store.and_then(|store| Some((store, store.drawn.get(&self.id)?)))
        else {
            return;
        };
        pass.set_pipeline(&store.pipeline);
        pass.set_bind_group(0, &drawn.group, &[]);
        pass.set_vertex_buffer(0, drawn.vertices.as_buffer_slice());
        pass.set_index_buffer(drawn.indices.as_buffer_slice(), IndexFormat::Uint16);
        pass.draw_indexed(0..drawn.count, 0, 0..1);
    }
}
