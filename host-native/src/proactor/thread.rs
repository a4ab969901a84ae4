//! A proactor with a thread of its own.

use super::{Op, Proactor, ProactorBuilder, ProactorError, ProactorHandle, ProactorKind};
use core::sync::atomic::{AtomicBool, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

/// A [`Proactor`] that a thread of its own polls. Dropping it ends what is pending, as dropping a proactor
/// does, and joins the thread. A callback that panics is logged, and the thread goes on.
///
/// ```
/// use std::sync::mpsc;
/// use strandline_host_native::proactor::{Op, Proactor};
///
/// let thread = Proactor::builder().spawn()?;
/// let (sender, receiver) = mpsc::channel();
/// thread.handle().submit(Op::nop(), move |done| sender.send(done.result).unwrap());
/// assert_eq!(receiver.recv()?, Ok(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ProactorThread {
    handle: ProactorHandle,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ProactorThread {
    pub(super) fn start(builder: ProactorBuilder) -> Result<Self, ProactorError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = mpsc::sync_channel(1);
        let body = {
            let stop = stop.clone();
            // The proactor is made where it will stay.
            move || match builder.build() {
                Ok(proactor) => {
                    // The maker waits for this.
                    let _ = sender.send(Ok(proactor.handle()));
                    run(proactor, &stop);
                }
                Err(error) => {
                    let _ = sender.send(Err(error));
                }
            }
        };
        let thread = thread::Builder::new()
            .name("proactor".into())
            .spawn(body)
            .map_err(ProactorError::Thread)?;
        match receiver.recv() {
            Ok(Ok(handle)) => Ok(Self { handle, stop, thread: Some(thread) }),
            Ok(Err(error)) => {
                let _ = thread.join();
                Err(error)
            }
            Err(_) => Err(ProactorError::Thread(std::io::Error::other("it ended at once"))),
        }
    }

    /// To give it work.
    #[must_use]
    pub const fn handle(&self) -> &ProactorHandle {
        &self.handle
    }

    /// The kernel interface below.
    #[must_use]
    pub fn kind(&self) -> ProactorKind {
        self.handle.kind()
    }
}

fn run(mut proactor: Proactor, stop: &AtomicBool) {
    // Acquire: what its owner did before it let go.
    while !stop.load(Ordering::Acquire) {
        match catch_unwind(AssertUnwindSafe(|| proactor.poll(None))) {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                log::error!("the proactor ends: {error}");
                return;
            }
            Err(_) => log::error!("a proactor's callback panicked"),
        }
    }
}

impl Drop for ProactorThread {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.stop.store(true, Ordering::Release);
        // Ends a poll that sleeps.
        self.handle.submit(Op::nop(), drop);
        if thread.thread().id() == thread::current().id() {
            // Dropped by one of its own callbacks: the loop ends after it, unjoined.
            return;
        }
        if thread.join().is_err() {
            log::error!("the proactor's thread panicked");
        }
    }
}
