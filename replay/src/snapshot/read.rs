//! A snapshot out of a pickle or JSON.
//!
//! Entries and blocks are read as far as they make sense: an element that lacks what it must have is counted and left out, except
//! that an entry of a trace stays as a mark, so that entries keep their numbers. Frames are interned by what they
//! say; lists of frames with the same frames are looked at once.
//!
//! Cost: O(file). A list may stand in many places of a small file: no more elements are visited than a file of honest shape
//! could hold ([`Reader::budget`]).

use super::{Action, Block, BlockState, DeviceTrace, Entry, Frame, Recorded, Segment, Snapshot};
use crate::format::pickle::{Arena, Value, Word};
use crate::format::{ErrorKind, Limits, Place, TraceError};
use crate::hash::FastMap;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use strandline_twins::torch::Settings;
use strandline_twins::torch::settings::MIB;

const REMEDY: &str = "write the file with torch.cuda.memory._dump_snapshot, after torch.cuda.memory._record_memory_history()";

/// More devices than any machine has.
const MOST_DEVICES: usize = 1 << 10;

/// Reads a snapshot: a pickle or JSON, plain or gzip.
///
/// # Errors
/// The input is no pickle, is damaged, needs more memory than the limits allow, or is no snapshot: it has neither
/// `device_traces` nor `segments`.
pub fn read(input: impl Read + Send, limits: Limits) -> Result<Snapshot, TraceError> {
    let (mut arena, root) = crate::format::everything(input, limits)?;
    let words = Words::new(&mut arena);
    let reader = Reader {
        // A shared list costs its elements wherever it stands; honest files share frames and little else.
        budget: 64 * (arena.dictionaries() as u64 + 1024),
        arena: &arena,
        words,
        snapshot: Snapshot::default(),
        lists: FastMap::default(),
        frames: FastMap::default(),
        scratch: Vec::new(),
        pools: HashMap::new(),
    };
    reader.read(root)
}

/// The words of a snapshot, by number in the arena.
struct Words {
    device_traces: Word,
    segments: Word,
    settings: Word,
    actions: Vec<(Word, Action)>,
    action: Word,
    addr: Word,
    device_free: Word,
    size: Word,
    stream: Word,
    time_us: Word,
    frames: Word,
    filename: Word,
    line: Word,
    name: Word,
    device: Word,
    address: Word,
    total_size: Word,
    blocks: Word,
    segment_type: Word,
    small: Word,
    pool_id: Word,
    expandable: Word,
    state: Word,
    requested: Word,
    allocated: Word,
    pending: [Word; 2],
    history: Word,
    /// Keys of the settings.
    options: HashMap<String, Word>,
}

/// Under these the line of settings stands.
const CONF: [&str; 3] = ["PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"];
/// Settings that a file states one by one.
const OPTIONS: [&str; 5] = [
    "max_split_size",
    "max_non_split_rounding_size",
    "garbage_collection_threshold",
    "expandable_segments",
    "roundup_power2_divisions",
];

impl Words {
    fn new(arena: &mut Arena) -> Self {
        let mut word = |text: &str| arena.word(text.as_bytes());
        let actions = [
            Action::Alloc,
            Action::FreeRequested,
            Action::FreeCompleted,
            Action::SegmentAlloc,
            Action::SegmentFree,
            Action::SegmentMap,
            Action::SegmentUnmap,
            Action::OutOfMemory,
        ];
        Self {
            actions: actions.map(|action| (word(action.word()), action)).to_vec(),
            device_traces: word("device_traces"),
            segments: word("segments"),
            settings: word("allocator_settings"),
            action: word("action"),
            addr: word("addr"),
            device_free: word("device_free"),
            size: word("size"),
            stream: word("stream"),
            time_us: word("time_us"),
            frames: word("frames"),
            filename: word("filename"),
            line: word("line"),
            name: word("name"),
            device: word("device"),
            address: word("address"),
            total_size: word("total_size"),
            blocks: word("blocks"),
            segment_type: word("segment_type"),
            small: word("small"),
            pool_id: word("segment_pool_id"),
            expandable: word("is_expandable"),
            state: word("state"),
            requested: word("requested_size"),
            allocated: word("active_allocated"),
            pending: [word("active_pending_free"), word("active_awaiting_free")],
            history: word("history"),
            options: CONF
                .into_iter()
                .chain(OPTIONS)
                .map(str::to_owned)
                .chain((0..16).map(|power| (1 << power).to_string()))
                .map(|key| (key.clone(), word(&key)))
                .collect(),
        }
    }
}

