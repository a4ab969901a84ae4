//! Between the interface's types, seen from the host, and the core's. Matches are exhaustive.

use super::bindings::exports::strandline::substrate::{authority, pools};
use super::bindings::strandline::substrate::{slabs, types};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use strandline_core::frontier::Entry;
use strandline_core::offset::tlsf::{Carve, Placement, Search, Tie};
use strandline_core::pool::arena::ArenaPoolConfig;
use strandline_core::pool::fixed_block::FixedBlockPoolConfig;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::passthrough::PassthroughPoolConfig;
use strandline_core::pool::tlsf::{Coalescing, TlsfPoolConfig, Waiting};
use strandline_core::pool::{Origin, PoolProperties, PoolStats, ReuseProof};
use strandline_core::slab::retain::Retention;
use strandline_core::slab::{BufferUsage, MemoryType, SlabProperties, SlabStats, Trim};
use strandline_core::{Axis, Frontier, FrontierRef, PoolError, SlabError, SlabId};

/// The entries of a frontier as the interface has them. An empty one allocates nothing.
#[inline]
pub(super) fn entries(frontier: FrontierRef<'_>) -> Vec<types::Entry> {
    frontier.entries().iter().map(entry).collect()
}

#[inline]
pub(super) const fn entry(entry: &Entry) -> types::Entry {
    types::Entry { axis: entry.axis.to_bits(), epoch: entry.epoch }
}

/// A frontier that the component sent, unless it is none.
pub(super) fn frontier(list: &[types::Entry]) -> Option<Frontier> {
    let entries = list.iter().map(|entry| Entry::new(Axis::from_bits(entry.axis), entry.epoch));
    Frontier::from_entries(entries).ok()
}

fn memory_type_out(flags: MemoryType) -> types::MemoryType {
    let mut out = types::MemoryType::empty();
    for (core, flag) in [
        (MemoryType::OPTIMAL, types::MemoryType::OPTIMAL),
        (MemoryType::HOST_VISIBLE, types::MemoryType::HOST_VISIBLE),
        (MemoryType::HOST_COHERENT, types::MemoryType::HOST_COHERENT),
        (MemoryType::HOST_CACHED, types::MemoryType::HOST_CACHED),
        (MemoryType::DEVICE_LOCAL, types::MemoryType::DEVICE_LOCAL),
        (MemoryType::SHARED, types::MemoryType::SHARED),
    ] {
        if flags.contains(core) {
            out |= flag;
        }
    }
    out
}

fn memory_type_in(flags: types::MemoryType) -> MemoryType {
    let mut out = MemoryType::NONE;
    for (core, flag) in [
        (MemoryType::OPTIMAL, types::MemoryType::OPTIMAL),
        (MemoryType::HOST_VISIBLE, types::MemoryType::HOST_VISIBLE),
        (MemoryType::HOST_COHERENT, types::MemoryType::HOST_COHERENT),
        (MemoryType::HOST_CACHED, types::MemoryType::HOST_CACHED),
        (MemoryType::DEVICE_LOCAL, types::MemoryType::DEVICE_LOCAL),
        (MemoryType::SHARED, types::MemoryType::SHARED),
    ] {
        if flags & flag == flag {
            out = out.union(core);
        }
    }
    out
}

const USAGES: [(BufferUsage, types::BufferUsage); 9] = [
    (BufferUsage::TRANSFER, types::BufferUsage::TRANSFER),
    (BufferUsage::STORAGE, types::BufferUsage::STORAGE),
    (BufferUsage::STORAGE_READ, types::BufferUsage::STORAGE_READ),
    (BufferUsage::UNIFORM, types::BufferUsage::UNIFORM),
    (BufferUsage::INDEX, types::BufferUsage::INDEX),
    (BufferUsage::VERTEX, types::BufferUsage::VERTEX),
    (BufferUsage::INDIRECT, types::BufferUsage::INDIRECT),
    (BufferUsage::UPLOAD, types::BufferUsage::UPLOAD),
    (BufferUsage::READBACK, types::BufferUsage::READBACK),
];

