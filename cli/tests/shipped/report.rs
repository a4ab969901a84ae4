//! The JSON report of a replay: the keys that others read, and the laws between their values.

use serde_json::Value;

/// Keys whose value is a whole number of at least 0.
const COUNTS: &[&str] = &[
    "trace.events",
    "trace.streams",
    "trace.peak_live_bytes",
    "pool.peak_requested_bytes",
    "pool.peak_reserved_bytes",
    "pool.peak_committed_bytes",
    "pool.peak_pending_bytes",
    "pool.peak_slabs",
    "pool.final_committed_bytes",
    "pool.largest_hole_bytes",
    "reuse.fresh",
    "reuse.dominated",
    "reuse.completed",
    "reuse.waited",
    "reuse.missed",
    "reuse.tainted",
    "reuse.stalled",
    "latency_ns.acquire.p50",
    "latency_ns.acquire.p99",
    "latency_ns.acquire.p999",
    "latency_ns.acquire.max",
    "latency_ns.release.p50",
    "latency_ns.release.p99",
    "latency_ns.release.p999",
    "latency_ns.release.max",
    "oracle.overlaps",
    "oracle.early_reuse",
    "oracle.corruptions",
    "oracle.missed_fits",
];

/// Keys whose value is a number, not always whole.
const NUMBERS: &[&str] = &["pool.overhead", "throughput.events_per_s"];

/// Keys whose value is text.
const WORDS: &[&str] = &["trace.format", "pool.kind"];

/// Keys of `failure` that are whole numbers, when it is not null.
const FAILURE_COUNTS: &[&str] = &[
    "failure.event",
    "failure.bytes_requested",
    "failure.live_bytes",
    "failure.largest_hole_bytes",
    "failure.pending_bytes",
];

/// Pairs of which the first is at most the second.
const ORDERED: &[(&str, &str)] = &[
    ("pool.peak_requested_bytes", "pool.peak_reserved_bytes"),
    ("pool.peak_reserved_bytes", "pool.peak_committed_bytes"),
    ("pool.peak_pending_bytes", "pool.peak_committed_bytes"),
    ("pool.final_committed_bytes", "pool.peak_committed_bytes"),
    ("latency_ns.acquire.p50", "latency_ns.acquire.p99"),
    ("latency_ns.acquire.p99", "latency_ns.acquire.p999"),
    ("latency_ns.acquire.p999", "latency_ns.acquire.max"),
    ("latency_ns.release.p50", "latency_ns.release.p99"),
    ("latency_ns.release.p99", "latency_ns.release.p999"),
    ("latency_ns.release.p999", "latency_ns.release.max"),
];

/// Finds `a.b.c` in nested objects.
fn get<'a>(report: &'a Value, key: &str) -> Result<&'a Value, String> {
    key.split('.')
        .try_fold(report, |value, part| value.get(part))
        .ok_or_else(|| format!("no key {key}"))
}

/// A whole number of the report.
pub(crate) fn count(report: &Value, key: &str) -> Result<u64, String> {
    get(report, key)?.as_u64().ok_or_else(|| format!("{key} is not a whole number"))
}

/// A number of the report.
pub(crate) fn number(report: &Value, key: &str) -> Result<f64, String> {
    get(report, key)?.as_f64().ok_or_else(|| format!("{key} is not a number"))
}

