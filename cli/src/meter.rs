//! Progress of long work, on standard error, only when that is a terminal or read by a program, and the work lasts.

use crate::driven;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Work shorter than this shows nothing.
const PATIENCE: Duration = Duration::from_millis(300);
/// A driving program is told this often at most.
const INTERVAL: Duration = Duration::from_millis(100);

/// A bar, or a spinner where the length is not known.
pub(crate) struct Meter {
    bar: ProgressBar,
    start: Instant,
    /// When the driving program was last told.
    told: Cell<Instant>,
}

impl Meter {
    /// A meter named `what` over `length` units (0: not known). Nothing is drawn yet.
    pub(crate) fn new(what: &'static str, length: u64) -> Self {
        let bar = ProgressBar::with_draw_target(
            (length > 0).then_some(length),
            ProgressDrawTarget::hidden(),
        );
        let template = if length > 0 {
            "{prefix} {wide_bar} {percent:>3} % {msg}"
        } else {
            "{prefix} {spinner} {human_pos} {msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        let start = Instant::now();
        Self { bar, start, told: Cell::new(start) }
    }

    /// How far it is.
    pub(crate) fn at(&self, position: u64) {
        if driven::is_driven() {
            self.tell(position);
            return;
        }
        // A hidden target draws nothing; standard error that is no terminal stays hidden.
        if self.bar.is_hidden() && self.start.elapsed() > PATIENCE {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_position(position);
    }

    /// A word on what is being done.
    pub(crate) fn say(&self, message: String) {
        self.bar.set_message(message);
    }

    fn tell(&self, position: u64) {
        if self.told.get().elapsed() > INTERVAL {
            self.told.set(Instant::now());
            driven::tell(&self.bar.prefix(), position, self.bar.length(), &self.bar.message());
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
