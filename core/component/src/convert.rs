//! Between the types of the interface and those of the core: every conversion there is, in one place.
//!
//! Matches are exhaustive in both directions and records are taken apart field by field, so that a change
//! on one side does not compile before the other follows. What comes in is checked; nothing panics.
//!
//! Cost: a frontier of up to [`ON_STACK`] entries is copied without allocating.

use crate::bindings::exported::{authority, frontiers, inspect, pools, tracker};
use crate::bindings::imported::{slabs, types};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use spin::Mutex;
use strandline_core::frontier::MAX_ENTRIES;
use strandline_core::offset::tlsf::{Carve, Config, Placement, Search, Tie};
use strandline_core::pool::arena::ArenaPoolConfig;
use strandline_core::pool::budget::Budget;
use strandline_core::pool::fixed_block::FixedBlockPoolConfig;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::passthrough::PassthroughPoolConfig;
use strandline_core::pool::tlsf::{Coalescing, TlsfPoolConfig, Waiting};
use strandline_core::pool::{Origin, PoolProperties, PoolStats, ReuseProof};
use strandline_core::pool_set::{Need, NoMatch};
use strandline_core::slab::retain::Retention;
use strandline_core::slab::{BufferUsage, MemoryType, SlabProperties, SlabStats, Trim};
use strandline_core::{
    Axis, AxisStatus, Causality, Death, Entry, FrontierError, FrontierRef, PoolError, SlabError,
    SlabId, TrackerError, WaitError, WireError,
};

#[cfg(feature = "plans")]
mod plans;
#[cfg(feature = "plans")]
pub(crate) use plans::{plan, planned_error, planned_stats};

/// Entries of a frontier that need no allocation.
const ON_STACK: usize = 8;

/// Room for the entries of a frontier.
#[derive(Default)]
struct Room {
    few: Option<[Entry; ON_STACK]>,
    many: Vec<Entry>,
}

impl Room {
    /// A list of entries as a frontier, if it is one. Not generic, so that there is one of it.
    #[inline(never)]
    fn frontier(&mut self, list: &[types::Entry]) -> Result<FrontierRef<'_>, types::FrontierError> {
        let entries = match list.len() {
            0 => return Ok(FrontierRef::EMPTY),
            len @ ..=ON_STACK => {
                let few = self.few.insert([Entry::new(Axis::from_bits(0), 0); ON_STACK]);
                for (entry, from) in few.iter_mut().zip(list) {
                    *entry = entry_in(from);
                }
                &few[..len]
            }
            ..=MAX_ENTRIES => {
                self.many.extend(list.iter().map(entry_in));
                &self.many[..]
            }
            _ => return Err(types::FrontierError::TooMany(MAX_ENTRIES as u32)),
        };
        FrontierRef::try_from_sorted(entries).map_err(frontier_error)
    }
}

/// Runs `then` with a list of entries as a frontier, if it is one.
#[inline]
pub(crate) fn frontier<R>(
    list: &[types::Entry],
    then: impl FnOnce(FrontierRef<'_>) -> R,
) -> Result<R, types::FrontierError> {
    let mut room = Room::default();
    room.frontier(list).map(then)
}

/// A frontier of one entry at the most, if it is one.
#[inline]
pub(crate) const fn single(entry: Option<&Entry>) -> Result<FrontierRef<'_>, types::FrontierError> {
    match entry {
        Some(entry) if entry.epoch == 0 => Err(types::FrontierError::ZeroEpoch(0)),
        Some(entry) => Ok(FrontierRef::single(entry)),
        None => Ok(FrontierRef::EMPTY),
    }
}

