use super::*;

/// Reads columns one after the other, by the description in the module.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn words(&mut self, count: u32) -> Vec<u32> {
        let (these, rest) = self.0.split_at(4 * count as usize);
        self.0 = rest;
        these.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
    }

    fn floats(&mut self, count: u32) -> Vec<u64> {
        let (these, rest) = self.0.split_at(8 * count as usize);
        self.0 = rest;
        these.chunks(8).map(|word| f64::from_le_bytes(word.try_into().unwrap()) as u64).collect()
    }
}

fn block(slab: u32, offset: u64, state: State, death_end: u32) -> Block {
    let live = state == State::Live;
    Block {
        slab,
        offset,
        bytes: 64,
        requested: if live { 60 } else { 0 },
        state,
        stream: live.then_some(3),
        since: if live { (1 << 53) - 1 } else { 0 },
        death_end,
    }
}

#[test]
fn a_frame_is_laid_out_as_described() {
    let axis = |queue, submitted| AxisView {
        axis: Axis::queue(0, queue),
        submitted,
        completed: submitted - 1,
    };
    let frame = Frame {
        event: 77,
        slabs: vec![
            SlabView { pool: 0, id: SlabId::new(4, 1), bytes: 4096 },
            SlabView { pool: 1, id: SlabId::new(5, 0), bytes: 8192 },
        ],
        addresses: vec![1 << 40, 1 << 41],
        blocks: vec![
            block(0, 0, State::Live, 0),
            block(0, 64, State::Pending, 2),
            block(1, 0, State::Tainted, 2),
        ],
        deaths: vec![(0, 9), (2, 11)],
        axes: vec![axis(0, 10), axis(1, 1), axis(12, 20)],
        stats: PoolStats { reserves: 5, slabs: 2, committed_bytes: 12288, ..PoolStats::default() },
        live_bytes: 60,
    };
    let bytes = frame.to_bytes();
    assert_eq!(&bytes[..4], b"SLF1");
    let mut reader = Reader(&bytes[4..]);
    let names = "queue:0.0queue:0.1queue:0.12";
    assert_eq!(reader.words(7), [2, 3, 3, 2, names.len() as u32, 2, 0]);
    assert_eq!(reader.floats(1), [77]);
    assert_eq!(reader.floats(11), [5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!(reader.floats(7), [12288, 0, 60, 0, 0, 0, 0]);
    assert_eq!(reader.floats(2), [4096, 8192]);
    assert_eq!(reader.floats(2), [1 << 40, 1 << 41]);
    assert_eq!((reader.floats(3), reader.floats(3)), (vec![10, 1, 20], vec![9, 0, 19]));
    assert_eq!(reader.floats(3), [0, 64, 0]);
    assert_eq!(reader.floats(3), [64; 3]);
    assert_eq!(reader.floats(3), [60, 0, 0]);
    assert_eq!(reader.floats(3), [(1 << 53) - 1, 0, 0]);
    assert_eq!(reader.floats(2), [9, 11]);
    assert_eq!(
        (reader.words(2), reader.words(2), reader.words(2)),
        (vec![0, 1], vec![4, 5], vec![1, 0])
    );
    assert_eq!(reader.words(3), [9, 18, 28]);
    assert_eq!(reader.words(3), [0, 0, 1]);
    assert_eq!(reader.words(3), [3, u32::MAX, u32::MAX]);
    assert_eq!(reader.words(3), [0, 2, 2]);
    assert_eq!(reader.words(2), [0, 2]);
    assert_eq!(&reader.0[..3], [0, 2, 3]);
    assert_eq!(&reader.0[3..], names.as_bytes());
}

#[test]
fn a_series_keeps_every_extreme() {
    let mut timeline = Timeline::new();
    for event in 1..=2500 {
        let sample =
            Sample { committed: 9, reserved: event, live: 5, pending: 2500 - event, slabs: 1 };
        timeline.push(event, sample);
    }
    let bytes = series(&timeline);
    let count = timeline.buckets().len() as u32;
    assert_eq!(&bytes[..4], b"SLS1");
    let mut reader = Reader(&bytes[4..]);
    assert_eq!(reader.words(1), [count]);
    assert_eq!(reader.floats(count)[0], 1);
    assert_eq!(reader.floats(2 * count), vec![9; 2 * count as usize]);
    assert_eq!(reader.floats(count)[0], 1);
    assert_eq!(reader.floats(count).last(), Some(&2500));
    assert_eq!(reader.floats(2 * count), vec![5; 2 * count as usize]);
    assert_eq!(reader.floats(count).last(), Some(&0));
    assert_eq!(reader.floats(count)[0], 2499);
    assert!(reader.0.is_empty());
}

#[test]
fn the_parts_of_a_recording_are_aligned_and_found_again() {
    let frames = [Frame::default(), Frame { event: 3, ..Frame::default() }];
    let recording = Recording {
        about: "{\"title\":\"x\"}".to_owned(),
        series: series(&Timeline::new()),
        frames: frames.iter().map(Frame::to_bytes).collect(),
    };
    let bytes = recording.to_bytes();
    assert_eq!(&bytes[..4], b"SLR1");
    let mut reader = Reader(&bytes[4..]);
    let head = reader.words(3);
    assert_eq!(head[2], 2);
    let mut lengths = vec![head[0], head[1]];
    lengths.extend(reader.words(2));
    let mut at = 16 + 8;
    for (length, part) in lengths.iter().zip([
        recording.about.as_bytes(),
        &recording.series,
        &recording.frames[0],
        &recording.frames[1],
    ]) {
        at = usize::next_multiple_of(at, 8);
        assert_eq!(&bytes[at..at + *length as usize], part);
        at += *length as usize;
    }
    assert_eq!(at, bytes.len());
}
