//! Traces as they are met: the shipped ones, snapshots that Python pickled, and everything that can be wrong with a file.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Read, Write};
use std::path::Path;
use strandline_replay::event::{Action, Event};
use strandline_replay::format::{
    ConvertError, ErrorKind, Format, Limits, Place, ReadOptions, TraceError, TraceReader,
    WriteFormat, convert,
};
use strandline_replay::serving::ServingOptions;
use strandline_replay::validate::{Step, Totals, What};

const RMM: &str = "Thread,Time,Action,Pointer,Size,Stream\n";
const BASE: u64 = 0x7f00_0000_0000;

fn file(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn lenient() -> ReadOptions {
    ReadOptions { lenient: true, ..ReadOptions::default() }
}

fn events(input: &[u8], options: ReadOptions) -> Result<Vec<Event>, TraceError> {
    TraceReader::new(input, options)?.collect()
}

fn totals(input: &[u8], options: ReadOptions) -> Result<Totals, TraceError> {
    let mut steps = TraceReader::new(input, options)?.steps();
    for step in &mut steps {
        step?;
    }
    Ok(*steps.totals())
}

fn fails(input: impl AsRef<[u8]>) -> TraceError {
    totals(input.as_ref(), ReadOptions::default()).expect_err("a bad trace was read")
}

fn rmm(lines: &str) -> String {
    format!("{RMM}{lines}")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

// The shipped traces.

#[test]
fn shipped_traces_hold_what_was_recorded() {
    for (name, count, peak, end) in [
        ("resnet50_train", 9520, 518_123_080, 204_456_256),
        ("bert_train", 14730, 1_296_687_360, 973_954_272),
        ("vit_infer", 1616, 67_756_032, 0),
        ("gpt2_generate", 63596, 50_881_029, 0),
    ] {
        let bytes = file(&format!("../traces/{name}.csv.gz"));
        let reader = TraceReader::new(&bytes[..], ReadOptions::default()).unwrap();
        assert_eq!((reader.format(), reader.compressed()), (Format::Rmm, true));
        let mut steps = reader.steps();
        let mut live = Vec::new();
        for step in &mut steps {
            apply(&mut live, &step.unwrap());
        }
        let totals = *steps.totals();
        assert_eq!((totals.events, totals.peak_live_bytes), (count, peak), "{name}");
        assert_eq!(totals.live_bytes, end, "{name}");
        assert_eq!(live.iter().flatten().sum::<u64>(), end, "{name}");
        assert_eq!(live.len(), totals.peak_live_blocks as usize, "{name}: slots are dense");
        assert_eq!(steps.events().streams(), [0], "{name}");
    }
}

/// Plays a step over a vector by slot, as a replay does.
fn apply(live: &mut Vec<Option<u64>>, step: &Step) {
    match step.what {
        What::Alloc(slot) | What::Held(slot) => {
            if slot as usize == live.len() {
                live.push(None);
            }
            assert_eq!(live[slot as usize].replace(step.size), None, "slot {slot} is taken");
        }
        What::Free(slot) => assert_eq!(live[slot as usize].take(), Some(step.size)),
        What::Retire(slot) => assert!(live[slot as usize].is_some()),
        What::Failure => {}
    }
}

#[test]
fn the_serving_log_becomes_a_cache_of_equal_blocks() {
    let bytes = file("../traces/azure_llm_code_2023.csv.gz");
    // The log has 8,819 requests below its header (its last line has no end).
    let options = ServingOptions::default();
    let block = options.block_bytes().unwrap();
    assert_eq!(block, 2 << 20);
    let reader = TraceReader::new(&bytes[..], ReadOptions::default()).unwrap();
    assert_eq!(reader.format(), Format::Serving);
    let mut requests = std::collections::HashSet::new();
    let mut steps = reader.steps();
    for step in &mut steps {
        let step = step.unwrap();
        assert_eq!(step.size, block);
        requests.insert(step.line);
    }
    assert_eq!(requests.len(), 8819);
    let totals = steps.totals();
    // Each request's blocks, from the log itself.
    let text = io::read_to_string(flate2::read::GzDecoder::new(&bytes[..])).unwrap();
    let expected: u64 = text
        .lines()
        .skip(1)
        .map(|line| line.rsplit(',').take(2).map(|n| n.trim().parse::<u64>().unwrap()).sum::<u64>())
        .map(|tokens| tokens.div_ceil(16))
        .sum();
    assert_eq!((totals.allocs, totals.frees, totals.live_bytes), (expected, expected, 0));
    assert!(totals.peak_live_blocks > 100, "{totals:?}");
}

// Snapshots.

#[test]
fn snapshots_of_every_protocol_read_the_same() {
    let mut first = None;
    for protocol in 0..=5 {
        let bytes = file(&format!("tests/formats/snapshot{protocol}.pickle"));
        let mut reader = TraceReader::new(&bytes[..], ReadOptions::default()).unwrap();
        assert_eq!(reader.format(), Format::PyTorch);
        let notes = reader.notes();
        assert_eq!((notes.device, notes.devices), (Some(1), 3));
        assert_eq!((notes.ignored_entries, notes.preexisting_blocks), (3, 2));
        let events: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
        assert_eq!(reader.streams(), [0, 0x55aa_0000_1000]);
        let first = first.get_or_insert_with(|| events.clone());
        assert_eq!(&events, first, "protocol {protocol}");
        let totals = totals(&bytes, ReadOptions::default()).unwrap();
        assert_eq!((totals.peak_live_bytes, totals.live_bytes), (2000 + 3000 + 512, 2100));
    }
    use Action::{Alloc, Failure, Free, Retire};
    let seen: Vec<_> = first
        .unwrap()
        .iter()
        .map(|e| (e.time_ns, e.action, e.id, e.size, e.stream, e.line))
        .collect();
    assert_eq!(
        seen,
        [
            // Live before the trace: one that it frees, one that only the segments know.
            (0, Alloc, BASE + 4096, 1000, 0, 1),
            (0, Alloc, BASE + 1536, 2000, 0, 0),
            (0, Free, BASE + 4096, 1000, 0, 1),
            (3000, Alloc, BASE, 512, 0, 4),
            (4000, Alloc, BASE + 512, 3000, 1, 5),
            // Its completion is not recorded: it is over when its address comes up again.
            (6000, Retire, BASE, 512, 0, 7),
            (7000, Failure, 0, 1 << 40, 0, 8),
            (8000, Alloc, BASE, 100, 0, 9),
            (10000, Free, BASE + 512, 3000, 1, 11),
        ]
    );
}

#[test]
fn a_device_can_be_chosen() {
    let bytes = file("tests/formats/snapshot4.pickle");
    let on = |device| events(&bytes, ReadOptions { device: Some(device), ..Default::default() });
    // Its one entry, and the block that its segment has held all along.
    assert_eq!(on(0).unwrap().len(), 2);
    // One that is listed and empty is as good as one that is not.
    assert_eq!(on(2).unwrap_err().kind(), ErrorKind::NoSuchDevice);
    assert_eq!(on(3).unwrap_err().kind(), ErrorKind::NoSuchDevice);
}

#[test]
fn a_hostile_snapshot_runs_nothing_and_a_shared_one_is_walked_once() {
    let plain = events(&file("tests/formats/snapshot4.pickle"), ReadOptions::default()).unwrap();
    let hostile = events(&file("tests/formats/hostile.pickle"), ReadOptions::default()).unwrap();
    assert_eq!(hostile, plain);
    let bytes = file("tests/formats/shared.pickle");
    let reader = TraceReader::new(&bytes[..], ReadOptions::default()).unwrap();
    // All refuse a request, and none is busier than another: the one that holds most.
    assert_eq!((reader.notes().devices, reader.notes().device), (3, Some(1)));
    assert_eq!(reader.count(), 9);
}

#[test]
fn references_do_not_multiply_the_work() {
    // A dictionary set 300,000 times, listed 300,000 times; a segment of 300,000 blocks, listed 300,000 times. A walk of
    // all of them would make 90 billion visits, twice, and not end in a working day.
    let n = 300_000;
    let mut pickle =
        b"\x80\x02}q\x00Vdevice_traces\n]](}q\x01(Vaction\nValloc\nVsize\nK\x01u".to_vec();
    (0..n).for_each(|_| pickle.extend(b"Vaddr\nK\x07s"));
    pickle.extend(b"h\x01".repeat(n));
    pickle.extend(
        b"easVsegments\n](}q\x02(Vdevice\nK\x00Vaddress\nK\x10Vblocks\n](}q\x03Vsize\nK\x00s",
    );
    pickle.extend(b"h\x03".repeat(n));
    pickle.extend(b"eu");
    pickle.extend(b"h\x02".repeat(n));
    pickle.extend(b"es.");
    let events = events(&pickle, ReadOptions::default()).unwrap();
    assert_eq!(events.len(), n + 1);
}

#[test]
fn pickles_that_are_no_snapshot_say_so() {
    assert_eq!(fails(file("tests/formats/no_history.pickle")).kind(), ErrorKind::NotASnapshot);
    let whole = file("tests/formats/snapshot4.pickle");
    assert_eq!(fails(&whole[..whole.len() - 1]).kind(), ErrorKind::Truncated);
    for (pickle, kind) in [
        (&b"]."[..], ErrorKind::NotASnapshot),
        (b"}.", ErrorKind::NotASnapshot),
        (b"\x80\x04K\x01.", ErrorKind::NotASnapshot),
        (b"\x80\x02}Vdevice_traces\nK\x01s.", ErrorKind::NotASnapshot),
        (b"\x80\x02}Vdevice_traces\n]K\x01as.", ErrorKind::NotASnapshot),
        (b"\x80\x02}Vdevice_traces\n]]K\x01aas.", ErrorKind::NotASnapshot),
        (b"\x80\x02}Vdevice_traces\n]]}Vaction\nVmalloc\nsaas.", ErrorKind::NotASnapshot),
        (b"\x80\x02}Vdevice_traces\n]]}Vsize\nK\x01saas.", ErrorKind::NotASnapshot),
        (b"\x80\x02}Vdevice_traces\n]]}Vaction\nValloc\nsaas.", ErrorKind::NotASnapshot),
        (
            b"\x80\x02}Vdevice_traces\n]]}(Vaction\nValloc\nVaddr\nI-5\nVsize\nK\x01uaas.",
            ErrorKind::Negative,
        ),
        (
            b"\x80\x02}Vdevice_traces\n]]}(Vaction\nValloc\nVaddr\nK\x05Vsize\nL99999999999999999999L\nuaas.",
            ErrorKind::Overflow,
        ),
        (b"\x80\x07.", ErrorKind::BadPickle),
    ] {
        let error = fails(pickle);
        assert_eq!(error.kind(), kind, "{}: {error}", pickle.escape_ascii());
    }
}

// Files that are wrong.

#[test]
fn every_fault_names_its_line_and_its_remedy() {
    let ok = "1,10:00:00.000000,allocate,0x10,64,0\n";
    for (lines, kind, line) in [
        // Cut short, in each field, with lines after it.
        ("1,10:00:00.000000,allocate,0x10,64,\n", ErrorKind::BadNumber, 2),
        ("1,10:00:00.000000,allocate,0x10\n", ErrorKind::FieldCount, 2),
        ("1,10:00:0\n", ErrorKind::FieldCount, 2),
        // Two kinds of times.
        ("1,10:00:01.0,allocate,0x10,64,0\n1,16345.9,free,0x10,64,0\n", ErrorKind::BadTime, 3),
        // Numbers.
        ("1,10:00:00.0,allocate,0x10,-64,0\n", ErrorKind::Negative, 2),
        ("-1,10:00:00.0,allocate,0x10,64,0\n", ErrorKind::Negative, 2),
        ("1,10:00:00.0,allocate,0x10,18446744073709551616,0\n", ErrorKind::Overflow, 2),
        ("1,10:00:00.0,allocate,0x10000000000000000,64,0\n", ErrorKind::Overflow, 2),
        ("1,10:00:00.0,allocate,0x10,64.5,0\n", ErrorKind::BadNumber, 2),
        ("1,10:00:00.0,allocate,zebra,64,0\n", ErrorKind::BadNumber, 2),
        ("1,25:00:00.0,allocate,0x10,64,0\n", ErrorKind::BadTime, 2),
        ("1,10:00:00.0,realloc,0x10,64,0\n", ErrorKind::BadAction, 2),
        ("1,10:00:00.0,allocate,0x10,64,0,9\n", ErrorKind::FieldCount, 2),
        // Blocks.
        (
            "1,10:00:00.0,allocate,0x10,64,0\n1,10:00:00.0,allocate,0x10,8,0\n",
            ErrorKind::DoubleAlloc,
            3,
        ),
        ("1,10:00:00.0,free,0x10,64,0\n", ErrorKind::UnknownFree, 2),
        (
            "1,10:00:00.0,allocate,0x10,64,0\n1,10:00:00.0,free,0x10,64,0\n1,10:00:00.0,free,0x10,64,0\n",
            ErrorKind::DoubleFree,
            4,
        ),
        (
            "1,10:00:00.0,allocate,0x10,64,0\n1,10:00:00.0,free,0x10,65,0\n",
            ErrorKind::SizeMismatch,
            3,
        ),
        ("1,10:00:00.0,allocate,(nil),64,0\n", ErrorKind::NullPointer, 2),
        (
            "1,10:00:00.0,allocate,0x10,18446744073709551615,0\n1,10:00:00.0,allocate,0x20,1,0\n",
            ErrorKind::LiveBytesOverflow,
            3,
        ),
    ] {
        let error = fails(rmm(lines));
        assert_eq!((error.kind(), error.place()), (kind, Place::Line(line)), "{lines:?}: {error}");
        let shown = error.to_string();
        assert!(shown.starts_with(&format!("line {line}: found ")), "{shown}");
        assert!(shown.contains(", expected ") && !error.remedy().is_empty(), "{shown}");
        assert!(!shown.contains('\n'), "one line: {shown:?}");
    }
    assert_eq!(
        totals(rmm(&format!("{ok}\n\r\n")).as_bytes(), ReadOptions::default()).unwrap().events,
        1
    );
}

#[test]
fn unknown_content_is_named() {
    for (content, kind) in [
        (&b""[..], ErrorKind::Empty),
        (b"hello\n", ErrorKind::UnknownFormat),
        (b"Thread,Time,Action,Pointer,Size\n", ErrorKind::UnknownFormat),
        (b"PK\x03\x04zip", ErrorKind::UnknownFormat),
        (b"\x28\xb5\x2f\xfdzstd", ErrorKind::UnknownFormat),
        (b"{\"traceEvents\": []}", ErrorKind::UnknownFormat),
        (b"\xff\xfeT\0h\0", ErrorKind::UnknownFormat),
        (b"\n", ErrorKind::UnknownFormat),
        (b"\0", ErrorKind::UnknownFormat),
        (b"\x1f\x8b", ErrorKind::Truncated),
        (b"\x1f\x8b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", ErrorKind::CorruptGzip),
    ] {
        let error = fails(content);
        assert_eq!(error.kind(), kind, "{}: {error}", content.escape_ascii());
    }
    let twice = gzip(&gzip(RMM.as_bytes()));
    assert_eq!(fails(twice).kind(), ErrorKind::UnknownFormat);
    // A header alone is a trace of nothing.
    assert_eq!(totals(RMM.as_bytes(), ReadOptions::default()).unwrap(), Totals::default());
}

#[test]
fn a_trace_cut_anywhere_is_read_up_to_the_cut() {
    let text = rmm(
        "1,10:00:00.000001,allocate,0x1234,4096,0x7f\n1,10:00:00.000002,free,0x1234,4096,0x7f\n",
    );
    for cut in RMM.len() - 1..text.len() {
        let mut reader = TraceReader::new(&text.as_bytes()[..cut], ReadOptions::default()).unwrap();
        let events = reader.by_ref().map(Result::unwrap).count();
        // Only a cut at the end of a line, or inside its last field, can look whole.
        let last = text[..cut].rsplit('\n').next().unwrap();
        let whole = last.is_empty()
            || last == RMM.trim_end()
            || last.matches(',').count() == 5 && !last.ends_with([',', 'x']);
        assert_eq!(reader.notes().cut_last_line || reader.notes().foreign_lines > 0, !whole);
        let lines = text[..cut].lines().count() - 1 - usize::from(!whole);
        assert_eq!(events, lines, "{:?}", &text[..cut]);
    }
    let packed = gzip(text.as_bytes());
    for cut in 1..packed.len() {
        let error = fails(&packed[..cut]);
        let expected = if cut == 1 { ErrorKind::UnknownFormat } else { ErrorKind::Truncated };
        assert_eq!(error.kind(), expected, "{cut}: {error}");
    }
    let pickle = file("tests/formats/snapshot2.pickle");
    for cut in 1..pickle.len() {
        assert_eq!(fails(&pickle[..cut]).kind(), ErrorKind::Truncated, "{cut}");
    }
}

/// Hands out a pattern without end, or up to a count of bytes.
struct Endless {
    pattern: &'static [u8],
    at: usize,
    left: u64,
}

impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        for byte in &mut out[..n] {
            *byte = self.pattern[self.at];
            self.at = (self.at + 1) % self.pattern.len();
        }
        self.left -= n as u64;
        Ok(n)
    }
}

