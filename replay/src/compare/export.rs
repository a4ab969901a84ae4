//! A replayed run as a snapshot that PyTorch's own viewer reads: a pickle of protocol 2 with `segments` and `device_traces`.
//!
//! Entries carry the call stacks of the recorded entries that they replay. Frames are written once and referred to by the memo. The settings
//! stand where PyTorch writes them, so that whoever reads the file back need not infer them.

use super::{Requests, Step};
use crate::snapshot::record::Recorder;
use crate::snapshot::{Action, DeviceTrace, Entry, NOT_TOLD, Snapshot};
use std::io::{self, Write};
use strandline_twins::torch::{Settings, Torch};
use strandline_twins::{Allocation, BlockState, Device, Request, SegmentView, Twin};

/// Replays requests with PyTorch's twin and writes the run as a snapshot.
///
/// # Errors
/// Writing fails.
pub fn export(
    snapshot: &Snapshot,
    device: &DeviceTrace,
    requests: &Requests,
    settings: &Settings,
    capacity: Option<u64>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut twin = Torch::new(settings.clone());
    let mut driver = Recorder::new(Device::new(capacity));
    let mut blocks: Vec<Option<(Allocation, u64)>> = vec![None; requests.blocks as usize];
    for &(at, step) in &requests.steps {
        let recorded = (at as usize).checked_sub(1).and_then(|at| device.entries.get(at));
        driver.stack = recorded.map_or(0, |entry| entry.stack);
        match step {
            Step::Allocate { size, stream, .. } | Step::Refused { size, stream } => {
                match (twin.allocate(Request { size, stream, pool: 0 }, &mut driver), step) {
                    (Ok(got), Step::Allocate { block, .. }) => {
                        driver.note(Action::Alloc, got.address, size, stream);
                        blocks[block as usize] = Some((got, size));
                    }
                    (Ok(got), _) => {
                        // The program that made it had ended there: it is given back at once.
                        driver.note(Action::Alloc, got.address, size, stream);
                        for action in [Action::FreeRequested, Action::FreeCompleted] {
                            driver.note(action, got.address, size, stream);
                        }
                        twin.free_completed(got.id);
                    }
                    (Err(_), _) => {
                        // An out-of-memory states what the device had free, in place of an address.
                        let free =
                            capacity.map_or(NOT_TOLD, |c| c.saturating_sub(driver.driver.used()));
                        driver.note(Action::OutOfMemory, free, size, stream);
                    }
                }
            }
            Step::Retire { block, stream } => {
                if let Some((got, size)) = blocks[block as usize] {
                    twin.free_requested(got.id, stream);
                    driver.note(Action::FreeRequested, got.address, size, stream);
                }
            }
            Step::Free { block, stream } => {
                if let Some((got, size)) = blocks[block as usize].take() {
                    twin.free_completed(got.id);
                    driver.note(Action::FreeCompleted, got.address, size, stream);
                }
            }
        }
    }
    let mut pickle = Pickle { out, memo: vec![None; snapshot.stacks.len()], next: 0 };
    pickle.snapshot(snapshot, device.number, &driver.entries, &twin.segments(), settings)
}

struct Pickle<'w> {
    out: &'w mut dyn Write,
    /// Memo numbers of the lists of frames.
    memo: Vec<Option<u32>>,
    next: u32,
}

