//! A guest that runs what its first argument names: a conformance case, a hostile program, or `puppet`, what a model of
//! the host wants of it.
//!
//! `world` is the cases' [`World`](strandline_guest_tests::World) over the imports of a guest, `hostile` what a guest may
//! try. It is built twice: `program` is `waiting` for the world `guest`, and `polling` for the world `guest-sync`. It has no
//! std, so it imports nothing but its world.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

#[path = "../../../core/component/src/bare.rs"]
#[allow(unsafe_code, reason = "the ABI's allocator; argued in the file")]
mod bare;
mod hostile;
#[cfg(not(feature = "waits"))]
mod polling;
mod puppet;
#[cfg(feature = "waits")]
mod waiting;
mod world;

use alloc::string::{String, ToString};
#[cfg(not(feature = "waits"))]
use polling as program;
use program::bindings;
#[cfg(feature = "waits")]
use waiting as program;

/// The hostile program that the arguments name, and its own arguments.
fn hostile_program(arguments: &[String]) -> Option<(&str, &[String])> {
    let (name, rest) = arguments.split_first()?;
    Some((name.strip_prefix("hostile:")?, rest))
}

/// Runs the conformance case that the arguments name.
async fn case(arguments: &[String]) -> Result<String, String> {
    let Some(name) = arguments.first() else {
        return Err("no case is named".to_string());
    };
    if name == "puppet" {
        puppet::obey()?;
        return Ok(String::new());
    }
    let mut world = world::GuestWorld::new();
    match strandline_guest_tests::run(name, &mut world).await {
        Ok(()) => Ok(String::new()),
        Err(wrong) => Err(wrong.to_string()),
    }
}
