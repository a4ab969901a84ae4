//! The long run: generated programs against the oracle, stress on several threads, and the fuzz target of the pools.
//!
//! ```text
//! --for 1h   ├ tlsf ┤├ fixed-block ┤├ arena ┤├ passthrough ┤├ stress ┤├ fuzz ┤     each an equal part
//! ```
//! Every part is judged by what it is given, not by luck that cannot be repeated: the first seed is printed, a failure
//! names its own, and `--only PART --seed N` runs that one first.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

use super::fuzz::{self, FuzzRun};
use crate::shell::Cmd;
use crate::step::{Outcome, Stop};

/// A part of the long run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Part {
    /// Programs of the TLSF pool against the oracle.
    Tlsf,
    /// Programs of the fixed-block pool.
    FixedBlock,
    /// Programs of the arena.
    Arena,
    /// Programs of the passthrough pool.
    Passthrough,
    /// Pools shaken by several threads, and event loops under mixed load.
    Stress,
    /// The fuzz target pool_program (nightly, cargo-fuzz).
    Fuzz,
}

/// How long: a number of seconds, or one with `s`, `m` or `h` behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not a time: write 90s, 15m or 2h");
        let (number, unit) = match text.char_indices().last() {
            Some((at, 's')) => (&text[..at], 1),
            Some((at, 'm')) => (&text[..at], 60),
            Some((at, 'h')) => (&text[..at], 3600),
            _ => (text, 1),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let seconds = number.checked_mul(unit).filter(|&s| s != 0).ok_or_else(wrong)?;
        Ok(Self(Duration::from_secs(seconds)))
    }
}

/// What `cargo xtask soak` was asked for.
#[derive(Debug)]
pub(crate) struct SoakRun {
    /// For all parts together.
    pub(crate) time: Span,
    /// Only these; all when empty.
    pub(crate) only: Vec<Part>,
    /// The first seed; from the clock by default, so that each run sees other programs.
    pub(crate) seed: Option<u64>,
}

/// Runs the parts one after the other. All of them, even after one failed: one run should tell everything.
pub(crate) fn soak(run: &SoakRun) -> Outcome {
    let all = Part::value_variants();
    let wanted = |part: &Part| run.only.is_empty() || run.only.contains(part);
    let parts: Vec<Part> = all.iter().copied().filter(wanted).collect();
    let seed = run.seed.unwrap_or_else(now);
    let seconds = (run.time.0.as_secs() / parts.len() as u64).max(1);
    println!("seed {seed}; {seconds} s for each of {} parts", parts.len());
    let (mut failed, mut skipped) = (Vec::new(), Vec::new());
    for part in parts {
        match part.run(seconds, seed) {
            Ok(_) => println!("{part}: no failure"),
            Err(Stop::Skipped(why)) if run.only.is_empty() => {
                println!("{part}: skipped, {why}");
                skipped.push(format!("{part} skipped"));
            }
            Err(Stop::Failed(why) | Stop::Skipped(why)) => failed.push(format!("{part}: {why}")),
        }
    }
    if !skipped.is_empty() {
        println!("{}", skipped.join(", "));
    }
    if failed.is_empty() {
        return Ok(None);
    }
    let repeat = "the failure above names its seed: cargo xtask soak --for 1s --only PART --seed N";
    Err(Stop::Failed(format!("{}; {repeat} (begun with seed {seed})", failed.join("; "))))
}

/// Seconds since 1970: another number for each run.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs())
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

impl Part {
    fn run(self, seconds: u64, seed: u64) -> Outcome {
        match self {
            Self::Tlsf => pools("soak::tlsf", seconds, seed),
            Self::FixedBlock => pools("soak::fixed_block", seconds, seed),
            Self::Arena => pools("soak::arena", seconds, seed),
            Self::Passthrough => pools("soak::passthrough", seconds, seed),
            // Four kinds of pools are shaken, one after the other; the event loops take the other half.
            Self::Stress => {
                let (half, pool) = ((seconds / 2).max(1), (seconds / 10).max(1));
                pools("_shaken", pool, seed)?;
                Cmd::cargo()
                    .args(["test", "--release", "-p", "strandline-host-native", "--test", "soak"])
                    .env("STRANDLINE_SOAK_SECONDS", half.to_string())
                    .run_tests()
                    .map(Some)
            }
            Self::Fuzz => {
                let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
                // libFuzzer takes 32 bits, and 0 for a seed of its own.
                let seed = format!("-seed={}", (seed as u32).max(1));
                fuzz::fuzz_target(&FuzzRun {
                    target: "pool_program",
                    seconds,
                    keep: false,
                    args: &[seed],
                })
            }
        }
    }
}

/// The tests of core's pools whose names contain `filter`, for a time. Optimized; their own assertions stay.
fn pools(filter: &str, seconds: u64, seed: u64) -> Outcome {
    Cmd::cargo()
        .args(["test", "--release", "-p", "strandline-core", "--test", "pools", "--"])
        .args([filter, "--nocapture", "--test-threads", "1"])
        .env("STRANDLINE_ORACLE_SECONDS", seconds.to_string())
        .env("STRANDLINE_ORACLE_SEED", seed.to_string())
        .run_tests()
        .map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units() {
        let read = |text: &str| text.parse::<Span>().ok().map(|span| span.0.as_secs());
        for (text, seconds) in
            [("90", Some(90)), ("90s", Some(90)), ("15m", Some(900)), ("2h", Some(7200))]
        {
            assert_eq!(read(text), seconds, "{text}");
        }
        for text in ["", "s", "0", "-1s", "1d", "1.5h", "\u{e9}", "99999999999999999999h"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
