//! A guest that runs what its first argument names: a conformance case, or a hostile program.
//!
//! `world` is the cases' [`World`](strandline_guest_tests::World) over the imports of the world `guest`, `hostile`
//! what a guest may try. It has no std, so it imports nothing but its world.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

#[allow(unsafe_code, missing_docs, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        world: "strandline:guest-tests/conformance",
        path: ["../../wit", "../wit"],
        generate_all,
    });
    pub(crate) use strandline::guest_tests::stage;
    pub(crate) use strandline::substrate::{device, frontiers, pools, types};

    export!(Program with_types_in self);

    /// What the world's export hangs on.
    pub(crate) struct Program;
}
#[path = "../../../core/component/src/bare.rs"]
#[allow(unsafe_code, reason = "the ABI's allocator; argued in the file")]
mod bare;
mod hostile;
mod world;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bindings::{Guest, Program};

impl Guest for Program {
    async fn run(arguments: Vec<String>) -> Result<String, String> {
        let Some(name) = arguments.first() else {
            return Err("no case is named".to_string());
        };
        if let Some(program) = name.strip_prefix("hostile:") {
            return hostile::run(program, &arguments[1..]).await;
        }
        let mut world = world::GuestWorld::new();
        match strandline_guest_tests::run(name, &mut world).await {
            Ok(()) => Ok(String::new()),
            Err(wrong) => Err(wrong.to_string()),
        }
    }
}
