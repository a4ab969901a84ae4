//! A guest that the benchmark times: pairs of calls on the first pool that was lent. The first argument says how,
//! the second how many. It is built for both worlds of guests, and waits in neither. It has no std, so it imports nothing but its world.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

#[cfg(feature = "waits")]
mod asynchronous;
#[path = "../../../core/component/src/bare.rs"]
#[allow(unsafe_code, reason = "the ABI's allocator; argued in the file")]
mod bare;
#[cfg(not(feature = "waits"))]
mod synchronous;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
#[cfg(feature = "waits")]
use asynchronous as program;
use program::bindings::{device, pools, types};
#[cfg(not(feature = "waits"))]
use synchronous as program;

/// Bytes of each reservation.
const SIZE: u64 = 4096;

fn run(arguments: &[String]) -> Result<String, String> {
    let [how, pairs] = arguments else {
        return Err(String::from("arguments: handles or ledger, and how many pairs"));
    };
    let pairs: u64 = pairs.parse().map_err(|error| format!("{pairs}: {error}"))?;
    let pool = device::lent_pools().into_iter().next();
    let pool = pool.ok_or_else(|| String::from("no pool was lent"))?;
    match how.as_str() {
        "handles" => handles(&pool, pairs),
        "ledger" => ledger(&pool, pairs),
        other => Err(format!("{other}: neither handles nor ledger")),
    }
}

/// A handle for each reservation.
fn handles(pool: &pools::Pool, pairs: u64) -> Result<String, String> {
    let may = pools::Permissions::GROW;
    let request = pools::Request { size: SIZE, alignment: 1, after: Vec::new(), may };
    for _ in 0..pairs {
        match pool.acquire(&request) {
            Ok(pools::Acquired::Ready(ready)) => pool
                .release(ready.reservation, &types::Death::Idle)
                .map_err(|refusal| format!("{refusal:?}"))?,
            other => return Err(format!("{other:?}")),
        }
    }
    Ok(String::new())
}

/// Keys of a ledger, released and acquired in one call.
fn ledger(pool: &pools::Pool, pairs: u64) -> Result<String, String> {
    let ledger = pool.ledger();
    let mut back = None;
    for _ in 0..pairs {
        match ledger.exchange(back, SIZE, 1, None, pools::Permissions::GROW) {
            pools::Exchanged::Ready(held) => {
                back = Some(pools::Returned { key: held.key, death: None, reached: 0 });
            }
            other => return Err(format!("{other:?}")),
        }
    }
    Ok(String::new())
}
