//! Where the steps of a trace begin: by the marks that the program set, or else where the same requests come again and as much is live.
//!
//! ```text
//!   requests   s e t u p │ a b c d e f │ a b c d e f │ a b x d e f │ a b …     "b c d e" comes once a step, at equal distances:
//!   live                 ▂▅█▇▅▃        ▂▅█▇▅▃        ▂▅█▇▅▃        ▂           of such places the one with the least live bytes
//! ```
//!
//! A loop inside a step (layers, most often) repeats as well. Its turns are no steps of their own where memory grows from turn to turn, as
//! activations do that wait for the backward pass. A step is as long as it is: those that follow may have some requests more or less.
//!
//! Cost: O(n log n) for n requests. Memory: 40 bytes a request.

use crate::validate::{Step, What};
use std::collections::{BTreeMap, HashMap};

/// So many requests in a row tell where in a step one is.
const GRAM: usize = 4;
/// The fewest requests of a step that is found by itself.
const LEAST: usize = 8;
/// Sets of places that are looked at closely.
const LOOKS: usize = 32;
/// Steps that follow each other have this share of their requests in common, on average.
const ALIKE: f64 = 0.5;
/// Steps are this share of the trace.
const COVERED: f64 = 0.25;
/// What is live at the ends of most steps differs by at most this share of the bytes that the step adds.
const BALANCE: f64 = 0.1;

/// How steps were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The trace has marks.
    Marks,
    /// The requests repeat.
    Requests,
}

impl By {
    /// A word for reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Marks => "marks",
            Self::Requests => "requests",
        }
    }
}

/// Where steps begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Positions in the trace's steps, ascending: at least two, and the end of the last whole one.
    pub cuts: Vec<usize>,
    /// How they were found.
    pub by: By,
}

/// Finds them: `lines` are those of the marks. `None`: no step repeats.
#[must_use]
pub fn find(trace: &[Step], lines: &[u32]) -> Option<Steps> {
    let cuts = at_marks(trace, lines);
    if cuts.len() >= 2 {
        return Some(Steps { cuts, by: By::Marks });
    }
    Some(Steps { cuts: by_requests(trace)?, by: By::Requests })
}

/// The positions of marks, each once.
fn at_marks(trace: &[Step], lines: &[u32]) -> Vec<usize> {
    // Blocks from before the trace come first, out of the order of the lines.
    let descent = trace.windows(2).rposition(|pair| pair[0].line > pair[1].line);
    let from = descent.map_or(0, |at| at + 1);
    let place = |line| from + trace[from..].partition_point(|step| step.line < line);
    let mut cuts: Vec<usize> = lines.iter().map(|&line| place(line)).collect();
    cuts.dedup();
    cuts
}

/// A request, as far as steps are found by it.
struct Request {
    /// In the trace's steps.
    at: usize,
    size: u64,
    stream: u32,
    /// Bytes live before it.
    live: u64,
}

fn requests(trace: &[Step]) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut live = 0_u64;
    for (at, step) in trace.iter().enumerate() {
        match step.what {
            What::Alloc(_) | What::Held(_) => {
                requests.push(Request { at, size: step.size, stream: step.stream, live });
                live += step.size;
            }
            What::Free(_) => live -= step.size,
            What::Retire(_) | What::Failure => {}
        }
    }
    requests
}

