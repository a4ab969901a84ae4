//! What a guest may try against its host, without waiting. Each program ends with what the host answered, in words,
//! unless it is stopped.

use crate::bindings::{device, pools, types};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// A number given as an argument.
fn number(arguments: &[String], at: usize) -> u64 {
    arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(crate) fn pool() -> Result<pools::Pool, String> {
    device::lent_pools().into_iter().next().ok_or_else(|| String::from("no pool was lent"))
}

pub(crate) fn request(size: u64, alignment: u64, after: Vec<types::Entry>) -> pools::Request {
    pools::Request { size, alignment, after, may: pools::Permissions::GROW }
}

pub(crate) fn reserve(pool: &pools::Pool, size: u64) -> Result<pools::Reservation, String> {
    match pool.acquire(&request(size, 1, Vec::new())) {
        Ok(pools::Acquired::Ready(ready)) => Ok(ready.reservation),
        other => Err(format!("{other:?}")),
    }
}

pub(crate) fn shown<E: core::fmt::Debug>(error: E) -> String {
    format!("{error:?}")
}

/// What became of the release, without the reservation's handle.
pub(crate) fn refusal(refusal: pools::Refusal) -> &'static str {
    match refusal {
        pools::Refusal::OtherPool(_) => "other-pool",
        pools::Refusal::InvalidDeath(_) => "invalid-death",
        pools::Refusal::NotYours(_) => "not-yours",
        pools::Refusal::Lost(_) => "lost",
    }
}

/// Runs a program that does not wait.
pub(crate) fn run(program: &str, arguments: &[String]) -> Result<String, String> {
    match program {
        "reserve-and-leave" => reserve_and_leave(number(arguments, 0), number(arguments, 1)),
        "trap-in-the-middle" => trap_in_the_middle(),
        "loop" => spin(),
        "many-small" => many_small(),
        "pin-by-release" => pin_by_release(),
        "arguments" => odd_arguments(),
        "name" => name(number(arguments, 0), number(arguments, 1)),
        "double-release" => double_release(),
        "ledger-keys" => ledger_keys(),
        "exchange" => exchange(),
        "handles" => handles(),
        "memory" => memory(),
        "long-list" => long_list(number(arguments, 0)),
        "huge-write" => huge_write(number(arguments, 0)),
        "forge" => forge(number(arguments, 0) as u32),
        _ => Err(format!("no program is called {program}")),
    }
}

/// Exits with reservations, buffers, and work under way.
fn reserve_and_leave(count: u64, size: u64) -> Result<String, String> {
    let pool = pool()?;
    let queue = device::open_queue().map_err(shown)?;
    for at in 0..count {
        let held = reserve(&pool, size)?;
        if at % 2 == 0 {
            let target =
                device::Slice { memory: device::Memory::Reserved(&held), offset: 0, len: size };
            queue.fill(&target, 1, &[]).map_err(shown)?;
        }
        if at % 3 == 0 {
            // The handle goes, the bytes stay.
            drop(held);
        } else {
            core::mem::forget(held);
        }
    }
    let buffer = queue.alloca(&pool, &request(size, 1, Vec::new())).map_err(shown)?;
    core::mem::forget(buffer);
    Ok(format!("{}", pool.stats().live))
}

#[allow(clippy::empty_loop, reason = "that is the point")]
fn trap_in_the_middle() -> Result<String, String> {
    let pool = pool()?;
    let queue = device::open_queue().map_err(shown)?;
    let held = reserve(&pool, 4096)?;
    let target = device::Slice { memory: device::Memory::Reserved(&held), offset: 0, len: 4096 };
    queue.fill(&target, 1, &[]).map_err(shown)?;
    core::arch::wasm32::unreachable()
}

#[allow(clippy::empty_loop, reason = "that is the point")]
fn spin() -> ! {
    loop {}
}

/// Takes one byte at a time until refused.
fn many_small() -> Result<String, String> {
    let pool = pool()?;
    let mut count = 0_u64;
    let why = loop {
        match pool.acquire(&request(1, 1, Vec::new())) {
            Ok(pools::Acquired::Ready(ready)) => core::mem::forget(ready.reservation),
            Ok(pools::Acquired::OverBudget(_)) => break "over budget",
            Ok(pools::Acquired::Exhausted(_)) => break "exhausted",
            other => return Err(shown(other)),
        }
        count += 1;
    };
    Ok(format!("{count} {why}"))
}

