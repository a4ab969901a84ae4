//! The simulation against a second, plainer model, and its laws.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

fn options() -> ServingOptions {
    ServingOptions {
        tokens_per_block: 4,
        bytes_per_token: 10,
        prefill_tokens_per_s: 1000,
        decode_tokens_per_s: 100,
        max_batch: 2,
    }
}

fn request(arrival_ms: u64, context: u32, generated: u32, line: u32) -> Request {
    Request {
        arrival_ns: arrival_ms * 1_000_000,
        context_tokens: context,
        generated_tokens: generated,
        line,
    }
}

fn play(requests: &[Request], options: ServingOptions) -> Vec<Event> {
    Serving::new(requests.iter().copied().map(Ok), options).unwrap().map(Result::unwrap).collect()
}

/// (time in ms, line, allocations minus frees) for each burst.
fn bursts(events: &[Event]) -> Vec<(u64, u32, i32)> {
    let mut out: Vec<(u64, u32, i32)> = Vec::new();
    for e in events {
        let change = if e.action == Action::Alloc { 1 } else { -1 };
        let key = (e.time_ns / 1_000_000, e.line);
        match out.last_mut() {
            Some((t, l, n)) if (*t, *l) == key && n.signum() == change => *n += change,
            _ => out.push((key.0, key.1, change)),
        }
    }
    out
}

#[test]
fn a_request_takes_blocks_as_its_tokens_need_them() {
    // 6 tokens in 2 blocks; tokens 9 and 13 each need one more: decoding of token 9, the third, begins after two (20 ms).
    let events = play(&[request(0, 6, 8, 2)], options());
    assert_eq!(bursts(&events), [(0, 2, 2), (26, 2, 1), (66, 2, 1), (86, 2, -4)]);
    assert!(events.iter().all(|e| e.size == 40 && e.id >> INDEX_BITS == 1));
}

#[test]
fn a_full_batch_queues_in_order_of_arrival() {
    let log =
        [request(0, 4, 0, 2), request(0, 8, 1, 3), request(1, 4, 1, 4), request(1, 100, 0, 5)];
    let events = play(&log, options());
    // Line 4 takes the place that line 2 gives back at 4 ms; line 5 that of line 4, at 18 ms, as line 3 ends the same
    // instant and ends come first.
    assert_eq!(
        bursts(&events),
        [
            (0, 2, 1),
            (0, 3, 2),
            (4, 2, -1),
            (4, 4, 1),
            (8, 3, 1),
            (8, 4, 1),
            (18, 3, -3),
            (18, 4, -2),
            (18, 5, 25),
            (118, 5, -25)
        ]
    );
}

#[test]
fn nothing_to_hold_is_no_event() {
    assert!(play(&[request(0, 0, 0, 2), request(5, 0, 0, 3)], options()).is_empty());
    assert!(play(&[], options()).is_empty());
}

#[test]
fn bad_options_and_requests_are_refused() {
    for bad in [
        ServingOptions { tokens_per_block: 0, ..options() },
        ServingOptions { bytes_per_token: 0, ..options() },
        ServingOptions { prefill_tokens_per_s: 0, ..options() },
        ServingOptions { decode_tokens_per_s: 0, ..options() },
        ServingOptions { max_batch: 0, ..options() },
        ServingOptions { max_batch: u32::MAX, ..options() },
        ServingOptions { bytes_per_token: u64::MAX, ..options() },
    ] {
        let error = Serving::new(std::iter::empty(), bad).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadOptions, "{bad:?}");
    }
    let huge = request(0, u32::MAX, u32::MAX, 7);
    let mut serving = Serving::new([Ok(huge)].into_iter(), options()).unwrap();
    let error = serving.next().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.place()), (ErrorKind::Overflow, Place::Line(7)));
    assert!(serving.next().is_none());
}

proptest! {
    /// Whatever the log: time never goes back, ids are unique, every block is freed by its request, no request holds more than its
    /// tokens need, the batch is never exceeded, and requests are admitted in order.
    #[test]
    fn laws(
        log in prop::collection::vec((0u64..50, 0u32..60, 0u32..60), 0..60),
        tokens_per_block in 1u32..20,
        max_batch in 1u32..5,
        prefill in 1u32..3000,
        decode in 1u32..3000,
    ) {
        let options = ServingOptions {
            tokens_per_block,
            bytes_per_token: 3,
            prefill_tokens_per_s: prefill,
            decode_tokens_per_s: decode,
            max_batch,
        };
        let mut arrival = 0;
        let log: Vec<_> = log.iter().enumerate().map(|(i, &(gap, context, generated))| {
            arrival += gap;
            request(arrival, context, generated, i as u32 + 2)
        }).collect();
        let mut live: HashMap<u32, Vec<u64>> = HashMap::new();
        let mut seen = std::collections::HashSet::new();
        let mut most: HashMap<u32, u32> = HashMap::new();
        let (mut last_time, mut last_admitted) = (0, 0);
        for event in play(&log, options) {
            prop_assert!(event.time_ns >= last_time);
            last_time = event.time_ns;
            let asked = &log[event.line as usize - 2];
            prop_assert!(event.time_ns >= asked.arrival_ns);
            prop_assert_eq!(event.size, u64::from(tokens_per_block) * 3);
            if event.action == Action::Alloc {
                prop_assert!(seen.insert(event.id));
                if !most.contains_key(&event.line) && asked.context_tokens > 0 {
                    prop_assert!(event.line > last_admitted);
                    last_admitted = event.line;
                }
                live.entry(event.line).or_default().push(event.id);
                *most.entry(event.line).or_default() += 1;
                prop_assert!(live.len() <= max_batch as usize);
            } else {
                let blocks = live.get_mut(&event.line).unwrap();
                let at = blocks.iter().position(|&id| id == event.id);
                prop_assert!(at.is_some());
                blocks.swap_remove(at.unwrap());
                if blocks.is_empty() {
                    live.remove(&event.line);
                }
            }
        }
        prop_assert!(live.is_empty());
        for asked in &log {
            let need = (asked.context_tokens + asked.generated_tokens).div_ceil(tokens_per_block);
            prop_assert_eq!(most.get(&asked.line).copied().unwrap_or(0), need);
        }
    }
}
