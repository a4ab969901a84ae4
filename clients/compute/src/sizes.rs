//! From a trace to the size of cubecl's pages.

use crate::MIB;
use crate::judge::reserved;
use crate::record::Trace;
use core::fmt;
use core::time::Duration;
use cubecl_core::server::IoError;
use cubecl_ir::MemoryDeviceProperties;
use strandline_replay::engine::Options;
use strandline_replay::fit::{Effort, candidates, fit};
use strandline_replay::session::SessionError;

/// How long the search for one stream may take.
const TIME: Duration = Duration::from_secs(20);

/// Pages of cubecl have at least this many bytes, and are not grown to it.
const LEAST: u64 = 2 * MIB;

/// What a stream needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The least capacity at which a pool of ours plays the trace, in bytes.
    pub fitted: u64,
    /// Of what size cubecl's pages should be; `None` where it is best to leave it to itself.
    pub page: Option<u64>,
    /// What cubecl's manager then holds, by itself.
    pub expected: u64,
    /// What it holds without.
    pub without: u64,
}

/// Why there are no sizes.
#[derive(Debug)]
pub enum SizeError {
    /// The trace does not play.
    Fit(SessionError),
    /// cubecl's manager refused it.
    Judge(IoError),
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fit(error) => error.fmt(f),
            Self::Judge(error) => write!(f, "cubecl's memory manager: {error:?}"),
        }
    }
}

impl std::error::Error for SizeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Fit(error) => Some(error),
            Self::Judge(_) => None,
        }
    }
}

/// Fits the trace, and finds the size of page nearest to it with which cubecl's own manager holds least: the capacity, a little
/// more where its slices do not pack as tightly, or a part of it where it takes several pages.
///
/// # Errors
/// [`SizeError`].
pub fn sizes(trace: &Trace, device: &MemoryDeviceProperties) -> Result<Sizes, SizeError> {
    let file = trace.to_file();
    let scan = file.scan(&mut |_| ()).map_err(SizeError::Fit)?;
    let effort = Effort::from_now(Some(TIME));
    let fitted = fit(&file, &scan, &candidates(&scan), Options::default(), &effort, &mut |_| ())
        .map_err(SizeError::Fit)?
        .capacity;
    let without = reserved(trace, device, None).map_err(SizeError::Judge)?;
    let mut best = Sizes { fitted, page: None, expected: without, without };
    for parts in 1..=4 {
        let part = fitted.div_ceil(parts).next_multiple_of(MIB);
        for page in (0..4).map(|more| part + more * MIB).filter(|&page| page > LEAST) {
            let expected = reserved(trace, device, Some(page)).map_err(SizeError::Judge)?;
            if expected < best.expected {
                best = Sizes { page: Some(page), expected, ..best };
            }
        }
    }
    Ok(best)
}
