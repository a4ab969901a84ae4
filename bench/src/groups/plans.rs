//! `plans`: what a planned pool needs when the step that it plays is not quite the one that was planned.
//!
//! A shipped trace is one step, planned once. Then 0.1, 1 and 5 % of its requests are inserted, dropped, resized or swapped, for several
//! seeds, and each of those programs is played by three pools: the planned one, one that follows the same plan [by ordinal](ordinal), and
//! the default TLSF pool. Bytes are counted and no times, so the table is the same on every machine, however busy.
//!
//! Two rows for each share of changes. The first is what the planned pool holds at its peak over what it holds in the unchanged step, or, where
//! the changed one has more live bytes, over as much more; the second is what it holds over what TLSF holds. Each is the worst of the seeds;
//! the details have all, over the peak of live bytes. A pool that follows a plan has the plan's bytes from the first request on, so where a request of
//! the peak is dropped it holds what it held, and a TLSF pool less.

mod ordinal;
mod perturb;

use crate::figures::{Count, Figure};
use ordinal::Ordinal;
use perturb::{Kind, Op, perturb};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use strandline_core::pool_set::{Need, SetAcquire};
use strandline_core::{Acquire, Death, Request};
use strandline_planner::file::PlanFile;
use strandline_planner::{Lifetime, Options, Problem};
use strandline_replay::build::{self, Backing, Sizes};
use strandline_replay::config::{Config, Kind as PoolKind, PoolSpec};
use strandline_replay::format::ReadOptions;
use strandline_replay::lifetimes;
use strandline_replay::planned::{Plan, PlanBlock, Planned};
use strandline_replay::session::TraceFile;
use strandline_replay::streams::Streams;

/// The traces: each is taken as one step.
const TRACES: [&str; 4] = ["resnet50_train", "bert_train", "vit_infer", "gpt2_generate"];

/// Of a thousand requests so many are changed, and what that may cost.
const CHANGES: [(u64, f64); 3] = [(1, 1.01), (10, 1.02), (50, 1.05)];

const SEEDS: u64 = 5;

/// Blocks stand at multiples of this.
const ALIGNMENT: u64 = build::DEFAULT_GRANULE;

/// Questions of the planner whether to go on: greedy plans alone meet the bound of these traces.
const ROUNDS: u32 = 20_000;

pub(super) fn cases() -> impl Iterator<Item = Count> {
    TRACES.into_iter().map(|name| Count {
        group: "plans",
        name: format!("{name}, changed"),
        count: Box::new(move || rows(name).map_err(|error| error.to_string())),
    })
}

type Failed = Box<dyn std::error::Error>;

fn rows(name: &str) -> Result<Vec<Figure>, Failed> {
    let trace = TraceFile::new(super::packing::path(name), ReadOptions::default());
    let (blocks, _) = lifetimes::of(&trace)?;
    let life = |block: &lifetimes::BlockLife| Lifetime {
        lower: block.lower,
        upper: block.upper,
        size: block.size,
        alignment: ALIGNMENT,
        stream: block.stream,
    };
    let step = Step::new(blocks.iter().map(life).collect())?;
    let mut rows = Vec::new();
    for (per_mille, goal) in CHANGES {
        let runs: Vec<Compared> = (1..=SEEDS)
            .map(|seed| step.compare(per_mille, &Kind::ALL, seed))
            .collect::<Result<_, _>>()?;
        let percent = per_mille as f64 / 10.0;
        let row = |name: &str, ratio: fn(&Compared) -> f64, goal: f64| Figure {
            name: format!("{percent} %: {name}"),
            ratio: runs.iter().map(ratio).fold(0.0, f64::max),
            detail: runs.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            sound: true,
            goal: Some(goal),
        };
        rows.push(row("planned, over unchanged", Compared::over_unchanged, goal));
        rows.push(row("planned, over TLSF", Compared::over_tlsf, 1.01));
    }
    Ok(rows)
}

/// A step and its plan.
struct Step {
    ops: Vec<Op>,
    plan: Plan,
    /// Bytes that the pool which follows the plan holds where nothing is changed, and the most that are live.
    unchanged: (f64, f64),
}

/// What three pools held at their peaks, over the peak of live bytes.
#[derive(Clone, Copy, Debug)]
struct Compared {
    /// What is to be held: as much as in the unchanged step, or as much more as is live.
    unchanged: f64,
    planned: f64,
    by_ordinal: f64,
    tlsf: f64,
    hits: f64,
    hits_by_ordinal: f64,
}

impl Compared {
    fn over_unchanged(&self) -> f64 {
        self.planned / self.unchanged
    }

