//! The loop's state: every operation that has not ended, timers, waits, sequences.
//!
//! ```text
//!   inbox ──▶ ops ──┬─▶ timers      by deadline
//!                   ├─▶ wait set    by notification        ──▶ done ──▶ callbacks, no lock held
//!                   └─▶ backend     reads, writes, polls
//! ```
//!
//! Every operation leaves `ops` exactly once, by [`finish`](Driver::finish), which puts its callback on `done`.
//! A turn takes messages, looks at what changed, gives the kernel its part, and runs callbacks last, so
//! that whatever a callback does is found in the next turn.

use super::backend::{Backend, Done, KernelOp, Sleep};
use super::handle::{Counters, Message, Shared, Submission};
use super::op::{Callback, Completion, Direction, Interest, IoBuffer, Kind, OpError, SharedFd};
use super::serial::SerialMap;
use super::wait_set::WaitSet;
use rustix::io::Errno;
use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

enum State {
    /// Behind another in its sequence.
    Queued(Kind),
    Timer,
    Waiting {
        slot: u32,
    },
    Kernel {
        operation: &'static str,
        /// Set for an event: its counter is to be taken.
        event: Option<SharedFd>,
        /// Why it was asked to end early.
        stopped: Option<OpError>,
    },
}

struct Slot {
    state: State,
    callback: Callback,
    deadline: Option<Instant>,
    /// The neighbours in its sequence.
    previous: Option<u64>,
    next: Option<u64>,
}

