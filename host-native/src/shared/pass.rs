//! Descriptors over a Unix socket, with a few bytes that say what they are.

use super::page::{SLOTS, invalid};
use core::mem::MaybeUninit;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The memory, and an eventfd for each participant.
const FDS: usize = 1 + SLOTS;
const GREETING: [u8; 8] = *b"strdntf1";

/// Sends descriptors, at most [`FDS`], in one message.
pub(super) fn send(socket: impl AsFd, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if fds.len() > FDS || !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(invalid("too many descriptors for one message"));
    }
    let greeting = [IoSlice::new(&GREETING)];
    loop {
        match sendmsg(&socket, &greeting, &mut control, SendFlags::NOSIGNAL) {
            Ok(sent) if sent == GREETING.len() => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives what [`send`] sent.
pub(super) fn receive(socket: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; GREETING.len()];
    let message = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    // Collected before anything is refused: what was received is closed then, not leaked.
    let fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if message.bytes != GREETING.len() || bytes != GREETING {
        return Err(invalid("not a shared notification's message"));
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("descriptors were lost: this process may have too many open"));
    }
    Ok(fds)
}