    fn over_tlsf(&self) -> f64 {
        self.planned / self.tlsf
    }
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |ratio: f64| (ratio - 1.0) * 100.0;
        write!(
            f,
            "planned {:+.2} % ({:.2} % in place), by ordinal {:+.2} % ({:.2} %), tlsf {:+.2} %",
            percent(self.planned),
            self.hits * 100.0,
            percent(self.by_ordinal),
            self.hits_by_ordinal * 100.0,
            percent(self.tlsf),
        )
    }
}

impl Step {
    fn new(lifetimes: Vec<Lifetime>) -> Result<Self, Failed> {
        let problem = Problem::new(&lifetimes)?;
        let rounds = Cell::new(0);
        let go_on = |_| {
            rounds.set(rounds.get() + 1);
            rounds.get() < ROUNDS
        };
        let made = strandline_planner::plan(&problem, &Options::default(), &go_on);
        let file = PlanFile::new(&lifetimes, &made.offsets, made.bytes, made.bound);
        let blocks = file.blocks.iter().map(|block| PlanBlock {
            offset: block.offset,
            size: block.size,
            alignment: block.alignment,
            stream: block.stream,
            until: block.until,
        });
        let plan = Plan::new(file.bytes, blocks.collect())?;
        let mut step = Self { ops: perturb::ops(&lifetimes), plan, unchanged: (0.0, 0.0) };
        step.unchanged = (step.planned(&step.ops)?.0 as f64, perturb::peak(&step.ops) as f64);
        Ok(step)
    }

    /// What the pools hold when so many of a thousand requests are changed.
    fn compare(&self, per_mille: u64, kinds: &[Kind], seed: u64) -> Result<Compared, Failed> {
        let ops = perturb(&self.ops, per_mille, kinds, seed);
        let live = perturb::peak(&ops) as f64;
        let (planned, hits) = self.planned(&ops)?;
        let mut ordinal = Ordinal::new(&self.plan);
        let mut beside = Player::new(&Backing::numbers(None))?;
        for &op in &ops {
            if !ordinal.play(op) {
                beside.play(op)?;
            }
        }
        let by_ordinal = ordinal.bytes() + beside.peak();
        let mut tlsf = Player::new(&Backing::numbers(None))?;
        ops.iter().try_for_each(|&op| tlsf.play(op))?;
        Ok(Compared {
            unchanged: self.unchanged.0 / live.min(self.unchanged.1),
            planned: planned as f64 / live,
            by_ordinal: by_ordinal as f64 / live,
            tlsf: tlsf.peak() as f64 / live,
            hits,
            hits_by_ordinal: ordinal.share(),
        })
    }

    /// The most bytes that a planned pool held, and the share of requests that stood where the plan has them.
    fn planned(&self, ops: &[Op]) -> Result<(u64, f64), Failed> {
        let maker = Arc::new(Planned::new(self.plan.clone()));
        let mut player = Player::new(&Backing::numbers(None).made_by(maker.clone()))?;
        ops.iter().try_for_each(|&op| player.play(op))?;
        let stats = maker.stats().ok_or("no pool was made")?;
        Ok((player.peak(), stats.plan_hit_share()))
    }
}

/// Plays operations to a pool whose frees are over when they are said.
struct Player {
    pools: strandline_replay::pools::Pools,
    live: HashMap<u32, strandline_core::Reservation>,
}

impl Player {
    fn new(backing: &Backing) -> Result<Self, Failed> {
        let config = Config { pools: vec![PoolSpec::of(PoolKind::Tlsf)], ..Config::default() };
        let progress = Streams::new(1, 0, None)?.progress();
        let pools = build::pools(&config, Sizes::default(), backing, &progress)?;
        Ok(Self { pools, live: HashMap::new() })
    }

    fn play(&mut self, op: Op) -> Result<(), Failed> {
        match op {
            Op::Acquire { block, size } => {
                let request = Request::new(size).or_grow();
                let answer = self.pools.set().acquire(&Need::new(size), &request)?;
                let SetAcquire::Routed { answer: Acquire::Ready { reservation, .. }, .. } = answer
                else {
                    return Err(format!("block {block} of {size} bytes: {answer:?}").into());
                };
                self.live.insert(block, reservation);
            }
            Op::Release { block } => {
                if let Some(reservation) = self.live.remove(&block) {
                    self.pools
                        .set()
                        .release(reservation, Death::Idle)
                        .map_err(|error| format!("block {block}: {error:?}"))?;
                }
            }
        }
        Ok(())
    }

    fn peak(&self) -> u64 {
        self.pools.stats().peak_committed_bytes
    }
}

#[cfg(test)]
mod tests;
