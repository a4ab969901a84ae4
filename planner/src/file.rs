//! Plan files: what was requested in a step, in which order, and where each block stands.
//!
//! ```text
//!   "STRANDPL" 1   blocks bytes bound   block block …   checksum
//!                                         │
//!              head size offset length [alignment] [waits distance …]      numbers: LEB128, 7 bits a byte, low ones first
//!              head = stream · 4 + (alignment follows) · 2 + (waits follow)
//! ```
//!
//! Blocks stand in the order of their requests, and a time is the number of a request: block i begins at request i and is over before
//! request i + `length` (which may be `blocks`: at the step's end). That says all of which blocks are in use together, and it is what a
//! pool sees. A block's alignment is that of the block before it (of the first, 1) unless it follows. A wait is the distance back to a
//! block of another stream whose death is assumed to be known. The checksum is FNV-1a, 64 bits, low byte first.
//!
//! The text form has the same, a block a line:
//!
//! ```text
//!   strandline-plan 1
//!   blocks 2 bytes 96 bound 96
//!   # size offset until alignment stream after
//!   64 0 2 16 0 -
//!   32 64 2 16 1 0
//! ```
//!
//! Reading trusts nothing: a file whose blocks overlap, reach beyond `bytes`, are not aligned or wait for what is not over is refused, and
//! memory is taken only for blocks that the file has. Size: 4 to 24 bytes for a block that waits for none and keeps the alignment.

use crate::check::{Fault, check};
use crate::{Lifetime, Problem, Refused, streams};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

const MAGIC: &[u8; 8] = b"STRANDPL";
const VERSION: u8 = 1;
/// The shortest block: head, size, offset, length.
const LEAST: usize = 4;

/// A block of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedBlock {
    /// Bytes.
    pub size: u64,
    /// Where it stands.
    pub offset: u64,
    /// The number of the first request by which it is over; the number of blocks where that is the step's end.
    pub until: u32,
    /// What its offset is a multiple of.
    pub alignment: u64,
    /// Its queue.
    pub stream: u32,
    /// Blocks of other streams whose death is assumed to be known when it begins.
    pub after: Vec<u32>,
}

/// A plan of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanFile {
    /// The memory of the plan.
    pub bytes: u64,
    /// No plan is below this.
    pub bound: u64,
    /// In the order of their requests.
    pub blocks: Vec<PlannedBlock>,
}

/// Why a plan file is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// It does not begin as a plan does.
    NoPlan,
    /// A version that this reader does not know.
    Version(u64),
    /// It ends in the middle.
    Truncated,
    /// Something follows the checksum.
    Trailing,
    /// The checksum differs: a byte was changed.
    Checksum,
    /// A number is not well formed, or beyond its range; the text says which.
    Number(String),
    /// The block's lifetime, size or alignment.
    Block(Refused),
    /// The block with this number is said to end beyond the last request.
    Until(usize),
    /// The block with this number waits for one that is not over by then, or is of its own stream.
    After(usize),
    /// The first block takes bytes of the second, of another stream, and does not wait for it.
    Unwaited(usize, usize),
    /// Blocks overlap, reach beyond the plan or are not aligned.
    Unsound(Fault),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPlan => f.write_str("this is no plan of strandline"),
            Self::Version(n) => {
                write!(f, "the plan has version {n}; version {VERSION} is expected")
            }
            Self::Truncated => f.write_str("the plan ends in the middle"),
            Self::Trailing => f.write_str("something follows the end of the plan"),
            Self::Checksum => f.write_str("the checksum differs: the plan was changed or damaged"),
            Self::Number(what) => write!(f, "{what}"),
            Self::Block(refused) => write!(f, "{refused}"),
            Self::Until(n) => write!(f, "block {n} ends beyond the last request"),
            Self::After(n) => write!(
                f,
                "block {n} waits for a block that is not over by then, or of its own stream"
            ),
            Self::Unwaited(n, other) => write!(
                f,
                "block {n} takes bytes of block {other}, of another stream, and does not wait for it"
            ),
            Self::Unsound(fault) => write!(f, "{fault}"),
        }
    }
}

impl core::error::Error for PlanError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Block(refused) => Some(refused),
            Self::Unsound(fault) => Some(fault),
            _ => None,
        }
    }
}

