//! Components: the core in a sandbox, behind the same traits, in [`substrate`]; programs that nobody need trust, with
//! pools and queues of the host, in [`guest`].

pub mod guest;
pub mod substrate;
