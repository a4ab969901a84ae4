//! What a guest may try that can wait.

use super::bindings::{device, types, waits};
use crate::hostile::{self, pool, refusal, reserve, shown};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Runs a program.
pub(super) async fn run(program: &str, arguments: &[String]) -> Result<String, String> {
    match program {
        "wait-for-ever" => wait_for_ever().await,
        "many-waits" => many_waits().await,
        "peek" => peek().await,
        _ => hostile::run(program, arguments),
    }
}

/// Waits for an epoch that its own queue never gives out.
async fn wait_for_ever() -> Result<String, String> {
    let pool = pool()?;
    let _held = reserve(&pool, 4096)?;
    let queue = device::open_queue().map_err(shown)?;
    let never = types::Entry { axis: queue.axis(), epoch: u64::MAX };
    waits::wait(vec![never]).await.map_err(shown)?;
    Ok(String::from("reached"))
}

/// Begins waits and never ends them.
async fn many_waits() -> Result<String, String> {
    let queue = device::open_queue().map_err(shown)?;
    let never = types::Entry { axis: queue.axis(), epoch: u64::MAX };
    let mut waits = Vec::new();
    loop {
        let mut wait = alloc::boxed::Box::pin(waits::wait(vec![never]));
        let mut context = core::task::Context::from_waker(core::task::Waker::noop());
        match core::future::Future::poll(wait.as_mut(), &mut context) {
            core::task::Poll::Ready(result) => {
                return Ok(format!("{} {result:?}", waits.len()));
            }
            core::task::Poll::Pending => waits.push(wait),
        }
    }
}

/// Looks for what others left in memory.
async fn peek() -> Result<String, String> {
    let pool = pool()?;
    let queue = device::open_queue().map_err(shown)?;
    let size = 1 << 15;
    let held = reserve(&pool, size)?;
    let source = device::Slice { memory: device::Memory::Reserved(&held), offset: 0, len: size };
    let readback = queue.read(&source, &[]).map_err(shown)?;
    waits::wait(vec![types::Entry { axis: queue.axis(), epoch: readback.epoch() }])
        .await
        .map_err(shown)?;
    let bytes = readback.take().map_err(shown)?.unwrap_or_default();
    let other = bytes.iter().filter(|&&byte| byte != 0).count();
    pool.release(held, &types::Death::Idle).map_err(|error| String::from(refusal(error)))?;
    Ok(format!("{} bytes, {other} not zero", bytes.len()))
}
