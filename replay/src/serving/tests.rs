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
        ..ServingOptions::default()
    }
}

fn request(arrival_ms: u64, context: u32, generated: u32, line: u32) -> Request {
    Request {
        arrival_ns: arrival_ms * 1_000_000,
        context_tokens: context,
        generated_tokens: generated,
        line,
        hashes: Vec::new(),
    }
}

fn play(requests: &[Request], options: ServingOptions) -> Vec<Event> {
    let requests = requests.iter().cloned().map(Ok);
    Serving::new(requests, options).unwrap().map(Result::unwrap).collect()
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
        ServingOptions { tokens_per_hash: Some(0), ..options() },
        ServingOptions { capacity: Some(4095), ..options() },
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

/// Blocks of 4 tokens and a page.
fn within(blocks: u64) -> ServingOptions {
    let options = ServingOptions { bytes_per_token: 1024, max_batch: 100, ..options() };
    let capacity = Some(options.capacity_for(blocks).unwrap());
    assert_eq!(ServingOptions { capacity, ..options }.capacity_blocks().unwrap(), Some(blocks));
    ServingOptions { capacity, ..options }
}

fn report(requests: &[Request], options: ServingOptions) -> (Vec<Event>, ServingReport) {
    let mut serving = Serving::new(requests.iter().cloned().map(Ok), options).unwrap();
    // Far more than any log here has: a simulation that does not end fails.
    let events: Vec<_> = serving.by_ref().map(Result::unwrap).take(1 << 20).collect();
    assert!(events.len() < 1 << 20, "the simulation does not end: {:?}", serving.report());
    (events, serving.report())
}

/// A token takes whole nanoseconds; what is lost by rounding must not be decoded again and again.
#[test]
fn tokens_of_any_rate_are_counted_when_their_request_is_preempted() {
    for rate in [1, 3, 7, 999_999_999, 1_000_000_001, u32::MAX] {
        for tokens in 0..100 {
            let ns = duration(tokens, rate);
            assert!(tokens_within(ns, rate) >= tokens, "{tokens} tokens at {rate}");
            assert!(duration(tokens_within(ns, rate), rate) == ns, "{tokens} tokens at {rate}");
        }
        let options = ServingOptions {
            tokens_per_block: 1,
            decode_tokens_per_s: rate,
            prefill_tokens_per_s: u32::MAX,
            bytes_per_token: 1024,
            max_batch: 3,
            ..options()
        };
        let capacity = Some(options.capacity_for(8).unwrap());
        let log = [request(0, 1, 7, 2), request(0, 1, 7, 3), request(0, 1, 7, 4)];
        let (_, report) = report(&log, ServingOptions { capacity, ..options });
        assert!(report.preemptions > 0 && report.preemptions <= 3 * 7, "{report:?}");
    }
}

/// Whatever the rates, times and capacities: the log ends, after no more events than admissions can make.
#[test]
fn every_log_comes_to_an_end() {
    use proptest::test_runner::{Config, TestRunner};
    let rate = || prop::sample::select(vec![1, 3, 7, 30, 8000, 999_999_999, u32::MAX]);
    let tokens = || prop_oneof![8 => 0..40u32, 1 => 0..400u32, 1 => Just(0)];
    let arrival =
        prop_oneof![Just(0), 0..5u64, 0..3_000_000_000u64, Just(u64::MAX - 1), Just(u64::MAX)];
    let hashes = prop::collection::vec(0..4u64, 0..6);
    let log = prop::collection::vec((arrival, tokens(), tokens(), hashes), 1..40);
    let engine = (rate(), rate(), 1..9u32, 1..6u32, 1..30u64, prop::option::of(1..20u32));
    let mut runner = TestRunner::new(Config::default());
    runner
        .run(&(log, engine), |(mut log, (prefill, decode, tokens, batch, blocks, hash))| {
            log.sort_by_key(|request| request.0);
            let options = ServingOptions {
                tokens_per_block: tokens,
                bytes_per_token: 4096,
                prefill_tokens_per_s: prefill,
                decode_tokens_per_s: decode,
                max_batch: batch,
                capacity: Some(blocks * u64::from(tokens) * 4096),
                tokens_per_hash: hash,
            };
            let requests: Vec<Request> = log
                .into_iter()
                .map(|(arrival_ns, context_tokens, generated_tokens, hashes)| Request {
                    arrival_ns,
                    context_tokens,
                    generated_tokens,
                    line: 1,
                    hashes,
                })
                .collect();
            // Nobody has more blocks than there are; and who is preempted made way for a token of one that was admitted before.
            let generated: u64 = requests.iter().map(|r| u64::from(r.generated_tokens)).sum();
            let admissions = requests.len() as u64 + generated * u64::from(batch);
            let most = 2 * blocks * admissions;
            let mut serving = Serving::new(requests.iter().cloned().map(Ok), options).unwrap();
            let mut balance = HashMap::new();
            let mut events = 0;
            for event in &mut serving {
                events += 1;
                prop_assert!(events <= most, "no end: {:?}", serving_of(&requests));
                let live = balance.entry(event.unwrap().id).or_insert(0u32);
                *live = 1 - *live;
            }
            prop_assert!(balance.values().all(|live| *live == 0));
            prop_assert_eq!(serving.report().requests, requests.len() as u64);
            Ok(())
        })
        .unwrap();
}

/// What a failing log was, in short.
fn serving_of(requests: &[Request]) -> Vec<(u64, u32, u32)> {
    requests.iter().map(|r| (r.arrival_ns, r.context_tokens, r.generated_tokens)).collect()
}

#[test]
fn a_few_lines_do_not_take_all_memory() {
    let options = ServingOptions { tokens_per_block: 1, max_batch: 8, ..options() };
    // 2^22 blocks each; the fifth is one too many.
    let log: Vec<_> = (0..8).map(|line| request(0, 1 << 22, 0, line + 2)).collect();
    let mut serving = Serving::new(log.into_iter().map(Ok), options).unwrap();
    let error = serving.find_map(Result::err).expect("too many blocks");
    assert_eq!((error.kind(), error.place()), (ErrorKind::Overflow, Place::Line(6)), "{error}");
}

#[test]
fn without_room_a_request_waits_for_the_one_before() {
    // 5 blocks; the first has 4 of them until 16 ms.
    let log = [request(0, 16, 0, 2), request(1, 8, 0, 3), request(2, 4, 0, 4)];
    let (events, report) = report(&log, within(5));
    // Line 4 would have room at 2 ms; it is behind line 3 in the queue.
    assert_eq!(
        bursts(&events),
        [(0, 2, 4), (16, 2, -4), (16, 3, 2), (16, 4, 1), (20, 4, -1), (24, 3, -2)]
    );
    assert_eq!((report.queued, report.waited_for_memory, report.preempted), (2, 2, 0));
    assert_eq!((report.longest_wait_ns, report.most_running), (15_000_000, 2));
}

#[test]
fn a_token_without_a_block_takes_those_of_the_last_admitted() {
    // 4 blocks. Each reads 8 tokens (2 blocks) and writes more; line 3 came 4 ms later.
    let log = [request(0, 8, 3, 2), request(4, 8, 2, 3)];
    let (events, report) = report(&log, within(4));
    assert_eq!(
        bursts(&events),
        [
            (0, 2, 2),
            (4, 3, 2),
            // Line 2 has read at 8 ms and needs a third block for its first token.
            (8, 3, -2),
            (8, 2, 1),
            // Its end, at 38 ms. Line 3 reads all of its 8 tokens again, until 46 ms, and writes two.
            (38, 2, -3),
            (38, 3, 2),
            (46, 3, 1),
            (66, 3, -3),
        ]
    );
    assert_eq!((report.preempted, report.preemptions, report.queued), (1, 1, 0));
    assert_eq!(report.longest_wait_ns, 30_000_000);
}

#[test]
fn what_was_generated_is_read_again_and_a_request_too_large_is_left_out() {
    let log = [request(0, 4, 12, 2), request(1, 4, 6, 3), request(2, 16, 1, 4)];
    let (events, report) = report(&log, within(4));
    assert_eq!(
        bursts(&events),
        [
            (0, 2, 1),
            (1, 3, 1),
            (4, 2, 1),
            (5, 3, 1),
            // Line 3 has written 3 of its tokens since 5 ms.
            (44, 3, -2),
            (44, 2, 1),
            (84, 2, 1),
            (124, 2, -4),
            // It reads 7 tokens until 131 ms, and writes the 3 that are left.
            (124, 3, 2),
            (141, 3, 1),
            (161, 3, -3),
        ]
    );
    assert_eq!((report.requests, report.rejected, report.preemptions), (3, 1, 1));
    assert_eq!(report.longest_wait_ns, 80_000_000);
}

#[test]
fn a_block_of_equal_hashes_is_one_block() {
    let with = |arrival, context, line, hashes: &[u64]| Request {
        hashes: hashes.to_vec(),
        ..request(arrival, context, 0, line)
    };
    // Hashes of 8 tokens, two blocks each. The third block of line 3 is its own, as is its fourth, which is not full.
    let log = [with(0, 16, 2, &[7, 8]), with(1, 14, 3, &[7, 9]), with(100, 8, 4, &[7])];
    let options = ServingOptions { tokens_per_hash: Some(8), max_batch: 9, ..options() };
    let (events, report) = report(&log, options);
    assert_eq!(
        bursts(&events),
        // Line 3 ends at 15 ms and leaves the two blocks to line 2. Later nobody has them.
        [(0, 2, 4), (1, 3, 2), (15, 3, -2), (16, 2, -4), (100, 4, 2), (108, 4, -2)]
    );
    assert_eq!(report.shared_blocks, 2);
}

#[test]
fn what_a_hash_stands_for_is_learned_from_the_first_request() {
    for (context, hashes, expected) in [
        (6758, 14, 512),
        (512, 1, 512),
        (6758, 423, 16),
        (17, 2, 16),
        (6758, 3, 2256),
        (100, 7, 16),
    ] {
        let options = ServingOptions::default();
        let mut blocks = Blocks::new(&options, 1 << 20);
        blocks.learn(&Request { hashes: vec![0; hashes], ..request(0, context, 0, 2) });
        assert_eq!(blocks.tokens_per_hash(), Some(expected), "{context} {hashes}");
        blocks.learn(&Request { hashes: vec![0; 1], ..request(0, 12_345, 0, 2) });
        assert_eq!(blocks.tokens_per_hash(), Some(expected));
    }
}

proptest! {
    /// With room for all at once, against a plain model: at each instant the blocks are the different keys of the prompts of those who
    /// run, and what each has of its own.
    #[test]
    fn shared_blocks_are_conserved(
        log in prop::collection::vec((0u64..50, 0u32..40, 0u32..40, prop::collection::vec(0u64..4, 0..6)), 0..20),
    ) {
        let options = ServingOptions { tokens_per_hash: Some(8), max_batch: 1 << 20, ..options() };
        let mut arrival = 0;
        let log: Vec<_> = log.into_iter().enumerate().map(|(i, (gap, context, generated, hashes))| {
            arrival += gap;
            Request { hashes, ..request(arrival, context, generated, i as u32 + 2) }
        }).collect();
        let (events, report) = report(&log, options);
        // Of each request: when it comes, has read, and ends, in ns.
        let lives: Vec<[u64; 3]> = log.iter().map(|r| {
            let read = r.arrival_ns + duration(r.context_tokens.into(), 1000);
            [r.arrival_ns, read, read + duration(r.generated_tokens.into(), 100)]
        }).collect();
        let held_at = |t: u64| {
            let mut keys = std::collections::HashSet::new();
            let mut own = 0;
            for (r, [arrival, read, end]) in log.iter().zip(&lives) {
                if !(*arrival..*end).contains(&t) {
                    continue;
                }
                let context = r.context_tokens;
                let prompt = context.div_ceil(4);
                // The blocks of tokens whose decoding has begun by now.
                let begun = (0..r.generated_tokens).filter(|k| read + duration((*k).into(), 100) <= t).count();
                own += (context + begun as u32).div_ceil(4) - prompt;
                for block in 0..prompt {
                    let piece = (4 * block + 3) / 8;
                    match r.hashes.get(piece as usize).filter(|_| 4 * block + 4 <= context) {
                        Some(hash) => drop(keys.insert((*hash, block % 2))),
                        None => own += 1,
                    }
                }
            }
            keys.len() as u32 + own
        };
        let mut live = std::collections::HashSet::new();
        let (mut allocs, mut i) = (0u64, 0);
        while i < events.len() {
            let now = events[i].time_ns;
            while i < events.len() && events[i].time_ns == now {
                if events[i].action == Action::Alloc {
                    allocs += 1;
                    prop_assert!(live.insert(events[i].id));
                } else {
                    prop_assert!(live.remove(&events[i].id));
                }
                i += 1;
            }
            prop_assert_eq!(live.len() as u32, held_at(now), "at {} ns", now);
        }
        prop_assert!(live.is_empty());
        // Every use of a block is a new one or a shared one.
        let uses: u64 = log.iter().map(|r| u64::from((r.context_tokens + r.generated_tokens).div_ceil(4))).sum();
        prop_assert_eq!(allocs + report.shared_blocks, uses);
    }

    /// Whatever the capacity: it is never exceeded, ids are unique, everybody who fits alone is served to the end, and nothing is left.
    #[test]
    fn a_capacity_is_kept_and_everybody_is_served(
        log in prop::collection::vec((0u64..50, 0u32..60, 0u32..60, prop::collection::vec(0u64..4, 0..6)), 0..30),
        blocks in 1u64..40,
        tokens_per_block in 1u32..9,
        tokens_per_hash in 1u32..20,
        max_batch in 1u32..6,
        prefill in prop::sample::select(vec![1u32, 1000, u32::MAX]),
        decode in prop::sample::select(vec![1u32, 100, u32::MAX]),
    ) {
        let options = ServingOptions {
            tokens_per_block,
            bytes_per_token: 4096,
            prefill_tokens_per_s: prefill,
            decode_tokens_per_s: decode,
            max_batch,
            tokens_per_hash: Some(tokens_per_hash),
            capacity: Some(blocks * u64::from(tokens_per_block) * 4096),
        };
        let mut arrival = 0;
        let log: Vec<_> = log.into_iter().enumerate().map(|(i, (gap, context, generated, hashes))| {
            arrival += gap;
            Request { hashes, ..request(arrival, context, generated, i as u32 + 2) }
        }).collect();
        let (events, report) = report(&log, options);
        let mut live = std::collections::HashSet::new();
        let mut seen = std::collections::HashSet::new();
        let mut last = 0;
        let mut lines = std::collections::HashSet::new();
        for event in &events {
            prop_assert!(event.time_ns >= last);
            last = event.time_ns;
            if event.action == Action::Alloc {
                prop_assert!(seen.insert(event.id) && live.insert(event.id));
                prop_assert!(event.time_ns >= log[event.line as usize - 2].arrival_ns);
                lines.insert(event.line);
            } else {
                prop_assert!(live.remove(&event.id));
            }
            prop_assert!(live.len() as u64 <= blocks);
        }
        prop_assert!(live.is_empty());
        let too_large = |r: &&Request| u64::from((r.context_tokens + r.generated_tokens).div_ceil(tokens_per_block)) > blocks;
        prop_assert_eq!(report.rejected, log.iter().filter(too_large).count() as u64);
        prop_assert_eq!(report.requests, log.len() as u64);
        prop_assert!(report.waited_for_memory <= report.requests && report.queued <= report.requests);
        prop_assert!(report.preempted <= report.preemptions.min(report.waited_for_memory) && report.most_running <= max_batch);
        for request in log.iter().filter(|r| r.hashes.is_empty() && !too_large(r)) {
            let needs = request.context_tokens + request.generated_tokens > 0;
            prop_assert_eq!(lines.contains(&request.line), needs);
        }
    }

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
            ..ServingOptions::default()
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