/// Runs `then` with a death, if its frontier is one.
#[inline]
pub(crate) fn death<R>(
    death: &types::Death,
    then: impl FnOnce(Death<'_>) -> R,
) -> Result<R, types::FrontierError> {
    let list = match death {
        types::Death::After(list) => &list[..],
        types::Death::Idle | types::Death::Unknown => &[],
    };
    // One call of `then`, which is compiled into each.
    frontier(list, |after| {
        then(match death {
            types::Death::Idle => Death::Idle,
            types::Death::After(_) => Death::After(after),
            types::Death::Unknown => Death::Unknown,
        })
    })
}

#[inline]
pub(crate) const fn entry_in(entry: &types::Entry) -> Entry {
    let &types::Entry { axis, epoch } = entry;
    Entry::new(Axis::from_bits(axis), epoch)
}

#[inline]
const fn entry_out(entry: &Entry) -> types::Entry {
    let &Entry { axis, epoch } = entry;
    types::Entry { axis: axis.to_bits(), epoch }
}

pub(crate) fn entries(frontier: FrontierRef<'_>) -> Vec<types::Entry> {
    frontier.entries().iter().map(entry_out).collect()
}

pub(crate) fn entry_list(entries: &[Entry]) -> Vec<types::Entry> {
    entries.iter().map(entry_out).collect()
}

/// A position as the interface counts them; none is beyond 32 bits in a 32-bit memory.
const fn position(index: usize) -> u32 {
    index as u32
}

pub(crate) const fn frontier_error(error: FrontierError) -> types::FrontierError {
    match error {
        FrontierError::Unsorted { index } => types::FrontierError::Unsorted(position(index)),
        FrontierError::Duplicate { index, axis: _ } => {
            types::FrontierError::Duplicate(position(index))
        }
        FrontierError::ZeroEpoch { index, axis: _ } => {
            types::FrontierError::ZeroEpoch(position(index))
        }
        FrontierError::TooMany { limit } => types::FrontierError::TooMany(position(limit)),
    }
}

pub(crate) const fn wire_error(error: WireError) -> frontiers::WireError {
    match error {
        WireError::Length { expected, actual } => {
            frontiers::WireError::Length(frontiers::LengthError {
                expected: expected as u64,
                actual: actual as u64,
            })
        }
        WireError::Reserved { offset } => frontiers::WireError::Reserved(position(offset)),
        WireError::Entries(error) => frontiers::WireError::Entries(frontier_error(error)),
    }
}

pub(crate) const fn causality(causality: Causality) -> frontiers::Causality {
    match causality {
        Causality::Before => frontiers::Causality::Before,
        Causality::After => frontiers::Causality::After,
        Causality::Equal => frontiers::Causality::Equal,
        Causality::Concurrent => frontiers::Causality::Concurrent,
    }
}

pub(crate) fn wait_error(error: &WaitError) -> types::WaitError {
    match error {
        WaitError::Failed { axis, failure } => types::WaitError::Failed(types::AxisFailure {
            axis: axis.to_bits(),
            // Every failure here was made of words.
            message: failure.as_message().unwrap_or_default().to_owned(),
        }),
        WaitError::Retired { axis } => types::WaitError::Retired(axis.to_bits()),
        WaitError::TrackerDropped => types::WaitError::Gone,
    }
}

pub(crate) fn tracker_error(error: &TrackerError) -> tracker::TrackerError {
    match error {
        TrackerError::UnknownAxis(axis) => tracker::TrackerError::UnknownAxis(axis.to_bits()),
        TrackerError::DuplicateAxis(axis) => tracker::TrackerError::DuplicateAxis(axis.to_bits()),
        TrackerError::ReservedAxis => tracker::TrackerError::ReservedAxis,
        TrackerError::Full { capacity } => tracker::TrackerError::Full(position(*capacity)),
        TrackerError::Ended(end) => tracker::TrackerError::Ended(wait_error(end)),
    }
}

pub(crate) fn axis_status(status: &AxisStatus) -> tracker::AxisStatus {
    let AxisStatus { axis, reached, end } = status;
    tracker::AxisStatus {
        axis: axis.to_bits(),
        reached: *reached,
        end: end.as_ref().map(wait_error),
    }
}

/// Flags have the same bits on both sides: checked when this is compiled.
const _: () = {
    assert!(types::MemoryType::all().bits() as u32 == MemoryType::from_bits_truncate(!0).bits());
    assert!(types::BufferUsage::all().bits() as u32 == BufferUsage::from_bits_truncate(!0).bits());
    assert!(types::MemoryType::OPTIMAL.bits() as u32 == MemoryType::OPTIMAL.bits());
    assert!(types::MemoryType::HOST_VISIBLE.bits() as u32 == MemoryType::HOST_VISIBLE.bits());
    assert!(types::MemoryType::HOST_COHERENT.bits() as u32 == MemoryType::HOST_COHERENT.bits());
    assert!(types::MemoryType::HOST_CACHED.bits() as u32 == MemoryType::HOST_CACHED.bits());
    assert!(types::MemoryType::DEVICE_LOCAL.bits() as u32 == MemoryType::DEVICE_LOCAL.bits());
    assert!(types::MemoryType::SHARED.bits() as u32 == MemoryType::SHARED.bits());
    assert!(types::BufferUsage::TRANSFER.bits() as u32 == BufferUsage::TRANSFER.bits());
    assert!(types::BufferUsage::STORAGE.bits() as u32 == BufferUsage::STORAGE.bits());
    assert!(types::BufferUsage::STORAGE_READ.bits() as u32 == BufferUsage::STORAGE_READ.bits());
    assert!(types::BufferUsage::UNIFORM.bits() as u32 == BufferUsage::UNIFORM.bits());
    assert!(types::BufferUsage::INDEX.bits() as u32 == BufferUsage::INDEX.bits());
    assert!(types::BufferUsage::VERTEX.bits() as u32 == BufferUsage::VERTEX.bits());
    assert!(types::BufferUsage::INDIRECT.bits() as u32 == BufferUsage::INDIRECT.bits());
    assert!(types::BufferUsage::UPLOAD.bits() as u32 == BufferUsage::UPLOAD.bits());
    assert!(types::BufferUsage::READBACK.bits() as u32 == BufferUsage::READBACK.bits());
};

const fn memory_type_in(flags: types::MemoryType) -> MemoryType {
    MemoryType::from_bits_truncate(flags.bits() as u32)
}

const fn memory_type_out(flags: MemoryType) -> types::MemoryType {
    types::MemoryType::from_bits_truncate(flags.bits() as u8)
}

const fn usage_in(flags: types::BufferUsage) -> BufferUsage {
    BufferUsage::from_bits_truncate(flags.bits() as u32)
}

const fn usage_out(flags: BufferUsage) -> types::BufferUsage {
    types::BufferUsage::from_bits_truncate(flags.bits() as u16)
}

pub(crate) const fn slab_properties(properties: slabs::SlabProperties) -> SlabProperties {
    let slabs::SlabProperties { memory_type, usage, alignment, granularity, max_slab_size } =
        properties;
    SlabProperties {
        memory_type: memory_type_in(memory_type),
        usage: usage_in(usage),
        alignment,
        granularity,
        max_slab_size,
    }
}

pub(crate) const fn slab_stats(stats: slabs::SlabStats) -> SlabStats {
    let slabs::SlabStats {
        identity,
        slabs,
        committed_bytes,
        peak_committed_bytes,
        cached_bytes,
        acquires,
        releases,
        refusals,
    } = stats;
    SlabStats {
        identity,
        slabs,
        committed_bytes,
        peak_committed_bytes,
        cached_bytes,
        acquires,
        releases,
        refusals,
    }
}

/// The text as a constant. Operations of a host are few; beyond `KNOWN_TEXTS` they share one name.
fn constant(text: &str) -> &'static str {
    static KNOWN: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    const KNOWN_TEXTS: usize = 64;
    let mut known = KNOWN.lock();
    if let Some(&text) = known.iter().find(|&&known| known == text) {
        return text;
    }
    if known.len() >= KNOWN_TEXTS {
        return "a system call of the host";
    }
    let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
    known.push(text);
    text
}

