//! Laws of the readers: no input makes them panic, what is written reads back, and the checker agrees with a plain model.

use proptest::prelude::*;
use std::collections::HashMap;
use std::path::Path;
use strandline_replay::event::{Action, Event};
use strandline_replay::format::{
    ErrorKind, Format, Limits, Place, ReadOptions, TraceReader, TraceWriter, WriteFormat,
};
use strandline_replay::validate::{Steps, What};

const HEADERS: [&str; 5] = [
    "Thread,Time,Action,Pointer,Size,Stream\n",
    "time_ns,action,id,size,stream,thread\n",
    "TIMESTAMP,ContextTokens,GeneratedTokens\n",
    "id,lower,upper,size\n",
    "Event Type,Device ID,Address,Stream,Size (bytes),Start\n",
];

/// Reads all there is, both ways. A trace that asks for more events than its size can hold is cut off: a serving log
/// names blocks by the thousand in a few bytes.
fn read(bytes: &[u8]) {
    for lenient in [false, true] {
        let limits = Limits { pickle_bytes: 1 << 22, ..Limits::default() };
        let options = ReadOptions { lenient, limits, ..ReadOptions::default() };
        if let Ok(reader) = TraceReader::new(bytes, options) {
            let mut last = 0;
            for step in reader.steps().take(20_000) {
                let Ok(step) = step else { break };
                assert!(step.time_ns >= last);
                last = step.time_ns;
            }
        }
    }
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(name)).unwrap()
}

