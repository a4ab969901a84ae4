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
    let metadata = file.metadata().map_err(|error| at(error.to_string()))?;
    if !metadata.is_file() {
        return Err(at("not a regular file".into()));
    }
    let size = metadata.len();
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
