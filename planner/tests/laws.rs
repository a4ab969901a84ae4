//! The laws of plans, over generated problems: sound always, optimal where the optimum is known, the same for a seed; and plan files
//! that were damaged or made to harm are refused.

use std::cell::Cell;
use strandline_planner::check::{Fault, check};
use strandline_planner::csv;
use strandline_planner::file::{PlanError, PlanFile};
use strandline_planner::streams::{Waits, frontiers, plan_streams};
use strandline_planner::{Lifetime, Options, Plan, Problem, Refused, plan};

/// Numbers for the tests: SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Cuts a rectangle of time and bytes into lifetimes: together they fill it, so its height is the optimum.
fn cut(numbers: &mut Numbers, times: u64, bytes: u64, pieces: usize, unit: u64) -> Vec<Lifetime> {
    let mut cuts = vec![(0, times, bytes)];
    let mut tries = 0;
    while cuts.len() < pieces && tries < pieces * 20 {
        tries += 1;
        let index = numbers.below(cuts.len() as u64) as usize;
        let (lower, upper, size) = cuts[index];
        if numbers.below(2) == 0 && upper - lower > 1 {
            let at = lower + 1 + numbers.below(upper - lower - 1);
            cuts[index] = (lower, at, size);
            cuts.push((at, upper, size));
        } else if size > unit {
            let part = unit * (1 + numbers.below(size / unit - 1));
            cuts[index] = (lower, upper, part);
            cuts.push((lower, upper, size - part));
        }
    }
    let block = |(lower, upper, size)| Lifetime { lower, upper, size, alignment: unit, stream: 0 };
    let mut blocks: Vec<Lifetime> = cuts.into_iter().map(block).collect();
    for index in (1..blocks.len()).rev() {
        blocks.swap(index, numbers.below(index as u64 + 1) as usize);
    }
    blocks
}

fn anything(numbers: &mut Numbers, count: usize, streams: u64) -> Vec<Lifetime> {
    (0..count)
        .map(|_| {
            let lower = numbers.below(200);
            let (long, large) = (1 << numbers.below(7), 1 << numbers.below(12));
            let alignment = [1, 1, 8, 64, 3][numbers.below(5) as usize];
            Lifetime {
                lower,
                upper: lower + 1 + numbers.below(long),
                size: 1 + numbers.below(large),
                alignment,
                stream: numbers.below(streams) as u32,
            }
        })
        .collect()
}

/// Plans with a number of questions instead of a clock.
fn within(problem: &Problem, seed: u64, enough: u64, questions: u64) -> Plan {
    let asked = Cell::new(0);
    plan(problem, &Options { seed, enough }, &|_| {
        asked.set(asked.get() + 1);
        asked.get() <= questions
    })
}

#[test]
fn plans_of_anything_are_sound_and_no_smaller_than_the_bound() {
    for seed in 0..300 {
        let mut numbers = Numbers(seed);
        let count = 1 + numbers.below(80) as usize;
        let blocks = anything(&mut numbers, count, 3);
        let problem = Problem::new(&blocks).expect("can be planned");
        for worker in 0..2 {
            let made = within(&problem, worker, 0, 60);
            check(&blocks, &made.offsets, made.bytes).unwrap_or_else(|fault| {
                panic!("seed {seed}, worker {worker}: {fault}");
            });
            assert!(made.bytes >= made.bound && made.bound >= problem.bound(), "seed {seed}");
            assert_eq!(made.optimal, made.bytes == made.bound, "seed {seed}");
            assert_eq!(made, within(&problem, worker, 0, 60), "seed {seed}: the same again");
        }
    }
}

