//! What a run's state at one moment tells: unused bytes, holders, pinners, and why a request was refused.

use super::{Had, Moment, Refusal, Run, Verdict};
use crate::certify::Live;
use crate::snapshot::Entry;
use crate::snapshot::stacks::{NO_STACK, Stacks};
use std::collections::{BTreeMap, HashMap};
use strandline_twins::{BlockState, BlockView, SegmentView, Twin};

/// Reserved bytes that nobody uses, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unused {
    /// Within allocated blocks: what they exceed their requests by.
    pub rounding: u64,
    /// Free, beside something live.
    pub inside_segments: u64,
    /// Free, and could go back to the device.
    pub whole_segments: u64,
    /// Given back by the program, in use by a stream.
    pub waiting: u64,
    /// Free, for other streams only.
    pub other_streams: u64,
    /// Free, for private pools only.
    pub private_pools: u64,
}

impl Unused {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        [
            self.rounding,
            self.inside_segments,
            self.whole_segments,
            self.waiting,
            self.other_streams,
            self.private_pools,
        ]
        .iter()
        .fold(0, |sum, &bytes| sum.saturating_add(bytes))
    }
}

/// Who holds memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The source line; of a stack, all its frames, the innermost first.
    pub line: String,
    /// Bytes of its blocks.
    pub bytes: u64,
    /// How many.
    pub blocks: u64,
    /// Its largest block, in bytes.
    pub largest: u64,
    /// The entry of its oldest block's allocation; 0: before the recording.
    pub oldest: u32,
    /// The entry of its youngest block's allocation.
    pub youngest: u32,
}

/// Who keeps free bytes from being returned or joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinner {
    /// The source line.
    pub line: String,
    /// Bytes of its blocks that do so.
    pub bytes: u64,
    /// Bytes that would come free.
    pub pinned: u64,
    /// How many blocks do so.
    pub blocks: u64,
}

/// Call stacks that are named, those with the most bytes.
pub(super) const MOST_STACKS: usize = 1000;

/// What is known of memory that the recording found allocated.
const BEFORE: &str = "(allocated before the recording began)";

/// A holder's identity: a line or stack, or why there is none.
fn name(live: &Live, number: Option<u32>, text: impl FnOnce(u32) -> String) -> String {
    match number {
        Some(number) => text(number),
        None if live.entry == 0 => BEFORE.to_owned(),
        None => NO_STACK.to_owned(),
    }
}

/// Whose a live block is: the source line, or why it has none.
pub(super) fn owner(live: &Live, stacks: &Stacks) -> String {
    name(live, stacks.line(live.stack), |line| stacks.line_name(Some(line)))
}

pub(super) fn holders(run: &Run<'_>, stacks: &Stacks) -> (Vec<Holder>, Vec<Holder>) {
    let mut lines: HashMap<(Option<u32>, bool), (Holder, Live)> = HashMap::new();
    let mut whole: HashMap<(Option<u32>, bool), (Holder, Live)> = HashMap::new();
    for live in run.live().values().filter(|live| !live.pending) {
        let line = stacks.line(live.stack);
        let stack = (live.stack > 0).then_some(live.stack);
        for (table, key) in [(&mut lines, line), (&mut whole, stack)] {
            let nameless = key.is_none() && live.entry == 0;
            let (holder, _) = table.entry((key, nameless)).or_insert_with(|| {
                let new = Holder {
                    line: String::new(),
                    bytes: 0,
                    blocks: 0,
                    largest: 0,
                    oldest: live.entry,
                    youngest: live.entry,
                };
                (new, *live)
            });
            holder.bytes = holder.bytes.saturating_add(live.size);
            holder.blocks += 1;
            holder.largest = holder.largest.max(live.size);
            holder.oldest = holder.oldest.min(live.entry);
            holder.youngest = holder.youngest.max(live.entry);
        }
    }
    let lines = lines.into_iter().map(|((key, _), (holder, live))| {
        let line = name(&live, key, |line| stacks.line_name(Some(line)));
        Holder { line, ..holder }
    });
    // A name is as long as its stack is deep: only those that a report may show get one.
    let mut whole: Vec<_> = whole.into_iter().collect();
    whole.sort_by_key(|&(key, (ref holder, _))| (core::cmp::Reverse(holder.bytes), key));
    whole.truncate(MOST_STACKS);
    let whole = whole.into_iter().map(|((key, _), (holder, live))| {
        let line = name(&live, key, |stack| {
            let frames: Vec<String> = stacks.frames(stack).map(ToString::to_string).collect();
            frames.join("\n")
        });
        Holder { line, ..holder }
    });
    let sorted = |holders: &mut Vec<Holder>| {
        holders.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.line.cmp(&b.line)));
    };
    let (mut lines, mut whole): (Vec<Holder>, Vec<Holder>) = (lines.collect(), whole.collect());
    sorted(&mut lines);
    sorted(&mut whole);
    (lines, whole)
}

/// The bytes of a free block that could go back to the device.
pub(super) fn returnable(segment: &SegmentView, block: &BlockView) -> u64 {
    if segment.page == 0 {
        return if segment.blocks.len() == 1 { block.size } else { 0 };
    }
    let begin = (block.address - segment.base).next_multiple_of(segment.page);
    let end = (block.address + block.size - segment.base) / segment.page * segment.page;
    end.saturating_sub(begin)
}

pub(super) fn unused(run: &Run<'_>, stream: u64) -> Unused {
    let mut unused = Unused::default();
    for segment in run.twin().segments() {
        for block in &segment.blocks {
            match block.state {
                BlockState::Allocated => {
                    unused.rounding += block.size.saturating_sub(block.requested)
                }
                BlockState::Pending => unused.waiting += block.size,
                BlockState::Free if segment.pool > 0 => unused.private_pools += block.size,
                BlockState::Free if segment.stream != stream => unused.other_streams += block.size,
                BlockState::Free => {
                    let whole = returnable(&segment, block);
                    unused.whole_segments += whole;
                    unused.inside_segments += block.size - whole;
                }
            }
        }
    }
    unused
}

