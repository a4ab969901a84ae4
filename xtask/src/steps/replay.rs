//! The command over real traces: exit status, a JSON report that holds the promised keys and keeps the laws, and every file
//! that it writes read back.
//!
//! Data-driven: [`CASES`] says which options go with which traces and how they must end; every trace in
//! `traces/` is taken, so a new one needs no line here. The keys are an interface that others read:
//! one that vanishes or changes its type fails this step.
//!
//! ```text
//! convert TRACE out     ──▶ replay out                 the same trace
//! fit TRACE             ──▶ replay --capacity C        succeeds with no other option
//!   └─ --output F       ──▶ replay --config F          succeeds, and commits no more
//! replay --plot f.svg   ──▶ a picture that needs no other file
//! ```

pub(super) mod report;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use self::report::{check_report, count, number};
use crate::shell::{self, Cmd};
use crate::step::{Outcome, Stop};

/// The capacity that no shipped allocation trace fits in, in bytes.
const TOO_SMALL: &str = "1048576";

/// The traces of millions of events, which are only replayed: the rest would take minutes.
const LONG: &str = "llm";

/// Options to replay with, and the exit status that they must give.
struct Case {
    /// Traces whose file name contains this.
    traces: &'static str,
    args: &'static [&'static str],
    exit: i32,
}

const CASES: &[Case] = &[
    Case { traces: "", args: &[], exit: 0 },
    Case {
        traces: "train",
        args: &["--policy", "eager", "--streams", "4", "--in-flight", "64"],
        exit: 0,
    },
    Case { traces: "train", args: &["--capacity", TOO_SMALL], exit: 1 },
    Case { traces: "infer", args: &["--pool", "tlsf"], exit: 0 },
    Case { traces: "infer", args: &["--pool", "passthrough"], exit: 0 },
    Case { traces: "infer", args: &["--budget", TOO_SMALL], exit: 1 },
    Case {
        traces: "generate",
        args: &["--pool", "tlsf", "--in-flight", "16", "--allow-wait"],
        exit: 0,
    },
    Case { traces: "llm", args: &["--tokens-per-block", "16", "--max-batch", "8"], exit: 0 },
];

/// Traces that eight streams, allowed to wait, must play in no more than this many percent of the
/// memory of one.
const WAITING_PACKS: &[(&str, u64)] = &[("resnet50", 105), ("bert", 105)];

/// Options that `replay` must refuse with exit status 2, and a word of the message.
const REFUSED: &[(&[&str], &str)] = &[
    (&["no-such-trace.csv"], "no-such-trace.csv"),
    (&["traces/README.md"], "line 1"),
    (&["traces/vit_infer.csv.gz", "--capacity", "5XB"], "5XB"),
    (&["traces/vit_infer.csv.gz", "--plot", "plot.png"], ".svg"),
    (&["traces/vit_infer.csv.gz", "--config", "no-such-file.toml"], "no-such-file.toml"),
    (&["traces/vit_infer.csv.gz", "--no-such-option"], "--no-such-option"),
];

/// Input that is no trace, and the line of it that is at fault.
const BAD_INPUTS: &[(&str, &str, u32)] = &[
    ("no-size", "Thread,Time,Action,Pointer,Size,Stream\n1,00:00:00.000001,allocate,0x10,,0\n", 2),
    (
        "double-free",
        "Thread,Time,Action,Pointer,Size,Stream\n1,00:00:00.000001,allocate,0x10,64,0\n\
         1,00:00:00.000002,free,0x10,64,0\n1,00:00:00.000003,free,0x10,64,0\n",
        4,
    ),
    (
        "negative",
        "Thread,Time,Action,Pointer,Size,Stream\n1,00:00:00.000001,allocate,0x10,-64,0\n",
        2,
    ),
];

/// Builds the command, then runs every check; all failures are told, not only the first.
pub(super) fn replay() -> Outcome {
    Cmd::cargo().args(["build", "--release", "-p", "strandline"]).run()?;
    let mut trial = Trial::new()?;
    let traces = traces()?;

    for case in CASES {
        for trace in named(&traces, case.traces)? {
            let cmd = trial.replay(trace).args(case.args).arg("--json");
            let verdict = satisfied_or_not(&cmd, case.exit);
            trial.note(&cmd, verdict.map(drop));
        }
    }
    for (name, percent) in WAITING_PACKS {
        for trace in named(&traces, name)? {
            trial.waiting_packs(trace, *percent);
        }
    }
    for trace in traces.iter().filter(|trace| !file_name(trace).contains(LONG)) {
        trial.convert(trace);
        trial.fit(trace);
    }
    for trace in named(&traces, "infer")? {
        trial.plot(trace);
    }
    for (name, text, line) in BAD_INPUTS {
        let file = trial.scratch.join(format!("{name}.csv"));
        fs::write(&file, text)?;
        let cmd = trial.replay(&file);
        trial.note(&cmd, check_bad_input(&cmd, &file, *line));
    }
    for (args, word) in REFUSED {
        let cmd = trial.strandline("replay").args(*args);
        trial.note(&cmd, check_refused(&cmd, word));
    }
    let info = trial.strandline("info").arg("--json");
    trial.note(&info, check_info(&info));
    trial.end()
}

