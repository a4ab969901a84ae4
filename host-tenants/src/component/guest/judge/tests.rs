//! Components that would take the compiler long or much memory are refused at once; what real guests need is far below every limit.

use super::super::{Calls, GuestError, GuestHost};
use super::*;
use std::fmt::Write;
use std::time::{Duration, Instant};

fn parse(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Levels of components, of which each instantiates the one before it twice: about 40 bytes a level.
fn doubling_instances(levels: usize) -> Vec<u8> {
    let mut text =
        "(component (component $c0 (core module $m) (core instance (instantiate $m)))".to_owned();
    for level in 1..=levels {
        let before = level - 1;
        write!(
            text,
            "(component $c{level} (alias outer 1 $c{before} (component $b)) \
             (instance (instantiate $b)) (instance (instantiate $b)))"
        )
        .unwrap();
    }
    write!(text, "(instance (instantiate $c{levels})))").unwrap();
    parse(&text)
}

/// A component with one function of that body.
fn with_function(locals: &str, body: &str) -> Vec<u8> {
    parse(&format!("(component (core module (func (param i32) {locals} {body})))"))
}

/// Loops within each other: three bytes each.
fn nested_loops(count: usize) -> Vec<u8> {
    nested("loop ", count)
}

fn nested(opening: &str, count: usize) -> Vec<u8> {
    let body = format!("{}{}", opening.repeat(count), "end ".repeat(count));
    with_function("", &body)
}

/// Each type names the one before it twice.
fn doubling_types(levels: usize) -> Vec<u8> {
    let mut text = "(component (type $t0 (tuple u8 u8))".to_owned();
    for level in 1..=levels {
        let before = level - 1;
        write!(text, "(type $t{level} (tuple $t{before} $t{before}))").unwrap();
    }
    text.push(')');
    parse(&text)
}

/// Each type of an instance has two instances of the type before it.
fn doubling_instance_types(levels: usize) -> Vec<u8> {
    let mut text = "(component (type $t0 (instance))".to_owned();
    for level in 1..=levels {
        let before = level - 1;
        write!(
            text,
            "(type $t{level} (instance (alias outer 1 $t{before} (type $b)) \
             (export \"a\" (instance (type $b))) (export \"b\" (instance (type $b)))))"
        )
        .unwrap();
    }
    write!(text, "(import \"i\" (instance (type $t{levels}))))").unwrap();
    parse(&text)
}

/// What refuses it, which must be within 100 ms.
fn refused(bytes: &[u8]) -> LimitExceeded {
    let mut took = Duration::MAX;
    let mut judged = Ok(());
    // Others may keep the processors busy: the quickest of some counts.
    for _ in 0..10 {
        let begin = Instant::now();
        judged = judge(bytes, &CompileLimits::default());
        took = took.min(begin.elapsed());
    }
    let Err(GuestError::TooLarge(limit)) = judged else { panic!("{judged:?}") };
    assert!(took < Duration::from_millis(100), "{limit}: took {took:?}");
    assert!(limit.found > limit.limit);
    let text = GuestError::TooLarge(limit).to_string();
    assert!(text.contains(limit.setting) && text.contains(&limit.limit.to_string()), "{text}");
    limit
}

#[test]
fn a_kilobyte_that_instantiates_millions_is_refused() {
    let bytes = doubling_instances(26);
    assert!(bytes.len() < 2048, "{} bytes", bytes.len());
    assert_eq!(refused(&bytes).setting, "instances");
    // No sum overflows.
    assert_eq!(refused(&doubling_instances(500)).setting, "instances");
    // It is the tree that counts, exactly.
    for levels in 0..=6 {
        let counted = count(&doubling_instances(levels), &CompileLimits::default()).unwrap();
        // Each leaf is a component and a module; each inner node is a component.
        assert_eq!(counted.instances, (1 << (levels + 1)) - 1 + (1 << levels), "{levels}");
    }
}

#[test]
fn loops_within_each_other_are_refused() {
    let bytes = nested_loops(22_000);
    assert!(bytes.len() < 68 << 10, "{} bytes", bytes.len());
    assert_eq!(refused(&bytes).setting, "loops");
    assert_eq!(refused(&nested("block ", 30_000)).setting, "blocks");
    assert_eq!(refused(&nested("i32.const 0 if ", 30_000)).setting, "blocks");
}

#[test]
fn types_that_double_are_refused() {
    assert_eq!(refused(&doubling_types(40)).setting, "items");
    assert_eq!(refused(&doubling_types(300)).setting, "items");
    assert_eq!(refused(&doubling_instance_types(40)).setting, "items");
    let long = "(component (type $t (list u8 1000000000)) (type (tuple $t $t)))";
    assert_eq!(refused(&parse(long)).setting, "items");
}

/// Every limit refuses what is one above it, and nothing at it.
#[test]
fn every_limit_is_exact() {
    let many = |part: &str, count: usize| part.repeat(count);
    let module = |fields: String| parse(&format!("(component (core module {fields}))"));
    let locals = |count: usize| format!("(local {})", "i32 ".repeat(count));
    type Make<'m> = Box<dyn Fn(usize) -> Vec<u8> + 'm>;
    let cases: Vec<(&str, Make<'_>)> = vec![
        ("modules", Box::new(|n| parse(&format!("(component {})", many("(core module)", n))))),
        ("depth", Box::new(|n| parse(&(many("(component ", n) + &many(")", n))))),
        (
            "instances",
            Box::new(|n| {
                let instances = many("(core instance (instantiate $m))", n);
                parse(&format!("(component (core module $m) {instances})"))
            }),
        ),
        ("functions", Box::new(|n| module(many("(func)", n)))),
        ("declarations", Box::new(|n| module(many("(global i32 (i32.const 0))", n)))),
        (
            "externs",
            Box::new(|n| module((0..n).map(|i| format!("(import \"\" \"{i}\" (func))")).collect())),
        ),
        ("memories", Box::new(|n| module(many("(memory 0)", n)))),
        ("tables", Box::new(|n| module(many("(table 0 funcref)", n)))),
        ("table_elements", Box::new(|n| module(format!("(table {n} funcref)")))),
        ("segments", Box::new(|n| module("(memory 1)".to_owned() + &many("(data \"\")", n)))),
        ("arity", Box::new(|n| module(format!("(type (func (param {})))", "i32 ".repeat(n))))),
        ("locals", Box::new(|n| with_function(&locals(n), ""))),
        (
            "all_locals",
            Box::new(|n| module(format!("(func {}) (func (local i32))", locals(n - 1)))),
        ),
        ("blocks", Box::new(|n| nested("block ", n))),
        ("loops", Box::new(|n| nested("loop ", n))),
        ("loop_locals", Box::new(|n| with_function("(local i32)", &many("loop end ", n)))),
        ("nested_types", Box::new(|n| types_within_types(n - 1))),
        // A table of n - 1 targets has a default besides.
        (
            "targets",
            Box::new(|n| {
                with_function("", &format!("local.get 0 br_table {} 0", many("0 ", n - 1)))
            }),
        ),
        // The rest of a function is its locals and its end; of the code, its size besides.
        ("function_bytes", Box::new(|n| with_function("", &many("nop ", n - 2)))),
        ("code_bytes", Box::new(|n| with_function("", &many("nop ", n - 3)))),
    ];
    let mut seen = vec!["bytes", "type_bytes", "items"];
    assert_eq!(CompileLimits::default().get("modules"), Some(CompileLimits::default().modules));
    for (name, make) in cases {
        let at = 9;
        let mut limits = CompileLimits::default();
        assert!(limits.set(name, at as u64));
        let fits = judge(&make(at), &limits);
        assert!(fits.is_ok(), "{name}: {fits:?}");
        let over = judge(&make(at + 1), &limits);
        let Err(GuestError::TooLarge(limit)) = over else { panic!("{name}: {over:?}") };
        assert_eq!((limit.setting, limit.limit, limit.found), (name, 9, 10));
        seen.push(name);
    }
    let bytes = parse("(component (type (tuple u8 u8)))");
    // A tuple of two has three parts. The section's bytes: a count, and four for the type.
    for (name, at) in [("bytes", bytes.len() as u64), ("type_bytes", 5), ("items", 3)] {
        let mut limits = CompileLimits::default();
        assert!(limits.set(name, at) && judge(&bytes, &limits).is_ok(), "{name}");
        assert!(limits.set(name, at - 1) && judge(&bytes, &limits).is_err(), "{name}");
    }
    seen.sort_unstable();
    let mut all = CompileLimits::NAMES.to_vec();
    all.sort_unstable();
    assert_eq!(seen, all, "each limit has a case");
    assert!(!CompileLimits::default().set("nonsense", 1));
}

/// One type of an instance that has one, and so on: three bytes a level, for each of which the parser recurses.
fn types_within_types(levels: usize) -> Vec<u8> {
    // A section of types: count (which with the next byte looks like a mark), then 0x42 (an instance) of one declaration 0x01 (a type).
    let mut section = vec![1];
    for _ in 0..levels {
        section.extend([0x42, 1, 1]);
    }
    section.extend([0x42, 0]);
    let mut bytes = vec![0, b'a', b's', b'm', 0x0d, 0, 1, 0, 7];
    let mut len = section.len();
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend(section);
    bytes
}

#[test]
fn types_within_each_other_do_not_exhaust_the_stack() {
    assert_eq!(refused(&types_within_types(80_000)).setting, "nested_types");
    assert_eq!(refused(&types_within_types(1_000)).setting, "nested_types");
    // As deep as is parsed at all.
    assert_eq!(refused(&types_within_types(999)).setting, "depth");
    assert!(judge(&types_within_types(10), &CompileLimits::default()).is_ok());
    let deep = CompileLimits { depth: 1 << 20, nested_types: 5_000, ..CompileLimits::default() };
    assert!(judge(&types_within_types(4_999), &deep).is_ok());
}

/// It would have to be followed to where it comes from.
#[test]
fn a_component_that_comes_from_outside_is_not_instantiated() {
    let text = r#"(component (import "c" (component $c)) (instance (instantiate $c)))"#;
    assert_eq!(refused(&parse(text)).setting, "instances");
    let text = r#"(component
      (component $outer (component $inner) (export "inner" (component $inner)))
      (instance $i (instantiate $outer))
      (alias export $i "inner" (component $c))
      (instance (instantiate $c)))"#;
    // This one is known, though it comes through an instance.
    assert!(judge(&parse(text), &CompileLimits::default()).is_ok());
}

