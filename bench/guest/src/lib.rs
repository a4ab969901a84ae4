//! A guest that the benchmark times: pairs of calls on the first pool that was lent. The first argument says how,
//! the second how many. It has no std, so it imports nothing but its world.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

#[allow(unsafe_code, missing_docs, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ world: "guest", path: "../../wit", generate_all });
    pub(crate) use strandline::substrate::{device, pools, types};

    export!(Program with_types_in self);

    /// What the world's export hangs on.
    pub(crate) struct Program;
}
#[path = "../../../core/component/src/bare.rs"]
#[allow(unsafe_code, reason = "the ABI's allocator; argued in the file")]
mod bare;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bindings::{Guest, Program, device, pools, types};

/// Bytes of each reservation.
const SIZE: u64 = 4096;

impl Guest for Program {
    async fn run(arguments: Vec<String>) -> Result<String, String> {
        let [how, pairs] = arguments.as_slice() else {
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
                back = Some(pools::Returned { key: held.key, death: None });
            }
            other => return Err(format!("{other:?}")),
        }
    }
    Ok(String::new())
}
