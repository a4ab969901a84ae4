//! Who is who: the bytes that tell the axes of one member from those of all others, and the other end of a connection.

use crate::axis::{Axis, Domain};
use alloc::collections::BTreeSet;
use core::fmt;

/// The session byte and the machine byte that all axes of one member have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Names {
    /// [`Axis::session`].
    pub session: u8,
    /// [`Axis::machine`].
    pub machine: u8,
}

impl Names {
    /// The names that an axis has.
    #[must_use]
    pub const fn of(axis: Axis) -> Self {
        Self { session: axis.session(), machine: axis.machine() }
    }

    /// The axis that stands for whatever else of this member may touch memory: it reaches nothing, ever, and is fenced with the member.
    #[must_use]
    pub(super) const fn doubt(self) -> Axis {
        match Axis::new(self.session, self.machine, Domain::Epilogue, Axis::ORDINALS - 1) {
            Some(axis) => axis,
            None => unreachable!(),
        }
    }
}

/// Writes `session/machine`, as axes do.
impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.session, self.machine)
    }
}

/// The other end of a connection as the host has made sure of it, by its certificate for instance. It outlives processes: a program
/// that is started again is the same peer, and another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub u64);

/// Names that are left. None is given out twice.
#[derive(Debug)]
pub(super) struct NameBook {
    next: u16,
    left: u32,
    taken: BTreeSet<Names>,
}

impl NameBook {
    /// All names but these, from those of `first` on.
    pub(super) fn new(first: Names, taken: BTreeSet<Names>) -> Self {
        let next = u16::from_be_bytes([first.session, first.machine]);
        Self { next, left: 1 << 16, taken }
    }

    /// Names that nobody had, or `None` when all were given out.
    pub(super) fn allot(&mut self) -> Option<Names> {
        while self.left > 0 {
            let [session, machine] = self.next.to_be_bytes();
            self.next = self.next.wrapping_add(1);
            self.left -= 1;
            let names = Names { session, machine };
            if self.taken.insert(names) {
                return Some(names);
            }
        }
        None
    }

    /// Whether a member has these names, or had them once.
    pub(super) fn is_taken(&self, names: Names) -> bool {
        self.taken.contains(&names)
    }

    /// How many joins there can be yet.
    pub(super) fn left(&self) -> usize {
        (1 << 16) - self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_given_out_once() {
        let own = Names { session: 7, machine: 0 };
        let old = Names { session: 7, machine: 200 };
        let mut book = NameBook::new(own, [own, old].into());
        let mut seen = BTreeSet::from([own, old]);
        assert_eq!(book.left(), 65_534);
        while let Some(names) = book.allot() {
            assert!(seen.insert(names), "{names} twice");
        }
        assert_eq!((seen.len(), book.left()), (1 << 16, 0));
        assert_eq!(book.allot(), None);
    }

    #[test]
    fn the_axis_of_doubt_is_of_the_same_member() {
        let names = Names { session: 3, machine: 255 };
        assert_eq!(Names::of(names.doubt()), names);
    }
}
