//! A served language model's requests, played as the blocks of a paged KV cache.
//!
//! ```text
//!   request   arrives   admitted                prefill ends                    last token
//!                │         │                        │                                │
//!                └─ waits ─┴─ context blocks ───────┴─ +1 block each time a token ───┴─ all freed
//!                  (FIFO,      ⌈context / tokens_per_block⌉   needs one that is not there
//!                   batch full)
//! ```
//!
//! A discrete-event simulation of one engine with continuous batching, in the model of vLLM (Kwon et al., "Efficient
//! Memory Management for Large Language Model Serving with PagedAttention", SOSP 2023). A request is admitted when
//! one of `max_batch` places is free, in the order of arrival. Its prefill takes `context / prefill_tokens_per_s`, then each
//! token takes `1 / decode_tokens_per_s`; the rates are per request and do not depend on the load. Token k takes its
//! block when its decoding begins. Preemption and prefix sharing are not modelled.
//!
//! **Deterministic**: times are whole nanoseconds; at one instant blocks are freed first, then tokens decoded, then requests
//! admitted, each by the order of arrival. **Every block has the same size**, so a fixed-block pool fits.
//!
//! **Cost**: O(log `max_batch`) for each decoded block, O(1) for each other event. **Memory**: 48 bytes for each
//! request in the batch: neither the trace nor the blocks are held. A block's id is
//! `request << 24 | index`, unique over the whole trace.

use crate::event::{Action, Event};
use crate::format::{ErrorKind, Place, TraceError};
use core::cmp::Reverse;
use std::collections::BinaryHeap;

/// Bits of a block's id that number it within its request.
const INDEX_BITS: u32 = 24;

/// One line of a request log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Nanoseconds since the first request. Never less than the previous request's.
    pub arrival_ns: u64,
    /// Tokens of the prompt.
    pub context_tokens: u32,
    /// Tokens of the answer.
    pub generated_tokens: u32,
    /// 1-based line of the log.
    pub line: u32,
}

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
}

impl Default for ServingOptions {
    /// Blocks of 16 tokens, 128 KiB a token (an 8-billion-parameter model with 32 layers, 8 KV heads of 128, 16-bit: 2 MiB a block),
    /// 8,000 tokens/s prefill, 30 tokens/s decode, batches of 64.
    fn default() -> Self {
        Self {
            tokens_per_block: 16,
            bytes_per_token: 128 * 1024,
            prefill_tokens_per_s: 8_000,
            decode_tokens_per_s: 30,
            max_batch: 64,
        }
    }
}

impl ServingOptions {
    /// Bytes of one block.
    ///
    /// # Errors
    /// [`ErrorKind::BadOptions`]: a field is 0, the block's size overflows, or the batch is above 2^20.
    pub fn block_bytes(&self) -> Result<u64, TraceError> {
        let bad = |found: String, expected: &'static str| {
            Err(TraceError::new(
                ErrorKind::BadOptions,
                Place::Whole,
                found,
                expected,
                "change the serving options",
            ))
        };
        if self.tokens_per_block == 0
            || self.bytes_per_token == 0
            || self.prefill_tokens_per_s == 0
            || self.decode_tokens_per_s == 0
            || self.max_batch == 0
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
}

/// What an active request does next. Order breaks ties of time: ends before decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    End,
    Decode,
}

/// A request in the batch. The derived order is (time, next, request): the simulation's order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Active {
    time_ns: u64,
    next: Next,
    request: u64,
    prefilled_ns: u64,
    context: u32,
    generated: u32,
    blocks: u32,
    line: u32,
}

/// Blocks of one request that are being handed out or back, one event a step.
#[derive(Clone, Debug)]
struct Burst {
    action: Action,
    time_ns: u64,
    request: u64,
    indices: core::ops::Range<u32>,
    line: u32,
}

/// The events of a paged KV cache that serves `requests`.
///
/// ```
/// use strandline_replay::event::Action;
/// use strandline_replay::serving::{Request, Serving, ServingOptions};
///
/// let request = Request { arrival_ns: 0, context_tokens: 20, generated_tokens: 13, line: 2 };
/// let events: Result<Vec<_>, _> = Serving::new([Ok(request)].into_iter(), ServingOptions::default())?.collect();
/// let actions: Vec<_> = events?.iter().map(|e| e.action).collect();
/// // Two blocks for 20 tokens, a third for token 33, then all three come back.
/// use Action::{Alloc, Free};
/// assert_eq!(actions, [Alloc, Alloc, Alloc, Free, Free, Free]);
/// # Ok::<(), strandline_replay::format::TraceError>(())
/// ```
#[derive(Debug)]
pub struct Serving<I> {
    requests: I,
    options: ServingOptions,
    block_bytes: u64,
    batch: BinaryHeap<Reverse<Active>>,
    /// The request at the head of the queue; those behind it are still in the log.
    waiting: Option<Request>,
    burst: Option<Burst>,
    admitted: u64,
    now_ns: u64,
    done: bool,
}