/// Releases bytes to die where nothing ever comes, to have more.
fn pin_by_release() -> Result<String, String> {
    let pool = pool()?;
    let queue = device::open_queue().map_err(shown)?;
    // An alloca that can never be served stops the queue for good.
    let mut rounds = 0_u64;
    let first = reserve(&pool, 4096)?;
    let stuck = queue.alloca(&pool, &request(1 << 16, 1, Vec::new())).map_err(shown)?;
    let epoch = queue.barrier(&[]).map_err(shown)?;
    let death = types::Entry { axis: queue.axis(), epoch };
    let mut next = first;
    let why = loop {
        pool.release(next, &types::Death::After(vec![death]))
            .map_err(|error| String::from(refusal(error)))?;
        match pool.acquire(&request(4096, 1, Vec::new())) {
            Ok(pools::Acquired::Ready(ready)) => next = ready.reservation,
            Ok(pools::Acquired::OverBudget(_)) => break "over budget",
            Ok(pools::Acquired::Exhausted(_)) => break "exhausted",
            other => return Err(shown(other)),
        }
        rounds += 1;
    };
    core::mem::forget(stuck);
    Ok(format!("{rounds} {why}"))
}

/// Sizes, alignments and frontiers of every odd kind: all are refused.
fn odd_arguments() -> Result<String, String> {
    let pool = pool()?;
    let queue = device::open_queue().map_err(shown)?;
    let point = |axis, epoch| types::Entry { axis, epoch };
    let many: Vec<_> = (0..1000).map(|axis| point(axis, 1)).collect();
    let frontiers = [vec![point(2, 1), point(1, 1)], vec![point(1, 1); 2], vec![point(1, 0)], many];
    for size in [0, u64::MAX, 1 << 63] {
        if let Ok(answer) = pool.acquire(&request(size, 1, Vec::new())) {
            return Err(format!("size {size}: {answer:?}"));
        }
        if queue.alloca(&pool, &request(size, 1, Vec::new())).is_ok() {
            return Err(format!("alloca of {size}"));
        }
    }
    for alignment in [0, 3, u64::MAX, 6] {
        if let Ok(answer) = pool.acquire(&request(1, alignment, Vec::new())) {
            return Err(format!("alignment {alignment}: {answer:?}"));
        }
    }
    for frontier in frontiers {
        if let Ok(answer) = pool.acquire(&request(1, 1, frontier.clone())) {
            return Err(format!("{frontier:?}: {answer:?}"));
        }
        if queue.barrier(&frontier).is_ok() {
            return Err(format!("barrier {frontier:?}"));
        }
        let held = reserve(&pool, 64)?;
        match pool.release(held, &types::Death::After(frontier)) {
            Ok(()) => return Err(String::from("released")),
            Err(pools::Refusal::InvalidDeath(invalid)) => {
                pool.cancel(invalid.reservation).map_err(|error| String::from(refusal(error)))?;
            }
            Err(other) => return Err(String::from(refusal(other))),
        }
    }
    Ok(format!("{}", pool.stats().live))
}

/// Speaks of an epoch in every way there is.
fn name(axis: u64, epoch: u64) -> Result<String, String> {
    let pool = pool()?;
    let queue = device::open_queue().map_err(shown)?;
    let entry = types::Entry { axis, epoch };
    if !matches!(
        pool.acquire(&request(64, 1, vec![entry])),
        Err(types::PoolError::NotYours(e)) if (e.axis, e.epoch) == (axis, epoch)
    ) {
        return Err(String::from("acquire"));
    }
    if !matches!(queue.barrier(&[entry]), Err(device::QueueError::NotYours(_))) {
        return Err(String::from("barrier"));
    }
    let held = reserve(&pool, 64)?;
    match pool.release(held, &types::Death::After(vec![entry])) {
        Err(pools::Refusal::NotYours(_)) => {}
        _ => return Err(String::from("release")),
    }
    Ok(format!("not yours, reached {}", device::reached(axis)))
}

/// Handles cannot be used twice in this language, keys of a ledger can.
fn double_release() -> Result<String, String> {
    let pool = pool()?;
    let ledger = pool.ledger();
    let key = match ledger.acquire(64, 1, &[], pools::Permissions::GROW) {
        Ok(pools::Outcome::Ready(held)) => held.key,
        other => return Err(shown(other)),
    };
    ledger.release(key, &types::Death::Idle).map_err(shown)?;
    let again = ledger.release(key, &types::Death::Idle);
    let cancel = ledger.cancel(key);
    let batch = ledger.release_batch(&[key, key], &types::Death::Idle);
    Ok(format!("{again:?} {cancel:?} {batch:?}"))
}

