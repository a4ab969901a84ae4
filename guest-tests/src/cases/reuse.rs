//! When freed bytes may be used again: dominance, completion, waits, unknown deaths.
//!
//! Each takes everything that a pool has, so that the next request can only be served by what was freed.

use crate::check::{Wrong, check, got};
use crate::world::{Answer, Ask, Death, Entry, Origin, World};
use alloc::vec::Vec;

/// Takes all that the pool has in pieces of `size` bytes.
fn take_all<W: World>(world: &mut W, pool: usize, size: u64) -> Result<Vec<W::Reservation>, Wrong> {
    let mut all = Vec::new();
    loop {
        match got!(world.acquire(pool, &Ask::new(size).or_grow())) {
            Answer::Ready { reservation, .. } => all.push(reservation),
            Answer::Exhausted { .. } => break,
            other => check!(false, other),
        }
        check!(all.len() <= 16, all.len());
    }
    check!(!all.is_empty(), pool);
    Ok(all)
}

fn release_all<W: World>(
    world: &mut W,
    pool: usize,
    all: Vec<W::Reservation>,
    death: Death<'_>,
) -> Result<(), Wrong> {
    for reservation in all {
        got!(world.release(pool, reservation, death));
    }
    Ok(())
}

const PIECE: u64 = 4096;

pub(super) async fn dominance_reuse<W: World>(world: &mut W) -> Result<(), Wrong> {
    for pool in 0..3 {
        let all = take_all(world, pool, PIECE)?;
        let count = all.len() as u64;
        let [early, death, late] = [world.submit(0), world.submit(0), world.submit(0)];
        release_all(world, pool, all, Death::After(&[death]))?;
        for not_after in [&[][..], &[early]] {
            let answer = got!(world.acquire(pool, &Ask::new(PIECE).after(not_after)));
            check!(matches!(answer, Answer::Exhausted { .. }), answer);
        }
        let mut again = Vec::new();
        for after in [death, late] {
            got!(world.acquire(pool, &Ask::new(PIECE).after(&[after])), Ok(Answer::Ready { reservation, origin: Origin::Dominated, .. }) => again.push(reservation));
        }
        let stats = world.stats(pool);
        check!(stats.dominated == 2 && stats.live == 2, stats);
        check!(stats.pending_bytes == (count - 2) * PIECE, stats);
        release_all(world, pool, again, Death::After(&[death]))?;
        for done in [early, death, late] {
            world.complete(done);
        }
    }
    Ok(())
}

pub(super) async fn completion_reuse<W: World>(world: &mut W) -> Result<(), Wrong> {
    for pool in 0..3 {
        let all = take_all(world, pool, PIECE)?;
        let death = world.submit(0);
        release_all(world, pool, all, Death::After(&[death]))?;
        let answer = got!(world.acquire(pool, &Ask::new(PIECE)));
        check!(matches!(answer, Answer::Exhausted { .. }), answer);
        world.complete(death);
        let ask = Ask::new(PIECE);
        let again = got!(world.acquire(pool, &ask), Ok(Answer::Ready { reservation, origin: Origin::Completed, .. }) => reservation);
        world.poll(pool);
        check!(world.stats(pool).pending_bytes == 0, world.stats(pool));
        got!(world.release(pool, again, Death::Idle));
        got!(world.acquire(pool, &ask), Ok(Answer::Ready { reservation, .. }) => got!(world.cancel(pool, reservation)));
    }
    Ok(())
}

pub(super) async fn two_axes_are_both_needed<W: World>(world: &mut W) -> Result<(), Wrong> {
    for pool in 0..3 {
        let all = take_all(world, pool, PIECE)?;
        let death = [world.submit(0), world.submit(1)];
        release_all(world, pool, all, Death::After(&death))?;
        for half in [&death[..1], &death[1..]] {
            let answer = got!(world.acquire(pool, &Ask::new(PIECE).after(half)));
            check!(matches!(answer, Answer::Exhausted { .. }), answer, half);
        }
        let reservation = got!(world.acquire(pool, &Ask::new(PIECE).after(&death)), Ok(Answer::Ready { reservation, origin: Origin::Dominated, .. }) => reservation);
        got!(world.cancel(pool, reservation));
        // One reached, the other known.
        world.complete(death[0]);
        let answer = got!(world.acquire(pool, &Ask::new(PIECE)));
        check!(matches!(answer, Answer::Exhausted { .. }), answer);
        let reservation = got!(world.acquire(pool, &Ask::new(PIECE).after(&death[1..])), Ok(Answer::Ready { reservation, .. }) => reservation);
        got!(world.cancel(pool, reservation));
        world.complete(death[1]);
        got!(world.acquire(pool, &Ask::new(PIECE)), Ok(Answer::Ready { reservation, .. }) => got!(world.release(pool, reservation, Death::Idle)));
    }
    Ok(())
}

