//! More operations than a submission queue holds: a thousand of every kind, through a queue of one entry. Each completes exactly
//! once, with the right result, and none of them waits for another's completion.
#![cfg(target_os = "linux")]

mod support;

use rustix::pipe::{PipeFlags, pipe_with};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use strandline_core::{Grant, Notification, SlabMap, SlabProvider};
use strandline_host_native::event::Event;
use strandline_host_native::proactor::{
    Completion, Interest, IoBuffer, Op, OpError, OpId, Proactor, ProactorHandle, ProactorKind,
    Sequence, SharedFd,
};
use strandline_host_native::{MmapBuffer, MmapSlabProvider, thread_wake};
use support::{each_kind, file, scaled};

/// Operations of each kind.
const EACH: usize = 1000;
/// Notifications, eventfds and pipes that they share.
const SOURCES: usize = 20;
/// A test that takes this long hangs.
const LONG: Duration = Duration::from_secs(30);

fn small(kind: ProactorKind) -> Proactor {
    Proactor::builder().kind(kind).entries(1).build().unwrap()
}

/// The kinds of operations, as the book names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Nop,
    Timer,
    Wait,
    ForeignWait,
    Event,
    Poll,
    Read,
    Write,
    SlabRead,
    /// The third of three in a sequence whose second fails.
    AfterFailure,
    Sequence,
    TimedOut,
    CanceledAtOnce,
    CanceledLater,
}

type Ended = ((What, usize), Result<usize, OpError>, Option<IoBuffer>);

/// Who was promised a completion, and who got one.
struct Book {
    sender: Sender<Ended>,
    receiver: Receiver<Ended>,
    open: BTreeMap<(What, usize), Result<usize, OpError>>,
    bytes: BTreeMap<(What, usize), Vec<u8>>,
}

impl Book {
    fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver, open: BTreeMap::new(), bytes: BTreeMap::new() }
    }

    /// A callback for what must end with `result`.
    fn expect(
        &mut self,
        what: What,
        index: usize,
        result: Result<usize, OpError>,
    ) -> impl FnOnce(Completion) + Send + 'static {
        assert_eq!(self.open.insert((what, index), result), None, "expected twice");
        let sender = self.sender.clone();
        move |done| drop(sender.send(((what, index), done.result, done.buffer)))
    }

    /// Books what has ended.
    fn settle(&mut self) {
        for (name, result, buffer) in self.receiver.try_iter() {
            let expected = self.open.remove(&name);
            assert_eq!(Some(result), expected, "{name:?} (nothing is expected a second time)");
            if let Some(bytes) = buffer.and_then(IoBuffer::into_bytes) {
                self.bytes.insert(name, bytes);
            }
        }
    }

    fn is_open(&self, what: What) -> bool {
        self.open.range((what, 0)..=(what, usize::MAX)).next().is_some()
    }

    /// Polls until nothing of this kind is open.
    fn run_until(&mut self, proactor: &mut Proactor, what: What) {
        let end = Instant::now() + LONG;
        self.settle();
        while self.is_open(what) {
            proactor.poll_until(Some(end)).unwrap();
            // A poll that nothing woke finds what was to wake it all the same, once its time is up.
            assert!(Instant::now() < end, "{}: {what:?} stands still", proactor.kind());
            self.settle();
        }
    }
}

/// What the operations wait for.
struct Sources {
    notifications: Vec<Arc<Notification>>,
    foreign: Vec<Arc<Notification>>,
    events: Vec<Event>,
    pipes: Vec<(SharedFd, OwnedFd)>,
}

impl Sources {
    fn new() -> Self {
        let pipe = |_| {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
            (SharedFd::from(reader), writer)
        };
        let notification = |_| Arc::new(Notification::new(Some(thread_wake())));
        Self {
            notifications: (0..SOURCES).map(notification).collect(),
            foreign: (0..SOURCES).map(|_| Arc::new(Notification::new(None))).collect(),
            events: (0..SOURCES).map(|_| Event::new().unwrap()).collect(),
            pipes: (0..SOURCES).map(pipe).collect(),
        }
    }

    fn wait(&self, index: usize) -> Op {
        let notification = &self.notifications[index % SOURCES];
        Op::wait(notification.clone(), notification.observe(), None)
    }

    fn foreign_wait(&self, index: usize) -> Op {
        let notification = &self.foreign[index % SOURCES];
        Op::wait(notification.clone(), notification.observe(), None)
    }

    fn poll(&self, index: usize, deadline: Option<Instant>) -> Op {
        Op::ready(self.pipes[index % SOURCES].0.clone(), Interest::Readable, deadline)
    }

