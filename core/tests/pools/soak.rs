//! The long run of the oracle: programs of a seed, as many as are asked for, over configurations of every kind of pool.
//!
//! By itself a million operations a kind. `cargo xtask soak` runs it for as long as it is given, with these variables:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `STRANDLINE_ORACLE_OPERATIONS` | operations of each kind |
//! | `STRANDLINE_ORACLE_SECONDS` | instead: how long each kind runs |
//! | `STRANDLINE_ORACLE_SEED` | the first program's seed; the next has the next |
//!
//! A failure prints the seed, the pool and the smallest part of its program that fails too.

use crate::support::dice::Dice;
use crate::support::draw::Draw;
use crate::support::generate::op;
use crate::support::program::{Op, run};
use crate::support::scaled;
use crate::support::subject::{Kind, Subject};
use std::time::{Duration, Instant};

/// Operations of one program: enough to fill, free and refill every slab a few times.
const LEN: usize = 1500;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// The pool and the program of a seed.
fn episode(kind: Kind, seed: u64) -> (Subject, Vec<Op>) {
    let mut dice = Dice::new(seed);
    let scale = dice.pick(&[16, 64, 64, 1024]);
    let subject = Subject::draw(kind, scale, &mut dice);
    let program = (0..LEN).map(|_| op(&mut dice, subject.largest())).collect();
    (subject, program)
}

/// A smaller program that fails too: pieces are taken away as long as it does (Zeller, Hildebrandt: delta debugging).
fn shrink(mut program: Vec<Op>, fails: impl Fn(&[Op]) -> bool) -> Vec<Op> {
    let mut piece = program.len() / 2;
    while piece > 0 {
        let mut at = 0;
        let before = program.len();
        while at < program.len() {
            let mut less = program.clone();
            less.drain(at..(at + piece).min(program.len()));
            if fails(&less) {
                program = less;
            } else {
                at += piece;
            }
        }
        if piece == 1 && program.len() < before {
            continue;
        }
        piece /= 2;
    }
    program
}

fn soak(kind: Kind) {
    let seconds = number("STRANDLINE_ORACLE_SECONDS").map(Duration::from_secs);
    let operations =
        number("STRANDLINE_ORACLE_OPERATIONS").unwrap_or_else(|| scaled(1_000_000).into());
    let first = number("STRANDLINE_ORACLE_SEED").unwrap_or(1);
    let begin = Instant::now();
    let mut told = begin;
    let mut done = 0;
    for seed in first.. {
        let (subject, program) = episode(kind, seed);
        let make = |host| subject.make(host);
        if run(&subject, &program, make).is_err() {
            let least = shrink(program, |less| run(&subject, less, make).is_err());
            let what = run(&subject, &least, make).expect_err("it has just failed");
            let list: String = least.iter().map(|op| format!("    {op:?}\n")).collect();
            panic!("{kind:?}: STRANDLINE_ORACLE_SEED={seed} fails: {what}\n{subject:?}\n{list}");
        }
        done += LEN as u64;
        let over = match seconds {
            Some(seconds) => begin.elapsed() >= seconds,
            None => done >= operations,
        };
        if over || told.elapsed() >= Duration::from_secs(10) {
            told = Instant::now();
            let rate = done as f64 / begin.elapsed().as_secs_f64() / 1e6;
            println!("{kind:?}: {done} operations, {rate:.2} million/s, next seed {}", seed + 1);
        }
        if over {
            return;
        }
    }
}

#[test]
fn tlsf() {
    soak(Kind::Tlsf);
}

#[test]
fn fixed_block() {
    soak(Kind::FixedBlock);
}

#[test]
fn arena() {
    soak(Kind::Arena);
}

#[test]
fn passthrough() {
    soak(Kind::Passthrough);
}
