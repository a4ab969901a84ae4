//! A timeline of bounded size that keeps every minimum and maximum.
//!
//! ```text
//!   samples   ││││││││││││││││││││││││││││││││     one an event
//!   buckets   └──┬──┘└──┬──┘└──┬──┘└──┬──┘          each: first event, and min and max of every value
//!                └── full? pairs are joined and every bucket covers twice as many ──┘
//! ```
//!
//! However long the run, a timeline holds at most [`BUCKETS`] buckets, so a picture of it has at most twice as many
//! points a line, and no spike is ever lost. Cost: O(1) a sample, amortized.

/// Most buckets of a timeline.
pub const BUCKETS: usize = 1000;

/// What one sample holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Bytes of slabs held.
    pub committed: u64,
    /// Bytes in live reservations, padding included.
    pub reserved: u64,
    /// Bytes that the live blocks asked for.
    pub live: u64,
    /// Free bytes whose last use is not over.
    pub pending: u64,
    /// Slabs held.
    pub slabs: u64,
}

impl Sample {
    fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            committed: f(self.committed, other.committed),
            reserved: f(self.reserved, other.reserved),
            live: f(self.live, other.live),
            pending: f(self.pending, other.pending),
            slabs: f(self.slabs, other.slabs),
        }
    }
}

/// Consecutive samples, summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The event of its first sample.
    pub event: u64,
    /// The least of each value.
    pub min: Sample,
    /// The most of each value.
    pub max: Sample,
    /// The last sample.
    pub last: Sample,
}

/// Samples over the events of a run.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    buckets: Vec<Bucket>,
    /// Samples that a bucket takes; a power of two, or 0 before the first.
    stride: u64,
    /// Samples in the last bucket.
    filled: u64,
    last_event: u64,
}

impl Timeline {
    /// An empty timeline.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The buckets in order of events.
    #[must_use]
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The event of the last sample, 0 when there is none.
    #[must_use]
    pub const fn last_event(&self) -> u64 {
        self.last_event
    }

    /// The most of each value over the whole run.
    #[must_use]
    pub fn max(&self) -> Sample {
        self.buckets.iter().fold(Sample::default(), |max, bucket| max.zip(bucket.max, u64::max))
    }

    /// Adds the sample taken after `event`. Events must not go back.
    #[inline]
    pub fn push(&mut self, event: u64, sample: Sample) {
        self.last_event = event;
        if self.filled < self.stride
            && let Some(bucket) = self.buckets.last_mut()
        {
            bucket.min = bucket.min.zip(sample, u64::min);
            bucket.max = bucket.max.zip(sample, u64::max);
            bucket.last = sample;
            self.filled += 1;
            return;
        }
        if self.buckets.len() == BUCKETS {
            self.halve();
        }
        self.stride = self.stride.max(1);
        self.buckets.push(Bucket { event, min: sample, max: sample, last: sample });
        self.filled = 1;
    }

    /// Joins pairs of buckets. All are full when this is called, so the joined ones are too.
    fn halve(&mut self) {
        let mut half = Vec::with_capacity(BUCKETS);
        for pair in self.buckets.chunks(2) {
            half.push(pair[1..].iter().fold(pair[0], |joined, next| Bucket {
                event: joined.event,
                min: joined.min.zip(next.min, u64::min),
                max: joined.max.zip(next.max, u64::max),
                last: next.last,
            }));
        }
        self.buckets = half;
        self.stride *= 2;
    }
}

const _: () = assert!(BUCKETS.is_multiple_of(2), "pairs must come out even");

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(live: u64) -> Sample {
        Sample { live, committed: 7, ..Sample::default() }
    }

    #[test]
    fn no_extreme_is_lost_and_the_size_is_bounded() {
        let mut timeline = Timeline::new();
        for event in 1..=1_000_003u64 {
            let live = match event {
                500_000 => 0,
                700_001 => 1_000_000,
                _ => 500 + event % 10,
            };
            timeline.push(event, sample(live));
            assert!(timeline.buckets().len() <= BUCKETS);
        }
        assert!(timeline.buckets().len() >= BUCKETS / 2);
        assert_eq!(timeline.max(), Sample { live: 1_000_000, committed: 7, ..Sample::default() });
        let holding = |event| {
            let at = timeline.buckets().partition_point(|bucket| bucket.event <= event) - 1;
            timeline.buckets()[at]
        };
        assert_eq!(holding(500_000).min.live, 0);
        assert_eq!(holding(700_001).max.live, 1_000_000);
        assert_eq!(timeline.last_event(), 1_000_003);
        assert_eq!(timeline.buckets().last().unwrap().last, sample(500 + 3));
        assert!(timeline.buckets().windows(2).all(|pair| pair[0].event < pair[1].event));
    }

    #[test]
    fn a_short_run_is_kept_sample_by_sample() {
        let mut timeline = Timeline::new();
        for event in 1..=BUCKETS as u64 {
            timeline.push(event, sample(event));
        }
        assert!(timeline.buckets().iter().zip(1..).all(|(bucket, event)| {
            bucket.event == event && bucket.min == bucket.max && bucket.last == sample(event)
        }));
    }
}
