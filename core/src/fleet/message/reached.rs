//! How far axes are, as one part of a message.

use super::super::wire::{DecodeError, Reader, Wire};
use crate::frontier::{Entry, FrontierError};
use alloc::vec::Vec;

/// Epochs that axes have reached; each axis once, in ascending order. Epoch 0 says that there is such an axis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached(pub Vec<Entry>);

impl Wire for Reached {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let entries = Vec::<Entry>::take(from)?;
        for (index, pair) in entries.windows(2).enumerate() {
            let error = match pair[0].axis.cmp(&pair[1].axis) {
                core::cmp::Ordering::Less => continue,
                core::cmp::Ordering::Equal => {
                    FrontierError::Duplicate { index: index + 1, axis: pair[1].axis }
                }
                core::cmp::Ordering::Greater => FrontierError::Unsorted { index: index + 1 },
            };
            return Err(DecodeError::Entries(error));
        }
        Ok(Self(entries))
    }
}
