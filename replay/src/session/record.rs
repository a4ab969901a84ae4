//! Playing a trace with some of its instants kept for a picture.

use super::{Scan, SessionError, TICK, TraceFile, engine};
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
        let mut engine = engine(scan, config, backing, options)?.remembering();
        let mut recorder = Recorder::new(&scan.totals);
        recorder.look(&mut engine);
        let mut steps = self.open()?.steps();
        let mut failure = None;
        while let Some(step) = steps.next() {
            let step = step.map_err(|error| self.wrong(error))?;
            let event = steps.totals().events;
            if let Err(failed) = engine.play(event, &step) {
                failure = Some(failed);
                break;
            }
            recorder.look(&mut engine);
            if event.is_multiple_of(TICK) {
                progress(event);
            }
        }
        let instants = recorder.finish(&mut engine);
        Ok((engine.finish(failure), instants))
    }
}
