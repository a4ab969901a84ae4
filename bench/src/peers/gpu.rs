//! gpu-allocator, over a Vulkan device that does nothing but number its memory objects.
//!
//! Its offset allocators are private, so its public interface is measured, which is what a program pays. The five
//! Vulkan functions that it calls are given here; no loader and no driver are needed.

use super::Peer;
use ash::vk;
use ash::vk::Handle;
use gpu_allocator::vulkan::{
    Allocation, AllocationCreateDesc, AllocationScheme, Allocator, AllocatorCreateDesc,
};
use gpu_allocator::{AllocationSizes, AllocatorDebugSettings, MemoryLocation};
use std::ffi::{CStr, c_void};
use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

unsafe extern "system" fn memory_properties(
    _: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceMemoryProperties,
) {
    let mut one = vk::PhysicalDeviceMemoryProperties {
        memory_type_count: 1,
        memory_heap_count: 1,
        ..Default::default()
    };
    one.memory_types[0].property_flags = vk::MemoryPropertyFlags::DEVICE_LOCAL;
    one.memory_heaps[0].size = 1 << 40;
    // SAFETY: the caller passes room for one, as Vulkan demands.
    unsafe { properties.write(one) }
}

unsafe extern "system" fn properties(
    _: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties,
) {
    let mut some = vk::PhysicalDeviceProperties::default();
    some.limits.buffer_image_granularity = 1;
    // SAFETY: as above.
    unsafe { properties.write(some) }
}

unsafe extern "system" fn allocate_memory(
    _: vk::Device,
    _: *const vk::MemoryAllocateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    memory: *mut vk::DeviceMemory,
) -> vk::Result {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // Relaxed: only that it is unique matters.
    let handle = vk::DeviceMemory::from_raw(NEXT.fetch_add(1, Ordering::Relaxed));
    // SAFETY: as above.
    unsafe { memory.write(handle) }
    vk::Result::SUCCESS
}

unsafe extern "system" fn free_memory(
    _: vk::Device,
    _: vk::DeviceMemory,
    _: *const vk::AllocationCallbacks<'_>,
) {
}

/// The functions that gpu-allocator calls; ash replaces the missing ones by functions that panic.
fn load(name: &CStr) -> *const c_void {
    match name.to_bytes() {
        b"vkGetPhysicalDeviceMemoryProperties" => memory_properties as *const c_void,
        b"vkGetPhysicalDeviceProperties" => properties as *const c_void,
        b"vkAllocateMemory" => allocate_memory as *const c_void,
        b"vkFreeMemory" => free_memory as *const c_void,
        _ => std::ptr::null(),
    }
}

/// gpu-allocator over a Vulkan device that only counts its memory objects.
pub struct GpuAllocator {
    allocator: Allocator,
    live: Vec<Option<Allocation>>,
}

impl fmt::Debug for GpuAllocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuAllocator").finish_non_exhaustive()
    }
}

impl GpuAllocator {
    /// With room for `slots` live blocks; it takes memory as it needs. `None` when it cannot be made.
    #[must_use]
    pub fn new(slots: u32) -> Option<Self> {
        // SAFETY: every function that is loaded has the signature that its name demands and holds to Vulkan's
        // contract; the handles are never used but to be passed back to them.
        let (instance, device) = unsafe {
            (
                ash::Instance::load_with(load, vk::Instance::from_raw(1)),
                ash::Device::load_with(load, vk::Device::from_raw(1)),
            )
        };
        let mut debug_settings = AllocatorDebugSettings::default();
        debug_settings.log_leaks_on_shutdown = false;
        let allocator = Allocator::new(&AllocatorCreateDesc {
            instance,
            device,
            physical_device: vk::PhysicalDevice::from_raw(1),
            debug_settings,
            buffer_device_address: false,
            allocation_sizes: AllocationSizes::default(),
        });
        Some(Self { allocator: allocator.ok()?, live: (0..slots).map(|_| None).collect() })
    }
}

impl Peer for GpuAllocator {
    #[inline]
    fn allocate(&mut self, slot: u32, bytes: u32) -> bool {
        let desc = AllocationCreateDesc {
            name: "",
            requirements: vk::MemoryRequirements {
                size: bytes.into(),
                alignment: 256,
                memory_type_bits: 1,
            },
            location: MemoryLocation::GpuOnly,
            linear: true,
            allocation_scheme: AllocationScheme::GpuAllocatorManaged,
        };
        let Ok(allocation) = self.allocator.allocate(&desc) else { return false };
        black_box(allocation.offset());
        self.live[slot as usize] = Some(allocation);
        true
    }

    #[inline]
    fn free(&mut self, slot: u32) {
        if let Some(allocation) = self.live[slot as usize].take() {
            // It came from this allocator, so this cannot fail; if it did, allocations would soon fail too.
            let _ = self.allocator.free(allocation);
        }
    }
}
