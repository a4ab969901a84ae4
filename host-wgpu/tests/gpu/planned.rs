//! Transient buffers of frames that repeat, which follow plans, and of frames that do not.

use crate::support::*;
use std::collections::VecDeque;
use strandline_host_wgpu::{Frame, Gpu, GpuSlice, TransientError, Transients, TransientsConfig};
use wgpu::{Buffer, BufferDescriptor, BufferUsages as U, MapMode, PollType};

fn desc(size: u64, usage: U) -> BufferDescriptor<'static> {
    BufferDescriptor { label: None, size, usage, mapped_at_creation: false }
}

/// What a frame asks for.
type Kind = Vec<(u64, U)>;

/// Uniforms and geometry, as an interface has them.
fn kind(seed: u64) -> Kind {
    let mut random = Rng(seed);
    let count = 20 + random.below(40);
    let one = |_| {
        let usage = [U::UNIFORM, U::VERTEX, U::INDEX][random.below(3) as usize];
        let most = [30, 3000, 30_000][random.below(3) as usize];
        let size = 4 * (1 + random.below(most));
        (size, usage | U::COPY_SRC | U::COPY_DST)
    };
    (0..count).map(one).collect()
}

fn planned(gpu: &Gpu) -> Transients {
    Transients::planned(gpu, TransientsConfig::default()).unwrap()
}

/// A frame, its slices, and what each was written with.
struct Open {
    frame: Frame,
    slices: Vec<(GpuSlice, u8)>,
}

/// Plays frames and judges each: no byte of it is another open frame's, and when it runs its bytes are what it wrote.
struct Player {
    gpu: Gpu,
    transients: Transients,
    open: VecDeque<Open>,
    tag: u8,
    /// The ends of each slice, copied by its own frame, and what they must be.
    kept: Vec<(Buffer, Vec<u8>)>,
}

impl Player {
    fn new(gpu: &Gpu, transients: &Transients) -> Self {
        let (gpu, transients) = (gpu.clone(), transients.clone());
        Self { gpu, transients, open: VecDeque::new(), tag: 0, kept: Vec::new() }
    }

    fn begin(&mut self, kind: &[(u64, U)]) {
        let mut open = Open { frame: self.transients.frame(), slices: Vec::new() };
        for &(size, usage) in kind {
            let slice = open.frame.create_buffer(&desc(size, usage)).unwrap();
            let others = self.open.iter().flat_map(|other| &other.slices).chain(&open.slices);
            for (other, _) in others {
                assert!(!slice.overlaps(other), "{slice:?} {other:?}");
            }
            self.tag = self.tag.wrapping_add(1);
            slice.write(self.gpu.queue(), &vec![self.tag; size as usize]).unwrap();
            open.slices.push((slice, self.tag));
        }
        self.open.push_back(open);
    }

    fn submit(&mut self, at: usize) {
        let Some(Open { frame, slices }) = self.open.remove(at) else { return };
        let usage = U::COPY_DST | U::MAP_READ;
        let keep = self.gpu.device().create_buffer(&desc(8 * slices.len() as u64, usage));
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        let mut expected = Vec::new();
        for (place, (slice, tag)) in (0..).zip(&slices) {
            let (buffer, offset, size) = slice.parts();
            encoder.copy_buffer_to_buffer(buffer, offset, &keep, 8 * place, 4);
            encoder.copy_buffer_to_buffer(buffer, offset + size - 4, &keep, 8 * place + 4, 4);
            expected.extend([*tag; 8]);
        }
        frame.submit([encoder.finish()]).unwrap();
        self.kept.push((keep, expected));
        if self.kept.len() >= 64 {
            self.judge();
        }
    }

    fn judge(&mut self) {
        for (keep, expected) in self.kept.drain(..) {
            let (done, mapped) = std::sync::mpsc::channel();
            keep.map_async(MapMode::Read, .., move |result| done.send(result).unwrap());
            self.gpu.device().poll(PollType::wait_indefinitely()).unwrap();
            mapped.recv_timeout(PATIENCE).unwrap().unwrap();
            assert_eq!(&keep.get_mapped_range(..).unwrap()[..], &expected[..]);
        }
    }

    fn end(&mut self) {
        while !self.open.is_empty() {
            self.submit(0);
        }
        self.judge();
    }
}

/// The share of the last frames' buffers that stood where their plan has them.
fn hits_of(transients: &Transients, run: impl FnOnce()) -> f64 {
    let before = transients.planned_stats();
    run();
    let after = transients.planned_stats();
    let (planned, strayed) = (after.planned - before.planned, after.strayed - before.strayed);
    planned as f64 / (planned + strayed) as f64
}