#[test]
fn garbage_without_end_is_refused_at_once() {
    for (pattern, kind) in [
        (&b"x"[..], ErrorKind::LineTooLong),
        (b"\0", ErrorKind::LineTooLong),
        (b"garbage, garbage\n", ErrorKind::UnknownFormat),
        (b"N", ErrorKind::LineTooLong),
        (b"[", ErrorKind::UnknownFormat),
        (b"[{\"a\":", ErrorKind::BadJson),
        (b"(", ErrorKind::PickleTooLarge),
        (b"]", ErrorKind::PickleTooLarge),
        (b"\x80\x02}q\x00", ErrorKind::PickleTooLarge),
    ] {
        let limits = Limits { pickle_bytes: 1 << 20, ..Limits::default() };
        let endless = Endless { pattern, at: 0, left: u64::MAX };
        let error =
            TraceReader::new(endless, ReadOptions { limits, ..Default::default() }).unwrap_err();
        assert_eq!(error.kind(), kind, "{}", pattern.escape_ascii());
    }
    let limits = Limits { pickle_bytes: 1 << 20, ..Limits::default() };
    let endless = (&b"["[..]).chain(Endless { pattern: b"{},", at: 0, left: u64::MAX });
    let error =
        TraceReader::new(endless, ReadOptions { limits, ..Default::default() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PickleTooLarge, "{error}");
    // After a good header.
    for (pattern, kind) in [
        (&b"garbage\n"[..], ErrorKind::FieldCount),
        (b"y", ErrorKind::LineTooLong),
        (b",", ErrorKind::LineTooLong),
        (b"1,10:00:00.0,allocate,0x10,64,0\n", ErrorKind::DoubleAlloc),
    ] {
        let endless = RMM.as_bytes().chain(Endless { pattern, at: 0, left: u64::MAX });
        let mut steps = TraceReader::new(endless, ReadOptions::default()).unwrap().steps();
        assert_eq!(steps.find_map(Result::err).unwrap().kind(), kind);
        assert!(steps.next().is_none(), "nothing after an error");
    }
}

#[test]
fn a_gzip_bomb_is_streamed() {
    // 4 MiB of one long line from 4 KiB, refused within the first buffers; and a pickle that is one long string.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    io::copy(&mut Endless { pattern: b"a", at: 0, left: 4 << 20 }, &mut encoder).unwrap();
    assert_eq!(fails(encoder.finish().unwrap()).kind(), ErrorKind::LineTooLong);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(b"\x80\x04\x8d\x00\x00\x40\x00\x00\x00\x00\x00").unwrap();
    io::copy(&mut Endless { pattern: b"a", at: 0, left: 4 << 20 }, &mut encoder).unwrap();
    encoder.write_all(b".").unwrap();
    let bomb = encoder.finish().unwrap();
    let limits = Limits { pickle_bytes: 64 << 10, ..Limits::default() };
    let error =
        TraceReader::new(&bomb[..], ReadOptions { limits, ..Default::default() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotASnapshot, "a string is passed over, not held");
}

#[test]
fn limits_hold() {
    let three = rmm(
        "1,10:00:00.0,allocate,0x10,64,0\n1,10:00:00.0,allocate,0x20,64,1\n1,10:00:00.0,allocate,0x30,0,2\n",
    );
    let with = |limits| totals(three.as_bytes(), ReadOptions { limits, ..Default::default() });
    let fine = Limits { live_blocks: 3, streams: 3, ..Limits::default() };
    assert_eq!(with(fine).unwrap().peak_live_blocks, 3);
    let error = with(Limits { live_blocks: 2, ..fine }).unwrap_err();
    assert_eq!((error.kind(), error.place()), (ErrorKind::TooManyLive, Place::Line(4)));
    let error = with(Limits { streams: 2, ..fine }).unwrap_err();
    assert_eq!((error.kind(), error.place()), (ErrorKind::TooManyStreams, Place::Line(4)));
}

// What traces may hold.

#[test]
fn rmm_logs_vary() {
    // A byte-order mark, other column order, Windows line ends, failures, null pointers, midnight, no last line end.
    let text = "\u{feff}Time,Thread,Action,Stream,Pointer,Size\r\n\
        23:59:59.999999,7,allocate,0x0,0x7F00,512\r\n\
        00:00:00.000000,8,allocate,7f00aa,(nil),0\r\n\
        00:00:00.000001,8,allocate failure,2,(nil),99999999999\r\n\
        00:00:00.000001,8,free,0,(nil),0\r\n\
        00:00:01:5,8,free,7f00aa,7f00,512";
    let mut reader = TraceReader::new(text.as_bytes(), ReadOptions::default()).unwrap();
    let all: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(reader.streams(), [0, 0x7f00aa, 2]);
    assert_eq!(
        all[0],
        Event {
            time_ns: 0,
            id: 0x7f00,
            size: 512,
            stream: 0,
            thread: 7,
            line: 2,
            action: Action::Alloc
        }
    );
    let times: Vec<_> = all.iter().map(|e| e.time_ns).collect();
    assert_eq!(times, [0, 1000, 2000, 2000, 1_500_001_000]);
    let totals = totals(text.as_bytes(), ReadOptions::default()).unwrap();
    assert_eq!((totals.allocs, totals.frees, totals.failures, totals.zero_sized), (1, 1, 1, 2));
}

#[test]
fn a_trace_cut_from_a_longer_run_is_read_leniently() {
    let text = rmm("1,10:00:02.0,free,0x90,64,0\n\
         1,10:00:01.0,allocate,0x10,64,0\n\
         1,10:00:03.0,allocate,0x10,32,0\n\
         1,10:00:03.0,free,0x10,33,0\n\
         1,10:00:03.0,free,0x10,32,0\n\
         1,10:00:03.0,allocate,0x0,32,0\n\
         1,10:00:03.0,allocate,0x20,0,0\n\
         1,10:00:03.0,allocate,0x20,5,0\n\
         1,10:00:03.0,allocate,0x20,0,0\n\
         1,10:00:03.0,free,0x20,7,0\n");
    let mut steps = TraceReader::new(text.as_bytes(), lenient()).unwrap().steps();
    let what: Vec<_> = steps.by_ref().map(|s| s.map(|s| (s.what, s.size)).unwrap()).collect();
    use What::{Alloc, Free};
    assert_eq!(
        what,
        [(Alloc(0), 64), (Free(0), 64), (Alloc(0), 32), (Free(0), 32), (Alloc(0), 5), (Free(0), 5)]
    );
    let totals = *steps.totals();
    let skipped = totals.skipped;
    assert_eq!(
        (
            skipped.unknown_frees,
            skipped.double_frees,
            skipped.missed_frees,
            skipped.size_mismatches,
            skipped.null_pointers
        ),
        (1, 1, 3, 2, 1)
    );
    assert_eq!((skipped.total(), totals.live_bytes, totals.events), (8, 0, 10));
    assert_eq!(steps.events().notes().clamped_times, 1);
    // Its conversion is whole.
    let mut out = Vec::new();
    convert(&mut TraceReader::new(text.as_bytes(), lenient()).unwrap(), &mut out, WriteFormat::Rmm)
        .unwrap();
    let mended = self::totals(&out, ReadOptions::default()).unwrap();
    assert_eq!((mended.peak_live_bytes, mended.allocs), (totals.peak_live_bytes, totals.allocs));
}

#[test]
fn serving_logs_vary() {
    let burst = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,17,1,18,API\n6.5,GPT-4,0,0,0,API\n";
    assert_eq!(totals(burst.as_bytes(), ReadOptions::default()).unwrap().allocs, 2);
    let head = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
    for (lines, kind, line) in [
        ("2023-11-16 18:17:03.97,12\n", ErrorKind::FieldCount, 2),
        ("2023-11-16 18:17:03.97,12,-1\n", ErrorKind::Negative, 2),
        ("2023-11-16 18:17:03.97,12,4294967296\n", ErrorKind::Overflow, 2),
        ("2023-11-31 18:17:03.97,12,1\n", ErrorKind::BadTime, 2),
        ("2023-11-16 18:17:03,4000000000,1\n", ErrorKind::Overflow, 2),
    ] {
        let error = fails(format!("{head}{lines}"));
        assert_eq!((error.kind(), error.place()), (kind, Place::Line(line)), "{error}");
    }
    let serving = ServingOptions { max_batch: 0, ..Default::default() };
    let error = TraceReader::new(head.as_bytes(), ReadOptions { serving, ..Default::default() })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadOptions);
}

#[test]
fn a_reader_that_fails_is_reported() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let error = TraceReader::new(Failing, ReadOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("the disk is gone"));
    let mut reader =
        TraceReader::new(RMM.as_bytes().chain(Failing), ReadOptions::default()).unwrap();
    let error = reader.next().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.place()), (ErrorKind::Io, Place::Line(2)));
}

