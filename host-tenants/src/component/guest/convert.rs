//! Between the host's types and those of the interface: exhaustive, no value is lost.

use super::bindings::strandline::substrate::{device, frontiers, pools, types};
use crate::tenant::{TenantError, WaitFailure};
use core::num::TryFromIntError;
use strandline_core::pool::{Origin, PoolProperties, PoolStats, ReuseProof};
use strandline_core::pool_set::{Need, NoMatch};
use strandline_core::queue::Place;
use strandline_core::slab::{BufferUsage, MemoryType, Trim};
use strandline_core::{
    Axis, Causality, Entry, FrontierError, FrontierRef, PoolError, SlabError, WaitError, WireError,
};

/// A position or a count: at most the length of a list, which a component counts in 32 bits.
fn narrow<N>(n: N) -> u32
where
    u32: TryFrom<N, Error = TryFromIntError>,
{
    u32::try_from(n).unwrap_or(u32::MAX)
}

pub(super) fn entries(list: &[types::Entry]) -> Vec<Entry> {
    list.iter().map(entry_in).collect()
}

pub(super) const fn entry_in(entry: &types::Entry) -> Entry {
    Entry::new(Axis::from_bits(entry.axis), entry.epoch)
}

pub(super) fn entry(entry: Entry) -> types::Entry {
    types::Entry { axis: entry.axis.to_bits(), epoch: entry.epoch }
}

pub(super) fn frontier(frontier: FrontierRef<'_>) -> Vec<types::Entry> {
    frontier.entries().iter().copied().map(entry).collect()
}

pub(super) fn frontier_error(error: FrontierError) -> types::FrontierError {
    match error {
        FrontierError::Unsorted { index } => types::FrontierError::Unsorted(narrow(index)),
        FrontierError::Duplicate { index, .. } => types::FrontierError::Duplicate(narrow(index)),
        FrontierError::ZeroEpoch { index, .. } => types::FrontierError::ZeroEpoch(narrow(index)),
        FrontierError::TooMany { limit } => types::FrontierError::TooMany(narrow(limit)),
    }
}

pub(super) fn wire_error(error: WireError) -> frontiers::WireError {
    match error {
        WireError::Length { expected, actual } => {
            frontiers::WireError::Length(frontiers::LengthError {
                expected: expected as u64,
                actual: actual as u64,
            })
        }
        WireError::Reserved { offset } => frontiers::WireError::Reserved(narrow(offset)),
        WireError::Entries(error) => frontiers::WireError::Entries(frontier_error(error)),
    }
}

pub(super) const fn causality(causality: Causality) -> frontiers::Causality {
    match causality {
        Causality::Before => frontiers::Causality::Before,
        Causality::After => frontiers::Causality::After,
        Causality::Equal => frontiers::Causality::Equal,
        Causality::Concurrent => frontiers::Causality::Concurrent,
    }
}

