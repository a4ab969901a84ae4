//! The proactor's kernel interface where there is io_uring.
//!
//! ```text
//!   start() ──▶ backlog ──▶ submission queue ─┐                      ┌─▶ Done
//!                                             ├─ io_uring_enter ─────┤
//!   doorbell: multishot poll, always armed ───┘  submits and waits   └─▶ the doorbell rang
//! ```
//!
//! One thread owns the ring: it alone touches the queues (`SINGLE_ISSUER`), and completions are made while
//! it waits (`DEFER_TASKRUN`), so nothing interrupts it. Whoever else wants something rings the doorbell.
//! One system call both submits and waits.
//!
//! **Overflow.** More may be in flight than the completion queue holds: the kernel keeps the rest
//! (`NODROP` is required) and hands them over as soon as there is room, which [`turn`](Ring::turn) asks
//! for. More may be started than the submission queue holds: the rest waits in the backlog, and a turn submits
//! one queueful after the other. **It sleeps only once the backlog is empty**: what the kernel has not been given
//! cannot complete, and the doorbell's own poll may be among it.
//!
//! **What has not left the backlog** is not the kernel's yet: canceling it ends it here, and its entry is made when
//! it is moved to the submission queue, so that it names registered memory only if that is registered then.
//!
//! # Safety
//! The kernel reads and writes memory that an operation names until its completion was reaped, whatever
//! becomes of us. So [`Ring`] owns every [`KernelOp`], its memory and descriptor included, from start to
//! completion, in `flying`:
//! 1. A `Vec`'s bytes do not move when the `Vec` does, and nobody else can reach them meanwhile. A
//!    [`MmapBuffer`] keeps its mapping, and its bytes may be written by anyone at any time: safe code only
//!    reads them by atomics.
//! 2. A completion is matched by a serial that is never reused, so memory is handed back for its own
//!    completion only.
//! 3. Dropping the ring cancels what flies and waits until every completion has been reaped. Should the
//!    kernel refuse to wait, the memory is leaked, not freed.
//! 4. Registered memory is pinned by the kernel, and stays mapped while `fixed` names it. The kernel keeps
//!    its pages for transfers under way even after it was unregistered.

use super::ProactorKind;
use super::backend::{Backend, Done, KernelOp, Sleep};
use super::doorbell::Doorbell;
use super::handle::Counters;
use super::op::{Direction, IoBuffer, Transfer};
use super::serial::SerialMap;
use crate::{MmapBuffer, clock};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Instant;

/// Completions that are no operation's.
const DOORBELL: u64 = u64::MAX;
const CANCEL: u64 = u64::MAX - 1;

/// What the kernel transfers at most in one call (`MAX_RW_COUNT`).
const MAX_TRANSFER: usize = 0x7fff_f000;

/// From this many bytes on a transfer is left to the kernel's threads. A read of what is in the page cache would
/// otherwise be copied while the loop submits it: no other operation is served meanwhile, and no second processor helps.
/// Handing one over costs some microseconds, a small part of copying this much.
const ASYNC_BYTES: usize = 256 << 10;

/// Registered buffers at most, and bytes of each: the kernel's limits are 2^14 and this.
const FIXED_SLOTS: u32 = 4096;
const FIXED_BYTES: usize = 1 << 30;

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_ABS_TIMER: u32 = 1 << 5;
/// Sleeping is not counted as waiting for a disk: most sleeps are not.
const ENTER_NO_IOWAIT: u32 = 1 << 7;

/// What waits for room in the submission queue.
enum Queued {
    /// An operation; passed over when it was canceled meanwhile.
    Op(u64),
    /// The poll of the doorbell, or a cancellation.
    Entry(squeue::Entry),
}

/// An operation that has not ended.
struct Flying {
    op: KernelOp,
    /// Moved to the submission queue: the kernel may use its memory.
    submitted: bool,
}

struct Fixed {
    len: usize,
    slot: u16,
    /// Keeps the memory mapped.
    _buffer: MmapBuffer,
}

pub(super) struct Ring {
    uring: IoUring,
    doorbell: Arc<Doorbell>,
    counters: Arc<Counters>,
    backlog: VecDeque<Queued>,
    flying: SerialMap<u64, Flying>,
    /// Canceled before the kernel had them.
    canceled: Vec<Done>,
    armed: bool,
    /// The kernel takes absolute deadlines.
    absolute: bool,
    /// Flags of every call.
    wait_flags: u32,
    /// Registered memory by address; `None` until something is.
    fixed: Option<BTreeMap<usize, Fixed>>,
    free_slots: Vec<u16>,
}