/// Field-like fragments, so that random lines come near to valid ones.
fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("allocate".to_owned()),
        Just("free".to_owned()),
        Just("allocate failure".to_owned()),
        Just("alloc".to_owned()),
        Just("retire".to_owned()),
        Just("held".to_owned()),
        Just("Alloc".to_owned()),
        Just("Free".to_owned()),
        Just("[ 7][16:33:00:198861][error ] [A][Stream 0x1][Upstream 35B][FAILURE x]".to_owned()),
        Just("fail".to_owned()),
        Just("(nil)".to_owned()),
        (0u64..4).prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| format!("{n:#x}")),
        any::<i64>().prop_map(|n| n.to_string()),
        (0u8..26, 0u8..62, 0u8..62, any::<u32>())
            .prop_map(|(h, m, s, f)| format!("{h:02}:{m:02}:{s:02}.{f}")),
        (1960u32..2100, 0u8..14, 0u8..33, 0u8..25)
            .prop_map(|(y, m, d, h)| format!("{y}-{m:02}-{d:02} {h:02}:00:00.5")),
        "[ -~]{0,6}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        read(&bytes);
        for header in HEADERS {
            let mut with = header.as_bytes().to_vec();
            with.extend(&bytes);
            read(&with);
        }
        let mut gzip = vec![0x1f, 0x8b];
        gzip.extend(&bytes);
        read(&gzip);
        let mut pickle = vec![0x80, 4, b'}', b'('];
        pickle.extend(&bytes);
        read(&pickle);
    }

    #[test]
    fn lines_of_plausible_fields_never_panic(
        header in 0..5usize,
        lines in prop::collection::vec(prop::collection::vec(field(), 1..8), 0..30),
    ) {
        let mut text = HEADERS[header].to_owned();
        for line in lines {
            text += &line.join(",");
            text.push('\n');
        }
        read(text.as_bytes());
    }

    #[test]
    fn damaged_snapshots_never_panic(
        protocol in 0..6usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = fixture(&format!("snapshot{protocol}.pickle"));
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read(&bytes);
    }

    /// Any events, whether or not they make sense together, read back as they were written.
    #[test]
    fn events_round_trip(
        raw in prop::collection::vec(
            (0u64..40_000_000_000, 0u8..5, any::<u64>(), any::<u64>(), prop::sample::select(vec![0u64, 1, 0x7f00_1234, u64::MAX]), any::<u64>()),
            1..60,
        ),
    ) {
        let mut time_ns = 0;
        let mut names: Vec<u64> = Vec::new();
        let mut events = Vec::new();
        for (i, &(gap_us, action, id, size, stream, thread)) in raw.iter().enumerate() {
            // Gaps of up to 11 hours, in microseconds: what RMM's log can show.
            time_ns += if i == 0 { 0 } else { gap_us * 1000 };
            let stream = names.iter().position(|&n| n == stream).unwrap_or_else(|| {
                names.push(stream);
                names.len() - 1
            }) as u32;
            let action = [Action::Alloc, Action::Free, Action::Failure, Action::Retire, Action::Held]
                [usize::from(action)];
            let id = if action == Action::Failure { 0 } else { id };
            events.push(Event { time_ns, id, size, stream, thread, line: i as u32 + 2, action });
        }
        for format in [WriteFormat::Rmm, WriteFormat::Compact] {
            // RMM's log knows no block that is given up before it is over.
            if format == WriteFormat::Rmm && events.iter().any(|e| matches!(e.action, Action::Retire | Action::Held)) {
                continue;
            }
            let mut writer = TraceWriter::new(Vec::new(), format).unwrap();
            for event in &events {
                writer.write(event, names[event.stream as usize], Place::Whole).unwrap();
            }
            let text = writer.finish().unwrap();
            let mut reader = TraceReader::new(&text[..], ReadOptions::default()).unwrap();
            let back: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
            prop_assert_eq!(&back, &events);
            prop_assert_eq!(reader.streams(), &names);
        }
    }

    /// The checker against a map of live blocks: strict reading stops at the model's first fault, lenient reading plays on and
    /// hands out only steps that make sense.
    #[test]
    fn the_checker_agrees_with_a_model(
        raw in prop::collection::vec((0u8..3, 0u64..6, 0u64..4), 0..200),
    ) {
        let events: Vec<Event> = raw.iter().enumerate().map(|(i, &(action, id, size))| Event {
            time_ns: i as u64,
            id,
            size,
            stream: 0,
            thread: 0,
            line: i as u32 + 1,
            action: [Action::Alloc, Action::Free, Action::Retire][usize::from(action)],
        }).collect();
        // Sizes, and whether a block was given up.
        let mut live: HashMap<u64, (u64, bool)> = HashMap::new();
        let fault = events.iter().position(|e| match (e.action, live.get(&e.id).copied()) {
            _ if e.id == 0 => e.size > 0,
            // That a block is over is implied where its address comes up again.
            (Action::Alloc, None | Some((_, true))) => {
                live.insert(e.id, (e.size, false));
                false
            }
            (Action::Alloc, Some(_)) | (_, None) => true,
            (Action::Retire, Some((0, _))) => false,
            (Action::Retire, Some((size, retired))) => {
                live.insert(e.id, (size, true));
                retired || size != e.size
            }
            (_, Some((size, _))) => {
                live.remove(&e.id);
                size != e.size
            }
        });
        let strict = ReadOptions::default();
        let mut steps = Steps::new(events.iter().copied().map(Ok), &strict, Format::Compact);
        let error = steps.find_map(Result::err);
        prop_assert_eq!(error.as_ref().map(|e| e.place()), fault.map(|i| Place::Line(i as u64 + 1)));
        if let Some(error) = error {
            let known = matches!(
                error.kind(),
                ErrorKind::DoubleAlloc | ErrorKind::DoubleFree | ErrorKind::UnknownFree | ErrorKind::SizeMismatch | ErrorKind::NullPointer
            );
            prop_assert!(known, "{}", error);
        }

        let lenient = ReadOptions { lenient: true, ..strict };
        let mut steps = Steps::new(events.iter().copied().map(Ok), &lenient, Format::Compact);
        let mut slots: Vec<Option<(u64, bool)>> = Vec::new();
        let (mut bytes, mut peak) = (0, 0);
        let (mut active, mut active_peak) = (0, 0);
        for step in &mut steps {
            let step = step.unwrap();
            prop_assert!(step.size > 0);
            match step.what {
                What::Alloc(slot) => {
                    prop_assert!(slot as usize <= slots.len());
                    slots.resize(slots.len().max(slot as usize + 1), None);
                    prop_assert_eq!(slots[slot as usize].replace((step.size, false)), None);
                    bytes += step.size;
                    active += step.size;
                    peak = peak.max(bytes);
                    active_peak = active_peak.max(active);
                }
                What::Free(slot) => {
                    let (size, retired) = slots[slot as usize].take().unwrap();
                    prop_assert_eq!(size, step.size);
                    active -= size;
                    bytes -= if retired { 0 } else { size };
                }
                What::Retire(slot) => {
                    let block = slots[slot as usize].replace((step.size, true));
                    prop_assert_eq!(block, Some((step.size, false)));
                    bytes -= step.size;
                }
                What::Held(_) | What::Failure => prop_assert!(false),
            }
        }
        let totals = steps.totals();
        prop_assert_eq!((totals.live_bytes, totals.peak_live_bytes), (bytes, peak));
        prop_assert_eq!((totals.active_bytes, totals.peak_active_bytes), (active, active_peak));
        prop_assert_eq!(totals.events, events.len() as u64);
        prop_assert_eq!(totals.skipped.total() == 0, fault.is_none());
    }
}
