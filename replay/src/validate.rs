//! What the events of a trace mean together: every block is allocated once, freed once, and known by a slot while it lives.
//!
//! ```text
//!   Event { id: 0x7f00.., Alloc, 512 } ─▶ live: id → slot ─▶ Step { Alloc(slot 3), 512 }
//!   Event { id: 0x7f00.., Free,  512 } ─▶        remove   ─▶ Step { Free(slot 3),  512 }     slot 3 is free for the next
//! ```
//!
//! **Slots** are dense: a slot number is below the peak number of live blocks, and is reused once its block was freed. Whoever
//! plays a trace keeps a vector by slot and hashes nothing. A block that is [retired](Action::Retire) keeps its slot until its free.
//!
//! **Strict or lenient.** A trace of a whole run has none of the faults below, so each is an error by default. A trace
//! cut from a longer run may show them through no fault of its own; read leniently, they are counted in [`Skipped`].
//!
//! | fault | strict | lenient |
//! | --- | --- | --- |
//! | free of an id that is not live | [`ErrorKind::UnknownFree`], or [`ErrorKind::DoubleFree`] if freed a while ago | skipped |
//! | allocation at an id that is live | [`ErrorKind::DoubleAlloc`] | its free was missed: freed now |
//! | free with another size | [`ErrorKind::SizeMismatch`], of PyTorch snapshots as lenient | the allocation's size counts |
//! | block of more than 0 bytes at address 0 | [`ErrorKind::NullPointer`] | skipped |
//!
//! An allocation at the id of a retired block says that it is over; its free was not recorded, which is counted.
//!
//! Allocations of 0 bytes need no memory: they are checked and counted, and make no step.
//!
//! **Cost**: O(1) an event (one hash lookup). **Memory**: about 40 bytes a live block, limited by
//! [`Limits::live_blocks`](crate::format::Limits::live_blocks), and 256 KiB to tell a double free from an unknown one.

use crate::event::{Action, Event};
use crate::format::{ErrorKind, Format, Place, ReadOptions, TraceError};
use crate::hash::FastMap;

mod steps;

pub use steps::Steps;

/// Freed ids that are remembered, by hash.
const RECENT: usize = 1 << 14;

/// The slot of a block of 0 bytes: none.
const NO_SLOT: u32 = u32::MAX;

const CUT: &str = "if the trace was cut from a longer run, read it leniently (--lenient)";

/// One step of a checked trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// Nanoseconds since the first event.
    pub time_ns: u64,
    /// Bytes of the block, above 0; on a failure, bytes that were refused.
    pub size: u64,
    /// What to do.
    pub what: What,
    /// Dense number of the stream.
    pub stream: u32,
    /// Where the event stands: see [`Event::line`].
    pub line: u32,
}

/// What a [`Step`] does, and to which slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// Allocate a block and put it in this slot, which is empty.
    Alloc(u32),
    /// The block in this slot is over: free it, or complete its free if it was retired.
    Free(u32),
    /// The program gives up the block in this slot, and its bytes stay in use until its free.
    Retire(u32),
    /// Put a block in this slot, which is empty, that was retired before the trace.
    Held(u32),
    /// The recorded allocator refused; there is no block.
    Failure,
}

/// What a trace holds, counted while it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events read, of every kind, the skipped ones too.
    pub events: u64,
    /// Allocations of more than 0 bytes.
    pub allocs: u64,
    /// Frees of those.
    pub frees: u64,
    /// Recorded failures.
    pub failures: u64,
    /// Allocations and frees of 0 bytes.
    pub zero_sized: u64,
    /// Sum of the sizes of all allocations, in bytes; stops at `u64::MAX`.
    pub requested_bytes: u64,
    /// Bytes live now.
    pub live_bytes: u64,
    /// Blocks active now, those of 0 bytes too.
    pub live_blocks: u32,
    /// Bytes active now: live, or retired and not over.
    pub active_bytes: u64,
    /// Most bytes active at once: what memory is sized for.
    pub peak_active_bytes: u64,
    /// Retired blocks now.
    pub pending_blocks: u32,
    /// Most retired blocks at once.
    pub peak_pending_blocks: u32,
    /// Blocks retired.
    pub retired: u64,
    /// Retired blocks that were over without a word, as their id was allocated again.
    pub implied_frees: u64,
    /// Most bytes live at once.
    pub peak_live_bytes: u64,
    /// [`Event::line`] of the event that first reached the peak.
    pub peak_line: u32,
    /// [`Event::time_ns`] of that event.
    pub peak_time_ns: u64,
    /// Most blocks active at once.
    pub peak_live_blocks: u32,
    /// Largest block, in bytes.
    pub largest_bytes: u64,
    /// Time of the last event.
    pub last_time_ns: u64,
    /// Faults passed over (lenient reading).
    pub skipped: Skipped,
}

