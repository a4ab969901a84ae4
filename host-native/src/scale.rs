//! How much work the tests do: `STRANDLINE_TEST_SCALE=small` for sanitizers.

/// `full`, or a twentieth of it (at least 1) at small scale.
pub(crate) fn scaled(full: usize) -> usize {
    match std::env::var("STRANDLINE_TEST_SCALE") {
        Ok(scale) if scale == "small" => (full / 20).max(1),
        _ => full,
    }
}
