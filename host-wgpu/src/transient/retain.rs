//! When slabs that a burst left are given back: arithmetic.
//!
//! Between two frames every slab is empty, so what a frame needs shows while it is open. So slabs are given back while a frame is open
//! that holds as much as the largest of late did: then the empty ones are those that no frame needs.

/// What the frames of late held.
#[derive(Debug)]
pub(super) struct Window {
    /// Submissions of one window.
    length: u32,
    turn: u32,
    /// The most bytes that were held at a submission of this window, and of the last.
    peak: u64,
    last_peak: u64,
    due: bool,
}

impl Window {
    pub(super) const fn new(length: u32) -> Self {
        Self { length, turn: 0, peak: 0, last_peak: 0, due: false }
    }

    /// A submission is made with `held` bytes handed out: whether empty slabs are to go now.
    pub(super) fn submits(&mut self, held: u64) -> bool {
        self.peak = self.peak.max(held);
        self.turn += 1;
        if self.turn >= self.length {
            (self.turn, self.last_peak, self.peak, self.due) = (0, self.peak, 0, true);
        }
        let large_enough = held >= self.last_peak - self.last_peak / 8;
        let goes = self.due && large_enough;
        self.due &= !goes;
        goes
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    #[test]
    fn slabs_go_once_a_window_and_only_while_a_large_frame_is_open() {
        let mut window = Window::new(3);
        let went = [900, 10, 10, 10, 100, 10, 95, 10, 100].map(|held| window.submits(held));
        // After the first window nothing is as large as its burst; after the second 100 is the most.
        assert_eq!(went, [false, false, false, false, false, false, true, false, true]);
        let mut steady = Window::new(3);
        assert_eq!((0..16).filter(|_| steady.submits(50)).count(), 5);
    }
}
