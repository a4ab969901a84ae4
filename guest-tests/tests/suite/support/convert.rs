//! Between a case's words and the core's: entries, refusals, answers.

use strandline_core::pool::{Origin as CoreOrigin, ReuseProof};
use strandline_core::{
    Acquire, Axis, Death as CoreDeath, Entry as CoreEntry, FrontierRef, Pool, PoolError, PoolStats,
    Request, Reservation,
};
use strandline_guest_tests::{Answer, Ask, Death, Entry, Origin, Refusal, Stats};

pub(crate) fn entries(list: &[Entry]) -> Vec<CoreEntry> {
    list.iter().map(|e| CoreEntry::new(Axis::from_bits(e.axis), e.epoch)).collect()
}

pub(crate) fn list(frontier: FrontierRef<'_>) -> Vec<Entry> {
    frontier.entries().iter().map(entry).collect()
}

pub(crate) const fn entry(of: &CoreEntry) -> Entry {
    Entry { axis: of.axis.to_bits(), epoch: of.epoch }
}

pub(crate) fn frontier(list: &[CoreEntry]) -> Result<FrontierRef<'_>, Refusal> {
    FrontierRef::try_from_sorted(list).map_err(|_| Refusal::InvalidFrontier)
}

pub(crate) fn pool_refusal(error: &PoolError) -> Refusal {
    match error {
        PoolError::ZeroSize => Refusal::ZeroSize,
        PoolError::InvalidAlignment { .. } => Refusal::InvalidAlignment,
        PoolError::TooLarge { .. } => Refusal::TooLarge,
        other => Refusal::Other(other.to_string()),
    }
}

pub(crate) const fn origin(origin: CoreOrigin) -> Origin {
    match origin {
        CoreOrigin::Fresh => Origin::Fresh,
        CoreOrigin::Reused(ReuseProof::Dominance) => Origin::Dominated,
        CoreOrigin::Reused(ReuseProof::Completion) => Origin::Completed,
    }
}

/// What a case asks, for a pool; `after` are its entries.
pub(crate) fn request<'a>(ask: &Ask<'_>, after: &'a [CoreEntry]) -> Result<Request<'a>, Refusal> {
    let &Ask { size, alignment, may_wait, may_grow, .. } = ask;
    Ok(Request { size, alignment, frontier: frontier(after)?, may_wait, may_grow })
}

pub(crate) fn acquire(pool: &dyn Pool, ask: &Ask<'_>) -> Result<Answer<Reservation>, Refusal> {
    let after = entries(ask.after);
    let answer = pool.acquire(&request(ask, &after)?).map_err(|error| pool_refusal(&error))?;
    Ok(match answer {
        Acquire::Ready { reservation, origin: from } => {
            Answer::Ready { offset: reservation.offset(), reservation, origin: origin(from) }
        }
        Acquire::AfterWait { reservation, wait } => {
            let offset = reservation.offset();
            Answer::AfterWait { offset, reservation, wait: list(wait.as_ref()) }
        }
        Acquire::Exhausted { observed, growth_required } => {
            Answer::Exhausted { seen: observed.word(), growth_required }
        }
        Acquire::OverBudget { observed } => Answer::OverBudget { seen: observed.word() },
    })
}

pub(crate) fn release(
    pool: &dyn Pool,
    reservation: Reservation,
    death: Death<'_>,
) -> Result<(), (Reservation, Refusal)> {
    let after = match death {
        Death::After(list) => entries(list),
        Death::Idle | Death::Unknown => Vec::new(),
    };
    let after = match frontier(&after) {
        Ok(after) => after,
        Err(refusal) => return Err((reservation, refusal)),
    };
    let death = match death {
        Death::Idle => CoreDeath::Idle,
        Death::After(_) => CoreDeath::After(after),
        Death::Unknown => CoreDeath::Unknown,
    };
    let released = pool.release(reservation, death);
    released.map_err(|error| (error.reservation, Refusal::OtherPool))
}

pub(crate) fn cancel(
    pool: &dyn Pool,
    reservation: Reservation,
) -> Result<(), (Reservation, Refusal)> {
    pool.cancel(reservation).map_err(|error| (error.reservation, Refusal::OtherPool))
}

pub(crate) const fn counters(stats: &PoolStats) -> Stats {
    Stats {
        reserved_bytes: stats.reserved_bytes,
        requested_bytes: stats.requested_bytes,
        pending_bytes: stats.pending_bytes,
        tainted_bytes: stats.tainted_bytes,
        live: stats.live,
        reserves: stats.reserves,
        releases: stats.releases,
        fresh: stats.fresh,
        dominated: stats.dominated,
        completed: stats.completed,
        waited: stats.waited,
        exhausted: stats.exhausted,
        over_budget: stats.over_budget,
    }
}
