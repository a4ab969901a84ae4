//! Recorded runs: those that a twin made itself, whole, cut and falsified; and those of GPUs, where they are at hand.

use super::*;
use crate::format::Limits;
use crate::snapshot::record::Recorder;
use crate::snapshot::{Block, BlockState, DeviceTrace, Entry, Segment, read};
use proptest::prelude::*;
use std::fs::{self, File};
use strandline_twins::torch::{Settings, Torch};
use strandline_twins::{Device, Request, Twin};

const MIB: u64 = 1 << 20;

#[derive(Clone, Copy, Debug)]
enum Op {
    Allocate(u64, u64),
    Free(usize),
    Defer(usize),
    Complete(usize),
    EmptyCache,
}

fn op() -> impl Strategy<Value = Op> {
    let size =
        prop_oneof![3 => 1..5000u64, 3 => 1..MIB, 5 => MIB..30 * MIB, 1 => 30 * MIB..150 * MIB];
    prop_oneof![
        10 => (size, 0..3u64).prop_map(|(size, stream)| Op::Allocate(size, stream)),
        8 => any::<usize>().prop_map(Op::Free),
        1 => any::<usize>().prop_map(Op::Defer),
        1 => any::<usize>().prop_map(Op::Complete),
        1 => Just(Op::EmptyCache),
    ]
}

/// Plays a program and records it.
fn record(settings: &Settings, capacity: u64, program: &[Op]) -> DeviceTrace {
    // Ranges have as many addresses as the recorded driver takes them to have.
    let mut recorder = Recorder::new(Device::new(Some(capacity)).with_range(RANGE));
    let mut twin = Torch::new(settings.clone());
    let (mut live, mut deferred) = (Vec::new(), Vec::new());
    for &op in program {
        match op {
            Op::Allocate(size, stream) => {
                match twin.allocate(Request { size, stream, pool: 0 }, &mut recorder) {
                    Ok(block) => {
                        recorder.note(Action::Alloc, block.address, size, stream);
                        live.push((block, size, stream));
                    }
                    Err(_) => recorder.note(Action::OutOfMemory, 0, size, stream),
                }
            }
            Op::Free(which) | Op::Defer(which) if !live.is_empty() => {
                let (block, size, stream) = live.swap_remove(which % live.len());
                twin.free_requested(block.id, stream);
                recorder.note(Action::FreeRequested, block.address, size, stream);
                if matches!(op, Op::Free(_)) {
                    twin.free_completed(block.id);
                    recorder.note(Action::FreeCompleted, block.address, size, stream);
                } else {
                    deferred.push((block, size, stream));
                }
            }
            Op::Complete(which) if !deferred.is_empty() => {
                let (block, size, stream) = deferred.swap_remove(which % deferred.len());
                twin.free_completed(block.id);
                recorder.note(Action::FreeCompleted, block.address, size, stream);
            }
            Op::EmptyCache => twin.empty_cache(&mut recorder),
            _ => {}
        }
    }
    let segments = twin.segments().into_iter().map(|s| Segment {
        address: s.address,
        size: s.size,
        stream: s.stream,
        small: s.small,
        pool: 0,
        expandable: s.page > 0,
        blocks: s
            .blocks
            .iter()
            .map(|b| Block {
                address: b.address,
                size: b.size,
                requested: b.requested,
                state: match b.state {
                    strandline_twins::BlockState::Allocated => BlockState::Allocated,
                    strandline_twins::BlockState::Pending => BlockState::Pending,
                    strandline_twins::BlockState::Free => BlockState::Free,
                },
                stack: 0,
            })
            .collect(),
    });
    DeviceTrace { number: 0, segments: segments.collect(), entries: recorder.entries }
}

fn certificate(device: &DeviceTrace, settings: &Settings) -> Certificate {
    let recorded = crate::snapshot::Recorded {
        settings: settings.clone(),
        conf: String::new(),
        faults: Vec::new(),
    };
    certify(device, Some(&recorded), &mut |_, _| {})
}

