//! Whether anything has moved since a pool last looked at its axes.

use super::PoolHost;

/// The [version](crate::Progress::version) of progress at the last look, if there was one that need not be repeated.
#[derive(Debug, Default)]
pub(crate) struct Still(Option<u64>);

impl Still {
    /// Whether all axes stand where they stood at the last look, so that there is nothing to see. If not, what follows is a look.
    pub(crate) fn stands(&mut self, host: &PoolHost) -> bool {
        let last = self.0;
        // A device that can be asked tells of nothing beforehand.
        self.0 = if host.provider.answers_epochs() { None } else { host.progress.version() };
        last.is_some() && last == self.0
    }

    /// There is something to look at that the last look did not see.
    pub(crate) const fn forget(&mut self) {
        self.0 = None;
    }
}
