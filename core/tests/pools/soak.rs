//! The long run of the oracle: programs of a seed, as many as are asked for, over configurations of every kind of pool.
//!
//! By itself a million operations a kind. `cargo xtask soak` sets for how long, and the first seed: see
//! [`Runs`](crate::support::runs::Runs). A failure prints the seed, the pool and the smallest part of its program that
//! fails too.

use crate::support::dice::Dice;
use crate::support::draw::Draw;
use crate::support::generate::op;
use crate::support::program::{Op, run};
use crate::support::runs::Runs;
use crate::support::subject::{Kind, Subject};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Operations of one program: enough to fill, free and refill every slab a few times.
const LEN: usize = 1500;

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

/// What is wrong with a program's run, a panic of the pool included.
fn failure(subject: &Subject, program: &[Op]) -> Option<String> {
    let run = || run(subject, program, |host| subject.make(host, program));
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(verdict) => verdict.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!("it panics: {}", text.unwrap_or("without a text")))
        }
    }
}

/// Runs the program of a seed; panics with all that is needed to mend what it finds.
fn try_seed(kind: Kind, seed: u64) {
    let (subject, program) = episode(kind, seed);
    if failure(&subject, &program).is_none() {
        return;
    }
    // A pool that panics does so at each of the hundreds of tries.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let least = shrink(program, |less| failure(&subject, less).is_some());
    let what = failure(&subject, &least);
    std::panic::set_hook(hook);
    let what = what.unwrap_or_else(|| "once, and not again".into());
    let list: String = least.iter().map(|op| format!("    {op:?}\n")).collect();
    let name = kind.name();
    panic!("seed {seed} of {name} fails: {what}\n{subject:?}\n{list}seed {seed} of {name}");
}

fn soak(kind: Kind) {
    let runs = Runs::from_env(1_000_000);
    let (next, done, failed) =
        (AtomicU64::new(runs.seed), AtomicU64::new(0), AtomicBool::new(false));
    let begin = Instant::now();
    let tell = || {
        let done = done.load(Ordering::Relaxed);
        let rate = done as f64 / begin.elapsed().as_secs_f64() / 1e6;
        let next = next.load(Ordering::Relaxed);
        println!("{}: {done} operations, {rate:.2} million/s, next seed {next}", kind.name());
    };
    // Each takes the next seed, so that a number of operations is the same programs on any machine.
    std::thread::scope(|scope| {
        let work = |tells: bool| {
            let mut told = Instant::now();
            loop {
                // Relaxed: nothing but the numbers themselves is shared.
                let before = done.fetch_add(LEN as u64, Ordering::Relaxed);
                if runs.are_over(begin.elapsed(), before) || failed.load(Ordering::Relaxed) {
                    done.fetch_sub(LEN as u64, Ordering::Relaxed);
                    return;
                }
                let seed = next.fetch_add(1, Ordering::Relaxed);
                let outcome = catch_unwind(|| try_seed(kind, seed));
                if let Err(panic) = outcome {
                    failed.store(true, Ordering::Relaxed);
                    resume_unwind(panic);
                }
                if tells && told.elapsed() >= Duration::from_secs(10) {
                    told = Instant::now();
                    tell();
                }
            }
        };
        for _ in 1..runs.threads {
            scope.spawn(move || work(false));
        }
        work(true);
    });
    tell();
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

#[test]
fn planned() {
    soak(Kind::Planned);
}