/// Faults that lenient reading passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Frees of ids that the trace never allocated, as far as is known.
    pub unknown_frees: u64,
    /// Frees of ids that had been freed shortly before.
    pub double_frees: u64,
    /// Blocks whose id was allocated again without a free.
    pub missed_frees: u64,
    /// Frees with a size other than the allocation's.
    pub size_mismatches: u64,
    /// Blocks of more than 0 bytes at address 0.
    pub null_pointers: u64,
}

impl Skipped {
    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.unknown_frees
            + self.double_frees
            + self.missed_frees
            + self.size_mismatches
            + self.null_pointers
    }
}

/// The verdict on an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// A block, now in `slot`. `evicted` is the slot and size of the block at the same id whose free was missed: free
    /// it first, as the new block may take the same slot. An evicted block of 0 bytes has no slot.
    Alloc {
        /// The new block's slot.
        slot: u32,
        /// The old block's slot and size.
        evicted: Option<(u32, u64)>,
    },
    /// As `Alloc`, of a block that was retired before the trace.
    Held {
        /// The new block's slot.
        slot: u32,
        /// The old block's slot and size.
        evicted: Option<(u32, u64)>,
    },
    /// The block in `slot` was given up, and its size.
    Retire {
        /// The slot, taken until the block's free.
        slot: u32,
        /// Bytes, as allocated.
        size: u64,
    },
    /// The block that left `slot`, and its size.
    Free {
        /// The slot, now empty.
        slot: u32,
        /// Bytes, as allocated.
        size: u64,
    },
    /// A recorded failure.
    Failure,
    /// An allocation or free of 0 bytes. `evicted` as for `Alloc`.
    ZeroSized {
        /// The old block's slot and size.
        evicted: Option<(u32, u64)>,
    },
    /// A fault that was counted and passed over.
    Skipped,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    size: u64,
    line: u32,
    retired: bool,
}

/// Checks events in order and keeps the live set.
#[derive(Debug)]
pub struct Checker {
    lenient: bool,
    limit: u32,
    format: Format,
    live: FastMap<u64, u32>,
    slots: Vec<Slot>,
    empty: Vec<u32>,
    /// Freed ids and the lines of their frees; a later id with the same hash replaces an earlier.
    recent: Box<[(u64, u32)]>,
    totals: Totals,
}

impl Checker {
    /// A checker with nothing live. `format` decides whether errors name lines or entries.
    #[must_use]
    pub fn new(options: &ReadOptions, format: Format) -> Self {
        Self {
            lenient: options.lenient,
            limit: options.limits.live_blocks,
            format,
            live: FastMap::default(),
            slots: Vec::new(),
            empty: Vec::new(),
            recent: vec![(0, 0); RECENT].into_boxed_slice(),
            totals: Totals::default(),
        }
    }

    /// The counts so far.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Checks one event, and moves its block into or out of the live set.
    ///
    /// # Errors
    /// A fault of the table above (if not lenient), too many live blocks, or live bytes beyond 64 bits. The live set is
    /// then as before the event.
    pub fn check(&mut self, event: &Event) -> Result<Checked, TraceError> {
        self.totals.events += 1;
        self.totals.last_time_ns = event.time_ns;
        match event.action {
            Action::Alloc | Action::Held => self.alloc(event),
            Action::Free => self.free(event),
            Action::Retire => self.retire(event),
            Action::Failure => {
                self.totals.failures += 1;
                Ok(Checked::Failure)
            }
        }
    }

