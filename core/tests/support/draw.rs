//! Where generated things are drawn from: a seed, or the bytes of an input.

/// A source of choices.
pub(crate) trait Draw {
    /// The next byte; 0 where there is none left.
    fn byte(&mut self) -> u8;

    /// A number below `end`, which is at most 2^16.
    fn below(&mut self, end: usize) -> usize {
        let low = usize::from(self.byte());
        if end <= 256 { low % end } else { (low << 8 | usize::from(self.byte())) % end }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
