//! `strandline fit --plan`: a plan of the trace's first step, and what a pool that follows it needs for the rest.
//!
//! ```text
//!   trace ─▶ steps ─▶ the first one ─▶ plan ─┐
//!               └───▶ the rest ──────────────┴─▶ replay by the plan, over memory, with every byte checked ─▶ report
//! ```
//!
//! What the plan knows ends with the first step: see [`strandline_replay::recorded`].

use crate::Ending;
use crate::args::FitArgs;
use crate::meter::Meter;
use crate::output::{self, Error};
use crate::plan::ALIGNMENT;
use crate::plan::search::Search;
use crate::planned::Following;
use crate::replay::{print_json, scan, synthesized};
use serde_json::json;
use std::time::{Duration, Instant};
use strandline_planner::streams::Waits;
use strandline_planner::{Lifetime, Plan, check, periodic};
use strandline_replay::build::Backing;
use strandline_replay::planned::{Plan as Followed, PlanBlock};
use strandline_replay::recorded::{self, Recorded};
use strandline_replay::report::Report;
use strandline_replay::session::{Playback, SessionError, TICK, TraceFile};
use strandline_replay::size::Bytes;
use strandline_replay::steps::By;

pub(crate) fn run(args: &FitArgs) -> Result<Ending, Error> {
    let trace = TraceFile::new(&args.trace.path, args.trace.read_options(None));
    let recorded = recorded::record(&trace)?;
    let start = Instant::now();
    let limit = Duration::from_secs_f64(args.limit);
    let search = Search { waits: Waits::Allowed, enough: 0, seed: 0, start, limit };
    let plan = place(&recorded, search)
        .map_err(|error| SessionError::File(trace.path().to_owned(), None, error.to_string()))?;
    let seconds = start.elapsed().as_secs_f64();
    let following = Following::of(followed(&recorded, &plan)?);
    let rest = &recorded.rest;
    let scanned = scan(rest)?;
    let options = args.streams.options();
    let config = following.maker.config(None, None);
    let backing = Backing::mmap(None)?.made_by(following.maker.clone());
    let mut playback = Playback::new(rest, &scanned, &config, &backing, options)?;
    {
        let meter = Meter::new("replaying", scanned.totals.events);
        let mut to = |event| -> Result<(), SessionError> {
            while playback.advance(event, TICK)? {
                meter.at(playback.engine().event());
            }
            Ok(())
        };
        if recorded.by == By::Marks {
            for &event in &recorded.begins {
                to(event)?;
                following.maker.begin_step();
            }
        }
        to(u64::MAX)?;
    }
    let outcome = playback.finish();
    let report = Report {
        trace: &rest.path().display().to_string(),
        scan: &scanned,
        synthesized: synthesized(&scanned, options),
        choice: &following.maker.choice(),
        outcome: &outcome,
        fit: None,
        capacity: None,
        boundary: None,
    };
    let ok = report.is_ok();
    if args.output.json {
        let mut json = serde_json::to_value(report.to_json())?;
        following.tell(&mut String::new(), &mut json);
        if let Some(object) = json.as_object_mut() {
            object.insert("plan".to_owned(), told(&recorded, &plan, seconds));
        }
        print_json(&json)?;
    } else {
        let mut text = step_text(&recorded, &plan, seconds);
        text.push_str(&report.to_string());
        following.tell(&mut text, &mut json!({}));
        output::print(&output::coloured(&text))?;
    }
    Ok(if ok { Ending::Satisfied } else { Ending::Unsatisfied })
}

/// Searches the plan of the recorded step.
fn place(recorded: &Recorded, search: Search) -> Result<Plan, Error> {
    let life = |block: &strandline_replay::lifetimes::BlockLife| Lifetime {
        lower: block.lower,
        upper: block.upper,
        size: block.size,
        alignment: ALIGNMENT,
        stream: block.stream,
    };
    let lifetimes: Vec<Lifetime> = recorded.blocks.iter().map(life).collect();
    let mut plan = search.run(&lifetimes)?;
    let gaps = &recorded.gaps;
    if gaps.iter().any(Option::is_some)
        && let Some(around) = periodic::plan(&lifetimes, gaps)
    {
        // The search knows of no gaps, so neither does its bound.
        plan.bound = around.bound;
        plan = if around.bytes < plan.bytes { around } else { plan };
        plan.optimal = plan.bytes == plan.bound;
    }
    let parts =
        lifetimes.iter().zip(gaps).zip(&plan.offsets).flat_map(|((life, &gap), &offset)| {
            periodic::parts(life, gap).into_iter().flatten().map(move |part| (part, offset))
        });
    let (parts, offsets): (Vec<Lifetime>, Vec<u64>) = parts.unzip();
    check::check(&parts, &offsets, plan.bytes).map_err(|fault| {
        format!("the plan is not sound, which is a fault of strandline: {fault}")
    })?;
    Ok(plan)
}

/// The plan as a pool follows it.
fn followed(recorded: &Recorded, plan: &Plan) -> Result<Followed, Error> {
    let block = |request: &recorded::PlannedRequest| {
        let block = &recorded.blocks[request.block];
        PlanBlock {
            offset: plan.offsets[request.block],
            size: block.size,
            alignment: ALIGNMENT,
            stream: block.stream,
            until: request.until,
        }
    };
    let blocks = recorded.requests.iter().map(block).collect();
    let plan = Followed::new(plan.bytes, blocks)?;
    Ok(plan.with_prologue(recorded.prologue)?)
}

/// `plan.*`
fn told(recorded: &Recorded, plan: &Plan, seconds: f64) -> serde_json::Value {
    json!({
        "bytes": plan.bytes,
        "bound_bytes": plan.bound,
        "blocks": recorded.requests.len(),
        "seconds": seconds,
        "optimal": plan.optimal,
        "prologue_blocks": recorded.prologue,
        "step_requests": recorded.step_requests,
        "events_before": recorded.events_before,
        "peak_before_bytes": recorded.peak_before,
        "steps": recorded.steps,
        "found_by": recorded.by.word(),
    })
}

fn step_text(recorded: &Recorded, plan: &Plan, seconds: f64) -> String {
    let Recorded { requests, prologue, step_requests, events_before, peak_before, .. } = recorded;
    let Recorded { steps, by, .. } = recorded;
    let found = match by {
        By::Marks => "told by the trace's marks",
        By::Requests => "found by the requests",
    };
    let optimal = if plan.optimal { ", which is optimal" } else { "" };
    format!(
        "step       the first of {steps}, {found}: {step_requests} requests\n\
         left out   events 1 to {events_before}, the set-up and the first step, in which at most {} was in use: what follows is of the rest\n\
         plan       {} for {} blocks, {prologue} of them live before the next step; {:+.3} % over the bound{optimal}, after {seconds:.2} s\n\n",
        Bytes(*peak_before).at_least(),
        Bytes(plan.bytes).at_least(),
        requests.len(),
        (plan.bytes as f64 / plan.bound.max(1) as f64 - 1.0) * 100.0,
    )
}
