//! Usage classes: what the buffers of one pool may be used for.
//!
//! ```text
//!   class      core usage                        wgpu usages                              memory
//!   storage    storage                           STORAGE                                  device-local
//!   constant   storage-read, uniform             STORAGE (bound read-only), UNIFORM       device-local
//!   geometry   indirect, vertex, index           INDIRECT, VERTEX, INDEX                  device-local
//!   upload     upload                            MAP_WRITE, COPY_SRC                      host-visible
//!   readback   readback                          MAP_READ, COPY_DST                       host-visible, cached
//!   exclusive  any of the first three            all of the first three, QUERY_RESOLVE    device-local
//! ```
//!
//! wgpu checks the use of a *whole* buffer: within one dispatch (or render pass) a buffer is either written by
//! shaders, or read in any number of ways. Two tensors that share a slab share that fate. So a slab belongs to one
//! class, the classes do not overlap, and a pool set that routes by core's usage flags never puts conflicting uses
//! into one buffer. What all classes but the last two have in common are copies and fills, which are commands of
//! their own and conflict with nothing.
//!
//! Tensors in [`Storage`](UsageClass::Storage) are bound `read_write`, also by kernels that only read them. Where shaders are not to be
//! rewritten for that, an [exclusive](UsageClass::Exclusive) buffer is the answer: no other live range shares it, so wgpu's check of whole
//! buffers is one of that range, and every use and binding is open to it. No pool divides such a buffer, so nothing is routed there by use.

use strandline_core::slab::{BufferUsage, MemoryType};
use wgpu::BufferUsages;

/// What the buffers of one provider may be used for; see the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UsageClass {
    /// Read and written by shaders: `var<storage, read_write>`.
    Storage,
    /// Only read by shaders: `var<storage, read>` and `var<uniform>`.
    Constant,
    /// Arguments of indirect calls, vertices and indices.
    Geometry,
    /// Written by the host while mapped, then copied from.
    Upload,
    /// Copied to, then read by the host while mapped.
    Readback,
    /// A whole buffer for one range at a time: every use but mapping, and every binding.
    Exclusive,
}

impl UsageClass {
    /// The classes whose buffers are shared.
    pub const SHARED: [Self; 5] =
        [Self::Storage, Self::Constant, Self::Geometry, Self::Upload, Self::Readback];

    /// What wgpu is told when a buffer of the class is created.
    #[must_use]
    pub const fn buffer_usages(self) -> BufferUsages {
        let copies = BufferUsages::COPY_SRC.union(BufferUsages::COPY_DST);
        match self {
            Self::Storage => BufferUsages::STORAGE.union(copies),
            Self::Constant => BufferUsages::STORAGE.union(BufferUsages::UNIFORM).union(copies),
            Self::Geometry => BufferUsages::INDIRECT
                .union(BufferUsages::VERTEX)
                .union(BufferUsages::INDEX)
                .union(copies),
            Self::Upload => BufferUsages::MAP_WRITE.union(BufferUsages::COPY_SRC),
            Self::Readback => BufferUsages::MAP_READ.union(BufferUsages::COPY_DST),
            Self::Exclusive => BufferUsages::STORAGE
                .union(BufferUsages::UNIFORM)
                .union(BufferUsages::INDIRECT)
                .union(BufferUsages::VERTEX)
                .union(BufferUsages::INDEX)
                .union(BufferUsages::QUERY_RESOLVE)
                .union(copies),
        }
    }

    /// What a pool set routes by.
    #[must_use]
    pub const fn usage(self) -> BufferUsage {
        let uses = match self {
            Self::Storage => BufferUsage::STORAGE,
            Self::Constant => BufferUsage::STORAGE_READ.union(BufferUsage::UNIFORM),
            Self::Geometry => {
                BufferUsage::INDIRECT.union(BufferUsage::VERTEX).union(BufferUsage::INDEX)
            }
            Self::Upload => BufferUsage::UPLOAD,
            Self::Readback => BufferUsage::READBACK,
            Self::Exclusive => BufferUsage::NONE,
        };
        uses.union(BufferUsage::TRANSFER)
    }

    /// How its memory can be reached.
    #[must_use]
    pub const fn memory_type(self) -> MemoryType {
        match self {
            Self::Storage | Self::Constant | Self::Geometry | Self::Exclusive => {
                MemoryType::DEVICE_LOCAL.union(MemoryType::OPTIMAL)
            }
            Self::Upload => MemoryType::HOST_VISIBLE.union(MemoryType::HOST_COHERENT),
            Self::Readback => MemoryType::HOST_VISIBLE
                .union(MemoryType::HOST_COHERENT)
                .union(MemoryType::HOST_CACHED),
        }
    }

    /// Whether commands may copy from it.
    #[must_use]
    pub const fn is_source(self) -> bool {
        !matches!(self, Self::Readback)
    }

    /// Whether commands may copy to it and fill it.
    #[must_use]
    pub const fn is_target(self) -> bool {
        !matches!(self, Self::Upload)
    }

    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Constant => "constant",
            Self::Geometry => "geometry",
            Self::Upload => "upload",
            Self::Readback => "readback",
            Self::Exclusive => "exclusive",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_classes_serve_one_use_but_copies() {
        for (i, a) in UsageClass::SHARED.into_iter().enumerate() {
            for b in &UsageClass::SHARED[i + 1..] {
                let both = a.usage().bits() & b.usage().bits();
                assert_eq!(both, BufferUsage::TRANSFER.bits(), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_class_copies_as_its_buffers_can() {
        for class in UsageClass::SHARED.into_iter().chain([UsageClass::Exclusive]) {
            let usages = class.buffer_usages();
            assert_eq!(class.is_source(), usages.contains(BufferUsages::COPY_SRC), "{class:?}");
            assert_eq!(class.is_target(), usages.contains(BufferUsages::COPY_DST), "{class:?}");
        }
    }
}
