//! What a pool is asked and answers: capacity, budgets, routing, alignment, wakeups, counters.

use crate::check::{Wrong, check, got};
use crate::world::{Answer, Ask, Death, Entry, Origin, Refusal, Route, World};
use alloc::vec::Vec;

const SLAB: u64 = 1 << 16;

/// A ready reservation and its offset.
fn ready<W: World>(
    world: &mut W,
    pool: usize,
    ask: &Ask<'_>,
) -> Result<(W::Reservation, u64), Wrong> {
    Ok(
        got!(world.acquire(pool, ask), Ok(Answer::Ready { reservation, offset, .. }) => (reservation, offset)),
    )
}

pub(super) async fn exhaustion<W: World>(world: &mut W) -> Result<(), Wrong> {
    for pool in 0..3 {
        // Nothing is held yet, so only growth helps.
        let answer = got!(world.acquire(pool, &Ask::new(4096)));
        check!(matches!(answer, Answer::Exhausted { growth_required: true, .. }), answer);
        let mut all = Vec::new();
        for _ in 0..SLAB / 4096 {
            all.push(ready(world, pool, &Ask::new(4096).or_grow())?.0);
        }
        let answer = got!(world.acquire(pool, &Ask::new(4096)));
        check!(matches!(answer, Answer::Exhausted { growth_required: false, .. }), answer);
        let answer = got!(world.acquire(pool, &Ask::new(4096).or_grow().or_wait()));
        check!(matches!(answer, Answer::Exhausted { .. }), answer);
        check!(world.stats(pool).exhausted == 3, world.stats(pool));
        let Some(one) = all.pop() else { continue };
        got!(world.release(pool, one, Death::Idle));
        let (one, _) = ready(world, pool, &Ask::new(4096))?;
        got!(world.release(pool, one, Death::Idle));
        for reservation in all {
            got!(world.release(pool, reservation, Death::Idle));
        }
        check!(world.stats(pool).live == 0, world.stats(pool));
    }
    Ok(())
}

pub(super) async fn budgets<W: World>(world: &mut W) -> Result<(), Wrong> {
    for pool in 0..3 {
        let ask = Ask::new(4096).or_grow();
        let (first, _) = ready(world, pool, &ask)?;
        let (second, _) = ready(world, pool, &ask)?;
        for more in [Ask::new(1), Ask::new(4096), Ask::new(4096).or_wait()] {
            let answer = got!(world.acquire(pool, &more.or_grow()));
            check!(matches!(answer, Answer::OverBudget { .. }), answer);
        }
        check!(world.stats(pool).over_budget == 3, world.stats(pool));
        check!(world.stats(pool).reserved_bytes == 8192, world.stats(pool));
        got!(world.release(pool, first, Death::Idle));
        let (third, _) = ready(world, pool, &ask)?;
        got!(world.cancel(pool, third));
        got!(world.release(pool, second, Death::Idle));
    }
    Ok(())
}

pub(super) async fn routing<W: World>(world: &mut W) -> Result<(), Wrong> {
    let route = world.route(4096, false);
    check!(route == Route::Pool(1), route);
    let route = world.route(4097, false);
    check!(route == Route::Pool(0), route);
    let route = world.route(SLAB + 1, false);
    check!(matches!(route, Route::NoSize(_)), route);
    let route = world.route(1, true);
    check!(route == Route::Pool(1), route);
    let route = world.route(8192, true);
    check!(route == Route::Pool(0), route);
    // The upload pool's memory is not for storage.
    for size in [1, 4096, 8192, SLAB] {
        let route = world.route(size, false);
        check!(route != Route::Pool(2), route);
    }
    Ok(())
}

