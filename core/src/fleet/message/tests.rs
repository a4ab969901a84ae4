use super::*;
use crate::Domain;
use crate::frontier::{Entry, FrontierError};
use proptest::prelude::*;

/// Messages of a seed, of every kind.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 ^ self.0 >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn number(&mut self) -> u64 {
        let bits = self.below(65) as u32;
        let all = self.next() << 32 ^ self.next() ^ self.next() << 57;
        if bits == 0 { 0 } else { all >> (64 - bits) }
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn who(&mut self) -> Who {
        let names = Names { session: self.next() as u8, machine: self.next() as u8 };
        Who { incarnation: self.number(), names }
    }

    fn entries(&mut self, least: u64) -> Vec<Entry> {
        let entries: std::collections::BTreeMap<Axis, u64> = (0..self.below(6))
            .map(|_| {
                let (session, machine) = (self.next() as u8, self.next() as u8);
                let axis = Axis::new(session, machine, Domain::Queue, self.below(Axis::ORDINALS));
                (axis.unwrap(), self.number().max(least))
            })
            .collect();
        entries.into_iter().map(|(axis, epoch)| Entry { axis, epoch }).collect()
    }

    fn frontier(&mut self) -> Frontier {
        Frontier::from_entries(self.entries(1)).unwrap()
    }

    fn op(&mut self) -> Op {
        let token = self.number();
        match self.below(9) {
            0 | 1 => {
                let frontier = self.frontier();
                let (may_wait, may_grow) = (self.flag(), self.flag());
                let (size, alignment) = (self.number(), self.number());
                Op::Acquire { ask: Ask { size, alignment, frontier, may_wait, may_grow } }
            }
            2 => Op::Release { token, death: OwnedDeath::After { frontier: self.frontier() } },
            3 => Op::Release {
                token,
                death: if self.flag() { OwnedDeath::Idle } else { OwnedDeath::Unknown },
            },
            4 => Op::Cancel { token },
            5 => Op::Open { token },
            6 => Op::Read { key: self.key(), offset: self.number(), len: self.number() },
            7 => Op::Write { key: self.key(), offset: self.number(), piece: self.piece() },
            _ => Op::Share { token, frontier: self.frontier() },
        }
    }

    fn key(&mut self) -> Key {
        Key::from_bits(u128::from(self.number()) << 64 | u128::from(self.number()))
    }

    fn piece(&mut self) -> Piece {
        Piece::new((0..self.below(40)).map(|_| self.next() as u8).collect()).unwrap()
    }

    fn answer(&mut self) -> Answer {
        let [token, slab, offset, size] = [(); 4].map(|()| self.number());
        let lease = Lease { token, slab, offset, size };
        let axis = Axis::from_bits(self.number());
        match self.below(10) {
            0 => Answer::Ready { lease, source: Source::Fresh },
            1 => Answer::Ready { lease, source: Source::Dominance },
            2 => Answer::AfterWait { lease, wait: self.frontier() },
            3 => Answer::Exhausted { growth_required: self.flag() },
            4 => Answer::OverBudget,
            5 => Answer::Done,
            6 => Answer::Refused { why: Refusal::UnknownAxis { axis } },
            7 => Answer::Key { key: self.key() },
            8 => Answer::Bytes { piece: self.piece() },
            _ => Answer::Refused {
                why: Refusal::Pool { error: Fault::System { code: self.next() as u32 } },
            },
        }
    }

    fn digest(&mut self) -> Digest {
        let members = (0..self.below(4))
            .map(|_| MemberId { names: self.who().names, peer: Peer(self.number()) })
            .collect();
        Digest {
            incarnation: self.number(),
            number: self.number(),
            moves: self.number(),
            members,
            reached: Reached(self.entries(0)),
        }
    }

    fn message(&mut self) -> Message {
        let (who, nonce, number) = (self.who(), self.number(), self.number());
        match self.below(12) {
            0 => Message::Join { nonce },
            1 => Message::Renew { who, number },
            2 => {
                let ops = (0..self.below(5)).map(|_| self.op()).collect();
                Message::Call { who, id: number, floor: self.number().min(number), ops }
            }
            3 => Message::Leave { who },
            4 => Message::Progress { who, reached: Reached(self.entries(0)) },
            5 => {
                let [lease, message_bytes, ops, window, axes, alignment, max_request] =
                    [(); 7].map(|()| self.number());
                let [drift_ppm, memory_type, usage] = [(); 3].map(|()| self.next() as u32);
                let terms = Terms {
                    lease,
                    drift_ppm,
                    message_bytes,
                    ops,
                    window,
                    axes,
                    memory_type,
                    usage,
                    alignment,
                    max_request,
                };
                Message::Welcome { nonce, who, terms, digest: self.digest() }
            }
            6 => Message::JoinRefused { nonce, why: JoinRefusal::Superseded },
            7 => Message::Renewed { who, number },
            8 => {
                let answers = (0..self.below(5)).map(|_| self.answer()).collect();
                Message::Reply { who, id: number, answers }
            }
            9 => Message::Gone { who, why: Gone::Over },
            10 => Message::Left { who },
            _ => Message::Digest { digest: self.digest() },
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(seed: u64) {
        let message = Dice(seed).message();
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn no_part_of_a_message_is_one(seed: u64) {
        let bytes = Dice(seed).message().encode();
        for end in 0..bytes.len() {
            prop_assert!(Message::decode(&bytes[..end]).is_err(), "{end} of {}", bytes.len());
        }
        let more = [&bytes[..], &[0]].concat();
        prop_assert_eq!(Message::decode(&more), Err(DecodeError::Trailing { bytes: 1 }));
    }

    /// Whatever is accepted is the one encoding of what it says: no two byte strings are the same message.
    #[test]
    fn there_is_one_encoding(seed: u64, changes in prop::collection::vec((any::<u16>(), any::<u8>()), 1..4)) {
        let mut bytes = Dice(seed).message().encode();
        for (at, byte) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }
}

#[test]
fn each_rule_has_its_error() {
    let decode = Message::decode;
    let unknown = |what, tag| Err(DecodeError::Unknown { what, tag });
    assert_eq!(decode(&[]), Err(DecodeError::Truncated));
    assert_eq!(decode(&[0]), Err(DecodeError::Version { found: 0 }));
    assert_eq!(decode(&[1, 99]), unknown("message", 99));
    // A join of nonce 5, plain and with a needless byte.
    assert_eq!(decode(&[1, 0, 5]), Ok(Message::Join { nonce: 5 }));
    assert_eq!(decode(&[1, 0, 0x85, 0]), Err(DecodeError::Number));
    // Eleven bytes, and ten whose last has too many bits.
    assert_eq!(decode(&[&[1, 0][..], &[0xff; 10], &[1]].concat()), Err(DecodeError::Number));
    assert_eq!(decode(&[&[1, 0][..], &[0xff; 9], &[2]].concat()), Err(DecodeError::Number));
    let most = decode(&[&[1, 0][..], &[0xff; 9], &[1]].concat());
    assert_eq!(most, Ok(Message::Join { nonce: u64::MAX }));
    // A call: who 0 0/0, id, floor, one acquire of 1 byte, alignment 1, nothing known, a flag.
    let call = |id, floor, flag| decode(&[1, 2, 0, 0, 0, id, floor, 1, 0, 1, 1, 0, flag, 0]);
    assert!(call(3, 3, 1).is_ok());
    assert_eq!(call(3, 4, 1), Err(DecodeError::Floor));
    assert_eq!(call(3, 3, 2), unknown("boolean", 2));
    // Progress that says an axis twice, and a list that is longer than the message.
    let axis = [7; 8];
    let twice = [&[1, 4, 0, 0, 0, 2][..], &axis, &[1], &axis, &[2]].concat();
    let duplicate =
        FrontierError::Duplicate { index: 1, axis: Axis::from_bits(0x0707_0707_0707_0707) };
    assert_eq!(decode(&twice), Err(DecodeError::Entries(duplicate)));
    assert_eq!(decode(&[1, 4, 0, 0, 0, 0x7f]), Err(DecodeError::Truncated));
    // More operations than a call may have, all there: each a cancel.
    let mut many = vec![1, 2, 0, 0, 0, 0, 0, 0x81, 0x08];
    many.extend([2, 0].repeat(1025));
    assert_eq!(decode(&many), Err(DecodeError::TooMany { most: MAX_OPS }));
    // A call with one write, whose piece is one byte longer than a piece may be.
    let write = |len: usize, head: [u8; 3]| {
        let call = [1, 2, 0, 0, 0, 0, 0, 1, 6].into_iter().chain([7; 16]).chain([0]).chain(head);
        decode(&call.chain((0..len).map(|_| 9)).collect::<Vec<u8>>())
    };
    assert!(write(1 << 16, [0x80, 0x80, 0x04]).is_ok());
    let most = super::super::remote::MAX_PIECE;
    assert_eq!(write((1 << 16) + 1, [0x81, 0x80, 0x04]), Err(DecodeError::TooMany { most }));
}

#[test]
fn a_progress_message_of_one_axis_is_short() {
    let who = Who { incarnation: 1, names: Names { session: 0, machine: 1 } };
    let reached = Reached(vec![Entry { axis: Axis::host(0).with_machine(1), epoch: 1_000_000 }]);
    assert_eq!(Message::Progress { who, reached }.encode().len(), 17);
}
