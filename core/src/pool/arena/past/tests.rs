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
    let count = 4 * MOST_RUNS as u64;
    let mut past = Past::fresh(4 * count);
    let fates = |i: u64| if i == 700 { Fate::Unknown } else { at(i % 7, i + 1) };
    past.succeed((0..count).map(|i| (4 * i, 4 * i + 4, fates(i))));
    past.compact(&|_| false);
    assert!(past.runs.len() <= MOST_RUNS + 2, "{}", past.runs.len());
    assert_eq!(past.bytes(0, 4 * count), [4 * count - 4, 4]);
    for i in (0..count).filter(|i| *i != 700) {
        let (_, fate) = past.over(4 * i, 4 * i + 1).next().unwrap();
        let (Fate::After(joined), Fate::After(own)) = (fate, fates(i)) else { panic!("{fate:?}") };
        assert!(joined.as_ref().dominates(own.as_ref()));
    }
}

/// What a run says of a byte, beside a list with an entry for each.
#[test]
fn runs_say_what_a_list_of_bytes_says() {
    let mut numbers = 7_u64;
    let mut below = |end: u64| {
        numbers = numbers.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (numbers >> 33) % end
    };
    for _ in 0..2000 {
        let size = 1 + below(40);
        let (mut past, mut bytes) = (Past::fresh(size), vec![Fate::Fresh; size as usize]);
        for _ in 0..6 {
            let (mut parts, mut end) = (Vec::new(), 0);
            while end < size && below(5) != 0 {
                let start = end + below(2) * below(size - end);
                end = start + 1 + below(size - start);
                // Few fates, so that neighbours are often of one.
                let fate = match below(4) {
                    0 => Fate::Over,
                    1 => Fate::Unknown,
                    epoch => at(1, epoch),
                };
                bytes[start as usize..end as usize].fill(fate.clone());
                parts.push((start, end, fate));
            }
            past.succeed(parts.into_iter());
            let shown: Vec<Fate> = (0..size)
                .map(|at| past.over(at, at + 1).next().map(|(_, fate)| fate.clone()).unwrap())
                .collect();
            assert_eq!(shown, bytes);
            let ends: Vec<u64> = past.runs.iter().map(|run| run.end).collect();
            assert!(ends.is_sorted_by(|a, b| a < b) && ends.last() == Some(&size), "{ends:?}");
            let differ = past.runs.windows(2).all(|two| two[0].fate != two[1].fate);
            assert!(differ, "neighbours of one fate: {:?}", past.runs);
        }
    }
}