#[test]
fn a_rectangle_cut_into_lifetimes_is_put_together_again() {
    // The sizes of minimalloc's problems: a capacity of 1 MiB in units of 512 bytes.
    let mut found = 0;
    for seed in 0..10 {
        let mut numbers = Numbers(1000 + seed);
        let blocks = cut(&mut numbers, 100, 1 << 20, 20 + 5 * seed as usize, 512);
        let problem = Problem::new(&blocks).expect("can be planned");
        assert_eq!(problem.bound(), 1 << 20, "every time is full");
        let made = within(&problem, 0, 0, 2000);
        check(&blocks, &made.offsets, made.bytes).expect("sound");
        assert_eq!(made.bound, 1 << 20, "seed {seed}: nothing above the optimum is proved");
        found += u32::from(made.optimal);
    }
    assert!(found >= 8, "{found} of 10 optima");
}

#[test]
fn exact_search_agrees_with_trying_every_order() {
    // First fit in the best of all orders is optimal: take an optimal plan's blocks by offset.
    fn best(blocks: &[Lifetime], placed: &mut Vec<(usize, u64)>, top: u64, least: &mut u64) {
        if top >= *least {
            return;
        }
        if placed.len() == blocks.len() {
            *least = top;
            return;
        }
        for number in 0..blocks.len() {
            if placed.iter().any(|&(other, _)| other == number) {
                continue;
            }
            let block = &blocks[number];
            let mut offset = 0;
            let mut ranges: Vec<(u64, u64)> = placed
                .iter()
                .filter(|&&(other, _)| blocks[other].overlaps(block))
                .map(|&(other, at)| (at, at + blocks[other].size))
                .collect();
            ranges.sort_unstable();
            for (start, end) in ranges {
                if offset + block.size > start {
                    offset = offset.max(end).next_multiple_of(block.alignment);
                }
            }
            placed.push((number, offset));
            best(blocks, placed, top.max(offset + block.size), least);
            placed.pop();
        }
    }
    let mut above = 0;
    for seed in 0..150 {
        let mut numbers = Numbers(7000 + seed);
        let blocks: Vec<Lifetime> = (0..7)
            .map(|_| {
                let lower = numbers.below(6);
                let upper = lower + 1 + numbers.below(4);
                let alignment = 1 + numbers.below(3);
                Lifetime { lower, upper, size: 1 + numbers.below(9), alignment, stream: 0 }
            })
            .collect();
        let mut least = u64::MAX;
        best(&blocks, &mut Vec::new(), 0, &mut least);
        let problem = Problem::new(&blocks).expect("can be planned");
        let made = within(&problem, 0, 0, 50_000);
        assert_eq!((made.bytes, made.optimal), (least, true), "seed {seed}: {blocks:?}");
        above += u32::from(least > problem.bound());
    }
    assert!(above > 5, "some optimum is above the most bytes live, or the proof is never needed");
}

#[test]
fn a_plan_that_is_good_enough_ends_the_search() {
    let blocks = cut(&mut Numbers(5), 100, 1 << 20, 120, 512);
    let problem = Problem::new(&blocks).expect("can be planned");
    let made = within(&problem, 0, 4 << 20, u64::MAX);
    assert!(made.bytes <= 4 << 20);
}

#[test]
fn parts_that_nothing_crosses_are_planned_apart() {
    let block = |lower, upper| Lifetime { lower, upper, size: 8, alignment: 1, stream: 0 };
    let problem = Problem::new(&[block(0, 4), block(4, 9), block(5, 8), block(9, 10)]);
    assert_eq!(problem.expect("can be planned").parts_by_time(), 3);
}

#[test]
fn the_checker_sees_each_fault() {
    let block =
        |lower, upper, size, alignment| Lifetime { lower, upper, size, alignment, stream: 0 };
    let blocks = [block(0, 2, 8, 4), block(1, 3, 8, 1)];
    assert_eq!(check(&blocks, &[0, 8], 16), Ok(()));
    assert_eq!(check(&blocks, &[0], 16), Err(Fault::Count));
    assert_eq!(check(&blocks, &[2, 10], 18), Err(Fault::Alignment(0)));
    assert_eq!(check(&blocks, &[0, 9], 16), Err(Fault::Beyond(1)));
    assert_eq!(check(&blocks, &[0, u64::MAX], 16), Err(Fault::Beyond(1)));
    assert_eq!(check(&blocks, &[0, 7], 16), Err(Fault::Overlap(0, 1)));
    assert_eq!(check(&blocks, &[4, 0], 16), Err(Fault::Overlap(1, 0)));
}