/// Keys that were never given out, and those of another ledger.
fn ledger_keys() -> Result<String, String> {
    let pool = pool()?;
    let [mine, other] = [pool.ledger(), pool.ledger()];
    let Ok(pools::Outcome::Ready(held)) = other.acquire(64, 1, &[], pools::Permissions::GROW)
    else {
        return Err(String::from("acquire"));
    };
    for key in [0, 1, held.key, u32::MAX] {
        if mine.release(key, &types::Death::Idle).is_ok() || mine.cancel(key).is_ok() {
            return Err(format!("key {key}"));
        }
    }
    let requests: Vec<u64> = [u64::MAX, 0, 64, 1].into();
    let answers = mine.acquire_batch(&requests, &[], pools::Permissions::GROW).map_err(shown)?;
    Ok(format!("{} {:?}", answers.words.len(), answers.stopped.is_some()))
}

/// Exchanges what it has not, and what it has, for what there is not.
fn exchange() -> Result<String, String> {
    let ledger = pool()?.ledger();
    let may = pools::Permissions::GROW;
    let get = |back, size, after| ledger.exchange(back, size, 1, after, may);
    let back = |key, death| Some(pools::Returned { key, death, reached: u64::MAX });
    let pools::Exchanged::Ready(held) = get(None, 64, None) else {
        return Err(String::from("acquire"));
    };
    // Refused: it is not held, or the death is nobody's to say. Nothing is acquired then, nothing lost.
    let unknown = get(back(held.key + 1, None), 64, None);
    let foreign = types::Entry { axis: 7, epoch: 1 };
    let not_yours = get(back(held.key, Some(foreign)), 64, None);
    let zero = types::Entry { axis: 7, epoch: 0 };
    let not_one = get(back(held.key, Some(zero)), 64, None);
    // Released, but what is asked for is not to be had.
    let other = get(back(held.key, None), 0, None);
    let answers = [ledger.answer(), ledger.answer()];
    let after = get(None, 64, Some(foreign));
    let why = ledger.answer();
    let len = ledger.len();
    Ok(format!(
        "{unknown:?} {not_yours:?} {not_one:?} {other:?} {answers:?} {after:?} {why:?} {len}"
    ))
}

/// Asks for handles for ever.
fn handles() -> Result<String, String> {
    loop {
        core::mem::forget(device::lent_pools());
    }
}

/// Takes linear memory until there is none.
fn memory() -> Result<String, String> {
    let mut all = Vec::new();
    loop {
        all.push(vec![1_u8; 1 << 20]);
        if all.len() > 1 << 16 {
            return Ok(String::from("64 GiB"));
        }
    }
}

/// Has the host copy a long list.
fn long_list(entries: u64) -> Result<String, String> {
    let list = vec![types::Entry { axis: 0, epoch: 0 }; entries as usize];
    let refused = device_answers(&list)?;
    Ok(refused)
}

fn device_answers(list: &[types::Entry]) -> Result<String, String> {
    match crate::bindings::frontiers::from_entries(list) {
        Ok(sorted) => Err(format!("{} entries", sorted.len())),
        Err(error) => Ok(format!("{error:?}")),
    }
}

/// Submits writes until refused; each keeps bytes in the host.
fn huge_write(bytes: u64) -> Result<String, String> {
    let pool = pool()?;
    let queue = device::open_queue().map_err(shown)?;
    let held = reserve(&pool, bytes)?;
    // Never served: what follows stays with the host.
    let stuck = queue.alloca(&pool, &request(1 << 16, 1, Vec::new())).map_err(shown)?;
    core::mem::forget(stuck);
    let data = vec![7; bytes as usize];
    let target = device::Slice { memory: device::Memory::Reserved(&held), offset: 0, len: bytes };
    let mut count = 0_u64;
    loop {
        match queue.write(&target, &data, &[]) {
            Ok(_) => count += 1,
            Err(device::QueueError::Limit) => return Ok(format!("{count} limit")),
            Err(other) => return Err(shown(other)),
        }
    }
}

/// Uses a handle that it was never given.
fn forge(handle: u32) -> Result<String, String> {
    // The type of the guest's side wraps the number; this is what a guest in C would do.
    let forged = forge_handle(handle);
    let stats = forged.stats();
    core::mem::forget(forged);
    Ok(format!("{}", stats.live))
}

#[allow(unsafe_code, reason = "forging a handle is what this is about; the host must trap it")]
fn forge_handle(handle: u32) -> pools::Pool {
    // SAFETY: any number is a valid value of the wrapper; whether it names anything is for the host to find.
    unsafe { pools::Pool::from_handle(handle) }
}
