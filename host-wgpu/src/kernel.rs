//! A compute kernel: WGSL with the kinds of its bindings, checked when it is made.

use crate::gpu::Gpu;
use crate::scopes::{checked, log_late};
use crate::slice::BindingKind;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use wgpu::{
    BindGroupLayout, BindGroupLayoutDescriptor, BindGroupLayoutEntry, BindingType,
    BufferBindingType, ComputePipeline, ComputePipelineDescriptor, PipelineLayoutDescriptor,
    ShaderModuleDescriptor, ShaderSource, ShaderStages,
};

/// Why a kernel could not be made: what the compiler, or wgpu's validation, has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelError {
    /// The WGSL is wrong.
    Shader(String),
    /// The WGSL is right, but not with this entry point and these bindings on this device.
    Pipeline(String),
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shader(text) => write!(f, "the shader does not compile: {text}"),
            Self::Pipeline(text) => write!(f, "the kernel does not fit its bindings: {text}"),
        }
    }
}

impl core::error::Error for KernelError {}

/// A compute pipeline whose bindings are `@group(0) @binding(0)` and up. Cloning it is cheap.
///
/// ```
/// # let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
/// use strandline_host_wgpu::{BindingKind, Gpu, Kernel, KernelError};
///
/// let gpu = Gpu::new(device, queue)?;
/// let double = "
///     @group(0) @binding(0) var<storage, read_write> data: array<f32>;
///     @compute @workgroup_size(64)
///     fn main(@builtin(global_invocation_id) id: vec3<u32>) {
///         if id.x < arrayLength(&data) { data[id.x] *= 2.0; }
///     }";
/// let kernel = Kernel::new(&gpu, "double", double, "main", &[BindingKind::Storage])?;
/// assert_eq!(kernel.bindings(), [BindingKind::Storage]);
/// let wrong = Kernel::new(&gpu, "wrong", "fn main() -> {", "main", &[]);
/// assert!(matches!(wrong, Err(KernelError::Shader(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Kernel {
    inner: Arc<Inner>,
}

struct Inner {
    /// Never used twice.
    number: u64,
    label: String,
    gpu: Gpu,
    pipeline: ComputePipeline,
    layout: BindGroupLayout,
    bindings: Vec<BindingKind>,
}

impl Kernel {
    /// Compiles `wgsl` for a device.
    ///
    /// # Errors
    /// [`KernelError`], with the compiler's message.
    pub fn new(
        gpu: &Gpu,
        label: &str,
        wgsl: &str,
        entry: &str,
        bindings: &[BindingKind],
    ) -> Result<Self, KernelError> {
        let device = gpu.device();
        let module = checked(
            device,
            || {
                device.create_shader_module(ShaderModuleDescriptor {
                    label: Some(label),
                    source: ShaderSource::Wgsl(wgsl.into()),
                })
            },
            log_late("a kernel's shader"),
        )
        .map_err(KernelError::Shader)?;
        let entries: Vec<_> = (0..).zip(bindings).map(|(i, &kind)| layout_entry(i, kind)).collect();
        let (layout, pipeline) = checked(
            device,
            || {
                let layout = device.create_bind_group_layout(&BindGroupLayoutDescriptor {
                    label: Some(label),
                    entries: &entries,
                });
                let pipeline_layout = device.create_pipeline_layout(&PipelineLayoutDescriptor {
                    label: Some(label),
                    bind_group_layouts: &[Some(&layout)],
                    immediate_size: 0,
                });
                let pipeline = device.create_compute_pipeline(&ComputePipelineDescriptor {
                    label: Some(label),
                    layout: Some(&pipeline_layout),
                    module: &module,
                    entry_point: Some(entry),
                    compilation_options: Default::default(),
                    cache: None,
                });
                (layout, pipeline)
            },
            log_late("a kernel's pipeline"),
        )
        .map_err(KernelError::Pipeline)?;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            inner: Arc::new(Inner {
                // Relaxed: only uniqueness matters.
                number: NEXT.fetch_add(1, Ordering::Relaxed),
                label: label.to_owned(),
                gpu: gpu.clone(),
                pipeline,
                layout,
                bindings: bindings.to_vec(),
            }),
        })
    }

    /// Its name.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.inner.label
    }

    /// The kinds of its bindings, in order.
    #[must_use]
    pub fn bindings(&self) -> &[BindingKind] {
        &self.inner.bindings
    }

    /// wgpu's pipeline.
    #[must_use]
    pub fn pipeline(&self) -> &ComputePipeline {
        &self.inner.pipeline
    }

    /// The layout of its one bind group.
    #[must_use]
    pub fn layout(&self) -> &BindGroupLayout {
        &self.inner.layout
    }

    pub(crate) fn number(&self) -> u64 {
        self.inner.number
    }

    pub(crate) fn gpu(&self) -> &Gpu {
        &self.inner.gpu
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({} {:?})", self.inner.label, self.inner.bindings)
    }
}

fn layout_entry(binding: u32, kind: BindingKind) -> BindGroupLayoutEntry {
    let ty = match kind {
        BindingKind::Storage => BufferBindingType::Storage { read_only: false },
        BindingKind::ReadOnlyStorage => BufferBindingType::Storage { read_only: true },
        BindingKind::Uniform => BufferBindingType::Uniform,
    };
    BindGroupLayoutEntry {
        binding,
        visibility: ShaderStages::COMPUTE,
        ty: BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}
