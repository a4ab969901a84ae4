//! Steps and their report: run all that were asked for, then print one table and one closing line.
//!
//! ```text
//! step     result   tests  seconds  why
//! unit     passed     214     61.3
//! tsan     skipped      -      0.0  missing clang-22; install it with: ...
//!
//! 1 passed, 0 failed, 1 skipped
//! ```
//! A step that fails does not stop the ones after it (unless asked to), since on a slow machine
//! one run should tell everything that is wrong.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Why a step ended without passing.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It could not run here, and that is acceptable here.
    Skipped(String),
    /// It ran and found a fault, or could not run where it must.
    Failed(String),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<xshell::Error> for Stop {
    fn from(error: xshell::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// How a step ended; tests are counted where the step ran any.
pub(crate) type Outcome = Result<Option<u64>, Stop>;

/// A step's line in the table.
#[derive(Debug)]
struct Row {
    name: String,
    outcome: Outcome,
    took: Duration,
}

/// All that ran so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Runs one step under a heading and keeps its result; says whether it failed.
    pub(crate) fn run(&mut self, name: &str, about: &str, step: impl FnOnce() -> Outcome) -> bool {
        println!("\n== {name}: {about}");
        let start = Instant::now();
        let outcome = step();
        let took = start.elapsed();
        match &outcome {
            Ok(_) => println!("== {name}: passed in {:.1} s", took.as_secs_f64()),
            Err(Stop::Skipped(why)) => println!("== {name}: skipped: {why}"),
            Err(Stop::Failed(why)) => {
                println!("== {name}: FAILED after {:.1} s: {why}", took.as_secs_f64())
            }
        }
        let failed = matches!(outcome, Err(Stop::Failed(_)));
        self.rows.push(Row { name: name.to_owned(), outcome, took });
        failed
    }

    /// Prints the table and the closing line; the exit status is 0 when nothing failed.
    pub(crate) fn finish(&self) -> ExitCode {
        print!("\n{}", self.table());
        println!("\n{}", self.closing_line());
        if self.counts().1 == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Steps that passed, failed and were skipped.
    fn counts(&self) -> (usize, usize, usize) {
        self.rows.iter().fold((0, 0, 0), |(passed, failed, skipped), row| match row.outcome {
            Ok(_) => (passed + 1, failed, skipped),
            Err(Stop::Failed(_)) => (passed, failed + 1, skipped),
            Err(Stop::Skipped(_)) => (passed, failed, skipped + 1),
        })
    }

    fn closing_line(&self) -> String {
        match self.counts() {
            (passed, failed, 0) => format!("{passed} passed, {failed} failed"),
            (passed, failed, skipped) => {
                format!("{passed} passed, {failed} failed, {skipped} skipped")
            }
        }
    }

    fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max("step".len());
        let mut table =
            format!("{:<width$}  {:<7}  {:>6}  {:>7}  why\n", "step", "result", "tests", "seconds");
        for row in &self.rows {
            let (result, tests, why) = match &row.outcome {
                Ok(tests) => {
                    ("passed", tests.map_or_else(|| "-".to_owned(), |tests| tests.to_string()), "")
                }
                Err(Stop::Skipped(why)) => ("skipped", "-".to_owned(), why.as_str()),
                Err(Stop::Failed(why)) => ("FAILED", "-".to_owned(), why.as_str()),
            };
            let line = format!(
                "{:<width$}  {result:<7}  {tests:>6}  {:>7.1}  {}",
                row.name,
                row.took.as_secs_f64(),
                shortened(why),
            );
            // Writing to a String cannot fail.
            let _ = writeln!(table, "{}", line.trim_end());
        }
        table
    }
}

/// The reason on one line of bounded length; the step's own closing line has all of it.
fn shortened(why: &str) -> String {
    const LIMIT: usize = 320;
    let line = why.replace('\n', " ");
    match line.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: Vec<Outcome>) -> Report {
        let mut report = Report::default();
        for (index, outcome) in outcomes.into_iter().enumerate() {
            report.run(&format!("s{index}"), "a step", || outcome);
        }
        report
    }

    #[test]
    fn the_closing_line_counts_steps_and_names_skips_only_when_there_are_any() {
        let all = report(vec![Ok(None), Ok(Some(7)), Err(Stop::Failed("x".into()))]);
        assert_eq!(all.closing_line(), "2 passed, 1 failed");
        let skipped = report(vec![Ok(None), Err(Stop::Skipped("no apt".into()))]);
        assert_eq!(skipped.closing_line(), "1 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn only_a_failure_makes_the_exit_status_bad() {
        let code = |outcomes| format!("{:?}", report(outcomes).finish());
        assert_eq!(
            code(vec![Ok(None), Err(Stop::Skipped("x".into()))]),
            format!("{:?}", ExitCode::SUCCESS)
        );
        assert_eq!(
            code(vec![Err(Stop::Failed("x".into())), Ok(None)]),
            format!("{:?}", ExitCode::FAILURE)
        );
    }

    #[test]
    fn the_table_has_a_line_per_step_and_says_why() {
        let table =
            report(vec![Ok(Some(214)), Err(Stop::Skipped("missing clang-22;\nrun: apt".into()))])
                .table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("passed") && lines[1].contains("214"));
        assert!(lines[2].contains("skipped") && lines[2].ends_with("missing clang-22; run: apt"));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        assert_eq!(shortened("short\nreason"), "short reason");
        let long = shortened(&"\u{e9}".repeat(500));
        assert_eq!(long.chars().count(), 323);
        assert!(long.ends_with("..."));
    }
}
