//! The replay as a component: the parser and the engine of `strandline replay`, over pools that are in the core's component.
//!
//! ```text
//!   host ── source ──▶ playing ─▶ strandline-replay: scan, plan, play ─▶ frames, series, report ──▶ host
//!    ▲                                     │ core's trait Pool
//!    └── stage: bytes, providers, time     └─▶ substrate ─▶ pools, ledger, tracker of the other component
//! ```
//!
//! It imports nothing but its world: no clock, no file system. One thread.
#![deny(unsafe_code)]

#[allow(unsafe_code, missing_docs, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        world: "strandline:player/player",
        path: ["../../wit", "wit"],
        generate_all,
    });
    pub(crate) use self::exports::strandline::player::{planning, playing, recorded};
    pub(crate) use self::strandline::player::stage;

    pub(crate) use self::strandline::substrate;

    export!(Player with_types_in self);

    /// What the world's exports hang on.
    pub(crate) struct Player;
}
mod planning;
mod play;
mod recorded;
mod source;
mod substrate;
