//! The machine on pickles written by hand, opcode by opcode; real ones are read in the format tests.

use super::super::error::Place;
use super::*;

const LIMIT: u64 = 64 << 20;

fn run(bytes: &[u8]) -> Result<(Arena, Value), TraceError> {
    read(&mut Input::new(bytes, 64).unwrap(), LIMIT, Keep::Trace)
}

fn value(bytes: &[u8]) -> Value {
    run(bytes).unwrap().1
}

fn kind(bytes: &[u8]) -> ErrorKind {
    run(bytes).map(drop).unwrap_err().kind()
}

#[test]
fn integers_of_every_opcode() {
    assert_eq!(value(b"K\xff."), Value::Int(255));
    assert_eq!(value(b"M\xff\xff."), Value::Int(65535));
    assert_eq!(value(b"J\xff\xff\xff\xff."), Value::Int(-1));
    assert_eq!(value(b"I-12\n."), Value::Int(-12));
    assert_eq!(value(b"I01\n."), Value::True);
    assert_eq!(value(b"L123L\n."), Value::Int(123));
    assert_eq!(value(b"L18446744073709551615L\n."), Value::Uint(u64::MAX));
    assert_eq!(value(b"L18446744073709551616L\n."), Value::Huge);
    assert_eq!(value(b"\x8a\x00."), Value::Int(0));
    assert_eq!(value(b"\x8a\x01\x80."), Value::Int(-128));
    assert_eq!(value(b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f."), Value::Int(i64::MAX));
    assert_eq!(value(b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00."), Value::Uint(u64::MAX));
    assert_eq!(value(b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01."), Value::Huge);
    assert_eq!(value(b"\x8b\x02\x00\x00\x00\x00\x01."), Value::Int(256));
    assert_eq!(kind(b"I1x\n."), ErrorKind::BadPickle);
    assert_eq!(kind(b"\x8b\xff\xff\xff\xff."), ErrorKind::BadPickle);
}

#[test]
fn strings_of_every_opcode_name_the_same_word() {
    for text in [
        &b"\x8c\x04addr."[..],
        b"X\x04\x00\x00\x00addr.",
        b"\x8d\x04\x00\x00\x00\x00\x00\x00\x00addr.",
        b"U\x04addr.",
        b"T\x04\x00\x00\x00addr.",
        b"Vaddr\n.",
        b"S'addr'\n.",
    ] {
        assert_eq!(value(text), Value::Str(Word::ADDR), "{}", text.escape_ascii());
    }
    // A known word is known by all of it.
    assert_ne!(value(b"\x8c\x05addrs."), Value::Str(Word::ADDR));
    let (arena, other) = run(b"\x8c\x05other.").unwrap();
    assert_eq!(arena.describe(Some(other)), "`other`");
}

#[test]
fn names_are_never_resolved_and_calls_never_made() {
    assert_eq!(value(b"cos\nsystem\n(Vecho\ntR."), Value::Opaque);
    assert_eq!(value(b"\x8c\x02os\x8c\x06system\x93\x8c\x04echo\x85R."), Value::Opaque);
    assert_eq!(value(b"(S'echo'\nios\nsystem\n."), Value::Opaque);
    assert_eq!(value(b"(cos\nsystem\nS'echo'\no."), Value::Opaque);
    assert_eq!(value(b"\x82\x01."), Value::Opaque);
    // What is put into an object that was not built is dropped.
    assert_eq!(value(b"cx\nOrderedDict\n)R(Vaddr\nK\x01u."), Value::Opaque);
    assert_eq!(value(b"cx\ny\n)\x81}b."), Value::Opaque);
    assert_eq!(value(b"cx\ny\n)R(K\x01K\x02e."), Value::Opaque);
}

#[test]
fn pythons_own_dictionaries_are_read_as_what_they_hold() {
    for pickle in [
        &b"ccollections\nOrderedDict\n)R(Vaddr\nK\x07u."[..],
        b"ccollections\ndefaultdict\ncx\ny\n\x85R(Vaddr\nK\x07u.",
        b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93)RVaddr\nK\x07s.",
        b"ccollections\nOrderedDict\nq\x000h\x00)\x81(Vaddr\nK\x07u.",
    ] {
        let (arena, dict) = run(pickle).unwrap();
        assert_eq!(arena.get(dict, Word::ADDR), Some(Value::Int(7)), "{}", pickle.escape_ascii());
    }
}

#[test]
fn everything_is_kept_where_that_is_asked_for() {
    let bytes = b"}(Vframes\n](K\x05G?\xe0\0\0\0\0\0\0Vmain\nN}Vother\ncx\ny\nesu.";
    let bytes = &bytes[..];
    let bytes = bytes.strip_suffix(b"su.").unwrap();
    let bytes = [bytes, b"u."].concat();
    let mut input = Input::new(&bytes[..], 64).unwrap();
    let (mut arena, dict) = read(&mut input, LIMIT, Keep::Everything).unwrap();
    let frames = arena.word(b"frames");
    let list = arena.get(dict, frames).unwrap();
    let list: Vec<Value> = arena.list(list).unwrap().iter().collect();
    let main = arena.word(b"main");
    assert_eq!(list[..4], [Value::Int(5), Value::Float(0.5), Value::Str(main), Value::None]);
    assert_eq!((list.len(), list[6]), (7, Value::Opaque));
    assert_eq!(arena.text(main), Some(&b"main"[..]));
}

/// What an opcode can make of a small file, packed or not, stays within what the file's size allows.
#[test]
fn memory_is_bounded_by_the_file() {
    let units = [&b"N"[..], b"(", b"]", b"}", b"N\x940", b"]0", b"G\0\0\0\0\0\0\0\0\x94", b"2"];
    for unit in units {
        let mut bytes = b"N".to_vec();
        bytes.extend(unit.repeat((8 << 20) / unit.len()));
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, &bytes).unwrap();
        for file in [bytes, packed.finish().unwrap()] {
            let mut input = Input::new(&file[..], 64).unwrap();
            let mut machine = Machine::new(&mut input, u64::MAX, Keep::Trace);
            let error = loop {
                let step = machine.step();
                let most = SLACK + FACTOR * file.len() as u64;
                // A step may grow one vector by a quarter before it is looked at.
                let held = machine.arena.bytes() + machine.own_bytes;
                assert!(held <= most + most / 4, "{}: {held}", unit.escape_ascii());
                if let Err(error) = step {
                    break error;
                }
            };
            let refused = matches!(error.kind(), ErrorKind::PickleTooLarge | ErrorKind::Truncated);
            assert!(refused, "{}: {error}", unit.escape_ascii());
        }
    }
}

#[test]
fn dictionaries_keep_known_keys_and_the_last_value() {
    let (arena, dict) = run(b"}(Vaddr\nK\x01Vname\nK\x02Vaddr\nK\x03u.").unwrap();
    assert_eq!(arena.get(dict, Word::ADDR), Some(Value::Int(3)));
    assert_eq!(arena.get(dict, Word::SIZE), None);
    let (arena, dict) = run(b"(Vsize\nK\x07d.").unwrap();
    assert_eq!(arena.get(dict, Word::SIZE), Some(Value::Int(7)));
    let (arena, dict) = run(b"}Vsize\nK\x07s.").unwrap();
    assert_eq!(arena.get(dict, Word::SIZE), Some(Value::Int(7)));
}

#[test]
fn lists_keep_what_is_of_use_and_count_the_rest() {
    let (arena, list) = run(b"](K\x01}Vsize\nK\x07s}]N\x89e.").unwrap();
    let list = arena.list(list).unwrap();
    assert_eq!((list.len(), list.dropped()), (2, 4));
    let (arena, list) = run(b"]]aK\x05a.").unwrap();
    let list = arena.list(list).unwrap();
    assert_eq!((list.len(), list.dropped()), (1, 1));
    for tuple in [&b"(]]t."[..], b"]]\x86.", b"]]]\x87.", b"(]l.", b"]\x85."] {
        assert!(!arena_of(tuple).is_empty());
    }
}

fn arena_of(bytes: &[u8]) -> Vec<Value> {
    let (arena, list) = run(bytes).unwrap();
    arena.list(list).unwrap().iter().collect()
}

#[test]
fn a_cycle_is_harmless() {
    // l = []; l.append(l)
    let (arena, list) = run(b"]q\x00h\x00a.").unwrap();
    assert_eq!(arena.list(list).unwrap().iter().collect::<Vec<_>>(), [list]);
    // d = {}; d["addr"] = d
    let (arena, dict) = run(b"}q\x00Vaddr\nh\x00s.").unwrap();
    assert_eq!(arena.get(dict, Word::ADDR), Some(dict));
}

#[test]
fn the_memo_takes_any_numbering() {
    assert_eq!(value(b"K\x01q\x000h\x00."), Value::Int(1));
    assert_eq!(value(b"K\x01r\xff\xff\xff\xff0j\xff\xff\xff\xff."), Value::Int(1));
    assert_eq!(value(b"K\x01p70\n0g70\n."), Value::Int(1));
    assert_eq!(value(b"K\x01\x940K\x02\x940h\x00."), Value::Int(1));
    // A newer value replaces an older one, wherever that was kept.
    assert_eq!(value(b"K\x01q\x01K\x02q\x00K\x03q\x01h\x01."), Value::Int(3));
    assert_eq!(kind(b"h\x00."), ErrorKind::BadPickle);
}

#[test]
fn broken_pickles_are_refused_with_their_offset() {
    for broken in [
        &b"."[..],
        b"K\x01(.",
        b"t.",
        b"u.",
        b"(u.",
        b"K\x01(K\x01e.",
        b"}(K\x01u.",
        b"K\x01K\x02K\x03s.",
        b"\x85.",
        b"(K\x01\x86.",
        b"R.",
        b"\x80\x06.",
        b"gx\n.",
        b"\xff",
        b"]K\x01(a.",
    ] {
        assert_eq!(kind(broken), ErrorKind::BadPickle, "{}", broken.escape_ascii());
    }
    assert_eq!(run(b"NN\xff").map(drop).unwrap_err().place(), Place::Byte(2));
    // Of a packed file, a byte is one of what is unpacked.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, b"NN\xff").unwrap();
    let error = run(&packed.finish().unwrap()).map(drop).unwrap_err();
    assert_eq!(error.place(), Place::UnpackedByte(2));
    assert!(error.to_string().starts_with("byte 2 after unpacking: "), "{error}");
    for cut in [
        &b""[..],
        b"N",
        b"K",
        b"J\x01",
        b"X\xff\xff\xff\xffabc",
        b"Vabc",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert_eq!(kind(cut), ErrorKind::Truncated, "{}", cut.escape_ascii());
    }
}

#[test]
fn memory_is_limited_whatever_grows() {
    for (unit, what) in [
        (&b"N"[..], "stack"),
        (b"(", "marks"),
        (b"]0", "lists"),
        (b"}0", "dictionaries"),
        (b"N\x940", "memo"),
    ] {
        let bytes = unit.repeat(1 << 20);
        let error = read(&mut Input::new(&bytes[..], 64).unwrap(), 1 << 20, Keep::Trace)
            .map(drop)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PickleTooLarge, "{what}");
    }
    // Setting an item again costs nothing; items of many dictionaries do.
    let mut again = b"}".to_vec();
    again.extend(b"Vsize\nNs".repeat(1 << 18));
    again.push(b'.');
    let (arena, dict) =
        read(&mut Input::new(&again[..], 64).unwrap(), 1 << 20, Keep::Trace).unwrap();
    assert_eq!(arena.get(dict, Word::SIZE), Some(Value::None));
    let pairs = b"}Vsize\nNs0".repeat(1 << 18);
    let error =
        read(&mut Input::new(&pairs[..], 64).unwrap(), 1 << 20, Keep::Trace).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PickleTooLarge);
    let mut sparse = b"N".to_vec();
    (1..100_000u32).rev().for_each(|i| {
        sparse.push(b'r');
        sparse.extend(i.to_le_bytes());
    });
    let error = read(&mut Input::new(&sparse[..], 64).unwrap(), 1 << 20, Keep::Trace)
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PickleTooLarge);
    // What comes and goes is free: a long pickle of short strings fits.
    let mut long = b"Vxyz\n0".repeat(1 << 18);
    long.extend(b"N.");
    assert_eq!(
        read(&mut Input::new(&long[..], 64).unwrap(), 1 << 20, Keep::Trace).unwrap().1,
        Value::None
    );
}
