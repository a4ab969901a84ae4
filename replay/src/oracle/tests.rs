use super::*;
use proptest::prelude::*;
use strandline_core::{Axis, Entry, Epoch, NoProgress};

const SLAB: SlabId = SlabId::new(0, 0);

fn range(offset: u64, size: u64) -> Range {
    Range { slab: SLAB, offset, size }
}

fn axis(i: u8) -> Axis {
    Axis::queue(0, i)
}

#[derive(Debug, Default, Clone, Copy)]
struct Reached([Epoch; 3]);

impl Progress for Reached {
    fn reached(&self, axis: Axis) -> Epoch {
        axis.queue_index().and_then(|i| self.0.get(usize::from(i)).copied()).unwrap_or(0)
    }
}

#[test]
fn overlaps_are_found_on_every_side() {
    for (offset, size, sound) in [
        (0, 100, true),
        (0, 101, false),
        (100, 100, false),
        (150, 10, false),
        (199, 1, false),
        (200, 1, true),
        (50, 500, false),
        (u64::MAX, 2, false),
        (7, 0, false),
    ] {
        let mut oracle = Oracle::new();
        assert!(oracle.begin(range(100, 100), FrontierRef::EMPTY, &NoProgress));
        let got = oracle.begin(range(offset, size), FrontierRef::EMPTY, &NoProgress);
        assert_eq!(got, sound, "{offset}+{size}");
        assert_eq!(oracle.verdict().overlaps, u64::from(!sound));
    }
}

#[test]
fn what_was_not_handed_out_cannot_come_back() {
    let mut oracle = Oracle::new();
    assert!(!oracle.end(range(0, 10), Death::Idle));
    assert!(oracle.begin(range(0, 10), FrontierRef::EMPTY, &NoProgress));
    assert!(!oracle.end(range(0, 9), Death::Idle), "another size");
    assert!(oracle.end(range(0, 10), Death::Idle));
    assert!(!oracle.end(range(0, 10), Death::Idle), "twice");
    assert_eq!(oracle.verdict().overlaps, 3);
    assert_eq!(oracle.live(), 0);
}

#[test]
fn a_death_is_covered_axis_by_axis() {
    let needed = Frontier::from_entries([Entry::new(axis(0), 5), Entry::new(axis(1), 5)]).unwrap();
    let knows_0 = Frontier::from_entry(axis(0), 5);
    for (frontier, reached, sound) in [
        (FrontierRef::EMPTY, [0, 0, 0], false),
        (FrontierRef::EMPTY, [5, 4, 0], false),
        (FrontierRef::EMPTY, [5, 5, 0], true),
        (knows_0.as_ref(), [0, 4, 0], false),
        (knows_0.as_ref(), [0, 5, 0], true),
        (needed.as_ref(), [0, 0, 0], true),
    ] {
        let mut oracle = Oracle::new();
        assert!(oracle.begin(range(0, 64), FrontierRef::EMPTY, &NoProgress));
        assert!(oracle.end(range(0, 64), Death::After(needed.as_ref())));
        assert_eq!(oracle.begin(range(32, 64), frontier, &Reached(reached)), sound);
        assert_eq!(oracle.verdict().early_reuse, u64::from(!sound));
    }
}

#[test]
fn unknown_deaths_last_until_the_device_is_quiescent() {
    let mut oracle = Oracle::new();
    assert!(oracle.begin(range(0, 64), FrontierRef::EMPTY, &NoProgress));
    assert!(oracle.end(range(0, 64), Death::Unknown));
    assert!(!oracle.begin(range(0, 1), FrontierRef::EMPTY, &Reached([9; 3])));
    oracle.quiesced();
    assert!(oracle.begin(range(1, 1), FrontierRef::EMPTY, &NoProgress));
}

#[test]
fn what_is_reached_is_forgotten() {
    let mut oracle = Oracle::new();
    for i in 0..100_000u64 {
        let frontier = Frontier::from_entry(axis(0), i + 1);
        assert!(oracle.begin(range(i * 64, 64), FrontierRef::EMPTY, &Reached([i, 0, 0])));
        assert!(oracle.end(range(i * 64, 64), Death::After(frontier.as_ref())));
        oracle.tidy(&Reached([i, 0, 0]));
        assert!(oracle.dead <= LEAST_SWEEP, "{}", oracle.dead);
    }
}

