//! A notification shared with a real other process: this test's own program, started again.
#![cfg(target_os = "linux")]

mod support;

use rustix::fs::{MemfdFlags, SealFlags};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use strandline_core::Notification;
use strandline_host_native::proactor::Proactor;
use strandline_host_native::shared::SharedNotification;
use strandline_host_native::{WaitResult, thread_wake, wait};
use support::{each_kind, patience, scaled};

const SOCKET: &str = "STRANDLINE_TEST_SOCKET";
const ROLE: &str = "STRANDLINE_TEST_ROLE";

/// A process that takes part. Killed when dropped.
struct Peer {
    child: Child,
    socket: UnixStream,
}

impl Peer {
    fn start(role: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("strandline-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_other_process", "--ignored", "--nocapture"])
            .env(SOCKET, &path)
            .env(ROLE, role)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (socket, _) = listener.accept().unwrap();
        std::fs::remove_file(path).unwrap();
        socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
        Self { child, socket }
    }

    /// The peer has done something.
    fn hear(&mut self) -> u8 {
        let mut byte = [0];
        self.socket.read_exact(&mut byte).unwrap();
        byte[0]
    }

    fn tell(&mut self, byte: u8) {
        self.socket.write_all(&[byte]).unwrap();
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test by itself: what the other process runs.
#[test]
#[ignore = "started by the other tests, as their peer"]
fn the_other_process() {
    let Some(path) = std::env::var_os(SOCKET) else { return };
    let mut socket = UnixStream::connect(path).unwrap();
    let shared = SharedNotification::receive(&socket).unwrap();
    let turns = scaled(2000) as u32;
    match std::env::var(ROLE).unwrap().as_str() {
        "blocked" => {
            let seen = shared.observe();
            socket.write_all(&[1]).unwrap();
            assert_eq!(shared.wait(seen, patience()), WaitResult::Signaled);
            socket.write_all(&[2]).unwrap();
        }
        "signals" => {
            socket.write_all(&[1]).unwrap();
            let mut byte = [0];
            while socket.read_exact(&mut byte).is_ok() {
                shared.signal();
            }
        }
        // Waits in every way until it is killed.
        "dies" => {
            let thread = Proactor::builder().spawn().unwrap();
            let local = Arc::new(Notification::new(Some(thread_wake())));
            let seen = shared.observe();
            let _mirror = shared.mirror(thread.handle(), &local);
            std::thread::scope(|scope| {
                scope.spawn(|| shared.wait(seen, None));
                let seen = local.observe();
                socket.write_all(&[1]).unwrap();
                let _ = wait(&local, seen, None);
                unreachable!("nobody signals");
            });
        }
        // Takes turns: even values are the other's.
        "turns" => {
            let mut seen = shared.observe();
            socket.write_all(&[1]).unwrap();
            for _ in 0..turns {
                assert_eq!(shared.wait(seen, patience()), WaitResult::Signaled);
                shared.signal();
                // Two signals a turn: the other's and ours.
                seen = shared.observe();
                socket.write_all(&[2]).unwrap();
            }
        }
        role => panic!("{role}?"),
    }
}

#[test]
fn a_thread_of_another_process_is_woken() {
    let shared = SharedNotification::create(2).unwrap();
    let mut peer = Peer::start("blocked");
    shared.send(&peer.socket).unwrap();
    assert_eq!(peer.hear(), 1);
    shared.signal();
    assert_eq!(peer.hear(), 2);
    assert!(peer.child.wait().unwrap().success());
}

#[test]
fn two_processes_take_turns() {
    let shared = SharedNotification::create(2).unwrap();
    let mut peer = Peer::start("turns");
    shared.send(&peer.socket).unwrap();
    assert_eq!(peer.hear(), 1);
    for _ in 0..scaled(2000) {
        let seen = shared.observe();
        shared.signal();
        assert_eq!(peer.hear(), 2);
        assert!(shared.changed_since(seen));
    }
    assert!(peer.child.wait().unwrap().success());
}

#[test]
fn a_loop_hears_another_process() {
    each_kind(|kind| {
        let thread = Proactor::builder().kind(kind).spawn().unwrap();
        let shared = SharedNotification::create(2).unwrap();
        let mut peer = Peer::start("signals");
        shared.send(&peer.socket).unwrap();
        assert_eq!(peer.hear(), 1);
        let local = Arc::new(Notification::new(Some(thread_wake())));
        let mirror = shared.mirror(thread.handle(), &local);
        for _ in 0..scaled(500) {
            let seen = local.observe();
            peer.tell(1);
            assert_eq!(wait(&local, seen, patience()), WaitResult::Signaled);
        }
        drop(mirror);
    });
}

/// A peer is killed while its threads and loops wait: those who are left go on, and a new one takes its place.
#[test]
fn a_peer_that_is_killed_harms_nobody() {
    let shared = SharedNotification::create(3).unwrap();
    let (here, there) = UnixStream::pair().unwrap();
    shared.send(&here).unwrap();
    let local = SharedNotification::receive(&there).unwrap();
    assert_eq!((shared.participant(), local.participant()), (0, 1));
    let mut killed = 0;
    for _ in 0..4 {
        let mut peer = Peer::start("dies");
        shared.send(&peer.socket).unwrap();
        assert_eq!(peer.hear(), 1);
        // All places are taken now.
        shared.send(&here).unwrap();
        let refused = SharedNotification::receive(&there).map(drop).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::QuotaExceeded);
        peer.kill();
        killed += 1;
        // What it left is stepped over: waits here go on as ever.
        for _ in 0..100 {
            let seen = local.observe();
            std::thread::scope(|scope| {
                scope.spawn(|| shared.signal());
                assert_eq!(local.wait(seen, patience()), WaitResult::Signaled);
            });
        }
        // Its place is free again, and clean.
        shared.send(&here).unwrap();
        let heir = SharedNotification::receive(&there).unwrap();
        assert_eq!(heir.participant(), 2);
        let seen = heir.observe();
        shared.signal();
        assert_eq!(heir.wait(seen, patience()), WaitResult::Signaled);
    }
    assert_eq!(killed, 4);
}

