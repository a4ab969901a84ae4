//! What pools take from the device: close to what is in use, and given back before anything is refused.

mod support;

use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

#[track_caller]
fn replay(trace: &str, options: &[&str], exit: i32) -> Value {
    support::object(&[&["replay", trace][..], options].concat(), exit)
}

#[track_caller]
fn number(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {report}"))
}

/// Pairs of blocks that grow from pair to pair; each pair is freed before the next. The last takes all of 32 MiB.
fn growing_pairs() -> String {
    let mut text = "time_ns,action,id,size,stream,thread\n".to_owned();
    let mut time = 0;
    for step in 1..=32u64 {
        for action in ["alloc", "free"] {
            for id in [2 * step, 2 * step + 1] {
                let size = step << 19;
                writeln!(text, "{time},{action},{id},{size},0,0").expect("a string");
                time += 1;
            }
        }
    }
    text
}

/// Slabs that are smaller than what is asked for next are given back, and so is a large one that one block would waste.
#[test]
fn what_fits_the_capacity_is_served_with_slabs_of_any_size() {
    let folder = TempDir::new().expect("a folder for the test");
    let path = folder.path().join("pairs.csv");
    fs::write(&path, growing_pairs()).expect("written");
    let trace = path.to_str().expect("a UTF-8 path");
    for slab in (1..=32).map(|mib| format!("{mib}MiB")) {
        let report = replay(trace, &["--capacity", "32MiB", "--slab", &slab], 0);
        assert_eq!(number(&report, "/memory/peak_reserved_bytes"), 32 << 20, "{slab}");
        assert_eq!(number(&report, "/oracle/missed_fits"), 0, "{slab}");
    }
    let elastic = replay(trace, &[], 0);
    assert_eq!(number(&elastic, "/memory/peak_reserved_bytes"), 32 << 20);
    // A page less is too little.
    replay(trace, &["--capacity", "33550336", "--slab", "1MiB"], 1);
}

/// Elastic slabs hold what is in use, padding included, and at most a fiftieth more; and never more than slabs of a size.
#[test]
fn elastic_slabs_take_hardly_more_than_is_in_use() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../traces"));
    let mut played = 0;
    for file in fs::read_dir(folder).expect("the shipped traces") {
        let path = file.expect("an entry").path();
        let trace = path.to_str().expect("a UTF-8 path");
        if !trace.ends_with(".csv.gz") {
            continue;
        }
        let elastic = replay(trace, &[], 0);
        let reserved = number(&elastic, "/memory/peak_reserved_bytes");
        let in_use = number(&elastic, "/pool/peak_reserved_bytes");
        assert!(in_use >= number(&elastic, "/memory/peak_active_bytes"), "{trace}");
        assert!(reserved * 50 <= in_use * 51, "{trace}: {reserved} for {in_use}");
        assert_eq!(number(&elastic, "/oracle/missed_fits"), 0, "{trace}");
        let slabs = replay(trace, &["--slab", "32MiB"], 0);
        let slabs = number(&slabs, "/memory/peak_reserved_bytes");
        assert!(reserved <= slabs, "{trace}: {reserved} elastic, {slabs} with slabs");
        played += 1;
    }
    assert!(played >= 5, "{played} traces");
}