impl PlanFile {
    /// A plan of these lifetimes, in the order of their beginnings (at one time, as they stand).
    ///
    /// # Panics
    /// `offsets` is not as long as `lifetimes`.
    #[must_use]
    pub fn new(lifetimes: &[Lifetime], offsets: &[u64], bytes: u64, bound: u64) -> Self {
        let mut order: Vec<usize> = (0..lifetimes.len()).collect();
        order.sort_by_key(|&number| lifetimes[number].lower);
        let mut place = alloc::vec![0_u32; order.len()];
        for (index, &number) in order.iter().enumerate() {
            place[number] = index as u32;
        }
        let lowers: Vec<u64> = order.iter().map(|&number| lifetimes[number].lower).collect();
        let frontiers = streams::frontiers(lifetimes, offsets);
        let block = |&number: &usize| {
            let Lifetime { upper, size, alignment, stream, .. } = lifetimes[number];
            PlannedBlock {
                size,
                offset: offsets[number],
                until: lowers.partition_point(|&lower| lower < upper) as u32,
                alignment,
                stream,
                after: frontiers[number].iter().map(|&other| place[other as usize]).collect(),
            }
        };
        Self { bytes, bound, blocks: order.iter().map(block).collect() }
    }

    /// The lifetimes, in requests.
    #[must_use]
    pub fn lifetimes(&self) -> Vec<Lifetime> {
        let block = |(index, block): (usize, &PlannedBlock)| Lifetime {
            lower: index as u64,
            upper: block.until.into(),
            size: block.size,
            alignment: block.alignment,
            stream: block.stream,
        };
        self.blocks.iter().enumerate().map(block).collect()
    }

    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.blocks.len() * 12);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        for number in [self.blocks.len() as u64, self.bytes, self.bound] {
            put(&mut out, number);
        }
        let mut alignment = 1;
        for (index, block) in self.blocks.iter().enumerate() {
            let (changes, waits) = (block.alignment != alignment, !block.after.is_empty());
            put(
                &mut out,
                u64::from(block.stream) << 2 | u64::from(changes) << 1 | u64::from(waits),
            );
            put(&mut out, block.size);
            put(&mut out, block.offset);
            put(&mut out, u64::from(block.until).saturating_sub(index as u64));
            if changes {
                put(&mut out, block.alignment);
                alignment = block.alignment;
            }
            if waits {
                put(&mut out, block.after.len() as u64);
                for &other in &block.after {
                    put(&mut out, (index as u64).saturating_sub(other.into()));
                }
            }
        }
        let sum = checksum(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads a file, binary or text.
    ///
    /// # Errors
    /// It is no plan, is damaged, or its plan is not sound.
    pub fn decode(file: &[u8]) -> Result<Self, PlanError> {
        let plan = if file.starts_with(b"strandline-plan") {
            let text = core::str::from_utf8(file).map_err(|_| PlanError::NoPlan)?;
            parse(text)?
        } else {
            unpack(file)?
        };
        plan.validate()?;
        Ok(plan)
    }

    /// The text form.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { bytes, bound, blocks } = self;
        let mut text = format!(
            "strandline-plan {VERSION}\nblocks {} bytes {bytes} bound {bound}\n\
             # size offset until alignment stream after\n",
            blocks.len()
        );
        for PlannedBlock { size, offset, until, alignment, stream, after } in blocks {
            // Writing into a string does not fail.
            let _ = write!(text, "{size} {offset} {until} {alignment} {stream} ");
            for (index, other) in after.iter().enumerate() {
                let _ = write!(text, "{}{other}", if index > 0 { "," } else { "" });
            }
            text.push_str(if after.is_empty() { "-\n" } else { "\n" });
        }
        text
    }

    fn validate(&self) -> Result<(), PlanError> {
        for (index, block) in self.blocks.iter().enumerate() {
            if block.until as usize > self.blocks.len() {
                return Err(PlanError::Until(index));
            }
        }
        let lifetimes = self.lifetimes();
        Problem::new(&lifetimes).map_err(PlanError::Block)?;
        for (index, block) in self.blocks.iter().enumerate() {
            let over = |&other: &u32| {
                (other as usize) < index
                    && self.blocks.get(other as usize).is_some_and(|that| {
                        that.until as usize <= index && that.stream != block.stream
                    })
            };
            if !block.after.iter().all(over) {
                return Err(PlanError::After(index));
            }
        }
        if self.bound > self.bytes {
            return Err(PlanError::Number("the bound is above the plan's bytes".into()));
        }
        let offsets: Vec<u64> = self.blocks.iter().map(|block| block.offset).collect();
        check(&lifetimes, &offsets, self.bytes).map_err(PlanError::Unsound)?;
        let after: Vec<&[u32]> = self.blocks.iter().map(|block| &block.after[..]).collect();
        match streams::unwaited(&lifetimes, &offsets, &after) {
            Some((block, other)) => Err(PlanError::Unwaited(block, other)),
            None => Ok(()),
        }
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn checksum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, &byte: &u8| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// What is left to read.
struct Input<'f>(&'f [u8]);

