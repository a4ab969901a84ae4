//! A slab and two processes: the child gets the memory as its standard input, and works in it.
#![cfg(target_os = "linux")]

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use strandline_core::{Grant, SlabMap, SlabProvider};
use strandline_host_native::{MmapSlabProvider, SharedSlab};

const CHILD: &str = "STRANDLINE_TEST_CHILD";
const SIZE: u64 = 1 << 16;
const WRITTEN: u64 = 0x0123_4567_89ab_cdef;
const ANSWERED: u64 = !WRITTEN;

/// What the other process does: it checks every byte and answers in place.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        // Not the other process: nothing is on standard input.
        return;
    }
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let slab = SharedSlab::try_from(stdin).unwrap();
    assert_eq!(slab.size(), SIZE);
    let buffer = slab.map().unwrap();
    assert_eq!(buffer.find_mismatch(WRITTEN), None);
    buffer.fill_u64(ANSWERED);
}

#[test]
fn another_process_maps_the_slab() {
    let provider = MmapSlabProvider::builder().shared(true).guard_pages(true).build().unwrap();
    let Grant::Slab(slab) = provider.acquire(SIZE).unwrap() else { panic!("no memory") };
    let buffer = provider.map(slab.id, 0, SIZE).unwrap();
    buffer.fill_u64(WRITTEN);
    let sent = OwnedFd::from(provider.share(slab.id).unwrap());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::from(sent))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The child has ended; its memory is ours still.
    assert_eq!(buffer.find_mismatch(ANSWERED), None);
    provider.release(slab.id).unwrap();
    drop(buffer);
    assert_eq!(provider.mapped_bytes(), 0);
}
