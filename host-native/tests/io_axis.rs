//! Files as a timeline: order, bytes, and what is left when files, disks and proactors fail. Over every proactor.
#![cfg(target_os = "linux")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost, PoolId, Request};
use strandline_core::{
    Acquire, Axis, Death, Epoch, Failure, Frontier, Progress, Reservation, SlabId, SlabMap,
    Tracker, WaitError,
};
use strandline_host_native::io_axis::*;
use strandline_host_native::proactor::*;
use strandline_host_native::{FrontierWaitError, MmapBuffer, MmapSlabProvider, wait_frontier};

const SOON: Duration = Duration::from_secs(60);
const AXIS: Axis = Axis::host(1);
/// Of whoever the transfers wait for.
const GATE: Axis = Axis::host(2);

struct Fixture {
    tracker: Tracker,
    slabs: Arc<MmapSlabProvider>,
    pool: TlsfPool,
    proactor: ProactorThread,
    sender: Sender<Transferred>,
    over: Mutex<Receiver<Transferred>>,
}

impl Fixture {
    fn new(kind: ProactorKind) -> (Self, IoAxis) {
        let tracker = Tracker::new(4);
        tracker.register(GATE).unwrap();
        let slabs = Arc::new(MmapSlabProvider::builder().build().unwrap());
        let host = PoolHost::new(slabs.clone(), Arc::new(tracker.clone()));
        let pool = TlsfPool::new(host, TlsfPoolConfig::default()).unwrap();
        let proactor = Proactor::builder().kind(kind).spawn().unwrap();
        let io = IoAxis::new(&tracker, AXIS, proactor.handle().clone(), slabs.clone()).unwrap();
        let (sender, over) = channel();
        (Self { tracker, slabs, pool, proactor, sender, over: Mutex::new(over) }, io)
    }

    fn reserve(&self, size: u64) -> (Reservation, MmapBuffer) {
        let request = Request::new(size).or_grow();
        let Acquire::Ready { reservation, .. } = self.pool.acquire(&request).unwrap() else {
            panic!("no memory")
        };
        let place = (reservation.slab(), reservation.offset());
        (reservation, self.slabs.map(place.0, place.1, size).unwrap())
    }

    fn tell(&self) -> impl FnOnce(Transferred) + Send + 'static {
        let sender = self.sender.clone();
        move |over| sender.send(over).unwrap()
    }

    fn read(&self, io: &IoAxis, size: u64, request: IoRequest) -> (Epoch, MmapBuffer) {
        let (reservation, buffer) = self.reserve(size);
        buffer.fill(0xee);
        (io.read_into(reservation, request, self.tell()).unwrap(), buffer)
    }

    /// The next transfer that is over; its memory goes back to the pool.
    fn next(&self) -> (Epoch, Result<u64, TransferError>) {
        let Transferred { reservation, epoch, result } =
            self.over.lock().unwrap().recv_timeout(SOON).unwrap();
        self.pool.release(reservation, Death::Idle).unwrap();
        (epoch, result)
    }

    fn wait(&self, epoch: Epoch) -> Result<(), FrontierWaitError> {
        let frontier = Frontier::from_entry(AXIS, epoch);
        wait_frontier(&self.tracker, frontier.as_ref(), Some(Instant::now() + SOON))
    }

    /// Nothing is lost.
    fn done(self) {
        assert_eq!(self.pool.stats().live, 0);
        assert_eq!(self.pool.stats().reserved_bytes, 0);
    }
}

fn each(test: impl Fn(Fixture, IoAxis)) {
    support::each_kind(|kind| {
        let (fixture, io) = Fixture::new(kind);
        test(fixture, io);
    });
}

