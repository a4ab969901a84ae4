//! Bind groups that are used again: a step that reuses its memory binds the same ranges.
//!
//! Cost: a hit is a hash of the ranges. A miss makes a bind group, which is not a buffer and costs little; the table forgets
//! everything when it is full, or when a slab was released, since a bind group keeps its buffers alive.

use crate::kernel::Kernel;
use crate::scopes::{checked, log_late};
use crate::slice::GpuSlice;
use core::num::NonZeroU64;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use strandline_core::Failure;
use wgpu::{
    BindGroup, BindGroupDescriptor, BindGroupEntry, BindingResource, BufferBinding, Device,
};

/// The most bind groups that are kept.
const MOST: usize = 1024;

#[derive(Debug)]
struct Entry {
    kernel: u64,
    slices: Vec<GpuSlice>,
    group: BindGroup,
}

impl Entry {
    fn is(&self, kernel: u64, slices: &[GpuSlice]) -> bool {
        self.kernel == kernel
            && self.slices.len() == slices.len()
            && self.slices.iter().zip(slices).all(|(a, b)| a.is_same(b))
    }
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    table: HashMap<u64, Entry>,
    /// Slabs released when the table was last looked at.
    releases: u64,
    made: u64,
}

impl Groups {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.table.clear();
    }

    /// Forgets everything if slabs were released since.
    pub(super) fn tidy(&mut self, releases: u64) {
        if releases != self.releases {
            self.releases = releases;
            self.table.clear();
        }
    }

    /// The bind group of a kernel over these ranges, which were checked. wgpu may refuse it all the same, on a device that is lost.
    pub(super) fn get(
        &mut self,
        device: &Device,
        kernel: &Kernel,
        slices: &[GpuSlice],
    ) -> Result<&BindGroup, Failure> {
        let mut hasher = DefaultHasher::new();
        kernel.number().hash(&mut hasher);
        for slice in slices {
            slice.buffer().hash(&mut hasher);
            (slice.offset(), slice.size()).hash(&mut hasher);
        }
        let key = hasher.finish();
        let known = self.table.get(&key).is_some_and(|entry| entry.is(kernel.number(), slices));
        if !known {
            if self.table.len() >= MOST {
                self.table.clear();
            }
            let late = log_late("making a bind group");
            let group = checked(device, || make(device, kernel, slices), late);
            let group = group.map_err(Failure::message)?;
            self.made += 1;
            self.table
                .insert(key, Entry { kernel: kernel.number(), slices: slices.to_vec(), group });
        }
        Ok(&self.table[&key].group)
    }
}

fn make(device: &Device, kernel: &Kernel, slices: &[GpuSlice]) -> BindGroup {
    let entries: Vec<_> = (0..)
        .zip(slices)
        .map(|(binding, slice)| BindGroupEntry {
            binding,
            resource: BindingResource::Buffer(BufferBinding {
                buffer: slice.buffer(),
                offset: slice.offset(),
                size: NonZeroU64::new(slice.size()),
            }),
        })
        .collect();
    device.create_bind_group(&BindGroupDescriptor {
        label: Some(kernel.label()),
        layout: kernel.layout(),
        entries: &entries,
    })
}
