//! A guest runs with support for concurrent calls only if it needs that.

use crate::support::artifacts;
use crate::support::guest::{KINDS, guests};
use crate::support::rig::{Cpu, Native, Rig};
use strandline_guest_tests::Needs;
use strandline_host_tenants::component::guest::{
    Calls, CompileLimits, GuestError, GuestHost, GuestLimits, GuestProgram,
};
use wasmtime::component::Component;

/// A guest whose `run` is synchronous and calls one import.
struct Caller {
    /// The import.
    import: &'static str,
    /// How it is lowered to a core function.
    lower: &'static str,
    /// That function's type.
    core: &'static str,
    /// Calls it, and leaves 1 if the answer is the right one, else 0.
    call: &'static str,
}

impl Caller {
    /// The component: it says "yes" or "no".
    fn component(&self) -> Vec<u8> {
        let Self { import, lower, core, call } = self;
        let text = format!(
            r#"(component
              {import}
              (core module $memory
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))
              (core instance $memory (instantiate $memory))
              (core func $outside (canon lower {lower}))
              (core module $program
                (import "" "memory" (memory 1))
                (import "" "outside" (func $outside {core}))
                (data (i32.const 16) "no yes")
                (func (export "run") (param i32 i32) (result i32)
                  (i32.store (i32.const 68) (i32.const 16))
                  (i32.store (i32.const 72) (i32.const 2))
                  (if {call} (then
                    (i32.store (i32.const 68) (i32.const 19))
                    (i32.store (i32.const 72) (i32.const 3))))
                  i32.const 64))
              (core instance $program (instantiate $program (with "" (instance
                (export "memory" (memory $memory "memory"))
                (export "outside" (func $outside))))))
              (func (export "run")
                (param "arguments" (list string)) (result (result string (error string)))
                (canon lift (core func $program "run")
                  (memory $memory "memory") (realloc (func $memory "realloc")))))"#
        );
        wat::parse_str(text).unwrap()
    }
}

/// Runs a program over no pools.
fn run(host: &GuestHost<u32>, program: &GuestProgram<u32>) -> Result<String, GuestError> {
    let rig = Rig::new(&Needs { pools: &[], capacity: 1, queues: false }, &Cpu, &Native);
    host.run_with(program, rig.tenant(), 7, &GuestLimits::default(), &[]).0
}

#[test]
fn each_world_has_the_calls_that_it_needs() {
    for calls in KINDS {
        assert_eq!(guests().program(calls).calls(), calls);
    }
}

/// A quarter of every limit on compiling is enough for them.
#[test]
fn real_guests_have_room() {
    let mut limits = CompileLimits::default();
    for name in CompileLimits::NAMES {
        assert!(limits.set(name, limits.get(name).unwrap() / 4), "{name}");
    }
    let host = &guests().host;
    for component in [artifacts::conformance(), artifacts::conformance_sync()] {
        let compiled = host.compile_within(&limits, &component);
        assert!(compiled.is_ok(), "{compiled:?}");
    }
}

/// It never blocks, and needs support for concurrent calls all the same.
#[test]
fn a_synchronous_run_may_call_wait() {
    let caller = Caller {
        import: r#"
          (import "strandline:substrate/waits@0.1.0" (instance $waits
            (type $entry- (record (field "axis" u64) (field "epoch" u64)))
            (export "entry" (type $entry (eq $entry-)))
            (type $failure- (record (field "axis" u64) (field "message" string)))
            (export "axis-failure" (type $failure (eq $failure-)))
            (type $frontier-error- (variant
              (case "unsorted" u32) (case "duplicate" u32) (case "zero-epoch" u32)
              (case "too-many" u32)))
            (export "frontier-error" (type $frontier-error (eq $frontier-error-)))
            (type $wait-error- (variant
              (case "failed" $failure) (case "retired" u64) (case "gone")
              (case "unknown-axis" u64) (case "invalid-frontier" $frontier-error)))
            (export "wait-error" (type $wait-error (eq $wait-error-)))
            (export "wait" (func async
              (param "frontier" (list $entry)) (result (result (error $wait-error)))))))"#,
        lower: r#"(func $waits "wait") async
          (memory $memory "memory") (realloc (func $memory "realloc"))"#,
        core: "(param i32 i32 i32) (result i32)",
        // Nothing is waited for, so it has returned (2) at once, without an error.
        call: "(i32.and
          (i32.eq (call $outside (i32.const 0) (i32.const 0) (i32.const 128)) (i32.const 2))
          (i32.eqz (i32.load8_u (i32.const 128))))",
    };
    let host = GuestHost::with_extra().unwrap();
    let program = host.compile(&caller.component()).unwrap();
    assert_eq!(program.calls(), Calls::Concurrent);
    assert_eq!(run(&host, &program).unwrap(), "yes");
}

const LUCKY: Caller = Caller {
    import: r#"(import "lucky" (func $lucky (result u32)))"#,
    lower: "(func $lucky)",
    core: "(result i32)",
    call: "(i32.eq (call $outside) (i32.const 7))",
};

/// A host whose guests may import `lucky`, with these calls.
fn host(of: &[Calls]) -> GuestHost<u32> {
    let mut host = GuestHost::<u32>::with_extra().unwrap();
    host.add_imports(|linker, calls| {
        if !of.contains(&calls) {
            return Ok(());
        }
        linker.root().func_wrap("lucky", |store, ()| Ok((store.data().extra,)))
    })
    .unwrap();
    host
}

#[test]
fn imports_of_the_embedder_need_no_support() {
    let host = host(&KINDS);
    let program = host.compile(&LUCKY.component()).unwrap();
    assert_eq!(program.calls(), Calls::Synchronous);
    assert_eq!(run(&host, &program).unwrap(), "yes");
}

#[test]
fn what_only_one_linker_has_decides() {
    let host = host(&[Calls::Concurrent]);
    let program = host.compile(&LUCKY.component()).unwrap();
    assert_eq!(program.calls(), Calls::Concurrent);
    assert_eq!(run(&host, &program).unwrap(), "yes");
}

#[test]
fn what_neither_linker_has_is_told() {
    let why = host(&[]).compile(&LUCKY.component()).unwrap_err().to_string();
    assert!(why.contains("lucky"), "{why}");
}

#[test]
fn code_made_ahead_is_linked_by_its_engine() {
    let host = host(&KINDS);
    for calls in KINDS {
        let component = Component::new(host.engine(calls), LUCKY.component()).unwrap();
        let program = host.link(&component).unwrap();
        assert_eq!(program.calls(), calls);
        assert_eq!(run(&host, &program).unwrap(), "yes");
    }
    let strange = Component::new(&wasmtime::Engine::default(), LUCKY.component()).unwrap();
    assert!(matches!(host.link(&strange), Err(GuestError::Invalid(_))));
}
