//! The buffers of a queue set as their users see them: where the memory is, or why there is none.
//!
//! ```text
//!   alloca ─▶ waiting ─▶ slice ─▶ ended ─▶ forgotten, once no range in a line names it
//!                │                  ▲ its dealloca was handed to wgpu, or failed, or it was given up
//!                └───▶ failed ──────┘
//! ```
//!
//! # Invariants
//! - A buffer is forgotten when it has ended and has no uses left, in whichever order that comes.
//! - The first reason why it has no memory stays.
//! - A dealloca that failed takes nothing from uses that came before: the bytes have an unknown death, so nobody else gets them.
//!
//! # Cost
//! A look in a hash table each, with a hash of a few instructions; [`fail_all_of`](Buffers::fail_all_of) goes through all.

use crate::gpu::Gpu;
use crate::queue::QueueError;
use crate::slice::GpuSlice;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use strandline_core::Failure;
use strandline_core::queue::BufferId;

/// A buffer's memory, or why there is none.
pub(super) enum Memory {
    /// Core has not decided.
    Waiting,
    Slice(GpuSlice),
    Failed(Failure),
}

struct Buffer {
    memory: Memory,
    /// Ranges in lines that name it still.
    uses: usize,
    /// Its dealloca was submitted.
    deallocated: bool,
    ended: bool,
}

#[derive(Default)]
pub(super) struct Buffers(HashMap<BufferId, Buffer, BuildHasherDefault<IdHasher>>);

/// The multiplicative hash of Firefox, as in rustc. Ids are core's, so nobody chooses them to collide.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u32(byte.into()));
    }

    fn write_u32(&mut self, word: u32) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        // The table takes the low bits, and the good ones are high.
        self.0.rotate_left(26)
    }
}

impl Buffers {
    pub(super) fn insert(&mut self, id: BufferId) {
        let memory = Memory::Waiting;
        self.0.insert(id, Buffer { memory, uses: 0, deallocated: false, ended: false });
    }

    /// The memory; `None` for a buffer that is not known any more.
    pub(super) fn memory(&self, id: BufferId) -> Option<&Memory> {
        self.0.get(&id).map(|buffer| &buffer.memory)
    }

    /// The same, for the program: `None` after the end, too.
    pub(super) fn living(&self, id: BufferId) -> Option<&Memory> {
        self.0.get(&id).filter(|buffer| !buffer.ended).map(|buffer| &buffer.memory)
    }

    /// Whether something may be submitted that names it.
    pub(super) fn knows(&self, id: BufferId) -> bool {
        self.0.contains_key(&id)
    }

    /// A range that names it was submitted.
    pub(super) fn name(&mut self, id: BufferId) {
        if let Some(buffer) = self.0.get_mut(&id) {
            buffer.uses += 1;
        }
    }

    /// A range that named it does so no more: it was given the slice, or failed.
    pub(super) fn used(&mut self, id: BufferId) {
        if let Some(buffer) = self.0.get_mut(&id) {
            buffer.uses = buffer.uses.saturating_sub(1);
            self.forget(id);
        }
    }

    /// Its dealloca was submitted.
    pub(super) fn deallocate(&mut self, id: BufferId) {
        if let Some(buffer) = self.0.get_mut(&id) {
            buffer.deallocated = true;
        }
    }

    /// Core has decided.
    pub(super) fn bind(&mut self, id: BufferId, memory: Memory) {
        if let Some(buffer) = self.0.get_mut(&id)
            && matches!(buffer.memory, Memory::Waiting)
        {
            buffer.memory = memory;
        }
    }

    /// It has no memory, or not any more, if `had` any. What was submitted before its dealloca keeps what there was.
    pub(super) fn fail(&mut self, id: BufferId, failure: Failure, had: bool) {
        if let Some(buffer) = self.0.get_mut(&id)
            && !matches!(buffer.memory, Memory::Failed(_))
            && !(had && buffer.deallocated)
        {
            buffer.memory = Memory::Failed(failure);
        }
    }

    /// Its end is over, or will never come.
    pub(super) fn end(&mut self, id: BufferId) {
        if let Some(buffer) = self.0.get_mut(&id) {
            buffer.ended = true;
            self.forget(id);
        }
    }

    /// Its dealloca was handed to wgpu: its bytes are others' now. What names it still was not ordered before that.
    pub(super) fn released(&mut self, id: BufferId) {
        if let Some(buffer) = self.0.get_mut(&id) {
            if buffer.uses > 0 {
                buffer.memory = Memory::Failed(Failure::new(QueueError::UnknownBuffer(id)));
            }
            self.end(id);
        }
    }

    /// Fails those whose memory is a device's, and names them.
    pub(super) fn fail_all_of(&mut self, gpu: &Gpu, failure: &Failure) -> Vec<BufferId> {
        let here =
            |memory: &Memory| matches!(memory, Memory::Slice(slice) if slice.gpu().is_same(gpu));
        let lost = self.0.iter_mut().filter(|(_, buffer)| here(&buffer.memory));
        lost.map(|(id, buffer)| {
            buffer.memory = Memory::Failed(failure.clone());
            *id
        })
        .collect()
    }

    fn forget(&mut self, id: BufferId) {
        if self.0.get(&id).is_some_and(|buffer| buffer.ended && buffer.uses == 0) {
            self.0.remove(&id);
        }
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