pub(super) struct Driver {
    shared: Arc<Shared>,
    backend: Box<dyn Backend>,
    ops: SerialMap<u64, Slot>,
    timers: BTreeSet<(Instant, u64)>,
    wait_set: WaitSet,
    done: VecDeque<(Callback, Completion)>,
    /// Kept for their memory.
    finished: Vec<Done>,
    signaled: Vec<u64>,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, backend: Box<dyn Backend>) -> Self {
        let wait_set = WaitSet::new(shared.doorbell.clone());
        Self {
            shared,
            backend,
            ops: SerialMap::default(),
            timers: BTreeSet::new(),
            wait_set,
            done: VecDeque::new(),
            finished: Vec::new(),
            signaled: Vec::new(),
        }
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Runs until at least one callback has run or `deadline` (`None`: never) has passed. Returns how many ran.
    pub(super) fn poll(&mut self, deadline: Option<Instant>) -> Result<usize, Errno> {
        loop {
            self.look();
            let late = deadline.is_some_and(|end| end <= Instant::now());
            if self.done.is_empty() && !late {
                self.sleep(deadline)?;
            } else {
                self.turn(Sleep::No)?;
            }
            let ran = self.run_callbacks();
            if ran > 0 || late {
                return Ok(ran);
            }
        }
    }

    /// Takes in what came without the kernel.
    fn look(&mut self) {
        self.take_messages();
        let mut signaled = core::mem::take(&mut self.signaled);
        self.wait_set.take_signaled(|serial| signaled.push(serial));
        for serial in signaled.drain(..) {
            self.finish(serial, Ok(0), None);
        }
        self.signaled = signaled;
        self.expire();
    }

    fn sleep(&mut self, deadline: Option<Instant>) -> Result<(), Errno> {
        let until = match (deadline, self.timers.first()) {
            (Some(end), Some(&(timer, _))) => Some(end.min(timer)),
            (end, timer) => end.or(timer.map(|&(timer, _)| timer)),
        };
        self.turn_parked(until)?;
        // What woke it is taken in at once: it may end the wait.
        self.look();
        Ok(())
    }

    /// A turn that sleeps, unless there is work that came without the kernel.
    fn turn_parked(&mut self, until: Option<Instant>) -> Result<(), Errno> {
        let shared = self.shared.clone();
        shared.doorbell.latch().park();
        let work = !shared.doorbell.ready().is_empty()
            || self.backend.has_done()
            || !shared.inbox().messages.is_empty();
        let slept = self.turn(if work { Sleep::No } else { Sleep::Until(until) });
        shared.doorbell.latch().unpark();
        slept
    }

    fn turn(&mut self, sleep: Sleep) -> Result<(), Errno> {
        let mut finished = core::mem::take(&mut self.finished);
        let result = self.backend.turn(sleep, &mut finished);
        for done in finished.drain(..) {
            self.kernel_done(done);
        }
        self.finished = finished;
        result
    }

    fn run_callbacks(&mut self) -> usize {
        // Only what is there now: callbacks that submit must not keep a poll from returning.
        let count = self.done.len();
        for _ in 0..count {
            if let Some((callback, completion)) = self.done.pop_front() {
                Counters::count(&self.shared.counters.completed, 1);
                // A panic goes to the caller of poll; the next poll runs the rest.
                callback(completion);
            }
        }
        count
    }

    fn take_messages(&mut self) {
        let messages = core::mem::take(&mut self.shared.inbox().messages);
        for message in messages {
            match message {
                Message::Submit(submission) => {
                    let serial = submission.serial;
                    if let Some(ended) = self.start(submission, None) {
                        self.finish(serial, ended.result, ended.buffer);
                    }
                }
                Message::Sequence(all) => self.admit_sequence(all),
                Message::Cancel(serial) => self.stop(serial, OpError::Canceled),
            }
        }
    }

    fn admit_sequence(&mut self, all: Vec<Submission>) {
        let serials: Vec<u64> = all.iter().map(|one| one.serial).collect();
        // From the end, so that the first starts when the others are in place.
        for (index, submission) in all.into_iter().enumerate().rev() {
            let previous = index.checked_sub(1).map(|before| serials[before]);
            let next = serials.get(index + 1).copied();
            if previous.is_some() {
                let Submission { serial, kind, callback } = submission;
                let state = State::Queued(kind);
                self.ops.insert(serial, Slot { state, callback, deadline: None, previous, next });
            } else {
                let serial = submission.serial;
                if let Some(ended) = self.start(submission, next) {
                    self.finish(serial, ended.result, ended.buffer);
                }
            }
        }
    }

    /// Starts an operation, the first of what is left of its sequence. What it returns ends it at once.
    fn start(
        &mut self,
        Submission { serial, kind, callback }: Submission,
        next: Option<u64>,
    ) -> Option<Completion> {
        let deadline = kind.deadline();
        let kernel = |operation, event| State::Kernel { operation, event, stopped: None };
        let mut ended: Option<Completion> = None;
        let without_memory = |result| Some(Completion { result, buffer: None });
        let state = match kind {
            Kind::Timer { .. } => State::Timer,
            Kind::Wait { notification, seen, .. } => {
                match self.wait_set.add(serial, notification, seen) {
                    Ok(Some(slot)) => State::Waiting { slot },
                    signaled_or_refused => {
                        ended = without_memory(signaled_or_refused.map(|_| 0));
                        State::Timer
                    }
                }
            }
            Kind::Register(buffer) => {
                ended =
                    without_memory(at_once("registering a buffer", self.backend.register(buffer)));
                State::Timer
            }
            Kind::Unregister(buffer) => {
                ended = without_memory(at_once(
                    "unregistering a buffer",
                    self.backend.unregister(&buffer),
                ));
                State::Timer
            }
            Kind::Nop => {
                self.backend.start(serial, KernelOp::Nop);
                kernel("nop", None)
            }
            Kind::Poll { fd, interest, .. } => {
                self.backend.start(serial, KernelOp::Poll { fd, interest });
                kernel("poll", None)
            }
            Kind::Event { fd, .. } => {
                let interest = Interest::Readable;
                self.backend.start(serial, KernelOp::Poll { fd: fd.clone(), interest });
                kernel("event", Some(fd))
            }
            // io_uring would take it for "from where the file stands".
            Kind::Transfer(transfer) if i64::try_from(transfer.offset).is_err() => {
                let result = at_once("an offset", Err(Errno::INVAL));
                ended = Some(Completion { result, buffer: Some(transfer.buffer) });
                State::Timer
            }
            Kind::Transfer(transfer) => {
                let operation = match transfer.direction {
                    Direction::Read => "read",
                    Direction::Write => "write",
                };
                self.backend.start(serial, KernelOp::Transfer(transfer));
                kernel(operation, None)
            }
        };
        if let Some(deadline) = deadline {
            self.timers.insert((deadline, serial));
        }
        self.ops.insert(serial, Slot { state, callback, deadline, previous: None, next });
        ended
    }

    /// Ends an operation. What comes next in its sequence starts, or ends too.
    fn finish(&mut self, serial: u64, result: Result<usize, OpError>, buffer: Option<IoBuffer>) {
        let mut ending = Some((serial, result, buffer));
        while let Some((serial, result, buffer)) = ending.take() {
            let Some(slot) = self.ops.remove(&serial) else { return };
            if let Some(deadline) = slot.deadline {
                self.timers.remove(&(deadline, serial));
            }
            if let Some(before) = slot.previous.and_then(|previous| self.ops.get_mut(&previous)) {
                before.next = None;
            }
            self.done.push_back((slot.callback, Completion { result, buffer }));
            let Some(next) = slot.next else { return };
            let Some(Slot { state: State::Queued(kind), callback, next: after, .. }) =
                self.ops.remove(&next)
            else {
                return;
            };
            // A loop, not recursion: sequences may be long, and may end at once.
            if result.is_ok() {
                let submission = Submission { serial: next, kind, callback };
                let ended = self.start(submission, after);
                ending = ended.map(|ended| (next, ended.result, ended.buffer));
            } else {
                let state = State::Timer;
                let (deadline, previous) = (None, None);
                self.ops.insert(next, Slot { state, callback, deadline, previous, next: after });
                ending = Some((next, Err(OpError::Canceled), kind.into_buffer()));
            }
        }
    }

    /// Ends an operation early, if it can be.
    fn stop(&mut self, serial: u64, why: OpError) {
        let Some(slot) = self.ops.get_mut(&serial) else { return };
        match &mut slot.state {
            State::Timer => self.finish(serial, Err(why), None),
            State::Waiting { slot } => {
                let slot = *slot;
                self.wait_set.remove(slot, serial);
                self.finish(serial, Err(why), None);
            }
            State::Queued(_) => {
                let buffer = match core::mem::replace(&mut slot.state, State::Timer) {
                    State::Queued(kind) => kind.into_buffer(),
                    _ => None,
                };
                self.finish(serial, Err(why), buffer);
            }
            State::Kernel { stopped, .. } => {
                if stopped.is_none() {
                    *stopped = Some(why);
                    self.backend.cancel(serial);
                }
            }
        }
    }

    fn expire(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(&(deadline, serial)) = self.timers.first() {
            if deadline > now {
                break;
            }
            self.timers.pop_first();
            match self.ops.get(&serial).map(|slot| &slot.state) {
                Some(State::Timer) => self.finish(serial, Ok(0), None),
                Some(_) => self.stop(serial, OpError::TimedOut),
                None => {}
            }
        }
    }

    fn kernel_done(&mut self, done: Done) {
        let Done { serial, result, buffer } = done;
        let Some(Slot { state: State::Kernel { operation, event, stopped }, .. }) =
            self.ops.get_mut(&serial)
        else {
            return;
        };
        let result = match (result, &event) {
            (Ok(_), Some(fd)) => match take_counter(fd) {
                // Another took it first.
                Err(Errno::AGAIN) if stopped.is_none() => {
                    let (fd, interest) = (fd.clone(), Interest::Readable);
                    return self.backend.start(serial, KernelOp::Poll { fd, interest });
                }
                Err(Errno::AGAIN) => Err(Errno::CANCELED),
                taken => taken,
            },
            (result, _) => result.map(|value| value as usize),
        };
        let result = result.map_err(|error| match (error, stopped) {
            (Errno::CANCELED | Errno::INTR, Some(why)) => *why,
            _ => OpError::os(operation, error),
        });
        self.finish(serial, result, buffer);
    }

    /// Ends everything: what the kernel does not let go of at once is waited for. Every callback runs.
    pub(super) fn close(&mut self) {
        let rest = {
            let mut inbox = self.shared.inbox();
            inbox.closed = true;
            core::mem::take(&mut inbox.messages)
        };
        // What was submitted is admitted, so that it ends the one way there is.
        for message in rest {
            match message {
                Message::Submit(one) => self.admit_canceled(vec![one]),
                Message::Sequence(all) => self.admit_canceled(all),
                Message::Cancel(_) => {}
            }
        }
        let mut serials: Vec<u64> = self.ops.keys().copied().collect();
        serials.sort_unstable();
        for serial in serials {
            self.stop(serial, OpError::Closed);
        }
        while self.backend.in_flight() > 0 {
            // Ready bits would keep it from sleeping: nobody is left whom they tell something.
            self.shared.doorbell.ready().take(drop);
            if let Err(error) = self.turn_parked(None) {
                log::error!("the proactor cannot wait for its last operations: {error}");
                break;
            }
        }
        while let Some((callback, completion)) = self.done.pop_front() {
            Counters::count(&self.shared.counters.completed, 1);
            if catch_unwind(AssertUnwindSafe(|| callback(completion))).is_err() {
                log::error!("a callback panicked while its proactor was dropped");
            }
        }
    }

    fn admit_canceled(&mut self, all: Vec<Submission>) {
        for Submission { kind, callback, .. } in all {
            let buffer = kind.into_buffer();
            self.done.push_back((callback, Completion { result: Err(OpError::Closed), buffer }));
        }
    }
}

impl Kind {
    const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Timer { deadline } => Some(*deadline),
            Self::Wait { deadline, .. }
            | Self::Poll { deadline, .. }
            | Self::Event { deadline, .. } => *deadline,
            Self::Nop | Self::Transfer(_) | Self::Register(_) | Self::Unregister(_) => None,
        }
    }
}

/// The result of what the kernel does while it is asked.
fn at_once(operation: &'static str, result: Result<(), Errno>) -> Result<usize, OpError> {
    result.map(|()| 0).map_err(|error| OpError::os(operation, error))
}

/// Takes the counter of an eventfd.
fn take_counter(fd: &SharedFd) -> Result<usize, Errno> {
    let mut counter = [0; 8];
    loop {
        match rustix::io::read(fd, &mut counter) {
            Ok(8) => return Ok(u64::from_ne_bytes(counter) as usize),
            // Not an eventfd.
            Ok(_) => return Err(Errno::INVAL),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
