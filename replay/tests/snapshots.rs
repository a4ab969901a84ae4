//! Snapshots of PyTorch against a count made in another way: objects are built in full, blocks are intervals, and a peak is the
//! maximum of a sum over interval ends. Real snapshots are read where they are at hand; the project's own always.

#[path = "naive/mod.rs"]
mod naive;

use flate2::read::GzDecoder;
use naive::{Object, unpickle};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use strandline_replay::build::Backing;
use strandline_replay::config::{Config, Kind, PoolSpec};
use strandline_replay::engine::Options;
use strandline_replay::format::ReadOptions;
use strandline_replay::session::TraceFile;

/// The project's snapshots, and those beside the project.
fn snapshots() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> =
        ["snapshot2", "snapshot5", "deferred", "oom", "state", "completed_only", "pending"]
            .iter()
            .map(|name| here.join(format!("tests/formats/{name}.pickle")))
            .collect();
    let folder = here.join("../../shared/snapshots");
    match std::fs::read_dir(&folder) {
        Ok(real) => files.extend(real.map(|entry| entry.unwrap().path())),
        Err(_) => {
            println!("not here: {}; only the project's own snapshots are read", folder.display())
        }
    }
    files
}

fn object(path: &Path) -> Object {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut plain = Vec::new();
    match GzDecoder::new(&bytes[..]).read_to_end(&mut plain) {
        Ok(_) => unpickle(&plain),
        Err(_) => unpickle(&bytes),
    }
}

/// The highest point of a sum whose terms begin and end between entries.
fn highest(intervals: &[(i64, i64, i128)]) -> i128 {
    let mut ends: BTreeMap<(i64, u8), i128> = BTreeMap::new();
    for &(begin, end, size) in intervals {
        // What ends at an entry ends before what begins at it.
        *ends.entry((begin, 1)).or_default() += size;
        *ends.entry((end, 0)).or_default() -= size;
    }
    ends.values()
        .scan(0, |sum, change| {
            *sum += change;
            Some(*sum)
        })
        .max()
        .unwrap_or(0)
}

struct Counted {
    allocated: i128,
    active: i128,
    allocs: usize,
}

/// Peaks of a device, from each address's own history.
fn count(snapshot: &Object, device: u32) -> Counted {
    let entries = snapshot.get("device_traces").unwrap().list()[device as usize].list();
    let action = |entry: &Object| entry.text("action");
    let completes = entries.iter().any(|entry| action(entry) == "free_completed");
    let requests = entries.iter().any(|entry| action(entry) == "free_requested");
    let mut histories: HashMap<i128, Vec<(i64, String, i128)>> = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let action = action(entry);
        if ["alloc", "free_requested", "free_completed"].contains(&action.as_str()) {
            let event = (index as i64, action, entry.number("size"));
            histories.entry(entry.number("addr")).or_default().push(event);
        }
    }
    let (mut allocated, mut active) = (Vec::new(), Vec::new());
    let never = entries.len() as i64 + 1;
    for history in histories.values() {
        let mut at = 0;
        while at < history.len() {
            let (begin, size) = match &history[at] {
                (index, action, size) if action == "alloc" => {
                    at += 1;
                    (*index, *size)
                }
                (_, _, size) => (-1, *size),
            };
            let is = |at: usize, wanted: &str| history.get(at).is_some_and(|h| h.1 == wanted);
            // Held from before: its request was not recorded.
            let was_requested = begin == -1 && is(at, "free_completed") && requests;
            let requested = is(at, "free_requested").then(|| history[at].0);
            at += usize::from(requested.is_some());
            let completed = is(at, "free_completed").then(|| history[at].0);
            at += usize::from(completed.is_some());
            let next = history.get(at).map_or(never, |h| h.0);
            if !was_requested {
                allocated.push((begin, requested.or(completed).unwrap_or(next), size));
            }
            let over =
                if completes { completed.unwrap_or(next) } else { requested.unwrap_or(next) };
            active.push((begin, over, size));
        }
    }
    for segment in snapshot.get("segments").unwrap().list() {
        if segment.number("device") != device.into() {
            continue;
        }
        let mut address = segment.number("address");
        for block in segment.get("blocks").unwrap().list() {
            let size = block.number("size");
            let state = block.text("state");
            let asked = match block.get("requested_size") {
                Some(Object::Int(asked)) if asked > 0 => asked,
                _ => size,
            };
            if state != "inactive" && !histories.contains_key(&address) {
                if state == "active_allocated" {
                    allocated.push((-1, never, asked));
                }
                active.push((-1, never, asked));
            }
            address += size;
        }
    }
    let allocs = entries.iter().filter(|entry| action(entry) == "alloc").count();
    Counted { allocated: highest(&allocated), active: highest(&active), allocs }
}

