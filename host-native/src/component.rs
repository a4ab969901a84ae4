//! Components: the core in a sandbox, behind the same traits, in [`substrate`].

pub mod substrate;
