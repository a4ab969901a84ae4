//! `pread` and `pwrite` on memory that safe code must not see as a slice.
//!
//! # Safety
//! A transfer owns its buffer. A vector's bytes are its own. A slab's bytes are shared with
//! whoever holds a buffer of them, and safe code touches them by atomics only; the kernel, which reads
//! or writes them here, is no part of the program's memory model. They stay mapped as long as the buffer is
//! held, which is longer than the call.

use super::op::{Direction, Transfer};
use rustix::io::Errno;
use std::io;

/// Does the transfer, again when a signal interrupts it. Bytes transferred.
pub(super) fn transfer(transfer: &mut Transfer) -> Result<u32, Errno> {
    let Transfer { direction, fd, offset, buffer } = transfer;
    let (fd, len) = (fd.raw(), buffer.len());
    let Ok(offset) = libc::off_t::try_from(*offset) else { return Err(Errno::INVAL) };
    let at = buffer.as_mut_ptr();
    loop {
        // SAFETY: `len` bytes from `at` are the buffer's; see the file's head.
        let count = unsafe {
            match direction {
                Direction::Read => libc::pread(fd, at.cast(), len, offset),
                Direction::Write => libc::pwrite(fd, at.cast(), len, offset),
            }
        };
        if let Ok(count) = u32::try_from(count) {
            return Ok(count);
        }
        match Errno::from_io_error(&io::Error::last_os_error()) {
            Some(Errno::INTR) => {}
            Some(error) => return Err(error),
            None => return Err(Errno::IO),
        }
    }
}
