//! `strandline-bench`: runs the cases and prints their tables.

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use strandline_bench::figures::Figures;
use strandline_bench::groups::{self, Work};
use strandline_bench::harness::{self, Effort};
use strandline_bench::instructions;
use strandline_bench::report::{self, Section};

/// Runs strandline and its published peers side by side, interleaved, and prints ratios.
#[derive(Debug, Parser)]
#[command(name = "strandline-bench")]
struct Args {
    /// Only cases whose "group: case" contains one of these.
    filters: Vec<String>,
    /// Few and short rounds: a look, not a result.
    #[arg(long)]
    quick: bool,
    /// MiB of the file that is loaded [default: 1024, quick: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    file_mib: Option<u64>,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// Only the reference and the contenders whose names contain this.
    #[arg(long, value_name = "TEXT")]
    contender: Option<String>,
    /// Name the cases and stop.
    #[arg(long)]
    list: bool,
    /// Write the results to this file, keeping its section of what is not reached.
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Count instructions under valgrind instead of time, and fail where they grew; what is said after `--` goes
    /// to gungraun.
    #[arg(long)]
    instructions: bool,
    /// Signal a notification that nobody observes, so often, and stop: what strace is run on.
    #[arg(long, hide = true, value_name = "N")]
    signal_unobserved: Option<u64>,
    /// Ignored: what `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(count) = args.signal_unobserved {
        groups::notification::signal_unobserved(count);
        return ExitCode::SUCCESS;
    }
    if args.instructions {
        return match instructions::run(&args.filters) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    let setting = report::Setting::here(effort);
    let mut sections = Vec::new();
    let file_mib = args.file_mib.unwrap_or(if args.quick { 64 } else { 1024 });
    for work in groups::all(file_mib << 20) {
        let title = work.title();
        if !args.filters.is_empty() && !args.filters.iter().any(|f| title.contains(f.as_str())) {
            continue;
        }
        if args.list {
            println!("{title}");
            continue;
        }
        let section = match measure(work, effort, args.contender.as_deref()) {
            Ok(section) => section,
            Err(error) => {
                eprintln!("{title}: {error}");
                return ExitCode::FAILURE;
            }
        };
        if !args.json {
            println!("{}", section.text());
        }
        sections.push(section);
    }
    if args.list {
        return ExitCode::SUCCESS;
    }
    if sections.is_empty() {
        eprintln!("no case contains {:?}; --list names them all", args.filters);
        return ExitCode::from(2);
    }
    if args.json {
        let all: Vec<_> = sections.iter().map(Section::value).collect();
        println!(
            "{}",
            serde_json::json!({
                "date": setting.date,
                "processor": setting.processor,
                "threads": setting.threads,
                "cases": all,
            })
        );
    }
    if let Some(path) = &args.results
        && let Err(error) = report::write(path, &sections, &setting)
    {
        eprintln!("{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn measure(work: Work, effort: Effort, only: Option<&str>) -> Result<Section, String> {
    match work {
        Work::Timed(case) => harness::measure(case, effort, only)
            .map(Section::Times)
            .ok_or_else(|| "nothing to measure".to_owned()),
        Work::Counted(count) => {
            let rows = (count.count)()?;
            Ok(Section::Counts(Figures { group: count.group, name: count.name, rows }))
        }
    }
}
