//! `notification`: a signal that nobody waits for, as every release of a pool makes one: its time, and the
//! system calls that it makes.

use crate::figures::{Count, Figure};
use crate::harness::{Case, Contender, Goal, Stopwatch};
use event_listener::{Event, IntoNotification};
use std::hint::black_box;
use std::process::Command;
use strandline_core::Notification;
use strandline_host_native::thread_wake;

const SIGNAL: &str = "strandline, signal_if_observed";

/// Signals that are traced: enough that one system call in ten thousand would show.
const TRACED: u64 = 100_000;

pub(super) fn cases() -> impl Iterator<Item = Case> {
    std::iter::once(Case {
        group: "notification",
        name: "signal without observers".into(),
        unit: "signal",
        reference: 0,
        goals: vec![Goal::ns(SIGNAL, 10.0)],
        contenders: Box::new(contenders),
    })
}

fn contenders() -> Vec<Contender> {
    let (event, relaxed) = (Event::new(), Event::new());
    let notification = Notification::new(Some(thread_wake()));
    vec![
        timed("event-listener, notify(1)", move || {
            black_box(black_box(&event).notify(1));
        }),
        timed("event-listener, notify(1.relaxed())", move || {
            black_box(black_box(&relaxed).notify(1.relaxed()));
        }),
        timed(SIGNAL, move || {
            black_box(&notification).signal_if_observed();
        }),
    ]
}

fn timed(name: &str, mut call: impl FnMut() + 'static) -> Contender {
    Contender::new(name, move |count| {
        let clock = Stopwatch::start();
        for _ in 0..count {
            call();
        }
        clock.elapsed()
    })
}

/// What the system calls are counted of: this program, signaling as often as it is told.
pub fn signal_unobserved(count: u64) {
    let notification = Notification::new(Some(thread_wake()));
    for _ in 0..count {
        black_box(&notification).signal_if_observed();
    }
}

pub(super) fn counts() -> impl Iterator<Item = Count> {
    std::iter::once(Count {
        group: "notification",
        name: "system calls of a signal without observers".into(),
        count: Box::new(|| {
            let (none, all) = (traced(0)?, traced(TRACED)?);
            let ratio = all.saturating_sub(none) as f64 / TRACED as f64;
            let detail = format!(
                "strace: {all} calls of a program that signals {TRACED} times, {none} of one that does not"
            );
            Ok(vec![Figure { name: SIGNAL.into(), ratio, detail, sound: true, goal: Some(0.0) }])
        }),
    })
}

/// System calls of a run of this program that signals so often.
fn traced(signals: u64) -> Result<usize, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "|cat >&2"])
        .arg(me)
        .args(["--signal-unobserved", &signals.to_string()])
        .output()
        .map_err(|error| format!("strace: {error}"))?;
    if !output.status.success() {
        return Err(format!("strace: {}", output.status));
    }
    // One line a call.
    Ok(String::from_utf8_lossy(&output.stderr).lines().count())
}
