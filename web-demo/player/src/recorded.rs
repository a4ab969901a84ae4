//! The interface `recorded`: snapshots as `strandline explain`, `compare` and `diff` read them, and the run that they recorded at any moment.

use crate::bindings::Player;
use crate::bindings::recorded::{
    Comparing as ComparingHandle, Explained, File, Guest, GuestComparing, GuestMoments,
    GuestSnapshot, Moments as MomentsHandle, Pins, Snapshot as SnapshotHandle, SnapshotBorrow,
    Told, TraceBorrow,
};
use crate::play::{Trace, told};
use crate::source::HostFile;
use serde_json::json;
use std::cell::RefCell;
use std::sync::Arc;
use strandline_replay::compare::{Comparing as Begun, Options, Recorded, Requests};
use strandline_replay::diff::{Side, diff};
use strandline_replay::explain::{
    Explanation, Moments as Run, Pin, explain, explain_peak, explain_with_moments,
};
use strandline_replay::format::{ErrorKind, Format, Limits};
use strandline_replay::recording;
use strandline_replay::session::{Input, SessionError};
use strandline_replay::snapshot::{self, DeviceTrace};

/// A snapshot.
pub(crate) struct Snapshot {
    name: String,
    /// All of it but the devices.
    read: Arc<snapshot::Snapshot>,
    devices: Vec<Arc<DeviceTrace>>,
    default: u32,
}

impl Snapshot {
    fn device(&self, number: u32) -> Result<&Arc<DeviceTrace>, String> {
        let found = self.devices.iter().find(|device| device.number == number);
        found.ok_or_else(|| format!("{}: nothing of device {number}", self.name))
    }

    fn told(&self, explained: &Explanation, top: u32) -> Explained {
        let top = top as usize;
        Explained {
            told: Told {
                json: explained.to_json(top).to_string(),
                text: explained.to_text(&self.name, top),
            },
            series: recording::series(&explained.timeline),
            at: explained.at.entry,
            failure: explained.page_failure().to_string(),
        }
    }
}

impl GuestSnapshot for Snapshot {
    fn open(file: File) -> Result<Option<SnapshotHandle>, String> {
        let File { name, input, .. } = file;
        let bytes = told(HostFile(input).open())?;
        let mut read = match snapshot::read(bytes, Limits::default()) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::NotASnapshot => return Ok(None),
            Err(error) => return Err(SessionError::Trace(name.into(), error).to_string()),
        };
        let default = match read.device(None) {
            Ok(device) => device.number,
            Err(error) => return Err(SessionError::Trace(name.into(), error).to_string()),
        };
        let devices = core::mem::take(&mut read.devices).into_iter().map(Arc::new).collect();
        let read = Arc::new(read);
        Ok(Some(SnapshotHandle::new(Self { name, read, devices, default })))
    }

    fn devices(&self) -> String {
        let of = |device: &Arc<DeviceTrace>| {
            json!({
                "device": device.number,
                "entries": device.entries.len(),
                "refused": device.holding().refused,
                "state_only": device.is_state_only(),
            })
        };
        json!(self.devices.iter().map(of).collect::<Vec<_>>()).to_string()
    }

    fn default_device(&self) -> u32 {
        self.default
    }

    fn explain(&self, device: u32, entry: Option<u32>, top: u32) -> Result<Explained, String> {
        let device = self.device(device)?;
        let explained = explain(&self.read, device, entry.map(|entry| entry.saturating_add(1)));
        Ok(self.told(&explained, top))
    }

    fn look(&self, device: u32, top: u32) -> Result<(Explained, MomentsHandle), String> {
        let device = self.device(device)?;
        let (explained, moments) = explain_with_moments(&self.read, device, None);
        let told = self.told(&explained, top);
        let moments = Moments { run: RefCell::new(moments), read: Arc::clone(&self.read) };
        Ok((told, MomentsHandle::new(moments)))
    }

    fn frames(&self) -> Vec<String> {
        self.read.stacks.all_frames().iter().map(ToString::to_string).collect()
    }

    fn stacks(&self) -> Vec<u32> {
        let stacks = &self.read.stacks;
        let all = 0..stacks.len() as u32;
        let mut out = vec![stacks.len() as u32];
        out.extend(all.clone().map(|stack| stacks.line(stack).unwrap_or(u32::MAX)));
        out.extend(all.clone().scan(0, |end, stack| {
            *end += stacks.numbers(stack).len() as u32;
            Some(*end)
        }));
        all.for_each(|stack| out.extend_from_slice(stacks.numbers(stack)));
        out
    }

    fn compare(&self, device: u32, capacity: Option<u64>) -> Result<ComparingHandle, String> {
        let device = self.device(device)?;
        if device.is_state_only() {
            return Err(SessionError::StateOnly(self.name.clone().into()).to_string());
        }
        let begun = Begun::of_device(&self.read, device, Options { capacity, sweep: false });
        Ok(ComparingHandle::new(Comparing(RefCell::new(begun))))
    }

    fn diff(
        &self,
        device: u32,
        other: SnapshotBorrow<'_>,
        other_device: u32,
        top: u32,
    ) -> Result<Told, String> {
        let other: &Self = other.get();
        let side = |of: &Self, number| {
            let device = of.device(number)?;
            Ok::<_, String>(Side::of_snapshot(&of.read, device, &explain_peak(&of.read, device)))
        };
        let told = diff(&side(other, other_device)?, &side(self, device)?);
        let top = top as usize;
        Ok(Told {
            json: told.to_json(top).to_string(),
            text: told.to_text([&other.name, &self.name], top),
        })
    }
}

