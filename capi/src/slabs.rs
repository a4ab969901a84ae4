//! Where memory comes from: this machine's, or a device's by two functions.

use crate::handle::Registry;
use crate::status::{Fault, Output, guard, input, strandline_status};
use std::ffi::{c_int, c_void};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_core::slab::{
    BufferUsage, Grant, MemoryType, Slab, SlabError, SlabId, SlabMap, SlabProperties, SlabProvider,
    SlabStats,
};
use strandline_core::table::Table;
use strandline_host_native::MmapSlabProvider;

/// Names a provider of slabs. 0 is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct strandline_slabs {
    /// Not an address.
    pub id: u64,
}

/// Host slabs: ask the system for huge pages.
pub const STRANDLINE_HUGE_PAGES: u32 = 1;
/// Host slabs: all pages are there before a slab is used.
pub const STRANDLINE_PREFAULT: u32 = 2;
/// Host slabs: an inaccessible page before and after each slab.
pub const STRANDLINE_GUARD_PAGES: u32 = 4;

/// Asks a device for memory. Writes the address and returns 0; returns 1 where there is no room, any other number for a failure. It may be
/// called from any thread that uses a pool, from several at once, and must not use that pool.
pub type strandline_slab_acquire =
    Option<unsafe extern "C" fn(user: *mut c_void, size: u64, address: *mut u64) -> c_int>;
/// Gives memory of a device back. Returns 0, or another number for a failure; then the memory is not given back again.
pub type strandline_slab_release =
    Option<unsafe extern "C" fn(user: *mut c_void, address: u64, size: u64) -> c_int>;

/// A device whose memory two functions hand out. Addresses are numbers to this library: it never reads or writes there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct strandline_device {
    /// Given to both functions. Valid until the last pool over the slabs is destroyed; used from any thread.
    pub user: *mut c_void,
    /// Needed.
    pub acquire: strandline_slab_acquire,
    /// Needed.
    pub release: strandline_slab_release,
    /// Slabs start at multiples of this; a power of two.
    pub alignment: u64,
    /// Sizes are multiples of this; a power of two.
    pub granularity: u64,
    /// The largest slab in bytes.
    pub max_slab_bytes: u64,
}

/// A provider, and how an address in its slabs is found.
pub(crate) enum Source {
    Host(Arc<MmapSlabProvider>),
    Device(Arc<DeviceSlabs>),
}

impl Source {
    pub(crate) fn provider(&self) -> Arc<dyn SlabProvider> {
        match self {
            Self::Host(provider) => Arc::clone(provider) as _,
            Self::Device(provider) => Arc::clone(provider) as _,
        }
    }

    /// The address of `size` bytes from `offset` of a slab.
    pub(crate) fn address(&self, slab: SlabId, offset: u64, size: u64) -> Result<u64, SlabError> {
        match self {
            Self::Host(provider) => {
                Ok(provider.map(slab, offset, size)?.as_ptr().expose_provenance() as u64)
            }
            Self::Device(provider) => provider.address(slab, offset, size),
        }
    }
}

static SOURCES: Registry<Source> = Registry::new("provider of slabs");

pub(crate) fn source(handle: strandline_slabs) -> Result<Arc<Source>, Fault> {
    SOURCES.get(handle.id)
}

/// Makes a provider of this machine's memory. `capacity`: the most bytes at once, 0 for no limit. `elastic`: bytes of addresses that a
/// TLSF pool reserves at once, into which memory is put where it is needed; 0 for slabs that are memory from the start. `flags`: STRANDLINE_HUGE_PAGES and the
/// others, joined by `|`. Any thread.
///
/// # Safety
/// `made` is null or a place for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strandline_slabs_host(
    capacity: u64,
    elastic: u64,
    flags: u32,
    made: *mut strandline_slabs,
) -> strandline_status {
    guard(|| {
        // SAFETY: the caller's.
        let made = unsafe { Output::new(made, "made")? };
        let known = STRANDLINE_HUGE_PAGES | STRANDLINE_PREFAULT | STRANDLINE_GUARD_PAGES;
        if flags & !known != 0 {
            return Err(Fault::new(strandline_status::INVALID, format_args!("flags {flags:#x}")));
        }
        let mut builder = MmapSlabProvider::builder()
            .huge_pages(flags & STRANDLINE_HUGE_PAGES != 0)
            .prefault(flags & STRANDLINE_PREFAULT != 0)
            .guard_pages(flags & STRANDLINE_GUARD_PAGES != 0);
        if capacity != 0 {
            builder = builder.capacity(capacity);
        }
        if elastic != 0 {
            builder = builder.elastic(elastic);
        }
        let provider =
            builder.build().map_err(|error| Fault::new(strandline_status::INVALID, error))?;
        made.set(strandline_slabs {
            id: SOURCES.insert(Arc::new(Source::Host(Arc::new(provider))))?,
        });
        Ok(())
    })
}