    fn alloc(&mut self, event: &Event) -> Result<Checked, TraceError> {
        if event.id == 0 {
            if event.size == 0 {
                self.totals.zero_sized += 1;
                return Ok(Checked::ZeroSized { evicted: None });
            }
            return self.fault(
                event,
                ErrorKind::NullPointer,
                |s| &mut s.null_pointers,
                || {
                    (
                        format!("{} bytes allocated at address 0", event.size),
                        "an address above 0".into(),
                    )
                },
            );
        }
        let old = self.live.get(&event.id).copied();
        let of_old = old.and_then(|slot| self.slots.get(slot as usize).copied());
        let was_retired = of_old.is_some_and(|old| old.retired);
        if let (Some(slot), false) = (old, self.lenient || was_retired) {
            let since = self.slots.get(slot as usize).map_or(0, |s| s.line);
            let since =
                if since == 0 { String::new() } else { format!(" since {}", self.place(since)) };
            return Err(TraceError::new(
                ErrorKind::DoubleAlloc,
                self.place(event.line),
                format!("an allocation at {:#x}, which is live{since}", event.id),
                "its free first",
                CUT,
            ));
        }
        if old.is_none() && self.live.len() as u64 >= u64::from(self.limit) {
            return Err(TraceError::new(
                ErrorKind::TooManyLive,
                self.place(event.line),
                "one live block more",
                format!("at most {} live blocks", self.limit),
                "check that the trace records frees; a reader's limits can be raised",
            ));
        }
        let old_size = of_old.map_or(0, |old| old.size);
        let held = event.action == Action::Held;
        let old_live = if was_retired { 0 } else { old_size };
        let live_bytes = self.totals.live_bytes - old_live;
        let live_bytes = if held { live_bytes } else { live_bytes.saturating_add(event.size) };
        let Some(active_bytes) = (self.totals.active_bytes - old_size).checked_add(event.size)
        else {
            return Err(TraceError::new(
                ErrorKind::LiveBytesOverflow,
                self.place(event.line),
                format!("{} bytes more on top of {} active", event.size, self.totals.active_bytes),
                "live bytes below 2^64",
                "correct the size",
            ));
        };
        let evicted = old.map(|slot| {
            if was_retired {
                self.totals.implied_frees += 1;
            } else {
                self.totals.skipped.missed_frees += 1;
            }
            self.vacate(slot);
            (slot, old_size)
        });
        let slot = if event.size == 0 { NO_SLOT } else { self.occupy(event) };
        self.live.insert(event.id, slot);
        let totals = &mut self.totals;
        totals.live_bytes = live_bytes;
        totals.active_bytes = active_bytes;
        totals.peak_active_bytes = totals.peak_active_bytes.max(active_bytes);
        totals.live_blocks = self.live.len() as u32;
        totals.peak_live_blocks = totals.peak_live_blocks.max(totals.live_blocks);
        if live_bytes > totals.peak_live_bytes {
            totals.peak_live_bytes = live_bytes;
            totals.peak_line = event.line;
            totals.peak_time_ns = event.time_ns;
        }
        if event.size == 0 {
            totals.zero_sized += 1;
            return Ok(Checked::ZeroSized { evicted });
        }
        totals.allocs += 1;
        totals.requested_bytes = totals.requested_bytes.saturating_add(event.size);
        totals.largest_bytes = totals.largest_bytes.max(event.size);
        if held {
            self.hold(slot);
            return Ok(Checked::Held { slot, evicted });
        }
        Ok(Checked::Alloc { slot, evicted })
    }

    /// A block in a slot is retired from now on.
    fn hold(&mut self, slot: u32) {
        if let Some(block) = self.slots.get_mut(slot as usize) {
            block.retired = true;
        }
        let totals = &mut self.totals;
        totals.retired += 1;
        totals.pending_blocks += 1;
        totals.peak_pending_blocks = totals.peak_pending_blocks.max(totals.pending_blocks);
    }

    fn retire(&mut self, event: &Event) -> Result<Checked, TraceError> {
        if event.id == 0 && event.size == 0 {
            self.totals.zero_sized += 1;
            return Ok(Checked::ZeroSized { evicted: None });
        }
        let slot = self.live.get(&event.id).copied();
        let block = slot.and_then(|slot| self.slots.get(slot as usize).copied());
        match (slot, block) {
            (Some(slot), Some(block)) if !block.retired => {
                self.compare_size(event, block.size)?;
                self.hold(slot);
                self.totals.live_bytes -= block.size;
                Ok(Checked::Retire { slot, size: block.size })
            }
            (Some(_), Some(_)) => self.fault(
                event,
                ErrorKind::DoubleFree,
                |s| &mut s.double_frees,
                || {
                    (
                        format!("{:#x} given up a second time", event.id),
                        "one free for each allocation".into(),
                    )
                },
            ),
            (Some(_), None) => {
                self.totals.zero_sized += 1;
                Ok(Checked::ZeroSized { evicted: None })
            }
            (None, _) => self.unknown_free(event),
        }
    }

