//! Playing a trace with some of its instants kept for a picture.

use super::{Playback, Scan, SessionError, TICK, TraceFile};
use crate::build::Backing;
use crate::config::Config;
use crate::engine::{Instants, Options, Outcome, Recorder};

impl TraceFile {
    /// As [`play`](Self::play), and keeps instants: see [`Recorder`] for which, and for what that costs.
    ///
    /// # Errors
    /// As of [`play`](Self::play).
    pub fn record(
        &self,
        scan: &Scan,
        config: &Config,
        backing: &Backing,
        options: Options,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(Outcome, Instants), SessionError> {
        let mut playback = Playback::new(self, scan, config, backing, options)?.remembering();
        let mut recorder = Recorder::new(&scan.totals);
        recorder.look(playback.engine());
        while playback.advance(u64::MAX, 1)? {
            recorder.look(playback.engine());
            let event = playback.engine().event();
            if event.is_multiple_of(TICK) {
                progress(event);
            }
        }
        let instants = recorder.finish(playback.engine());
        Ok((playback.finish(), instants))
    }
}