#[test]
fn peaks_are_what_each_blocks_own_history_says() {
    for path in snapshots() {
        let trace = TraceFile::new(&path, ReadOptions::default());
        let scan = trace.scan(&mut |_| ()).unwrap_or_else(|e| panic!("{e}"));
        let device = scan.notes.device.unwrap();
        let snapshot = object(&path);
        let counted = count(&snapshot, device);
        let name = path.display();
        assert_eq!(scan.state_only, counted.allocs == 0, "{name}");
        assert_eq!(i128::from(scan.totals.peak_live_bytes), counted.allocated, "{name}: allocated");
        assert_eq!(i128::from(scan.totals.peak_active_bytes), counted.active, "{name}: active");
        if scan.state_only {
            continue;
        }
        // The bytes that the pool hands out and has pending come to the same peak, whoever counts them.
        let config = Config { pools: vec![PoolSpec::of(Kind::Tlsf)], ..Config::default() };
        let options = Options { as_recorded: true, ..Options::default() };
        let outcome =
            trace.play(&scan, &config, &Backing::numbers(None), options, &mut |_| ()).unwrap();
        assert!(outcome.is_ok(), "{name}: {:?}", outcome.failure);
        assert_eq!(i128::from(outcome.peaks.live.value), counted.allocated, "{name}: played");
        assert_eq!(i128::from(outcome.peaks.active.value), counted.active, "{name}: played");
    }
}

#[test]
fn a_state_is_what_its_blocks_sum_up_to() {
    for path in snapshots() {
        let scan = TraceFile::new(&path, ReadOptions::default()).scan(&mut |_| ()).unwrap();
        let device = scan.notes.device.unwrap();
        // Free bytes by address, and whether the next block begins where one ends.
        let (mut sums, mut holes) = (HashMap::new(), Vec::new());
        let mut reserved = 0;
        for segment in object(&path).get("segments").unwrap().list() {
            if segment.number("device") != device.into() {
                continue;
            }
            let blocks = segment.get("blocks").unwrap().list();
            let states: HashSet<String> = blocks.iter().map(|block| block.text("state")).collect();
            let whole = states.len() == 1 && states.contains("inactive");
            reserved += segment.number("total_size");
            let sizes: Vec<(String, i128)> =
                blocks.iter().map(|block| (block.text("state"), block.number("size"))).collect();
            for (state, size) in &sizes {
                let kind = if state == "inactive" && whole { "whole" } else { state.as_str() };
                *sums.entry(kind.to_owned()).or_insert(0i128) += size;
            }
            let runs = sizes.split(|(state, _)| state != "inactive");
            holes.extend(runs.map(|run| run.iter().map(|(_, size)| size).sum::<i128>()));
        }
        let name = path.display();
        if reserved == 0 {
            continue;
        }
        let state = scan.state.unwrap();
        let sum = |kind: &str| sums.get(kind).copied().unwrap_or(0);
        let pending = sum("active_awaiting_free") + sum("active_pending_free");
        let is = |what: &str, bytes: u64, expected: i128| {
            assert_eq!(i128::from(bytes), expected, "{name}: {what}");
        };
        is("reserved", state.reserved_bytes, reserved);
        is("allocated", state.allocated_bytes, sum("active_allocated"));
        is("active", state.active_bytes, sum("active_allocated") + pending);
        is("free in segments", state.free_in_segments_bytes, sum("inactive"));
        is("free whole segments", state.free_whole_segments_bytes, sum("whole"));
        is("largest hole", state.largest_hole_bytes, holes.into_iter().max().unwrap_or(0));
    }
}