#[test]
fn what_is_not_a_component_is_no_guest() {
    let module = parse("(module)");
    let mut cut = doubling_instances(2);
    cut.truncate(cut.len() - 5);
    for bytes in [&b""[..], b"(component)", b"\0asm", b"nonsense", &module, &cut] {
        let judged = judge(bytes, &CompileLimits::default());
        assert!(matches!(judged, Err(GuestError::Invalid(_))), "{judged:?}");
    }
}

/// Bytes that look random, and components of which some bytes are: whatever they are, there is an answer.
#[test]
fn no_bytes_make_it_panic() {
    let seeds = [doubling_instances(3), doubling_instance_types(3), nested_loops(5)];
    let mut state = 0x5eed_u64;
    let mut below = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % end as u64) as usize
    };
    for round in 0..crate::scale::scaled(3000) {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..=below(4) {
            let at = 8 + below(bytes.len() - 8);
            bytes[at] = below(256) as u8;
        }
        let judged = judge(&bytes, &CompileLimits::default());
        assert!(!matches!(judged, Err(GuestError::Host(_))), "{judged:?} for {bytes:?}");
    }
}

/// A guest host refuses before it compiles, and compiles what is within its limits.
#[test]
fn a_host_judges_first() {
    let host = GuestHost::new().unwrap();
    let begin = Instant::now();
    for bytes in [doubling_instances(26), nested_loops(22_000)] {
        assert!(matches!(host.compile(&bytes), Err(GuestError::TooLarge(_))));
    }
    assert!(begin.elapsed() < Duration::from_millis(500));
    let little = CompileLimits { modules: 0, ..CompileLimits::default() };
    let bytes = parse("(component (core module))");
    let Err(GuestError::TooLarge(limit)) = host.compile_within(&little, &bytes) else { panic!() };
    assert_eq!(limit.setting, "modules");
    // It is no guest: it runs nothing.
    assert!(matches!(host.compile(&bytes), Err(GuestError::Invalid(_))));
    assert!(host.engine(Calls::Synchronous).precompile_component(&bytes).is_ok());
}
