//! Rounds: every contender in turn, in rotating order, a few milliseconds each.
//!
//! A contender is a closure that performs a number of operations and says how long they took; it keeps
//! its state between rounds, so what is measured is the steady state. Before the first round each runs until its
//! pace is known, which also warms it up.

mod stopwatch;

use std::fmt;
use std::time::Duration;

pub use stopwatch::Stopwatch;

/// One of several ways to do the same work.
pub struct Contender {
    /// As in the table.
    pub name: String,
    /// Performs this many operations and returns the time they took.
    pub run: Box<dyn FnMut(u64) -> Duration>,
}

impl Contender {
    /// A contender.
    pub fn new(name: impl Into<String>, run: impl FnMut(u64) -> Duration + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

impl fmt::Debug for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contender").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A case: what several contenders do, and which of them the others are compared with.
pub struct Case {
    /// The work, for instance `tlsf pair`.
    pub group: &'static str,
    /// Its size, for instance `10k live`.
    pub name: String,
    /// What one operation is, for instance `pair`.
    pub unit: &'static str,
    /// Index of the contender that ratios refer to.
    pub reference: usize,
    /// Bounds that the project set itself.
    pub goals: Vec<Goal>,
    /// Makes the contenders; called only when the case is selected.
    pub contenders: Box<dyn FnOnce() -> Vec<Contender>>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("group", &self.group)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a contender's median must not exceed.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The contender's name.
    pub contender: String,
    /// The bound.
    pub bound: Bound,
}

/// A bound on a median.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// On the ratio to the reference.
    Ratio(f64),
    /// On the time of an operation in nanoseconds, for what can only be compared with numbers measured elsewhere,
    /// on a machine on which offset-allocator took as long as it does here.
    Nanoseconds(f64),
    /// On what an operation takes more than the reference's, in nanoseconds.
    More(f64),
}

impl Goal {
    /// `contender` takes at most `ratio` times as long as the reference.
    pub fn ratio(contender: impl Into<String>, ratio: f64) -> Self {
        Self { contender: contender.into(), bound: Bound::Ratio(ratio) }
    }

    /// An operation of `contender` takes at most `ns` nanoseconds.
    pub fn ns(contender: impl Into<String>, ns: f64) -> Self {
        Self { contender: contender.into(), bound: Bound::Nanoseconds(ns) }
    }

    /// An operation of `contender` takes at most `ns` nanoseconds more than one of the reference.
    pub fn more(contender: impl Into<String>, ns: f64) -> Self {
        Self { contender: contender.into(), bound: Bound::More(ns) }
    }
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds of a case.
    pub rounds: usize,
    /// Time of one contender in one round.
    pub slice: Duration,
}

impl Effort {
    /// What published numbers use: 41 rounds of 25 ms.
    pub const FULL: Self = Self { rounds: 41, slice: Duration::from_millis(25) };
    /// A look: 9 rounds of 8 ms.
    pub const QUICK: Self = Self { rounds: 9, slice: Duration::from_millis(8) };
}

/// Order statistics over rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Summary {
    /// Of at least one value; `None` of nothing.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: *values.get(values.len() / 2)?,
            min: *values.first()?,
            max: *values.last()?,
        })
    }
}

/// What one contender did.
#[derive(Clone, Debug)]
pub struct Row {
    /// The contender.
    pub name: String,
    /// Nanoseconds per operation.
    pub ns: Summary,
    /// Its time over the reference's, round by round.
    pub ratio: Summary,
    /// Nanoseconds per operation less the reference's, round by round.
    pub more: Summary,
    /// What its median must not exceed, if that is set.
    pub goal: Option<Bound>,
}

impl Row {
    /// Whether the goal is reached; `None` without one.
    #[must_use]
    pub fn reached(&self) -> Option<bool> {
        Some(match self.goal? {
            Bound::Ratio(bound) => self.ratio.median <= bound,
            Bound::Nanoseconds(bound) => self.ns.median <= bound,
            Bound::More(bound) => self.more.median <= bound,
        })
    }
}

