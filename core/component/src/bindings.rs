//! The bindings of the world `substrate`, generated from `wit/`.

wit_bindgen::generate!({
    world: "substrate",
    path: "wit",
    generate_all,
    // There are none: nothing here is C.
    disable_run_ctors_once_workaround: true,
});

pub(crate) use exports::strandline::substrate as exported;
pub(crate) use strandline::substrate as imported;

export!(Component with_types_in self);

/// The type that all exported interfaces hang on.
#[derive(Debug)]
pub struct Component;
