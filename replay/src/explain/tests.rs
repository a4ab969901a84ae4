//! Small runs whose explanation can be worked out by hand.

use super::*;
use crate::snapshot::{Block, BlockState, Entry, Frame, Segment};

const GIB: u64 = 1 << 30;
const BASE: u64 = 0x7f00_0000_0000;

fn snapshot(entries: Vec<Entry>, segments: Vec<Segment>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for line in 1..=3 {
        let frame = Frame { file: "train.py".into(), line, function: "step".into() };
        let frame = snapshot.stacks.frame(frame);
        snapshot.stacks.stack(&[frame]);
    }
    snapshot.devices.push(DeviceTrace { number: 0, entries, segments });
    snapshot
}

fn entry(action: Action, address: u64, size: u64, stack: u32) -> Entry {
    Entry { action, address, size, stream: 0, time_us: 0, stack }
}

fn segment(address: u64, size: u64, stream: u64, live: &[(u64, u64, u32)]) -> Segment {
    let block = |&(address, size, stack): &(u64, u64, u32)| Block {
        address,
        size,
        requested: size,
        state: BlockState::Allocated,
        stack,
    };
    let blocks = live.iter().map(block).collect();
    Segment { address, size, stream, small: false, pool: 0, expandable: false, blocks }
}

fn only(snapshot: &Snapshot) -> Explanation {
    explain(snapshot, &snapshot.devices[0], None)
}

/// 8 GiB in one segment, the second and fourth quarter live; 3 GiB are asked for, and the device has none left.
#[test]
fn holes_that_would_do_together_are_fragmentation() {
    let live = [(BASE + 2 * GIB, 2 * GIB, 1), (BASE + 6 * GIB, 2 * GIB, 2)];
    let snapshot = snapshot(
        vec![entry(Action::OutOfMemory, 0, 3 * GIB, 3)],
        vec![segment(BASE, 8 * GIB, 0, &live)],
    );
    let told = only(&snapshot);
    let refusal = told.refusals[0];
    assert_eq!(refusal.verdict, Some(Verdict::Fragmentation));
    assert_eq!(
        (refusal.had.map(|had| (had.largest_hole, had.reserved)), refusal.moment.allocated),
        (Some((2 * GIB, 8 * GIB)), 4 * GIB)
    );
    assert_eq!(told.unused, Some(Unused { inside_segments: 4 * GIB, ..Unused::default() }));
    // The block between the two holes pins both; the last one touches one hole, and is not alone in its segment.
    assert_eq!(told.pinners.len(), 1);
    assert_eq!(
        (told.pinners[0].line.as_str(), told.pinners[0].pinned),
        ("train.py:1 step", 4 * GIB)
    );
    assert_eq!(told.holders.iter().map(|h| h.bytes).sum::<u64>(), 4 * GIB);
    assert!(told.to_text("x", 5).starts_with("OUT OF MEMORY at entry 0"));
}

#[test]
fn what_does_not_fit_packed_is_a_shortage_or_somebody_elses() {
    let live = [(BASE, 6 * GIB, 1)];
    let short = snapshot(
        vec![entry(Action::OutOfMemory, GIB, 4 * GIB, 3)],
        vec![segment(BASE, 8 * GIB, 0, &live)],
    );
    assert_eq!(only(&short).refusals[0].verdict, Some(Verdict::Shortage));
    // The same, after the process has once seen 12 GiB free beside its 8.
    let taken = snapshot(
        vec![
            entry(Action::OutOfMemory, 12 * GIB, 40 * GIB, 3),
            entry(Action::OutOfMemory, GIB, 4 * GIB, 3),
        ],
        vec![segment(BASE, 8 * GIB, 0, &live)],
    );
    let told = only(&taken);
    assert_eq!(
        told.refusals.iter().map(|r| r.verdict).collect::<Vec<_>>(),
        [Some(Verdict::Shortage), Some(Verdict::OtherProcess)]
    );
}

#[test]
fn free_bytes_of_another_stream_are_another_pools() {
    let other = segment(BASE, 8 * GIB, 7, &[(BASE, GIB, 1)]);
    let own = segment(BASE + 16 * GIB, GIB, 0, &[(BASE + 16 * GIB, GIB, 2)]);
    let told = only(&snapshot(vec![entry(Action::OutOfMemory, 0, 4 * GIB, 3)], vec![other, own]));
    assert_eq!(told.refusals[0].verdict, Some(Verdict::OtherPool));
    assert_eq!(told.unused, Some(Unused { other_streams: 7 * GIB, ..Unused::default() }));
    // Alone in its segment: all of what is free there.
    assert_eq!(
        (told.pinners[0].line.as_str(), told.pinners[0].pinned),
        ("train.py:1 step", 7 * GIB)
    );
}

#[test]
fn unused_bytes_and_active_ones_make_up_what_is_reserved() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/snapshots");
    let Ok(files) = std::fs::read_dir(folder) else {
        println!("skipped: no {folder}");
        return;
    };
    for file in files.map(|f| f.unwrap().path()) {
        let input = std::fs::File::open(&file).unwrap();
        let snapshot = crate::snapshot::read(input, crate::format::Limits::default()).unwrap();
        for device in &snapshot.devices {
            for entry in [None, Some(device.entries.len() as u32 / 2)] {
                let told = explain(&snapshot, device, entry);
                let requested: u64 = {
                    let mut run =
                        Run::new(device, &told.certificate.settings, told.certificate.source);
                    while run.moment().entry < told.at.entry && run.step() {}
                    let placed = run.live().values().filter(|l| l.block.is_some() && !l.pending);
                    placed.map(|l| l.requested).sum()
                };
                if let Some(unused) = told.unused {
                    let sum = unused.total() + requested;
                    assert_eq!(sum, told.at.reserved, "{}", file.display());
                }
                let held: u64 = told.holders.iter().map(|h| h.bytes).sum();
                assert_eq!(held, told.at.allocated, "{}", file.display());
                assert!(told.pinners.iter().all(|p| p.pinned <= told.at.reserved));
                serde_json::to_string(&told.to_json(3)).unwrap();
            }
        }
    }
}
