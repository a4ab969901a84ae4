//! `strandline load` as its users meet it: bytes, exit statuses, and files that mean harm.
#![cfg(target_os = "linux")]

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn load(path: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_strandline"))
        .arg("load")
        .arg(path)
        .args(args)
        .env_remove("RUST_LOG")
        .output()
        .expect("the command starts")
}

#[track_caller]
fn report(path: &Path, args: &[&str], exit: i32) -> Value {
    let output = load(path, &[args, &["--json"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{args:?}: {errors}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// A file of this header and data.
fn file(folder: &TempDir, name: &str, header: &[u8], data: &[u8]) -> std::path::PathBuf {
    let path = folder.path().join(name);
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&path, [&length, header, data].concat()).expect("written");
    path
}

/// Tensors of these sizes in bytes, with bytes that tell where they are.
fn model(folder: &TempDir, sizes: &[usize]) -> std::path::PathBuf {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (index, size) in sizes.iter().enumerate() {
        let info = json!({ "dtype": "U8", "shape": [size], "data_offsets": [end, end + size] });
        header.insert(format!("layer.{index}"), info);
        end += size;
    }
    let data: Vec<u8> =
        (0..end as u64).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
    file(folder, "model.safetensors", Value::Object(header).to_string().as_bytes(), &data)
}

#[test]
fn every_tensor_is_loaded_and_verified_by_every_proactor() {
    let folder = TempDir::new().expect("a folder");
    // Odd sizes and places; one beyond a single read; one empty.
    let sizes = [1, 4096, 0, 65_537, (5 << 20) + 3, 12];
    let path = model(&folder, &sizes);
    let total: usize = sizes.iter().sum();
    for (proactor, rings) in [("io_uring", "1"), ("io_uring", "3"), ("poll", "2")] {
        let report = report(&path, &["--proactor", proactor, "--rings", rings], 0);
        assert_eq!(report["ok"], true, "{report}");
        assert_eq!(report["failure"], Value::Null);
        assert_eq!(report["proactor"], proactor);
        assert_eq!(report["rings"].to_string(), rings);
        assert_eq!(report["tensors"], sizes.len());
        assert_eq!(report["bytes"], total);
        for way in ["load", "read", "mmap"] {
            assert!(report[way]["bytes_per_s"].as_u64().expect(way) > 0, "{way}");
        }
        assert!(report["pool"]["committed_bytes"].as_u64().expect("bytes") >= total as u64);
    }
    let output = load(&path, &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    for part in ["6 tensors", "read(2)", "mmap", "\nok "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!output.stdout.contains(&0x1b), "no colour away from a terminal");
    report(&path, &["--cold"], 0);
}

#[test]
fn files_without_bytes_are_fine() {
    let folder = TempDir::new().expect("a folder");
    assert_eq!(report(&model(&folder, &[]), &[], 0)["tensors"], 0);
    assert_eq!(report(&model(&folder, &[0, 0]), &[], 0)["bytes"], 0);
    let only = file(&folder, "m", br#"{"__metadata__":{"a":"b"}}"#, b"");
    assert_eq!(report(&only, &[], 0)["tensors"], 0);
}

#[test]
fn too_little_memory_is_not_bad_input() {
    let folder = TempDir::new().expect("a folder");
    let path = model(&folder, &[1000, 2 << 20, 10]);
    let report = report(&path, &["--capacity", "1MiB"], 1);
    assert_eq!(report["ok"], false);
    assert_eq!(report["failure"]["tensor"], "layer.1", "{report}");
    assert_eq!(report["failure"]["bytes_requested"], 2 << 20);
    let output = load(&path, &["--capacity", "1MiB"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("no memory for tensor layer.1"));
}

#[test]
fn bad_files_are_refused_with_the_reason() {
    let folder = TempDir::new().expect("a folder");
    let tensor = |dtype: &str, shape: Value, from: i64, to: i64| {
        json!({ "t": { "dtype": dtype, "shape": shape, "data_offsets": [from, to] } }).to_string()
    };
    let two = |a: [u64; 2], b: [u64; 2]| {
        let info = |offsets: [u64; 2]| json!({ "dtype": "U8", "shape": [offsets[1] - offsets[0]], "data_offsets": offsets });
        json!({ "a": info(a), "b": info(b) }).to_string()
    };
    let deep = "[".repeat(100_000);
    let with = |name: &str, header: &str, data: usize| {
        file(&folder, name, header.as_bytes(), &vec![1; data])
    };
    let raw = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("written");
        path
    };
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    let mut cases = vec![
        (folder.path().join("nowhere"), "No such file"),
        (folder.path().to_owned(), "not a regular file"),
        (raw("empty", b""), "0 bytes are no safetensors file"),
        (raw("seven", b"1234567"), "7 bytes are no safetensors file"),
        (raw("huge", &u64::MAX.to_le_bytes()), "at most 100000000"),
        (raw("large", &100_000_001_u64.to_le_bytes()), "at most 100000000"),
        (raw("short", &[&50_u64.to_le_bytes()[..], b"{}"].concat()), "the file has 2 after it"),
        (raw("words", b"once upon a time there was no model"), "at most 100000000"),
        (file(&folder, "latin", b"{\"\xff\":1}", b""), "not that of a safetensors file"),
        (with("none", "", 0), "not that of a safetensors file"),
        (with("list", "[]", 0), "not that of a safetensors file"),
        (with("deep", &deep, 0), "not that of a safetensors file"),
        (with("number", r#"{"t":5}"#, 0), "not that of a safetensors file"),
        (with("type", &tensor("X9", json!([4]), 0, 4), 4), "not that of a safetensors file"),
        (with("negative", &tensor("U8", json!([4]), -4, 0), 4), "not that of a safetensors file"),
        (with("backward", &tensor("U8", json!([4]), 4, 0), 4), "offset"),
        (with("shape", &tensor("F32", json!([4]), 0, 4), 4), "invalid shape"),
        (with("overflow", &tensor("F32", json!([1_u64 << 62, 4]), 0, 4), 4), "overflow"),
        (with("gap", &two([0, 4], [8, 12]), 12), "offset"),
        (with("overlap", &two([0, 8], [4, 12]), 12), "offset"),
        (with("cut", &two([0, 4], [4, 12]), 11), "describes 12 bytes of tensors, the file has 11"),
        (with("long", &two([0, 4], [4, 12]), 13), "describes 12 bytes of tensors, the file has 13"),
        (with("claims", &tensor("U8", json!([1_u64 << 50]), 0, 1 << 50), 10), "the file has 10"),
    ];
    if made.is_ok_and(|status| status.success()) {
        cases.push((pipe, "not a regular file"));
    }
    for (path, why) in cases {
        let output = load(&path, &[]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{}: {errors}", path.display());
        assert!(errors.contains(why), "{}: {errors}", path.display());
        assert!(errors.contains(path.to_str().expect("a UTF-8 path")), "{errors}");
        assert!(errors.len() < 1000 && !errors.contains("panicked"), "{errors}");
        assert!(output.stdout.is_empty());
    }
}