impl Ring {
    /// # Errors
    /// There is no io_uring here, it is refused, or lacks what is needed.
    pub(super) fn new(
        entries: u32,
        doorbell: Arc<Doorbell>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let build = |setup: fn(&mut io_uring::Builder)| {
            let mut builder = IoUring::builder();
            builder.setup_clamp().dontfork();
            setup(&mut builder);
            builder.build(entries)
        };
        // Kernels that do not know a flag refuse it with EINVAL.
        let uring = build(|builder| {
            builder.setup_submit_all().setup_single_issuer().setup_defer_taskrun();
            builder.setup_taskrun_flag();
        })
        .or_else(|error| match error.raw_os_error() {
            Some(code) if code == Errno::INVAL.raw_os_error() => build(|_| {}),
            _ => Err(error),
        })?;
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        let needed = [
            opcode::Nop::CODE,
            opcode::PollAdd::CODE,
            opcode::Read::CODE,
            opcode::Write::CODE,
            opcode::ReadFixed::CODE,
            opcode::WriteFixed::CODE,
            opcode::AsyncCancel::CODE,
        ];
        let params = uring.params();
        if !needed.iter().all(|code| probe.is_supported(*code))
            || !params.is_feature_nodrop()
            || !params.is_feature_ext_arg()
            || !params.is_feature_submit_stable()
        {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        // Came with the same kernel.
        let absolute = params.is_feature_min_timeout();
        let wait_flags = if params.is_feature_no_iowait() { ENTER_NO_IOWAIT } else { 0 };
        Ok(Self {
            uring,
            doorbell,
            counters,
            backlog: VecDeque::new(),
            flying: SerialMap::default(),
            canceled: Vec::new(),
            armed: false,
            absolute,
            wait_flags,
            fixed: None,
            free_slots: Vec::new(),
        })
    }

    /// Polls the doorbell, if it is not polled. Whether it has rung before.
    fn arm(&mut self) -> bool {
        if self.armed {
            return false;
        }
        // Rings from before would fire at once. The caller looked for work before the last of them, maybe:
        // it must not sleep on what is taken here.
        let rang = self.doorbell.drain();
        let fd = Fd(self.doorbell.as_fd().as_raw_fd());
        let entry = opcode::PollAdd::new(fd, u32::from(PollFlags::IN.bits())).multi(true).build();
        // Ahead of all that others wait for.
        self.backlog.push_front(Queued::Entry(entry.user_data(DOORBELL)));
        self.armed = true;
        rang
    }

    /// Moves the backlog to the submission queue, as far as there is room.
    fn fill(&mut self) {
        while !self.backlog.is_empty() && !self.uring.submission().is_full() {
            let entry = match self.backlog.pop_front() {
                Some(Queued::Entry(entry)) => entry,
                Some(Queued::Op(serial)) => match self.entry(serial) {
                    Some(entry) => entry.user_data(serial),
                    None => continue,
                },
                None => return,
            };
            // SAFETY: what the entry names is owned by `flying` (see the file's head), or is the doorbell,
            // which outlives the ring.
            let pushed = unsafe { self.uring.submission().push(&entry) };
            debug_assert!(pushed.is_ok(), "there was room");
        }
    }

    /// Takes all completions that are there. Whether the doorbell rang.
    fn reap(&mut self, done: &mut Vec<Done>) -> bool {
        let mut rang = false;
        for entry in self.uring.completion() {
            match entry.user_data() {
                DOORBELL => {
                    rang = true;
                    // A multishot poll ends when the completion queue overflows, for one.
                    self.armed &= cqueue::more(entry.flags());
                }
                CANCEL => {}
                serial => {
                    let Some(Flying { op, .. }) = self.flying.remove(&serial) else { continue };
                    let result = u32::try_from(entry.result())
                        .map_err(|_| Errno::from_raw_os_error(-entry.result()));
                    done.push(Done { serial, result, buffer: op.into_buffer() });
                }
            }
        }
        rang
    }

    fn enter(&self, submit: usize, want: u32, deadline: Option<Instant>) -> Result<(), Errno> {
        let mut flags = ENTER_GETEVENTS | ENTER_EXT_ARG | self.wait_flags;
        let time = deadline.and_then(|end| {
            if self.absolute {
                flags |= ENTER_ABS_TIMER;
                clock::absolute(end)
            } else {
                clock::relative(end)
            }
        });
        let time = time.map(|time| {
            // Both fields were made from a duration: not negative, and below 10^9.
            Timespec::new().sec(time.tv_sec as u64).nsec(time.tv_nsec as u32)
        });
        let mut args = SubmitArgs::new();
        if let Some(time) = &time {
            args = args.timespec(time);
        }
        Counters::count(&self.counters.system_calls, 1);
        // SAFETY: `args` is what EXT_ARG says it is, and lives across the call. The entries submitted
        // were argued where they were pushed.
        let entered =
            unsafe { self.uring.submitter().enter(submit as u32, want, flags, Some(&args)) };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match Errno::from_io_error(&error) {
                // Out of time, interrupted: the caller looks at the clock itself.
                Some(Errno::TIME | Errno::INTR) => Ok(()),
                Some(error) => Err(error),
                None => Err(Errno::IO),
            },
        }
    }

