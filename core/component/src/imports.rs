//! What the core stands on, made out of the host's imports.

use crate::bindings::imported::{notify, slabs};
use crate::convert;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::fmt;
use strandline_core::slab::{SlabProperties, SlabStats, Trim};
use strandline_core::{Axis, Epoch, Grant, Progress, Slab, SlabError, SlabId, SlabProvider};

/// A provider of the host.
pub(crate) struct ImportedProvider {
    handle: slabs::Provider,
    /// Constant, so asked for once: pools look at them often.
    properties: SlabProperties,
}

impl ImportedProvider {
    pub(crate) fn new(handle: slabs::Provider) -> Self {
        let properties = convert::slab_properties(handle.properties());
        Self { handle, properties }
    }
}

impl SlabProvider for ImportedProvider {
    fn properties(&self) -> SlabProperties {
        self.properties
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        match self.handle.acquire(size) {
            Ok(Some(slabs::Slab { id, size })) => {
                Ok(Grant::Slab(Slab { id: SlabId::from_bits(id), size }))
            }
            Ok(None) => Ok(Grant::NoCapacity),
            Err(error) => Err(convert::slab_error_in(error)),
        }
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.handle.release(id.to_bits()).map_err(convert::slab_error_in)
    }

    fn prefault(&self, id: SlabId, offset: u64, len: u64) -> Result<(), SlabError> {
        self.handle.prefault(id.to_bits(), offset, len).map_err(convert::slab_error_in)
    }

    fn trim(&self, how: Trim) -> u64 {
        self.handle.trim(convert::trim_out(how))
    }

    fn stats(&self) -> SlabStats {
        convert::slab_stats(self.handle.stats())
    }

    fn query_epoch(&self, axis: Axis, epoch: Epoch) -> Option<bool> {
        self.handle.query_epoch(axis.to_bits(), epoch)
    }
}

// Nobody prints either: what derives would write them out field by field.
impl fmt::Debug for ImportedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImportedProvider")
    }
}

impl fmt::Debug for HostProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostProgress")
    }
}

/// The host's own knowledge of progress.
pub(crate) struct HostProgress;

impl Progress for HostProgress {
    fn reached(&self, axis: Axis) -> Epoch {
        let ask = || notify::reached(axis.to_bits());
        let mut asked = ASKED.lock();
        if !asked.remembers {
            drop(asked);
            return ask();
        }
        let known = &asked.answers[..asked.count.min(REMEMBERED)];
        if let Some(&(_, epoch)) = known.iter().find(|(known, _)| *known == axis) {
            return epoch;
        }
        let epoch = ask();
        asked.add(axis, epoch);
        epoch
    }
}

/// Axes whose progress is remembered during a call; of more, the one that was asked for first is asked for again.
const REMEMBERED: usize = 4;

/// What the host has said of progress since the running call began.
struct Asked {
    remembers: bool,
    answers: [(Axis, Epoch); REMEMBERED],
    /// Answers since, of which the last are there.
    count: usize,
}

impl Asked {
    fn add(&mut self, axis: Axis, epoch: Epoch) {
        self.answers[self.count % REMEMBERED] = (axis, epoch);
        self.count += 1;
    }
}

static ASKED: spin::Mutex<Asked> = spin::Mutex::new(Asked {
    remembers: false,
    answers: [(Axis::from_bits(0), 0); REMEMBERED],
    count: 0,
});

/// Runs a batch: the host is asked once for each axis. Else every block that a batch files would ask, and the answers would take a sixth
/// of its time. Progress may lag behind the truth, so an answer holds for as long as the call that asked.
pub(crate) fn batch<R>(run: impl FnOnce() -> R) -> R {
    remembering(true, None, run)
}

/// Runs a call, of which the caller has said, or not, how far an axis has come: that is not asked for then.
#[inline(always)]
pub(crate) fn told<R>(what: Option<(Axis, Epoch)>, run: impl FnOnce() -> R) -> R {
    remembering(what.is_some(), what, run)
}

#[inline(always)]
fn remembering<R>(remembers: bool, told: Option<(Axis, Epoch)>, run: impl FnOnce() -> R) -> R {
    let mut asked = ASKED.lock();
    asked.count = 0;
    asked.remembers = remembers;
    if let Some((axis, epoch)) = told {
        asked.add(axis, epoch);
    }
    drop(asked);
    let result = run();
    ASKED.lock().remembers = false;
    result
}

/// A waker that tells the host which watch it was.
pub(crate) struct Key(pub(crate) u64);

impl Wake for Key {
    fn wake(self: Arc<Self>) {
        notify::changed(self.0);
    }
}
