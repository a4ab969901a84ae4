//! Any bytes as a pool's configuration and a program of operations on it, run against the oracle that core's own tests use.
//!
//! ```text
//! byte 0     the kind of pool, and with it the next few: its configuration
//! then       operations: a byte that picks one, and one to a dozen for its operands (core/tests/support/generate.rs)
//! ```
//! Bytes that are missing are 0, so every input is a program and a shorter one is a shorter program.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use support::draw::Draw;
use support::generate::op;
use support::program::{Op, run};
use support::subject::{Kind, Subject};

#[path = "../../core/tests/support/bytes.rs"]
mod bytes;
#[path = "../../core/tests/support"]
mod support {
    pub(crate) mod dice;
    pub(crate) mod draw;
    pub(crate) mod generate;
    pub(crate) mod laws;
    pub(crate) mod oracle;
    pub(crate) mod planned;
    pub(crate) mod program;
    pub(crate) mod progress;
    pub(crate) mod provider;
    pub(crate) mod split_mix;
    pub(crate) mod subject;
}

/// Operations of one program: enough to fill, free and refill every slab a few times.
const MOST_OPS: usize = 600;

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let kind = match bytes.below(8) {
        0 => Kind::FixedBlock,
        1 => Kind::Arena,
        2 => Kind::Passthrough,
        3 => Kind::Planned,
        // Most of the time: it has the most to it.
        _ => Kind::Tlsf,
    };
    let subject = Subject::draw(kind, 1024, &mut bytes);
    let largest = subject.largest();
    let next = || (!bytes.0.is_empty()).then(|| op(&mut bytes, largest));
    let program: Vec<Op> = std::iter::from_fn(next).take(MOST_OPS).collect();
    if let Err(what) = run(&subject, &program, |host| subject.make(host, &program)) {
        panic!("{}: {subject:?}\n{what}", kind.name());
    }
});
