//! Settings for a recording: those of the file, or those that reproduce most of it.

use super::{Certificate, Moment, Run, Source};
use crate::snapshot::{Action, DeviceTrace, Recorded};
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
pub fn certify(
    device: &DeviceTrace,
    recorded: Option<&Recorded>,
    observe: &mut dyn FnMut(&Run<'_>, Moment),
) -> Certificate {
    let (settings, source) = match recorded {
        Some(recorded) => (recorded.settings.clone(), Source::File),
        None => (infer(device), Source::Inferred),
    };
    let mut run = Run::new(device, &settings, source);
    if let Some(recorded) = recorded {
        run.certificate.notes.extend(recorded.faults.iter().cloned());
    }
    if settings.gc_threshold > 0.0 {
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

fn infer(device: &DeviceTrace) -> Settings {
    let expandable = device.segments.iter().any(|s| s.expandable)
        || device.entries.iter().any(|e| e.action == Action::SegmentMap);
    let fixed = device.segments.iter().any(|s| !s.expandable && s.pool == 0)
        || device.entries.iter().any(|e| e.action == Action::SegmentAlloc);
    let plain = Settings { expandable, ..Settings::default() };
    if !expandable && !fixed {
        return plain;
    }
    let (mut best, mut settings) = (misses(device, &plain), plain);
    if best == 0 {
        return settings;
    }
    for guess in GUESSES {
        let Ok(guess) = Settings::parse(guess) else { continue };
        let guess = Settings { expandable, ..guess };
        let missed = misses(device, &guess);
        // A guess has to explain nearly all that the defaults do not: a few more may be chance.
        if missed * 2 < best {
            (best, settings) = (missed, guess);
        }
    }
    settings
}

/// What a run of these settings does not reproduce of the recording's first entries.
fn misses(device: &DeviceTrace, settings: &Settings) -> u64 {
    let mut run = Run::new(device, settings, Source::Inferred);
    for _ in 0..PROBE {
        if !run.step() {
            break;
        }
    }
    let c = run.certificate();
    [c.addresses, c.segments, c.maps, c.frees, c.unmaps].iter().map(|s| s.of - s.reproduced).sum()
}