pub(crate) fn slab_error_in(error: types::SlabError) -> SlabError {
    match error {
        types::SlabError::InvalidSize(size) => SlabError::InvalidSize { size },
        types::SlabError::UnknownSlab(id) => SlabError::UnknownSlab(SlabId::from_bits(id)),
        types::SlabError::InvalidRange => SlabError::InvalidRange,
        types::SlabError::Lost => SlabError::Lost,
        types::SlabError::System(types::SystemError { code, operation }) => {
            SlabError::Os { code, operation: constant(&operation) }
        }
    }
}

fn slab_error_out(error: SlabError) -> types::SlabError {
    match error {
        SlabError::InvalidSize { size } => types::SlabError::InvalidSize(size),
        SlabError::UnknownSlab(id) => types::SlabError::UnknownSlab(id.to_bits()),
        SlabError::InvalidRange => types::SlabError::InvalidRange,
        SlabError::Lost => types::SlabError::Lost,
        SlabError::Os { code, operation } => {
            types::SlabError::System(types::SystemError { code, operation: operation.to_owned() })
        }
    }
}

pub(crate) fn pool_error(error: PoolError) -> types::PoolError {
    match error {
        PoolError::ZeroSize => types::PoolError::ZeroSize,
        PoolError::InvalidAlignment { alignment } => types::PoolError::InvalidAlignment(alignment),
        PoolError::TooLarge { size, max } => {
            types::PoolError::TooLarge(types::TooLarge { size, max })
        }
        PoolError::TooManyBlocks => types::PoolError::TooManyBlocks,
        PoolError::Provider(error) => types::PoolError::Provider(slab_error_out(error)),
        PoolError::InvalidConfig(what) => types::PoolError::InvalidConfig(String::from(what)),
        PoolError::Lost => types::PoolError::Lost,
    }
}

