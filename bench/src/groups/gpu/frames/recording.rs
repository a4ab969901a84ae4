//! What is played: a renderer's requests, recorded or generated.

use std::collections::HashMap;
use std::path::Path;
use wgpu::BufferUsages;

/// Of vello 0.11, and not ours to ship: where it is not there, its rows are not.
const RECORDING: &str = "../../shared/traces/vello_12_frames.csv";

/// Slots stand for names, so that no contender pays for looking them up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request {
    Make { slot: usize, size: u64, usage: BufferUsages },
    GiveUp { slot: usize },
}

/// The requests by frame, and how many slots they name.
#[derive(Clone, Debug, Default)]
pub(super) struct Recording {
    pub(super) frames: Vec<Vec<Request>>,
    pub(super) slots: usize,
}

/// `None` where there is no recording, or it is not one.
pub(super) fn recorded() -> Option<Recording> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDING);
    let text = std::fs::read_to_string(path).ok()?;
    let mut slots = HashMap::new();
    let mut frames = Vec::new();
    for line in text.lines().skip(1) {
        let mut fields = line.split(',');
        let (op, name) = (fields.next()?, fields.next()?);
        let size = fields.next()?.parse().ok()?;
        let usage = fields.next()?.parse().ok()?;
        if op == "N" {
            frames.push(Vec::new());
            continue;
        }
        let next = slots.len();
        let slot = *slots.entry(name.to_owned()).or_insert(next);
        let request = match op {
            "B" => Request::Make { slot, size, usage: BufferUsages::from_bits_truncate(usage) },
            _ => Request::GiveUp { slot },
        };
        frames.last_mut()?.push(request);
    }
    (!frames.is_empty()).then_some(Recording { frames, slots: slots.len() })
}

/// How large a buffer of a renderer's is.
#[derive(Clone, Copy)]
enum Size {
    Fixed(u64),
    /// So many bytes for each of the things that the frame draws, and at least some.
    Scene(u64),
}

/// Frames of the same character, made here: buffers of fixed sizes, most of the bytes, for what only the device knows; buffers that grow and
/// shrink with what is drawn, in steps of some frames; and tiny ones. A third is given up within the frame.
pub(super) fn generated() -> Recording {
    use BufferUsages as U;
    let work = U::STORAGE | U::INDIRECT | U::VERTEX | U::COPY_DST | U::COPY_SRC;
    let scene = U::STORAGE | U::VERTEX | U::COPY_DST | U::COPY_SRC;
    // Size, usage, and after how many further requests it is given up.
    let buffers: [(Size, U, Option<usize>); 20] = [
        (Size::Scene(220), scene, None),
        (Size::Fixed(96), U::UNIFORM | U::COPY_DST, None),
        (Size::Scene(1), work, Some(1)),
        (Size::Scene(80), work, None),
        (Size::Scene(48), work, None),
        (Size::Fixed(40), work, None),
        (Size::Fixed(24 << 20), work, None),
        (Size::Fixed(16), work, Some(3)),
        (Size::Scene(32), work, None),
        (Size::Fixed(768 << 10), work, Some(9)),
        (Size::Fixed(8), work, Some(1)),
        (Size::Scene(33), work, Some(7)),
        (Size::Fixed(3 << 10), work, None),
        (Size::Scene(64), work, None),
        (Size::Fixed(9 << 20), work, Some(4)),
        (Size::Fixed(16), work, None),
        (Size::Fixed(9 << 20), work, None),
        (Size::Fixed(15 << 20), work, None),
        (Size::Fixed(26 << 20), work, None),
        (Size::Fixed(3 << 20), work, None),
    ];
    let frame = |things: u64| {
        let mut requests = Vec::new();
        for (slot, &(size, usage, _)) in buffers.iter().enumerate() {
            let size = match size {
                Size::Fixed(size) => size,
                Size::Scene(each) => each * things,
            };
            requests.push(Request::Make { slot, size: size.max(8), usage });
            for (slot, &(_, _, until)) in buffers.iter().enumerate().take(slot) {
                if until.is_some_and(|after| slot + after + 1 == requests_made(&requests)) {
                    requests.push(Request::GiveUp { slot });
                }
            }
        }
        requests
    };
    let frames = [124, 158, 193, 231, 266, 300, 335].into_iter().cycle().take(12);
    Recording { frames: frames.map(frame).collect(), slots: buffers.len() }
}

fn requests_made(requests: &[Request]) -> usize {
    requests.iter().filter(|request| matches!(request, Request::Make { .. })).count()
}

/// A frame of a user interface: small uniforms and geometry, many of a few sizes, all of which share buffers.
pub(super) fn interface(widgets: usize) -> Recording {
    use BufferUsages as U;
    let mut frame = Vec::new();
    for i in 0..widgets as u64 {
        let vertices = 400 + i * i * 37 % 9_000;
        for (size, usage) in
            [(64 + 16 * (i % 5), U::UNIFORM), (vertices, U::VERTEX), (vertices / 3, U::INDEX)]
        {
            frame.push(Request::Make { slot: frame.len(), size, usage: usage | U::COPY_DST });
        }
        if i % 32 == 31 {
            // A picture's quads, a page of text.
            let size = 90 << 10 << (i / 32 % 2);
            frame.push(Request::Make { slot: frame.len(), size, usage: U::VERTEX | U::COPY_DST });
        }
    }
    Recording { slots: frame.len(), frames: vec![frame] }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is given up was asked for before, in its frame, and once; and the bytes are as they are described.
    #[test]
    fn generated_frames_are_of_the_character_that_they_say() {
        let Recording { frames, slots } = generated();
        let mut sums = Vec::new();
        for frame in &frames {
            let (mut live, mut given_up, mut sum, mut largest) = (vec![false; slots], 0, 0, 0);
            for request in frame {
                match *request {
                    Request::Make { slot, size, .. } => {
                        assert!(!core::mem::replace(&mut live[slot], true));
                        (sum, largest) = (sum + size, largest.max(size));
                    }
                    Request::GiveUp { slot } => {
                        assert!(core::mem::replace(&mut live[slot], false), "{slot}");
                        given_up += 1;
                    }
                }
            }
            assert_eq!(given_up, 6);
            assert!(largest * 4 > sum, "few buffers have most of the bytes");
            sums.push(sum);
        }
        assert_eq!((sums.len(), sums[0] == sums[7]), (12, true));
        assert!(sums[..7].is_sorted_by(|a, b| a < b), "the scene grows");
    }
}
