//! [`Driver`]: what an allocator asks of the device, and [`Device`], a simulated one.
//!
//! A device of this kind has so many bytes and knows nothing of fragmentation: drivers map pages, so a request fails only when
//! the bytes are not there. Addresses are never handed out twice. Cost: O(1).

/// What a driver says to a request for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The memory is at this address.
    Granted(u64),
    /// There is no memory.
    Refused,
    /// The attempt is to end here, without another: see [`Tried::stopped`](crate::Tried::stopped).
    Stop,
}

/// The device underneath an allocator.
pub trait Driver {
    /// Memory of `size` bytes for requests of `stream`.
    fn allocate(&mut self, size: u64, stream: u64) -> Answer;

    /// Takes a segment back. False: it stays with the allocator (a recording in which it stayed).
    fn free(&mut self, address: u64, size: u64, stream: u64) -> bool;

    /// Addresses for a range that grows by pages of `page` bytes: where it begins, and how many bytes it may grow to.
    fn reserve(&mut self, page: u64, stream: u64) -> Option<(u64, u64)>;

    /// Puts memory behind addresses of a range. [`Answer::Granted`] holds the same address.
    fn map(&mut self, address: u64, size: u64, stream: u64) -> Answer;

    /// Takes the memory behind addresses of a range back. False: it stays.
    fn unmap(&mut self, address: u64, size: u64, stream: u64) -> bool;
}

/// Where the simulated device's addresses begin.
const FIRST_ADDRESS: u64 = 0x7000_0000_0000 >> 3;
/// Segments begin at multiples of this, as CUDA's large allocations do.
const ALIGNMENT: u64 = 2 << 20;

/// A simulated device with a capacity.
#[derive(Clone, Debug)]
pub struct Device {
    capacity: Option<u64>,
    range: Option<u64>,
    used: u64,
    next: u64,
}

impl Device {
    /// A device of `capacity` bytes, or one without a limit.
    #[must_use]
    pub fn new(capacity: Option<u64>) -> Self {
        Self { capacity, range: None, used: 0, next: FIRST_ADDRESS }
    }

    /// The same device, with ranges that may grow to `bytes`, whatever its capacity.
    #[must_use]
    pub fn with_range(self, bytes: u64) -> Self {
        Self { range: Some(bytes), ..self }
    }

    /// Bytes that are handed out.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used
    }

    fn take(&mut self, size: u64) -> bool {
        match self.used.checked_add(size) {
            Some(used) if self.capacity.is_none_or(|capacity| used <= capacity) => {
                self.used = used;
                true
            }
            _ => false,
        }
    }

    /// Addresses that nobody had. None when all 64 bits are spent.
    fn addresses(&mut self, size: u64) -> Option<u64> {
        let address = self.next;
        let end = address.checked_add(size)?.checked_next_multiple_of(ALIGNMENT)?;
        self.next = end;
        Some(address)
    }
}

impl Driver for Device {
    fn allocate(&mut self, size: u64, _stream: u64) -> Answer {
        if !self.take(size) {
            return Answer::Refused;
        }
        match self.addresses(size) {
            Some(address) => Answer::Granted(address),
            None => {
                self.used -= size;
                Answer::Refused
            }
        }
    }

    fn free(&mut self, _address: u64, size: u64, _stream: u64) -> bool {
        self.used = self.used.saturating_sub(size);
        true
    }

    fn reserve(&mut self, page: u64, _stream: u64) -> Option<(u64, u64)> {
        // PyTorch reserves 9/8 of the device's memory; without a limit, more than any device has.
        let of = |capacity: u64| capacity.saturating_add(capacity / 8);
        let wanted = self.range.unwrap_or_else(|| self.capacity.map_or(1 << 42, of));
        let size = wanted.min(1 << 46).checked_next_multiple_of(page.max(1))?.max(page);
        Some((self.addresses(size)?, size))
    }

    fn map(&mut self, address: u64, size: u64, _stream: u64) -> Answer {
        if self.take(size) { Answer::Granted(address) } else { Answer::Refused }
    }

    fn unmap(&mut self, _address: u64, size: u64, _stream: u64) -> bool {
        self.used = self.used.saturating_sub(size);
        true
    }
}