/// A case, measured.
#[derive(Clone, Debug)]
pub struct Table {
    /// The case's group.
    pub group: &'static str,
    /// The case's name.
    pub case: String,
    /// What one operation is.
    pub unit: &'static str,
    /// Name of the reference.
    pub reference: String,
    /// One row per contender.
    pub rows: Vec<Row>,
}

/// Measures a case. With `only`, just the reference and the contenders whose names contain it. `None` when the
/// case has no contender.
#[must_use]
pub fn measure(case: Case, effort: Effort, only: Option<&str>) -> Option<Table> {
    let mut contenders = (case.contenders)();
    let reference = contenders.get(case.reference)?.name.clone();
    if let Some(only) = only {
        contenders.retain(|c| c.name == reference || c.name.contains(only));
    }
    let base = contenders.iter().position(|c| c.name == reference)?;
    let counts: Vec<u64> = contenders.iter_mut().map(|c| calibrate(c, effort.slice)).collect();
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
    for round in 0..effort.rounds {
        for turn in 0..contenders.len() {
            let i = (round + turn) % contenders.len();
            // The caches still hold what the one before used: a short run brings this one's back.
            (contenders[i].run)((counts[i] / 16).max(1));
            let time = (contenders[i].run)(counts[i]);
            times[i].push(time.as_nanos() as f64 / counts[i] as f64);
        }
    }
    let bases = times[base].clone();
    let rows = contenders.into_iter().zip(times).filter_map(|(contender, ns)| {
        let ratio = Summary::of(ns.iter().zip(&bases).map(|(a, b)| a / b).collect())?;
        let goal = case.goals.iter().find(|g| g.contender == contender.name).map(|g| g.bound);
        let more = Summary::of(ns.iter().zip(&bases).map(|(a, b)| a - b).collect())?;
        Some(Row { name: contender.name, ns: Summary::of(ns)?, ratio, more, goal })
    });
    let rows = rows.collect();
    Some(Table { group: case.group, case: case.name, unit: case.unit, reference, rows })
}

/// How many operations fill the slice.
fn calibrate(contender: &mut Contender, slice: Duration) -> u64 {
    let mut count = 1;
    loop {
        let time = (contender.run)(count);
        // Twice over the threshold: the first runs are the slowest, and a hiccup is not a pace.
        if time * 2 >= slice {
            let time = (contender.run)(count).max(Duration::from_nanos(1));
            let fill = count as f64 * slice.as_nanos() as f64 / time.as_nanos() as f64;
            return (fill as u64).max(1);
        }
        count *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ends() {
        let all = Summary::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(all, Some(Summary { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Summary::of(Vec::new()), None);
    }

    /// Contenders that only pretend: their ratio is exact, whatever the machine does.
    #[test]
    fn ratios_refer_to_the_reference() {
        let pretend = |name: &str, ns: u64| {
            Contender::new(name, move |count| Duration::from_nanos(ns * count))
        };
        let case = Case {
            group: "g",
            name: "c".into(),
            unit: "op",
            reference: 1,
            goals: vec![Goal::ratio("slow", 2.0), Goal::more("slower", 300.0)],
            contenders: Box::new(move || {
                vec![pretend("slow", 300), pretend("base", 100), pretend("slower", 400)]
            }),
        };
        let effort = Effort { rounds: 3, slice: Duration::from_millis(1) };
        let table = measure(case, effort, None).unwrap();
        assert_eq!(table.reference, "base");
        assert_eq!(table.rows[0].ratio, Summary { median: 3.0, min: 3.0, max: 3.0 });
        assert_eq!(table.rows[0].goal, Some(Bound::Ratio(2.0)));
        assert_eq!(table.rows[0].reached(), Some(false));
        assert_eq!(table.rows[1].ns.median, 100.0);
        assert_eq!(table.rows[2].more, Summary { median: 300.0, min: 300.0, max: 300.0 });
        assert_eq!(table.rows[2].reached(), Some(true));
    }
}