pub(super) async fn oversized<W: World>(world: &mut W) -> Result<(), Wrong> {
    let route = world.route(4096, false);
    check!(route == Route::Pool(0), route);
    let route = world.route(4097, false);
    check!(route == Route::Oversized(1), route);
    let too_large = world.acquire(0, &Ask::new(4097).or_grow());
    check!(matches!(too_large, Err(Refusal::TooLarge)), too_large);
    let (reservation, offset) = ready(world, 1, &Ask::new(SLAB).or_grow())?;
    check!(offset == 0, offset);
    let answer = got!(world.acquire(1, &Ask::new(4097).or_grow()));
    check!(matches!(answer, Answer::Exhausted { .. }), answer);
    got!(world.release(1, reservation, Death::Idle));
    Ok(())
}

pub(super) async fn alignment<W: World>(world: &mut W) -> Result<(), Wrong> {
    for pool in 0..4 {
        let own = world.properties(pool).alignment;
        let mut all: Vec<(W::Reservation, u64, u64)> = Vec::new();
        for (size, alignment) in [(1, 1), (300, 512), (7, 4096), (1000, 2), (64, 1024)] {
            let ask = Ask::new(size).aligned(alignment).or_grow();
            let (reservation, offset) = ready(world, pool, &ask)?;
            check!(offset % alignment == 0 && offset % own == 0, pool, offset, alignment, own);
            let apart = all.iter().all(|&(_, o, s)| o + s <= offset || offset + size <= o);
            check!(apart, pool, offset, size);
            all.push((reservation, offset, size));
        }
        for (reservation, ..) in all {
            got!(world.release(pool, reservation, Death::Idle));
        }
    }
    Ok(())
}

pub(super) async fn bad_requests<W: World>(world: &mut W) -> Result<(), Wrong> {
    let [a, b] = [world.submit(0), world.submit(1)];
    for pool in 0..3 {
        let max = world.properties(pool).max_request;
        let refused = world.acquire(pool, &Ask::new(0).or_grow());
        check!(matches!(refused, Err(Refusal::ZeroSize)), refused);
        for alignment in [0, 3, 12, u64::MAX] {
            let refused = world.acquire(pool, &Ask::new(1).aligned(alignment).or_grow());
            check!(matches!(refused, Err(Refusal::InvalidAlignment)), refused, alignment);
        }
        for size in [max + 1, u64::MAX] {
            let refused = world.acquire(pool, &Ask::new(size).or_grow());
            check!(matches!(refused, Err(Refusal::TooLarge)), refused, size);
        }
        let backwards = [b, a];
        let zero = [Entry { epoch: 0, ..a }];
        for after in [&backwards[..], &zero, &[a, a]] {
            let refused = world.acquire(pool, &Ask::new(1).after(after).or_grow());
            check!(matches!(refused, Err(Refusal::InvalidFrontier)), refused, after);
        }
        let (reservation, _) = ready(world, pool, &Ask::new(1).or_grow())?;
        let refused = world.release(pool, reservation, Death::After(&backwards));
        let (reservation, why) = got!(refused, Err(refused) => refused);
        check!(why == Refusal::InvalidFrontier, why);
        got!(world.release(pool, reservation, Death::Idle));
        check!(world.stats(pool).live == 0, world.stats(pool));
    }
    Ok(())
}

pub(super) async fn other_pools_reservations<W: World>(world: &mut W) -> Result<(), Wrong> {
    let (reservation, _) = ready(world, 0, &Ask::new(64).or_grow())?;
    let refused = world.release(1, reservation, Death::Idle);
    let (reservation, why) = got!(refused, Err(refused) => refused);
    check!(why == Refusal::OtherPool, why);
    let (reservation, why) = got!(world.cancel(1, reservation), Err(refused) => refused);
    check!(why == Refusal::OtherPool, why);
    check!(world.stats(0).live == 1 && world.stats(1).releases == 0);
    got!(world.release(0, reservation, Death::Idle));
    Ok(())
}

