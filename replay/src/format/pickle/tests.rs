//! The machine on pickles written by hand, opcode by opcode; real ones are read in the format tests.

use super::*;

const LIMIT: u64 = 64 << 20;

fn run(bytes: &[u8]) -> Result<(Arena, Value), TraceError> {
    read(&mut Input::new(bytes, 64).unwrap(), LIMIT)
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
    assert_eq!(value(b"I01\n."), Value::Int(1));
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
    assert_eq!(value(b"ccollections\nOrderedDict\n)R(Vaddr\nK\x01u."), Value::Opaque);
    assert_eq!(value(b"cx\ny\n)\x81}b."), Value::Opaque);
    assert_eq!(value(b"cx\ny\n)R(K\x01K\x02e."), Value::Opaque);
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
    assert_eq!((list.items.len(), list.dropped), (2, 4));
    let (arena, list) = run(b"]]aK\x05a.").unwrap();
    let list = arena.list(list).unwrap();
    assert_eq!((list.items.len(), list.dropped), (1, 1));
    for tuple in [&b"(]]t."[..], b"]]\x86.", b"]]]\x87.", b"(]l.", b"]\x85."] {
        assert!(!arena_of(tuple).is_empty());
    }
}

fn arena_of(bytes: &[u8]) -> Vec<Value> {
    let (arena, list) = run(bytes).unwrap();
    arena.list(list).unwrap().items.clone()
}

#[test]
fn a_cycle_is_harmless() {
    // l = []; l.append(l)
    let (arena, list) = run(b"]q\x00h\x00a.").unwrap();
    assert_eq!(arena.list(list).unwrap().items, [list]);
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
        let error = read(&mut Input::new(&bytes[..], 64).unwrap(), 1 << 20).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PickleTooLarge, "{what}");
    }
    // Setting an item again costs nothing; items of many dictionaries do.
    let mut again = b"}".to_vec();
    again.extend(b"Vsize\nNs".repeat(1 << 18));
    again.push(b'.');
    let (arena, dict) = read(&mut Input::new(&again[..], 64).unwrap(), 1 << 20).unwrap();
    assert_eq!(arena.get(dict, Word::SIZE), Some(Value::None));
    let pairs = b"}Vsize\nNs0".repeat(1 << 14);
    let error = read(&mut Input::new(&pairs[..], 64).unwrap(), 1 << 20).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PickleTooLarge);
    let mut sparse = b"N".to_vec();
    (1..100_000u32).rev().for_each(|i| {
        sparse.push(b'r');
        sparse.extend(i.to_le_bytes());
    });
    let error = read(&mut Input::new(&sparse[..], 64).unwrap(), 1 << 20).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PickleTooLarge);
    // What comes and goes is free: a long pickle of short strings fits.
    let mut long = b"Vxyz\n0".repeat(1 << 18);
    long.extend(b"N.");
    assert_eq!(read(&mut Input::new(&long[..], 64).unwrap(), 1 << 20).unwrap().1, Value::None);
}
