//! Any bytes after a protocol opcode as a PyTorch snapshot, on each device it has: no panic, and no more memory than the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strandline_replay::format::{Limits, ReadOptions, TraceReader};

fuzz_target!(|data: &[u8]| {
    let mut pickle = vec![0x80, 4];
    pickle.extend_from_slice(data.strip_prefix(&[0x80, 4]).unwrap_or(data));
    for device in [None, Some(0), Some(1)] {
        let limits = Limits { pickle_bytes: 1 << 22, ..Limits::default() };
        let options = ReadOptions { device, limits, lenient: true, ..ReadOptions::default() };
        match TraceReader::new(&pickle[..], options) {
            Ok(reader) => {
                for step in reader.steps() {
                    if let Err(error) = step {
                        // An entry may lack what an event needs; that is told when it is come to.
                        assert!(!error.to_string().contains('\n'));
                        break;
                    }
                }
            }
            Err(error) => assert!(!error.to_string().contains('\n')),
        }
    }
});
