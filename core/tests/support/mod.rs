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
pub(crate) mod subject;

/// Divides the size of a test where `STRANDLINE_TEST_SCALE=small` asks for it: under sanitizers and miri.
pub(crate) fn scaled(full: u32) -> u32 {
    let small = std::env::var("STRANDLINE_TEST_SCALE").is_ok_and(|scale| scale == "small");
    if small { (full / 50).max(1) } else { full }
}
