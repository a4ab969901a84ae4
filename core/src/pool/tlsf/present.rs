//! Whether this build has what only some providers can make use of: memory committed in place, and slabs that are spared.
//!
//! A value that holds a [`Present`] cannot exist without the feature `elastic`, and so the compiler removes all that is done with one. The
//! component is built so: its providers can do neither, and each guest loads every kilobyte of it.

#[cfg(feature = "elastic")]
mod is {
    /// It has.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::pool::tlsf) struct Present;

    pub(in crate::pool::tlsf) const fn present() -> Option<Present> {
        Some(Present)
    }
}

#[cfg(not(feature = "elastic"))]
mod is {
    /// It has not.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::pool::tlsf) enum Present {}

    pub(in crate::pool::tlsf) const fn present() -> Option<Present> {
        None
    }
}

pub(super) use is::{Present, present};
