//! What a freed block still waits for before its bytes may be used again.

use crate::frontier::{Entry, Frontier, FrontierRef};

/// What a freed block still waits for.
///
/// The host frees a block long before the device has finished with it. Whoever frees must say which
/// of the three cases holds; there is no null that could mean either of two.
///
/// | death | who may use the bytes |
/// | --- | --- |
/// | `Idle` | anyone, at once |
/// | `After(frontier)` | whoever is ordered after `frontier`, anyone once it is reached |
/// | `Unknown` | no one, until the host declares the whole device quiescent |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death<'a> {
    /// No work is outstanding: the block is reusable at once.
    Idle,
    /// The block is reusable after this frontier. An empty frontier is the same as `Idle`.
    After(FrontierRef<'a>),
    /// Nothing is known of the work that may still touch the block. It comes back only when the
    /// host declares the device quiescent.
    Unknown,
}

impl<'a> Death<'a> {
    /// The frontier to wait for: empty when idle, `None` when it is unknown.
    ///
    /// ```
    /// use strandline_core::{Death, FrontierRef};
    ///
    /// assert_eq!(Death::Idle.frontier(), Some(FrontierRef::EMPTY));
    /// assert_eq!(Death::Unknown.frontier(), None);
    /// ```
    #[must_use]
    pub const fn frontier(self) -> Option<FrontierRef<'a>> {
        match self {
            Self::Idle => Some(FrontierRef::EMPTY),
            Self::After(frontier) => Some(frontier),
            Self::Unknown => None,
        }
    }
}

/// An empty frontier becomes `Idle`, any other `After`.
impl<'a> From<FrontierRef<'a>> for Death<'a> {
    fn from(frontier: FrontierRef<'a>) -> Self {
        if frontier.is_empty() { Self::Idle } else { Self::After(frontier) }
    }
}

/// After a frontier that is owned elsewhere; an empty one becomes `Idle`.
impl<'a> From<&'a Frontier> for Death<'a> {
    fn from(frontier: &'a Frontier) -> Self {
        frontier.as_ref().into()
    }
}

/// After one epoch of one axis; epoch 0 becomes `Idle`.
impl<'a> From<&'a Entry> for Death<'a> {
    fn from(entry: &'a Entry) -> Self {
        FrontierRef::single(entry).into()
    }
}
