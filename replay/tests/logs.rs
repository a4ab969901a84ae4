//! Logs of text as people have them: each kind that was met, small.

use std::io::Write as _;
use strandline_replay::event::{Action, Event};
use strandline_replay::format::{ErrorKind, Format, Notes, Place, ReadOptions, TraceReader};
use strandline_replay::validate::Totals;

struct Read {
    format: Format,
    events: Vec<Event>,
    notes: Notes,
    streams: Vec<u64>,
    totals: Totals,
}

#[track_caller]
fn read(text: &str) -> Read {
    let mut reader = TraceReader::new(text.as_bytes(), ReadOptions::default()).unwrap();
    let events = reader.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
    let mut steps = TraceReader::new(text.as_bytes(), ReadOptions::default()).unwrap().steps();
    assert!(steps.by_ref().all(|step| step.is_ok()));
    Read {
        format: reader.format(),
        events,
        notes: reader.notes(),
        streams: reader.streams().to_vec(),
        totals: *steps.totals(),
    }
}

#[track_caller]
fn fails(text: &str) -> strandline_replay::format::TraceError {
    match TraceReader::new(text.as_bytes(), ReadOptions::default()) {
        Err(error) => error,
        Ok(reader) => reader.steps().find_map(Result::err).expect("a bad trace was read"),
    }
}

const HEADER: &str = "Thread,Time,Action,Pointer,Size,Stream\n";

#[test]
fn rmm_without_a_header_and_between_other_lines() {
    let plain = read(
        "1979932,14:21:19.998533,allocate,0x30a000000,256,0x2\n\
                      1980043,14:21:32.661875,free,0x30a000000,256,0x2\n",
    );
    assert_eq!((plain.format, plain.events.len()), (Format::Rmm, 2));
    assert_eq!((plain.events[0].line, plain.events[0].thread), (1, 1_979_932));
    let mixed = format!(
        "26/01/02 14:21:10 INFO Executor: Starting\n\n{HEADER}\
         1979932,14:21:19.998533,allocate,0x30a000000,256,0x2\n\
         26/01/02 14:21:20 WARN TaskSetManager: task 3, attempt 2, lost\n\
         at org.apache.Some$thing(Some.java:3)\n\
         1980043,14:21:32.661875,free,0x30a000000,256,0x2\n"
    );
    let mixed = read(&mixed);
    assert_eq!(mixed.events.len(), 2);
    assert_eq!(mixed.events[1].line, 7);
    assert_eq!(mixed.notes.foreign_lines, 4);
    assert_eq!(mixed.totals.live_bytes, 0);
}

#[test]
fn rmm_threads_of_64_bits_seconds_deallocate_and_failures_without_a_pointer() {
    let log = read(&format!(
        "{HEADER}140573312345856,1634567890.123456,allocate,0x7f8a40000000,1024,0x7f8a38001020\n\
         140573312345856,1634567890.3,deallocate,0x7f8a40000000,1024,0x7f8a38001020\n\
         140573312345856,1634567891,allocate failure,,2097152,0x2\n"
    ));
    let seen: Vec<_> = log.events.iter().map(|e| (e.time_ns, e.action, e.thread)).collect();
    let thread = 140_573_312_345_856;
    assert_eq!(
        seen,
        [
            (0, Action::Alloc, thread),
            (176_544_000, Action::Free, thread),
            (876_544_000, Action::Failure, thread)
        ]
    );
    assert_eq!(log.streams, [0x7f8a_3800_1020, 2]);
    assert_eq!((log.totals.failures, log.totals.peak_live_bytes), (1, 1024));
}

#[test]
fn the_order_of_lines_is_the_truth_where_a_clock_steps_back() {
    let log = read(&format!(
        "{HEADER}1,10:00:00.000010,allocate,0x10,1024,2\n2,10:00:00.000009,allocate,0x20,2048,3\n\
         1,10:00:00.000020,free,0x10,1024,2\n"
    ));
    let times: Vec<_> = log.events.iter().map(|event| event.time_ns).collect();
    assert_eq!(times, [0, 0, 10_000]);
    assert_eq!((log.notes.clamped_times, log.totals.peak_live_bytes), (1, 3072));
}

#[test]
fn a_last_line_that_was_cut_is_left_out_and_told() {
    for text in [
        format!("{HEADER}7,10:00:00.1,allocate,0x10,64,0x2\n7,10:00:00.2,free,0x1"),
        "time_ns,action,id,size,stream,thread\n0,alloc,1,64,0,0\n9,free,1".to_owned(),
        "id,lower,upper,size\na,0,3,64\nb,1".to_owned(),
        "TIMESTAMP,ContextTokens,GeneratedTokens\n5,10,10\n6,1".to_owned(),
    ] {
        let log = read(&text);
        assert!(log.notes.cut_last_line, "{text}");
        assert_eq!(log.totals.allocs.min(2), log.totals.allocs, "{text}");
        assert!(log.totals.allocs > 0, "{text}");
        // With an end, the line is whole and wrong.
        assert!(matches!(fails(&format!("{text}\n")).place(), Place::Line(3)), "{text}");
    }
}