// Conversion.

#[test]
fn every_format_converts_to_both_text_forms() {
    let log = io::read_to_string(flate2::read::GzDecoder::new(
        &file("../traces/azure_llm_code_2023.csv.gz")[..],
    ));
    let log: String = log.unwrap().split_inclusive('\n').take(100).collect();
    for (path, bytes) in [
        ("vit", file("../traces/vit_infer.csv.gz")),
        ("snapshot", file("tests/formats/snapshot4.pickle")),
        ("serving", log.into_bytes()),
    ] {
        let before = totals(&bytes, ReadOptions::default()).unwrap();
        for format in [WriteFormat::Rmm, WriteFormat::Compact] {
            let mut out = Vec::new();
            let mut reader = TraceReader::new(&bytes[..], ReadOptions::default()).unwrap();
            let counted = convert(&mut reader, &mut out, format).unwrap();
            assert_eq!(counted, before, "{path}");
            let mut after = TraceReader::new(&out[..], ReadOptions::default()).unwrap();
            let retired = if format == WriteFormat::Rmm { before.retired } else { 0 };
            let written = before.events + mended(&before) - retired;
            assert_eq!(after.by_ref().count() as u64, written, "{path}");
            assert_eq!(after.streams(), reader.streams(), "{path}");
            let again = totals(&out, ReadOptions::default()).unwrap();
            assert_eq!(again.peak_live_bytes, before.peak_live_bytes, "{path}");
            assert_eq!(again.peak_active_bytes, before.peak_active_bytes, "{path}");
            assert_eq!(
                (again.allocs, again.frees, again.failures),
                (before.allocs, before.frees + mended(&before), before.failures)
            );
        }
    }
}