/// The epoch of `axis` in a frontier, 0 without one.
fn epoch_of(frontier: &[Entry], axis: u64) -> u64 {
    frontier.iter().find(|entry| entry.axis == axis).map_or(0, |entry| entry.epoch)
}

pub(super) async fn waits<W: World>(world: &mut W) -> Result<(), Wrong> {
    for pool in 0..2 {
        let all = take_all(world, pool, PIECE)?;
        let death = world.submit(2);
        release_all(world, pool, all, Death::After(&[death]))?;
        // Only if permitted, and then with just what it waits for.
        let ask = Ask::new(PIECE).or_wait();
        let (reservation, wait) = got!(world.acquire(pool, &ask), Ok(Answer::AfterWait { reservation, wait, .. }) => (reservation, wait));
        check!(wait == [death], wait);
        check!(world.stats(pool).waited == 1, world.stats(pool));
        // Freed after its own use, which comes after the wait.
        let later = world.submit(2);
        check!(epoch_of(&wait, later.axis) < later.epoch, wait, later);
        got!(world.release(pool, reservation, Death::After(&[later])));
        world.complete(death);
        // That piece is still to come; the others are there.
        let answer = got!(world.acquire(pool, &Ask::new(1 << 16)));
        check!(matches!(answer, Answer::Exhausted { .. }), answer);
        got!(world.acquire(pool, &Ask::new(PIECE)), Ok(Answer::Ready { reservation, .. }) => got!(world.release(pool, reservation, Death::Idle)));
        world.complete(later);
        got!(world.acquire(pool, &Ask::new(1 << 16)), Ok(Answer::Ready { reservation, .. }) => got!(world.release(pool, reservation, Death::Idle)));
    }
    Ok(())
}

pub(super) async fn cancel_restores_the_death<W: World>(world: &mut W) -> Result<(), Wrong> {
    for pool in 0..2 {
        let all = take_all(world, pool, 1 << 16)?;
        let death = world.submit(0);
        release_all(world, pool, all, Death::After(&[death]))?;
        let before = world.stats(pool);
        for _ in 0..3 {
            let ask = Ask::new(1 << 16).or_wait();
            let reservation = got!(world.acquire(pool, &ask), Ok(Answer::AfterWait { reservation, .. }) => reservation);
            got!(world.cancel(pool, reservation));
            let ask = Ask::new(1 << 16).after(core::slice::from_ref(&death));
            let reservation = got!(world.acquire(pool, &ask), Ok(Answer::Ready { reservation, origin: Origin::Dominated, .. }) => reservation);
            got!(world.cancel(pool, reservation));
            let stats = world.stats(pool);
            check!(stats.pending_bytes == before.pending_bytes && stats.live == 0, stats, before);
        }
        let answer = got!(world.acquire(pool, &Ask::new(1)));
        check!(matches!(answer, Answer::Exhausted { .. }), answer);
        world.complete(death);
        got!(world.acquire(pool, &Ask::new(1 << 16)), Ok(Answer::Ready { reservation, .. }) => got!(world.release(pool, reservation, Death::Idle)));
    }
    Ok(())
}

pub(super) async fn taint<W: World>(world: &mut W) -> Result<(), Wrong> {
    for pool in 0..3 {
        let all = take_all(world, pool, PIECE)?;
        let count = all.len() as u64;
        release_all(world, pool, all, Death::Unknown)?;
        let stats = world.stats(pool);
        check!(stats.tainted_bytes == count * PIECE && stats.live == 0, stats);
        let everything = world.submit(3);
        world.complete(everything);
        for ask in [Ask::new(PIECE), Ask::new(PIECE).or_wait().after(&[everything])] {
            let answer = got!(world.acquire(pool, &ask));
            check!(matches!(answer, Answer::Exhausted { .. }), answer);
        }
        world.quiesce();
        let stats = world.stats(pool);
        check!(stats.tainted_bytes == 0, stats);
        let all = take_all(world, pool, PIECE)?;
        check!(all.len() as u64 == count, all.len());
        release_all(world, pool, all, Death::Idle)?;
    }
    Ok(())
}
