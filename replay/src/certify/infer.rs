//! Settings for a recording: those of the file, or those that reproduce most of it.

use super::{Certificate, Entries, Moment, Run, Source};
use crate::snapshot::{Action, Recorded};
use strandline_twins::torch::Settings;

/// How many entries are played for each guess.
const PROBE: usize = 100_000;

/// Lines that are tried on a recording that states none and that the defaults do not reproduce.
const GUESSES: [&str; 13] = [
    "max_split_size_mb:32",
    "max_split_size_mb:64",
    "max_split_size_mb:128",
    "max_split_size_mb:256",
    "max_split_size_mb:512",
    "max_split_size_mb:1024",
    "roundup_power2_divisions:2",
    "roundup_power2_divisions:4",
    "roundup_power2_divisions:8",
    "roundup_power2_divisions:16",
    "large_segment_size_mb:40",
    "large_segment_size_mb:64",
    "large_segment_size_mb:128",
];

/// The settings for a device's recording, with the run's certificate. `observe` is told each moment of the run that counts.
///
/// Cost: one run; up to thirteen shorter ones more if the file states no settings and the defaults do not reproduce it.
pub fn certify<'d>(
    device: impl Into<Entries<'d>>,
    recorded: Option<&Recorded>,
    observe: &mut dyn FnMut(&Run<'d>, Moment),
) -> Certificate {
    let device = device.into();
    let mut run = match recorded {
        Some(recorded) => Run::new(device, &recorded.settings, Source::File),
        None => infer(&device),
    };
    if let Some(recorded) = recorded {
        run.certificate.notes.extend(recorded.faults.iter().cloned());
    }
    if run.certificate().settings.gc_threshold > 0.0 {
        run.certificate.notes.push(
            "garbage_collection_threshold works with a memory fraction, which the file does not state: early releases are not reproduced"
                .to_owned(),
        );
    }
    observe(&run, run.moment());
    while run.step() {
        observe(&run, run.moment());
    }
    run.finish()
}

/// A run that has not begun, with the settings that reproduce most of the recording.
fn infer<'d>(device: &Entries<'d>) -> Run<'d> {
    let expandable = device.segments.iter().any(|s| s.expandable)
        || device.entries.iter().any(|e| e.action == Action::SegmentMap);
    let fixed = device.segments.iter().any(|s| !s.expandable && s.pool == 0)
        || device.entries.iter().any(|e| e.action == Action::SegmentAlloc);
    let plain = Settings { expandable, ..Settings::default() };
    let mut best = Run::new(device.clone(), &plain, Source::Inferred);
    if !expandable && !fixed {
        return best;
    }
    let mut least = misses(&best);
    if least == 0 {
        return best;
    }
    for guess in GUESSES {
        let Ok(guess) = Settings::parse(guess) else { continue };
        let guess = Settings { expandable, ..guess };
        let run = Run::new(device.clone(), &guess, Source::Inferred);
        let missed = misses(&run);
        // A guess has to explain nearly all that the defaults do not: a few more may be chance.
        if missed * 2 < least {
            (least, best) = (missed, run);
        }
    }
    best
}

/// What a run does not reproduce of the recording's first entries. The run itself does not begin.
fn misses(run: &Run<'_>) -> u64 {
    let mut run = run.clone();
    for _ in 0..PROBE {
        if !run.step() {
            break;
        }
    }
    let c = run.certificate();
    [c.addresses, c.segments, c.maps, c.frees, c.unmaps].iter().map(|s| s.of - s.reproduced).sum()
}
