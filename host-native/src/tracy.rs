//! Pools and queues in the Tracy profiler: [`TracySink`].
//!
//! ```text
//!   pool  ─▶ memory "pool#1" (blocks) and "pool#1 slabs" (what they are cut from)
//!   queue ─▶ a lane of its own: submitted on the left, ran from ▕▒▒▒▒▏ to
//! ```
//!
//! Only with the feature `tracy`, which builds Tracy's client (C++). The client listens on the port that Tracy uses and
//! collects only while a profiler is connected, so a program can be left with it. Without a sink on a pool or a
//! queue nothing of this is ever called: that costs the branch on `None` that is there without the feature, too.
//!
//! A lane is what Tracy calls a GPU context, because only those tell submission from execution. Tracy has room for
//! 255 in the life of a process; queues beyond that are not drawn, and it is logged. Submissions that were made
//! before the profiler connected are not drawn either.
//!
//! # Safety
//! Two calls into Tracy's C interface that the client crate has no safe form of: named memory. Tracy takes
//! addresses as numbers and never follows them; the names are leaked, since it wants them for ever: two short
//! strings per pool.

use crate::trace::{Canvas, Drawing};
use core::ffi::CStr;
use core::fmt;
use std::ffi::CString;
use std::sync::Arc;
use std::time::Instant;
use strandline_core::inspect::{Event, EventSink};
use strandline_core::pool::PoolId;
use tracy_client::{Client, GpuContext, GpuContextType, GpuSpan};

/// Draws pools and queues in Tracy. Give it to pools by
/// [`PoolHost::with_sink`](strandline_core::pool::PoolHost::with_sink), to queues by
/// [`CpuQueueBuilder::sink`](crate::CpuQueueBuilder::sink); one serves all of them.
///
/// ```
/// use std::sync::Arc;
/// use strandline_core::pool::PoolHost;
/// use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
/// use strandline_core::{Axis, NoProgress, Pool, Tracker};
/// use strandline_host_native::{CpuQueue, MmapSlabProvider, TracySink};
///
/// let tracy = Arc::new(TracySink::start());
/// let slabs = Arc::new(MmapSlabProvider::builder().build()?);
/// let host = PoolHost::new(slabs, Arc::new(NoProgress)).with_sink(tracy.clone());
/// let pool = TlsfPool::new(host, TlsfPoolConfig::default())?;
/// tracy.name_pool(pool.id(), "activations");
/// let tracker = Tracker::new(1);
/// let queue = CpuQueue::builder(&tracker, Axis::queue(0, 0)).sink(tracy).start()?;
/// # drop(queue);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TracySink(Drawing<Tracy>);

impl TracySink {
    /// Starts Tracy's client, unless it runs already.
    #[must_use]
    pub fn start() -> Self {
        let tracy = Tracy { client: Client::start(), start: Instant::now() };
        Self(Drawing::new(tracy))
    }

    /// Has a pool called `name`. False when the pool was already heard of, and so has a name; names are not changed.
    pub fn name_pool(&self, pool: PoolId, name: &str) -> bool {
        self.0.title(pool, name)
    }
}

impl EventSink for TracySink {
    fn event(&self, event: &Event) {
        self.0.event(event);
    }
}

struct Tracy {
    client: Client,
    start: Instant,
}

impl fmt::Debug for Tracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tracy")
    }
}

impl Tracy {
    /// Nanoseconds since the start: the clock of all lanes.
    fn now(&self) -> i64 {
        // Overflows in 292 years.
        self.start.elapsed().as_nanos() as i64
    }
}

struct Lane {
    context: GpuContext,
    name: Arc<str>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lane").field(&self.name).finish()
    }
}

struct Span(GpuSpan);

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Span")
    }
}

impl Canvas for Tracy {
    type Name = &'static CStr;
    type Lane = Lane;
    type Span = Span;

    fn name(&self, name: String) -> &'static CStr {
        let name = CString::new(name.replace('\0', " ")).unwrap_or_default();
        Box::leak(name.into_boxed_c_str())
    }

    fn lane(&self, name: String) -> Option<Lane> {
        // OpenCL: Tracy's name for a compute queue that several threads submit to. Its clock counts nanoseconds.
        let kind = GpuContextType::OpenCL;
        match self.client.clone().new_gpu_context(Some(&name), kind, self.now(), 1.0) {
            Ok(context) => Some(Lane { context, name: name.into() }),
            Err(error) => {
                log::warn!("{name} is not drawn: {error}");
                None
            }
        }
    }

    fn alloc(&self, name: &'static CStr, address: u64, size: u64) {
        // SAFETY: the client runs (we hold it), the name lives for ever, and the address is only a number to it.
        unsafe {
            tracy_client::sys::___tracy_emit_memory_alloc_named(
                core::ptr::without_provenance(address as usize),
                size as usize,
                name.as_ptr(),
            );
        }
    }

    fn free(&self, name: &'static CStr, address: u64) {
        // SAFETY: as in `alloc`.
        unsafe {
            tracy_client::sys::___tracy_emit_memory_free_named(
                core::ptr::without_provenance(address as usize),
                name.as_ptr(),
            );
        }
    }

    fn open(&self, lane: &Lane) -> Option<Span> {
        // A profiler that connects later would not know the span whose times it is told.
        if !Client::is_connected() {
            return None;
        }
        let span = lane.context.span_alloc("submission", &lane.name, file!(), line!());
        let mut span = span.map_err(|error| log::debug!("{}: {error}", lane.name)).ok()?;
        // Submitting is over with this call; what it ran is told by `start` and `end`.
        span.end_zone();
        Some(Span(span))
    }

    fn start(&self, span: &Span) {
        span.0.upload_timestamp_start(self.now());
    }

    fn end(&self, span: Span) {
        span.0.upload_timestamp_end(self.now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, CpuQueue};
    use strandline_core::{Axis, FrontierRef, SlabId, Tracker};

    /// The drawing is tested in `trace`; here, that the client takes it.
    #[test]
    fn the_client_takes_what_is_drawn() {
        let tracy = Arc::new(TracySink::start());
        assert!(Client::is_running());
        let (pool, slab) = (PoolId::next(), SlabId::new(0, 0));
        assert!(tracy.name_pool(pool, "a\0b"));
        tracy.event(&Event::SlabAcquired { pool, slab, size: 1 << 20 });
        tracy.event(&Event::Reserved { pool, slab, offset: 64, size: 10 });
        tracy.event(&Event::Released { pool, slab, offset: 64, size: 10 });
        assert!(!tracy.name_pool(pool, "late"));
        let tracker = Tracker::new(1);
        let queue = CpuQueue::builder(&tracker, Axis::queue(0, 0)).sink(tracy.clone());
        let queue = queue.start().unwrap();
        for _ in 0..3 {
            queue.submit(FrontierRef::EMPTY, [Command::call(|| ())]).unwrap();
        }
        queue.finish().unwrap();
        drop(tracy);
    }

    #[test]
    fn lanes_run_out_without_a_panic() {
        let tracy = Tracy { client: Client::start(), start: Instant::now() };
        let lanes = (0..300).filter_map(|n| tracy.lane(format!("lane {n}"))).count();
        assert!((1..=255).contains(&lanes), "{lanes}");
        let name = tracy.name("memory".into());
        tracy.alloc(name, 1 << 44, 10);
        tracy.free(name, 1 << 44);
    }
}