proptest! {
    #[test]
    fn what_a_twin_recorded_is_reproduced(
        expandable in any::<bool>(),
        capacity in prop_oneof![Just(u64::MAX), Just(300 * MIB)],
        program in prop::collection::vec(op(), 1..200),
    ) {
        let settings = Settings { expandable, ..Settings::default() };
        let device = record(&settings, capacity, &program);
        let certificate = certificate(&device, &settings);
        let allocations = device.entries.iter().filter(|e| e.action == Action::Alloc).count();
        prop_assert!(certificate.is_whole() || allocations == 0, "{certificate:#?}");
        prop_assert_eq!(certificate.addresses.of, allocations as u64);
    }

    /// The ring of entries forgets the oldest. With pages that are split to the byte, nothing is lost with them.
    #[test]
    fn a_recording_without_its_beginning_is_reproduced(
        program in prop::collection::vec(op(), 1..200),
        cut in any::<prop::sample::Index>(),
    ) {
        let settings = Settings { expandable: true, ..Settings::default() };
        let mut device = record(&settings, u64::MAX, &program);
        // Cut after an allocation: in the middle of one, its mapping serves no request.
        let cuts: Vec<usize> = (0..device.entries.len())
            .filter(|&at| !device.entries[at].action.is_driver())
            .collect();
        if cuts.is_empty() {
            return Ok(());
        }
        device.entries.drain(..=cuts[cut.index(cuts.len())]);
        let certificate = certificate(&device, &settings);
        let allocations = device.entries.iter().any(|e| e.action == Action::Alloc);
        prop_assert!(certificate.is_whole() || !allocations, "{certificate:#?}");
    }

    /// Whatever a file claims: an answer, no panic, and scores that do not exceed what there is.
    #[test]
    fn nonsense_is_no_panic(
        entries in prop::collection::vec(
            (0..9usize, prop_oneof![Just(0u64), 0..64u64, Just(u64::MAX)], prop_oneof![0..8u64, Just(1 << 50), Just(u64::MAX)], 0..2u64),
            0..60,
        ),
        segments in prop::collection::vec((0..64u64, 0..40u64, any::<bool>(), any::<bool>(), 0..2u32), 0..6),
        expandable in any::<bool>(),
    ) {
        const ACTIONS: [Action; 9] = [
            Action::Alloc, Action::FreeRequested, Action::FreeCompleted, Action::SegmentAlloc,
            Action::SegmentFree, Action::SegmentMap, Action::SegmentUnmap, Action::OutOfMemory, Action::Mark,
        ];
        let scale = |n: u64| n.saturating_mul(MIB);
        let device = DeviceTrace {
            number: 0,
            entries: entries
                .iter()
                .map(|&(action, address, size, stream)| Entry {
                    action: ACTIONS[action], address: scale(address), size: scale(size), stream, time_us: 0, stack: 0,
                })
                .collect(),
            segments: segments
                .iter()
                .map(|&(address, size, small, expandable, pool)| Segment {
                    address: scale(address), size: scale(size), stream: 0, small, expandable, pool,
                    blocks: vec![Block {
                        address: scale(address), size: scale(size / 2), requested: 1, state: BlockState::Allocated, stack: 0,
                    }],
                })
                .collect(),
        };
        let settings = Settings { expandable, ..Settings::default() };
        let certificate = certificate(&device, &settings);
        for score in [certificate.addresses, certificate.segments, certificate.maps, certificate.sweeps] {
            prop_assert!(score.reproduced <= score.of);
        }
        // What is not whole says why.
        let silent = certificate.first_difference.is_none() && certificate.nothing_to_compare.is_none();
        prop_assert!(certificate.is_whole() || !silent || certificate.addresses.of == 0, "{certificate:#?}");
        certify(&device, None, &mut |_, _| {});
    }
}

/// A refusal before which the file gives one of two cached segments back, where the model gives both: nothing else differs.
#[test]
fn a_sweep_that_is_not_whole_is_told() {
    let settings = Settings::default();
    let program = [Op::Allocate(30 * MIB, 0), Op::Allocate(40 * MIB, 0), Op::Free(0), Op::Free(0)];
    let mut device = record(&settings, u64::MAX, &program);
    assert!(certificate(&device, &settings).is_whole());
    let first = device.entries[0];
    assert_eq!((first.action, first.size), (Action::SegmentAlloc, 30 * MIB));
    device.segments.retain(|segment| segment.address != first.address);
    device.entries.push(Entry { action: Action::SegmentFree, ..first });
    device.entries.push(Entry { action: Action::OutOfMemory, size: 1 << 40, ..first });
    let told = certificate(&device, &settings);
    assert_eq!((told.sweeps.reproduced, told.sweeps.of), (0, 1));
    assert!(told.first_difference.is_some_and(|d| d.what.contains("different segments")));
}

/// A block of 5.5 MiB that holds 5: a file without its beginning shows the other half MiB only by what lies behind.
#[test]
fn what_was_not_split_off_is_learned_from_neighbours() {
    let settings = Settings::default();
    let program = [
        Op::Allocate(5 * MIB + MIB / 2, 0),
        Op::Allocate(6 * MIB, 0),
        Op::Allocate(7 * MIB, 0),
        Op::Free(0),
        Op::Allocate(5 * MIB, 0),
        // The block of 6 MiB; from here on there is a recording.
        Op::Free(1),
        Op::Allocate(6 * MIB, 0),
        Op::Free(1),
    ];
    let mut device = record(&settings, u64::MAX, &program);
    let from = device.entries.iter().rposition(|e| e.action == Action::Alloc).unwrap();
    let begin = device.entries[0].address;
    assert_eq!(device.entries[from].address, begin + 5 * MIB + MIB / 2);
    device.entries.drain(..from);
    let told = certificate(&device, &settings);
    assert!(told.is_whole(), "{told:#?}");
}