fn slab_error(error: SlabError) -> types::SlabError {
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

fn core_pool_error(error: PoolError) -> types::PoolError {
    match error {
        PoolError::ZeroSize => types::PoolError::ZeroSize,
        PoolError::InvalidAlignment { alignment } => types::PoolError::InvalidAlignment(alignment),
        PoolError::TooLarge { size, max } => {
            types::PoolError::TooLarge(types::TooLarge { size, max })
        }
        PoolError::TooManyBlocks => types::PoolError::TooManyBlocks,
        PoolError::Provider(error) => types::PoolError::Provider(slab_error(error)),
        PoolError::InvalidConfig(what) => types::PoolError::InvalidConfig(what.to_owned()),
        PoolError::Lost => types::PoolError::Lost,
    }
}

/// A refusal that cannot come from what a guest says, since it names things by handles that the host has checked:
/// a trap of that guest.
fn unexpected<T>(error: &TenantError) -> wasmtime::Result<T> {
    Err(wasmtime::Error::msg(error.to_string()))
}

/// Why a pool refused a request.
///
/// # Errors
/// A trap for what no guest can bring about.
pub(super) fn pool_error(error: TenantError) -> wasmtime::Result<types::PoolError> {
    Ok(match error {
        TenantError::Pool(error) => core_pool_error(error),
        TenantError::InvalidFrontier(error) => {
            types::PoolError::InvalidFrontier(frontier_error(error))
        }
        TenantError::NotYours(named) => types::PoolError::NotYours(entry(named)),
        TenantError::Limit(_) => types::PoolError::Limit,
        TenantError::Shutdown => types::PoolError::Lost,
        other => return unexpected(&other),
    })
}

/// Why a queue refused an operation.
///
/// # Errors
/// A trap for what no guest can bring about.
pub(super) fn queue_error(error: TenantError) -> wasmtime::Result<device::QueueError> {
    Ok(match error {
        TenantError::Pool(error) => device::QueueError::Pool(core_pool_error(error)),
        TenantError::InvalidFrontier(error) => {
            device::QueueError::InvalidFrontier(frontier_error(error))
        }
        TenantError::NotYours(named) => device::QueueError::NotYours(entry(named)),
        TenantError::Failed { axis, failure } => device::QueueError::Failed(types::AxisFailure {
            axis: axis.to_bits(),
            message: failure.to_string(),
        }),
        TenantError::Cycle => device::QueueError::Cycle,
        TenantError::TooManyAxes => device::QueueError::TooManyAxes,
        TenantError::Limit(_) => device::QueueError::Limit,
        TenantError::InvalidRange => device::QueueError::InvalidRange,
        // A reservation that was released through another of its handles has no memory any more.
        TenantError::NoMemory | TenantError::UnknownHandle => device::QueueError::NoMemory,
        TenantError::Shutdown => device::QueueError::Shutdown,
        TenantError::OtherPool => return unexpected(&error),
    })
}

pub(super) fn wait_failure(failure: WaitFailure) -> types::WaitError {
    match failure {
        WaitFailure::InvalidFrontier(error) => {
            types::WaitError::InvalidFrontier(frontier_error(error))
        }
        WaitFailure::UnknownAxis(axis) => types::WaitError::UnknownAxis(axis.to_bits()),
        WaitFailure::Ended(WaitError::Failed { axis, failure }) => {
            types::WaitError::Failed(types::AxisFailure {
                axis: axis.to_bits(),
                message: failure.to_string(),
            })
        }
        WaitFailure::Ended(WaitError::Retired { axis }) => {
            types::WaitError::Retired(axis.to_bits())
        }
        WaitFailure::Ended(WaitError::TrackerDropped) => types::WaitError::Gone,
    }
}

pub(super) const fn place(place: &Place) -> types::Place {
    types::Place { slab: place.slab.to_bits(), offset: place.offset, size: place.size }
}

pub(super) const fn origin(origin: Origin) -> pools::Origin {
    match origin {
        Origin::Fresh => pools::Origin::Fresh,
        Origin::Reused(ReuseProof::Dominance) => pools::Origin::Dominated,
        Origin::Reused(ReuseProof::Completion) => pools::Origin::Completed,
    }
}

pub(super) const fn trim(how: types::Trim) -> Trim {
    match how {
        types::Trim::All => Trim::All,
        types::Trim::Excess => Trim::Excess,
    }
}

const MEMORY_TYPES: [(types::MemoryType, MemoryType); 6] = [
    (types::MemoryType::OPTIMAL, MemoryType::OPTIMAL),
    (types::MemoryType::HOST_VISIBLE, MemoryType::HOST_VISIBLE),
    (types::MemoryType::HOST_COHERENT, MemoryType::HOST_COHERENT),
    (types::MemoryType::HOST_CACHED, MemoryType::HOST_CACHED),
    (types::MemoryType::DEVICE_LOCAL, MemoryType::DEVICE_LOCAL),
    (types::MemoryType::SHARED, MemoryType::SHARED),
];

const USAGES: [(types::BufferUsage, BufferUsage); 9] = [
    (types::BufferUsage::TRANSFER, BufferUsage::TRANSFER),
    (types::BufferUsage::STORAGE, BufferUsage::STORAGE),
    (types::BufferUsage::STORAGE_READ, BufferUsage::STORAGE_READ),
    (types::BufferUsage::UNIFORM, BufferUsage::UNIFORM),
    (types::BufferUsage::INDEX, BufferUsage::INDEX),
    (types::BufferUsage::VERTEX, BufferUsage::VERTEX),
    (types::BufferUsage::INDIRECT, BufferUsage::INDIRECT),
    (types::BufferUsage::UPLOAD, BufferUsage::UPLOAD),
    (types::BufferUsage::READBACK, BufferUsage::READBACK),
];

pub(super) fn need(need: &pools::Need) -> Need {
    let mut memory_type = MemoryType::NONE;
    for (theirs, ours) in MEMORY_TYPES {
        if need.memory_type.contains(theirs) {
            memory_type = memory_type.union(ours);
        }
    }
    let mut usage = BufferUsage::NONE;
    for (theirs, ours) in USAGES {
        if need.usage.contains(theirs) {
            usage = usage.union(ours);
        }
    }
    Need { memory_type, usage, size: need.size }
}

pub(super) fn properties(of: &PoolProperties) -> pools::PoolProperties {
    let mut memory_type = types::MemoryType::empty();
    for (theirs, ours) in MEMORY_TYPES {
        if of.memory_type.contains(ours) {
            memory_type |= theirs;
        }
    }
    let mut usage = types::BufferUsage::empty();
    for (theirs, ours) in USAGES {
        if of.usage.contains(ours) {
            usage |= theirs;
        }
    }
    pools::PoolProperties {
        kind: match of.kind {
            "tlsf" => pools::PoolKind::Tlsf,
            "fixed-block" => pools::PoolKind::FixedBlock,
            "arena" => pools::PoolKind::Arena,
            "passthrough" => pools::PoolKind::Passthrough,
            "planned" => pools::PoolKind::Planned,
            _ => pools::PoolKind::Other,
        },
        memory_type,
        usage,
        alignment: of.alignment,
        max_request: of.max_request,
    }
}

pub(super) const fn no_match(why: NoMatch) -> pools::NoMatch {
    match why {
        NoMatch::MemoryType => pools::NoMatch::MemoryType,
        NoMatch::Usage => pools::NoMatch::Usage,
        NoMatch::Size { largest } => pools::NoMatch::Size(largest),
    }
}

pub(super) const fn stats(stats: &PoolStats) -> pools::PoolStats {
    // Named one by one, so that a new counter does not compile until it is passed on.
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
