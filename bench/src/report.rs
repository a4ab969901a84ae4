//! What is printed, and `RESULTS.md`.

use crate::figures::Figures;
use crate::harness::{Bound, Effort, Row, Table};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// From this line on, `RESULTS.md` is written by people; everything before it is replaced.
pub const HAND_KEPT: &str = "## What is not reached and why";

/// Where and when it was measured.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Year, month, day (UTC).
    pub date: String,
    /// The processor's name.
    pub processor: String,
    /// Threads that can run at once.
    pub threads: usize,
    /// How long was measured.
    pub effort: Effort,
}

impl Setting {
    /// Here and now.
    #[must_use]
    pub fn here(effort: Effort) -> Self {
        let seconds =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (year, month, day) = civil(seconds / 86_400);
        Self {
            date: format!("{year:04}-{month:02}-{day:02}"),
            processor: processor().unwrap_or_else(|| std::env::consts::ARCH.into()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            effort,
        }
    }
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + (month <= 2) as u64, month, date)
}

/// As Linux names it, with the numbers that tell models apart where the name does not.
fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next().map(str::trim) == Some(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let name = field("model name")?;
    match (field("cpu family"), field("model")) {
        (Some(family), Some(model)) => Some(format!("{name} (family {family}, model {model})")),
        _ => Some(name),
    }
}

/// What came of a case.
#[derive(Clone, Debug)]
pub enum Section {
    /// Times.
    Times(Table),
    /// Counts.
    Counts(Figures),
}

impl Section {
    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Times(table) => text(table),
            Self::Counts(figures) => counted_text(figures),
        }
    }

    /// As JSON.
    #[must_use]
    pub fn value(&self) -> Value {
        match self {
            Self::Times(table) => value(table),
            Self::Counts(figures) => counted_value(figures),
        }
    }

    const fn group(&self) -> &'static str {
        match self {
            Self::Times(table) => table.group,
            Self::Counts(figures) => figures.group,
        }
    }

    fn markdown(&self, out: &mut String) {
        match self {
            Self::Times(table) => times_markdown(table, out),
            Self::Counts(figures) => counts_markdown(figures, out),
        }
    }
}

fn counted_text(figures: &Figures) -> String {
    let mut out = String::new();
    let width = figures.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}: {}", figures.group, figures.name);
    for row in &figures.rows {
        let goal = ratio_goal(row.goal, row.reached());
        let _ =
            writeln!(out, "  {:width$}  {:.4}×  {goal:16}  {}", row.name, row.ratio, row.detail);
    }
    out
}

fn counted_value(figures: &Figures) -> Value {
    let rows: Vec<Value> = figures
        .rows
        .iter()
        .map(|row| {
            json!({
                "of": row.name,
                "ratio": row.ratio,
                "detail": row.detail,
                "sound": row.sound,
                "goal": row.goal,
                "reached": row.reached(),
            })
        })
        .collect();
    json!({ "group": figures.group, "case": figures.name, "figures": rows })
}

fn counts_markdown(figures: &Figures, out: &mut String) {
    let _ = write!(
        out,
        "\n### {}\n\n| of | ratio | goal | detail |\n| --- | --- | --- | --- |\n",
        figures.name
    );
    for row in &figures.rows {
        let goal = ratio_goal(row.goal, row.reached());
        let _ = writeln!(out, "| {} | {:.4} | {goal} | {} |", row.name, row.ratio, row.detail);
    }
}

fn ratio_goal(goal: Option<f64>, reached: Option<bool>) -> String {
    let Some(goal) = goal else { return String::new() };
    let verdict = if reached == Some(true) { "reached" } else { "**missed**" };
    format!("≤ {goal:.3}× {verdict}")
}

/// A case as a table for a terminal.
fn text(table: &Table) -> String {
    let mut out = String::new();
    let width = table.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max(20);
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}: {} (reference: {})", table.group, table.case, table.reference);
    let head = format!("ns/{}", table.unit);
    let _ = writeln!(
        out,
        "  {:width$}  {head:>10}  {:>19}  {:>7}  {:>13}  goal",
        "", "min – max", "ratio", "min – max"
    );
    for row in &table.rows {
        let range = format!("{} – {}", ns(row.ns.min), ns(row.ns.max));
        let ratios = format!("{:.2} – {:.2}", row.ratio.min, row.ratio.max);
        let _ = writeln!(
            out,
            "  {:width$}  {:>10}  {range:>19}  {:>7}  {ratios:>13}  {}",
            row.name,
            ns(row.ns.median),
            format!("{:.2}×", row.ratio.median),
            goal(row)
        );
    }
    out
}

