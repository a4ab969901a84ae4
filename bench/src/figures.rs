//! Results that are counted, not timed: the same on every machine and in every run.

use std::fmt;

/// A case whose results are counted.
pub struct Count {
    /// The group.
    pub group: &'static str,
    /// What is counted.
    pub name: String,
    /// Counts.
    pub count: Box<dyn FnOnce() -> Result<Vec<Figure>, String>>,
}

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Count")
            .field("group", &self.group)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// One of the results.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Of what.
    pub name: String,
    /// A ratio: 1 is perfect.
    pub ratio: f64,
    /// What else is worth knowing.
    pub detail: String,
    /// The replay succeeded and its oracle found nothing; otherwise the ratio means nothing and no goal is reached.
    pub sound: bool,
    /// What the ratio must not exceed.
    pub goal: Option<f64>,
}

impl Figure {
    /// Whether the goal is reached; `None` without one. Goals are published with three digits after the point, so the
    /// ratio is rounded to as many.
    #[must_use]
    pub fn reached(&self) -> Option<bool> {
        self.goal.map(|goal| self.sound && (self.ratio * 1e3).round() <= (goal * 1e3).round())
    }
}

/// The results of a case.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The group.
    pub group: &'static str,
    /// What was counted.
    pub name: String,
    /// One per row.
    pub rows: Vec<Figure>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsound_replay_reaches_no_goal() {
        let figure = |ratio, sound| Figure {
            name: String::new(),
            ratio,
            detail: String::new(),
            sound,
            goal: Some(1.05),
        };
        assert_eq!(figure(1.0504, true).reached(), Some(true));
        assert_eq!(figure(1.051, true).reached(), Some(false));
        assert_eq!(figure(1.0, false).reached(), Some(false));
        assert_eq!(Figure { goal: None, ..figure(1.0, false) }.reached(), None);
    }
}