#[test]
fn what_is_not_a_shared_notification_is_refused() {
    let (here, there) = UnixStream::pair().unwrap();
    // Nothing, and nobody will send anything.
    drop(here);
    let gone = SharedNotification::receive(&there).map(drop).unwrap_err();
    assert_eq!(gone.kind(), std::io::ErrorKind::UnexpectedEof);
    let (mut here, there) = UnixStream::pair().unwrap();
    here.write_all(b"strdntf1").unwrap();
    let bare = SharedNotification::receive(&there).map(drop).unwrap_err();
    assert_eq!(bare.kind(), std::io::ErrorKind::InvalidData, "no descriptors");
    here.write_all(b"something").unwrap();
    let other = SharedNotification::receive(&there).map(drop).unwrap_err();
    assert_eq!(other.kind(), std::io::ErrorKind::InvalidData, "another greeting");

    // Files that are not what they should be: not sealed, too small, not initialized.
    let plain = rustix::fs::memfd_create("x", MemfdFlags::empty()).unwrap();
    rustix::fs::ftruncate(&plain, 4096).unwrap();
    let sealed = |size| {
        let file = rustix::fs::memfd_create("x", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&file, size).unwrap();
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW).unwrap();
        file
    };
    for file in [plain, sealed(64), sealed(4096)] {
        let (here, there) = UnixStream::pair().unwrap();
        send(&here, file.as_fd());
        let refused = SharedNotification::receive(&there).map(drop).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidData);
    }
    for participants in [0, SharedNotification::MAX_PARTICIPANTS + 1] {
        let refused = SharedNotification::create(participants).map(drop).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    }
}

fn send(socket: &UnixStream, fd: std::os::fd::BorrowedFd<'_>) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut space = [core::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let greeting = [std::io::IoSlice::new(b"strdntf1")];
    sendmsg(socket, &greeting, &mut control, SendFlags::empty()).unwrap();
}

/// As many participants as there can be, all here: every slot is woken by every signal.
#[test]
fn all_places_hear() {
    let shared = SharedNotification::create(SharedNotification::MAX_PARTICIPANTS).unwrap();
    let (here, there) = UnixStream::pair().unwrap();
    let others: Vec<_> = (1..SharedNotification::MAX_PARTICIPANTS)
        .map(|place| {
            shared.send(&here).unwrap();
            let other = SharedNotification::receive(&there).unwrap();
            assert_eq!(other.participant(), place);
            other
        })
        .collect();
    let seen = shared.observe();
    std::thread::scope(|scope| {
        for other in &others {
            scope.spawn(move || assert_eq!(other.wait(seen, patience()), WaitResult::Signaled));
        }
        others[3].signal();
    });
}
