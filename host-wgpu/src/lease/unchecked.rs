//! Leases that are nothing.

/// Misuse is not looked for.
pub(crate) const CHECKED: bool = false;

/// Never over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease;

impl Lease {
    /// For what is used for ever, as far as is known here.
    pub(crate) const FOREVER: Self = Self;

    pub(crate) const fn end(&self) {}

    pub(crate) const fn is_over(&self) -> bool {
        false
    }

    pub(crate) const fn renew(&mut self) {}
}
