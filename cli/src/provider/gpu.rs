//! GPUs, through wgpu.

use crate::output::Error;
use serde_json::{Value, json};
use std::fmt::Write as _;
use strandline_replay::build::Backing;
use strandline_replay::gpu;
use strandline_replay::size::Bytes;

pub(crate) fn backing(adapter: Option<&str>, capacity: Option<u64>) -> Result<Backing, Error> {
    Ok(gpu::backing(adapter, capacity)?)
}

/// What `info` says about adapters.
pub(crate) struct Adapters {
    /// For people.
    pub(crate) text: String,
    /// For programs.
    pub(crate) json: Value,
}

pub(crate) fn adapters() -> Adapters {
    let adapters = gpu::adapters();
    let mut text = String::new();
    if adapters.is_empty() {
        text.push_str(
            "provider wgpu: no adapter here (on Debian, mesa-vulkan-drivers and libvulkan1 bring a software one)\n",
        );
    }
    let mut list = Vec::new();
    for adapter in &adapters {
        let (info, limits) = (&adapter.info, &adapter.limits);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "provider wgpu: {} ({:?}, {:?}, driver {} {})\n\
             \x20 largest slab  {}\n\
             \x20 bindings      storage up to {}, uniform up to {}, aligned to {} and {} bytes\n\
             \x20 workgroups    {} in each dimension\n",
            info.name,
            info.device_type,
            info.backend,
            info.driver,
            info.driver_info,
            Bytes(adapter.max_slab_bytes()),
            Bytes(limits.max_storage_buffer_binding_size),
            Bytes(limits.max_uniform_buffer_binding_size),
            limits.min_storage_buffer_offset_alignment,
            limits.min_uniform_buffer_offset_alignment,
            limits.max_compute_workgroups_per_dimension,
        );
        let mut classes = Vec::new();
        for (class, memory, usage) in adapter.classes() {
            let _ = writeln!(text, "  {:<13} {memory:?}; {usage:?}", class.name());
            classes.push(json!({
                "class": class.name(),
                "memory_type": format!("{memory:?}"),
                "usage": format!("{usage:?}"),
            }));
        }
        list.push(json!({
            "name": info.name,
            "type": format!("{:?}", info.device_type),
            "backend": format!("{:?}", info.backend),
            "driver": info.driver,
            "driver_info": info.driver_info,
            "max_slab_bytes": adapter.max_slab_bytes(),
            "max_storage_binding_bytes": limits.max_storage_buffer_binding_size,
            "max_uniform_binding_bytes": limits.max_uniform_buffer_binding_size,
            "storage_alignment_bytes": limits.min_storage_buffer_offset_alignment,
            "uniform_alignment_bytes": limits.min_uniform_buffer_offset_alignment,
            "max_workgroups": limits.max_compute_workgroups_per_dimension,
            "classes": classes,
        }));
    }
    Adapters { text, json: Value::Array(list) }
}