pub(super) fn refusal(
    run: &Run<'_>,
    device: u32,
    moment: Moment,
    entry: Entry,
    had: u64,
) -> Refusal {
    let small = entry.size <= strandline_twins::torch::settings::SMALL_SIZE;
    let (mut largest_hole, mut own_free) = (0, 0u64);
    for segment in run.twin().segments() {
        for block in segment.blocks.iter().filter(|b| b.state == BlockState::Free) {
            largest_hole = largest_hole.max(block.size);
            if (segment.stream, segment.pool, segment.small) == (entry.stream, 0, small) {
                own_free = own_free.saturating_add(block.size);
            }
        }
    }
    let (requested, device_free) = (entry.size, entry.device_free());
    let held =
        run.tells_segments().then_some(Had { reserved: moment.reserved, largest_hole, own_free });
    let need = moment.active.saturating_add(requested);
    let verdict = held.and_then(|held| {
        if device_free.is_none() && (need > held.reserved || held.own_free < requested) {
            // What the device had free would decide it.
            return None;
        }
        let free = device_free.unwrap_or(0);
        Some(if need > held.reserved.saturating_add(free) {
            if need <= had { Verdict::OtherProcess } else { Verdict::Shortage }
        } else if held.own_free.saturating_add(free) < requested {
            Verdict::OtherPool
        } else {
            Verdict::Fragmentation
        })
    });
    Refusal { device, moment, requested, device_free, had: held, verdict }
}

/// A live block that pins, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Which block it is, counted over the blocks of all segments in their order: as a frame of the moment has them.
    pub block: u32,
    /// Position of its line in [`Pins::lines`].
    pub line: u32,
    /// The entry of its allocation, counted from 1; 0: before the recording.
    pub since: u32,
    /// The free blocks on both sides of its run that it pins, counted likewise.
    pub free: [Option<u32>; 2],
}

/// Who keeps free bytes from being returned or joined at one moment, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// The lines, most pinned bytes first.
    pub lines: Vec<Pinner>,
    /// Their blocks that pin, in the order of a frame.
    pub blocks: Vec<Pin>,
}

/// A run of live blocks of one line: the blocks by number, with the free one before them.
struct Stretch<'s> {
    line: String,
    blocks: Vec<(u32, &'s BlockView)>,
    before: Option<(u32, &'s BlockView)>,
}

/// What pins of one line.
#[derive(Default)]
struct OfLine {
    bytes: u64,
    /// The free blocks that they pin by address, each counted once.
    free: BTreeMap<u64, u64>,
    pins: Vec<Pin>,
}

pub(super) fn pins(run: &Run<'_>, stacks: &Stacks) -> Pins {
    let mut lines: HashMap<String, OfLine> = HashMap::new();
    let mut number = 0u32;
    for segment in run.twin().segments() {
        let owner = |block: &BlockView| {
            let live = run.live().get(&block.address);
            live.map_or_else(|| NO_STACK.to_owned(), |live| self::owner(live, stacks))
        };
        // Stretches, with what is free after each.
        let mut free_before = None;
        let mut open: Option<Stretch<'_>> = None;
        let mut stretches = Vec::new();
        for (number, block) in (number..).zip(&segment.blocks) {
            if block.state == BlockState::Free {
                if let Some(stretch) = open.take() {
                    stretches.push((stretch, Some((number, block))));
                }
                free_before = Some((number, block));
                continue;
            }
            let line = owner(block);
            match &mut open {
                Some(stretch) if stretch.line == line => stretch.blocks.push((number, block)),
                _ => {
                    stretches.extend(open.take().map(|stretch| (stretch, None)));
                    let blocks = vec![(number, block)];
                    open = Some(Stretch { line, blocks, before: free_before.take() });
                }
            }
            free_before = None;
        }
        stretches.extend(open.map(|stretch| (stretch, None)));
        number += segment.blocks.len() as u32;
        let alone = stretches.iter().all(|(stretch, _)| stretch.line == stretches[0].0.line)
            && segment.page == 0;
        for (Stretch { line, blocks, before }, after) in stretches {
            if before.or(after).is_none() || !(alone || before.and(after).is_some()) {
                continue;
            }
            let of = lines.entry(line).or_default();
            of.free.extend([before, after].into_iter().flatten().map(|(_, b)| (b.address, b.size)));
            for (block, view) in blocks {
                of.bytes += view.size;
                let since = run.live().get(&view.address).map_or(0, |live| live.entry);
                let free = [before, after].map(|free| free.map(|(number, _)| number));
                of.pins.push(Pin { block, line: 0, since, free });
            }
        }
    }
    let mut all: Vec<(Pinner, Vec<Pin>)> = lines
        .into_iter()
        .map(|(line, OfLine { bytes, free, pins })| {
            let (pinned, blocks) = (free.values().sum(), pins.len() as u64);
            (Pinner { line, bytes, pinned, blocks }, pins)
        })
        .collect();
    all.sort_by(|(a, _), (b, _)| b.pinned.cmp(&a.pinned).then_with(|| a.line.cmp(&b.line)));
    let mut told = Pins::default();
    for (line, (pinner, pins)) in (0..).zip(all) {
        told.lines.push(pinner);
        told.blocks.extend(pins.into_iter().map(|pin| Pin { line, ..pin }));
    }
    told.blocks.sort_by_key(|pin| pin.block);
    told
}
