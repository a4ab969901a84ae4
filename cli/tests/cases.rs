//! Small files that people sent, with what is right of each. They are not part of the project: read where they are at hand.

mod support;

use serde_json::Value;
use std::path::Path;
use support::object;

const GIB: u64 = 1 << 30;

/// A file, the exit status, and values of the report.
type Case = (&'static str, i32, &'static [(&'static str, u64)]);

#[test]
fn files_that_people_have_give_the_right_values() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases");
    if !folder.is_dir() {
        println!("not here: {}", folder.display());
        return;
    }
    let one: &'static [(&str, u64)] = &[("/trace/peak_active_bytes", 1 << 20)];
    let cases: &[Case] = &[
        (
            "pt/oom_device1.pickle",
            1,
            &[
                ("/trace/device", 1),
                ("/trace/devices", 2),
                ("/trace/refused/0/entry", 6),
                ("/trace/refused/0/bytes_requested", 4 * GIB),
                ("/trace/refused/0/live_bytes", 6 * GIB),
                ("/trace/refused/0/reserved_bytes", 8 * GIB),
                ("/trace/refused/0/device_free_bytes", GIB),
                ("/trace/refused/0/device_bytes", 9 * GIB),
            ],
        ),
        (
            "pt/oom_fragmented.pickle",
            0,
            &[
                ("/trace/refused/0/entry", 9),
                ("/trace/refused/0/bytes_requested", 3 * GIB),
                ("/trace/refused/0/live_bytes", 4 * GIB),
                ("/trace/refused/0/reserved_bytes", 8 * GIB),
                ("/trace/refused/0/device_free_bytes", 0),
                ("/trace/refused/0/largest_hole_bytes", 2 * GIB),
            ],
        ),
        ("pt/free_completed_only.pickle", 0, &[("/trace/peak_live_bytes", GIB)]),
        (
            "pt/deferred_free.pickle",
            0,
            &[("/trace/peak_live_bytes", GIB), ("/trace/peak_active_bytes", 2 * GIB)],
        ),
        ("pt/unknown_action.pickle", 0, &[("/trace/reader/entries/annotation_begin", 1)]),
        (
            "pt/two_streams_reserved.pickle",
            0,
            &[
                ("/trace/peak_live_bytes", 4 * GIB),
                ("/trace/recorded_peak_reserved_bytes", 8 * GIB),
            ],
        ),
        (
            "pt/state_only.pickle",
            0,
            &[
                ("/state/reserved_bytes", 10 * GIB + (1 << 20)),
                ("/state/allocated_bytes", 3 * GIB + (1 << 20)),
                ("/state/active_bytes", 3 * GIB + (1 << 20)),
                ("/state/largest_hole_bytes", 6 * GIB),
            ],
        ),
        ("pt/defaultdict.pickle", 0, one),
        ("pt/float_time.pickle", 0, one),
        ("pt/host_traces.pickle", 0, one),
        ("pt/proto0.pickle", 0, one),
        ("pt/proto1.pickle", 0, one),
        ("pt/proto5.pickle", 0, one),
        ("pt/snapshot.json", 0, one),
        ("pt/stream_u64.pickle", 0, one),
        ("pt/tuple_traces.pickle", 0, one),
        ("rmm_cut/midline.csv", 0, &[("/trace/events", 3), ("/trace/peak_live_bytes", 3 << 20)]),
        (
            "rmm_failure/fail.csv",
            1,
            &[
                ("/trace/refused/0/line", 6),
                ("/trace/refused/0/bytes_requested", 2 << 20),
                ("/trace/refused/0/live_bytes", 2 << 20),
            ],
        ),
        ("rmm_failure/fail_emptyptr.csv", 1, &[("/trace/refused/0/line", 3)]),
        ("rmm_noheader/spark.log", 0, &[("/trace/peak_live_bytes", 256)]),
        ("rmm_noheader/spark_mixed.log", 0, &[("/trace/reader/foreign_lines", 2)]),
        ("rmm_threads/clock_back.csv", 0, &[("/trace/reader/clamped_times", 1)]),
        ("rmm_docs/docs_example.csv", 0, &[("/trace/peak_live_bytes", 3072)]),
        ("rmm_docs/epoch_time.csv", 0, &[("/trace/peak_live_bytes", 1024)]),
        ("rmm_docs/thread64.csv", 0, &[("/trace/peak_live_bytes", 1024)]),
        ("rmm_debuglog/rmm_log.txt", 1, &[("/trace/refused/0/bytes_requested", 35_006_976)]),
        ("other/mtrace.txt", 2, &[]),
        ("other/tf_bfc.log", 2, &[]),
        ("other/vma.json", 2, &[]),
        ("other/torch_memory_timeline.json", 2, &[]),
    ];
    for (name, exit, values) in cases {
        let path = folder.join(name);
        let report = object(&["replay", path.to_str().unwrap()], *exit);
        for (pointer, value) in *values {
            let found = report.pointer(pointer).and_then(Value::as_u64);
            assert_eq!(found, Some(*value), "{name}: {pointer} in {report}");
        }
        assert_eq!(report["error"]["remedy"].is_string(), *exit == 2, "{name}: {report}");
    }
}