/// A recorded run.
pub(crate) struct Moments {
    run: RefCell<Run>,
    read: Arc<snapshot::Snapshot>,
}

impl GuestMoments for Moments {
    fn stops(&self) -> Vec<u32> {
        self.run.borrow().stops().to_vec()
    }

    fn lives(&self) -> Vec<u8> {
        self.run.borrow_mut().take_lives().to_bytes()
    }

    fn frame(&self, entry: u32) -> Vec<u8> {
        self.run.borrow_mut().at(entry).to_bytes()
    }

    fn pins(&self, entry: u32) -> Pins {
        let told = self.run.borrow_mut().pins(entry, &self.read.stacks);
        let of = |pin: &Pin| {
            let [before, after] = pin.free.map(|free| free.unwrap_or(u32::MAX));
            [pin.block, pin.line, pin.since, before, after]
        };
        Pins {
            lines: told.to_json().to_string(),
            blocks: told.blocks.iter().flat_map(of).collect(),
        }
    }
}

/// A comparison under way.
pub(crate) struct Comparing(RefCell<Begun>);

impl GuestComparing for Comparing {
    fn step(&self) -> bool {
        self.0.borrow_mut().step()
    }

    fn finish(comparing: ComparingHandle, file: String) -> Told {
        let told = comparing.into_inner::<Self>().0.into_inner().finish();
        Told { json: told.to_json().to_string(), text: told.to_text(&file) }
    }
}

/// The requests of a trace, in order, and whose recording it is.
fn requests(trace: &Trace) -> Result<(Requests, Recorded<'_>, Option<(u32, u32)>), String> {
    let mut reader = told(trace.file.open())?;
    let recorded = match reader.format() {
        Format::Rmm | Format::RmmDebug => Recorded::Rmm,
        _ => Recorded::Unknown,
    };
    let mut requests = Requests::default();
    for event in reader.by_ref() {
        let wrong = |error| SessionError::Trace(trace.file.path().to_owned(), error);
        requests.push(&told(event.map_err(wrong))?);
    }
    let notes = reader.notes();
    Ok((requests, recorded, notes.device.map(|device| (device, notes.devices))))
}

impl Guest for Player {
    type Snapshot = Snapshot;
    type Moments = Moments;
    type Comparing = Comparing;

    fn compare_trace(
        trace: TraceBorrow<'_>,
        capacity: Option<u64>,
    ) -> Result<ComparingHandle, String> {
        let trace: &Trace = trace.get();
        let (requests, recorded, _) = requests(trace)?;
        let options = Options { capacity, sweep: false };
        let begun = Begun::of_requests(requests, recorded, options);
        Ok(ComparingHandle::new(Comparing(RefCell::new(begun))))
    }

    fn diff_traces(
        trace: TraceBorrow<'_>,
        before: TraceBorrow<'_>,
        top: u32,
    ) -> Result<Told, String> {
        let side = |trace: &Trace| {
            let (requests, _, device) = requests(trace)?;
            Ok::<_, String>((Side::of_requests(&requests, device), name(trace)))
        };
        let ((before, a), (now, b)) = (side(before.get())?, side(trace.get())?);
        let (told, top) = (diff(&before, &now), top as usize);
        Ok(Told { json: told.to_json(top).to_string(), text: told.to_text([&a, &b], top) })
    }
}

fn name(trace: &Trace) -> String {
    trace.file.path().display().to_string()
}
