//! A tenant's queue: [`HostQueue`], operations in order, from their submission to the processor.
//!
//! ```text
//!   submit ─▶ staged:  5 fill b   4 alloca b (undecided)   3 copy ─▶ CpuQueue: 2, 1
//!                                       ▲ Ready, Failed
//!                                       └── the queues of core
//! ```
//!
//! The epochs are core's: an alloca may have to wait for memory, and what was submitted behind it on the
//! same queue stays staged until that is decided. Operations reach the [`CpuQueue`] in order and without gaps, so
//! its epochs are the same.
//!
//! When the tenant leaves, or the queue fails, the operations that were not begun do nothing, but keep their places:
//! each epoch is still reached only after all that it was to wait for. What it waits for is known from its submission on,
//! also of an alloca that has no memory yet: operations behind it are ordered after that, on whatever other
//! pool their memory came from. So nothing that dies at one is reused early, and nothing waits for ever.

use super::pool::lock;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use strandline_core::queue::Place;
use strandline_core::{Epoch, Failure, Frontier};
use strandline_host_native::MmapBuffer;
use strandline_host_native::queue::{Command, CpuQueue, QueueError};

/// What became of an alloca; shared with the operations on its buffer, which may outlive the buffer's handle.
pub(super) type Memory = Arc<OnceLock<Result<(MmapBuffer, Place), String>>>;

/// Bytes charged as long as it lives.
#[derive(Debug)]
pub(super) struct Transfer {
    charged: Arc<AtomicU64>,
    bytes: u64,
}

impl Transfer {
    /// Charges `bytes`, unless that makes more than `limit`.
    pub(super) fn charge(charged: &Arc<AtomicU64>, bytes: u64, limit: u64) -> Option<Self> {
        // Relaxed: a counter, nothing is published by it.
        charged
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                now.checked_add(bytes).filter(|&sum| sum <= limit)
            })
            .ok()?;
        Some(Self { charged: charged.clone(), bytes })
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.charged.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Where a read leaves its bytes. They stay charged until they are taken.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<Option<(Vec<u8>, Transfer)>>);

impl Slot {
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        lock(&self.0).take().map(|(bytes, _)| bytes)
    }
}

/// A range of memory that may not be there yet.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) memory: Memory,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Target {
    fn decided(&self) -> bool {
        self.memory.get().is_some()
    }

    /// `None` when it never got memory: the operation then does nothing.
    fn resolve(&self) -> Option<MmapBuffer> {
        let (buffer, _) = self.memory.get()?.as_ref().ok()?;
        // Checked against the size that was asked for when it was submitted.
        buffer.slice(self.offset, self.len).ok()
    }
}

/// What an operation does.
#[derive(Debug)]
pub(super) enum Work {
    Nothing,
    Fill { target: Target, value: u8 },
    Copy { source: Target, target: Target },
    Write { target: Target, bytes: Vec<u8>, transfer: Transfer },
    Read { source: Target, slot: Arc<Slot>, transfer: Transfer },
}