#[test]
fn what_cannot_be_planned_is_refused() {
    let good = Lifetime { lower: 0, upper: 1, size: 1, alignment: 1, stream: 0 };
    let refused = |bad: Lifetime| Problem::new(&[good, bad]).map(|_| ());
    assert_eq!(refused(Lifetime { upper: 0, ..good }), Err(Refused::EmptyLifetime(1)));
    assert_eq!(refused(Lifetime { size: 0, ..good }), Err(Refused::NoBytes(1)));
    assert_eq!(refused(Lifetime { alignment: 0, ..good }), Err(Refused::NoAlignment(1)));
    assert_eq!(refused(Lifetime { size: u64::MAX, ..good }), Err(Refused::TooManyBytes(1)));
    assert!(Problem::new(&[]).is_ok());
}

#[test]
fn without_waits_no_bytes_go_from_stream_to_stream() {
    for seed in 0..100 {
        let blocks = anything(&mut Numbers(300 + seed), 40, 3);
        let few = || {
            let left = Cell::new(200);
            move |_| {
                left.set(left.get() - 1);
                left.get() > 0
            }
        };
        let apart =
            plan_streams(&blocks, Waits::Forbidden, &Options::default(), &few()).expect("ok");
        check(&blocks, &apart.offsets, apart.bytes).expect("sound");
        assert!(frontiers(&blocks, &apart.offsets).iter().all(Vec::is_empty), "seed {seed}");
        let free =
            plan_streams(&blocks, Waits::Priced(0), &Options::default(), &few()).expect("ok");
        let dear =
            plan_streams(&blocks, Waits::Priced(1 << 40), &Options::default(), &few()).expect("ok");
        assert!(free.bytes <= apart.bytes);
        assert!(frontiers(&blocks, &dear.offsets).iter().all(Vec::is_empty), "seed {seed}");
    }
}

#[test]
fn a_plan_states_every_death_that_it_assumes() {
    for seed in 0..100 {
        let blocks = anything(&mut Numbers(600 + seed), 60, 3);
        let problem = Problem::new(&blocks).expect("can be planned");
        let made = within(&problem, 0, 0, 10);
        let after = frontiers(&blocks, &made.offsets);
        let mut order: Vec<usize> = (0..blocks.len()).collect();
        order.sort_by_key(|&number| blocks[number].lower);
        // What each block knows to be over when it begins: all earlier blocks of its stream, what those knew, what it waits for, and
        // what those knew. Whatever had its bytes before must be among that.
        let mut known: Vec<Vec<bool>> = vec![Vec::new(); blocks.len()];
        for (place, &number) in order.iter().enumerate() {
            let mut knows = vec![false; blocks.len()];
            let earlier =
                order[..place].iter().filter(|&&o| blocks[o].stream == blocks[number].stream);
            let waits = after[number].iter().map(|&other| other as usize);
            for &other in &after[number] {
                assert!(blocks[other as usize].upper <= blocks[number].lower, "seed {seed}");
            }
            for source in earlier.copied().chain(waits) {
                knows[source] = true;
                for (fact, &its) in knows.iter_mut().zip(&known[source]) {
                    *fact |= its;
                }
                // A queue is in order: where this is over, what ended before it on its stream is over too.
                for (other, block) in blocks.iter().enumerate() {
                    let that = &blocks[source];
                    knows[other] |= block.stream == that.stream
                        && block.upper <= that.upper.min(blocks[number].lower);
                }
            }
            // Who knows of a death knows what that block knew.
            for other in 0..blocks.len() {
                if knows[other] && !known[other].is_empty() {
                    for (fact, &its) in knows.iter_mut().zip(&known[other]) {
                        *fact |= its;
                    }
                }
            }
            let bytes = |n: usize| made.offsets[n]..made.offsets[n] + blocks[n].size;
            for &other in &order[..place] {
                let (a, b) = (bytes(number), bytes(other));
                let shared = a.start < b.end && b.start < a.end;
                let own = blocks[other].stream == blocks[number].stream;
                assert!(
                    !shared || own || knows[other],
                    "seed {seed}: {number} takes what {other} had"
                );
            }
            known[number] = knows;
        }
    }
}

