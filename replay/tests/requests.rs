//! Logs of requests to a served model, as their publishers write them: small cases of each kind.

use strandline_replay::event::{Action, Event};
use strandline_replay::format::{ErrorKind, Format, Notes, Place, ReadOptions, TraceReader};
use strandline_replay::serving::ServingOptions;

/// Blocks of 4 tokens, 1000 tokens a second.
fn options() -> ReadOptions {
    ReadOptions {
        serving: ServingOptions {
            tokens_per_block: 4,
            bytes_per_token: 1024,
            prefill_tokens_per_s: 1000,
            decode_tokens_per_s: 1000,
            ..ServingOptions::default()
        },
        ..ReadOptions::default()
    }
}

fn read(text: &str) -> (Vec<Event>, Notes) {
    let mut reader = TraceReader::new(text.as_bytes(), options()).unwrap();
    assert_eq!(reader.format(), Format::Serving, "{text}");
    let events = reader.by_ref().map(Result::unwrap).collect();
    (events, reader.notes())
}

/// When each line's first block is taken, in ms since the first request, and how many it takes in all.
fn taken(text: &str) -> Vec<(u64, usize)> {
    let (events, _) = read(text);
    let mut lines: Vec<u32> = events.iter().map(|event| event.line).collect();
    lines.sort_unstable();
    lines.dedup();
    let of = |line| {
        let allocs = events.iter().filter(|e| e.line == line && e.action == Action::Alloc);
        let times: Vec<u64> = allocs.map(|event| event.time_ns / 1_000_000).collect();
        (times[0], times.len())
    };
    lines.into_iter().map(of).collect()
}

#[test]
fn tables_go_by_the_names_of_their_publishers() {
    for (name, text) in [
        (
            "Azure 2024",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,9,5\n2024-05-10 00:00:02.009930+00:00,3,1\n",
        ),
        (
            "BurstGPT 1",
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,9,5,14,Conversation log\n7,GPT-4,3,1,4,API log\n",
        ),
        (
            "BurstGPT 3",
            "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,a-b,1.5,ChatGPT,9,5,14,Conversation log\n7,,,GPT-4,3,1,4,API log\n",
        ),
        (
            "Azure 2023, through a spreadsheet and a data frame",
            "\u{feff}\"TIMESTAMP\",\"ContextTokens\",\"GeneratedTokens\"\r\n\"5.5\",\"9.0\",\"5.00\"\r\n\r\n7.5,3,1.0\r\n",
        ),
        ("Vidur", "arrived_at,num_prefill_tokens,num_decode_tokens\n5.1e-05,9,5\n2.000051,3,1\n"),
        (
            "splitwise-sim",
            "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n0,2,0,0.5,1,9,5\n1,2,0,2.5,1,3,1\n",
        ),
        (
            "Mooncake",
            "{\"timestamp\": 100, \"input_length\": 9, \"output_length\": 5, \"hash_ids\": [1]}\n{\"timestamp\": 2100, \"input_length\": 3, \"output_length\": 1, \"hash_ids\": [2]}\n",
        ),
        (
            "Bailian",
            "{\"chat_id\": 159, \"parent_chat_id\": -1, \"timestamp\": 61.5, \"input_length\": 9, \"output_length\": 5, \"type\": \"text\", \"turn\": 1, \"hash_ids\": [1]}\n{\"chat_id\": 160, \"parent_chat_id\": -1, \"timestamp\": 63.5, \"input_length\": 3, \"output_length\": 1, \"type\": \"text\", \"turn\": 1, \"hash_ids\": [2]}\n",
        ),
    ] {
        assert_eq!(taken(text), [(0, 4), (2000, 1)], "{name}");
    }
}

#[test]
fn a_part_of_a_token_is_refused() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n1,9.5,3\n";
    let mut reader = TraceReader::new(text.as_bytes(), options()).unwrap();
    let error = reader.find_map(Result::err).expect("no such count");
    assert_eq!((error.kind(), error.place()), (ErrorKind::BadNumber, Place::Line(2)), "{error}");
}

#[test]
fn the_order_of_the_lines_counts_where_times_go_back() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n9,4,0\n3,4,0\n10,4,0\n";
    assert_eq!(taken(text), [(0, 1), (0, 1), (1000, 1)]);
    assert_eq!(read(text).1.clamped_times, 1);
}

#[test]
fn equal_hashes_share_blocks_and_the_report_says_how_many() {
    // Pieces of 512 tokens: the prompts have 3 and 2 of them, of which the first is the same.
    let text = "{\"timestamp\": 0, \"input_length\": 1200, \"output_length\": 5000, \"hash_ids\": [0, 1, 2]}\n\
        {\"timestamp\": 3000, \"input_length\": 1000, \"output_length\": 1, \"hash_ids\": [0, 14]}\n";
    let (events, notes) = read(text);
    let report = notes.serving.unwrap();
    assert_eq!((report.requests, report.shared_blocks), (2, 512 / 4));
    let allocs = events.iter().filter(|event| event.action == Action::Alloc).count();
    assert_eq!(allocs, (6200 + 1001_usize).div_ceil(4) - 512 / 4);
}

#[test]
fn a_line_that_is_cut_or_wrong_is_told() {
    let line = "{\"timestamp\": 0, \"input_length\": 4, \"output_length\": 1}\n";
    let (events, notes) = read(&format!("{line}{}", &line[..20]));
    assert!(notes.cut_last_line && events.len() == 4, "{events:?}");
    for wrong in [
        "{\"timestamp\": -1, \"input_length\": 4, \"output_length\": 1}",
        "{\"timestamp\": 1e300, \"input_length\": 4, \"output_length\": 1}",
        "{\"timestamp\": 1, \"input_length\": 4294967296, \"output_length\": 1}",
        "{\"timestamp\": 1, \"input_length\": 4}",
        "{\"timestamp\": 1, \"input_length\": 4, \"output_length\": 1, \"hash_ids\": [-1]}",
        "[1]",
        "nothing",
    ] {
        let text = format!("{line}{wrong}\n{line}");
        let reader = TraceReader::new(text.as_bytes(), options()).unwrap();
        let error = reader.filter_map(Result::err).next().unwrap();
        assert_eq!((error.kind(), error.place()), (ErrorKind::BadJson, Place::Line(2)), "{wrong}");
    }
}

#[test]
fn lines_may_be_long_and_not_endless() {
    let line = |hashes: usize| {
        let ids = vec!["123456"; hashes].join(",");
        format!(
            "{{\"timestamp\":0,\"input_length\":64,\"output_length\":1,\"hash_ids\":[{ids}]}}\n"
        )
    };
    let (events, _) = read(&line(100_000));
    assert!(!events.is_empty());
    let text = line(1_000_000);
    let reader = TraceReader::new(text.as_bytes(), options()).unwrap();
    let error = reader.filter_map(Result::err).next().unwrap();
    assert_eq!((error.kind(), error.place()), (ErrorKind::LineTooLong, Place::Line(1)));
}
