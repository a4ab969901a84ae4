use super::*;

/// A step as in training: layers forwards, whose activations wait, then backwards; sizes of a few kinds, drawn by a seed.
fn step(seed: u64) -> Step {
    let mut rng = crate::stream::Rng::new(seed);
    let palette: Vec<u64> = (0..12).map(|_| rng.log_uniform(4 << 10, 4 << 20)).collect();
    let pick = |rng: &mut crate::stream::Rng| palette[rng.below(12) as usize];
    let (per_layer, layers) = (6, 12);
    let (kept, temporary): (Vec<u64>, Vec<u64>) =
        (0..per_layer).map(|_| (pick(&mut rng), pick(&mut rng))).unzip();
    let life =
        |lower, upper, size| Lifetime { lower, upper, size, alignment: ALIGNMENT, stream: 0 };
    let mut lives = Vec::new();
    let total = layers * per_layer * 2;
    for layer in 0..layers {
        for (block, (&kept, &temporary)) in kept.iter().zip(&temporary).enumerate() {
            let now = (layer * per_layer + block as u64) * 2;
            let back = (2 * total - now) + 4;
            lives.push(life(now, back, kept));
            lives.push(life(now + 1, now + 4, temporary));
            lives.push(life(back - 1, back + 3, temporary));
        }
    }
    lives.sort_by_key(|life| life.lower);
    Step::new(lives).expect("a problem")
}

#[test]
fn a_program_without_changes_is_itself_and_holds_the_plan() {
    let step = step(1);
    assert_eq!(perturb(&step.ops, 0, &Kind::ALL, 1), step.ops);
    let (bytes, share) = step.planned(&step.ops).unwrap();
    assert_eq!((bytes, share), (step.plan.bytes().next_multiple_of(4096), 1.0));
    let mut ordinal = Ordinal::new(&step.plan);
    let served = step.ops.iter().filter(|&&op| ordinal.play(op)).count();
    assert_eq!((served, ordinal.share()), (step.ops.len(), 1.0));
}

/// Each change is what it is called.
#[test]
fn changes_are_what_they_are_called() {
    let step = step(2);
    let count = |ops: &[Op]| ops.iter().filter(|op| matches!(op, Op::Acquire { .. })).count();
    let sizes = |ops: &[Op]| -> u64 {
        let size = |op: &Op| if let Op::Acquire { size, .. } = *op { size } else { 0 };
        ops.iter().map(size).sum()
    };
    let all = count(&step.ops);
    let changed = |kind| perturb(&step.ops, 300, &[kind], 7);
    assert!(count(&changed(Kind::Inserted)) > all + all / 8);
    assert!(count(&changed(Kind::Dropped)) < all - all / 8);
    let resized = changed(Kind::Resized);
    assert!(count(&resized) == all && sizes(&resized) != sizes(&step.ops));
    let swapped = changed(Kind::Swapped);
    assert!(count(&swapped) == all && sizes(&swapped) == sizes(&step.ops) && swapped != step.ops);
    // Whatever is changed, nothing is released that is not live, and nothing twice.
    for kind in Kind::ALL {
        let mut live = std::collections::HashSet::new();
        for op in changed(kind) {
            match op {
                Op::Acquire { block, .. } => assert!(live.insert(block), "{kind:?}: {block}"),
                Op::Release { block } => assert!(live.remove(&block), "{kind:?}: {block}"),
            }
        }
    }
}

/// A plan that does not quite fit costs far less than one that is followed by ordinal, and more of it is followed.
#[test]
fn neighbourhood_follows_more_than_ordinal_and_needs_less() {
    let (mut over, mut over_by_ordinal) = (0.0, 0.0);
    let (mut hits, mut by_ordinal, mut runs) = (0.0, 0.0, 0);
    for seed in 1..=6 {
        let step = step(seed);
        for (per_mille, _) in CHANGES {
            let run = step.compare(per_mille, &Kind::ALL, seed).unwrap();
            println!("seed {seed}, {per_mille} of 1000: {run}");
            over += run.planned - 1.0;
            over_by_ordinal += run.by_ordinal - 1.0;
            (hits, by_ordinal, runs) =
                (hits + run.hits, by_ordinal + run.hits_by_ordinal, runs + 1);
        }
    }
    assert!(over * 4.0 < over_by_ordinal, "{over} {over_by_ordinal} in {runs}");
    assert!(hits > by_ordinal + 0.1 * f64::from(runs), "{hits} {by_ordinal} in {runs}");
}