/// The shipped traces, by name.
fn traces() -> Result<Vec<PathBuf>, Stop> {
    let mut traces: Vec<PathBuf> = fs::read_dir(shell::root().join("traces"))?
        .filter_map(|entry| Some(PathBuf::from("traces").join(entry.ok()?.file_name())))
        .filter(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .collect();
    traces.sort();
    Ok(traces)
}

/// Those whose name contains a word.
fn named<'a>(traces: &'a [PathBuf], word: &str) -> Result<Vec<&'a PathBuf>, Stop> {
    let matching: Vec<&PathBuf> =
        traces.iter().filter(|trace| file_name(trace).contains(word)).collect();
    if matching.is_empty() {
        return Err(Stop::Failed(format!("no trace in traces/ has {word:?} in its name")));
    }
    Ok(matching)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

type Verdict = Result<(), String>;

/// The built command, and what its checks came to so far.
struct Trial {
    command: String,
    /// Where files go that the command is to write or to read.
    scratch: PathBuf,
    checks: usize,
    failures: Vec<String>,
}

impl Trial {
    fn new() -> Result<Self, Stop> {
        let command = shell::target_dir().join("release/strandline");
        let scratch = shell::target_dir().join("xtask-replay");
        fs::create_dir_all(&scratch)?;
        let command = command.to_string_lossy().into_owned();
        Ok(Self { command, scratch, checks: 0, failures: Vec::new() })
    }

    fn strandline(&self, subcommand: &str) -> Cmd {
        Cmd::new(&self.command).arg(subcommand)
    }

    fn replay(&self, trace: &Path) -> Cmd {
        self.strandline("replay").arg(trace)
    }

    fn note(&mut self, cmd: &Cmd, verdict: Verdict) {
        self.checks += 1;
        println!("{:<6}  {cmd}", if verdict.is_ok() { "ok" } else { "FAILED" });
        if let Err(why) = verdict {
            println!("        {why}");
            self.failures.push(format!("{why} ({cmd})"));
        }
    }

    fn end(self) -> Outcome {
        let Self { checks, failures, .. } = self;
        match failures.first() {
            None => {
                println!("{checks} checks");
                Ok(None)
            }
            Some(first) => {
                let failed = failures.len();
                Err(Stop::Failed(format!("{failed} of {checks} checks, the first: {first}")))
            }
        }
    }

    /// Eight streams that may wait need hardly more memory than one.
    fn waiting_packs(&mut self, trace: &Path, percent: u64) {
        let committed = |cmd: &Cmd| {
            satisfied_or_not(cmd, 0).and_then(|report| count(&report, "pool.peak_committed_bytes"))
        };
        let one = self.replay(trace).args(["--streams", "1", "--json"]);
        let alone = committed(&one);
        self.note(&one, alone.clone().map(drop));
        let waiting = ["--streams", "8", "--in-flight", "64", "--allow-wait", "--json"];
        let eight = self.replay(trace).args(waiting);
        let verdict = committed(&eight).and_then(|together| match alone {
            Ok(alone) if together * 100 > alone * percent => {
                Err(format!("{together} bytes committed, one stream commits {alone}"))
            }
            _ => Ok(()),
        });
        self.note(&eight, verdict);
    }

    /// What is converted is the same trace, in each format, packed or not.
    fn convert(&mut self, trace: &Path) {
        let plain = self.replay(trace).arg("--json");
        let facts = |cmd: &Cmd| {
            let report = satisfied_or_not(cmd, 0)?;
            Ok((count(&report, "trace.events")?, count(&report, "trace.peak_live_bytes")?))
        };
        let before: Result<_, String> = facts(&plain);
        for (format, ending) in [("rmm", "csv"), ("compact", "csv.gz")] {
            let out = self.scratch.join(format!("converted.{ending}"));
            let convert = self.strandline("convert").arg(trace).arg(&out).args(["--to", format]);
            let again = self.replay(&out).arg("--json");
            let verdict = exit_is(&convert, 0).and_then(|_| match (&before, facts(&again)?) {
                (Ok(before), after) if after == *before => Ok(()),
                (before, after) => Err(format!("{before:?} became {after:?}")),
            });
            self.note(&convert, verdict);
        }
    }