/// Equal for equal requests, the same in every run.
fn hash(gram: &[Request]) -> u64 {
    let mix =
        |sum: u64, number: u64| (sum.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    gram.iter().fold(0, |sum, request| mix(mix(sum, request.size), request.stream.into()))
}

/// Places of the same requests at about equal distances, and the end of the trace where the last of them is followed by a whole step: in
/// numbers of requests. `None` where they are not.
fn regular(places: &[usize], end: usize) -> Option<(usize, Vec<usize>)> {
    let mut gaps: Vec<usize> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let (least, middle, most) = (*gaps.first()?, *gaps.get(gaps.len() / 2)?, *gaps.last()?);
    let spread = middle / 4 + 4;
    if middle < LEAST || most > middle + spread || least + spread < middle {
        return None;
    }
    let mut cuts = places.to_vec();
    let tail = end - places.last()?;
    if tail * 10 >= middle * 9 && tail <= middle + spread {
        cuts.push(end);
    }
    (cuts.len() > 2).then_some((middle, cuts))
}

fn by_requests(trace: &[Step]) -> Option<Vec<usize>> {
    let requests = requests(trace);
    let grams: Vec<u64> = requests.windows(GRAM).map(hash).collect();
    let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
    for (at, &gram) in grams.iter().enumerate() {
        places.entry(gram).or_default().push(at);
    }
    // Sets of cuts that are alike, by number and distance: of each the one with the least live bytes, and how many there are.
    let live = |cuts: &[usize]| -> u64 {
        let inner = cuts.iter().filter_map(|&cut| requests.get(cut));
        let (sum, count) = inner.fold((0_u128, 0), |(sum, n), r| (sum + u128::from(r.live), n + 1));
        (sum / u128::from(1_u64.max(count))) as u64
    };
    let mut sets: BTreeMap<(usize, usize), (u64, Vec<usize>, usize)> = BTreeMap::new();
    for places in places.values() {
        let Some((distance, cuts)) = regular(places, requests.len()) else { continue };
        let set = sets.entry((places.len(), distance)).or_insert_with(|| (u64::MAX, Vec::new(), 0));
        set.2 += 1;
        // The same requests follow at each: the step may as well begin between them.
        for later in 0..GRAM {
            let end = requests.len();
            let shift = |&cut: &usize| if cut == end { end } else { cut + later };
            let cuts: Vec<usize> = cuts.iter().map(shift).collect();
            let new = (live(&cuts), cuts);
            if (new.0, &new.1) < (set.0, &set.1) {
                (set.0, set.1) = new;
            }
        }
    }
    let mut sets: Vec<_> = sets.into_iter().collect();
    sets.sort_by_key(|((count, _), (.., members))| core::cmp::Reverse(count * members));
    sets.truncate(LOOKS);
    let peak = requests.iter().map(|request| request.live + request.size).max()?;
    let judge = |(live, cuts): (u64, Vec<usize>)| {
        let covered = share(cuts.last()? - cuts.first()?, requests.len());
        let alike = alike(&grams, &cuts);
        let is_step = alike >= ALIKE && covered >= COVERED && is_balanced(&requests, &cuts);
        // Where least is live a step is whole.
        let rank = alike * covered * (peak - live) as f64;
        is_step.then_some((rank, cuts))
    };
    let judged = sets.into_iter().filter_map(|(_, (live, cuts, _))| judge((live, cuts)));
    let (_, cuts) = judged.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    let place = |cut: usize| requests.get(cut).map_or(trace.len(), |request| request.at);
    Some(cuts.into_iter().map(place).collect())
}

fn share(part: usize, of: usize) -> f64 {
    part as f64 / of.max(1) as f64
}

/// How much of a step the next one has, in the same order: the average.
fn alike(grams: &[u64], cuts: &[usize]) -> f64 {
    let step = |at: usize| &grams[cuts[at].min(grams.len())..cuts[at + 1].min(grams.len())];
    let pairs = cuts.len() - 2;
    let alike = |at: usize| {
        let (one, next) = (step(at), step(at + 1));
        let mut left: HashMap<u64, usize> = HashMap::new();
        one.iter().for_each(|&gram| *left.entry(gram).or_default() += 1);
        let common = next.iter().filter(|gram| match left.get_mut(gram) {
            Some(count @ 1..) => {
                *count -= 1;
                true
            }
            _ => false,
        });
        share(2 * common.count(), one.len() + next.len())
    };
    (0..pairs).map(alike).sum::<f64>() / pairs.max(1) as f64
}

/// Most steps end with about as many live bytes as they began with.
fn is_balanced(requests: &[Request], cuts: &[usize]) -> bool {
    // The state behind the last request is not that before one: such a step tells nothing.
    let whole = cuts.windows(2).filter(|pair| pair[1] < requests.len());
    let (mut balanced, mut all) = (0, 0);
    for pair in whole {
        let (from, to) = (requests[pair[0]].live, requests[pair[1]].live);
        let step = &requests[pair[0]..pair[1]];
        let most = step.iter().map(|request| request.live + request.size).max().unwrap_or(0);
        let own = most.saturating_sub(from.min(to));
        balanced += usize::from(from.abs_diff(to) as f64 <= own as f64 * BALANCE);
        all += 1;
    }
    // The first step may keep what later ones find: the state of an optimizer.
    all > 0 && balanced * 2 >= all && balanced > 0
}

#[cfg(test)]
mod tests;