struct Reader<'p> {
    arena: &'p Arena,
    words: Words,
    snapshot: Snapshot,
    /// Stacks by the body of the lists that hold their frames.
    lists: FastMap<u32, u32>,
    /// Frames by their dictionary.
    frames: FastMap<u32, u32>,
    scratch: Vec<u32>,
    /// Private pools by their two numbers.
    pools: HashMap<(u64, u64), u32>,
    /// Elements that may still be visited.
    budget: u64,
}

impl Reader<'_> {
    fn read(mut self, root: Value) -> Result<Snapshot, TraceError> {
        let traces =
            self.arena.get(root, self.words.device_traces).and_then(|v| self.arena.list(v));
        let segments = match self.arena.get(root, self.words.segments) {
            Some(segments) => self.arena.list(segments),
            // `memory_snapshot()` gives the list of segments alone.
            None => self.arena.list(root),
        };
        if traces.is_none() && segments.is_none_or(|s| s.len() == 0) {
            return Err(TraceError::new(
                ErrorKind::NotASnapshot,
                Place::Whole,
                format!(
                    "{} without `device_traces` and `segments`",
                    self.arena.describe(Some(root))
                ),
                "a snapshot: a dictionary with `device_traces` and `segments`",
                REMEDY,
            ));
        }
        let mut devices: BTreeMap<u32, DeviceTrace> = BTreeMap::new();
        for (number, trace) in (0u32..).zip(traces.iter().flat_map(|t| t.iter())).take(MOST_DEVICES)
        {
            let entries = self.trace(trace);
            if !entries.is_empty() {
                devices.insert(number, DeviceTrace { number, entries, segments: Vec::new() });
            }
        }
        for segment in segments.iter().flat_map(|s| s.iter()) {
            match self.segment(segment) {
                Some((number, segment))
                    if devices.len() < MOST_DEVICES || devices.contains_key(&number) =>
                {
                    let device = devices.entry(number).or_default();
                    device.number = number;
                    device.segments.push(segment);
                }
                _ => self.snapshot.left_out += 1,
            }
        }
        self.snapshot.recorded =
            self.arena.get(root, self.words.settings).and_then(|settings| self.settings(settings));
        // As many as there are lists of entries, and those that only segments name.
        let traced = traces.map_or(0, |traces| u32::try_from(traces.len()).unwrap_or(u32::MAX));
        let last = devices.keys().next_back().map_or(0, |&last| last.saturating_add(1));
        self.snapshot.listed = traced.max(last);
        self.snapshot.devices = devices.into_values().collect();
        for device in &mut self.snapshot.devices {
            device.segments.sort_by_key(|segment| segment.address);
        }
        Ok(self.snapshot)
    }

    fn visit(&mut self) -> bool {
        self.budget = self.budget.saturating_sub(1);
        self.budget > 0
    }

    fn number(&self, of: Value, key: Word) -> Option<u64> {
        number(self.arena.get(of, key)?)
    }

    fn trace(&mut self, trace: Value) -> Vec<Entry> {
        let Some(list) = self.arena.list(trace) else { return Vec::new() };
        // As many as come, so that no second copy is made on the way.
        let mut entries = Vec::new();
        entries.reserve_exact(list.len().min(usize::try_from(self.budget).unwrap_or(usize::MAX)));
        for item in list.iter() {
            if !self.visit() || entries.len() == u32::MAX as usize {
                self.snapshot.left_out += 1;
                break;
            }
            entries.push(self.entry(item));
        }
        entries
    }

    fn entry(&mut self, item: Value) -> Entry {
        let words = &self.words;
        let (mut word, mut address, mut free, mut size, mut frames) =
            (None, None, None, None, None);
        let (mut handle, mut time_us) = (0, 0);
        // In one go: a device has millions of entries.
        self.arena.each(item, |key, value| match key {
            _ if key == words.action => word = Some(value),
            _ if key == words.addr => address = number(value),
            _ if key == words.device_free => free = number(value),
            _ if key == words.size => size = number(value),
            _ if key == words.stream => handle = stream(value),
            _ if key == words.time_us => time_us = time(value),
            _ if key == words.frames => frames = Some(value),
            _ => {}
        });
        let mark =
            Entry { action: Action::Mark, address: 0, size: 0, stream: 0, time_us, stack: 0 };
        let Some(Value::Str(word)) = word else {
            self.snapshot.left_out += 1;
            return mark;
        };
        let Some(&(_, action)) = self.words.actions.iter().find(|&&(known, _)| known == word)
        else {
            return mark;
        };
        let address = match action {
            Action::OutOfMemory => free.or(Some(super::NOT_TOLD)),
            _ => address,
        };
        let (Some(address), Some(size)) = (address, size) else {
            self.snapshot.left_out += 1;
            return mark;
        };
        let stack = self.stack(frames);
        Entry { action, address, size, stream: handle, stack, ..mark }
    }

    /// The stack of a list of frames.
    fn stack(&mut self, frames: Option<Value>) -> u32 {
        let Some(list) = frames.and_then(|frames| self.arena.list(frames)) else { return 0 };
        if let Some(&stack) = self.lists.get(&list.body()) {
            return stack;
        }
        let mut frames = core::mem::take(&mut self.scratch);
        frames.clear();
        for item in list.iter() {
            if !self.visit() {
                break;
            }
            if let Value::Dict(dict) = item {
                let frame = self.frame(dict);
                frames.push(frame);
            }
        }
        let stack = self.snapshot.stacks.stack(&frames);
        self.scratch = frames;
        self.lists.insert(list.body(), stack);
        stack
    }

    fn frame(&mut self, dict: u32) -> u32 {
        if let Some(&frame) = self.frames.get(&dict) {
            return frame;
        }
        let of = Value::Dict(dict);
        let line = self.number(of, self.words.line).and_then(|line| u32::try_from(line).ok());
        let frame = Frame {
            file: self.text(of, self.words.filename).into(),
            line: line.unwrap_or(0),
            function: self.text(of, self.words.name).into(),
        };
        let frame = self.snapshot.stacks.frame(frame);
        self.frames.insert(dict, frame);
        frame
    }

    fn text(&self, of: Value, key: Word) -> String {
        match self.arena.get(of, key) {
            Some(Value::Str(word)) => {
                String::from_utf8_lossy(self.arena.text(word).unwrap_or(b"(too long)")).into_owned()
            }
            _ => String::new(),
        }
    }

    fn segment(&mut self, item: Value) -> Option<(u32, Segment)> {
        let address = self.number(item, self.words.address)?;
        let size = self.number(item, self.words.total_size);
        let device = self.number(item, self.words.device).unwrap_or(0);
        let kind = self.arena.get(item, self.words.segment_type);
        let (blocks, end) = self.blocks(item, address);
        let size = size.or_else(|| end.checked_sub(address))?;
        let segment = Segment {
            address,
            size,
            stream: self.arena.get(item, self.words.stream).map_or(0, stream),
            small: match kind {
                Some(Value::Str(word)) => word == self.words.small,
                _ => size == 2 * MIB,
            },
            pool: self.pool(item),
            expandable: self.arena.get(item, self.words.expandable) == Some(Value::True),
            blocks,
        };
        address.checked_add(size)?;
        Some((u32::try_from(device).ok()?, segment))
    }

    /// The number of a segment's private pool.
    fn pool(&mut self, item: Value) -> u32 {
        let id = self.arena.get(item, self.words.pool_id).and_then(|id| self.arena.list(id));
        let Some(id) = id else { return 0 };
        let part = |index| id.get(index).and_then(number).unwrap_or(0);
        match (part(0), part(1)) {
            (0, 0) => 0,
            pair => {
                let next = self.pools.len() as u32 + 1;
                *self.pools.entry(pair).or_insert(next)
            }
        }
    }

    /// Blocks by address, and where the last one ends. Older snapshots give a block no address: it follows the one before it.
    fn blocks(&mut self, segment: Value, base: u64) -> (Vec<Block>, u64) {
        let mut blocks = Vec::new();
        let mut next = base;
        let list = self.arena.get(segment, self.words.blocks).and_then(|b| self.arena.list(b));
        for item in list.iter().flat_map(|list| list.iter()) {
            let address = self.number(item, self.words.address).unwrap_or(next);
            let size = self.number(item, self.words.size);
            let (true, Some(size)) = (self.visit(), size) else {
                self.snapshot.left_out += 1;
                break;
            };
            let Some(end) = address.checked_add(size) else { break };
            next = end;
            let state = match self.arena.get(item, self.words.state) {
                Some(Value::Str(word)) if word == self.words.allocated => BlockState::Allocated,
                Some(Value::Str(word)) if self.words.pending.contains(&word) => BlockState::Pending,
                _ => BlockState::Free,
            };
            let requested = self.number(item, self.words.requested).filter(|&r| r > 0);
            // Before 2.1 the stack is that of the latest element of the block's history.
            let history = self.arena.get(item, self.words.history);
            let latest = history.and_then(|h| self.arena.list(h)).and_then(|h| h.get(0));
            let frames = self.arena.get(latest.unwrap_or(item), self.words.frames);
            let stack = self.stack(frames);
            let requested = requested.unwrap_or(size).min(size);
            blocks.push(Block { address, size, requested, state, stack });
        }
        blocks.sort_by_key(|block| block.address);
        (blocks, next)
    }

    fn settings(&self, of: Value) -> Option<Recorded> {
        if !matches!(of, Value::Dict(_)) {
            return None;
        }
        let find = |of: Value, key: &str| self.arena.get(of, *self.words.options.get(key)?);
        let known = |key: &str| find(of, key);
        let conf = CONF.iter().find_map(|key| match known(key) {
            Some(Value::Str(word)) => self.arena.text(word),
            _ => None,
        });
        let conf = String::from_utf8_lossy(conf.unwrap_or_default()).into_owned();
        let mut faults = Vec::new();
        let mut settings = Settings::parse(&conf).unwrap_or_else(|why| {
            faults.push(format!("the recorded settings do not parse: {why}"));
            Settings::default()
        });
        // What the file states value by value is what was in force; the line may be older.
        if let Some(Value::Int(bytes)) = known("max_split_size") {
            settings.max_split = u64::try_from(bytes).unwrap_or(u64::MAX);
        }
        if let Some(bytes) = known("max_non_split_rounding_size").and_then(number) {
            settings.max_non_split_rounding = bytes;
        }
        if let Some(Value::Float(share)) = known("garbage_collection_threshold") {
            settings.gc_threshold = if (0.0..1.0).contains(&share) { share } else { 0.0 };
        }
        match known("expandable_segments") {
            Some(Value::True) => settings.expandable = true,
            Some(Value::Int(0)) => settings.expandable = false,
            _ => {}
        }
        if let Some(steps) = known("roundup_power2_divisions") {
            for (index, slot) in settings.divisions.iter_mut().enumerate() {
                let key = (1u64 << index).to_string();
                if let Some(n) = find(steps, &key).and_then(number) {
                    *slot = n;
                }
            }
            if let Some(wrong) = settings.divisions.iter().find(|&&n| n > 0 && !n.is_power_of_two())
            {
                faults.push(format!("roundup_power2_divisions of {wrong} is no power of two"));
                settings.divisions = [0; 16];
            }
        }
        Some(Recorded { settings, conf, faults })
    }
}

/// A stream's handle: any 64 bits.
fn stream(value: Value) -> u64 {
    match value {
        Value::Int(value) => value as u64,
        value => number(value).unwrap_or(0),
    }
}

fn time(value: Value) -> u64 {
    match value {
        Value::Float(us) if us >= 0.0 => us as u64,
        value => number(value).unwrap_or(0),
    }
}

fn number(value: Value) -> Option<u64> {
    match value {
        Value::Int(value) => u64::try_from(value).ok(),
        Value::Uint(value) => Some(value),
        Value::True => Some(1),
        _ => None,
    }
}