    /// The fitted capacity is enough for a replay with no other option, and the configuration for one
    /// that commits no more.
    fn fit(&mut self, trace: &Path) {
        let config = self.scratch.join("fitted.toml");
        let fit = self.strandline("fit").arg(trace).arg("--output").arg(&config).arg("--json");
        let fitted = report_of(&fit, 0).and_then(|report| {
            if number(&report, "fit.overhead")? < 1.0 {
                return Err("fit.overhead is below 1.0: less capacity than was live".to_owned());
            }
            check_report(&report, true)?;
            count(&report, "fit.capacity_bytes")
        });
        self.note(&fit, fitted.clone().map(drop));
        let Ok(capacity) = fitted else { return };
        let bytes = capacity.to_string();
        let bare = self.replay(trace).args(["--capacity", &bytes, "--json"]);
        let configured = self.replay(trace).arg("--config").arg(&config).arg("--json");
        for cmd in [bare, configured] {
            let verdict = satisfied_or_not(&cmd, 0).and_then(|report| {
                match count(&report, "pool.peak_committed_bytes")? {
                    committed if committed <= capacity => Ok(()),
                    committed => {
                        Err(format!("{committed} bytes committed, {capacity} were fitted"))
                    }
                }
            });
            self.note(&cmd, verdict);
        }
    }

    /// A plot is one whole file that asks for no other.
    fn plot(&mut self, trace: &Path) {
        for (ending, first, last) in
            [("svg", "<svg", "</svg>"), ("html", "<!DOCTYPE html>", "</html>")]
        {
            let file = self.scratch.join(format!("plot.{ending}"));
            let cmd = self.replay(trace).arg("--plot").arg(&file);
            let verdict = exit_is(&cmd, 0).and_then(|_| {
                let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
                let whole = text.starts_with(first) && text.trim_end().ends_with(last);
                let picture = text.contains("<svg") && text.contains("<path");
                let alone = !["src=", "href=", "url(http", "@import", "fetch("]
                    .iter()
                    .any(|reference| text.contains(reference));
                match (whole, picture, alone) {
                    (true, true, true) => Ok(()),
                    (false, ..) => Err(format!("not whole: {first} to {last}")),
                    (_, false, _) => Err("no picture in it".to_owned()),
                    (.., false) => Err("it refers to another file".to_owned()),
                }
            });
            self.note(&cmd, verdict);
        }
    }
}

/// Runs it and hands back standard output and standard error if it ended as it must.
fn exit_is(cmd: &Cmd, exit: i32) -> Result<(Vec<u8>, String), String> {
    let output = cmd.output().map_err(|_| "cannot be started".to_owned())?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(exit) {
        Ok((output.stdout, complaint))
    } else {
        Err(format!("{} instead of {exit}: {}", output.status, complaint.trim()))
    }
}

fn report_of(cmd: &Cmd, exit: i32) -> Result<Value, String> {
    let (stdout, _) = exit_is(cmd, exit)?;
    serde_json::from_slice(&stdout)
        .map_err(|error| format!("standard output is not one JSON object: {error}"))
}

/// Replays and checks the report; exit status 0 goes with success, 1 with a failure that is told.
fn satisfied_or_not(cmd: &Cmd, exit: i32) -> Result<Value, String> {
    let report = report_of(cmd, exit)?;
    check_report(&report, exit == 0)?;
    Ok(report)
}

/// Exit status 2, and a message that names the file and the line.
fn check_bad_input(cmd: &Cmd, file: &Path, line: u32) -> Verdict {
    let (_, complaint) = exit_is(cmd, 2)?;
    let names_line =
        [format!("line {line}"), format!(":{line}")].iter().any(|place| complaint.contains(place));
    if complaint.contains("panicked") || !complaint.contains(&file_name(file)) || !names_line {
        return Err(format!(
            "the message does not name the file and line {line}: {}",
            complaint.trim()
        ));
    }
    Ok(())
}

/// Exit status 2, and a message that says what was wrong.
fn check_refused(cmd: &Cmd, word: &str) -> Verdict {
    let (_, complaint) = exit_is(cmd, 2)?;
    if complaint.contains("panicked") || !complaint.contains(word) {
        return Err(format!("the message does not name {word}: {}", complaint.trim()));
    }
    Ok(())
}

/// At least one provider, with its properties.
fn check_info(cmd: &Cmd) -> Verdict {
    let report = report_of(cmd, 0)?;
    let providers = report.get("providers").and_then(Value::as_array).ok_or("no providers")?;
    if providers.is_empty() {
        return Err("no provider".to_owned());
    }
    providers.iter().try_for_each(|provider| count(provider, "granularity_bytes").map(drop))
}