/// Makes a provider of a device's memory. The structure is copied. Any thread.
///
/// # Safety
/// Pointers are null or point to what their types say; the functions do what strandline_device says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strandline_slabs_device(
    device: *const strandline_device,
    made: *mut strandline_slabs,
) -> strandline_status {
    guard(|| {
        // SAFETY: the caller's.
        let (device, made) = unsafe { (*input(device, "device")?, Output::new(made, "made")?) };
        let (Some(acquire), Some(release)) = (device.acquire, device.release) else {
            return Err(Fault::new(strandline_status::NULL, "a function of the device is null"));
        };
        if !device.alignment.is_power_of_two()
            || !device.granularity.is_power_of_two()
            || device.max_slab_bytes < device.granularity
        {
            return Err(Fault::new(
                strandline_status::INVALID,
                "alignment and granularity are powers of two, and the largest slab has a granule at least",
            ));
        }
        let slabs = DeviceSlabs {
            user: User(device.user),
            acquire,
            release,
            properties: SlabProperties {
                memory_type: MemoryType::DEVICE_LOCAL,
                usage: BufferUsage::STORAGE,
                alignment: device.alignment,
                granularity: device.granularity,
                max_slab_size: device.max_slab_bytes,
            },
            state: Mutex::new(State {
                slabs: Table::new(),
                stats: SlabStats { identity: SlabStats::next_identity(), ..SlabStats::default() },
            }),
        };
        made.set(strandline_slabs {
            id: SOURCES.insert(Arc::new(Source::Device(Arc::new(slabs))))?,
        });
        Ok(())
    })
}

/// Gives a provider back. Pools over it keep it until they are destroyed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strandline_slabs_destroy(slabs: strandline_slabs) -> strandline_status {
    guard(|| SOURCES.remove(slabs.id, |_| Ok(())).map(drop))
}

/// What the caller wants to be told again.
struct User(*mut c_void);

// SAFETY: strandline_device says that it is used from any thread; this library does not look at it.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

/// Slabs of a device.
pub(crate) struct DeviceSlabs {
    user: User,
    acquire: unsafe extern "C" fn(*mut c_void, u64, *mut u64) -> c_int,
    release: unsafe extern "C" fn(*mut c_void, u64, u64) -> c_int,
    properties: SlabProperties,
    state: Mutex<State>,
}

struct State {
    /// Address and size.
    slabs: Table<SlabId, (u64, u64)>,
    stats: SlabStats,
}

const NO_ROOM: c_int = 1;

impl DeviceSlabs {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self, id: SlabId, offset: u64, size: u64) -> Result<u64, SlabError> {
        let &(start, whole) = self.lock().slabs.get(id).ok_or(SlabError::UnknownSlab(id))?;
        match offset.checked_add(size) {
            Some(end) if end <= whole => Ok(start + offset),
            _ => Err(SlabError::InvalidRange),
        }
    }

    fn give(&self, address: u64, size: u64) -> Result<(), SlabError> {
        // SAFETY: the function is the caller's, and is called as strandline_device says.
        match unsafe { (self.release)(self.user.0, address, size) } {
            0 => Ok(()),
            code => Err(SlabError::Os { code, operation: "the device's release" }),
        }
    }
}

impl fmt::Debug for DeviceSlabs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceSlabs").field("properties", &self.properties).finish_non_exhaustive()
    }
}

impl SlabProvider for DeviceSlabs {
    fn properties(&self) -> SlabProperties {
        self.properties
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        let SlabProperties { granularity, max_slab_size, alignment, .. } = self.properties;
        let whole =
            size.checked_next_multiple_of(granularity).filter(|whole| *whole <= max_slab_size);
        let Some(whole) = whole.filter(|_| size > 0) else {
            return Err(SlabError::InvalidSize { size });
        };
        let mut address = 0;
        // SAFETY: the function is the caller's, and is called as strandline_device says.
        match unsafe { (self.acquire)(self.user.0, whole, &raw mut address) } {
            0 if address.is_multiple_of(alignment) && address.checked_add(whole).is_some() => {}
            0 => {
                self.give(address, whole)?;
                return Err(SlabError::Os {
                    code: 0,
                    operation: "the device's acquire gave an address that is not aligned",
                });
            }
            NO_ROOM => {
                self.lock().stats.refusals += 1;
                return Ok(Grant::NoCapacity);
            }
            code => return Err(SlabError::Os { code, operation: "the device's acquire" }),
        }
        let mut state = self.lock();
        match state.slabs.insert((address, whole)) {
            Ok(id) => {
                state.stats.count_acquire(whole);
                Ok(Grant::Slab(Slab { id, size: whole }))
            }
            Err(_) => {
                drop(state);
                self.give(address, whole)?;
                Ok(Grant::NoCapacity)
            }
        }
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        let (address, whole) = {
            let mut state = self.lock();
            let slab = state.slabs.remove(id).ok_or(SlabError::UnknownSlab(id))?;
            state.stats.count_release(slab.1);
            slab
        };
        self.give(address, whole)
    }

    fn stats(&self) -> SlabStats {
        self.lock().stats
    }
}