    /// An operation that never ends by itself, of four kinds by turns.
    fn endless(&self, index: usize) -> Op {
        match index % 4 {
            0 => self.wait(index),
            1 => self.poll(index, None),
            2 => self.events[index % SOURCES].wait(None),
            _ => Op::timer(Instant::now() + 2 * LONG),
        }
    }
}

fn slab(len: u64) -> MmapBuffer {
    let provider = MmapSlabProvider::builder().build().unwrap();
    let Grant::Slab(slab) = provider.acquire(len).unwrap() else { panic!("no memory") };
    provider.map(slab.id, 0, len).unwrap()
}

fn pattern(index: usize) -> [u8; 8] {
    (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_ne_bytes()
}

/// Submits those that end by themselves or are ended by a cancellation.
fn submit_self_ending(
    handle: &ProactorHandle,
    sources: &Sources,
    book: &mut Book,
    each: usize,
) -> Vec<OpId> {
    let start = Instant::now();
    let mut later = Vec::new();
    for index in 0..each {
        let deadline = start + Duration::from_micros(index as u64 * 7 % 5000);
        let told = book.expect(What::Timer, index, Ok(0));
        handle.submit(Op::timer(deadline), move |done| {
            assert!(Instant::now() >= deadline, "early");
            told(done);
        });
        let op = match index % 3 {
            0 => sources.poll(index, Some(deadline)),
            1 => sources.events[index % SOURCES].wait(Some(deadline)),
            _ => {
                let notification = sources.notifications[index % SOURCES].clone();
                let seen = notification.observe();
                Op::wait(notification, seen, Some(deadline))
            }
        };
        handle.submit(op, book.expect(What::TimedOut, index, Err(OpError::TimedOut)));
        let told = book.expect(What::CanceledAtOnce, index, Err(OpError::Canceled));
        let id = handle.submit(sources.endless(index), told);
        handle.cancel(id);
        let told = book.expect(What::CanceledLater, index, Err(OpError::Canceled));
        later.push(handle.submit(sources.endless(index), told));
        handle.submit(Op::nop(), book.expect(What::Nop, index, Ok(0)));
    }
    later
}

/// Submits those that wait for what [`Sources`] do.
fn submit_waiting(handle: &ProactorHandle, sources: &Sources, book: &mut Book, each: usize) {
    for index in 0..each {
        handle.submit(sources.wait(index), book.expect(What::Wait, index, Ok(0)));
        handle.submit(sources.foreign_wait(index), book.expect(What::ForeignWait, index, Ok(0)));
        handle.submit(sources.poll(index, None), book.expect(What::Poll, index, Ok(1)));
        let event = sources.events[index % SOURCES].clone();
        let told = book.expect(What::Event, index, Ok(1));
        handle.submit(event.wait(None), move |done| {
            // One takes the count and hands it on to the next.
            event.set();
            told(done);
        });
    }
}

/// Submits reads, writes and sequences of both. A sequence is one completion in the book: that of its last step.
fn submit_files(handle: &ProactorHandle, files: &Files, book: &mut Book, each: usize) {
    for index in 0..each {
        let at = index as u64 * 8;
        let read = Op::read_at(files.from.clone(), at, vec![0; 8]);
        handle.submit(read, book.expect(What::Read, index, Ok(8)));
        let write = Op::write_at(files.into.clone(), at, pattern(index).to_vec());
        handle.submit(write, book.expect(What::Write, index, Ok(8)));
        let read = Op::read_at(files.from.clone(), at, files.slab.slice(at, 8).unwrap());
        handle.submit(read, book.expect(What::SlabRead, index, Ok(8)));

        let trail = Arc::new(Mutex::new(Vec::new()));
        let step = |name: &'static str| {
            let trail = trail.clone();
            move |done: Completion| trail.lock().unwrap().push((name, done.result))
        };
        let last = book.expect(What::Sequence, index, Ok(8));
        let steps = trail.clone();
        let fine = Sequence::new()
            .then(Op::nop(), step("nop"))
            .then(Op::write_at(files.both.clone(), at, pattern(index + 1).to_vec()), step("write"))
            .then(Op::timer(Instant::now()), step("timer"))
            .then(Op::read_at(files.both.clone(), at, vec![0; 8]), move |done| {
                let steps = steps.lock().unwrap();
                assert_eq!(*steps, [("nop", Ok(0)), ("write", Ok(8)), ("timer", Ok(0))]);
                last(done);
            });
        handle.submit_sequence(fine);
        let failing = Sequence::new()
            .then(Op::nop(), |done| assert_eq!(done.result, Ok(0)))
            .then(Op::write_at(files.read_only.clone(), 0, vec![1]), |done| {
                let badf = OpError::Os { operation: "write", code: libc::EBADF };
                assert_eq!(done.result, Err(badf));
            })
            .then(
                Op::read_at(files.from.clone(), at, vec![0; 8]),
                book.expect(What::AfterFailure, index, Err(OpError::Canceled)),
            );
        handle.submit_sequence(failing);
    }
}