pub(super) async fn trim<W: World>(world: &mut W) -> Result<(), Wrong> {
    for pool in 0..2 {
        let (reservation, _) = ready(world, pool, &Ask::new(64).or_grow())?;
        check!(got!(world.trim(pool)) == 0, "a slab in use stays");
        let death = world.submit(0);
        got!(world.release(pool, reservation, Death::After(&[death])));
        check!(got!(world.trim(pool)) == 0, "and one that the device may still use");
        world.complete(death);
        check!(got!(world.trim(pool)) == SLAB);
        let answer = got!(world.acquire(pool, &Ask::new(64)));
        check!(matches!(answer, Answer::Exhausted { growth_required: true, .. }), answer);
        let ask = Ask::new(64).or_grow();
        let reservation = got!(world.acquire(pool, &ask), Ok(Answer::Ready { reservation, origin: Origin::Fresh, .. }) => reservation);
        got!(world.release(pool, reservation, Death::Idle));
    }
    Ok(())
}

pub(super) async fn wakeups<W: World>(world: &mut W) -> Result<(), Wrong> {
    for pool in 0..2 {
        let (reservation, _) = ready(world, pool, &Ask::new(SLAB).or_grow())?;
        let quiet = world.observe(pool);
        check!(quiet == world.observe(pool), "an acquire that finds nothing is no change");
        let seen =
            got!(world.acquire(pool, &Ask::new(64)), Ok(Answer::Exhausted { seen, .. }) => seen);
        got!(world.release(pool, reservation, Death::Idle));
        check!(world.observe(pool) != seen, seen);
        // A change that came before the wait ends it.
        got!(world.changed(pool, seen).await);
        let (reservation, _) = ready(world, pool, &Ask::new(64))?;
        let seen = world.observe(pool);
        got!(world.cancel(pool, reservation));
        got!(world.changed(pool, seen).await);
    }
    Ok(())
}

pub(super) async fn counters<W: World>(world: &mut W) -> Result<(), Wrong> {
    for pool in 0..3 {
        let (a, _) = ready(world, pool, &Ask::new(1000).or_grow())?;
        let (b, _) = ready(world, pool, &Ask::new(3000).or_grow())?;
        let stats = world.stats(pool);
        check!(stats.live == 2 && stats.requested_bytes == 4000, stats);
        check!(stats.reserves == 2 && stats.fresh == 2 && stats.releases == 0, stats);
        check!(stats.reserved_bytes >= 4000 && stats.reserved_bytes <= 8192, stats);
        let death = world.submit(1);
        got!(world.release(pool, a, Death::After(&[death])));
        got!(world.cancel(pool, b));
        // A pool settles what came back when it is next asked.
        let probe = got!(world.acquire(pool, &Ask::new(64).after(&[death])), Ok(Answer::Ready { reservation, .. }) => reservation);
        got!(world.cancel(pool, probe));
        world.complete(death);
        let (probe, _) = ready(world, pool, &Ask::new(64))?;
        got!(world.release(pool, probe, Death::Idle));
        let (probe, _) = ready(world, pool, &Ask::new(64))?;
        world.poll(pool);
        let stats = world.stats(pool);
        check!(stats.live == 1 && stats.requested_bytes == 64, stats);
        check!(stats.pending_bytes == 0 && stats.reserves == 5, stats);
        got!(world.release(pool, probe, Death::Idle));
    }
    Ok(())
}

pub(super) async fn arena_generations<W: World>(world: &mut W) -> Result<(), Wrong> {
    // Three generations fill; a fourth must wait until the first batch is dead.
    let mut batches = Vec::new();
    for _ in 0..3 {
        batches.push(ready(world, 0, &Ask::new(4096).or_grow())?.0);
    }
    let answer = got!(world.acquire(0, &Ask::new(1).or_grow()));
    check!(matches!(answer, Answer::Exhausted { .. }), answer);
    let death = world.submit(0);
    for batch in batches {
        got!(world.release(0, batch, Death::After(&[death])));
    }
    let answer = got!(world.acquire(0, &Ask::new(1).or_grow()));
    check!(matches!(answer, Answer::Exhausted { .. }), answer);
    world.complete(death);
    let (reservation, _) = ready(world, 0, &Ask::new(4096).or_grow())?;
    got!(world.release(0, reservation, Death::Idle));
    Ok(())
}
