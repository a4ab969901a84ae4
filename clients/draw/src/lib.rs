//! A program that draws with egui and with buffers of [`Transients`](strandline_host_wgpu::Transients), through egui-wgpu's own extension
//! point: paint callbacks.
//!
//! ```text
//!   egui ─▶ shapes, Chart callbacks ─▶ egui_wgpu::Renderer
//!     update_buffers   Chart::prepare          frame.upload(…) ─▶ slices, kept in the renderer's callback resources
//!                      Chart::finish_prepare   frame.flush(egui's encoder)
//!     render           Chart::paint            slices are bound
//!     queue.submit     store.end(index)        frame.submitted(index): the bytes are the next frame's
//! ```
//!
//! The same program draws with a `create_buffer` for each buffer; that the pictures are the same, byte by byte, is what the test is about.

mod buffers;
mod chart;
mod painter;

pub use buffers::{Source, Store};
pub use chart::Chart;
pub use painter::{PaintError, Painter, SIZE};