fn ns(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn goal(row: &Row) -> String {
    let bound = match row.goal {
        Some(Bound::Ratio(ratio)) => format!("≤ {ratio:.2}×"),
        Some(Bound::Nanoseconds(bound)) => format!("≤ {} ns", ns(bound)),
        Some(Bound::More(bound)) => {
            format!("≤ {} ns more, {} is", ns(bound), ns(row.more.median))
        }
        None => return String::new(),
    };
    let verdict = if row.reached() == Some(true) { "reached" } else { "**missed**" };
    format!("{bound} {verdict}")
}

/// A case as JSON.
fn value(table: &Table) -> Value {
    let rows: Vec<Value> = table
        .rows
        .iter()
        .map(|row| {
            json!({
                "contender": row.name,
                "ns": { "median": row.ns.median, "min": row.ns.min, "max": row.ns.max },
                "ratio": { "median": row.ratio.median, "min": row.ratio.min, "max": row.ratio.max },
                "ns_more": { "median": row.more.median, "min": row.more.min, "max": row.more.max },
                "goal": match row.goal {
                    Some(Bound::Ratio(ratio)) => json!({ "ratio": ratio }),
                    Some(Bound::Nanoseconds(ns)) => json!({ "ns": ns }),
                    Some(Bound::More(ns)) => json!({ "ns_more": ns }),
                    None => Value::Null,
                },
                "reached": row.reached(),
            })
        })
        .collect();
    json!({
        "group": table.group,
        "case": table.case,
        "unit": table.unit,
        "reference": table.reference,
        "rows": rows,
    })
}

/// The measured part of `RESULTS.md`.
#[must_use]
pub fn markdown(sections: &[Section], setting: &Setting) -> String {
    let mut out = format!(
        "# Results\n\n\
         Written by `cargo xtask bench -- --results bench/RESULTS.md`; the last section is kept by hand.\n\n\
         - Date: {}\n- Processor: {}, {} threads\n\
         - Times are nanoseconds per operation: median (min–max) over {} rounds in which all contenders of a case take \
         turns, {} ms each. One thread's time is that thread's own; what other programs take does not count.\n- Ratios are to the reference (its row says 1.00), taken round by round: median (min–max). Read \
         these: a busy machine moves times far more than ratios.\n",
        setting.date,
        setting.processor,
        setting.threads,
        setting.effort.rounds,
        setting.effort.slice.as_millis(),
    );
    let mut group = "";
    for section in sections {
        if section.group() != group {
            group = section.group();
            let _ = write!(out, "\n## {group}\n");
        }
        section.markdown(&mut out);
    }
    out
}

fn times_markdown(table: &Table, out: &mut String) {
    let _ = write!(
        out,
        "\n### {}\n\n| contender | ns per {} | ratio | goal |\n| --- | --- | --- | --- |\n",
        table.case, table.unit
    );
    for row in &table.rows {
        let _ = writeln!(
            out,
            "| {} | {} ({}–{}) | {:.2} ({:.2}–{:.2}) | {} |",
            row.name,
            ns(row.ns.median),
            ns(row.ns.min),
            ns(row.ns.max),
            row.ratio.median,
            row.ratio.min,
            row.ratio.max,
            goal(row)
        );
    }
}

/// The measured part, followed by what people wrote into the file that is replaced.
#[must_use]
pub fn merged(measured: &str, old: Option<&str>) -> String {
    let kept = old
        .and_then(|old| old.find(&format!("\n{HAND_KEPT}")).map(|at| old[at + 1..].to_owned()))
        .unwrap_or_else(|| format!("{HAND_KEPT}\n"));
    format!("{measured}\n{}\n", kept.trim_end())
}

/// Writes `RESULTS.md`, keeping the section that is kept by hand.
///
/// # Errors
/// The file cannot be read, although it exists, or not be written.
pub fn write(path: &Path, sections: &[Section], setting: &Setting) -> io::Result<()> {
    let old = match fs::read_to_string(path) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    fs::write(path, merged(&markdown(sections, setting), old.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_513), (2026, 3, 1));
    }

    #[test]
    fn the_hand_kept_section_survives() {
        let old = format!("# Results\n\nold numbers\n\n{HAND_KEPT}\n\nBecause.\n");
        let new = merged("# Results\n\nnew numbers\n", Some(&old));
        assert_eq!(new, format!("# Results\n\nnew numbers\n\n{HAND_KEPT}\n\nBecause.\n"));
        assert!(merged("x\n", None).ends_with(&format!("{HAND_KEPT}\n")));
    }
}
