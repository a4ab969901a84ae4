//! Pools: acquire and release.

mod live;
mod stats;

pub use stats::*;

use crate::frontier::{Given, give, strandline_entry, strandline_frontier};
use crate::slabs::{source, strandline_slabs};
use crate::slots;
use crate::status::{Fault, Output, guard, input, strandline_status};
use crate::tracker::{strandline_tracker, tracker};
use live::{Live, POOLS};
use std::sync::Arc;
use strandline_core::pool::arena::{ArenaPool, ArenaPoolConfig};
use strandline_core::pool::budget::Budget;
use strandline_core::pool::fixed_block::{FixedBlockPool, FixedBlockPoolConfig};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::passthrough::{PassthroughPool, PassthroughPoolConfig};
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Origin, PoolHost, ReuseProof};
use strandline_core::slab::Trim;
use strandline_core::{Acquire, Death, Pool, PoolError, Request, SlabId};

/// Names a pool. 0 is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct strandline_pool {
    /// Not an address.
    pub id: u64,
}

/// Names a reservation. 0 is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct strandline_reservation {
    /// Not an address.
    pub id: u64,
}

/// A pool of blocks of any size.
pub const STRANDLINE_TLSF: u32 = 0;
/// A pool of blocks of one size.
pub const STRANDLINE_FIXED_BLOCK: u32 = 1;
/// A pool for batches that die together.
pub const STRANDLINE_ARENA: u32 = 2;
/// A slab for each reservation.
pub const STRANDLINE_PASSTHROUGH: u32 = 3;

/// The most blocks of a fixed-block pool.
const MAX_BLOCKS: u32 = 1 << 24;
const SLAB: u64 = 64 << 20;

/// What a pool is to be. All zeros is a TLSF pool with the usual settings; a 0 is always the usual setting.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct strandline_pool_config {
    /// STRANDLINE_TLSF or another.
    pub kind: u32,
    /// The most slabs. 0: no limit.
    pub max_slabs: u32,
    /// Bytes of an ordinary slab; of a generation of an arena. 0: 64 MiB.
    pub slab_bytes: u64,
    /// The most bytes that may be reserved at once. 0: no limit.
    pub budget_bytes: u64,
    /// Fixed-block pools: bytes of a block. Needed there.
    pub block_bytes: u64,
    /// Fixed-block pools: the most blocks, up to 2^24. 0: 65536.
    pub max_blocks: u32,
    /// Arenas: generations in the ring. 0: 2.
    pub generations: u32,
}

/// The answer may have to be waited for: STRANDLINE_AFTER_WAIT.
pub const STRANDLINE_MAY_WAIT: u32 = 1;
/// The pool may ask for another slab.
pub const STRANDLINE_MAY_GROW: u32 = 2;

/// What is asked of a pool.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct strandline_request {
    /// Bytes, 1 at least.
    pub size: u64,
    /// A power of two; 0 is any.
    pub alignment: u64,
    /// What is known to have happened before the bytes will be used.
    pub after: strandline_frontier,
    /// Where the frontier that has to be waited for goes. May be null without STRANDLINE_MAY_WAIT.
    pub wait: *mut strandline_entry,
    /// The entries that there is room for; 255 are enough for any.
    pub wait_capacity: usize,
    /// STRANDLINE_MAY_WAIT and STRANDLINE_MAY_GROW, joined by `|`, or 0.
    pub flags: u32,
}

/// What became of a request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum strandline_outcome {
    /// Usable now.
    READY = 0,
    /// Reserved. The use must be ordered after the frontier in `wait`.
    AFTER_WAIT = 1,
    /// Nothing that may be used fits; nothing is reserved.
    #[default]
    EXHAUSTED = 2,
    /// The pool's budget does not allow it now; nothing is reserved.
    OVER_BUDGET = 3,
}

/// Where ready bytes come from.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum strandline_origin {
    /// Nothing is ready.
    #[default]
    NOWHERE = 0,
    /// Never used before.
    FRESH = 1,
    /// Used before, and the requester is ordered after what still uses them.
    DOMINANCE = 2,
    /// Used before, and nothing uses them any more.
    COMPLETION = 3,
}

