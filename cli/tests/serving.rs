//! Serving logs as users meet them: how many requests fit, who waits, and what capacity lets few wait.

mod support;

use std::fs;
use support::object as json;
use tempfile::TempDir;

/// A request a second, each of which has 64 MiB for ten seconds.
fn log() -> String {
    let mut text = "TIMESTAMP,ContextTokens,GeneratedTokens\n".to_owned();
    for second in 0..50 {
        text += &format!("{second},212,300\n");
    }
    text
}

#[test]
fn with_less_memory_requests_wait_and_the_report_says_how_many() {
    let folder = TempDir::new().expect("a folder for the test");
    let path = folder.path().join("log.csv");
    fs::write(&path, log()).expect("written");
    let trace = path.to_str().expect("a UTF-8 path");
    let all = json(&["replay", trace], 0);
    assert_eq!((&all["serving"]["requests"], &all["serving"]["queued"]), (&50.into(), &0.into()));
    let most = all["serving"]["most_running"].as_u64().expect("a number");
    assert!((10..=11).contains(&most), "{most}");
    // Three at a time.
    let few = json(&["replay", trace, "--capacity", "192MiB"], 0);
    assert!(few["serving"]["most_running"].as_u64().expect("a number") < 10);
    assert!(few["serving"]["queued"].as_u64() > Some(30), "{few}");
    assert!(few["serving"]["longest_wait_s"].as_f64() > Some(10.0), "{few}");
    assert_eq!(few["serving"]["capacity_blocks"], 96);
    assert!(few["memory"]["peak_allocated_bytes"].as_u64() <= Some(192 << 20));
    // Not even one.
    let none = json(&["replay", trace, "--capacity", "40MiB"], 2);
    assert!(none["error"]["what"].as_str().expect("words").contains("50 requests"), "{none}");
}

#[test]
fn the_least_capacity_for_a_share_that_may_queue_is_found() {
    let folder = TempDir::new().expect("a folder for the test");
    let path = folder.path().join("log.csv");
    fs::write(&path, log()).expect("written");
    let trace = path.to_str().expect("a UTF-8 path");
    let mut last = u64::MAX;
    for (share, most) in [("0", 0), ("0.5", 25), ("1", 50)] {
        let fitted = json(&["fit", trace, "--at-most-queued", share], 0);
        assert!(fitted["serving"]["waited_for_memory"].as_u64() <= Some(most), "{fitted}");
        let capacity = fitted["fit"]["capacity_bytes"].as_u64().expect("a number");
        assert!(capacity <= last, "{share}");
        last = capacity;
        let replayed = json(&["replay", trace, "--capacity", &capacity.to_string()], 0);
        assert_eq!(replayed["serving"], fitted["serving"], "what was found is what is played");
        // A block less is too little.
        if most < 50 {
            let less = (capacity - (2 << 20)).to_string();
            let replayed = json(&["replay", trace, "--capacity", &less], 0);
            assert!(replayed["serving"]["waited_for_memory"].as_u64() > Some(most), "{replayed}");
        }
    }
    assert_eq!(last, 64 << 20, "one after the other");
}