    /// What asks the kernel for an operation, which is its from here on; `None` when it was canceled in the backlog.
    fn entry(&mut self, serial: u64) -> Option<squeue::Entry> {
        let Flying { op, submitted } = self.flying.get_mut(&serial)?;
        *submitted = true;
        let Transfer { direction, fd, offset, buffer } = match op {
            KernelOp::Nop => return Some(opcode::Nop::new().build()),
            KernelOp::Poll { fd, interest } => {
                let events = u32::from(interest.events().bits());
                return Some(opcode::PollAdd::new(Fd(fd.raw()), events).build());
            }
            KernelOp::Transfer(transfer) => transfer,
        };
        let (direction, fd, offset) = (*direction, Fd(fd.raw()), *offset);
        let len = buffer.len().min(MAX_TRANSFER);
        let at = buffer.as_mut_ptr();
        let slab = matches!(buffer, IoBuffer::Slab(_));
        let fixed = if slab { self.fixed_slot(at.addr(), len) } else { None };
        // The kernel takes 32 bits: MAX_TRANSFER fits.
        let entry = match (direction, fixed, len as u32) {
            (Direction::Read, None, len) => opcode::Read::new(fd, at, len).offset(offset).build(),
            (Direction::Write, None, len) => opcode::Write::new(fd, at, len).offset(offset).build(),
            (Direction::Read, Some(slot), len) => {
                opcode::ReadFixed::new(fd, at, len, slot).offset(offset).build()
            }
            (Direction::Write, Some(slot), len) => {
                opcode::WriteFixed::new(fd, at, len, slot).offset(offset).build()
            }
        };
        Some(if len < ASYNC_BYTES { entry } else { entry.flags(squeue::Flags::ASYNC) })
    }

    /// The registered buffer that `len` bytes of a slab from `start` lie in.
    fn fixed_slot(&self, start: usize, len: usize) -> Option<u16> {
        let (base, fixed) = self.fixed.as_ref()?.range(..=start).next_back()?;
        if start + len > base + fixed.len {
            return None;
        }
        Counters::count(&self.counters.fixed, 1);
        Some(fixed.slot)
    }

    fn set_fixed(&self, slot: u16, at: *mut u8, len: usize) -> Result<(), Errno> {
        let vector = libc::iovec { iov_base: at.cast(), iov_len: len };
        // SAFETY: the range is mapped as long as `fixed` names it (or empty, which clears the slot), and the
        // kernel pins its pages itself.
        unsafe { self.uring.submitter().register_buffers_update(u32::from(slot), &[vector], None) }
            .map(drop)
            .map_err(errno)
    }

    fn clear_fixed(&mut self, base: usize) -> Result<(), Errno> {
        let Some(fixed) = self.fixed.as_mut().and_then(|all| all.remove(&base)) else {
            return Err(Errno::INVAL);
        };
        let cleared = self.set_fixed(fixed.slot, core::ptr::null_mut(), 0);
        match cleared {
            Ok(()) => self.free_slots.push(fixed.slot),
            // The kernel may still use it: it stays as it is.
            Err(_) => {
                self.fixed.get_or_insert_default().insert(base, fixed);
            }
        }
        cleared
    }
}

