//! The bindings of the world `substrate`, or of `substrate-with-plans`, generated from `wit/`. No constructors run: nothing here is C.

#[cfg(not(feature = "plans"))]
wit_bindgen::generate!({
    world: "substrate",
    path: "wit",
    generate_all,
    disable_run_ctors_once_workaround: true,
});

#[cfg(feature = "plans")]
wit_bindgen::generate!({
    world: "substrate-with-plans",
    path: "wit",
    generate_all,
    disable_run_ctors_once_workaround: true,
});

pub(crate) use exports::strandline::substrate as exported;
pub(crate) use strandline::substrate as imported;

export!(Component with_types_in self);

/// The type that all exported interfaces hang on.
#[derive(Debug)]
pub struct Component;
