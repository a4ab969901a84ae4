//! Whatever can be read strictly can be converted, and the conversion reads back to the same totals; read leniently, the
//! conversion can be read strictly.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strandline_replay::format::{
    ConvertError, Limits, ReadOptions, TraceReader, WriteFormat, convert,
};

fuzz_target!(|data: &[u8]| {
    for lenient in [false, true] {
        let limits = Limits { pickle_bytes: 1 << 22, live_blocks: 1 << 12, ..Limits::default() };
        let options = ReadOptions { lenient, limits, ..ReadOptions::default() };
        for format in [WriteFormat::Rmm, WriteFormat::Compact] {
            let Ok(mut reader) = TraceReader::new(data, options) else { continue };
            // A serving log may ask for far more blocks than it has bytes.
            let mut text = Capped(Vec::new());
            let before = match convert(&mut reader, &mut text, format) {
                Ok(totals) => totals,
                Err(ConvertError::Trace(_) | ConvertError::Write(_) | ConvertError::Gap { .. }) => {
                    continue;
                }
                Err(other) => panic!("{other}"),
            };
            let strict = ReadOptions { lenient: false, ..options };
            let mut steps =
                TraceReader::new(&text.0[..], strict).expect("what was written").steps();
            for step in &mut steps {
                step.expect("what was written");
            }
            let after = steps.totals();
            // RMM's log knows no block that is given up before it is over.
            if format == WriteFormat::Compact {
                assert_eq!(after.peak_live_bytes, before.peak_live_bytes);
                assert_eq!(after.live_bytes, before.live_bytes);
            }
            assert_eq!(after.peak_active_bytes, before.peak_active_bytes);
            assert_eq!(after.active_bytes, before.active_bytes);
            assert_eq!((after.allocs, after.failures), (before.allocs, before.failures));
        }
    }
});

struct Capped(Vec<u8>);

impl std::io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() > 1 << 22 {
            return Err(std::io::Error::other("enough"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