pub(crate) const fn trim_in(how: types::Trim) -> Trim {
    match how {
        types::Trim::All => Trim::All,
        types::Trim::Excess => Trim::Excess,
    }
}

pub(crate) const fn trim_out(how: Trim) -> types::Trim {
    match how {
        Trim::All => types::Trim::All,
        Trim::Excess => types::Trim::Excess,
    }
}

pub(crate) const fn origin(origin: Origin) -> pools::Origin {
    match origin {
        Origin::Fresh => pools::Origin::Fresh,
        Origin::Reused(ReuseProof::Dominance) => pools::Origin::Dominated,
        Origin::Reused(ReuseProof::Completion) => pools::Origin::Completed,
    }
}

pub(crate) fn pool_properties(properties: PoolProperties) -> pools::PoolProperties {
    let PoolProperties { kind, memory_type, usage, alignment, max_request } = properties;
    pools::PoolProperties {
        // The core names kinds by text, so that others may have their own.
        kind: match kind {
            "tlsf" => pools::PoolKind::Tlsf,
            "fixed-block" => pools::PoolKind::FixedBlock,
            "arena" => pools::PoolKind::Arena,
            "passthrough" => pools::PoolKind::Passthrough,
            "planned" => pools::PoolKind::Planned,
            _ => pools::PoolKind::Other,
        },
        memory_type: memory_type_out(memory_type),
        usage: usage_out(usage),
        alignment,
        max_request,
    }
}

pub(crate) const fn pool_stats(stats: &PoolStats) -> pools::PoolStats {
    let &PoolStats {
        reserved_bytes,
        requested_bytes,
        free_bytes,
        pending_bytes,
        tainted_bytes,
        committed_bytes,
        peak_reserved_bytes,
        peak_requested_bytes,
        peak_committed_bytes,
        peak_pending_bytes,
        slabs,
        live,
        reserves,
        releases,
        fresh,
        dominated,
        completed,
        waited,
        missed,
        exhausted,
        over_budget,
        tainted,
    } = stats;
    pools::PoolStats {
        reserved_bytes,
        requested_bytes,
        free_bytes,
        pending_bytes,
        tainted_bytes,
        committed_bytes,
        peak_reserved_bytes,
        peak_requested_bytes,
        peak_committed_bytes,
        peak_pending_bytes,
        slabs,
        live,
        reserves,
        releases,
        fresh,
        dominated,
        completed,
        waited,
        missed,
        exhausted,
        over_budget,
        tainted,
    }
}

pub(crate) const fn summary(snapshot: &strandline_core::inspect::Snapshot) -> inspect::Summary {
    let strandline_core::inspect::Snapshot {
        stats,
        blocks,
        largest_clean_bytes,
        largest_hole_bytes,
    } = snapshot;
    inspect::Summary {
        stats: pool_stats(stats),
        blocks: *blocks,
        largest_clean_bytes: *largest_clean_bytes,
        largest_hole_bytes: *largest_hole_bytes,
    }
}