impl Input<'_> {
    fn number(&mut self) -> Result<u64, PlanError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(PlanError::Truncated)?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(PlanError::Number("a number has more than 64 bits or needless bytes".into()))
    }

    fn small(&mut self, what: &str) -> Result<u32, PlanError> {
        narrow(self.number()?, what)
    }
}

fn narrow(number: u64, what: &str) -> Result<u32, PlanError> {
    u32::try_from(number).map_err(|_| PlanError::Number(format!("{what} is {number}, beyond 2^32")))
}

fn unpack(file: &[u8]) -> Result<PlanFile, PlanError> {
    let known = file.len().min(MAGIC.len());
    if file[..known] != MAGIC[..known] || file.is_empty() {
        return Err(PlanError::NoPlan);
    }
    let version = *file.get(MAGIC.len()).ok_or(PlanError::Truncated)?;
    if version != VERSION {
        return Err(PlanError::Version(version.into()));
    }
    let body = file
        .len()
        .checked_sub(8)
        .filter(|&end| end > MAGIC.len() + 1)
        .ok_or(PlanError::Truncated)?;
    let mut input = Input(&file[MAGIC.len() + 1..body]);
    let (count, bytes, bound) = (input.number()?, input.number()?, input.number()?);
    if count > (input.0.len() / LEAST) as u64 {
        return Err(PlanError::Truncated);
    }
    let mut blocks = Vec::with_capacity(count as usize);
    let mut alignment = 1;
    for index in 0..narrow(count, "the number of blocks")? {
        let head = input.number()?;
        let (size, offset, length) = (input.number()?, input.number()?, input.number()?);
        let until = narrow(length.saturating_add(index.into()), "a block's end")?;
        if head & 2 != 0 {
            alignment = input.number()?;
        }
        let mut after = Vec::new();
        if head & 1 != 0 {
            for _ in 0..input.small("a number of waits")? {
                let back = input.small("a wait")?;
                let other = index.checked_sub(back).ok_or(PlanError::After(index as usize))?;
                after.push(other);
            }
        }
        let stream = narrow(head >> 2, "a stream")?;
        blocks.push(PlannedBlock { size, offset, until, alignment, stream, after });
    }
    if !input.0.is_empty() {
        return Err(PlanError::Trailing);
    }
    if checksum(&file[..body]).to_le_bytes() != file[body..] {
        return Err(PlanError::Checksum);
    }
    Ok(PlanFile { bytes, bound, blocks })
}

fn parse(text: &str) -> Result<PlanFile, PlanError> {
    let mut lines =
        text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
    let number = |line: usize, word: Option<&str>| {
        let word = word.ok_or(PlanError::Truncated)?;
        word.parse::<u64>().map_err(|_| {
            let found: String = word.chars().take(40).collect();
            PlanError::Number(format!("line {}: {found:?} is no number", line + 1))
        })
    };
    let (at, first) = lines.next().ok_or(PlanError::Truncated)?;
    let mut words = first.split_whitespace();
    if words.next() != Some("strandline-plan") {
        return Err(PlanError::NoPlan);
    }
    let version = number(at, words.next())?;
    if version != u64::from(VERSION) {
        return Err(PlanError::Version(version));
    }
    let (at, second) = lines.next().ok_or(PlanError::Truncated)?;
    let mut words = second.split_whitespace();
    let mut field = |name: &str| match words.next() {
        Some(word) if word == name => number(at, words.next()),
        Some(_) => Err(PlanError::Number(format!("line {}: `{name}` is expected", at + 1))),
        None => Err(PlanError::Truncated),
    };
    let (count, bytes, bound) = (field("blocks")?, field("bytes")?, field("bound")?);
    let mut blocks = Vec::new();
    for (at, line) in lines {
        if blocks.len() as u64 == count {
            return Err(PlanError::Trailing);
        }
        let mut words = line.split_whitespace();
        let mut next = || number(at, words.next());
        let (size, offset) = (next()?, next()?);
        let until = narrow(next()?, "a block's end")?;
        let (alignment, stream) = (next()?, narrow(next()?, "a stream")?);
        let mut after = Vec::new();
        match words.next() {
            None => return Err(PlanError::Truncated),
            Some("-") => {}
            Some(list) => {
                for word in list.split(',') {
                    after.push(narrow(number(at, Some(word))?, "a wait")?);
                }
            }
        }
        blocks.push(PlannedBlock { size, offset, until, alignment, stream, after });
    }
    if blocks.len() as u64 != count {
        return Err(PlanError::Truncated);
    }
    Ok(PlanFile { bytes, bound, blocks })
}
