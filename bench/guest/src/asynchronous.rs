//! The program as a guest of the world `guest`.

#[allow(unsafe_code, missing_docs, reason = "generated")]
pub(crate) mod bindings {
    wit_bindgen::generate!({ world: "guest", path: "../../wit", generate_all });
    pub(crate) use strandline::substrate::{device, pools, types};

    export!(Program with_types_in self);

    /// What the world's export hangs on.
    pub(crate) struct Program;
}

use alloc::string::String;
use alloc::vec::Vec;

impl bindings::Guest for bindings::Program {
    async fn run(arguments: Vec<String>) -> Result<String, String> {
        crate::run(&arguments)
    }
}