fn a_plan(seed: u64, streams: u64) -> PlanFile {
    let blocks = anything(&mut Numbers(seed), 50, streams);
    let problem = Problem::new(&blocks).expect("can be planned");
    let made = within(&problem, 0, 0, 10);
    PlanFile::new(&blocks, &made.offsets, made.bytes, made.bound)
}

#[test]
fn plan_files_come_back_and_are_compact() {
    for seed in 0..100 {
        let plan = a_plan(900 + seed, 1 + seed % 3);
        let file = plan.encode();
        assert_eq!(PlanFile::decode(&file).as_ref(), Ok(&plan), "seed {seed}");
        assert_eq!(PlanFile::decode(plan.to_text().as_bytes()), Ok(plan.clone()), "seed {seed}");
        assert!(file.len() <= 40 + 24 * plan.blocks.len(), "{} bytes", file.len());
    }
}

#[test]
fn damaged_plan_files_are_refused() {
    let file = a_plan(1, 3).encode();
    for end in 0..file.len() {
        assert!(PlanFile::decode(&file[..end]).is_err(), "cut at {end}");
    }
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut bad = file.clone();
            bad[at] ^= 1 << bit;
            assert!(PlanFile::decode(&bad).is_err(), "bit {bit} of byte {at}");
        }
    }
    let text = a_plan(1, 3).to_text();
    for end in 0..text.len() - 1 {
        // A number that lost its last digits may still make a sound plan; nothing panics.
        let _ = PlanFile::decode(&text.as_bytes()[..end]);
    }
}

#[test]
fn hostile_plans_are_refused_with_the_reason() {
    let plan = a_plan(2, 1);
    let refused = |change: &dyn Fn(&mut PlanFile)| {
        let mut bad = plan.clone();
        change(&mut bad);
        // As a file with a right checksum, and as text.
        let (a, b) = (PlanFile::decode(&bad.encode()), PlanFile::decode(bad.to_text().as_bytes()));
        assert_eq!(a.is_err(), b.is_err());
        a.expect_err("hostile")
    };
    let last = plan.blocks.len() - 1;
    assert!(matches!(refused(&|p| p.blocks[3].offset = u64::MAX), PlanError::Unsound(_)));
    assert!(matches!(refused(&|p| p.bytes -= 1), PlanError::Unsound(_) | PlanError::Number(_)));
    assert!(matches!(refused(&|p| p.blocks[0].until = last as u32 + 2), PlanError::Until(0)));
    assert!(matches!(refused(&|p| p.blocks[0].size = 0), PlanError::Block(_)));
    assert!(matches!(refused(&|p| p.blocks[0].alignment = 0), PlanError::Block(_)));
    assert!(matches!(refused(&|p| p.blocks[2].after = vec![2]), PlanError::After(2)));
    assert!(matches!(refused(&|p| p.bound = p.bytes + 1), PlanError::Number(_)));
    let together = |p: &mut PlanFile| {
        for block in &mut p.blocks {
            block.offset = 0;
        }
    };
    assert!(matches!(refused(&together), PlanError::Unsound(Fault::Overlap(..))));
    // 2^32 blocks in a few bytes: refused before memory is taken.
    let mut many = b"STRANDPL\x01".to_vec();
    many.extend([0x80, 0x80, 0x80, 0x80, 0x10, 0, 0]);
    many.extend([0; 40]);
    assert_eq!(PlanFile::decode(&many), Err(PlanError::Truncated));
    assert_eq!(PlanFile::decode(b"id,lower,upper,size"), Err(PlanError::NoPlan));
    assert_eq!(PlanFile::decode(b"STRANDPL\x02"), Err(PlanError::Version(2)));
    for seed in 0..20_000 {
        let mut numbers = Numbers(seed);
        let mut bad = b"STRANDPL\x01".to_vec();
        bad.extend((0..numbers.below(60)).map(|_| numbers.next() as u8 & 0x83));
        assert!(PlanFile::decode(&bad).is_err());
    }
}