/// However a program records the frames that it repeats: the same bytes in each period, and no more of them than the frames have.
#[test]
fn frames_that_repeat_stand_where_they_stood_in_as_many_bytes_as_they_have() {
    // Kinds in turn, and how many frames are open when the next one begins.
    for (kinds, open) in [(1, 0), (1, 1), (1, 2), (2, 0), (3, 0), (2, 1)] {
        let devices = if (kinds, open) == (2, 1) { both() } else { vec![noop()] };
        for gpu in devices {
            let kinds: Vec<Kind> = (1..=kinds).map(kind).collect();
            let (ours, plain) =
                (planned(&gpu), Transients::new(&gpu, TransientsConfig::default()).unwrap());
            let [mut player, mut other] = [&ours, &plain].map(|of| Player::new(&gpu, of));
            for kind in kinds.iter().cycle().take(300) {
                for player in [&mut player, &mut other] {
                    player.begin(kind);
                    if player.open.len() > open {
                        player.submit(0);
                    }
                }
            }
            let period = kinds.len() * (open + 1);
            let mut places: Vec<Vec<GpuSlice>> = Vec::new();
            let hits = hits_of(&ours, || {
                for kind in kinds.iter().cycle().take(4 * period * kinds.len()) {
                    player.begin(kind);
                    let slices = &player.open.back().unwrap().slices;
                    places.push(slices.iter().map(|(slice, _)| slice.clone()).collect());
                    if player.open.len() > open {
                        player.submit(0);
                    }
                }
            });
            player.end();
            other.end();
            assert_eq!(hits, 1.0, "{} kinds, {open} open", kinds.len());
            for (early, late) in places.iter().zip(&places[period..]) {
                assert!(early.iter().zip(late).all(|(a, b)| a.is_same(b)), "it moved");
            }
            // What is small has a slab of the smallest size.
            let small = 2 * (64 << 10);
            let peaks =
                ours.pools().set().pools().iter().map(|pool| pool.stats().peak_reserved_bytes);
            let (held, most) = (ours.stats().committed_bytes, peaks.sum::<u64>());
            assert!(held <= most + small, "{held} for {most}: {} kinds, {open} open", kinds.len());
            // While plans were tried there were old slabs and new ones.
            let peaks =
                ours.pools().set().pools().iter().map(|pool| pool.stats().peak_committed_bytes);
            let peak = peaks.sum::<u64>();
            println!(
                "{} kinds, {open} open: {:.2} at the peak",
                kinds.len(),
                peak as f64 / most as f64
            );
            assert!(peak <= 5 * most / 2 + small, "{peak} at the peak, for {most}");
            let plain = plain.stats().committed_bytes;
            assert!(held <= plain + small, "{held}, {plain} without plans");
            let stats = ours.planned_stats();
            assert!(stats.plan_hit_share() > 0.5 && stats.replanned > 0, "{stats:?}");
        }
    }
}

/// Frames of which a part changes, and some are given up, on one device and the other: each has its own bytes.
#[test]
fn whatever_frames_ask_for_each_has_bytes_of_its_own() {
    for seed in 1..=12 {
        for gpu in if seed < 5 { both() } else { vec![noop()] } {
            let mut random = Rng(seed);
            let transients = planned(&gpu);
            let mut player = Player::new(&gpu, &transients);
            let kinds: Vec<Kind> = (1..=3).map(|i| kind(seed * 10 + i)).collect();
            let changes = random.below(4);
            for turn in 0..150 {
                let mut kind = kinds[turn / 10 % (1 + random.below(3)) as usize].clone();
                for _ in 0..changes {
                    let at = random.below(kind.len() as u64) as usize;
                    match random.below(4) {
                        0 => drop(kind.remove(at)),
                        1 => kind.insert(at, kinds[0][at % kinds[0].len()]),
                        2 => kind[at].0 = 4 * (1 + random.below(60_000)),
                        _ => kind.swap(at, 0),
                    }
                }
                player.begin(&kind);
                while player.open.len() as u64 > random.below(4) {
                    let at = random.below(player.open.len() as u64) as usize;
                    match random.below(20) {
                        0 => player.open.remove(at).unwrap().frame.discard(),
                        // Told as misuse, in a log.
                        1 if turn % 5 == 0 => drop(player.open.remove(at)),
                        _ => player.submit(at),
                    }
                }
                if turn % 50 == 49 {
                    transients.trim().unwrap();
                }
            }
            player.end();
            gpu.device().poll(PollType::wait_indefinitely()).unwrap();
            transients.quiesce();
            let stats = transients.stats();
            assert_eq!((stats.live, stats.reserved_bytes), (0, 0), "seed {seed}");
            transients.trim().unwrap();
            assert_eq!(transients.stats().committed_bytes, 0, "seed {seed}");
        }
    }
}