/// Another tool's addresses lie in no segment: nothing is compared, and the model is not blamed.
#[test]
fn addresses_of_another_tool_are_no_failure_of_the_model() {
    let settings = Settings::default();
    let mut device = record(&settings, u64::MAX, &[Op::Allocate(30 * MIB, 0), Op::Free(0)]);
    device.entries.retain(|entry| !entry.action.is_driver());
    for entry in &mut device.entries {
        entry.address += 1 << 50;
    }
    let told = certificate(&device, &settings);
    assert!(
        told.nothing_to_compare.is_some_and(|why| why.contains("not PyTorch's addresses")),
        "{told:#?}"
    );
    assert!(!told.is_whole() && told.first_difference.is_none(), "{told:#?}");
}

/// A certificate that says yes whatever it sees would pass the tests above.
#[test]
fn a_falsified_recording_is_told_where() {
    let program: Vec<Op> = (0..40)
        .map(|i| (i, if i % 2 == 0 { Op::Free(i as usize * 3) } else { Op::Complete(0) }))
        .flat_map(|(i, op)| [Op::Allocate((i % 7 + 2) * MIB, 0), op])
        .collect();
    let settings = Settings::default();
    let sound = record(&settings, u64::MAX, &program);
    assert!(certificate(&sound, &settings).is_whole());
    let allocations = |d: &DeviceTrace| -> Vec<usize> {
        let at = (0..d.entries.len()).filter(|&i| d.entries[i].action == Action::Alloc);
        at.collect()
    };
    let at = allocations(&sound)[20];

    let mut moved = sound.clone();
    moved.entries[at].address += 512;
    let told = certificate(&moved, &settings);
    assert_eq!(told.first_difference.as_ref().map(|d| d.entry as usize), Some(at + 1), "{told:#?}");
    assert!(told.addresses.reproduced < told.addresses.of);

    let mut larger = sound.clone();
    let segment = larger.entries.iter().position(|e| e.action == Action::SegmentAlloc).unwrap();
    larger.entries[segment].size += 2 * MIB;
    let told = certificate(&larger, &settings);
    assert_eq!(told.first_difference.as_ref().map(|d| d.entry as usize), Some(segment + 1));
    assert!(
        told.addresses.reproduced > told.addresses.of / 2,
        "what follows still counts: {told:#?}"
    );

    let other = Settings::parse("roundup_power2_divisions:2").unwrap();
    assert!(!certificate(&sound, &other).is_whole(), "other settings place blocks elsewhere");
}

#[test]
fn settings_that_a_file_does_not_state_are_inferred() {
    let program: Vec<Op> = (0..60)
        .flat_map(|i| [Op::Allocate(5 * MIB + i * 700_000, 0), Op::Free(i as usize * 5)])
        .collect();
    let settings = Settings::parse("roundup_power2_divisions:4").unwrap();
    let device = record(&settings, u64::MAX, &program);
    let certificate = certify(&device, None, &mut |_, _| {});
    assert_eq!(certificate.source, Source::Inferred);
    assert_eq!(certificate.settings, settings);
    assert!(certificate.is_whole());
}

/// Every snapshot of a GPU beside the project that has a trace of PyTorch's own allocator.
#[test]
fn recordings_of_gpus_are_reproduced_to_the_byte() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/snapshots");
    let Ok(files) = fs::read_dir(folder) else {
        println!("skipped: no {folder}");
        return;
    };
    let mut compared = 0;
    for file in files.map(|f| f.unwrap().path()) {
        let snapshot = read(File::open(&file).unwrap(), Limits::default()).unwrap();
        for device in &snapshot.devices {
            let inside = device.entries.iter().any(|e| {
                e.action == Action::Alloc
                    && device
                        .segments
                        .iter()
                        .any(|s| s.address <= e.address && e.address - s.address < s.size)
            });
            let certificate = certify(device, snapshot.recorded.as_ref(), &mut |_, _| {});
            // One file is another tool's: its addresses are in no segment, and it has no frees to wait for.
            if inside {
                assert!(certificate.is_whole(), "{}: {certificate:#?}", file.display());
                compared += certificate.addresses.of;
            }
        }
    }
    println!("{compared} addresses reproduced");
}