    /// Compares the size that a free states with the allocation's.
    fn compare_size(&mut self, event: &Event, size: u64) -> Result<(), TraceError> {
        if size == event.size || event.size == Event::UNSTATED {
            return Ok(());
        }
        // PyTorch's versions differ in whether an entry states the size that was asked for or the rounded one.
        if self.format == Format::PyTorch {
            self.totals.skipped.size_mismatches += 1;
            return Ok(());
        }
        self.fault(
            event,
            ErrorKind::SizeMismatch,
            |s| &mut s.size_mismatches,
            || {
                (
                    format!("a free of {} bytes at {:#x}", event.size, event.id),
                    format!("{size} bytes, as allocated"),
                )
            },
        )
        .map(drop)
    }

    /// A free of an id that is not live.
    fn unknown_free(&mut self, event: &Event) -> Result<Checked, TraceError> {
        let (recent, line) = self.recent[recent_index(event.id)];
        if recent == event.id && line != 0 {
            let before = self.place(line);
            return self.fault(
                event,
                ErrorKind::DoubleFree,
                |s| &mut s.double_frees,
                || {
                    (
                        format!("a free of {:#x}, which {before} had freed", event.id),
                        "one free for each allocation".into(),
                    )
                },
            );
        }
        self.fault(
            event,
            ErrorKind::UnknownFree,
            |s| &mut s.unknown_frees,
            || {
                (
                    format!("a free of {:#x}, which is not live", event.id),
                    "an allocation of it before".into(),
                )
            },
        )
    }

    fn free(&mut self, event: &Event) -> Result<Checked, TraceError> {
        if event.id == 0 && event.size == 0 {
            self.totals.zero_sized += 1;
            return Ok(Checked::ZeroSized { evicted: None });
        }
        let Some(&slot) = self.live.get(&event.id) else { return self.unknown_free(event) };
        let Slot { size, retired, .. } = self.slots.get(slot as usize).copied().unwrap_or_default();
        // A block of 0 bytes has no slot, and its free may claim what it likes only where that is let pass.
        self.compare_size(event, size)?;
        self.live.remove(&event.id);
        self.recent[recent_index(event.id)] = (event.id, event.line);
        self.totals.live_blocks = self.live.len() as u32;
        if slot == NO_SLOT {
            self.totals.zero_sized += 1;
            return Ok(Checked::ZeroSized { evicted: None });
        }
        self.vacate(slot);
        self.totals.frees += 1;
        self.totals.active_bytes -= size;
        if !retired {
            self.totals.live_bytes -= size;
        }
        Ok(Checked::Free { slot, size })
    }

    fn occupy(&mut self, event: &Event) -> u32 {
        let block = Slot { size: event.size, line: event.line, retired: false };
        match self.empty.pop() {
            Some(slot) => {
                self.slots[slot as usize] = block;
                slot
            }
            None => {
                self.slots.push(block);
                self.slots.len() as u32 - 1
            }
        }
    }

    /// Empties a slot; a block of 0 bytes has none.
    fn vacate(&mut self, slot: u32) {
        if let Some(block) = self.slots.get_mut(slot as usize) {
            self.totals.pending_blocks -= u32::from(block.retired);
            *block = Slot::default();
            self.empty.push(slot);
        }
    }

    fn place(&self, line: u32) -> Place {
        crate::format::place(self.format, line)
    }

    /// Counts a fault, or makes an error of it.
    #[cold]
    fn fault(
        &mut self,
        event: &Event,
        kind: ErrorKind,
        count: impl FnOnce(&mut Skipped) -> &mut u64,
        tell: impl FnOnce() -> (String, String),
    ) -> Result<Checked, TraceError> {
        if self.lenient {
            *count(&mut self.totals.skipped) += 1;
            return Ok(Checked::Skipped);
        }
        let (found, expected) = tell();
        Err(TraceError::new(kind, self.place(event.line), found, expected, CUT))
    }
}

/// Fibonacci hashing: addresses differ in their middle bits.
fn recent_index(id: u64) -> usize {
    (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - RECENT.trailing_zeros())) as usize
}
