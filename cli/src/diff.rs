//! `strandline diff`: what changed between two snapshots, by source line.

use crate::Ending;
use crate::explain::{device, open};
use crate::output::{self, Error};
use clap::Args;
use std::path::PathBuf;
use strandline_replay::diff::diff;
use strandline_replay::explain::explain;

pub(crate) const EXAMPLES: &str = "\
Examples:
  strandline diff before.pickle after.pickle
  strandline diff before.pickle after.pickle --top 30 --json

Lines are compared at each snapshot's peak of allocated bytes. Allocations are matched by call stack and size, so that a longer run \
still matches a shorter one.

Exit status: 0 the snapshots are compared; 2 bad input.";

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The first snapshot
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The second snapshot
    #[arg(value_name = "B")]
    b: PathBuf,
    /// The device [default: one with an out-of-memory, or the busiest]
    #[arg(long, value_name = "N")]
    device: Option<u32>,
    /// How many lines are shown
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &DiffArgs) -> Result<Ending, Error> {
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    let (of_a, of_b) = (device(&a, &args.a, args.device)?, device(&b, &args.b, args.device)?);
    // At the peak, whatever failed: two runs of which one failed are compared at what they held most.
    let peak = |snapshot, device| {
        let told = explain(snapshot, device, None);
        let entry = (!device.entries.is_empty()).then_some(told.peaks[0].entry);
        explain(snapshot, device, entry)
    };
    let told = diff((&a, of_a, &peak(&a, of_a)), (&b, of_b, &peak(&b, of_b)));
    if args.json {
        let text = serde_json::to_string_pretty(&told.to_json(args.top))?;
        output::print(&(text + "\n"))?;
    } else {
        let names = [&args.a, &args.b].map(|path| path.display().to_string());
        output::print(&told.to_text([&names[0], &names[1]], args.top))?;
    }
    Ok(Ending::Satisfied)
}
