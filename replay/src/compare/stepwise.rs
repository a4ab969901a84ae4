//! A comparison a row at a time, for whoever has other things to do in between. What comes out is what
//! [`compare`](super::compare()) and [`compare_device`](super::compare_device) say.

use super::{
    Begun, Choice, Comparison, Options, Recorded, Requests, Row, begin, choices, tried, with_bounds,
};
use crate::snapshot::{DeviceTrace, Snapshot};

/// A comparison under way.
#[derive(Debug)]
pub struct Comparing {
    begun: Option<Begun>,
    /// Of a trace that is no snapshot; else they are with what was begun.
    requests: Requests,
    capacity: Option<(u64, &'static str)>,
    certified: bool,
    choices: std::vec::IntoIter<Choice>,
    rows: Vec<Row>,
}

impl Comparing {
    /// Of a recorded device.
    #[must_use]
    pub fn of_device(snapshot: &Snapshot, device: &DeviceTrace, options: Options) -> Self {
        let begun = begin(snapshot, device, options);
        let recorded = Recorded::Torch(&begun.certificate.settings);
        let bytes = begun.capacity.map(|(bytes, _)| bytes);
        let choices = choices(recorded, bytes, begun.requests.peak_active, options.sweep);
        Self {
            requests: Requests::default(),
            capacity: begun.capacity,
            certified: begun.certificate.is_whole(),
            choices: choices.into_iter(),
            rows: Vec::new(),
            begun: Some(begun),
        }
    }

    /// Of the requests of another trace.
    #[must_use]
    pub fn of_requests(requests: Requests, recorded: Recorded<'_>, options: Options) -> Self {
        let choices = choices(recorded, options.capacity, requests.peak_active, options.sweep);
        Self {
            begun: None,
            requests,
            capacity: options.capacity.map(|bytes| (bytes, "as given")),
            certified: false,
            choices: choices.into_iter(),
            rows: Vec::new(),
        }
    }

    fn requests(&self) -> &Requests {
        self.begun.as_ref().map_or(&self.requests, |begun| &begun.requests)
    }

    /// Tries one more. False when there is none left.
    pub fn step(&mut self) -> bool {
        let Some(choice) = self.choices.next() else { return false };
        let bytes = self.capacity.map(|(bytes, _)| bytes);
        let row = tried(choice, self.requests(), bytes, self.certified);
        self.rows.push(row);
        true
    }

    /// The comparison, of what was tried so far.
    #[must_use]
    pub fn finish(mut self) -> Comparison {
        let rows = core::mem::take(&mut self.rows);
        let comparison = with_bounds(self.requests(), self.capacity, rows);
        match self.begun {
            Some(begun) => begun.put_before(comparison).0,
            None => comparison,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::compare_device;

    #[test]
    fn a_row_at_a_time_is_the_whole_comparison() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/trace_pickle/oom.pickle");
        let input = std::fs::File::open(file).expect("the corpus is there");
        let read = crate::snapshot::read(input, crate::format::Limits::default()).expect("sound");
        let device = read.device(None).expect("there is one");
        for capacity in [None, Some(64 << 20)] {
            let options = Options { capacity, sweep: false };
            let mut slow = Comparing::of_device(&read, device, options);
            while slow.step() {}
            let (whole, requests) = compare_device(&read, device, options);
            assert_eq!(slow.finish().to_json(), whole.to_json());
            let told = capacity.map(|bytes| (bytes, "as given"));
            let mut slow = Comparing::of_requests(requests.clone(), Recorded::Rmm, options);
            while slow.step() {}
            let whole = super::super::compare(&requests, told, Recorded::Rmm, false, false);
            assert_eq!(slow.finish().to_json(), whole.to_json());
        }
    }
}
