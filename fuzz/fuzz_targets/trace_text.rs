//! Any bytes as a trace of any format, strictly and leniently: no panic, time never goes back, slots are used properly.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strandline_replay::format::{Limits, ReadOptions, TraceReader};
use strandline_replay::serving::ServingOptions;
use strandline_replay::validate::What;

fuzz_target!(|data: &[u8]| {
    for lenient in [false, true] {
        let limits = Limits { pickle_bytes: 1 << 22, live_blocks: 1 << 12, ..Limits::default() };
        // Once with all the memory that a log of requests asks for, and once with little.
        let capacity = lenient.then_some(64 << 20);
        let serving = ServingOptions { capacity, ..ServingOptions::default() };
        let options = ReadOptions { lenient, limits, serving, ..ReadOptions::default() };
        let Ok(reader) = TraceReader::new(data, options) else { continue };
        let mut steps = reader.steps();
        let mut slots: Vec<Option<u64>> = Vec::new();
        let mut last = 0;
        // A serving log names thousands of blocks in a few bytes.
        for step in steps.by_ref().take(50_000) {
            let Ok(step) = step else { break };
            assert!(step.time_ns >= last);
            last = step.time_ns;
            match step.what {
                What::Alloc(slot) | What::Held(slot) => {
                    assert!(slot as usize <= slots.len());
                    slots.resize(slots.len().max(slot as usize + 1), None);
                    assert!(slots[slot as usize].replace(step.size).is_none());
                }
                What::Free(slot) => assert_eq!(slots[slot as usize].take(), Some(step.size)),
                What::Retire(slot) => assert!(slots[slot as usize].is_some()),
                What::Failure => {}
            }
        }
        assert!(slots.len() <= 1 << 12);
    }
});
