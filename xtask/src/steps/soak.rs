//! The long run: generated programs against the oracle, stress on several threads, and the fuzz target of the pools.
//!
//! ```text
//! --for 1h   ├ tlsf ┤├ fixed-block ┤├ arena ┤├ passthrough ┤├ stress ┤├ fuzz ┤     each an equal part
//! ```
//! Every part is judged by what it is given, not by luck that cannot be repeated: the first seed is printed, a failure
//! names its own, and `--only PART --seed N` runs that one first.

use clap::ValueEnum;
use xshell::{Shell, cmd};

use super::fuzz::{self, FuzzRun};
use crate::report::{Outcome, Stop};
use crate::shell::{each, run_tests};

/// A part of the long run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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

/// What `cargo xtask soak` was asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct SoakRun {
    /// How long in all: 90s, 15m, 2h. Each part gets an equal share.
    #[arg(long = "for", value_name = "DURATION", value_parser = seconds)]
    time: u64,
    /// Run only this part; may be given again.
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// The first program's seed; from the clock by default.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Reads a number of seconds, or one with `s`, `m` or `h` behind it.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        _ => (text, 1),
    };
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .filter(|&seconds| seconds != 0)
        .ok_or_else(|| format!("{text:?} is not a time: write 90s, 15m or 2h"))
}

/// Runs the parts one after the other. All of them, even after one failed: one run should tell everything.
pub(crate) fn soak(sh: &Shell, run: &SoakRun) -> Outcome {
    let all = Part::value_variants().iter().copied();
    let parts: Vec<Part> =
        all.filter(|part| run.only.is_empty() || run.only.contains(part)).collect();
    let now = std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs());
    let seed = run.seed.unwrap_or(now);
    let seconds = (run.time / parts.len() as u64).max(1);
    println!("seed {seed}; {seconds} s for each of {} parts", parts.len());
    let ran = each(parts, |part| match part.run(sh, seconds, seed) {
        // Asked for by name, a part that cannot run has failed.
        Err(Stop::Skipped(why)) if run.only.is_empty() => {
            println!("{part:?}: skipped, {why}");
            Ok(0)
        }
        Err(Stop::Failed(why) | Stop::Skipped(why)) => Err(Stop::Failed(format!(
            "{part:?}: {why}; the failure above names its seed: cargo xtask soak --for 1s --only PART --seed N (begun with seed {seed})"
        ))),
        Ok(ran) => Ok(ran),
    })?;
    Ok(Some(ran))
}

impl Part {
    fn run(self, sh: &Shell, seconds: u64, seed: u64) -> Result<u64, Stop> {
        // The tests of core's pools whose names contain `filter`, for a time. Optimized; their own assertions stay.
        let pools = |filter: &str, seconds: u64| {
            let cmd = cmd!(
                sh,
                "cargo test --release -p strandline-core --test pools -- {filter} --nocapture --test-threads 1"
            );
            run_tests(
                cmd.env("STRANDLINE_ORACLE_SECONDS", seconds.to_string())
                    .env("STRANDLINE_ORACLE_SEED", seed.to_string()),
            )
        };
        match self {
            Self::Tlsf => pools("soak::tlsf", seconds),
            Self::FixedBlock => pools("soak::fixed_block", seconds),
            Self::Arena => pools("soak::arena", seconds),
            Self::Passthrough => pools("soak::passthrough", seconds),
            // Four kinds of pools are shaken, one after the other; the event loops take the other half.
            Self::Stress => {
                let shaken = pools("_shaken", (seconds / 10).max(1))?;
                let loops = cmd!(sh, "cargo test --release -p strandline-host-native --test soak");
                let half = (seconds / 2).max(1).to_string();
                Ok(shaken + run_tests(loops.env("STRANDLINE_SOAK_SECONDS", half))?)
            }
            Self::Fuzz => {
                // libFuzzer takes 32 bits, and 0 for a seed of its own.
                let args = vec![format!("-seed={}", (seed as u32).max(1))];
                let target = "pool_program".to_owned();
                fuzz::explore(sh, &FuzzRun { target, seconds, keep: false, args })?;
                Ok(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_read_with_their_units() {
        for (text, wanted) in [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200)] {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
        for text in ["", "s", "0", "-1s", "1d", "1.5h", "\u{e9}", "99999999999999999999h"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