struct Files {
    from: SharedFd,
    into: SharedFd,
    both: SharedFd,
    read_only: SharedFd,
    slab: MmapBuffer,
}

impl Files {
    fn new(each: usize) -> Self {
        let bytes: Vec<u8> = (0..each).flat_map(pattern).collect();
        Self {
            from: SharedFd::from(file(&bytes)),
            into: SharedFd::from(file(&[])),
            both: SharedFd::from(file(&[])),
            read_only: SharedFd::from(std::fs::File::open("/dev/null").unwrap()),
            slab: slab(((each as u64 * 8) / 4096 + 1) * 4096),
        }
    }

    fn check(&self, book: &Book, each: usize) {
        for index in 0..each {
            assert_eq!(book.bytes[&(What::Read, index)], pattern(index));
            assert_eq!(book.bytes[&(What::Sequence, index)], pattern(index + 1));
            assert_eq!(book.bytes[&(What::AfterFailure, index)], [0; 8], "untouched");
            let part = self.slab.slice(index as u64 * 8, 8).unwrap();
            assert_eq!(part.find_mismatch(u64::from_ne_bytes(pattern(index))), None);
        }
        let mut written = vec![0; each * 8];
        rustix::io::pread(&self.into, &mut written[..], 0).unwrap();
        assert!(written.iter().copied().eq((0..each).flat_map(pattern)));
    }
}

#[test]
fn a_thousand_of_every_kind_complete_once_each() {
    each_kind(|kind| {
        let each = scaled(EACH);
        let (mut proactor, mut book, sources) = (small(kind), Book::new(), Sources::new());
        let (handle, files) = (proactor.handle(), Files::new(each));
        handle.submit(Op::register_buffer(files.slab.clone()), |done| {
            assert_eq!(done.result, Ok(0));
        });
        // All in one turn, those that wait for others first.
        submit_waiting(&handle, &sources, &mut book, each);
        let later = submit_self_ending(&handle, &sources, &mut book, each);
        submit_files(&handle, &files, &mut book, each);
        for what in [
            What::Nop,
            What::Read,
            What::Write,
            What::SlabRead,
            What::Sequence,
            What::AfterFailure,
            What::Timer,
            What::TimedOut,
            What::CanceledAtOnce,
        ] {
            book.run_until(&mut proactor, what);
        }
        later.into_iter().for_each(|id| handle.cancel(id));
        book.run_until(&mut proactor, What::CanceledLater);
        // Nothing but these is left, so the loop sleeps until each of them wakes it.
        std::thread::scope(|scope| {
            let (next, go) = channel();
            let sources = &sources;
            scope.spawn(move || {
                for what in go {
                    for source in 0..SOURCES {
                        match what {
                            What::Wait => sources.notifications[source].signal(),
                            What::ForeignWait => sources.foreign[source].signal(),
                            What::Event => sources.events[source].set(),
                            _ => drop(rustix::io::write(&sources.pipes[source].1, &[1])),
                        }
                    }
                }
            });
            for what in [What::Wait, What::ForeignWait, What::Event, What::Poll] {
                assert!(book.is_open(what), "{what:?} ended without a cause");
                next.send(what).unwrap();
                book.run_until(&mut proactor, what);
            }
        });
        assert_eq!(proactor.pending(), 0);
        assert_eq!(book.open, BTreeMap::new());
        files.check(&book, each);
        for event in &sources.events {
            assert_eq!(event.take(), 1, "the last one set it once more");
        }
        if kind == ProactorKind::IoUring {
            assert_ne!(handle.stats().overflows, 0, "the completion queue held all of it");
        }
    });
}

