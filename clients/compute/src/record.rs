//! The allocations of one stream as a trace, in Strandline's own text form.

use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};
use strandline_replay::format::ReadOptions;
use strandline_replay::session::{Input, TraceFile};

/// What happened, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Alloc { id: u64, size: u64 },
    Free { id: u64, size: u64 },
}

/// What one stream asked of its pools.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub(crate) events: Vec<Event>,
}

impl Trace {
    /// Its text: `time_ns,action,id,size,stream,thread`, the time a count.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = "time_ns,action,id,size,stream,thread\n".to_owned();
        for (time, event) in self.events.iter().enumerate() {
            let (action, id, size) = match event {
                Event::Alloc { id, size } => ("alloc", id, size),
                Event::Free { id, size } => ("free", id, size),
            };
            text += &format!("{time},{action},{id},{size},0,0\n");
        }
        text
    }

    /// As `strandline-replay` takes it.
    #[must_use]
    pub fn to_file(&self) -> TraceFile {
        let text = Text(self.to_csv().into_bytes().into());
        TraceFile::of("cubecl.csv", Arc::new(text), ReadOptions::default())
    }
}

#[derive(Debug)]
struct Text(Arc<[u8]>);

impl Input for Text {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.0.clone())))
    }
}

/// Takes down what a stream does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    state: Arc<Mutex<(Trace, u64)>>,
}

impl Recorder {
    /// An allocation, which ends when what is returned is dropped.
    pub(crate) fn alloc(&self, size: u64) -> Life {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 += 1;
        let id = state.1;
        state.0.events.push(Event::Alloc { id, size });
        Life { recorder: self.clone(), id, size }
    }

    pub(crate) fn trace(&self) -> Trace {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// The life of an allocation.
#[derive(Debug)]
pub(crate) struct Life {
    recorder: Recorder,
    id: u64,
    size: u64,
}

impl Drop for Life {
    fn drop(&mut self) {
        let mut state = self.recorder.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.events.push(Event::Free { id: self.id, size: self.size });
    }
}