impl Work {
    fn decided(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Fill { target, .. } | Self::Write { target, .. } => target.decided(),
            Self::Read { source, .. } => source.decided(),
            Self::Copy { source, target } => source.decided() && target.decided(),
        }
    }

    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Nothing => {}
            Self::Fill { target, value } => {
                if let Some(target) = target.resolve() {
                    target.fill(value);
                }
            }
            Self::Copy { source, target } => {
                if let (Some(source), Some(target)) = (source.resolve(), target.resolve()) {
                    target.copy_from(&source).map_err(Failure::new)?;
                }
            }
            Self::Write { target, bytes, transfer } => {
                if let Some(target) = target.resolve() {
                    target.write(0, &bytes).map_err(Failure::new)?;
                }
                drop(transfer);
            }
            Self::Read { source, slot, transfer } => {
                if let Some(source) = source.resolve() {
                    let mut bytes = vec![0; source.len() as usize];
                    source.read(0, &mut bytes).map_err(Failure::new)?;
                    *lock(&slot.0) = Some((bytes, transfer));
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Staged {
    epoch: Epoch,
    /// At least what its epoch is ordered after, from the beginning.
    wait: Frontier,
    /// False until the alloca or dealloca is decided, which may add to the wait.
    decided: bool,
    /// Done before the rest: a first use zeroes what it uses.
    clear: Vec<Target>,
    work: Work,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct HostQueue {
    cpu: CpuQueue,
    staged: VecDeque<Staged>,
    failure: Option<Failure>,
    /// The tenant has left: nothing is done any more.
    left: Arc<AtomicBool>,
}

impl HostQueue {
    pub(super) fn new(cpu: CpuQueue) -> Self {
        Self { cpu, staged: VecDeque::new(), failure: None, left: Arc::default() }
    }

    pub(super) const fn cpu(&self) -> &CpuQueue {
        &self.cpu
    }

    pub(super) const fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The next operation in order, which is ordered after `wait`. Undecided, it is held until [`decide`](Self::decide).
    pub(super) fn stage(
        &mut self,
        epoch: Epoch,
        (wait, decided): (Frontier, bool),
        clear: Vec<Target>,
        work: Work,
    ) {
        self.staged.push_back(Staged { epoch, wait, decided, clear, work });
    }

    /// An alloca or dealloca is decided: what it waits for in the end.
    pub(super) fn decide(&mut self, epoch: Epoch, wait: Frontier, clear: Vec<Target>) {
        // Epochs are gap-free, so the first tells where each is.
        let at = self.staged.front().and_then(|first| epoch.checked_sub(first.epoch));
        if let Some(staged) = at.and_then(|at| self.staged.get_mut(usize::try_from(at).ok()?)) {
            staged.wait = wait;
            staged.decided = true;
            staged.clear = clear;
        }
    }

    /// Nothing from `from` on is done, and nothing more is taken. The epochs still come after what they wait for: if
    /// that has failed, the axis fails with it, and whoever waits for them is told.
    pub(super) fn fail(&mut self, from: Epoch, failure: Failure) {
        for staged in self.staged.iter_mut().filter(|staged| staged.epoch >= from) {
            staged.decided = true;
            staged.clear = Vec::new();
            staged.work = Work::Nothing;
        }
        self.failure.get_or_insert(failure);
    }

    /// Feeds the processor with what is decided.
    ///
    /// # Errors
    /// The processor's queue has failed, or cannot wait for what an operation waits for. Nothing is staged then.
    pub(super) fn flush(&mut self) -> Result<(), QueueError> {
        while let Some(Staged { decided: true, work, .. }) = self.staged.front()
            && work.decided()
            && let Some(Staged { epoch, wait, clear, work, .. }) = self.staged.pop_front()
        {
            let left = self.left.clone();
            let command = Command::try_call(move || {
                // Acquire: whoever set it has nothing more to say, this only pairs with its release.
                if left.load(Ordering::Acquire) {
                    return Ok(());
                }
                for target in clear.iter().filter_map(Target::resolve) {
                    target.fill(0);
                }
                work.run()
            });
            match self.cpu.submit(wait.as_ref(), [command]) {
                Ok(submitted) => {
                    debug_assert_eq!(submitted, epoch, "epochs of core and of the queue agree");
                }
                Err(error) => {
                    self.staged.clear();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The tenant leaves: what was not begun does nothing, but every epoch is reached after all that it was to wait for.
    /// `None` when that cannot be: the axis has ended, and what it has not reached it never will.
    pub(super) fn leave(self) -> Option<CpuQueue> {
        self.left.store(true, Ordering::Release);
        for Staged { wait, .. } in self.staged {
            if let Err(error) = self.cpu.submit(wait.as_ref(), []) {
                log::warn!("{} does not run dry: {error}", self.cpu.axis());
                return None;
            }
        }
        Some(self.cpu)
    }
}
