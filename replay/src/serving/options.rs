//! The engine that serves requests: its rates, its blocks, and how much memory it has for them.

use crate::format::{ErrorKind, Place, TraceError};

/// Slabs are whole pages.
const PAGE: u64 = 4096;

/// Blocks start at multiples of this.
const ALIGNMENT: u64 = 64;

/// The engine that serves the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServingOptions {
    /// Tokens that share a block.
    pub tokens_per_block: u32,
    /// KV-cache bytes for a token over all layers: 2 × layers × KV heads × head size × bytes per number.
    pub bytes_per_token: u64,
    /// Prompt tokens that one request reads in a second.
    pub prefill_tokens_per_s: u32,
    /// Tokens that one request writes in a second.
    pub decode_tokens_per_s: u32,
    /// Requests served at once.
    pub max_batch: u32,
    /// Bytes for all blocks: with too few, requests wait and are preempted. None is as many as they ask for.
    pub capacity: Option<u64>,
    /// Tokens of the prompt that a hash of the log stands for. None is told by the first request that has hashes.
    pub tokens_per_hash: Option<u32>,
}

impl Default for ServingOptions {
    /// Blocks of 16 tokens, 128 KiB a token (an 8-billion-parameter model with 32 layers, 8 KV heads of 128, 16-bit: 2 MiB a block),
    /// 8,000 tokens/s prefill, 30 tokens/s decode, batches of 64, as much memory as it takes.
    fn default() -> Self {
        Self {
            tokens_per_block: 16,
            bytes_per_token: 128 * 1024,
            prefill_tokens_per_s: 8_000,
            decode_tokens_per_s: 30,
            max_batch: 64,
            capacity: None,
            tokens_per_hash: None,
        }
    }
}

impl ServingOptions {
    /// Bytes of one block.
    ///
    /// # Errors
    /// [`ErrorKind::BadOptions`]: a field is 0, the block's size overflows, or the batch is above 2^20.
    pub fn block_bytes(&self) -> Result<u64, TraceError> {
        if self.tokens_per_block == 0
            || self.bytes_per_token == 0
            || self.prefill_tokens_per_s == 0
            || self.decode_tokens_per_s == 0
            || self.max_batch == 0
            || self.tokens_per_hash == Some(0)
        {
            return bad(format!("{self:?}"), "serving options above 0");
        }
        if self.max_batch > 1 << 20 {
            return bad(
                format!("a batch of {}", self.max_batch),
                "a batch of at most 2^20 requests",
            );
        }
        match u64::from(self.tokens_per_block).checked_mul(self.bytes_per_token) {
            Some(bytes) => Ok(bytes),
            None => bad(
                format!("{} tokens of {} bytes", self.tokens_per_block, self.bytes_per_token),
                "blocks whose size fits 64 bits",
            ),
        }
    }

    /// Blocks that the capacity has room for, if it is limited: as many as a pool of blocks of one size gets out of it.
    ///
    /// # Errors
    /// As of [`block_bytes`](Self::block_bytes), or there is not room for one.
    pub fn capacity_blocks(&self) -> Result<Option<u64>, TraceError> {
        let block_bytes = self.block_bytes()?;
        let Some(capacity) = self.capacity else { return Ok(None) };
        let stride = block_bytes.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX);
        match capacity / PAGE * PAGE / stride {
            0 => bad(
                format!("a capacity of {capacity} bytes for blocks of {block_bytes}"),
                "a capacity with room for a block",
            ),
            blocks => Ok(Some(blocks)),
        }
    }

    /// The least capacity with room for `blocks`.
    ///
    /// # Errors
    /// As of [`block_bytes`](Self::block_bytes).
    pub fn capacity_for(&self, blocks: u64) -> Result<u64, TraceError> {
        let stride = self.block_bytes()?.checked_next_multiple_of(ALIGNMENT);
        let bytes = stride.and_then(|stride| blocks.checked_mul(stride));
        Ok(bytes.and_then(|bytes| bytes.checked_next_multiple_of(PAGE)).unwrap_or(u64::MAX))
    }
}

fn bad<T>(found: String, expected: &'static str) -> Result<T, TraceError> {
    Err(TraceError::new(
        ErrorKind::BadOptions,
        Place::Whole,
        found,
        expected,
        "change the serving options (--capacity, --tokens-per-block, --bytes-per-token and others)",
    ))
}
