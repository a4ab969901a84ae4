use super::*;
use crate::engine::Instants;
use crate::series::{BUCKETS, Sample};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::read::GzDecoder;
use std::io::Read as _;

fn timeline(events: u64) -> Timeline {
    let mut timeline = Timeline::new();
    for event in 1..=events {
        let live = 1000 + (event * 7919) % 50_000;
        let sample =
            Sample { committed: 65_536, reserved: live + 64, live, pending: live / 3, slabs: 1 };
        timeline.push(event, sample);
    }
    timeline
}

fn plot<'a>(title: &'a str, timeline: &'a Timeline) -> Plot<'a> {
    Plot {
        title,
        timeline,
        capacity: Some(70_000),
        events: timeline.last_event(),
        failure: None,
        words: Words::Replay,
    }
}

#[test]
fn a_long_run_makes_a_small_picture() {
    let timeline = timeline(1_000_000);
    let svg = plot("long", &timeline).to_svg();
    for path in svg.split("d=\"").skip(1) {
        let path = path.split('"').next().unwrap();
        let points = path.matches(['L', 'V', 'H', 'M']).count();
        assert!(points <= 2 * BUCKETS + 4, "{points}");
    }
    assert!(svg.len() < 200_000, "{}", svg.len());
    for part in
        ["reserved", "handed out", "allocated", "pending", "event", "memory in KiB", "capacity"]
    {
        assert!(svg.contains(part), "{part}");
    }
}

/// A recorded run has entries and active bytes; it hands nothing out.
#[test]
fn a_recorded_run_has_its_own_words() {
    let timeline = timeline(10);
    let plot = Plot { words: Words::Recorded, failure: Some(3), ..plot("run", &timeline) };
    let svg = plot.to_svg();
    assert!(svg.contains("active") && svg.contains("failed at entry 3"), "{svg}");
    assert!(!svg.contains("handed out") && !svg.contains("event</text>"), "{svg}");
}

const NASTY: &str = "</script><script>alert(\"1\")</script>&\u{1}{recording}";

#[test]
fn names_cannot_break_out_of_a_picture() {
    let timeline = timeline(10);
    let text = plot(NASTY, &timeline).to_svg();
    assert!(!text.contains("<script>alert"), "{text}");
    assert!(!text.contains('\u{1}'));
    assert!(text.contains("&lt;/script&gt;"));
}

/// What stands in a page: its text about the run, and the parts' lengths.
fn data_of(html: &str) -> (serde_json::Value, u32, u32) {
    let data = html.split("id=\"recording\">").nth(1).and_then(|rest| rest.split('<').next());
    let packed = BASE64_STANDARD.decode(data.unwrap()).unwrap();
    let mut bytes = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    assert_eq!(&bytes[..4], b"SLR1");
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (about, series, frames) = (word(4) as usize, word(8), word(12));
    let at = (16 + 4 * frames as usize).next_multiple_of(8);
    (serde_json::from_slice(&bytes[at..at + about]).unwrap(), series, frames)
}

#[test]
fn a_page_holds_its_run_and_names_cannot_break_out() {
    let timeline = timeline(2000);
    let frame = |event| crate::recording::Frame { event, ..Default::default() };
    let instants = Instants {
        events: vec![0, 7],
        frames: vec![frame(0).to_bytes(), frame(7).to_bytes()],
        pools: vec!["tlsf"],
    };
    let report = serde_json::json!({ "ok": true, "trace": { "format": NASTY } });
    let page = Page { plot: plot(NASTY, &timeline), instants, first_shown: 7, report: &report };
    let html = page.to_html().unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.trim_end().ends_with("</html>"));
    assert!(!html.contains("<script>alert"));
    assert!(html.contains("&lt;/script&gt;"));
    assert!(html.contains("<noscript><svg"));
    let (about, series, frames) = data_of(&html);
    assert_eq!(about["title"], NASTY);
    assert_eq!((about["instants"][1].as_u64(), about["first_shown"].as_u64()), (Some(7), Some(7)));
    assert_eq!(about["report"], report);
    assert_eq!(series as usize, 8 + 72 * timeline.buckets().len());
    assert_eq!(frames, 2);
}

#[test]
fn a_failure_and_an_empty_run_are_drawn() {
    let empty = Timeline::new();
    let svg = Plot { failure: Some(1), events: 0, ..plot("empty", &empty) }.to_svg();
    assert!(svg.contains("failed at event 1"));
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}
