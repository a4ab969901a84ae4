//! Runs callbacks one after the other, all of them, even when one panics.

/// Runs every callback. When one panics the others still run, and the panic goes on after them: a
/// callback that never came would leave someone waiting for good.
pub(crate) fn run_all<F: FnOnce()>(callbacks: impl Iterator<Item = F>) {
    /// Runs what is left, also when dropped by a panic.
    struct Rest<I: Iterator<Item = F>, F: FnOnce()>(I);

    impl<I: Iterator<Item = F>, F: FnOnce()> Drop for Rest<I, F> {
        fn drop(&mut self) {
            for callback in self.0.by_ref() {
                callback();
            }
        }
    }

    let mut rest = Rest(callbacks);
    for callback in rest.0.by_ref() {
        callback();
    }
}
