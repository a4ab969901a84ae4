//! What happens when the system has no descriptor left. The limit is the process's, so this is a process of its
//! own.
#![cfg(target_os = "linux")]

mod support;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use strandline_core::Semaphore;
use strandline_host_native::event::Event;
use strandline_host_native::fence;
use strandline_host_native::proactor::{Proactor, ProactorError, ProactorKind};
use strandline_host_native::shared::SharedNotification;
use support::{available, open_descriptors};

#[test]
fn every_way_to_run_out_of_descriptors_is_an_error_and_leaks_none() {
    let uring = available(ProactorKind::IoUring);
    let before = open_descriptors();
    let limits = getrlimit(Resource::Nofile);
    let (here, there) = UnixStream::pair().unwrap();
    // The limit is on numbers: the gaps below the highest are filled, so that it counts.
    let highest = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        entry.unwrap().file_name().to_str().and_then(|name| name.parse::<i32>().ok())
    });
    let highest = highest.max().unwrap();
    let mut filling = Vec::new();
    while filling.last().is_none_or(|fd: &std::os::fd::OwnedFd| fd.as_raw_fd() < highest) {
        filling.push(here.as_fd().try_clone_to_owned().unwrap());
    }
    let base = filling.last().map_or(0, |fd| fd.as_raw_fd() as u64 + 1);
    let mut seen = [false; 3];
    // One descriptor more each time, until everything works.
    for spare in 0..12 {
        let before = open_descriptors();
        let limit = Rlimit { current: Some(base + spare), maximum: limits.maximum };
        setrlimit(Resource::Nofile, limit).unwrap();
        let auto = Proactor::new().map(drop);
        let forced = Proactor::builder().kind(ProactorKind::IoUring).build().map(drop);
        let thread = Proactor::builder().spawn().map(drop);
        let event = Event::new().map(drop);
        let semaphore = Semaphore::new(0);
        let exported = fence::export(&semaphore, 1).map(drop);
        let shared = SharedNotification::create(3);
        let received = shared.as_ref().ok().map(|shared| {
            shared.send(&here).unwrap();
            SharedNotification::receive(&there).map(drop)
        });
        let shared = shared.map(drop);
        // An export keeps its descriptor until it is over.
        drop(semaphore);
        setrlimit(Resource::Nofile, limits).unwrap();
        match &auto {
            Err(ProactorError::Doorbell(error)) => {
                seen[0] = true;
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                assert!(event.is_err() && exported.is_err() && thread.is_err());
            }
            Err(error) => panic!("{error}"),
            Ok(()) => assert!(event.is_ok() && exported.is_ok() && thread.is_ok()),
        }
        if let Err(ProactorError::IoUring(error)) = &forced {
            seen[1] |= uring && error.raw_os_error() == Some(libc::EMFILE);
            assert!(auto.is_ok(), "falls back to poll");
        }
        if let Some(Err(error)) = &received {
            seen[2] = true;
            assert!(!error.to_string().is_empty());
        }
        if spare == 11 {
            assert!(auto.is_ok() && shared.is_ok() && matches!(received, Some(Ok(()))));
            assert_eq!(forced.is_ok(), uring);
        }
        assert_eq!(open_descriptors(), before, "with {spare} to spare");
    }
    assert!(seen[0] && (seen[1] || !uring) && seen[2], "{seen:?}");
    drop((here, there, filling));
    assert_eq!(open_descriptors(), before);
}