#[test]
fn minimallocs_csv_is_read_and_written() {
    let text = "id,lower,upper,size,alignment\nb1,0,3,4,1\nb2,3,9,4,8\n";
    let rows = csv::read(text).expect("a problem");
    let written = csv::write(&rows, &[0, 8]);
    assert_eq!(written, "id,lower,upper,size,alignment,offset\nb1,0,3,4,1,0\nb2,3,9,4,8,8\n");
    assert_eq!(csv::read(&written), Ok(rows));
    // `end` is the last time of use.
    assert_eq!(
        rows_of("id,lower,upper,size,gaps,alignmnt\na,0,2,8,1-2,64\n"),
        ["gaps", "alignmnt"]
    );
    let old = csv::read("buffer_id,start,end,size\n7,0,0,4\n").expect("a problem");
    assert_eq!((old.lifetimes[0].lower, old.lifetimes[0].upper), (0, 1));
    // Through a spreadsheet, and without a header.
    let quoted =
        csv::read("\u{feff}\"id\",\"lower\",\"upper\",\"size\"\r\n\"7\",\"0\",\"1\",\"4\"\r\n");
    let bare = csv::read("7,0,1,4\n").expect("a problem");
    assert_eq!((quoted.expect("a problem"), &bare.lifetimes), (bare.clone(), &old.lifetimes));
    let fault = |text| csv::read(text).expect_err("a fault").to_string();
    assert_eq!(fault("id,lower,size\n"), "line 1: no column `upper` in the header");
    assert!(fault("id,lower,upper,size\na,0,1,8\nb,0,x,8\n").starts_with("line 3: upper is \"x\""));
    assert!(fault("id,lower,upper,size\na,4,4,8\n").starts_with("line 2"));
    assert!(fault("id,lower,upper,size\na,0,1,-8\n").starts_with("line 2"));
}

#[test]
fn equal_blocks_are_placed_at_once_and_optimally() {
    for seed in 0..50 {
        let mut blocks = anything(&mut Numbers(40 + seed), 200, 1);
        for block in &mut blocks {
            (block.size, block.alignment) = (100, 64);
        }
        let problem = Problem::new(&blocks).expect("can be planned");
        let made = within(&problem, 0, 0, 0);
        check(&blocks, &made.offsets, made.bytes).expect("sound");
        assert!(made.optimal, "seed {seed}");
        let most = problem.bound() / 100;
        assert_eq!(made.bytes, (most - 1) * 128 + 100);
    }
}

fn rows_of(text: &str) -> Vec<String> {
    csv::read(text).expect("a problem").passed_over
}

/// A plan file keeps its waits, and is refused when one is missing.
#[test]
fn a_plan_file_without_one_of_its_waits_is_refused() {
    let mut removed = 0;
    for seed in 0..60 {
        let blocks = anything(&mut Numbers(900 + seed), 40, 3);
        let problem = Problem::new(&blocks).expect("can be planned");
        let made = within(&problem, 0, 0, 10);
        let file = PlanFile::new(&blocks, &made.offsets, made.bytes, made.bound);
        for written in [file.encode(), file.to_text().into_bytes()] {
            let read = PlanFile::decode(&written).expect("a plan of our own");
            assert_eq!(read, file, "seed {seed}");
            assert_eq!(read.encode(), file.encode(), "seed {seed}");
        }
        for block in 0..file.blocks.len() {
            if file.blocks[block].after.is_empty() {
                continue;
            }
            let mut without = file.clone();
            without.blocks[block].after.clear();
            let refused = PlanFile::decode(&without.encode());
            // Of several that end by the same request a later wait may cover this one.
            if let Err(error) = refused {
                assert!(matches!(error, PlanError::Unwaited(..)), "seed {seed}: {error}");
                removed += 1;
            }
        }
    }
    assert!(removed > 100, "{removed}");
}