pub(crate) const fn need(need: pools::Need) -> Need {
    let pools::Need { memory_type, usage, size } = need;
    Need { memory_type: memory_type_in(memory_type), usage: usage_in(usage), size }
}

pub(crate) const fn no_match(reason: NoMatch) -> pools::NoMatch {
    match reason {
        NoMatch::MemoryType => pools::NoMatch::MemoryType,
        NoMatch::Usage => pools::NoMatch::Usage,
        NoMatch::Size { largest } => pools::NoMatch::Size(largest),
    }
}

const fn growth(growth: authority::Growth) -> Growth {
    let authority::Growth { slab_size, max_slabs } = growth;
    Growth { slab_size, max_slabs }
}

const fn retention(retention: authority::Retention) -> Retention {
    let authority::Retention { slabs, bytes } = retention;
    Retention { slabs, bytes }
}

/// All ones is [`Budget::UNLIMITED`] on both sides.
const fn budget(bytes: u64) -> Budget {
    Budget::bytes(bytes)
}

const fn carve(carve: authority::Carve) -> Carve {
    match carve {
        authority::Carve::Low => Carve::Low,
        authority::Carve::High => Carve::High,
        authority::Carve::Older => Carve::Older,
        authority::Carve::Younger => Carve::Younger,
        authority::Carve::Bigger => Carve::Bigger,
        authority::Carve::Smaller => Carve::Smaller,
        authority::Carve::Similar => Carve::Similar,
    }
}

const fn placement(placement: authority::Placement) -> Placement {
    let authority::Placement { search, threshold, large, small } = placement;
    Placement {
        search: match search {
            authority::Search::Head => Search::Head,
            authority::Search::Best(authority::BestSearch { scan, tie }) => Search::Best {
                scan,
                tie: match tie {
                    authority::Tie::Low => Tie::Low,
                    authority::Tie::High => Tie::High,
                    authority::Tie::First => Tie::First,
                    authority::Tie::Last => Tie::Last,
                },
            },
        },
        threshold,
        large: carve(large),
        small: carve(small),
    }
}

pub(crate) const fn tlsf_config(config: authority::TlsfConfig) -> TlsfPoolConfig {
    let authority::TlsfConfig {
        granule,
        second_level_bits,
        placement: place,
        growth: grow,
        budget: limit,
        retention: retain,
        coalescing,
        waiting,
    } = config;
    TlsfPoolConfig {
        offsets: Config { granule, second_level_bits, placement: placement(place) },
        growth: growth(grow),
        budget: budget(limit),
        retention: retention(retain),
        coalescing: match coalescing {
            authority::Coalescing::Readiness => Coalescing::Readiness,
            authority::Coalescing::Eager => Coalescing::Eager,
        },
        waiting: match waiting {
            authority::Waiting::LastResort => Waiting::LastResort,
            authority::Waiting::PreferCompact => Waiting::PreferCompact,
        },
    }
}

pub(crate) const fn fixed_block_config(
    config: authority::FixedBlockConfig,
) -> FixedBlockPoolConfig {
    let authority::FixedBlockConfig {
        block_size,
        alignment,
        max_blocks,
        growth: grow,
        budget: limit,
        retention: retain,
    } = config;
    FixedBlockPoolConfig {
        block_size,
        alignment,
        max_blocks,
        growth: growth(grow),
        budget: budget(limit),
        retention: retention(retain),
    }
}

pub(crate) const fn arena_config(config: authority::ArenaConfig) -> ArenaPoolConfig {
    let authority::ArenaConfig { generations, generation_size, budget: limit, retention: retain } =
        config;
    ArenaPoolConfig {
        generations,
        generation_size,
        budget: budget(limit),
        retention: retention(retain),
    }
}

pub(crate) const fn passthrough_config(
    config: authority::PassthroughConfig,
) -> PassthroughPoolConfig {
    let authority::PassthroughConfig { max_slabs, budget: limit } = config;
    PassthroughPoolConfig { max_slabs, budget: budget(limit) }
}
