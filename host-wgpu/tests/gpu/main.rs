//! The GPU host against devices: wgpu's no-op device for logic, a real adapter for the rest. One program, because each
//! that links wgpu takes long to build.

mod counting;
mod destroyed;
mod failing;
mod fenced;
mod flood;
mod misuse;
mod model;
mod planned;
mod provider;
mod queue;
mod real;
mod steady;
mod support;
mod timeline;
mod transient;