#[test]
fn the_log_of_2019() {
    let log = read(
        "Event Type,Device ID,Address,Stream,Size (bytes),Free Memory,Total Memory,Current Allocs,Start,End,Elapsed,Location\n\
         Alloc,0,0x7fae06600000,0,80,0,0,1,1.10549,1.1074,0.00191666,/home/a, b/driver.py:683\n\
         Alloc,1,0x7fae06600000,0,160,0,0,1,1.1055,1.1074,0.00191666,driver.py:683\n\
         Free,0,0x7fae06600000,0,0,0,0,0,1.10798,1.10921,0.00122238,utils.py:678\n",
    );
    assert_eq!((log.format, log.notes.device), (Format::Rmm, Some(0)));
    assert_eq!((log.totals.allocs, log.totals.frees, log.totals.peak_live_bytes), (1, 1, 80));
    assert!(log.notes.left_out[0].starts_with("1 event of another device"));
    let other = ReadOptions { device: Some(1), ..ReadOptions::default() };
    let text = "Event Type,Device ID,Address,Stream,Size (bytes),Start\nAlloc,0,0x10,0,80,1.5\nAlloc,1,0x10,0,160,1.6\n";
    let events: Vec<_> = TraceReader::new(text.as_bytes(), other).unwrap().collect();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].as_ref().unwrap().size, 160);
}

#[test]
fn the_debug_log_and_its_failures() {
    let log = read(
        "[ 24740][16:33:00:198816][info  ] ----- RMM LOG BEGIN [PTDS DISABLED] -----\n\
         [ 24740][16:33:00:198850][trace ] [A][stream 0x1][256B][0x7f0000001000]\n\
         [ 24740][16:33:00:198861][error ] [A][Stream 0x1][Upstream 35006976B][FAILURE maximum pool size exceeded]\n\
         [ 24740][16:33:00:198870][trace ] [D][stream 0x1][256B][0x7f0000001000]\n",
    );
    assert_eq!(log.format, Format::RmmDebug);
    let seen: Vec<_> = log.events.iter().map(|e| (e.action, e.id, e.size, e.line)).collect();
    assert_eq!(
        seen,
        [
            (Action::Alloc, 0x7f00_0000_1000, 256, 2),
            (Action::Failure, 0, 35_006_976, 3),
            (Action::Free, 0x7f00_0000_1000, 256, 4)
        ]
    );
    assert_eq!((log.streams, log.notes.ignored_entries), (vec![1], 1));
}

#[test]
fn lifetimes_are_played_by_time() {
    // In any order; what ends at a time makes room for what begins then; one needs no memory.
    let log = read(
        "id,lower,upper,size,alignment\nlate,3,9,10,1\nfirst,0,3,100,1\nnone,4,4,5,1\nsecond,0,5,7,1\n",
    );
    let seen: Vec<_> = log.events.iter().map(|e| (e.time_ns, e.action, e.size, e.line)).collect();
    use Action::{Alloc, Free};
    assert_eq!(
        seen,
        [
            (0, Alloc, 100, 3),
            (0, Alloc, 7, 5),
            (3, Free, 100, 3),
            (3, Alloc, 10, 2),
            (5, Free, 7, 5),
            (9, Free, 10, 2)
        ]
    );
    assert_eq!((log.format, log.totals.peak_live_bytes), (Format::Lifetimes, 107));
    assert_eq!(log.notes.ignored_entries, 1);
    for (rows, kind) in [
        ("a,5,3,1\n", ErrorKind::Unordered),
        ("a,0,3,-1\n", ErrorKind::Negative),
        ("a,0,99999999999999999999,1\n", ErrorKind::Overflow),
        ("a,0,3\n", ErrorKind::FieldCount),
    ] {
        let error = fails(&format!("id,lower,upper,size\n{rows}"));
        assert_eq!((error.kind(), error.place()), (kind, Place::Line(2)), "{error}");
    }
}

/// As minimalloc reads them: `upper` is the first time at which the buffer is not in use any more, `end` the last at which it is.
#[test]
fn the_end_of_a_lifetime_is_what_its_column_says() {
    for (header, peak) in [
        ("id,lower,upper,size", 8),
        ("buffer,begin,upper,size", 8),
        ("buffer_id,start,end,size", 12),
        ("size,end,start,buffer", 12),
    ] {
        let text = match header.starts_with("size") {
            true => format!("{header}\n4,3,0,a\n8,9,3,b\n"),
            false => format!("{header}\na,0,3,4\nb,3,9,8\n"),
        };
        let log = read(&text);
        assert_eq!((log.format, log.totals.peak_live_bytes), (Format::Lifetimes, peak), "{header}");
    }
    // One time only; and none after the last there is.
    assert_eq!(read("id,start,end,size\na,4,4,5\n").totals.peak_live_bytes, 5);
    let error = fails("id,start,end,size\na,4,18446744073709551615,5\n");
    assert_eq!((error.kind(), error.place()), (ErrorKind::Overflow, Place::Line(2)), "{error}");
}