impl Pickle<'_> {
    fn text(&mut self, text: &str) -> io::Result<()> {
        let length = u32::try_from(text.len()).unwrap_or(0).to_le_bytes();
        self.out.write_all(b"X")?;
        self.out.write_all(&length)?;
        self.out.write_all(text.as_bytes())
    }

    fn number(&mut self, value: u64) -> io::Result<()> {
        // Nine bytes: two's complement, and never negative.
        self.out.write_all(&[0x8a, 9])?;
        self.out.write_all(&value.to_le_bytes())?;
        self.out.write_all(&[0])
    }

    fn item(&mut self, key: &str, value: u64) -> io::Result<()> {
        self.text(key)?;
        self.number(value)
    }

    fn frames(&mut self, snapshot: &Snapshot, stack: u32) -> io::Result<()> {
        self.text("frames")?;
        if let Some(Some(memo)) = self.memo.get(stack as usize) {
            self.out.write_all(b"j")?;
            return self.out.write_all(&memo.to_le_bytes());
        }
        self.out.write_all(b"](")?;
        for frame in snapshot.stacks.frames(stack) {
            self.out.write_all(b"}(")?;
            self.text("filename")?;
            self.text(&frame.file)?;
            self.item("line", frame.line.into())?;
            self.text("name")?;
            self.text(&frame.function)?;
            self.out.write_all(b"u")?;
        }
        self.out.write_all(b"er")?;
        self.out.write_all(&self.next.to_le_bytes())?;
        if let Some(slot) = self.memo.get_mut(stack as usize) {
            *slot = Some(self.next);
        }
        self.next += 1;
        Ok(())
    }

    fn snapshot(
        &mut self,
        snapshot: &Snapshot,
        device: u32,
        entries: &[Entry],
        segments: &[SegmentView],
        settings: &Settings,
    ) -> io::Result<()> {
        self.out.write_all(&[0x80, 2, b'}', b'('])?;
        self.settings(settings)?;
        self.text("segments")?;
        self.out.write_all(b"](")?;
        for segment in segments {
            self.segment(snapshot, device, segment)?;
        }
        self.out.write_all(b"e")?;
        self.text("device_traces")?;
        self.out.write_all(b"](")?;
        for _ in 0..device {
            self.out.write_all(b"]")?;
        }
        self.out.write_all(b"](")?;
        for entry in entries {
            self.out.write_all(b"}(")?;
            self.text("action")?;
            self.text(entry.action.word())?;
            match (entry.action, entry.device_free()) {
                (Action::OutOfMemory, None) => {}
                (Action::OutOfMemory, Some(free)) => self.item("device_free", free)?,
                _ => self.item("addr", entry.address)?,
            }
            self.item("size", entry.size)?;
            self.item("stream", entry.stream)?;
            self.item("time_us", entry.time_us)?;
            self.frames(snapshot, entry.stack)?;
            self.out.write_all(b"u")?;
        }
        self.out.write_all(b"eeu.")
    }

    /// As `torch.cuda.memory._snapshot` has them: the line, and value by value.
    fn settings(&mut self, settings: &Settings) -> io::Result<()> {
        self.text("allocator_settings")?;
        self.out.write_all(b"}(")?;
        self.text("PYTORCH_CUDA_ALLOC_CONF")?;
        self.text(&settings.conf())?;
        self.text("max_split_size")?;
        match i64::try_from(settings.max_split) {
            Ok(_) => self.number(settings.max_split)?,
            // No limit.
            Err(_) => self.out.write_all(b"J\xff\xff\xff\xff")?,
        }
        self.item("max_non_split_rounding_size", settings.max_non_split_rounding)?;
        self.text("garbage_collection_threshold")?;
        self.out.write_all(b"G")?;
        self.out.write_all(&settings.gc_threshold.to_be_bytes())?;
        self.text("expandable_segments")?;
        self.out.write_all(&[if settings.expandable { 0x88 } else { 0x89 }])?;
        self.text("roundup_power2_divisions")?;
        self.out.write_all(b"}(")?;
        for (power, &steps) in settings.divisions.iter().enumerate() {
            self.item(&(1u64 << power).to_string(), steps)?;
        }
        self.out.write_all(b"uu")
    }

    fn segment(
        &mut self,
        snapshot: &Snapshot,
        device: u32,
        segment: &SegmentView,
    ) -> io::Result<()> {
        let sum =
            |state| segment.blocks.iter().filter(|b| b.state == state).map(|b| b.size).sum::<u64>();
        let allocated = sum(BlockState::Allocated);
        self.out.write_all(b"}(")?;
        self.item("device", device.into())?;
        self.item("address", segment.address)?;
        self.item("total_size", segment.size)?;
        self.item("allocated_size", allocated)?;
        self.item("active_size", allocated + sum(BlockState::Pending))?;
        self.item("requested_size", segment.blocks.iter().map(|b| b.requested).sum())?;
        self.item("stream", segment.stream)?;
        self.text("segment_type")?;
        self.text(if segment.small { "small" } else { "large" })?;
        self.text("segment_pool_id")?;
        self.number(0)?;
        self.number(0)?;
        self.out.write_all(&[0x86])?;
        self.text("is_expandable")?;
        self.out.write_all(&[if segment.page > 0 { 0x88 } else { 0x89 }])?;
        self.frames(snapshot, 0)?;
        self.text("blocks")?;
        self.out.write_all(b"](")?;
        for block in &segment.blocks {
            self.out.write_all(b"}(")?;
            self.item("address", block.address)?;
            self.item("size", block.size)?;
            self.item("requested_size", block.requested)?;
            self.text("state")?;
            self.text(match block.state {
                BlockState::Allocated => "active_allocated",
                BlockState::Pending => "active_pending_free",
                BlockState::Free => "inactive",
            })?;
            self.frames(snapshot, 0)?;
            self.out.write_all(b"u")?;
        }
        self.out.write_all(b"eu")
    }
}