/// A file without a name.
fn file(bytes: &[u8]) -> File {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("strandline-io-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let open = OpenOptions::new().create_new(true).read(true).write(true).open(&path);
    let mut file = open.unwrap();
    fs::remove_file(path).unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x1234_5678_9abc_def0_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn bytes(buffer: &MmapBuffer) -> Vec<u8> {
    let mut bytes = vec![0; buffer.len() as usize];
    buffer.read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn ranges_of_any_size_arrive_where_they_belong() {
    // Beyond one part, so that several are in flight and meet.
    let content = pattern((9 << 20) + 1234);
    let shared: SharedFd = file(&content).into();
    each(|fixture, io| {
        let end = content.len() as u64;
        let ranges = [0..1, 0..end, 5..4101, end - 1..end, 7..7, end..end, 4096..8192, 3..end - 3];
        for range in ranges {
            let len = range.end - range.start;
            // More room than bytes: the rest stays as it was.
            let size = len + 100;
            let request = IoRequest::new(shared.clone(), range.clone());
            let (epoch, buffer) = fixture.read(&io, size, request);
            fixture.wait(epoch).unwrap();
            let mut expected = content[range.start as usize..range.end as usize].to_vec();
            expected.resize(size as usize, 0xee);
            assert!(bytes(&buffer) == expected, "{range:?}");
            let (told, result) = fixture.next();
            assert_eq!((told, result.unwrap()), (epoch, len));
        }
        assert_eq!(io.submitted(), 8);
        fixture.done();
    });
}

#[test]
fn what_is_written_is_read_back() {
    each(|fixture, io| {
        let content = pattern((5 << 20) + 77);
        let shared: SharedFd = file(b"before").into();
        let (reservation, buffer) = fixture.reserve(content.len() as u64);
        buffer.write(0, &content).unwrap();
        let range = 3..3 + content.len() as u64;
        let request = IoRequest::new(shared.clone(), range.clone());
        let written = io.write_from(reservation, request, fixture.tell()).unwrap();
        // The read is ordered after the write by the axis itself.
        let after = Frontier::from_entry(AXIS, written);
        let request = IoRequest::new(shared, 0..range.end).after(after.as_ref());
        let (read, buffer) = fixture.read(&io, range.end, request);
        fixture.wait(read).unwrap();
        assert!(bytes(&buffer) == [b"bef", &content[..]].concat());
        assert!(fixture.next().1.is_ok() && fixture.next().1.is_ok());
        fixture.done();
    });
}

/// The transfers end in the reverse order of their submission; the axis goes 1, 2, 3, …
#[test]
fn epochs_come_in_order_and_without_gaps_whatever_ends_first() {
    const COUNT: u64 = 24;
    let content = pattern(1 << 16);
    let shared: SharedFd = file(&content).into();
    each(|fixture, io| {
        let (reaches, reached) = channel();
        for epoch in 1..=COUNT {
            // The last can begin first.
            let gate = Frontier::from_entry(GATE, COUNT + 1 - epoch);
            let request = IoRequest::new(shared.clone(), 0..epoch * 100).after(gate.as_ref());
            let (given, _) = fixture.read(&io, epoch * 100, request);
            assert_eq!(given, epoch);
            let reaches = reaches.clone();
            let told = move |result: Result<(), WaitError>| {
                result.unwrap();
                reaches.send(epoch).unwrap();
            };
            let frontier = Frontier::from_entry(AXIS, epoch);
            fixture.tracker.wait(frontier.as_ref(), told).unwrap();
        }
        for gate in 1..=COUNT {
            assert_eq!(fixture.tracker.reached(AXIS), 0, "a gap was jumped");
            fixture.tracker.advance(GATE, gate).unwrap();
            let (epoch, result) = fixture.next();
            assert_eq!((epoch, result.unwrap()), (COUNT + 1 - gate, (COUNT + 1 - gate) * 100));
        }
        for epoch in 1..=COUNT {
            assert_eq!(reached.recv_timeout(SOON), Ok(epoch));
        }
        drop(io);
        fixture.done();
    });
}

/// What the system delivers in pieces is put together: a sequence file of the kernel gives a page or so at a time.
#[test]
fn short_reads_go_on_where_they_ended() {
    let Ok(source) = File::open("/proc/kallsyms") else { return };
    let mut whole = vec![0; 100_000];
    let once = source.read_at(&mut whole, 0).unwrap();
    let read = |from: usize, whole: &mut [u8]| source.read_at(&mut whole[from..], from as u64);
    let mut len = once;
    while len < whole.len() {
        match read(len, &mut whole).unwrap() {
            0 => break,
            more => len += more,
        }
    }
    if len < whole.len() {
        // A kernel without symbols: nothing to read here.
        return;
    }
    assert!(once < len, "the kernel gives it in pieces, or this test shows nothing");
    let shared = SharedFd::from(source);
    each(|fixture, io| {
        let (epoch, buffer) =
            fixture.read(&io, len as u64, IoRequest::new(shared.clone(), 0..len as u64));
        fixture.wait(epoch).unwrap();
        assert_eq!(fixture.next().1.unwrap(), len as u64);
        assert!(bytes(&buffer) == whole);
        fixture.done();
    });
}

/// How the error reads, with the bytes that made it.
fn read_error(fixture: &Fixture, io: &IoAxis, request: IoRequest, size: u64) -> TransferError {
    let (epoch, _) = fixture.read(io, size, request.or_report());
    let (told, result) = fixture.next();
    assert_eq!(told, epoch);
    // Only reported: the axis goes on.
    fixture.wait(epoch).unwrap();
    result.unwrap_err()
}

fn errno(error: &TransferError) -> (i32, u64) {
    match error {
        TransferError::Os { code, bytes, .. } => (*code, *bytes),
        other => panic!("{other}"),
    }
}

#[test]
fn a_file_that_ends_too_soon_says_where() {
    for len in [0, 1, 5000, (4 << 20) + 10, 9 << 20] {
        let shared: SharedFd = file(&pattern(len)).into();
        each(|fixture, io| {
            let (len, end) = (len as u64, (10 << 20) + 3);
            let request = IoRequest::new(shared.clone(), 0..end);
            let error = read_error(&fixture, &io, request, end);
            assert!(matches!(error, TransferError::EndOfFile { bytes } if bytes == len), "{error}");
            // From beyond the end.
            let request = IoRequest::new(shared.clone(), end..end + 10);
            let error = read_error(&fixture, &io, request, 10);
            assert!(matches!(error, TransferError::EndOfFile { bytes: 0 }), "{error}");
            drop(io);
            fixture.done();
        });
    }
}

/// Address 0 of this process cannot be read: the kernel says EIO.
#[test]
fn a_broken_file_gives_its_error() {
    let folder = SharedFd::from(File::open("/").unwrap());
    let memory = SharedFd::from(File::open("/proc/self/mem").unwrap());
    let write_only = SharedFd::from(OpenOptions::new().write(true).open("/dev/null").unwrap());
    each(|fixture, io| {
        for (broken, code) in
            [(&memory, libc::EIO), (&folder, libc::EISDIR), (&write_only, libc::EBADF)]
        {
            let request = IoRequest::new(broken.clone(), 0..100);
            let error = read_error(&fixture, &io, request, 100);
            assert_eq!(errno(&error), (code, 0), "{error}");
        }
        drop(io);
        fixture.done();
    });
}

#[test]
fn a_full_disk_gives_its_error_and_the_memory_back() {
    let full = SharedFd::from(OpenOptions::new().write(true).open("/dev/full").unwrap());
    each(|fixture, io| {
        let (reservation, _) = fixture.reserve(9 << 20);
        let request = IoRequest::new(full.clone(), 0..9 << 20).or_report();
        let epoch = io.write_from(reservation, request, fixture.tell()).unwrap();
        let (told, result) = fixture.next();
        assert_eq!(told, epoch);
        let error = result.unwrap_err();
        assert_eq!(errno(&error), (libc::ENOSPC, 0), "{error}");
        fixture.wait(epoch).unwrap();
        drop(io);
        fixture.done();
    });
}

/// The first error fails the axis at its epoch: all before it are reached, none from it on, and whoever waits
/// is told why.
#[test]
fn an_error_fails_the_axis_at_its_epoch() {
    let content = pattern(1000);
    let shared: SharedFd = file(&content).into();
    each(|fixture, io| {
        let held = Frontier::from_entry(GATE, 1);
        let request = |range| IoRequest::new(shared.clone(), range);
        let (first, _) = fixture.read(&io, 10, request(0..10).after(held.as_ref()));
        let (bad, _) = fixture.read(&io, 2000, request(0..2000));
        // Under way beside the bad one, or waiting for ever.
        let (beside, _) = fixture.read(&io, 1000, request(0..1000));
        let never = Frontier::from_entry(GATE, 9);
        let (behind, _) = fixture.read(&io, 10, request(0..10).after(never.as_ref()));
        let mut results: Vec<_> = [fixture.next(), fixture.next()].into();
        results.sort_by_key(|(epoch, _)| *epoch);
        assert!(matches!(results[0].1, Err(TransferError::EndOfFile { bytes: 1000 })));
        assert_eq!((results[0].0, results[1].0), (bad, beside));
        // It got its bytes; whether its epoch is reached is another matter.
        assert_eq!(*results[1].1.as_ref().unwrap(), 1000);
        assert_eq!(fixture.tracker.reached(AXIS), 0, "the first is not over");
        assert!(matches!(fixture.tracker.end_of(AXIS), Ok(None)));

        fixture.tracker.advance(GATE, 1).unwrap();
        assert_eq!(fixture.next().0, first);
        fixture.wait(first).unwrap();
        for epoch in [bad, beside, behind] {
            let error = fixture.wait(epoch).unwrap_err();
            let FrontierWaitError::Ended(WaitError::Failed { axis, failure }) = error else {
                panic!("{error}")
            };
            assert_eq!(axis, AXIS);
            let cause = failure.get_ref().downcast_ref::<TransferError>().unwrap();
            assert!(matches!(cause, TransferError::EndOfFile { bytes: 1000 }), "{cause}");
        }
        assert_eq!(fixture.tracker.reached(AXIS), first);

        // Nothing more is taken, nor begun.
        let (reservation, _) = fixture.reserve(10);
        let refused = io.read_into(reservation, request(0..10), fixture.tell()).unwrap_err();
        assert!(matches!(refused.why, IoRefusal::Failed(_)), "{refused}");
        fixture.pool.release(refused.reservation, Death::Idle).unwrap();
        fixture.tracker.advance(GATE, 9).unwrap();
        let (epoch, result) = fixture.next();
        assert_eq!(epoch, behind);
        assert!(matches!(result, Err(TransferError::Failed(_))), "{result:?}");
        drop(io);
        fixture.done();
    });
}

#[test]
fn what_can_never_begin_comes_back() {
    let shared: SharedFd = file(&pattern(10)).into();
    each(|fixture, io| {
        let gate = Frontier::from_entry(GATE, 5);
        let request = || IoRequest::new(shared.clone(), 0..10).after(gate.as_ref());
        let (reported, _) = fixture.read(&io, 10, request().or_report());
        let (failing, _) = fixture.read(&io, 10, request());
        fixture.tracker.fail_axis(GATE, Failure::message("device lost")).unwrap();
        for _ in 0..2 {
            let (_, result) = fixture.next();
            let error = result.unwrap_err();
            assert!(matches!(error, TransferError::NeverReady(_)), "{error}");
            assert!(error.to_string().contains("device lost"), "{error}");
        }
        fixture.wait(reported).unwrap();
        assert!(fixture.wait(failing).unwrap_err().to_string().contains("device lost"));
        drop(io);
        fixture.done();
    });
}

#[test]
fn requests_that_make_no_sense_are_refused_with_the_reservation() {
    let shared: SharedFd = file(&pattern(10)).into();
    each(|fixture, io| {
        let refusal = |request: IoRequest| {
            let (reservation, _) = fixture.reserve(10);
            let refused = io.read_into(reservation, request, |_| panic!("refused")).unwrap_err();
            fixture.pool.release(refused.reservation, Death::Idle).unwrap();
            refused.why
        };
        let request = |range| IoRequest::new(shared.clone(), range);
        #[allow(clippy::reversed_empty_ranges, reason = "what is to be refused")]
        for range in [0..11, 5..4, u64::MAX - 5..u64::MAX, 1 << 63..(1 << 63) + 5] {
            let why = refusal(request(range.clone()));
            assert!(matches!(why, IoRefusal::Range { size: 10, .. }), "{range:?}: {why}");
        }
        let unknown = Frontier::from_entry(Axis::host(9).with_session(9).with_machine(9), 1);
        let why = refusal(request(0..10).after(unknown.as_ref()));
        assert!(matches!(why, IoRefusal::Tracker(_)), "{why}");
        for epoch in [1, 2, u64::MAX] {
            let own = Frontier::from_entry(AXIS, epoch);
            let why = refusal(request(0..10).after(own.as_ref()));
            assert!(matches!(why, IoRefusal::WaitsForItself { epoch: 1 }), "{why}");
        }
        let foreign = Reservation::foreign(PoolId::next(), SlabId::new(77, 7), 0, 10, 0);
        let refused = io.read_into(foreign, request(0..10), |_| panic!("refused")).unwrap_err();
        assert!(matches!(refused.why, IoRefusal::Slab(_)), "{refused}");
        assert_eq!(refused.reservation.slab(), SlabId::new(77, 7));
        // No epoch was given out.
        assert_eq!(io.submitted(), 0);
        drop(io);
        assert!(matches!(fixture.tracker.end_of(AXIS), Ok(Some(WaitError::Retired { .. }))));
        fixture.done();
    });
}

#[test]
fn a_proactor_that_goes_gives_everything_back() {
    let shared: SharedFd = file(&pattern(16 << 20)).into();
    each(|mut fixture, io| {
        let gate = Frontier::from_entry(GATE, 1);
        let other = Proactor::builder().spawn().unwrap();
        let request = |n: u64| IoRequest::new(shared.clone(), n..16 << 20);
        for n in 0..4 {
            fixture.read(&io, 16 << 20, request(n));
        }
        fixture.read(&io, 16 << 20, request(0).after(gate.as_ref()));
        drop(core::mem::replace(&mut fixture.proactor, other));
        let count = |fixture: &Fixture, n: usize| {
            for _ in 0..n {
                let (_, result) = fixture.next();
                assert!(matches!(result, Ok(_) | Err(TransferError::Closed { .. })), "{result:?}");
            }
        };
        count(&fixture, 4);
        // This one begins after the proactor has gone.
        fixture.tracker.advance(GATE, 1).unwrap();
        count(&fixture, 1);
        drop(io);
        fixture.done();
    });
}

#[test]
fn dropping_the_axis_cancels_what_waits_and_finishes_what_runs() {
    let shared: SharedFd = file(&pattern(8 << 20)).into();
    each(|fixture, io| {
        let gate = Frontier::from_entry(GATE, 1);
        let request = || IoRequest::new(shared.clone(), 0..8 << 20).or_report();
        let (runs, _) = fixture.read(&io, 8 << 20, request());
        let (waits, _) = fixture.read(&io, 8 << 20, request().after(gate.as_ref()));
        drop(io);
        let mut over = [fixture.next(), fixture.next()];
        over.sort_by_key(|(epoch, _)| *epoch);
        assert_eq!((over[0].0, *over[0].1.as_ref().unwrap()), (runs, 8 << 20));
        assert_eq!(over[1].0, waits);
        assert!(matches!(over[1].1, Err(TransferError::Closed { bytes: 0 })), "{:?}", over[1].1);
        fixture.wait(waits).unwrap();
        let end = Frontier::from_entry(AXIS, waits + 1);
        let deadline = Some(Instant::now() + SOON);
        let error = wait_frontier(&fixture.tracker, end.as_ref(), deadline).unwrap_err();
        assert!(matches!(error, FrontierWaitError::Ended(WaitError::Retired { .. })), "{error}");
        // The gate opens for nobody.
        fixture.tracker.advance(GATE, 1).unwrap();
        fixture.done();
    });
}

#[test]
fn a_callback_that_panics_keeps_nobody_waiting() {
    let shared: SharedFd = file(&pattern(10)).into();
    each(|fixture, io| {
        let (reservation, _) = fixture.reserve(10);
        let (lost, keep) = channel();
        let request = IoRequest::new(shared.clone(), 0..10);
        let bad = move |over: Transferred| {
            lost.send(over).unwrap();
            panic!("on purpose");
        };
        let epoch = io.read_into(reservation, request, bad).unwrap();
        fixture.wait(epoch).unwrap();
        let over = keep.recv().unwrap();
        fixture.pool.release(over.reservation, Death::Idle).unwrap();
        drop(io);
        fixture.done();
    });
}

/// The memory is freed by the transfer's own epoch, before that is reached: whoever gets it next is ordered after.
#[test]
fn memory_can_be_freed_with_a_death_on_the_axis() {
    let shared: SharedFd = file(&pattern(4096)).into();
    each(|fixture, io| {
        let gate = Frontier::from_entry(GATE, 1);
        // Held back, so that the second one's epoch cannot be reached.
        fixture.read(&io, 10, IoRequest::new(shared.clone(), 0..10).after(gate.as_ref()));
        let (epoch, _) = fixture.read(&io, 4096, IoRequest::new(shared.clone(), 0..4096));
        let over = fixture.over.lock().unwrap().recv_timeout(SOON).unwrap();
        assert_eq!(over.epoch, epoch);
        let (place, death) = (over.reservation.offset(), Frontier::from_entry(AXIS, epoch));
        fixture.pool.release(over.reservation, Death::After(death.as_ref())).unwrap();
        let stats = fixture.pool.stats();
        assert!(stats.pending_bytes >= 4096, "{stats:?}");
        let known = Request::new(4096).after(death.as_ref());
        let Acquire::Ready { reservation, .. } = fixture.pool.acquire(&known).unwrap() else {
            panic!("who is ordered after it gets it at once")
        };
        assert_eq!(reservation.offset(), place);
        fixture.pool.release(reservation, Death::Idle).unwrap();
        fixture.tracker.advance(GATE, 1).unwrap();
        assert!(fixture.next().1.is_ok());
        fixture.wait(epoch).unwrap();
        fixture.done();
    });
}

#[test]
fn registered_slabs_are_transferred_by_fixed_operations() {
    let content = pattern(1 << 20);
    let shared: SharedFd = file(&content).into();
    each(|fixture, io| {
        let (reservation, buffer) = fixture.reserve(1 << 20);
        let slab = reservation.slab();
        let size = 1 << 20;
        let (sender, registered) = channel();
        let told = sender.clone();
        io.register(slab, size, move |result| told.send(result).unwrap()).unwrap();
        // The limit of locked memory may be too low: refused, and everything works as before.
        let fixed = registered.recv_timeout(SOON).unwrap();
        let before = fixture.proactor.handle().stats().fixed_transfers;
        let request = IoRequest::new(shared.clone(), 0..1 << 20);
        let epoch = io.read_into(reservation, request, fixture.tell()).unwrap();
        fixture.wait(epoch).unwrap();
        assert!(bytes(&buffer) == content);
        let fixed_transfers = fixture.proactor.handle().stats().fixed_transfers - before;
        let expected = fixture.proactor.kind() == ProactorKind::IoUring && fixed.is_ok();
        assert_eq!(fixed_transfers > 0, expected, "{fixed:?}");
        fixture.next().1.unwrap();
        if fixed.is_ok() {
            io.unregister(slab, size, move |result| sender.send(result).unwrap()).unwrap();
            registered.recv_timeout(SOON).unwrap().unwrap();
        }
        let nowhere = SlabId::new(99, 9);
        assert!(io.register(nowhere, 1, |_| panic!("no such slab")).is_err());
        drop(io);
        fixture.done();
    });
}

/// Transfers from several threads, of any size, some of which fail: every reservation comes back, and every byte
/// that is said to be there is.
#[test]
fn many_at_once() {
    let scale = if std::env::var("STRANDLINE_TEST_SCALE").is_ok() { 40 } else { 400 };
    let content = pattern(300_000);
    let shared: SharedFd = file(&content).into();
    each(|fixture, io| {
        let (sender, over) = channel();
        std::thread::scope(|scope| {
            for thread in 0..3_u64 {
                let (fixture, io, sender, shared) = (&fixture, &io, sender.clone(), &shared);
                scope.spawn(move || {
                    let mut random = 0x5eed + thread;
                    for _ in 0..scale {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(7);
                        let start = (random >> 20) % 300_000;
                        let len = (random >> 40) % 9000;
                        let (reservation, buffer) = fixture.reserve(len.max(1));
                        let request =
                            IoRequest::new(shared.clone(), start..start + len).or_report();
                        let sender = sender.clone();
                        let done = move |over| sender.send((over, start, len, buffer)).unwrap();
                        io.read_into(reservation, request, done).unwrap();
                    }
                });
            }
        });
        drop(sender);
        let mut epochs = Vec::new();
        while epochs.len() < 3 * scale {
            let (over, start, len, buffer): (Transferred, u64, u64, MmapBuffer) =
                over.recv_timeout(SOON).unwrap();
            let there = 300_000_u64.saturating_sub(start).min(len);
            match over.result {
                Ok(bytes) => assert_eq!((bytes, there), (len, len)),
                Err(TransferError::EndOfFile { bytes }) => assert_eq!(bytes, there),
                Err(error) => panic!("{error}"),
            }
            let read = bytes(&buffer);
            assert!(read[..there as usize] == content[start as usize..][..there as usize]);
            epochs.push(over.epoch);
            fixture.pool.release(over.reservation, Death::Idle).unwrap();
        }
        epochs.sort_unstable();
        assert!(epochs.iter().copied().eq(1..=3 * scale as u64));
        fixture.wait(3 * scale as u64).unwrap();
        assert_eq!(fixture.tracker.reached(AXIS), 3 * scale as u64);
        drop(io);
        fixture.done();
    });
}

#[test]
fn a_file_is_loaded_over_several_axes() {
    let content = pattern((6 << 20) + 5);
    let shared: SharedFd = file(&content).into();
    each(|fixture, first| {
        let axis = Axis::host(3);
        let handle = fixture.proactor.handle().clone();
        let second = IoAxis::new(&fixture.tracker, axis, handle, fixture.slabs.clone()).unwrap();
        let end = content.len() as u64;
        let ranges = [0..100, 100..100, 100..5 << 20, 5 << 20..end, 0..end];
        let mut heard = Vec::new();
        let axes = [first, second];
        let mut hear = |bytes| heard.push(bytes);
        let loaded = load(&axes, &fixture.pool, &shared, &ranges, 64, &mut hear).unwrap();
        assert!(heard.is_sorted() && heard.last() == Some(&(2 * end)), "{heard:?}");
        assert!(axes.iter().all(|axis| axis.submitted() > 0), "both worked");
        for (range, reservation) in ranges.iter().zip(loaded) {
            let Some(reservation) = reservation else {
                assert!(range.is_empty());
                continue;
            };
            assert_eq!(reservation.offset() % 64, 0);
            let (slab, offset) = (reservation.slab(), reservation.offset());
            let buffer = fixture.slabs.map(slab, offset, reservation.size()).unwrap();
            assert!(bytes(&buffer) == content[range.start as usize..range.end as usize]);
            fixture.pool.release(reservation, Death::Idle).unwrap();
        }

        // What fails gives everything back.
        let beyond = [0..100, 50..end + 1, 0..1000];
        let error = load(&axes, &fixture.pool, &shared, &beyond, 64, &mut |_| ()).unwrap_err();
        let expected = matches!(
            &error,
            LoadError::Transfer { index: 1, error: TransferError::EndOfFile { bytes } }
                if *bytes == end - 50
        );
        assert!(expected, "{error}");
        let error = load(&[], &fixture.pool, &shared, &ranges, 64, &mut |_| ()).unwrap_err();
        assert!(matches!(error, LoadError::NoAxis), "{error}");
        let huge = [0..1, 0..1 << 50];
        let error = load(&axes, &fixture.pool, &shared, &huge, 64, &mut |_| ()).unwrap_err();
        assert!(matches!(error, LoadError::Pool(_) | LoadError::NoMemory { .. }), "{error}");
        drop(axes);
        fixture.done();
    });
}