/// Spreadsheets put quotes around fields, and some planners' files have no header.
#[test]
fn quoted_fields_and_rows_without_a_header_are_read() {
    let plain = "id,lower,upper,size\na,0,3,4\nb,3,9,8\n";
    let quoted = "\u{feff}\"id\",\"lower\",\"upper\",\"size\"\r\n\"a\",\"0\",\"3\",\"4\"\r\n\"b\",3,9,\" 8 \"\r\n";
    let bare = "a,0,3,4\nb,3,9,8\n";
    let of = |text: &str| {
        let log = read(text);
        assert_eq!(log.format, Format::Lifetimes, "{text}");
        log.events.iter().map(|e| (e.time_ns, e.action, e.size)).collect::<Vec<_>>()
    };
    assert_eq!(of(quoted), of(plain));
    assert_eq!(of(bare), of(plain));
    assert_eq!(read(bare).events[0].line, 1);
    let rmm = "\"Thread\",\"Time\",\"Action\",\"Pointer\",\"Size\",\"Stream\"\n\"1\",\"10:00:00.000001\",\"allocate\",\"0x10\",\"64\",\"0\"\n";
    assert_eq!(read(rmm).totals.peak_live_bytes, 64);
    // What is no row stays unknown.
    for text in ["a,b,c,d\n", "a,0,3\n", "a,5,3,1\n", "a,0,3,4,5\n"] {
        assert_eq!(fails(text).kind(), ErrorKind::UnknownFormat, "{text}");
    }
}

/// A packed file may unpack to any number of rows: what they take is bounded by the file.
#[test]
fn a_packed_file_of_many_rows_is_refused() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(b"id,lower,upper,size\n").unwrap();
    let rows = b"a,0,9,1\n".repeat(1 << 16);
    (0..64).for_each(|_| packed.write_all(&rows).unwrap());
    let bytes = packed.finish().unwrap();
    let error = TraceReader::new(&bytes[..], ReadOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overflow);
    assert!(error.remedy().contains("gunzip"), "{error}");
}

#[test]
fn a_device_of_a_trace_without_devices_is_no_device() {
    let options = ReadOptions { device: Some(1), ..ReadOptions::default() };
    let text = "id,lower,upper,size\na,0,3,64\n";
    let error = TraceReader::new(text.as_bytes(), options).unwrap_err();
    assert_eq!((error.kind(), error.remedy()), (ErrorKind::BadOptions, "leave --device out"));
}

#[test]
fn other_peoples_files_are_named() {
    for (text, what, remedy) in [
        ("1 + 0x7f 100\n", "mtrace", "`+` is alloc"),
        ("= Start\n@ ./a:[0x40] + 0x55d0 0x18\n", "mtrace", "`+` is alloc"),
        (
            "2020-01-01 00:00:00.0: I core/bfc_allocator.cc:1046] InUse at 7f of size 1280\n",
            "BFC",
            "record",
        ),
        ("[[1000, 0, [0, 0], 4096]]", "memory timeline", "_record_memory_history"),
        (
            "{\"Total\":{\"BlockCount\":2,\"BlockBytes\":1048576}}",
            "Vulkan Memory Allocator",
            "record",
        ),
        ("{\"traceEvents\": []}", "Chrome trace", "_record_memory_history"),
    ] {
        let error = fails(text);
        assert_eq!(error.kind(), ErrorKind::UnknownFormat);
        assert!(error.found().contains(what) && error.remedy().contains(remedy), "{error}");
    }
    // JSON that could be a snapshot and is none.
    let error = fails("{\"a\": [1, 2, {\"b\": null}]}");
    assert_eq!(error.kind(), ErrorKind::NotASnapshot, "{error}");
    let error = fails("{\"segments\": [,]}");
    assert_eq!((error.kind(), error.place()), (ErrorKind::BadJson, Place::Line(1)), "{error}");
    assert_eq!(fails("{\"segments\": [").kind(), ErrorKind::Truncated);
    // Nested deeper than any snapshot: refused, not followed.
    assert_eq!(fails(&format!("{{\"a\":{}", "[".repeat(100_000))).kind(), ErrorKind::BadJson);
}

#[test]
fn a_log_of_something_else_is_not_searched_for_ever() {
    let text = format!("{HEADER}{}", "some other log\n".repeat(200_000));
    let error = fails(&text);
    assert_eq!(error.kind(), ErrorKind::FieldCount);
    assert!(error.found().contains("100001 lines"), "{error}");
}
