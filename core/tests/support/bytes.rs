//! An input's bytes, to draw from. Not one of the support's modules: not every test that shares those uses it.

use crate::support::draw::Draw;

/// The bytes of an input, from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Draw for Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }
}