/// The parts in which a buffer is registered: by start and length in bytes.
fn parts(buffer: &MmapBuffer) -> impl Iterator<Item = (*mut u8, usize)> + use<> {
    let (start, len) = (buffer.as_ptr(), buffer.len() as usize);
    (0..len)
        .step_by(FIXED_BYTES)
        .map(move |at| (start.wrapping_add(at), (len - at).min(FIXED_BYTES)))
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

impl Backend for Ring {
    fn kind(&self) -> ProactorKind {
        ProactorKind::IoUring
    }

    fn start(&mut self, serial: u64, op: KernelOp) {
        self.flying.insert(serial, Flying { op, submitted: false });
        self.backlog.push_back(Queued::Op(serial));
    }

    fn cancel(&mut self, serial: u64) {
        match self.flying.get(&serial) {
            Some(Flying { submitted: true, .. }) => {
                let entry = opcode::AsyncCancel::new(serial).build().user_data(CANCEL);
                self.backlog.push_back(Queued::Entry(entry));
            }
            Some(Flying { submitted: false, .. }) => {
                let buffer = self.flying.remove(&serial).and_then(|flying| flying.op.into_buffer());
                self.canceled.push(Done { serial, result: Err(Errno::CANCELED), buffer });
            }
            None => {}
        }
    }

    fn in_flight(&self) -> usize {
        self.flying.len() + self.canceled.len()
    }

    fn turn(&mut self, sleep: Sleep, done: &mut Vec<Done>) -> Result<(), Errno> {
        done.append(&mut self.canceled);
        let mut rang = self.arm();
        rang |= self.reap(done);
        loop {
            self.fill();
            let queue = self.uring.submission();
            let (queued, taskrun, overflow) = (queue.len(), queue.taskrun(), queue.cq_overflow());
            drop(queue);
            let (want, deadline) = match sleep {
                // Neither is there anything done, nor anything left that the kernel has not been given.
                Sleep::Until(deadline) if done.is_empty() && !rang && self.backlog.is_empty() => {
                    (1, deadline)
                }
                _ => (0, None),
            };
            if want == 0 && queued == 0 && !taskrun && !overflow {
                return Ok(());
            }
            if overflow {
                Counters::count(&self.counters.overflows, 1);
            }
            let entered = self.enter(queued, want, deadline);
            let before = done.len();
            rang |= self.reap(done);
            match entered {
                Ok(()) => {}
                // The kernel is short of memory, or wants its completions taken first, which they now
                // are. What was not submitted stays in the queue.
                Err(Errno::AGAIN | Errno::BUSY) if done.len() == before => {
                    std::thread::yield_now();
                    return Ok(());
                }
                Err(Errno::AGAIN | Errno::BUSY) => {}
                Err(error) => return Err(error),
            }
            let sleeps = matches!(sleep, Sleep::Until(_)) && done.is_empty() && !rang;
            let more = !self.backlog.is_empty() || self.uring.submission().cq_overflow();
            if want == 1 || !sleeps && !more {
                return Ok(());
            }
        }
    }

    fn has_done(&self) -> bool {
        !self.canceled.is_empty()
    }

    fn register(&mut self, buffer: MmapBuffer) -> Result<(), Errno> {
        if self.fixed.is_none() {
            self.uring.submitter().register_buffers_sparse(FIXED_SLOTS).map_err(errno)?;
            self.fixed = Some(BTreeMap::new());
            self.free_slots = (0..FIXED_SLOTS as u16).rev().collect();
        }
        let mut registered = Vec::new();
        let mut result = Ok(());
        for (at, len) in parts(&buffer) {
            let known = self.fixed.as_ref().is_some_and(|all| all.contains_key(&at.addr()));
            result = match self.free_slots.pop() {
                _ if known => Err(Errno::EXIST),
                None => Err(Errno::NOSPC),
                Some(slot) => self
                    .set_fixed(slot, at, len)
                    .map(|()| {
                        let fixed = Fixed { len, slot, _buffer: buffer.clone() };
                        self.fixed.get_or_insert_default().insert(at.addr(), fixed);
                        registered.push(at.addr());
                    })
                    .inspect_err(|_| self.free_slots.push(slot)),
            };
            if result.is_err() {
                break;
            }
        }
        if result.is_err() {
            for base in registered {
                // All or nothing. One that cannot be cleared stays registered, and right.
                let _ = self.clear_fixed(base);
            }
        }
        result
    }

    fn unregister(&mut self, buffer: &MmapBuffer) -> Result<(), Errno> {
        // What the kernel has not taken out of the submission queue yet may name the memory.
        let queued = self.uring.submission().len();
        if queued > 0 {
            self.enter(queued, 0, None)?;
        }
        if !self.uring.submission().is_empty() {
            return Err(Errno::AGAIN);
        }
        parts(buffer).try_for_each(|(at, _)| self.clear_fixed(at.addr()))
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let serials: Vec<u64> = self.flying.keys().copied().collect();
        serials.into_iter().for_each(|serial| self.cancel(serial));
        let mut done = Vec::new();
        while !self.flying.is_empty() {
            if let Err(error) = self.turn(Sleep::Until(None), &mut done) {
                log::error!(
                    "io_uring: {error}; the memory of {} operations is leaked",
                    self.flying.len()
                );
                core::mem::forget(core::mem::take(&mut self.flying));
            }
            done.clear();
        }
    }
}