fn usage_out(flags: BufferUsage) -> types::BufferUsage {
    let with = |out, (core, flag)| if flags.contains(core) { out | flag } else { out };
    USAGES.into_iter().fold(types::BufferUsage::empty(), with)
}

fn usage_in(flags: types::BufferUsage) -> BufferUsage {
    let with =
        |out: BufferUsage, (core, flag)| if flags & flag == flag { out.union(core) } else { out };
    USAGES.into_iter().fold(BufferUsage::NONE, with)
}

pub(super) fn slab_properties(properties: SlabProperties) -> slabs::SlabProperties {
    let SlabProperties { memory_type, usage, alignment, granularity, max_slab_size } = properties;
    slabs::SlabProperties {
        memory_type: memory_type_out(memory_type),
        usage: usage_out(usage),
        alignment,
        granularity,
        max_slab_size,
    }
}

pub(super) const fn slab_stats(stats: SlabStats) -> slabs::SlabStats {
    let SlabStats {
        identity,
        slabs,
        committed_bytes,
        peak_committed_bytes,
        cached_bytes,
        acquires,
        releases,
        refusals,
    } = stats;
    slabs::SlabStats {
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

pub(super) fn slab_error_out(error: SlabError) -> types::SlabError {
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

/// The text as a constant. A component that sends ever new ones is given one for all of them beyond
/// `KNOWN_TEXTS`: what it sends must not fill the host's memory.
fn constant(text: &str, otherwise: &'static str) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    const KNOWN_TEXTS: usize = 256;
    const LONGEST: usize = 256;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&text) = known.get(text) {
        return text;
    }
    if known.len() >= KNOWN_TEXTS || text.len() > LONGEST {
        return otherwise;
    }
    let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
    known.insert(text);
    text
}

fn slab_error_in(error: types::SlabError) -> SlabError {
    match error {
        types::SlabError::InvalidSize(size) => SlabError::InvalidSize { size },
        types::SlabError::UnknownSlab(id) => SlabError::UnknownSlab(SlabId::from_bits(id)),
        types::SlabError::InvalidRange => SlabError::InvalidRange,
        types::SlabError::Lost => SlabError::Lost,
        types::SlabError::System(types::SystemError { code, operation }) => {
            SlabError::Os { code, operation: constant(&operation, "a system call") }
        }
    }
}

/// What the core would have said. `None` for answers that this host cannot have caused: the component
/// is then not the one it should be.
pub(super) fn pool_error(error: types::PoolError) -> Option<PoolError> {
    Some(match error {
        types::PoolError::ZeroSize => PoolError::ZeroSize,
        types::PoolError::InvalidAlignment(alignment) => PoolError::InvalidAlignment { alignment },
        types::PoolError::TooLarge(types::TooLarge { size, max }) => {
            PoolError::TooLarge { size, max }
        }
        types::PoolError::TooManyBlocks | types::PoolError::Limit => PoolError::TooManyBlocks,
        types::PoolError::Provider(error) => PoolError::Provider(slab_error_in(error)),
        types::PoolError::InvalidConfig(what) => {
            PoolError::InvalidConfig(constant(&what, "refused by the component"))
        }
        types::PoolError::Lost => PoolError::Lost,
        types::PoolError::InvalidFrontier(_) | types::PoolError::NotYours(_) => return None,
    })
}

pub(super) const fn trim_in(how: types::Trim) -> Trim {
    match how {
        types::Trim::All => Trim::All,
        types::Trim::Excess => Trim::Excess,
    }
}

pub(super) const fn trim_out(how: Trim) -> types::Trim {
    match how {
        Trim::All => types::Trim::All,
        Trim::Excess => types::Trim::Excess,
    }
}

pub(super) const fn origin(origin: pools::Origin) -> Origin {
    match origin {
        pools::Origin::Fresh => Origin::Fresh,
        pools::Origin::Dominated => Origin::Reused(ReuseProof::Dominance),
        pools::Origin::Completed => Origin::Reused(ReuseProof::Completion),
    }
}

pub(super) fn pool_properties(properties: pools::PoolProperties) -> PoolProperties {
    let pools::PoolProperties { kind, memory_type, usage, alignment, max_request } = properties;
    PoolProperties {
        kind: match kind {
            pools::PoolKind::Tlsf => "tlsf",
            pools::PoolKind::FixedBlock => "fixed-block",
            pools::PoolKind::Arena => "arena",
            pools::PoolKind::Passthrough => "passthrough",
            pools::PoolKind::Planned => "planned",
            pools::PoolKind::Other => "other",
        },
        memory_type: memory_type_in(memory_type),
        usage: usage_in(usage),
        alignment,
        max_request,
    }
}

pub(super) const fn pool_stats(stats: pools::PoolStats) -> PoolStats {
    let pools::PoolStats {
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
    PoolStats {
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

const fn growth(growth: Growth) -> authority::Growth {
    let Growth { slab_size, max_slabs } = growth;
    authority::Growth { slab_size, max_slabs }
}

const fn retention(retention: Retention) -> authority::Retention {
    let Retention { slabs, bytes } = retention;
    authority::Retention { slabs, bytes }
}

const fn carve(carve: Carve) -> authority::Carve {
    match carve {
        Carve::Low => authority::Carve::Low,
        Carve::High => authority::Carve::High,
        Carve::Older => authority::Carve::Older,
        Carve::Younger => authority::Carve::Younger,
        Carve::Bigger => authority::Carve::Bigger,
        Carve::Smaller => authority::Carve::Smaller,
        Carve::Similar => authority::Carve::Similar,
    }
}

const fn placement(placement: Placement) -> authority::Placement {
    let Placement { search, threshold, large, small } = placement;
    authority::Placement {
        search: match search {
            Search::Head => authority::Search::Head,
            Search::Best { scan, tie } => authority::Search::Best(authority::BestSearch {
                scan,
                tie: match tie {
                    Tie::Low => authority::Tie::Low,
                    Tie::High => authority::Tie::High,
                    Tie::First => authority::Tie::First,
                    Tie::Last => authority::Tie::Last,
                },
            }),
        },
        threshold,
        large: carve(large),
        small: carve(small),
    }
}

pub(super) const fn tlsf_config(config: &TlsfPoolConfig) -> authority::TlsfConfig {
    let &TlsfPoolConfig { offsets, growth: grow, budget, retention: retain, coalescing, waiting } =
        config;
    let strandline_core::offset::tlsf::Config { granule, second_level_bits, placement: place } =
        offsets;
    authority::TlsfConfig {
        granule,
        second_level_bits,
        placement: placement(place),
        growth: growth(grow),
        budget: budget.limit(),
        retention: retention(retain),
        coalescing: match coalescing {
            Coalescing::Readiness => authority::Coalescing::Readiness,
            Coalescing::Eager => authority::Coalescing::Eager,
        },
        waiting: match waiting {
            Waiting::LastResort => authority::Waiting::LastResort,
            Waiting::PreferCompact => authority::Waiting::PreferCompact,
        },
    }
}

pub(super) const fn fixed_block_config(
    config: &FixedBlockPoolConfig,
) -> authority::FixedBlockConfig {
    let &FixedBlockPoolConfig {
        block_size,
        alignment,
        max_blocks,
        growth: grow,
        budget,
        retention: retain,
    } = config;
    authority::FixedBlockConfig {
        block_size,
        alignment,
        max_blocks,
        growth: growth(grow),
        budget: budget.limit(),
        retention: retention(retain),
    }
}

pub(super) const fn arena_config(config: &ArenaPoolConfig) -> authority::ArenaConfig {
    let &ArenaPoolConfig { generations, generation_size, budget, retention: retain } = config;
    authority::ArenaConfig {
        generations,
        generation_size,
        budget: budget.limit(),
        retention: retention(retain),
    }
}

pub(super) const fn passthrough_config(
    config: &PassthroughPoolConfig,
) -> authority::PassthroughConfig {
    let &PassthroughPoolConfig { max_slabs, budget } = config;
    authority::PassthroughConfig { max_slabs, budget: budget.limit() }
}
