//! What the requests of a serving log went through: how many fit, for people and for programs.

use crate::serving::ServingReport;
use core::fmt::{self, Write};
use serde::Serialize;

/// `serving.*`, only of a log of requests.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct JsonServing {
    pub requests: u64,
    /// Requests that were not admitted when they came, for want of a place in the batch or of blocks.
    pub queued: u64,
    pub waited_for_memory: u64,
    pub preempted: u64,
    pub preemptions: u64,
    pub longest_wait_s: f64,
    pub most_running: u32,
    pub shared_blocks: u64,
    pub rejected: u64,
    pub capacity_blocks: Option<u64>,
}

impl From<ServingReport> for JsonServing {
    fn from(report: ServingReport) -> Self {
        Self {
            requests: report.requests,
            queued: report.queued,
            waited_for_memory: report.waited_for_memory,
            preempted: report.preempted,
            preemptions: report.preemptions,
            longest_wait_s: report.longest_wait_ns as f64 * 1e-9,
            most_running: report.most_running,
            shared_blocks: report.shared_blocks,
            rejected: report.rejected,
            capacity_blocks: report.capacity_blocks,
        }
    }
}

/// Lines about the requests.
pub(super) fn write(f: &mut impl Write, report: &ServingReport) -> fmt::Result {
    let ServingReport { requests, queued, waited_for_memory, most_running, .. } = report;
    write!(f, "serving    {requests} requests, at most {most_running} running at once")?;
    match report.capacity_blocks {
        Some(blocks) => writeln!(f, ", in {blocks} blocks")?,
        None => writeln!(f, ", in as many blocks as they asked for")?,
    }
    writeln!(
        f,
        "           {queued} queued when they came; {waited_for_memory} waited for memory, then or later; the longest wait {:.3} s",
        report.longest_wait_ns as f64 * 1e-9
    )?;
    writeln!(
        f,
        "           {} preempted, {} times; {} blocks shared",
        report.preempted, report.preemptions, report.shared_blocks
    )?;
    match report.rejected {
        0 => Ok(()),
        rejected => {
            writeln!(f, "           {rejected} LEFT OUT: each needs more than the capacity, alone")
        }
    }
}
