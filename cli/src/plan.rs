//! `strandline plan`: the least memory for a recorded step, and where each block stands in it.
//!
//! ```text
//!   trace, CSV ─▶ lifetimes ─▶ two workers, until optimal, enough or out of time ─▶ check ─▶ report, plan file, CSV, picture
//! ```

pub(crate) mod search;
mod svg;

use crate::Ending;
use crate::args::{TraceArgs, seconds};
use crate::output::{self, Error};
use clap::Args;
use flate2::read::MultiGzDecoder;
use search::{Search, wait_count};
use serde_json::json;
use std::fs;
use std::io::Read as _;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use strandline_planner::csv::{self, Rows};
use strandline_planner::file::PlanFile;
use strandline_planner::streams::Waits;
use strandline_planner::{Lifetime, Plan, Problem, check};
use strandline_replay::format::Format;
use strandline_replay::lifetimes;
use strandline_replay::report::reading;
use strandline_replay::session::{Scan, SessionError, TraceFile, open_file};
use strandline_replay::size::Bytes;

pub(crate) const EXAMPLES: &str = "\
Examples:
  How little memory would this step need, if its future were known?
    strandline plan traces/bert_train.csv.gz
  A plan file, and a picture of it:
    strandline plan traces/bert_train.csv.gz --out bert.plan --plot bert.svg
  A minimalloc problem: does it fit, and where does each buffer stand?
    strandline plan problem.csv --capacity 1MiB --out solution.csv
  A plan file as text, checked:
    strandline plan bert.plan --out bert.txt

The plan file is binary, or text where its name ends in .txt, or minimalloc's CSV with an offset column where it ends in .csv.

Exit status: 0 planned, and it fits into --capacity; 1 it does not fit; 2 bad input.";

/// Blocks of a trace start at multiples of this many bytes unless told otherwise: a cache line, as pools place them.
pub(crate) const ALIGNMENT: u64 = 64;

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    trace: TraceArgs,
    /// Write the plan here: binary, .txt for text, .csv for minimalloc's format
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A plan of at most this size is good enough; exit status 1 if none was found
    #[arg(long, value_name = "SIZE")]
    capacity: Option<Bytes>,
    /// Search that long at most; it ends earlier when a plan is proved to be the smallest
    #[arg(
        long = "for",
        value_name = "SECONDS",
        default_value_t = 10.0,
        value_parser = seconds,
        allow_negative_numbers = true
    )]
    seconds: f64,
    /// Offsets are multiples of this [default: 64 for a trace, and what the file says for minimalloc's CSV]
    #[arg(long, value_name = "BYTES")]
    alignment: Option<NonZeroU64>,
    /// Where streams are many: no block takes bytes that another stream had, so that nothing waits
    #[arg(long, conflicts_with = "wait_price")]
    no_waits: bool,
    /// What a wait for another stream is worth in bytes: the cheaper plan is taken, with waits or without
    #[arg(long, value_name = "SIZE")]
    wait_price: Option<Bytes>,
    /// Of the local search
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw lifetimes over addresses
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

pub(crate) fn run(args: &PlanArgs) -> Result<Ending, Error> {
    let path = &args.trace.path;
    let named = |error: &dyn core::fmt::Display| -> Error {
        SessionError::File(path.clone(), None, error.to_string()).into()
    };
    if args.trace.all_devices() {
        return Err("plan handles one device; choose it, for instance with --device 0".into());
    }
    let start = Instant::now();
    if let Some(file) = plan_file(path)? {
        if args.alignment.is_some() || args.no_waits || args.wait_price.is_some() {
            return Err(named(
                &"this is a plan already: --alignment, --no-waits and --wait-price are for what is to be planned",
            ));
        }
        let file = PlanFile::decode(&file).map_err(|error| named(&error))?;
        let offsets = file.blocks.iter().map(|block| block.offset).collect();
        let rows = rows(file.lifetimes(), (0..file.blocks.len()).map(|n| n.to_string()).collect());
        // What the file says of the bound is somebody's word.
        let bound = Problem::new(&rows.lifetimes).map_err(|error| named(&error))?.bound();
        let plan = Plan { offsets, bytes: file.bytes, bound, optimal: file.bytes == bound };
        return report(args, &rows, &plan, Source::Plan(&file), start);
    }
    let (rows, scan) = read(args)?;
    let waits = match args.wait_price {
        Some(price) => Waits::Priced(price.0),
        None if args.no_waits => Waits::Forbidden,
        None => Waits::Allowed,
    };
    let enough = args.capacity.map_or(0, |capacity| capacity.0);
    let limit = Duration::from_secs_f64(args.seconds);
    let search = Search { waits, enough, seed: args.seed, start, limit };
    let plan = search.run(&rows.lifetimes).map_err(|error| named(&error))?;
    report(args, &rows, &plan, Source::Read(scan.as_ref()), start)
}