/// The answer to a request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct strandline_grant {
    /// What became of it.
    pub outcome: strandline_outcome,
    /// Where ready bytes come from.
    pub origin: strandline_origin,
    /// What is given back later; 0 where nothing is reserved.
    pub reservation: strandline_reservation,
    /// The slab that holds the bytes, for strandline_pool_address.
    pub slab: u64,
    /// Where they start in it.
    pub offset: u64,
    /// As asked for.
    pub size: u64,
    /// Entries in `wait`; with BUFFER_TOO_SMALL those that it needs room for.
    pub wait_count: usize,
}

fn fault(error: &PoolError) -> Fault {
    let status = match error {
        PoolError::ZeroSize | PoolError::InvalidAlignment { .. } | PoolError::InvalidConfig(_) => {
            strandline_status::INVALID
        }
        PoolError::TooLarge { .. } => strandline_status::TOO_LARGE,
        PoolError::TooManyBlocks => strandline_status::FULL,
        PoolError::Provider(_) | PoolError::Lost => strandline_status::PROVIDER,
    };
    Fault::new(status, error)
}

fn build(config: &strandline_pool_config, host: PoolHost) -> Result<Box<dyn Pool>, Fault> {
    let or = |value: u64, usual: u64| if value == 0 { usual } else { value };
    let budget = Budget::bytes(or(config.budget_bytes, u64::MAX));
    let max_slabs = if config.max_slabs == 0 { u32::MAX } else { config.max_slabs };
    let slab = or(config.slab_bytes, SLAB);
    let growth = Growth { max_slabs, ..Growth::slabs_of(slab) };
    let pool: Result<Box<dyn Pool>, PoolError> = match config.kind {
        STRANDLINE_TLSF => {
            TlsfPool::new(host, TlsfPoolConfig { growth, budget, ..TlsfPoolConfig::default() })
                .map(|pool| Box::new(pool) as _)
        }
        STRANDLINE_FIXED_BLOCK => {
            let max_blocks = if config.max_blocks == 0 { 1 << 16 } else { config.max_blocks };
            if config.block_bytes == 0 || max_blocks > MAX_BLOCKS {
                return Err(Fault::new(
                    strandline_status::INVALID,
                    "a fixed-block pool has block_bytes, and 2^24 blocks at most",
                ));
            }
            let block_size = config.block_bytes;
            let usual = FixedBlockPoolConfig::default();
            let config = FixedBlockPoolConfig { block_size, max_blocks, growth, budget, ..usual };
            FixedBlockPool::new(host, config).map(|pool| Box::new(pool) as _)
        }
        STRANDLINE_ARENA => {
            let generations = if config.generations == 0 { 2 } else { config.generations };
            let usual = ArenaPoolConfig::default();
            let config = ArenaPoolConfig { generations, generation_size: slab, budget, ..usual };
            ArenaPool::new(host, config).map(|pool| Box::new(pool) as _)
        }
        STRANDLINE_PASSTHROUGH => {
            PassthroughPool::new(host, PassthroughPoolConfig { max_slabs, budget })
                .map(|pool| Box::new(pool) as _)
        }
        kind => {
            return Err(Fault::new(
                strandline_status::INVALID,
                format_args!("no kind of pool is {kind}"),
            ));
        }
    };
    pool.map_err(|error| fault(&error))
}

/// Makes a pool over slabs and a tracker; it keeps both until it is destroyed. `config` may be null for all zeros. Any thread.
///
/// # Safety
/// Pointers are null or point to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strandline_pool_create(
    slabs: strandline_slabs,
    tracker_of: strandline_tracker,
    config: *const strandline_pool_config,
    made: *mut strandline_pool,
) -> strandline_status {
    guard(|| {
        // SAFETY: the caller's.
        let made = unsafe { Output::new(made, "made")? };
        let config = if config.is_null() {
            strandline_pool_config::default()
        } else {
            // SAFETY: the caller's.
            unsafe { *input(config, "config")? }
        };
        let (source, tracker) = (source(slabs)?, tracker(tracker_of)?);
        let pool = build(&config, PoolHost::new(source.provider(), tracker))?;
        made.set(strandline_pool { id: POOLS.insert(Arc::new(Live::new(pool, source)))? });
        Ok(())
    })
}