/// The promised keys, and what must hold between them whatever the trace.
pub(crate) fn check_report(report: &Value, satisfied: bool) -> Result<(), String> {
    COUNTS.iter().try_for_each(|key| count(report, key).map(drop))?;
    NUMBERS.iter().try_for_each(|key| number(report, key).map(drop))?;
    for key in WORDS {
        get(report, key)?
            .as_str()
            .filter(|word| !word.is_empty())
            .ok_or_else(|| format!("{key} is not text"))?;
    }
    for (low, high) in ORDERED {
        let (small, large) = (count(report, low)?, count(report, high)?);
        if small > large {
            return Err(format!("{low} = {small} exceeds {high} = {large}"));
        }
    }
    for key in ["oracle.overlaps", "oracle.early_reuse", "oracle.corruptions"] {
        match count(report, key)? {
            0 => {}
            found => return Err(format!("{key} = {found}")),
        }
    }
    if get(report, "ok")? != &Value::Bool(satisfied) {
        return Err(format!("ok is not {satisfied}"));
    }
    if satisfied {
        if !get(report, "failure")?.is_null() {
            return Err("failure is not null although ok is true".to_owned());
        }
        if number(report, "pool.overhead")? < 1.0 {
            return Err("pool.overhead is below 1.0: less committed than was live".to_owned());
        }
        if count(report, "trace.events")? == 0 {
            return Err("the trace has no events".to_owned());
        }
    } else {
        FAILURE_COUNTS.iter().try_for_each(|key| count(report, key).map(drop))?;
        get(report, "failure.reason")?.as_str().ok_or("failure.reason is not text")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        let latency = json!({"p50": 40, "p99": 90, "p999": 200, "max": 5000});
        json!({
            "trace": {"format": "rmm", "events": 10, "streams": 1, "peak_live_bytes": 100},
            "pool": {"kind": "tlsf", "peak_requested_bytes": 100, "peak_reserved_bytes": 100,
                     "peak_pending_bytes": 0, "peak_slabs": 1, "peak_committed_bytes": 128,
                     "final_committed_bytes": 0, "largest_hole_bytes": 28, "overhead": 1.28},
            "reuse": {"fresh": 5, "dominated": 0, "completed": 0, "waited": 0, "missed": 0,
                      "tainted": 0, "stalled": 0},
            "latency_ns": {"acquire": latency, "release": latency},
            "throughput": {"events_per_s": 1e6},
            "oracle": {"overlaps": 0, "early_reuse": 0, "corruptions": 0, "missed_fits": 0},
            "ok": true, "failure": null
        })
    }

    /// The good report with one value replaced.
    fn with(key: &str, value: Value) -> Value {
        let mut report = good();
        let pointer = format!("/{}", key.replace('.', "/"));
        match report.pointer_mut(&pointer) {
            Some(place) => *place = value,
            None => panic!("no {key}"),
        }
        report
    }

    #[test]
    fn a_good_report_passes() {
        assert_eq!(check_report(&good(), true), Ok(()));
        assert!(check_report(&good(), false).is_err());
    }

    #[test]
    fn every_promised_key_is_missed_when_it_is_gone() {
        for key in COUNTS.iter().chain(NUMBERS).chain(WORDS).chain(&["ok", "failure"]) {
            let mut report = good();
            let (parent, last) = key.rsplit_once('.').unwrap_or(("", key));
            let pointer = if parent.is_empty() {
                String::new()
            } else {
                format!("/{}", parent.replace('.', "/"))
            };
            let removed = report
                .pointer_mut(&pointer)
                .and_then(|object| object.as_object_mut()?.remove(last));
            assert!(removed.is_some(), "{key}");
            assert!(check_report(&report, true).is_err(), "{key}");
        }
    }

    #[test]
    fn a_broken_law_is_found() {
        for (key, value) in [
            ("oracle.overlaps", json!(1)),
            ("pool.overhead", json!(0.99)),
            ("pool.peak_reserved_bytes", json!(129)),
            ("pool.peak_requested_bytes", json!(101)),
            ("latency_ns.release.p99", json!(201)),
            ("trace.events", json!(-1)),
            ("trace.events", json!(0)),
            ("ok", json!(false)),
            ("failure", json!({})),
        ] {
            assert!(check_report(&with(key, value), true).is_err(), "{key}");
        }
    }

    #[test]
    fn a_failed_replay_must_say_how() {
        let mut report = with("ok", json!(false));
        assert!(check_report(&report, false).is_err());
        report["failure"] = json!({"event": 3, "bytes_requested": 64, "live_bytes": 10, "largest_hole_bytes": 0,
                                   "pending_bytes": 0, "reason": "exhausted"});
        assert_eq!(check_report(&report, false), Ok(()));
    }
}
