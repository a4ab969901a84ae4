//! The header of a safetensors file: who may be hostile, so nothing in it is believed.
//!
//! ```text
//!   │ n: u64 │ n bytes of JSON: name → type, shape, offsets │ tensors, one after another, to the end of the file │
//! ```
//!
//! The file's real length bounds everything: a header that says more is refused before any memory is taken for it. The
//! JSON, types, shapes and offsets are checked by the crate `safetensors`: sizes match shapes, and tensors leave no gap and
//! do not overlap.

use crate::output::Error;
use core::ops::Range;
use safetensors::tensor::Metadata;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The crate's own limit; it is not exported.
const MAX_HEADER: u64 = 100_000_000;

/// A tensor and its bytes.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) shape: Vec<usize>,
    /// In the file.
    pub(super) range: Range<u64>,
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Model {
    /// In the order of the file.
    pub(super) tensors: Vec<Tensor>,
    /// Where the tensors' bytes are: from the end of the header to the end of the file.
    pub(super) data: Range<u64>,
}

/// Reads and checks the header.
pub(super) fn read(path: &Path, file: &File) -> Result<Model, Error> {
    let at = |what: String| -> Error { format!("{}: {what}", path.display()).into() };
    let size = file.metadata().map_err(|error| at(error.to_string()))?.len();
    let mut length = [0; 8];
    if size < length.len() as u64 {
        return Err(at(format!(
            "{size} bytes are no safetensors file: the header's length alone has 8"
        )));
    }
    file.read_exact_at(&mut length, 0).map_err(|error| at(error.to_string()))?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(at(format!("a header of {length} bytes: at most {MAX_HEADER} are accepted")));
    }
    let start = 8 + length;
    if start > size {
        return Err(at(format!(
            "the header claims {length} bytes, the file has {} after it",
            size - 8
        )));
    }
    // At most 100 MB, and no more than the file has.
    let mut header = vec![0; length as usize];
    file.read_exact_at(&mut header, 8).map_err(|error| at(format!("header: {error}")))?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| at(format!("the header is not that of a safetensors file: {error}")))?;
    // Checked by the crate: no gap, no overlap, no overflow.
    let data = metadata.data_len() as u64;
    let end = start.checked_add(data).ok_or_else(|| at("offsets beyond any file".into()))?;
    if end != size {
        return Err(at(format!(
            "the header describes {data} bytes of tensors, the file has {}",
            size - start
        )));
    }
    let mut tensors: Vec<Tensor> = metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            let (from, to) = info.data_offsets;
            Tensor {
                name,
                kind: info.dtype.to_string(),
                shape: info.shape.clone(),
                range: start + from as u64..start + to as u64,
            }
        })
        .collect();
    tensors.sort_by(|a, b| {
        (a.range.start, a.range.end, &a.name).cmp(&(b.range.start, b.range.end, &b.name))
    });
    Ok(Model { tensors, data: start..size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn file(json: &str, data: usize) -> Vec<u8> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        bytes.resize(bytes.len() + data, 7);
        bytes
    }

    fn read_bytes(bytes: &[u8]) -> Result<Model, Error> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        read(Path::new("model.safetensors"), &file)
    }

    const TWO: &str = r#"{"__metadata__":{"made":"here"},
        "b":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},
        "a":{"dtype":"U8","shape":[3],"data_offsets":[16,19]},
        "empty":{"dtype":"F16","shape":[0,5],"data_offsets":[19,19]}}"#;

    #[test]
    fn tensors_come_in_the_order_of_the_file() {
        let model = read_bytes(&file(TWO, 19)).unwrap();
        let start = 8 + TWO.len() as u64;
        assert_eq!(model.data, start..start + 19);
        let names: Vec<&str> = model.tensors.iter().map(|tensor| &*tensor.name).collect();
        assert_eq!(names, ["b", "a", "empty"]);
        assert_eq!(model.tensors[1].range, start + 16..start + 19);
        assert_eq!((&*model.tensors[0].kind, &*model.tensors[0].shape), ("F32", &[2, 2][..]));
    }

    /// Every byte of the header changed to every kind of byte: an error or another header, never a panic, and never a
    /// tensor outside of the file.
    #[test]
    fn a_damaged_header_is_an_error_or_stays_within_the_file() {
        let good = file(TWO, 19);
        let size = good.len() as u64;
        let mut errors = 0;
        for at in 0..8 + TWO.len() {
            for byte in [0, 9, b'"', b'0', b'9', b'[', b'}', b'-', 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = byte;
                match read_bytes(&bytes) {
                    Ok(model) => {
                        assert!(model.data.end == size && model.data.start <= size);
                        for tensor in model.tensors {
                            assert!(model.data.start <= tensor.range.start);
                            assert!(tensor.range.start <= tensor.range.end);
                            assert!(tensor.range.end <= size);
                        }
                    }
                    Err(error) => {
                        errors += 1;
                        assert!(error.to_string().starts_with("model.safetensors: "), "{error}");
                    }
                }
            }
        }
        assert!(errors > 1000, "{errors}");
        for len in 0..good.len() {
            assert!(read_bytes(&good[..len]).is_err(), "cut to {len}");
        }
    }
}