/// Frees that a conversion writes where the trace has none.
fn mended(totals: &Totals) -> u64 {
    totals.implied_frees + totals.skipped.missed_frees
}

#[test]
fn conversion_reports_what_it_cannot_do() {
    let gap =
        "time_ns,action,id,size,stream,thread\n0,alloc,1,8,0,0\n43200000000000,free,1,8,0,0\n";
    let to = |format| {
        convert(
            &mut TraceReader::new(gap.as_bytes(), ReadOptions::default()).unwrap(),
            io::sink(),
            format,
        )
    };
    assert!(to(WriteFormat::Compact).is_ok());
    let error = to(WriteFormat::Rmm).unwrap_err();
    assert!(
        matches!(error, ConvertError::Gap { at: Place::Line(3), gap_ns: 43_200_000_000_000 }),
        "{error}"
    );
    // A bad trace, and an output that is full.
    let bad = "time_ns,action,id,size,stream,thread\n0,free,1,8,0,0\n";
    let mut reader = TraceReader::new(bad.as_bytes(), ReadOptions::default()).unwrap();
    let error = convert(&mut reader, io::sink(), WriteFormat::Compact).unwrap_err();
    assert!(matches!(error, ConvertError::Trace(e) if e.kind() == ErrorKind::UnknownFree));
    let mut reader = TraceReader::new(gap.as_bytes(), ReadOptions::default()).unwrap();
    let error = convert(&mut reader, &mut [0u8; 10][..], WriteFormat::Compact).unwrap_err();
    assert!(matches!(error, ConvertError::Write(_)));
}
