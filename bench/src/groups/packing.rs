//! `packing`: the smallest capacity at which a shipped trace succeeds, over its peak of live bytes; and
//! what a pool commits as the trace is spread over more streams.
//!
//! Both are counted by the replay's own library: the same as `strandline fit` and `strandline replay --streams N --in-flight 64
//! --allow-wait` report.

use crate::figures::{Count, Figure};
use std::path::{Path, PathBuf};
use strandline_replay::build::Backing;
use strandline_replay::engine::{Options, Outcome};
use strandline_replay::fit;
use strandline_replay::format::ReadOptions;
use strandline_replay::session::{Scan, SessionError, TraceFile};

/// The traces, and the best overhead that was measured elsewhere, if any was.
const TRACES: [(&str, Option<f64>); 5] = [
    ("resnet50_train", Some(1.036)),
    ("bert_train", Some(1.033)),
    ("vit_infer", Some(1.077)),
    ("gpt2_generate", Some(1.065)),
    ("azure_llm_code_2023", None),
];

const TRAINING: [&str; 2] = ["resnet50_train", "bert_train"];

pub(super) fn cases() -> impl Iterator<Item = Count> {
    let fitted = Count {
        group: "packing",
        name: "smallest capacity over peak live".into(),
        count: Box::new(|| {
            let rows = TRACES.into_iter().map(|(name, goal)| fitted(name, goal));
            rows.collect::<Result<_, _>>().map_err(|error| error.to_string())
        }),
    };
    let streams = TRAINING.into_iter().map(|name| Count {
        group: "streams",
        name: format!("{name}, 64 in flight"),
        count: Box::new(move || spread(name).map_err(|error| error.to_string())),
    });
    std::iter::once(fitted).chain(streams)
}

/// The shipped traces' folder.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces").join(format!("{name}.csv.gz"))
}

fn open(name: &str) -> Result<(TraceFile, Scan), SessionError> {
    let trace = TraceFile::new(path(name), ReadOptions::default());
    let scan = trace.scan(&mut |_| ())?;
    Ok((trace, scan))
}

fn fitted(name: &str, goal: Option<f64>) -> Result<Figure, SessionError> {
    let (trace, scan) = open(name)?;
    let candidates = fit::candidates(&scan);
    let effort = fit::Effort::from_now(None);
    let options = Options::default();
    let found = fit::fit(&trace, &scan, &candidates, options, &effort, &mut |_| ())?;
    let live = scan.totals.peak_live_bytes;
    let detail = format!(
        "{} bytes for {live} live, the best of {} configurations",
        found.capacity,
        candidates.len()
    );
    Ok(Figure { name: name.into(), ratio: ratio(found.capacity, live), detail, sound: true, goal })
}

/// With and without waiting, on 1 to 8 streams.
fn spread(name: &str) -> Result<Vec<Figure>, SessionError> {
    let (trace, scan) = open(name)?;
    let mut rows = Vec::new();
    let mut alone = 0;
    for streams in [1, 2, 4, 8] {
        let outcome = play(&trace, &scan, streams, true)?;
        let committed = outcome.peaks.committed.value;
        if streams == 1 {
            alone = committed;
        }
        rows.push(Figure {
            name: format!("waiting permitted, {streams} streams, over 1 stream"),
            ratio: ratio(committed, alone),
            detail: format!(
                "{committed} bytes committed, {} waits, {} stalls{}",
                outcome.waits,
                outcome.stalls,
                verdict(&outcome)
            ),
            sound: outcome.is_ok(),
            goal: (streams > 1).then_some(1.05),
        });
    }
    for streams in [1, 2, 4, 8] {
        let outcome = play(&trace, &scan, streams, false)?;
        let committed = outcome.peaks.committed.value;
        let (live, flying) = (scan.totals.peak_live_bytes, outcome.peaks.pending.value);
        rows.push(Figure {
            name: format!("no waiting, {streams} streams, over live and in flight"),
            ratio: ratio(committed, live + flying),
            detail: format!(
                "{committed} bytes committed, {live} live and {flying} in flight at most{}",
                verdict(&outcome)
            ),
            sound: outcome.is_ok(),
            goal: Some(1.05),
        });
    }
    Ok(rows)
}

fn play(
    trace: &TraceFile,
    scan: &Scan,
    streams: u32,
    allow_wait: bool,
) -> Result<Outcome, SessionError> {
    let options =
        Options { spread: Some(streams), in_flight: 64, allow_wait, ..Options::default() };
    // The default configuration comes first.
    let candidates = fit::candidates(scan);
    let Some(config) = candidates.first() else {
        return Err(SessionError::Options("no configuration to try".into()));
    };
    trace.play(scan, config, &Backing::numbers(None), options, &mut |_| ())
}

/// Nothing when all went well.
fn verdict(outcome: &Outcome) -> &'static str {
    if outcome.is_ok() { "" } else { "; not satisfied or not sound" }
}

fn ratio(bytes: u64, of: u64) -> f64 {
    bytes as f64 / of.max(1) as f64
}
