use super::*;
use crate::layout::Layout;
use crate::mem::Account;
use crate::scale::scaled;
use proptest::prelude::*;

fn mapping(size: u64) -> Arc<Mapping> {
    let page = rustix::param::page_size();
    let layout = Layout::new(size, page, page, true).unwrap();
    Arc::new(Mapping::new(layout, &Arc::new(Account::new(u64::MAX)), None, false).unwrap())
}

fn buffer(mapping: &Arc<Mapping>, offset: usize, len: usize) -> MmapBuffer {
    MmapBuffer::new(mapping.clone(), offset as u64, len as u64).unwrap()
}

fn bytes(buffer: &MmapBuffer) -> Vec<u8> {
    let mut bytes = vec![0; buffer.len];
    buffer.read(0, &mut bytes).unwrap();
    bytes
}

fn pattern_byte(pattern: u64, i: usize) -> u8 {
    pattern.to_le_bytes()[i % 8]
}

#[derive(Clone, Debug)]
enum Op {
    Fill { offset: usize, len: usize, byte: u8 },
    Pattern { offset: usize, len: usize, pattern: u64 },
    Write { offset: usize, bytes: Vec<u8> },
    Copy { from: usize, to: usize, len: usize },
    Spoil { offset: usize, len: usize, at: usize, pattern: u64 },
}

/// Small, so that edges meet.
const SIZE: usize = 96;

fn range() -> impl Strategy<Value = (usize, usize)> {
    (0..=SIZE).prop_flat_map(|offset| (Just(offset), 0..=SIZE - offset))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (range(), any::<u8>()).prop_map(|((offset, len), byte)| Op::Fill { offset, len, byte }),
        (range(), any::<u64>()).prop_map(|((offset, len), pattern)| Op::Pattern {
            offset,
            len,
            pattern
        }),
        range().prop_flat_map(|(offset, len)| {
            prop::collection::vec(any::<u8>(), len)
                .prop_map(move |bytes| Op::Write { offset, bytes })
        }),
        (0..=SIZE, 0..=SIZE, 0..=SIZE).prop_map(|(from, to, len)| {
            let len = len.min(SIZE - from).min(SIZE - to);
            Op::Copy { from, to, len }
        }),
        (range(), any::<usize>(), any::<u64>())
            .prop_map(|((offset, len), at, pattern)| { Op::Spoil { offset, len, at, pattern } }),
    ]
}

proptest! {
    /// Every operation does to the memory what it would do to a vector, and to nothing else.
    #[test]
    fn buffers_are_byte_arrays(ops in prop::collection::vec(op(), 1..40)) {
        let mapping = mapping(1);
        // Off a word boundary, with bytes on both sides that must stay.
        let around = buffer(&mapping, 0, SIZE + 24);
        around.fill(0xee);
        let whole = buffer(&mapping, 5, SIZE);
        let mut model = vec![0xee; SIZE];
        for op in ops {
            match op {
                Op::Fill { offset, len, byte } => {
                    whole.slice(offset as u64, len as u64).unwrap().fill(byte);
                    model[offset..offset + len].fill(byte);
                }
                Op::Pattern { offset, len, pattern } => {
                    let part = whole.slice(offset as u64, len as u64).unwrap();
                    part.fill_u64(pattern);
                    for (i, byte) in model[offset..offset + len].iter_mut().enumerate() {
                        *byte = pattern_byte(pattern, i);
                    }
                    prop_assert_eq!(part.find_mismatch(pattern), None);
                }
                Op::Write { offset, bytes } => {
                    whole.write(offset as u64, &bytes).unwrap();
                    model[offset..offset + bytes.len()].copy_from_slice(&bytes);
                }
                Op::Copy { from, to, len } => {
                    let source = whole.slice(from as u64, len as u64).unwrap();
                    let target = whole.slice(to as u64, len as u64).unwrap();
                    if from.abs_diff(to) < len {
                        prop_assert_eq!(target.copy_from(&source), Err(BufferError::Overlap));
                    } else {
                        target.copy_from(&source).unwrap();
                        model.copy_within(from..from + len, to);
                    }
                }
                Op::Spoil { offset, len, at, pattern } if len > 0 => {
                    let part = whole.slice(offset as u64, len as u64).unwrap();
                    part.fill_u64(pattern);
                    let at = at % len;
                    part.write(at as u64, &[!pattern_byte(pattern, at)]).unwrap();
                    prop_assert_eq!(part.find_mismatch(pattern), Some(at as u64));
                    model[offset..offset + len].copy_from_slice(&bytes(&part));
                }
                Op::Spoil { .. } => {}
            }
            prop_assert_eq!(&bytes(&whole), &model);
            let all = bytes(&around);
            prop_assert!(all[..5].iter().chain(&all[5 + SIZE..]).all(|byte| *byte == 0xee));
        }
    }

    #[test]
    fn ranges_outside_are_refused(offset: u64, len: u64) {
        let mapping = mapping(1);
        let size = mapping.len() as u64;
        let fits = offset.checked_add(len).is_some_and(|end| end <= size);
        prop_assert_eq!(MmapBuffer::new(mapping.clone(), offset, len).is_some(), fits);
        let whole = MmapBuffer::new(mapping, 0, size).unwrap();
        let expected = BufferError::OutOfRange { offset, len, size };
        prop_assert_eq!(whole.slice(offset, len).err(), (!fits).then_some(expected));
    }
}