/// In the inbox, in the backlog, in the kernel's hands: each ends once, and its memory comes back.
#[test]
fn a_proactor_is_dropped_with_a_backlog() {
    each_kind(|kind| {
        let each = scaled(EACH);
        for turns in 0..3 {
            let (mut proactor, sources) = (small(kind), Sources::new());
            let (handle, files) = (proactor.handle(), Files::new(each));
            let (sender, receiver) = channel();
            let submit = |index: usize, op: Op| {
                let (sender, again) = (sender.clone(), handle.clone());
                handle.submit(op, move |done| {
                    let buffer = done.buffer.is_some();
                    sender.send((index, done.result, buffer)).unwrap();
                    // Whoever submits during the drop is refused at once.
                    again.submit(Op::nop(), move |done| {
                        sender.send((usize::MAX, done.result, false)).unwrap();
                    });
                })
            };
            for index in 0..each {
                submit(3 * index, sources.endless(index));
                let buffer = vec![0; 8];
                submit(3 * index + 1, Op::read_at(files.from.clone(), 8 * index as u64, buffer));
                let id = submit(3 * index + 2, sources.endless(index));
                if index % 2 == 0 {
                    handle.cancel(id);
                }
            }
            for _ in 0..turns {
                proactor.poll(Some(Duration::ZERO)).unwrap();
            }
            drop(proactor);
            drop((handle, sender));
            let mut over = vec![0; 3 * each];
            let mut again = 0;
            for (index, result, buffer) in receiver.try_iter() {
                if index == usize::MAX {
                    again += 1;
                    assert!(matches!(result, Ok(0) | Err(OpError::Closed)), "{result:?}");
                    continue;
                }
                over[index] += 1;
                assert_eq!(buffer, index % 3 == 1);
                match (index % 3, result) {
                    (1, Ok(8)) | (_, Err(OpError::Closed)) => {}
                    (2, Err(OpError::Canceled)) if turns > 0 && index / 3 % 2 == 0 => {}
                    (_, other) => panic!("{index}: {other:?}"),
                }
            }
            assert!(over.iter().all(|&count| count == 1), "each ends once");
            assert_eq!(again, 3 * each);
        }
    });
}

/// A transfer that has not left the backlog does not name memory that is unregistered before it does.
#[test]
fn memory_is_unregistered_while_its_transfers_are_in_the_backlog() {
    each_kind(|kind| {
        let (mut proactor, mut book) = (small(kind), Book::new());
        let (handle, files) = (proactor.handle(), Files::new(100));
        let told = |done: Completion| assert_eq!(done.result, Ok(0));
        handle.submit(Op::register_buffer(files.slab.clone()), told);
        assert_eq!(proactor.poll(Some(LONG)).unwrap(), 1);
        for index in 0..100 {
            let at = 8 * index as u64;
            let read = Op::read_at(files.from.clone(), at, files.slab.slice(at, 8).unwrap());
            handle.submit(read, book.expect(What::SlabRead, index, Ok(8)));
        }
        handle.submit(Op::unregister_buffer(files.slab.clone()), told);
        book.run_until(&mut proactor, What::SlabRead);
    });
}

/// A loop that is at work on a backlog hears a signal that comes meanwhile.
#[test]
fn a_thread_signals_while_the_backlog_is_submitted() {
    each_kind(|kind| {
        let rounds = scaled(200);
        let (mut proactor, mut book) = (small(kind), Book::new());
        let (handle, sources) = (proactor.handle(), Sources::new());
        for round in 0..rounds {
            for index in 0..EACH / 10 {
                let told = book.expect(What::Wait, round * EACH + index, Ok(0));
                handle.submit(sources.wait(index), told);
                let told = book.expect(What::CanceledLater, index, Err(OpError::Canceled));
                let id = handle.submit(sources.poll(index, None), told);
                handle.submit(Op::nop(), {
                    let handle = handle.clone();
                    move |_| handle.cancel(id)
                });
            }
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for notification in &sources.notifications {
                        notification.signal();
                    }
                });
                book.run_until(&mut proactor, What::Wait);
                book.run_until(&mut proactor, What::CanceledLater);
            });
        }
    });
}

/// Each operation is told of what it asked for, though one descriptor serves them all.
#[test]
fn a_descriptor_is_waited_for_in_both_directions() {
    each_kind(|kind| {
        let (mut proactor, mut book) = (small(kind), Book::new());
        let handle = proactor.handle();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let ours = SharedFd::from(OwnedFd::from(ours));
        for index in 0..100 {
            let (readable, writable) = (Interest::Readable, Interest::Writable);
            let told = book.expect(What::Poll, index, Ok(1));
            handle.submit(Op::ready(ours.clone(), readable, None), told);
            let told = book.expect(What::Write, index, Ok(4));
            handle.submit(Op::ready(ours.clone(), writable, None), told);
        }
        book.run_until(&mut proactor, What::Write);
        assert_eq!(proactor.pending(), 100);
        rustix::io::write(&theirs, &[1]).unwrap();
        book.run_until(&mut proactor, What::Poll);
        drop(theirs);
        // Its end is told to everybody, asked or not.
        handle.submit(Op::ready(ours, Interest::Writable, None), |done| {
            assert_ne!(done.result.unwrap() & 0x10, 0, "POLLHUP");
        });
        proactor.poll(Some(LONG)).unwrap();
        assert_eq!(proactor.pending(), 0);
    });
}