/// Gives a pool back with its slabs, whatever its freed blocks still wait for. IN_USE: it has live reservations, and stays. Any thread, while no
/// other uses the pool.
#[unsafe(no_mangle)]
pub extern "C" fn strandline_pool_destroy(pool: strandline_pool) -> strandline_status {
    guard(|| live::destroy(pool.id).map_err(|error| error.unwrap_or_else(|error| fault(&error))))
}

/// Looks for memory that the requester may use. OK with outcome EXHAUSTED or OVER_BUDGET reserves nothing. Never blocks, but for the system
/// or the device where the pool grows. Any thread, several at once.
///
/// # Safety
/// Pointers are null or point to what their types say; `wait` has room for `wait_capacity` entries.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strandline_acquire(
    pool: strandline_pool,
    request: *const strandline_request,
    grant: *mut strandline_grant,
) -> strandline_status {
    guard(|| {
        // SAFETY: the caller's.
        let (request, grant) =
            unsafe { (input(request, "request")?, Output::new(grant, "grant")?) };
        if request.flags & !(STRANDLINE_MAY_WAIT | STRANDLINE_MAY_GROW) != 0 {
            return Err(Fault::new(
                strandline_status::INVALID,
                format_args!("flags {:#x}", request.flags),
            ));
        }
        // SAFETY: the caller's.
        let after = unsafe { Given::read(&request.after)? };
        let wanted = Request {
            size: request.size,
            alignment: request.alignment.max(1),
            frontier: after.as_ref(),
            may_wait: request.flags & STRANDLINE_MAY_WAIT != 0,
            may_grow: request.flags & STRANDLINE_MAY_GROW != 0,
        };
        live::with(pool.id, |live| {
            let (reservation, outcome, origin, wait) =
                match live.pool.acquire(&wanted).map_err(|error| fault(&error))? {
                    Acquire::Ready { reservation, origin } => {
                        (reservation, strandline_outcome::READY, from(origin), None)
                    }
                    Acquire::AfterWait { reservation, wait } => {
                        let nowhere = strandline_origin::NOWHERE;
                        (reservation, strandline_outcome::AFTER_WAIT, nowhere, Some(wait))
                    }
                    Acquire::Exhausted { .. } => {
                        grant.set(strandline_grant::default());
                        return Ok(());
                    }
                    Acquire::OverBudget { .. } => {
                        let outcome = strandline_outcome::OVER_BUDGET;
                        grant.set(strandline_grant { outcome, ..strandline_grant::default() });
                        return Ok(());
                    }
                };
            let mut answer = strandline_grant {
                outcome,
                origin,
                reservation: strandline_reservation::default(),
                slab: reservation.slab().to_bits(),
                offset: reservation.offset(),
                size: reservation.size(),
                wait_count: 0,
            };
            if let Some(wait) = wait {
                // SAFETY: the count's is a local place, the buffer's the caller's.
                let given = unsafe {
                    let count = Output::new(&raw mut answer.wait_count, "wait_count")?;
                    give(wait.as_ref(), request.wait, request.wait_capacity, &count)
                };
                if let Err(fault) = given {
                    let wait_count = answer.wait_count;
                    grant.set(strandline_grant { wait_count, ..strandline_grant::default() });
                    return live.pool.cancel(reservation).map_err(|_| lost()).and(Err(fault));
                }
            }
            match slots::put(pool.id, reservation) {
                Ok(id) => answer.reservation = strandline_reservation { id },
                Err(reservation) => {
                    let full =
                        Fault::new(strandline_status::FULL, "no handle is left for a reservation");
                    return live.pool.cancel(reservation).map_err(|_| lost()).and(Err(full));
                }
            }
            grant.set(answer);
            Ok(())
        })
    })
}

