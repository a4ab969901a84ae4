//! What the tests of pools stand on: a provider and a progress that do as they are told, an oracle that knows
//! every byte's owner and death, and programs to run.

pub(crate) mod dice;
pub(crate) mod draw;
pub(crate) mod generate;
pub(crate) mod laws;
pub(crate) mod oracle;
pub(crate) mod planned;
pub(crate) mod program;
pub(crate) mod progress;
pub(crate) mod provider;
pub(crate) mod runs;
pub(crate) mod split_mix;
pub(crate) mod subject;

pub(crate) use runs::scaled;