/// The same judgement, byte by byte.
#[derive(Default)]
struct Naive {
    bytes: Vec<(bool, Option<Kept>)>,
}

impl Naive {
    fn begin(
        &mut self,
        range: Range,
        frontier: FrontierRef<'_>,
        progress: &dyn Progress,
    ) -> (bool, bool) {
        let bytes = &mut self.bytes[range.offset as usize..(range.offset + range.size) as usize];
        if bytes.iter().any(|byte| byte.0) {
            return (true, false);
        }
        let early = bytes.iter().any(|byte| match &byte.1 {
            None => false,
            Some(Kept::Unknown) => true,
            Some(Kept::After(needed)) => !covered(frontier, needed.as_ref(), progress),
        });
        bytes.fill((true, None));
        (false, early)
    }

    fn end(&mut self, range: Range, death: Option<Kept>) {
        self.bytes[range.offset as usize..(range.offset + range.size) as usize]
            .fill((false, death));
    }
}

#[derive(Clone, Debug)]
enum Op {
    Begin { offset: u64, size: u64, known: [Epoch; 3] },
    End { which: usize, death: Option<[Epoch; 3]> },
    Advance { axis: usize, by: Epoch },
    Tidy,
}

fn frontier(epochs: [Epoch; 3]) -> Frontier {
    let entries = (0..3u8).filter(|&i| epochs[usize::from(i)] > 0);
    Frontier::from_entries(entries.map(|i| Entry::new(axis(i), epochs[usize::from(i)]))).unwrap()
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let epochs = prop::array::uniform3(0..12u64);
    let op = prop_oneof![
        4 => (0..200u64, 1..24u64, epochs.clone()).prop_map(|(offset, size, known)| Op::Begin { offset, size, known }),
        4 => (any::<usize>(), prop::option::weighted(0.9, epochs)).prop_map(|(which, death)| Op::End { which, death }),
        1 => (0..3usize, 0..4u64).prop_map(|(axis, by)| Op::Advance { axis, by }),
        1 => Just(Op::Tidy),
    ];
    prop::collection::vec(op, 1..200)
}

proptest! {
    #[test]
    fn agrees_with_a_byte_by_byte_judge(ops in ops()) {
        let mut oracle = Oracle::new();
        oracle.sweep_at = 4;
        let mut naive = Naive { bytes: vec![(false, None); 256] };
        let mut live: Vec<Range> = Vec::new();
        let mut reached = Reached::default();
        for op in ops {
            match op {
                Op::Begin { offset, size, known } => {
                    let known = frontier(known);
                    let before = oracle.verdict();
                    oracle.begin(range(offset, size), known.as_ref(), &reached);
                    let (overlap, early) = naive.begin(range(offset, size), known.as_ref(), &reached);
                    prop_assert_eq!(oracle.verdict().overlaps - before.overlaps, u64::from(overlap));
                    prop_assert_eq!(oracle.verdict().early_reuse - before.early_reuse, u64::from(early));
                    if !overlap {
                        live.push(range(offset, size));
                    }
                }
                Op::End { which, death } if !live.is_empty() => {
                    let range = live.swap_remove(which % live.len());
                    let kept = death.map(frontier);
                    let death = kept.as_ref().map_or(Death::Unknown, |f| Death::from(f.as_ref()));
                    prop_assert!(oracle.end(range, death));
                    naive.end(range, Some(kept.map_or(Kept::Unknown, Kept::After)));
                }
                Op::Advance { axis, by } => reached.0[axis] += by,
                Op::Tidy => {
                    oracle.sweep_at = 0;
                    oracle.tidy(&reached);
                    oracle.sweep_at = 4;
                }
                Op::End { .. } => {}
            }
        }
        prop_assert_eq!(oracle.live(), live.len());
    }
}