const fn from(origin: Origin) -> strandline_origin {
    match origin {
        Origin::Fresh => strandline_origin::FRESH,
        Origin::Reused(ReuseProof::Dominance) => strandline_origin::DOMINANCE,
        Origin::Reused(ReuseProof::Completion) => strandline_origin::COMPLETION,
    }
}

/// A pool refused its own reservation.
#[cold]
fn lost() -> Fault {
    Fault::new(strandline_status::INTERNAL, "the pool does not know its reservation")
}

/// Gives a reservation back, whose last use is over when `death` is reached; null or no entries: nothing uses it any more. The handle is unknown from
/// then on, and the same call again answers UNKNOWN_HANDLE. Never blocks. Any thread, several at once.
///
/// # Safety
/// `death` is null or points to what its type says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strandline_release(
    pool: strandline_pool,
    reservation: strandline_reservation,
    death: *const strandline_frontier,
) -> strandline_status {
    guard(|| {
        let given = if death.is_null() {
            None
        } else {
            // SAFETY: the caller's.
            Some(unsafe { Given::read(input(death, "death")?)? })
        };
        live::with(pool.id, |live| {
            let taken = slots::take(pool.id, reservation.id)?;
            let death = given.as_ref().map_or(Death::Idle, |given| match given.as_ref() {
                none if none.is_empty() => Death::Idle,
                some => Death::After(some),
            });
            live.pool.release(taken, death).map_err(|_| lost())
        })
    })
}

/// Gives a reservation back of which nobody knows when its last use is over: its bytes are used again after strandline_pool_quiesce. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strandline_release_unknown(
    pool: strandline_pool,
    reservation: strandline_reservation,
) -> strandline_status {
    guard(|| {
        live::with(pool.id, |live| {
            let taken = slots::take(pool.id, reservation.id)?;
            live.pool.release(taken, Death::Unknown).map_err(|_| lost())
        })
    })
}

/// Gives a reservation back that was not used: its bytes wait for exactly what they waited for before. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strandline_cancel(
    pool: strandline_pool,
    reservation: strandline_reservation,
) -> strandline_status {
    guard(|| {
        live::with(pool.id, |live| {
            let taken = slots::take(pool.id, reservation.id)?;
            live.pool.cancel(taken).map_err(|_| lost())
        })
    })
}

/// The address of `size` bytes at `offset` of a slab, as a grant has them. Host memory may be read and written there while the
/// reservation is live; a device's address is the device's. INVALID: no such slab, or not in it. Any thread.
///
/// # Safety
/// `address` is null or a place for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strandline_pool_address(
    pool: strandline_pool,
    slab: u64,
    offset: u64,
    size: u64,
    address: *mut u64,
) -> strandline_status {
    guard(|| {
        // SAFETY: the caller's.
        let address = unsafe { Output::new(address, "address")? };
        live::with(pool.id, |live| {
            let found = live.source.address(SlabId::from_bits(slab), offset, size);
            address.set(found.map_err(|error| Fault::new(strandline_status::INVALID, error))?);
            Ok(())
        })
    })
}

/// Looks at the axes that freed blocks wait for, so that a later acquire need not. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strandline_pool_poll(pool: strandline_pool) -> strandline_status {
    guard(|| {
        live::with(pool.id, |live| {
            live.pool.poll();
            Ok(())
        })
    })
}

/// Tells that the device does nothing any more: all freed bytes may be used again. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strandline_pool_quiesce(pool: strandline_pool) -> strandline_status {
    guard(|| {
        live::with(pool.id, |live| {
            live.pool.quiesce();
            Ok(())
        })
    })
}

/// Gives empty slabs back and says how many bytes that were. `bytes` may be null. Any thread.
///
/// # Safety
/// `bytes` is null or a place for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strandline_pool_trim(
    pool: strandline_pool,
    bytes: *mut u64,
) -> strandline_status {
    guard(|| {
        live::with(pool.id, |live| {
            let given = live.pool.trim(Trim::All).map_err(|error| fault(&error))?;
            if !bytes.is_null() {
                // SAFETY: the caller's.
                unsafe { Output::new(bytes, "bytes")? }.set(given);
            }
            Ok(())
        })
    })
}
