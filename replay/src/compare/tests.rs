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
pub(super) fn growing() -> Requests {
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
    let told = compare(&growing(), None, Recorded::Unknown, false, false);
    let of = |settings: &str| told.rows.iter().find(|row| row.settings == settings).unwrap();
    let (plain, grown) = (of("defaults"), of("expandable_segments:True"));
    assert!(plain.peak_reserved > grown.peak_reserved, "{plain:?} {grown:?}");
    assert!(grown.over_active < 1.2, "{grown:?}");
    assert!(
        told.rows
            .iter()
            .filter(|row| row.allocator != "RMM arena")
            .all(|row| row.is_ok() && row.peak_reserved >= told.peak_active)
    );
    assert!(told.rows.iter().all(|row| !row.certified), "rules only");
    assert!(told.to_text("x").contains("rules only"));
    let json = told.to_json();
    assert_eq!(json["compare"]["rows"].as_array().unwrap().len(), told.rows.len());
}

#[test]
fn a_capacity_is_kept_and_a_failure_is_told_where() {
    let requests = growing();
    let capacity = requests.peak_active + requests.peak_active / 8;
    let told = compare(&requests, Some((capacity, "as given")), Recorded::Unknown, false, true);
    assert!(told.rows.iter().all(|row| row.peak_reserved <= capacity));
    let too_small =
        compare(&requests, Some((100 * MIB, "as given")), Recorded::Unknown, false, false);
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

/// Two streams that never have much at the same time: a pool for each needs both peaks.
#[test]
fn bounds_tell_what_one_pool_for_all_streams_can_save() {
    let mut requests = Requests::default();
    for (line, (action, id, size, stream)) in [
        (EventAction::Alloc, 1, 30 * MIB, 0),
        (EventAction::Free, 1, 30 * MIB, 0),
        (EventAction::Alloc, 2, 20 * MIB, 1),
        (EventAction::Alloc, 3, 5 * MIB, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let line = line as u32 + 1;
        requests.push(&Event { stream, ..event(action, id, size, line) });
    }
    let bounds = bounds::bounds(&requests, Some(40 * MIB));
    let told: Vec<_> = bounds.iter().map(|row| (row.peak_reserved / MIB, row.failed_at)).collect();
    assert_eq!(told, [(30, None), (50, Some(3))]);
    let told = compare(&requests, None, Recorded::Unknown, false, false);
    assert!(told.best().is_some_and(|best| best.kind != Kind::Bound), "a bound is no advice");
}

/// A block that another stream still uses is in nobody's hands, and what was refused is asked of every allocator again.
#[test]
fn no_row_that_fits_is_below_the_bound() {
    let mut requests = Requests::default();
    for (line, (action, id)) in [
        (EventAction::Alloc, 1),
        (EventAction::Retire, 1),
        (EventAction::Alloc, 2),
        (EventAction::Failure, 0),
        (EventAction::Free, 1),
        (EventAction::Free, 2),
    ]
    .into_iter()
    .enumerate()
    {
        requests.push(&event(action, id, 32 * MIB, line as u32 + 1));
    }
    let settings = strandline_twins::torch::Settings::default();
    let told = compare(&requests, None, Recorded::Torch(&settings), false, false);
    let bound = told.rows.iter().find(|row| row.kind == Kind::Bound).unwrap();
    assert_eq!(bound.peak_reserved, 96 * MIB);
    for row in told.rows.iter().filter(|row| row.is_ok()) {
        assert!(row.peak_reserved >= bound.peak_reserved, "{row:?}");
    }
    let lives = requests.lifetimes();
    let live = |at| lives.iter().filter(|life| life.lower <= at && at < life.upper).count();
    assert_eq!((0..6).map(live).max(), Some(3));
}

/// The order is that of what the user can do today, and other allocators never go before settings of the recorded one.
#[test]
fn own_settings_come_first_and_are_recommended_first() {
    let settings = strandline_twins::torch::Settings::default();
    for (recorded, own) in [(Recorded::Torch(&settings), "PyTorch"), (Recorded::Rmm, "RMM")] {
        for certified in [false, true] {
            let told = compare(&growing(), None, recorded, certified, false);
            let first = told.rows.iter().position(|row| row.kind != Kind::Own).unwrap();
            assert!(
                first > 0 && told.rows[..first].iter().all(|row| row.allocator.starts_with(own))
            );
            assert!(told.rows[first..].iter().all(|row| row.kind != Kind::Own && !row.certified));
            assert!(told.best().unwrap().allocator.starts_with(own), "{:?}", told.best());
            let says = told.to_text("x").contains("NOT certified");
            assert_eq!(says, !certified, "an uncertified recommendation says so");
        }
    }
}

/// Lines to paste are what each allocator's own syntax says, and PyTorch's read back as the settings of their row.
#[test]
fn what_is_pasted_is_what_was_played() {
    let settings = strandline_twins::torch::Settings::default();
    for choice in choices(Recorded::Torch(&settings), Some(16 << 30), 3 * MIB + 5, true) {
        let name = &choice.settings;
        let first = &choice.paste[0];
        if choice.allocator == "PyTorch" {
            let conf = first.strip_prefix("PYTORCH_CUDA_ALLOC_CONF=").unwrap();
            let read = strandline_twins::torch::Settings::parse(conf).unwrap();
            let defaults = read == settings;
            assert_eq!(read.to_string(), *name);
            assert_eq!(choice.current, defaults);
            // The threshold does nothing without a fraction, and the segment's size is not known to earlier releases.
            let fraction =
                choice.paste.iter().any(|l| l.contains("set_per_process_memory_fraction"));
            assert_eq!(fraction, read.gc_threshold > 0.0, "{name}");
            assert_eq!(choice.needs.contains("2.9"), conf.contains("large_segment"), "{name}");
        } else if choice.allocator.starts_with("RMM") {
            assert!(
                first.starts_with("rmm.mr.") && choice.paste[1].contains("rmm::mr::"),
                "{name}"
            );
            assert!(choice.needs.contains("change_current_allocator"), "{name}");
        }
        for line in &choice.paste {
            for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
                assert_eq!(line.matches(open).count(), line.matches(close).count(), "{line}");
            }
        }
    }
}

/// A plan is below every allocator, and nothing that a user can paste.
#[test]
fn a_plan_is_told_and_is_no_advice() {
    let requests = growing();
    let lives = requests.lifetimes();
    assert_eq!(lives.len(), 80);
    let most = lives.iter().map(|a| {
        let with = lives.iter().filter(|b| b.lower <= a.lower && a.lower < b.upper);
        with.map(|b| b.size).sum::<u64>()
    });
    assert_eq!(most.max(), Some(requests.peak_active));
    let tight = Some((requests.peak_active, "as given"));
    let mut told = compare(&requests, tight, Recorded::Unknown, false, false);
    told.rows.retain(|row| !row.is_ok() || row.kind == Kind::Bound);
    told.add(planned(
        requests.peak_active,
        true,
        tight.map(|(bytes, _)| bytes),
        requests.peak_active,
    ));
    assert!(told.is_hopeless() && told.best().is_none());
    let words = told.to_text("x");
    assert!(words.starts_with("FAILED: nothing") && words.contains("A plan of "), "{words}");
    let position = |kind| told.rows.iter().position(|row| row.kind == kind);
    assert!(position(Kind::Planned) < position(Kind::Bound));
}
