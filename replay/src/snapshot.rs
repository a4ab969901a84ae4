//! A PyTorch memory snapshot as a whole: every entry of every device, the segments, the settings, and the call stacks.
//!
//! ```text
//!   pickle ─▶ read ─▶ Snapshot ┬ devices   entries (40 bytes each), segments with their blocks
//!                              ├ settings  what the allocator was told, if the file says
//!                              └ stacks    interned: a stack is a number, and so is a frame
//! ```
//!
//! [`format`](crate::format) reads of a snapshot what a replay asks for; this reads what explains the recorded run. Entries keep
//! their order and number, marks included, so that a number names the same entry here, in a report and in the file.
//!
//! Cost: O(file). Memory: the pickle's arena while reading, then what is kept.

mod read;
pub(crate) mod record;
pub mod stacks;

pub use read::read;
pub use stacks::{Frame, Stacks};

use crate::format::{Holding, TraceError, choose_device};
use strandline_twins::torch::Settings;

/// What happened at an [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A block was handed out.
    Alloc,
    /// The program gave a block back: it is no longer allocated.
    FreeRequested,
    /// The last stream is done with it: it is no longer active.
    FreeCompleted,
    /// A segment was taken from the driver.
    SegmentAlloc,
    /// A segment went back to the driver.
    SegmentFree,
    /// Pages of an expandable segment were mapped.
    SegmentMap,
    /// Pages were unmapped.
    SegmentUnmap,
    /// A request was refused.
    OutOfMemory,
    /// A mark that is no event of the allocator, or one of a kind that is not known.
    Mark,
}

impl Action {
    /// The file's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Alloc => "alloc",
            Self::FreeRequested => "free_requested",
            Self::FreeCompleted => "free_completed",
            Self::SegmentAlloc => "segment_alloc",
            Self::SegmentFree => "segment_free",
            Self::SegmentMap => "segment_map",
            Self::SegmentUnmap => "segment_unmap",
            Self::OutOfMemory => "oom",
            Self::Mark => "snapshot",
        }
    }

    /// Whether it is one of the driver's: a segment or a page that came or went.
    #[must_use]
    pub fn is_driver(self) -> bool {
        self.comes() || self.goes()
    }

    /// Whether memory came from the driver.
    #[must_use]
    pub fn comes(self) -> bool {
        matches!(self, Self::SegmentAlloc | Self::SegmentMap)
    }

    /// Whether memory went back to the driver.
    #[must_use]
    pub fn goes(self) -> bool {
        matches!(self, Self::SegmentFree | Self::SegmentUnmap)
    }
}

/// An entry of a device's trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What happened.
    pub action: Action,
    /// The block's or the segment's address; of an out-of-memory what [`device_free`](Self::device_free) tells.
    pub address: u64,
    /// Bytes: asked for, or of the segment.
    pub size: u64,
    /// The stream's handle.
    pub stream: u64,
    /// Microseconds, as recorded; 0 if the file has no times.
    pub time_us: u64,
    /// The call stack, by its number in [`Stacks`].
    pub stack: u32,
}

/// The address of an out-of-memory that does not tell what the device had free.
pub(crate) const NOT_TOLD: u64 = u64::MAX;

impl Entry {
    /// Of an out-of-memory, the bytes that the device had free, if the file tells.
    #[must_use]
    pub fn device_free(&self) -> Option<u64> {
        (self.action == Action::OutOfMemory && self.address != NOT_TOLD).then_some(self.address)
    }
}

/// What a block was when the snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockState {
    /// Handed out.
    Allocated,
    /// Given back, and still in use by a stream.
    Pending,
    /// Cached.
    Free,
}

/// A block of a segment when the snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where it begins.
    pub address: u64,
    /// Its bytes.
    pub size: u64,
    /// Bytes asked for; its size if the file does not say.
    pub requested: u64,
    /// What it was.
    pub state: BlockState,
    /// The call stack of its allocation.
    pub stack: u32,
}

/// A segment when the snapshot was taken. Of an expandable one, each stretch that is mapped without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins.
    pub address: u64,
    /// Its bytes.
    pub size: u64,
    /// Its stream.
    pub stream: u64,
    /// Whether it serves small requests.
    pub small: bool,
    /// Its private pool, numbered from 1; 0 is the allocator's own.
    pub pool: u32,
    /// Whether it grows by pages.
    pub expandable: bool,
    /// Its blocks, by address.
    pub blocks: Vec<Block>,
}

/// What a snapshot says of one device.
#[derive(Clone, Debug, Default)]
pub struct DeviceTrace {
    /// Its number.
    pub number: u32,
    /// Its entries.
    pub entries: Vec<Entry>,
    /// Its segments, by address.
    pub segments: Vec<Segment>,
}

/// What the allocator was told, as the file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The settings.
    pub settings: Settings,
    /// The line `PYTORCH_CUDA_ALLOC_CONF` as recorded.
    pub conf: String,
    /// What of it could not be read, in words.
    pub faults: Vec<String>,
}

/// A whole snapshot.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The devices that have entries or segments, by number.
    pub devices: Vec<DeviceTrace>,
    /// Devices that the file lists, those without anything on them included.
    pub listed: u32,
    /// The settings, if the file has them.
    pub recorded: Option<Recorded>,
    /// The call stacks.
    pub stacks: Stacks,
    /// Elements that were left out because they lack what they must have, or are out of range.
    pub left_out: u64,
}

impl DeviceTrace {
    /// What it holds, in short.
    #[must_use]
    pub fn holding(&self) -> Holding {
        let count = |action| self.entries.iter().filter(|e| e.action == action).count() as u64;
        let sum = |sizes: &mut dyn Iterator<Item = u64>| sizes.fold(0u64, u64::saturating_add);
        let blocks = self.segments.iter().flat_map(|segment| &segment.blocks);
        let active = blocks.filter(|block| block.state != BlockState::Free);
        Holding {
            device: self.number,
            entries: self.entries.len() as u64,
            allocs: count(Action::Alloc),
            refused: count(Action::OutOfMemory),
            reserved_bytes: sum(&mut self.segments.iter().map(|segment| segment.size)),
            active_bytes: sum(&mut active.map(|block| block.size)),
        }
    }

    /// Whether there is no request in its trace: what it tells is the state when the snapshot was taken.
    #[must_use]
    pub fn is_state_only(&self) -> bool {
        !self.entries.iter().any(|e| matches!(e.action, Action::Alloc | Action::OutOfMemory))
    }
}

impl Snapshot {
    /// The device of a number. Without one: the busiest of those that refused a request, or the busiest, as a replay chooses.
    ///
    /// # Errors
    /// The file tells nothing of the device, or of any.
    pub fn device(&self, number: Option<u32>) -> Result<&DeviceTrace, TraceError> {
        let holdings: Vec<Holding> = self.devices.iter().map(DeviceTrace::holding).collect();
        Ok(&self.devices[choose_device(&holdings, number)?])
    }
}
