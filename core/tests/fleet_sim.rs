//! A fleet in which everything breaks: messages are lost, doubled, late and out of order, processes stop, die and come back, clocks
//! drift, connections part, and somebody lies. No byte is used again too early, and all come back in the end.
//!
//! Ten million steps by default. `STRANDLINE_ORACLE_OPERATIONS`, `_SECONDS` and `_SEED` are as for the programs of the pools; a failure
//! prints the seed.
#![cfg(all(feature = "fleet", not(loom)))]

#[path = "fleet_sim/dice.rs"]
mod dice;
#[path = "fleet_sim/faults.rs"]
mod faults;
#[path = "fleet_sim/load.rs"]
mod load;
#[path = "fleet_sim/oracle.rs"]
mod oracle;
#[path = "fleet_sim/plant.rs"]
mod plant;
#[path = "fleet_sim/process.rs"]
mod process;
#[path = "support/runs.rs"]
mod runs;
#[path = "support/split_mix.rs"]
mod split_mix;
#[path = "fleet_sim/world.rs"]
mod world;

use oracle::Verdict;
use plant::Plant;
use runs::Runs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use world::{Hits, MS, World};

/// Steps of one seed before everything heals.
const STEPS: u64 = 20_000;

/// What must have happened, or something was not tried.
const MUST: &[&str] = &[
    "after a wait",
    "call refused",
    "delay",
    "drop",
    "duplicate",
    "exhausted",
    "fenced",
    "forged",
    "fresh",
    "garbage",
    "held bytes came back",
    "joined",
    "key refused",
    "kill",
    "lease over",
    "leave",
    "lost",
    "over budget",
    "oversized",
    "owner restarted",
    "partition",
    "pause",
    "pause beyond the lease",
    "released with an unknown death",
    "reordered",
    "replaced",
    "restart",
    "returned",
    "reused by completion",
    "reused by dominance",
    "share",
    "told of a member that is gone",
    "told of free memory",
    "work done",
    "work skipped",
    "written by the owner",
];

/// The messages that an owner must have found wrong, and why.
fn count(world: &World, hits: &mut Hits) {
    let counters = world.owner.counters();
    for (what, number) in [
        ("counted: malformed", counters.malformed),
        ("counted: oversized", counters.oversized),
        ("counted: forged", counters.forged),
        ("counted: returned", counters.returned),
        ("counted: repeated", counters.repeated),
        ("counted: replayed", counters.replayed),
    ] {
        *hits.entry(what).or_default() += number;
    }
}

/// One seed: everything breaks, then everything heals, and everything comes back.
fn episode(seed: u64, plant: Plant) -> Verdict<(u64, Hits)> {
    let mut world = World::new(seed, plant);
    let fail = |world: &World, what: String| {
        format!("seed {seed}, step {}, {} ms: {what}", world.steps, world.now / MS)
    };
    while world.steps < STEPS {
        world.step().map_err(|what| fail(&world, what))?;
    }
    world.heal();
    let end = world.now + 20_000 * MS;
    loop {
        world.step().map_err(|what| fail(&world, what))?;
        if world.is_over() {
            break;
        }
        if world.now > end {
            return Err(fail(&world, format!("it does not come to an end: {}", world.stuck())));
        }
    }
    world.missing().map_err(|what| fail(&world, what))?;
    let mut hits = std::mem::take(&mut world.hits);
    count(&world, &mut hits);
    *hits.entry("touches").or_default() += world.oracle.touches;
    Ok((world.steps, hits))
}

#[test]
fn no_byte_is_used_too_early_and_all_come_back() {
    let runs = Runs::from_env(10_000_000);
    let (next, done) = (AtomicU64::new(runs.seed), AtomicU64::new(0));
    let (failed, all) = (AtomicBool::new(false), Mutex::new(Hits::new()));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..runs.threads {
            scope.spawn(|| {
                while !runs.are_over(begin.elapsed(), done.load(Ordering::Relaxed))
                    && !failed.load(Ordering::Relaxed)
                {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    match episode(seed, Plant::None) {
                        Ok((steps, hits)) => {
                            done.fetch_add(steps, Ordering::Relaxed);
                            let mut all = all.lock().unwrap();
                            for (what, number) in hits {
                                *all.entry(what).or_default() += number;
                            }
                        }
                        Err(what) => {
                            failed.store(true, Ordering::Relaxed);
                            panic!("{what}");
                        }
                    }
                }
            });
        }
    });
    let (all, done) = (all.into_inner().unwrap(), done.into_inner());
    println!("{done} steps in {:.1?}: {all:#?}", begin.elapsed());
    if done > 1_000_000 {
        let missed: Vec<_> = MUST.iter().filter(|what| !all.contains_key(**what)).collect();
        assert!(missed.is_empty(), "never happened: {missed:?}");
        let uncounted: Vec<_> = all
            .iter()
            .filter(|(what, number)| what.starts_with("counted") && **number == 0)
            .collect();
        assert!(uncounted.is_empty(), "{uncounted:?}");
    }
}

/// What the simulation says of a planted fault, over some seeds.
fn finds(plant: Plant, words: &[&str]) {
    if runs::scaled(2) == 1 {
        // Whether a fault is found no sanitizer can say.
        return;
    }
    // At any other scale: the first seeds need not have what shows the fault, and the search ends where it shows.
    let found = (1..=60).find_map(|seed| {
        std::panic::catch_unwind(|| episode(seed, plant))
            .unwrap_or_else(|_| Err("it panics".into()))
            .err()
    });
    let found = found.unwrap_or_else(|| panic!("{plant:?} was not found"));
    assert!(words.iter().any(|word| found.contains(word)), "{plant:?} was found as {found}");
}

macro_rules! plants {
    ($($name:ident: $plant:ident => $($word:literal)|*;)*) => {
        $(#[test] fn $name() { finds(Plant::$plant, &[$($word),*]); })*
    };
}

plants! {
    clocks_that_drift_more_than_allowed_are_found: Drift => "of which bytes went to";
    touching_without_asking_is_found: TouchUnasked => "of which bytes went to";
    a_renewal_that_was_not_acknowledged_is_found: AcknowledgeLatest => "of which bytes went to";
    a_fence_that_is_none_is_found: FenceUnfenced => "of which bytes went to";
    calls_that_are_done_twice_are_found: RenumberRetries => "never told of" | "is answered" | "come to an end";
    speaking_for_others_is_found: VouchForAll => "of which bytes went to" | "given out twice";
    epochs_that_run_ahead_are_found: RunAhead => "believes" | "of which bytes went to";
    sharing_without_word_is_found: ShareUnanswered => "of which bytes went to";
    writes_that_do_not_ask_for_the_key_are_found: WriteUnasked => "of which bytes went to";
    deaths_that_leave_out_uses_are_found: ForgetUses => "of which bytes went to";
}
