use super::*;
use crate::series::{BUCKETS, Sample};

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
    Plot { title, timeline, capacity: Some(70_000), events: timeline.last_event(), failure: None }
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
    for part in ["committed", "reserved", "live", "pending", "event", "memory in KiB", "capacity"] {
        assert!(svg.contains(part), "{part}");
    }
}

#[test]
fn names_cannot_break_out() {
    let timeline = timeline(10);
    let title = "</script><script>alert(\"1\")</script>&\u{1}";
    for text in [plot(title, &timeline).to_svg(), plot(title, &timeline).to_html()] {
        assert!(!text.contains("<script>alert"), "{text}");
        assert!(!text.contains('\u{1}'));
        assert!(text.contains("&lt;/script&gt;"));
    }
}

#[test]
fn a_failure_and_an_empty_run_are_drawn() {
    let empty = Timeline::new();
    let svg = Plot { failure: Some(1), events: 0, ..plot("empty", &empty) }.to_svg();
    assert!(svg.contains("failed at event 1"));
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    let html = plot("empty", &empty).to_html();
    let data = html.split("id=\"data\">").nth(1).and_then(|rest| rest.split("</script>").next());
    let data: serde_json::Value = serde_json::from_str(data.unwrap()).unwrap();
    assert_eq!(data["events"], serde_json::json!([]));
}
