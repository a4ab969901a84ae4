//! How long generated programs and stress run: a number of operations, or a time.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `STRANDLINE_ORACLE_OPERATIONS` | operations of each kind of pool |
//! | `STRANDLINE_ORACLE_SECONDS` | instead: how long each runs, on all cores |
//! | `STRANDLINE_ORACLE_SEED` | the first program's seed, 1 by default; the next has the next |

use std::time::Duration;

/// Divides the size of a test where `STRANDLINE_TEST_SCALE=small` asks for it: under sanitizers and miri.
pub(crate) fn scaled(full: u32) -> u32 {
    let small = std::env::var("STRANDLINE_TEST_SCALE").is_ok_and(|scale| scale == "small");
    if small { (full / 50).max(1) } else { full }
}

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs {
    time: Option<Duration>,
    operations: u64,
    pub(crate) seed: u64,
    pub(crate) threads: usize,
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

impl Runs {
    /// What the variables ask for; by default so many operations, on one thread.
    pub(crate) fn from_env(operations: u32) -> Self {
        let time = number("STRANDLINE_ORACLE_SECONDS").map(Duration::from_secs);
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            time,
            operations: number("STRANDLINE_ORACLE_OPERATIONS")
                .unwrap_or_else(|| scaled(operations).into()),
            seed: number("STRANDLINE_ORACLE_SEED").unwrap_or(1),
            threads: if time.is_some() { cores() } else { 1 },
        }
    }

    /// Whether enough is done after this time and so many operations.
    pub(crate) fn are_over(&self, elapsed: Duration, operations: u64) -> bool {
        match self.time {
            Some(time) => elapsed >= time,
            None => operations >= self.operations,
        }
    }
}
