//! The program without a window: egui runs, is drawn to a texture, and the texture is read back.

use crate::buffers::{Source, Store};
use crate::chart::{self, Chart};
use core::fmt;
use egui_wgpu::wgpu::{
    self, BufferUsages, CommandEncoderDescriptor, Extent3d, MapMode, PollType, Texture,
    TextureFormat, TextureUsages,
};
use egui_wgpu::{Callback, Renderer, RendererOptions, ScreenDescriptor};
use strandline_host_wgpu::{Gpu, GpuError, TransientError};

/// Width and height of the picture in pixels. A row is a multiple of 256 bytes, as copies to buffers need.
pub const SIZE: [u32; 2] = [640, 480];

/// Bytes of a row.
const ROW: u32 = SIZE[0] * 4;

/// Gamma space, as egui wants it.
const FORMAT: TextureFormat = TextureFormat::Rgba8Unorm;

/// Charts of a picture: four columns.
const CHARTS: u64 = 16;

/// Why there is no picture.
#[derive(Debug)]
pub enum PaintError {
    /// A callback had no buffer.
    Buffers(TransientError),
    /// The device is lost.
    Gpu(GpuError),
    /// The picture could not be read.
    Read(String),
}

impl fmt::Display for PaintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Buffers(error) => write!(f, "a callback has no buffer: {error}"),
            Self::Gpu(error) => error.fmt(f),
            Self::Read(error) => write!(f, "the picture cannot be read: {error}"),
        }
    }
}

impl std::error::Error for PaintError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Buffers(error) => Some(error),
            Self::Gpu(error) => Some(error),
            Self::Read(_) => None,
        }
    }
}

/// A program that draws charts.
pub struct Painter {
    gpu: Gpu,
    egui: egui::Context,
    renderer: Renderer,
    target: Texture,
}

impl Painter {
    /// One whose callbacks have buffers of `source`.
    #[must_use]
    pub fn new(gpu: &Gpu, source: Source) -> Self {
        let device = gpu.device();
        // What the renderer would do otherwise depends on the driver.
        let mut renderer = Renderer::new(device, FORMAT, RendererOptions::PREDICTABLE);
        renderer.callback_resources.insert(Store::new(source, chart::pipeline(device, FORMAT)));
        let target = device.create_texture(&wgpu::TextureDescriptor {
            label: Some("picture"),
            size: Extent3d { width: SIZE[0], height: SIZE[1], depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: FORMAT,
            usage: TextureUsages::RENDER_ATTACHMENT | TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        Self { gpu: gpu.clone(), egui: egui::Context::default(), renderer, target }
    }

    /// Buffers that callbacks have asked for so far.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.renderer.callback_resources.get::<Store>().map_or(0, |store| store.asked)
    }

    /// Draws the picture of frame `number`; four bytes a pixel, from the upper left.
    ///
    /// # Errors
    /// [`PaintError`].
    pub fn paint(&mut self, number: u32) -> Result<Vec<u8>, PaintError> {
        let (device, queue) = (self.gpu.device().clone(), self.gpu.queue().clone());
        let mut output = self.egui.run_ui(input(number), |ui| show(ui, number));
        for (id, deltas) in &output.textures_delta.set {
            for delta in deltas {
                self.renderer.update_texture(&device, &queue, *id, delta);
            }
        }
        let freed = core::mem::take(&mut output.textures_delta.free);
        // egui wants to know that all of it was seen.
        output.textures_delta.clear();
        let jobs = self.egui.tessellate(output.shapes, output.pixels_per_point);
        let screen =
            ScreenDescriptor { size_in_pixels: SIZE, pixels_per_point: output.pixels_per_point };
        let mut encoder = device.create_command_encoder(&CommandEncoderDescriptor::default());
        let mut commands =
            self.renderer.update_buffers(&device, &queue, &mut encoder, &jobs, &screen);
        let view = self.target.create_view(&wgpu::TextureViewDescriptor::default());
        let pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("egui"),
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view: &view,
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations {
                    load: wgpu::LoadOp::Clear(wgpu::Color::BLACK),
                    store: wgpu::StoreOp::Store,
                },
            })],
            ..Default::default()
        });
        self.renderer.render(&mut pass.forget_lifetime(), &jobs, &screen);
        let read = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("picture"),
            size: u64::from(ROW * SIZE[1]),
            usage: BufferUsages::COPY_DST | BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        let layout = wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(ROW),
            rows_per_image: None,
        };
        encoder.copy_texture_to_buffer(
            self.target.as_image_copy(),
            wgpu::TexelCopyBufferInfo { buffer: &read, layout },
            self.target.size(),
        );
        commands.push(encoder.finish());
        let index = queue.submit(commands);
        if let Some(store) = self.renderer.callback_resources.get_mut::<Store>() {
            store.end(index).map_err(PaintError::Gpu)?;
            if let Some(error) = store.failed.take() {
                return Err(PaintError::Buffers(error));
            }
        }
        for id in &freed {
            self.renderer.free_texture(id);
        }
        self.read(&read)
    }

    fn read(&self, buffer: &wgpu::Buffer) -> Result<Vec<u8>, PaintError> {
        let (tell, told) = std::sync::mpsc::channel();
        buffer.map_async(MapMode::Read, .., move |end| drop(tell.send(end)));
        let wrong = |error: String| PaintError::Read(error);
        self.gpu
            .device()
            .poll(PollType::wait_indefinitely())
            .map_err(|error| wrong(error.to_string()))?;
        told.recv()
            .map_err(|error| wrong(error.to_string()))?
            .map_err(|error| wrong(error.to_string()))?;
        let bytes = buffer.get_mapped_range(..).map_err(|error| wrong(error.to_string()))?;
        Ok(bytes.to_vec())
    }
}

impl fmt::Debug for Painter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Painter").field("gpu", &self.gpu).finish_non_exhaustive()
    }
}

fn input(number: u32) -> egui::RawInput {
    let size = egui::vec2(SIZE[0] as f32, SIZE[1] as f32);
    egui::RawInput {
        screen_rect: Some(egui::Rect::from_min_size(egui::Pos2::ZERO, size)),
        time: Some(f64::from(number) / 60.0),
        ..Default::default()
    }
}

/// What frame `number` shows: more charts and longer ones from frame to frame, and fewer again.
fn show(ui: &mut egui::Ui, number: u32) {
    let charts = 1 + u64::from(number * 5) % CHARTS;
    ui.label(format!("frame {number}: {charts} charts"));
    egui::Grid::new("charts").show(ui, |ui| {
        for id in 0..charts {
            let size = egui::vec2(150.0, 100.0);
            let (rect, _) = ui.allocate_exact_size(size, egui::Sense::hover());
            let bars = 3 + (id as u32 * 7 + number * 11) % 90;
            let height = |bar: u32| 0.5 + 0.5 * ((bar + number) as f32 * 0.3 + id as f32).sin();
            let part = id as f32 / CHARTS as f32;
            let chart = Chart {
                id,
                heights: (0..bars).map(height).collect(),
                tint: [1.0 - part, 0.4 + 0.6 * part, 0.7, 1.0],
            };
            ui.painter().add(Callback::new_paint_callback(rect, chart));
            if id % 4 == 3 {
                ui.end_row();
            }
        }
    });
}
