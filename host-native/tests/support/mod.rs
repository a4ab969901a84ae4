//! What the tests of proactors share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs::File;
use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use strandline_host_native::proactor::{Completion, OpError, Proactor, ProactorKind};

/// Far more than anything takes here: a test that reaches it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn patience() -> Option<Instant> {
    Some(Instant::now() + PATIENCE)
}

/// Fewer repetitions where every access is checked.
pub(crate) fn scaled(count: usize) -> usize {
    let small = std::env::var("STRANDLINE_TEST_SCALE").is_ok_and(|scale| scale == "small");
    if small { (count / 16).max(1) } else { count }
}

/// Whether this kind can be had; where io_uring is refused, that is said.
pub(crate) fn available(kind: ProactorKind) -> bool {
    match Proactor::builder().kind(kind).build() {
        Ok(_) => true,
        Err(error) => {
            eprintln!("not tested: {error}");
            assert_eq!(kind, ProactorKind::IoUring, "poll can be had everywhere");
            false
        }
    }
}

pub(crate) fn each_kind(test: impl Fn(ProactorKind)) {
    ProactorKind::ALL.into_iter().filter(|kind| available(*kind)).for_each(test);
}

pub(crate) fn proactor(kind: ProactorKind) -> Proactor {
    Proactor::builder().kind(kind).build().unwrap()
}

/// Polls until nothing is pending.
pub(crate) fn run(proactor: &mut Proactor) {
    let end = Instant::now() + PATIENCE;
    while proactor.pending() > 0 {
        assert!(Instant::now() < end, "still pending: {}", proactor.pending());
        proactor.poll_until(Some(end)).unwrap();
    }
}

/// Collects completions in the order in which their callbacks run.
pub(crate) struct Log<T> {
    sender: Sender<(T, Result<usize, OpError>)>,
    receiver: Receiver<(T, Result<usize, OpError>)>,
}

impl<T: Send + 'static> Log<T> {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }

    pub(crate) fn callback(&self, name: T) -> impl FnOnce(Completion) + Send + 'static {
        let sender = self.sender.clone();
        // The test may be over by then.
        move |done| drop(sender.send((name, done.result)))
    }

    pub(crate) fn take(&self) -> Vec<(T, Result<usize, OpError>)> {
        self.receiver.try_iter().collect()
    }
}

/// A file without a name that holds `bytes`.
pub(crate) fn file(bytes: &[u8]) -> File {
    let mut file =
        File::from(rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file
}

/// Descriptors that this process has open.
pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