/// Where the blocks are from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// The plan was not made, but read.
    Plan(&'a PlanFile),
    /// A trace, or a file of lifetimes, which says nothing else.
    Read(Option<&'a Scan>),
}

/// The file's bytes if it is a plan.
fn plan_file(path: &Path) -> Result<Option<Vec<u8>>, SessionError> {
    let failed = |error| SessionError::Open(path.to_owned(), error);
    let mut file = open_file(path)?;
    let mut begin = Vec::new();
    file.by_ref().take(15).read_to_end(&mut begin).map_err(failed)?;
    if !begin.starts_with(b"STRANDPL") && begin != b"strandline-plan" {
        return Ok(None);
    }
    file.read_to_end(&mut begin).map_err(failed)?;
    Ok(Some(begin))
}

fn rows(lifetimes: Vec<Lifetime>, ids: Vec<String>) -> Rows {
    let aligned = lifetimes.iter().any(|block| block.alignment > 1);
    Rows { ids, aligned, lifetimes, passed_over: Vec::new() }
}

/// The blocks to plan: of a trace, or of a file of lifetimes with its own names and alignments.
fn read(args: &PlanArgs) -> Result<(Rows, Option<Scan>), Error> {
    let path = &args.trace.path;
    let trace = TraceFile::new(path, args.trace.read_options(None));
    let reader = trace.open()?;
    if reader.format() == Format::Lifetimes {
        let failed = |line, what| SessionError::File(path.clone(), line, what);
        let file = open_file(path)?;
        let mut text = String::new();
        let read = if reader.compressed() {
            MultiGzDecoder::new(file).read_to_string(&mut text)
        } else {
            { file }.read_to_string(&mut text)
        };
        read.map_err(|error| failed(None, error.to_string()))?;
        let mut rows =
            csv::read(&text).map_err(|error| failed(Some(error.line as u64), error.what))?;
        if rows.lifetimes.is_empty() {
            return Err(failed(None, "the problem has no blocks".to_owned()).into());
        }
        if let Some(alignment) = args.alignment {
            rows.lifetimes.iter_mut().for_each(|block| block.alignment = alignment.get());
        }
        return Ok((rows, None));
    }
    drop(reader);
    let (blocks, _) = lifetimes::of(&trace)?;
    let scan = trace.scan(&mut |_| ())?;
    let alignment = args.alignment.map_or(ALIGNMENT, NonZeroU64::get);
    let ids = blocks.iter().map(|block| block.line.to_string()).collect();
    let life = |block: &lifetimes::BlockLife| Lifetime {
        lower: block.lower,
        upper: block.upper,
        size: block.size,
        alignment,
        stream: block.stream,
    };
    Ok((rows(blocks.iter().map(life).collect(), ids), Some(scan)))
}

fn report(
    args: &PlanArgs,
    rows: &Rows,
    plan: &Plan,
    source: Source<'_>,
    start: Instant,
) -> Result<Ending, Error> {
    let seconds = start.elapsed().as_secs_f64();
    let lifetimes = &rows.lifetimes;
    // Nothing is told of a plan that does not hold, whoever made it.
    check::check(lifetimes, &plan.offsets, plan.bytes).map_err(|fault| {
        format!("the plan is not sound, which is a fault of strandline: {fault}")
    })?;
    let fits = args.capacity.is_none_or(|capacity| plan.bytes <= capacity.0);
    let write = |path: &Path, bytes: &[u8]| {
        fs::write(path, bytes)
            .map_err(|error| SessionError::File(path.to_owned(), None, error.to_string()))
    };
    let mut file_bytes = None;
    if let Some(out) = &args.out {
        let made = || PlanFile::new(lifetimes, &plan.offsets, plan.bytes, plan.bound);
        // One that was read keeps its waits: what its times, in requests, say no more.
        let file = || match source {
            Source::Plan(file) => file.clone(),
            Source::Read(_) => made(),
        };
        let bytes = match out.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => csv::write(rows, &plan.offsets).into_bytes(),
            Some("txt") => file().to_text().into_bytes(),
            _ => file().encode(),
        };
        write(out, &bytes)?;
        file_bytes = Some(bytes.len());
    }
    if let Some(path) = &args.plot {
        let title = args.trace.path.file_name().unwrap_or_default().to_string_lossy();
        write(path, svg::draw(&title, lifetimes, plan).as_bytes())?;
    }
    let waits = match source {
        Source::Plan(file) => file.blocks.iter().map(|block| block.after.len()).sum(),
        Source::Read(_) => wait_count(lifetimes, plan),
    };
    let reading = match source {
        Source::Read(Some(scan)) => {
            let (mut notes, reader) = reading(scan);
            if scan.totals.failures > 0 {
                notes.push_str("refused    requests that were refused when the trace was recorded are planned as well\n");
            }
            Some((notes, json!(reader)))
        }
        Source::Read(None) if !rows.passed_over.is_empty() => {
            let columns = rows.passed_over.join(", ");
            let notes = format!(
                "reader     columns that were passed over: {columns} (with gaps a smaller plan may exist)\n"
            );
            Some((notes, json!({ "passed_over_columns": rows.passed_over })))
        }
        _ => None,
    };
    let over = plan.bytes as f64 / plan.bound.max(1) as f64 - 1.0;
    if args.json {
        let mut object = json!({
            "plan": {
                "bytes": plan.bytes,
                "bound_bytes": plan.bound,
                "blocks": lifetimes.len(),
                "seconds": seconds,
                "optimal": plan.optimal,
                "waits": waits,
                "file_bytes": file_bytes,
                "capacity_bytes": args.capacity.map(|capacity| capacity.0),
            },
            "ok": fits,
        });
        if let Some((_, reader)) = reading {
            object["reader"] = reader;
        }
        output::print(&format!("{object:#}\n"))?;
    } else {
        let optimal = if plan.optimal { ", which is optimal" } else { "" };
        let verdict = match args.capacity {
            Some(capacity) if fits => {
                format!("ok         it fits into {capacity} ({} bytes)\n", capacity.0)
            }
            Some(capacity) if plan.bound > capacity.0 => {
                format!("FAILED     no plan fits into {capacity} ({} bytes)\n", capacity.0)
            }
            Some(capacity) => format!(
                "FAILED     found no plan that fits into {capacity} ({} bytes); one may exist\n",
                capacity.0
            ),
            None => String::new(),
        };
        let notes = reading.map(|(notes, _)| notes).unwrap_or_default();
        let text = format!(
            "plan       {} ({} bytes): {:+.3} % over the bound{optimal}\n\
             bound      {} ({} bytes): no plan is smaller\n\
             blocks     {}, {waits} {} for another stream\n\
             time       {seconds:.2} s\n{notes}{verdict}",
            Bytes(plan.bytes).at_least(),
            plan.bytes,
            over * 100.0,
            Bytes(plan.bound).at_least(),
            plan.bound,
            lifetimes.len(),
            if waits == 1 { "wait" } else { "waits" },
        );
        output::print(&output::coloured(&text))?;
    }
    Ok(if fits { Ending::Satisfied } else { Ending::Unsatisfied })
}