#[test]
fn the_last_byte_can_be_reached_and_the_next_cannot() {
    let mapping = mapping(1);
    let whole = buffer(&mapping, 0, mapping.len());
    let size = whole.len();
    whole.fill_u64(u64::MAX);
    whole.write(size - 3, &[1, 2, 3]).unwrap();
    let mut end = [0; 3];
    whole.read(size - 3, &mut end).unwrap();
    assert_eq!(end, [1, 2, 3]);
    let error = BufferError::OutOfRange { offset: size - 3, len: 4, size };
    assert_eq!(whole.write(size - 3, &[0; 4]), Err(error));
    assert_eq!(whole.read(size - 3, &mut [0; 4]), Err(error));
    whole.read(size, &mut []).unwrap();
    // A copy from a misaligned place up to the very end reads no word beyond.
    let (from, to) = (buffer(&mapping, size as usize - 13, 13), buffer(&mapping, 6, 13));
    to.copy_from(&from).unwrap();
    assert_eq!(bytes(&to), bytes(&from));
    let error = BufferError::SizeMismatch { source: 13, target: size };
    assert_eq!(whole.copy_from(&from), Err(error));
}

#[test]
fn neighbours_within_a_word_do_not_disturb_each_other() {
    let mapping = mapping(1);
    // Threads that each write their own bytes, which share words with those of others.
    let rounds = scaled(20_000) as u64;
    std::thread::scope(|scope| {
        for (i, len) in [3, 3, 5, 7, 6].into_iter().enumerate() {
            let start = [0, 3, 6, 11, 18][i];
            let part = buffer(&mapping, start, len);
            scope.spawn(move || {
                for round in 0..rounds {
                    let pattern = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ i as u64;
                    part.fill_u64(pattern);
                    assert_eq!(part.find_mismatch(pattern), None, "round {round}");
                }
            });
        }
    });
}

#[test]
fn racing_accesses_to_the_same_bytes_are_allowed() {
    let mapping = mapping(1 << 12);
    let whole = buffer(&mapping, 0, 4096);
    let rounds = scaled(200);
    std::thread::scope(|scope| {
        for byte in 1..4 {
            let whole = whole.clone();
            scope.spawn(move || (0..rounds).for_each(|_| whole.fill(byte)));
        }
        for _ in 0..rounds {
            assert!(bytes(&whole).iter().all(|byte| *byte < 4));
        }
    });
    assert!((1..4).any(|byte| whole.find_mismatch(u64::from_ne_bytes([byte; 8])).is_none()));
}