impl<I: Iterator<Item = Result<Request, TraceError>>> Serving<I> {
    /// A simulation over requests in order of arrival.
    ///
    /// # Errors
    /// The options are out of range: see [`ServingOptions::block_bytes`].
    pub fn new(requests: I, options: ServingOptions) -> Result<Self, TraceError> {
        Ok(Self {
            requests,
            options,
            block_bytes: options.block_bytes()?,
            batch: BinaryHeap::new(),
            waiting: None,
            burst: None,
            admitted: 0,
            now_ns: 0,
            done: false,
        })
    }

    /// The requests' source.
    pub fn requests(&self) -> &I {
        &self.requests
    }

    /// Bytes of every block.
    pub fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    fn step(&mut self) -> Result<Option<Event>, TraceError> {
        loop {
            if let Some(event) = self.next_of_burst() {
                return Ok(Some(event));
            }
            if self.waiting.is_none() {
                self.waiting = self.requests.next().transpose()?;
            }
            let next_active = self.batch.peek().map(|Reverse(active)| active.time_ns);
            let has_place = self.batch.len() < self.options.max_batch as usize;
            match (self.waiting, next_active) {
                (None, None) => return Ok(None),
                (Some(request), next)
                    if has_place && next.is_none_or(|t| self.admission(&request) < t) =>
                {
                    self.waiting = None;
                    self.admit(request)?;
                }
                _ => self.advance(),
            }
        }
    }

    fn next_of_burst(&mut self) -> Option<Event> {
        let burst = self.burst.as_mut()?;
        let Some(index) = burst.indices.next() else {
            self.burst = None;
            return None;
        };
        Some(Event {
            time_ns: burst.time_ns,
            id: (burst.request << INDEX_BITS) | u64::from(index),
            size: self.block_bytes,
            stream: 0,
            thread: 0,
            line: burst.line,
            action: burst.action,
        })
    }

    /// When a request that has a place is admitted: on arrival, or when the place became free.
    fn admission(&self, request: &Request) -> u64 {
        request.arrival_ns.max(self.now_ns)
    }

    fn admit(&mut self, request: Request) -> Result<(), TraceError> {
        let tokens = u64::from(request.context_tokens) + u64::from(request.generated_tokens);
        if tokens.div_ceil(self.options.tokens_per_block.into()) > 1 << INDEX_BITS {
            return Err(TraceError::new(
                ErrorKind::Overflow,
                Place::Line(request.line.into()),
                format!("a request of {tokens} tokens"),
                format!(
                    "requests of at most 2^24 blocks of {} tokens",
                    self.options.tokens_per_block
                ),
                "correct or delete the line, or use larger blocks",
            ));
        }
        self.now_ns = self.admission(&request);
        let blocks = request.context_tokens.div_ceil(self.options.tokens_per_block);
        let prefill = duration(request.context_tokens, self.options.prefill_tokens_per_s);
        // Ids start at 1 << 24: 0 is no block.
        self.admitted += 1;
        self.burst = Some(Burst {
            action: Action::Alloc,
            time_ns: self.now_ns,
            request: self.admitted,
            indices: 0..blocks,
            line: request.line,
        });
        self.schedule(Active {
            time_ns: 0,
            next: Next::Decode,
            request: self.admitted,
            prefilled_ns: self.now_ns.saturating_add(prefill),
            context: request.context_tokens,
            generated: request.generated_tokens,
            blocks,
            line: request.line,
        });
        Ok(())
    }

    /// Files a request under the time of its next event: the token that needs a block, or its end.
    fn schedule(&mut self, mut active: Active) {
        let room = u64::from(active.blocks) * u64::from(self.options.tokens_per_block);
        let total = u64::from(active.context) + u64::from(active.generated);
        let decoded = if room < total {
            active.next = Next::Decode;
            // The token after those that have room; its decoding begins when the one before it is done. At least as many
            // tokens as the context have room.
            (room - u64::from(active.context)) as u32
        } else {
            active.next = Next::End;
            active.generated
        };
        let decode = duration(decoded, self.options.decode_tokens_per_s);
        active.time_ns = active.prefilled_ns.saturating_add(decode);
        self.batch.push(Reverse(active));
    }

    /// Plays the next event of the batch.
    fn advance(&mut self) {
        let Some(Reverse(mut active)) = self.batch.pop() else { return };
        self.now_ns = self.now_ns.max(active.time_ns);
        let (action, indices) = match active.next {
            Next::End => (Action::Free, 0..active.blocks),
            Next::Decode => (Action::Alloc, active.blocks..active.blocks + 1),
        };
        self.burst = Some(Burst {
            action,
            time_ns: self.now_ns,
            request: active.request,
            indices,
            line: active.line,
        });
        if active.next == Next::Decode {
            active.blocks += 1;
            self.schedule(active);
        }
    }
}

impl<I: Iterator<Item = Result<Request, TraceError>>> Iterator for Serving<I> {
    type Item = Result<Event, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

/// Nanoseconds that `tokens` take at `rate` tokens a second.
fn duration(tokens: u32, rate: u32) -> u64 {
    // At most 2^32 × 10^9 < 2^62.
    u64::from(tokens) * 1_000_000_000 / u64::from(rate)
}

#[cfg(test)]
mod tests;
