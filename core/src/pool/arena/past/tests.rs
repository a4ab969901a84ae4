use super::*;
use crate::Axis;

fn at(axis: u64, epoch: u64) -> Fate {
    Fate::After(Frontier::from_entry(Axis::from_bits(axis), epoch))
}

#[test]
fn a_part_leaves_its_death_on_its_own_bytes_and_no_others() {
    let mut past = Past::fresh(100);
    past.succeed([(10, 30, at(1, 1)), (40, 50, Fate::Over)].into_iter());
    let shown =
        |past: &Past| past.over(0, 100).map(|(end, f)| (end, f.clone())).collect::<Vec<_>>();
    let fresh = Fate::Fresh;
    let whole =
        [(10, fresh.clone()), (30, at(1, 1)), (40, fresh.clone()), (50, Fate::Over), (100, fresh)];
    assert_eq!(shown(&past), whole);
    // Others over the same bytes: nothing is left of the first death.
    past.succeed([(0, 100, at(2, 5))].into_iter());
    assert_eq!(shown(&past), [(100, at(2, 5))]);
    let mut fate = at(3, 1);
    assert!(past.succeed_in_place(0, 100, &mut fate));
    assert!(!past.succeed_in_place(0, 99, &mut fate));
    assert_eq!(shown(&past), [(100, at(3, 1))]);
    assert!(past.refresh(&|_| true));
    assert_eq!(past.bytes(0, 100), [0, 0]);
}

#[test]
fn many_runs_are_joined_but_never_with_the_unknown() {
    let mut past = Past::fresh(4000);
    let fates = |i: u64| if i == 700 { Fate::Unknown } else { at(i % 7, i + 1) };
    past.succeed((0..1000).map(|i| (4 * i, 4 * i + 4, fates(i))));
    past.compact(&|_| false);
    assert!(past.runs.len() <= MOST_RUNS + 2, "{}", past.runs.len());
    assert_eq!(past.bytes(0, 4000), [3996, 4]);
    for i in (0..1000).filter(|i| *i != 700) {
        let (_, fate) = past.over(4 * i, 4 * i + 1).next().unwrap();
        let (Fate::After(joined), Fate::After(own)) = (fate, fates(i)) else { panic!("{fate:?}") };
        assert!(joined.as_ref().dominates(own.as_ref()));
    }
}
