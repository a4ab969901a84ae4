//! Comparisons whose outcome is known.

use super::*;
use crate::event::{Action as EventAction, Event};

const MIB: u64 = 1 << 20;

fn event(action: EventAction, id: u64, size: u64, line: u32) -> Event {
    let mut requests =
        Event { time_ns: 0, id, size, stream: 0, thread: 0, line, action: EventAction::Alloc };
    requests.action = action;
    requests
}

/// A buffer that grows while a little of each round stays: every size is new, so that the plain allocator keeps all of them.
fn growing() -> Requests {
    let mut requests = Requests::default();
    let mut line = 0;
    let mut push = |action, id, size| {
        line += 1;
        requests.push(&event(action, id, size, line));
    };
    for round in 0..40u64 {
        push(EventAction::Alloc, 1000 + round, (11 + 2 * round) * MIB);
        push(EventAction::Alloc, 2000 + round, 12 * MIB);
        push(EventAction::Free, 1000 + round, (11 + 2 * round) * MIB);
    }
    requests
}

#[test]
fn a_growing_buffer_needs_expandable_segments() {
    let told = compare(&growing(), None, None, false);
    let of = |settings: &str| told.rows.iter().find(|row| row.settings == settings).unwrap();
    let (plain, grown) = (of("defaults"), of("expandable_segments:True"));
    assert!(plain.peak_reserved > grown.peak_reserved, "{plain:?} {grown:?}");
    assert!(grown.over_active < 1.2, "{grown:?}");
    assert!(told.rows.iter().all(|row| row.is_ok() && row.peak_reserved >= told.peak_active));
    assert!(told.rows.iter().all(|row| !row.certified), "rules only");
    assert!(told.to_text("x").contains("rules only"));
    let json = told.to_json();
    assert_eq!(json["compare"]["rows"].as_array().unwrap().len(), told.rows.len());
}

#[test]
fn a_capacity_is_kept_and_a_failure_is_told_where() {
    let requests = growing();
    let capacity = requests.peak_active + requests.peak_active / 8;
    let told = compare(&requests, Some((capacity, "as given")), None, true);
    assert!(told.rows.iter().all(|row| row.peak_reserved <= capacity));
    let too_small = compare(&requests, Some((100 * MIB, "as given")), None, false);
    assert!(too_small.is_hopeless());
    assert!(too_small.rows.iter().all(|row| row.failed_at.is_some_and(|at| at > 0 && at <= 120)));
    assert!(too_small.to_text("x").starts_with("FAILED"));
}

/// What is exported is read back, and explained: the twin reproduces its own run.
#[test]
fn an_exported_run_is_a_snapshot() {
    let snapshot = crate::snapshot::Snapshot::default();
    let device = DeviceTrace::default();
    for conf in ["", "expandable_segments:True"] {
        let settings = strandline_twins::torch::Settings::parse(conf).unwrap();
        let mut file = Vec::new();
        export(&snapshot, &device, &growing(), &settings, None, &mut file).unwrap();
        let read = crate::snapshot::read(&file[..], crate::format::Limits::default()).unwrap();
        let certificate = certify(&read.devices[0], None, &mut |_, _| {});
        assert!(certificate.is_whole(), "{certificate:#?}");
        assert_eq!(certificate.addresses.of, 80);
    }
}
