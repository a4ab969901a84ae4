//! The owner's slabs in members of the same machine, and what makes sure that such a member is gone.
//!
//! ```text
//!   member                         owner
//!     │ ── connect ──────────────▶ │  whose process is it? ─▶ pidfd
//!     │ ◀───────────── greeting ── │
//!     │ ── who it is ────────────▶ │  live? written down with the pidfd, then:
//!     │ ◀───────────────── taken ─ │
//!     │ ── slab ─────────────────▶ │
//!     │ ◀────── a memfd, mapped ── │
//! ```
//!
//! A process that has mapped a slab can touch it until it ends, whatever anybody says. So the owner writes down which process it is
//! before it hands out any descriptor, and to fence the member it ends that process and waits until the kernel says that it has ended.
//!
//! # Trust
//! Only processes of the owner's own user are taken. That the process which connected is the one behind the socket's credentials
//! and still alive is known because it answers the greeting, which is sent after its pidfd was opened.

use core::fmt;
use core::mem::MaybeUninit;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};
use rustix::time::Timespec;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use strandline_core::fleet::Names;
use strandline_core::fleet::message::Who;
use strandline_core::slab::SlabId;
use strandline_host_native::{
    BufferError, MmapBuffer, MmapSlabProvider, SharedSlab, SharedSlabError,
};

const GREETING: [u8; 8] = *b"strdflt1";
/// Greeting, incarnation, session, machine.
const HELLO: usize = 18;
const TAKEN: u8 = 1;
const NO_SUCH_SLAB: u8 = 2;

/// Why bytes are not here.
#[derive(Debug)]
#[non_exhaustive]
pub enum LocalError {
    /// The member has no connection to the owner's slabs.
    NotLocal,
    /// The owner has no such slab.
    NoSuchSlab(SlabId),
    /// What came is no slab.
    Slab(SharedSlabError),
    /// The range is not in the slab.
    Range(BufferError),
    /// The connection.
    Io(io::Error),
}

impl fmt::Display for LocalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLocal => f.write_str("this member has no socket of the owner's slabs"),
            Self::NoSuchSlab(slab) => write!(f, "the owner has no {slab:?}"),
            Self::Slab(error) => error.fmt(f),
            Self::Range(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for LocalError {}

impl From<io::Error> for LocalError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A member's connection to the owner's slabs.
#[derive(Debug)]
pub struct LocalMemory {
    socket: Mutex<UnixStream>,
    slabs: Mutex<HashMap<SlabId, MmapBuffer>>,
}

impl LocalMemory {
    /// Connects to the owner's socket.
    pub(crate) fn connect(path: &Path, who: Who) -> io::Result<Self> {
        let mut socket = UnixStream::connect(path)?;
        let mut greeting = GREETING;
        socket.read_exact(&mut greeting)?;
        if greeting != GREETING {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a fleet's socket of slabs",
            ));
        }
        let mut hello = GREETING.to_vec();
        hello.extend(who.incarnation.to_le_bytes());
        hello.extend([who.names.session, who.names.machine]);
        socket.write_all(&hello)?;
        let mut taken = [0];
        socket.read_exact(&mut taken)?;
        if taken != [TAKEN] {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the owner knows no such member",
            ));
        }
        Ok(Self { socket: Mutex::new(socket), slabs: Mutex::default() })
    }

    /// A range of a slab, which is mapped when it is first asked for.
    pub(crate) fn map(
        &self,
        slab: SlabId,
        offset: u64,
        len: u64,
    ) -> Result<MmapBuffer, LocalError> {
        let mut slabs = self.slabs.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = match slabs.get(&slab) {
            Some(buffer) => buffer.clone(),
            None => {
                let buffer = self.ask(slab)?.map().map_err(LocalError::Slab)?;
                slabs.insert(slab, buffer.clone());
                buffer
            }
        };
        buffer.slice(offset, len).map_err(LocalError::Range)
    }

    fn ask(&self, slab: SlabId) -> Result<SharedSlab, LocalError> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        socket.write_all(&slab.to_bits().to_le_bytes())?;
        let (status, fd) = receive(&socket)?;
        match (status, fd) {
            (TAKEN, Some(fd)) => SharedSlab::try_from(fd).map_err(LocalError::Slab),
            (NO_SUCH_SLAB, _) => Err(LocalError::NoSuchSlab(slab)),
            _ => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
        }
    }
}

/// Processes that have mapped slabs, by the member they are.
#[derive(Debug, Default)]
pub(crate) struct Processes(Mutex<BTreeMap<Names, Vec<OwnedFd>>>);

impl Processes {
    fn add(&self, names: Names, process: OwnedFd) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(names).or_default().push(process);
    }

    /// A member has left by itself.
    pub(crate) fn forget(&self, names: Names) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&names);
    }

    /// Ends the processes of a member. What is left of them, to be looked at until it [has ended](has_ended).
    pub(crate) fn end(&self, names: Names) -> Vec<OwnedFd> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let processes = all.remove(&names).unwrap_or_default();
        for process in &processes {
            match pidfd_send_signal(process, Signal::KILL) {
                // It has ended by itself.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => log::error!("member {names} cannot be ended: {error}"),
            }
        }
        processes
    }
}

/// Whether a process has ended, all of its memory with it.
pub(crate) fn has_ended(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready == 1)
}

/// Serves one member's process until it goes. `admit` says whether it is live; if so, `written` runs at once, with the
/// owner locked, so that no fence comes in between.
pub(crate) fn serve(
    mut socket: UnixStream,
    memory: &MmapSlabProvider,
    processes: &Processes,
    admit: impl Fn(Who, &mut dyn FnMut()) -> bool,
) -> io::Result<()> {
    let peer = socket_peercred(&socket)?;
    if peer.uid != geteuid() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user's process"));
    }
    let process = pidfd_open(peer.pid, PidfdFlags::empty())?;
    socket.write_all(&GREETING)?;
    let mut hello = [0; HELLO];
    socket.read_exact(&mut hello)?;
    let (greeting, rest) = hello.split_at(GREETING.len());
    let (incarnation, names) = rest.split_at(8);
    let who = Who {
        incarnation: incarnation.try_into().map_or(0, u64::from_le_bytes),
        names: Names { session: names[0], machine: names[1] },
    };
    let mut process = Some(process);
    let mut write_down = || {
        if let Some(process) = process.take() {
            processes.add(who.names, process);
        }
    };
    if greeting != GREETING || !admit(who, &mut write_down) {
        return socket.write_all(&[0]);
    }
    socket.write_all(&[TAKEN])?;
    let mut slab = [0; 8];
    loop {
        match socket.read_exact(&mut slab) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let slab = SlabId::from_bits(u64::from_le_bytes(slab));
        match memory.share(slab) {
            Ok(shared) if admit(who, &mut || {}) => send(&socket, &shared)?,
            _ => socket.write_all(&[NO_SUCH_SLAB])?,
        }
    }
}

fn send(socket: &UnixStream, slab: &SharedSlab) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [slab.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(&[TAKEN])], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            sent => return sent.map(drop).map_err(Into::into),
        }
    }
}

fn receive(socket: &UnixStream) -> io::Result<(u8, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let message = loop {
        let mut parts = [IoSliceMut::new(&mut byte)];
        match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Ok((byte[0], fds.flatten().next()))
}