fn scan_of(name: &str, device: Option<u32>) -> strandline_replay::session::Scan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(name);
    let options = ReadOptions { device, ..ReadOptions::default() };
    TraceFile::new(path, options).scan(&mut |_| ()).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_refusal_tells_what_there_was() {
    use strandline_replay::format::Shortage;
    const GIB: u64 = 1 << 30;
    // Device 1 refused; device 0 is busier.
    let scan = scan_of("oom.pickle", None);
    assert_eq!((scan.notes.device, scan.notes.devices), (Some(1), 3));
    let [first, second] = &scan.refused[..] else { panic!("{:?}", scan.refused) };
    assert_eq!((first.line, first.bytes, first.live_bytes), (7, 3 * GIB, 5 * GIB));
    let told = first.circumstances;
    assert_eq!((told.reserved_bytes, told.device_free_bytes), (Some(8 * GIB), Some(GIB / 2)));
    assert_eq!((told.largest_hole_bytes, first.shortage()), (Some(GIB), Shortage::Fragmentation));
    // A segment was given back in between, and 1 GiB more is live.
    assert_eq!((second.bytes, second.live_bytes), (6 * GIB, 5 * GIB));
    let told = second.circumstances;
    assert_eq!((told.reserved_bytes, told.device_free_bytes), (Some(9 * GIB), Some(GIB / 2)));
    assert_eq!((told.largest_hole_bytes, second.shortage()), (Some(2 * GIB), Shortage::Real));
    assert_eq!(scan.device_bytes(), Some(9 * GIB + GIB / 2));
    assert_eq!(scan.notes.recorded_peak_reserved_bytes, Some(10 * GIB));
    let busy = scan_of("oom.pickle", Some(0));
    assert_eq!((busy.notes.device, busy.refused.len()), (Some(0), 0));
}

#[test]
fn what_is_not_read_is_told() {
    let scan = scan_of("oddities.pickle", None);
    let has = |what: &str| scan.notes.left_out.iter().any(|phrase| phrase.contains(what));
    assert!(has("2 entries of host memory"), "{:?}", scan.notes.left_out);
    assert!(has("overflowed its ring"), "{:?}", scan.notes.left_out);
    let kinds: HashMap<_, _> = scan.notes.entries.iter().cloned().collect();
    assert_eq!((kinds.get("annotation_begin"), kinds.get("alloc")), (Some(&2), Some(&2)));
    assert_eq!(scan.notes.ignored_entries, 3);
    // Times are fractions and step back; one entry is an OrderedDict, a stream has 64 bits.
    assert_eq!(scan.notes.clamped_times, 1);
    assert_eq!(scan.totals.peak_live_bytes, 3 << 20);
    assert_eq!(scan.totals.last_time_ns, 2500);
}

#[test]
fn the_same_snapshot_reads_the_same_as_json() {
    let pickle = scan_of("oom.pickle", None);
    let json = scan_of("oom.json", None);
    assert_eq!(pickle.totals, json.totals);
    assert_eq!((pickle.refused, pickle.state), (json.refused, json.state));
    assert_eq!(pickle.notes, json.notes);
    // The bare list that memory_snapshot() returns.
    let bare = scan_of("bare.json", None);
    assert!(bare.state_only && bare.state == scan_of("bare.pickle", None).state);
    assert_eq!(bare.state.unwrap().reserved_bytes, 9 << 30);
}
