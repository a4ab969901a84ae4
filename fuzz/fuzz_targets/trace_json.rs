//! Any text as JSON, on each device that it tells of: no panic, nothing followed without end, no more memory than the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strandline_replay::format::{Limits, ReadOptions, TraceReader};

fuzz_target!(|data: &[u8]| {
    let mut json = vec![b'{'];
    json.extend_from_slice(data.strip_prefix(b"{").unwrap_or(data));
    for device in [None, Some(0), Some(1)] {
        let limits = Limits { pickle_bytes: 1 << 22, ..Limits::default() };
        let options = ReadOptions { device, limits, lenient: true, ..ReadOptions::default() };
        match TraceReader::new(&json[..], options) {
            Ok(reader) => {
                let most = reader.notes().preexisting_blocks + json.len() as u64;
                let events = reader.take_while(Result::is_ok).count() as u64;
                assert!(events <= most, "{events} events of {} bytes", json.len());
            }
            Err(error) => assert!(!error.to_string().contains('\n')),
        }
    }
});