/// Where no frame is like another there is no plan, and no more memory than without one; where they repeat again, there is one again.
#[test]
fn frames_that_change_are_served_without_a_plan_until_they_repeat() {
    let gpu = noop();
    let (ours, plain) =
        (planned(&gpu), Transients::new(&gpu, TransientsConfig::default()).unwrap());
    let frame = |transients: &Transients, kind: &Kind| {
        let mut frame = transients.frame();
        for &(size, usage) in kind {
            frame.create_buffer(&desc(size, usage)).unwrap();
        }
        let held = transients.stats().committed_bytes;
        frame.submit([]).unwrap();
        gpu.device().poll(PollType::wait_indefinitely()).unwrap();
        held
    };
    let steady = kind(1);
    let hits = |count: u64, of: &dyn Fn(u64) -> Kind| {
        let mut held = (0, 0);
        let hits = hits_of(&ours, || {
            for turn in 0..count {
                let kind = of(turn);
                held.0 = held.0.max(frame(&ours, &kind));
                held.1 = held.1.max(frame(&plain, &kind));
            }
        });
        (hits, held)
    };
    let repeats = |_| steady.clone();
    assert!(hits(40, &repeats).0 > 0.8);
    // All different: tried for a while, then left alone.
    let (share, held) = hits(400, &|turn| kind(100 + turn));
    assert!(share < 0.5, "{share}");
    assert!(held.0 <= held.1 * 3 / 2, "{held:?}");
    let before = ours.planned_stats().replanned;
    hits(20, &|turn| kind(1000 + turn));
    assert_eq!(ours.planned_stats().replanned, before, "it rests");
    let (_, held) = hits(300, &repeats);
    let (share, _) = hits(20, &repeats);
    assert_eq!(share, 1.0, "{held:?}");
    // A frame now and then that is another changes nothing for those that follow.
    let before = ours.planned_stats().replanned;
    let (share, _) = hits(60, &|turn| if turn % 10 == 5 { kind(5) } else { steady.clone() });
    assert!(share > 0.85, "{share}");
    assert_eq!(ours.planned_stats().replanned, before);
    // After a burst there is as little again as before it.
    let small = ours.stats().committed_bytes;
    let large: Kind = (0..8).flat_map(|_| kind(3)).collect();
    hits(40, &|_| large.clone());
    let burst = ours.stats().committed_bytes;
    hits(60, &repeats);
    let after = ours.stats().committed_bytes;
    assert!(burst > 3 * small && after <= small, "{small} {burst} {after}");
}

#[test]
fn frames_of_many_threads_follow_plans_of_one_pool() {
    for gpu in both() {
        let transients = planned(&gpu);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (gpu, transients) = (&gpu, &transients);
                scope.spawn(move || {
                    let kind = kind(thread);
                    let mut player = Player::new(gpu, transients);
                    for _ in 0..60 {
                        player.begin(&kind);
                        player.submit(0);
                    }
                    player.end();
                });
            }
        });
        let stats = transients.stats();
        assert_eq!((stats.live, stats.reserved_bytes), (0, 0));
        assert_eq!(transients.timeline().last(), 240);
    }
}

#[test]
fn a_lost_device_ends_planned_frames_with_an_error() {
    for gpu in both() {
        let transients = planned(&gpu);
        let kind = kind(7);
        let mut player = Player::new(&gpu, &transients);
        for _ in 0..20 {
            player.begin(&kind);
            player.submit(0);
        }
        player.end();
        let mut left = transients.frame();
        left.create_buffer(&desc(64, U::UNIFORM)).unwrap();
        gpu.device().destroy();
        let lost = |transients: &Transients| {
            let mut frame = transients.frame();
            // Bytes that there are may be given; a larger slab is not.
            let made =
                kind.iter().map(|&(size, usage)| frame.create_buffer(&desc(size * 2, usage)));
            let failed = made.filter(Result::is_err).count();
            (failed > 0, frame.submit([]).is_err())
        };
        // Refused, or never reached: the device may not know yet.
        let _ = left.submit([]);
        until("the loss is known", || gpu.find_loss().is_some());
        for _ in 0..5 {
            assert_eq!(lost(&transients), (true, true));
        }
        assert_eq!(transients.stats().reserved_bytes, 0);
        assert!(matches!(
            Transients::planned(&gpu, TransientsConfig::default()),
            Err(TransientError::Gpu(_))
        ));
    }
}

/// A frame that is the beginning of another, in turn with it: the larger one's plan serves both, and stays.
#[test]
fn a_plan_is_not_cut_to_the_smaller_of_two_frames() {
    let gpu = noop();
    let transients = planned(&gpu);
    let whole = kind(4);
    let mut player = Player::new(&gpu, &transients);
    let mut turns = |count: usize| {
        for turn in 0..count {
            player.begin(if turn % 2 == 0 { &whole } else { &whole[..whole.len() / 3] });
            player.submit(0);
        }
    };
    turns(60);
    assert_eq!(hits_of(&transients, || turns(200)), 1.0);
}
