//! A served language model's requests, played as the blocks of a paged KV cache.
//!
//! ```text
//!   request   arrives   admitted                prefill ends                    last token
//!                │         │                        │                                │
//!                └─ waits ─┴─ context blocks ───────┴─ +1 block each time a token ───┴─ all freed
//!                  (FIFO,      ⌈context / tokens_per_block⌉   needs one that is not there
//!                   batch full,                               │ none free: the last admitted
//!                   or too few blocks)                        └ request is preempted, and waits
//! ```
//!
//! A discrete-event simulation of one engine with continuous batching, in the model of vLLM (Kwon et al., "Efficient
//! Memory Management for Large Language Model Serving with PagedAttention", SOSP 2023). A request is admitted when
//! one of `max_batch` places is free and there are blocks for its context, in the order of arrival. Its prefill takes
//! `context / prefill_tokens_per_s`, then each token takes `1 / decode_tokens_per_s`; the rates are per request and do not depend
//! on the load. Token k takes its block when its decoding begins.
//!
//! **Too few blocks.** With a [capacity](ServingOptions::capacity), a request waits until its context has room. A token that finds no
//! block takes those of the request that was admitted last, perhaps its own: that one goes back to the head of the queue, and when it
//! is admitted again, its context and what it had generated are read anew (recomputation). A request that would not fit alone is
//! left out and counted.
//!
//! **Sharing.** Where the log tells hashes of the prompt's pieces, each of which stands for all of the prompt up to the piece's end, a full block
//! of a prompt is the one that another running request has for the same hash and place; it is freed with its last user. Blocks are not kept
//! for requests that come later: such a cache takes what is free, and is no demand.
//!
//! **Deterministic**: times are whole nanoseconds; at one instant blocks are freed first, then tokens decoded, then requests
//! admitted, each by the order of admission. **Every block has the same size**, so a fixed-block pool fits.
//!
//! **Cost**: O(log `max_batch`) for each decoded block, O(1) for each other event, and a look at the blocks of the request that waits first
//! for each that ends. **Memory**: 100 bytes for each request in the batch and
//! 8 for each of its blocks, of which there are at most 2^24, 100 for each block that may be shared. A block's id is `admission << 24 | index`, unique over the
//! whole trace.

use crate::event::{Action, Event};
use crate::format::{ErrorKind, Place, TraceError};
use core::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

mod blocks;
mod options;

use blocks::Blocks;
pub use options::ServingOptions;

/// Bits of a block's id that number it within its request.
const INDEX_BITS: u32 = 24;

/// Blocks that running requests may have at once.
const MOST_BLOCKS: u64 = 1 << 24;

/// One line of a request log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Nanoseconds since the first request. Never less than the previous request's.
    pub arrival_ns: u64,
    /// Tokens of the prompt.
    pub context_tokens: u32,
    /// Tokens of the answer.
    pub generated_tokens: u32,
    /// 1-based line of the log.
    pub line: u32,
    /// What the prompt's pieces are: equal where the prompts are equal up to the piece's end. Empty where the log does not tell.
    pub hashes: Vec<u64>,
}

/// What the requests went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServingReport {
    /// Requests read.
    pub requests: u64,
    /// Requests that were not admitted when they came.
    pub queued: u64,
    /// Requests that waited for blocks: to be admitted, or because they were preempted.
    pub waited_for_memory: u64,
    /// Requests that were preempted.
    pub preempted: u64,
    /// Times that happened.
    pub preemptions: u64,
    /// The longest time that one waited to be admitted, for the first time or again, in nanoseconds.
    pub longest_wait_ns: u64,
    /// Most requests running at once.
    pub most_running: u32,
    /// Blocks that a request did not have to take because another running one had them.
    pub shared_blocks: u64,
    /// Requests that would not fit alone, and were left out.
    pub rejected: u64,
    /// Blocks that the capacity has room for.
    pub capacity_blocks: Option<u64>,
}

/// What an active request does next. Order breaks ties of time: ends before decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    End,
    Decode,
}

/// What happens next to a running request. The derived order is (time, next, admission): the simulation's order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    time_ns: u64,
    next: Next,
    admission: u64,
}

/// A request that is to be admitted.
#[derive(Clone, Debug)]
struct Waiting {
    request: Request,
    /// Since when it waits.
    since_ns: u64,
    /// Tokens that it had generated when it was preempted.
    generated: u32,
    /// It was running before.
    preempted: bool,
    /// It waited for blocks.
    for_memory: bool,
}

impl Waiting {
    /// What is read before the first token: the prompt, and what was generated already.
    fn context(&self) -> u64 {
        u64::from(self.request.context_tokens) + u64::from(self.generated)
    }

    /// What must have room when it is admitted: that; and the next token, where it was preempted for that, lest it is preempted again at once, or
    /// where there is nothing else.
    fn first(&self) -> u64 {
        let has_next = self.generated < self.request.generated_tokens;
        self.context() + u64::from(has_next && (self.preempted || self.context() == 0))
    }
}

/// A request in the batch.
#[derive(Debug)]
struct Running {
    waiting: Waiting,
    prefilled_ns: u64,
    /// Ids of its blocks, in order.
    held: Vec<u64>,
}

/// Blocks of one request that are being handed out or back, one event a step.
#[derive(Debug)]
struct Burst {
    action: Action,
    time_ns: u64,
    ids: std::vec::IntoIter<u64>,
    line: u32,
}

/// The events of a paged KV cache that serves `requests`.
///
/// ```
/// use strandline_replay::event::Action;
/// use strandline_replay::serving::{Request, Serving, ServingOptions};
///
/// let request = Request { context_tokens: 20, generated_tokens: 13, line: 2, ..Request::default() };
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
    blocks: Blocks,
    /// Running requests by the number of their admission.
    running: BTreeMap<u64, Running>,
    /// What is due; entries of requests that are not running any more are passed over.
    due: BinaryHeap<Reverse<Due>>,
    /// Requests that were preempted, the first to be admitted first.
    preempted: VecDeque<Waiting>,
    /// The first request of the log that was not admitted; those behind it are still in the log.
    waiting: Option<Waiting>,
    bursts: VecDeque<Burst>,
    admitted: u64,
    now_ns: u64,
    /// Blocks that the head of the queue needs, at least, if that was looked at since it became the head.
    head_needs: Option<u64>,
    /// The head of the queue lacks blocks, and nothing else.
    lacks_blocks: bool,
    /// Until when one did.
    lacked_until_ns: Option<u64>,
    report: ServingReport,
    done: bool,
}

impl<I: Iterator<Item = Result<Request, TraceError>>> Serving<I> {
    /// A simulation over requests in order of arrival.
    ///
    /// # Errors
    /// The options are out of range: see [`ServingOptions::block_bytes`].
    pub fn new(requests: I, options: ServingOptions) -> Result<Self, TraceError> {
        let capacity_blocks = options.capacity_blocks()?;
        Ok(Self {
            requests,
            options,
            block_bytes: options.block_bytes()?,
            blocks: Blocks::new(&options, capacity_blocks.unwrap_or(u64::MAX)),
            running: BTreeMap::new(),
            due: BinaryHeap::new(),
            preempted: VecDeque::new(),
            waiting: None,
            bursts: VecDeque::new(),
            admitted: 0,
            now_ns: 0,
            head_needs: None,
            lacks_blocks: false,
            lacked_until_ns: None,
            report: ServingReport { capacity_blocks, ..ServingReport::default() },
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

    /// What the requests went through so far.
    pub fn report(&self) -> ServingReport {
        ServingReport { shared_blocks: self.blocks.shared(), ..self.report }
    }

    fn step(&mut self) -> Result<Option<Event>, TraceError> {
        loop {
            if let Some(event) = self.next_of_burst() {
                return Ok(Some(event));
            }
            self.check_size()?;
            self.read()?;
            let next_due = self.next_due();
            let has_place = self.running.len() < self.options.max_batch as usize;
            let head = self.preempted.front().or(self.waiting.as_ref());
            match (head, next_due) {
                (None, None) => return Ok(None),
                (Some(head), next)
                    if has_place && next.is_none_or(|time| self.admission_ns(head) < time) =>
                {
                    // While it waits, nobody takes blocks that it might share, and some are given back: it never needs fewer.
                    let free = self.blocks.free();
                    let known = self.head_needs.filter(|&needs| needs > free);
                    let needs =
                        known.unwrap_or_else(|| self.blocks.needs(&head.request, head.first()));
                    // With nothing running every block is free, and each request fits alone.
                    if next.is_none() || needs <= free {
                        self.admit();
                    } else {
                        self.head_needs = Some(needs);
                        self.lacks_blocks = true;
                        self.advance();
                    }
                }
                _ => self.advance(),
            }
        }
    }

    /// Memory is bounded: a few lines of a log can ask for any number of blocks.
    fn check_size(&self) -> Result<(), TraceError> {
        let used = self.blocks.used();
        if used <= MOST_BLOCKS {
            return Ok(());
        }
        let line = self.running.last_key_value().map_or(0, |(_, last)| last.waiting.request.line);
        Err(TraceError::new(
            ErrorKind::Overflow,
            Place::Line(line.into()),
            format!("requests that have {used} blocks at once"),
            "at most 2^24 blocks at once",
            "use larger blocks (--tokens-per-block), serve fewer requests at once (--max-batch), or give a --capacity",
        ))
    }

    /// Reads the log up to a request that fits alone, unless one waits.
    fn read(&mut self) -> Result<(), TraceError> {
        while self.waiting.is_none() {
            let Some(request) = self.requests.next().transpose()? else { return Ok(()) };
            self.report.requests += 1;
            let need = self.need(&request)?;
            if need > self.blocks.capacity() {
                self.report.rejected += 1;
                continue;
            }
            self.blocks.learn(&request);
            let since_ns = request.arrival_ns;
            let (preempted, for_memory) = (false, false);
            self.waiting = Some(Waiting { request, since_ns, generated: 0, preempted, for_memory });
        }
        Ok(())
    }

    /// Blocks that a request has in the end.
    fn need(&self, request: &Request) -> Result<u64, TraceError> {
        let tokens = u64::from(request.context_tokens) + u64::from(request.generated_tokens);
        let blocks = tokens.div_ceil(self.options.tokens_per_block.into());
        if blocks <= 1 << INDEX_BITS {
            return Ok(blocks);
        }
        Err(TraceError::new(
            ErrorKind::Overflow,
            Place::Line(request.line.into()),
            format!("a request of {tokens} tokens"),
            format!("requests of at most 2^24 blocks of {} tokens", self.options.tokens_per_block),
            "correct or delete the line, or use larger blocks",
        ))
    }

    /// When something happens to a running request.
    fn next_due(&mut self) -> Option<u64> {
        while let Some(Reverse(due)) = self.due.peek() {
            if self.running.contains_key(&due.admission) {
                return Some(due.time_ns);
            }
            self.due.pop();
        }
        None
    }

    fn next_of_burst(&mut self) -> Option<Event> {
        loop {
            let burst = self.bursts.front_mut()?;
            if let Some(id) = burst.ids.next() {
                return Some(Event {
                    time_ns: burst.time_ns,
                    id,
                    size: self.block_bytes,
                    stream: 0,
                    thread: 0,
                    line: burst.line,
                    action: burst.action,
                });
            }
            self.bursts.pop_front();
        }
    }

    fn burst(&mut self, action: Action, ids: Vec<u64>, line: u32) {
        let ids = ids.into_iter();
        self.bursts.push_back(Burst { action, time_ns: self.now_ns, ids, line });
    }

    /// When a request that has a place and blocks is admitted: on arrival, or when they became free.
    fn admission_ns(&self, waiting: &Waiting) -> u64 {
        waiting.request.arrival_ns.max(self.now_ns)
    }

    /// Admits the head of the queue.
    fn admit(&mut self) {
        let Some(mut waiting) = self.preempted.pop_front().or_else(|| self.waiting.take()) else {
            return;
        };
        self.head_needs = None;
        self.now_ns = self.admission_ns(&waiting);
        self.note_wait(&mut waiting);
        // Ids start at 1 << 24: 0 is no block.
        self.admitted += 1;
        let first_id = self.admitted << INDEX_BITS;
        let context = waiting.context();
        let (held, new) = self.blocks.take(&waiting.request, context, first_id);
        self.burst(Action::Alloc, new, waiting.request.line);
        let prefill = duration(context, self.options.prefill_tokens_per_s);
        let prefilled_ns = self.now_ns.saturating_add(prefill);
        self.running.insert(self.admitted, Running { waiting, prefilled_ns, held });
        self.report.most_running = self.report.most_running.max(self.running.len() as u32);
        self.schedule(self.admitted);
    }

    fn note_wait(&mut self, waiting: &mut Waiting) {
        if core::mem::take(&mut self.lacks_blocks) {
            self.lacked_until_ns = Some(self.now_ns);
        }
        let wait = self.now_ns - waiting.since_ns;
        let report = &mut self.report;
        report.longest_wait_ns = report.longest_wait_ns.max(wait);
        if wait > 0 && !waiting.preempted {
            report.queued += 1;
            waiting.for_memory = self.lacked_until_ns.is_some_and(|until| until > waiting.since_ns);
            report.waited_for_memory += u64::from(waiting.for_memory);
        }
    }

    /// Files a request under the time of its next event: the token that needs a block, or its end.
    fn schedule(&mut self, admission: u64) {
        let Some(running) = self.running.get(&admission) else { return };
        let Running { waiting, prefilled_ns, held } = running;
        let context = waiting.context();
        let room = held.len() as u64 * u64::from(self.options.tokens_per_block);
        let left = u64::from(waiting.request.generated_tokens - waiting.generated);
        let (next, decoded) = if room < context + left {
            // The token after those that have room; its decoding begins when the one before it is done. At least as many
            // tokens as the context have room.
            (Next::Decode, room - context)
        } else {
            (Next::End, left)
        };
        let decode = duration(decoded, self.options.decode_tokens_per_s);
        let time_ns = prefilled_ns.saturating_add(decode);
        self.due.push(Reverse(Due { time_ns, next, admission }));
    }

    /// Plays what is due next.
    fn advance(&mut self) {
        let Some(Reverse(due)) = self.due.pop() else { return };
        self.now_ns = self.now_ns.max(due.time_ns);
        match due.next {
            Next::End => {
                let Some(running) = self.running.remove(&due.admission) else { return };
                let freed = self.blocks.give_back(running.held);
                self.burst(Action::Free, freed, running.waiting.request.line);
            }
            Next::Decode => self.decode(due.admission),
        }
    }

    /// Takes a block for the next token, from the request that was admitted last if there is none.
    fn decode(&mut self, admission: u64) {
        while self.blocks.free() == 0 {
            let Some((last, victim)) = self.running.pop_last() else { return };
            self.preempt(victim);
            if last == admission {
                return;
            }
        }
        let Some(running) = self.running.get_mut(&admission) else { return };
        let id = admission << INDEX_BITS | running.held.len() as u64;
        self.blocks.take_one();
        running.held.push(id);
        let line = running.waiting.request.line;
        self.burst(Action::Alloc, vec![id], line);
        self.schedule(admission);
    }

    /// Sends a request back to the head of the queue.
    fn preempt(&mut self, victim: Running) {
        let Running { mut waiting, prefilled_ns, held } = victim;
        let held_tokens = held.len() as u64 * u64::from(self.options.tokens_per_block);
        let freed = self.blocks.give_back(held);
        self.burst(Action::Free, freed, waiting.request.line);
        self.report.preemptions += 1;
        self.report.preempted += u64::from(!waiting.preempted);
        self.report.waited_for_memory += u64::from(!waiting.for_memory);
        waiting.for_memory = true;
        // Only tokens whose blocks were there; a decoded token that were not counted would be decoded again and again.
        let room = held_tokens.saturating_sub(waiting.context());
        let left = u64::from(waiting.request.generated_tokens - waiting.generated).min(room);
        let decoded = match self.now_ns.checked_sub(prefilled_ns) {
            Some(decoding) => tokens_within(decoding, self.options.decode_tokens_per_s).min(left),
            None => 0,
        };
        // At most `generated_tokens`.
        waiting.generated += decoded as u32;
        waiting.preempted = true;
        waiting.since_ns = self.now_ns;
        self.head_needs = None;
        self.preempted.push_front(waiting);
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

/// Nanoseconds that `tokens`, below 2^33, take at `rate` tokens a second.
fn duration(tokens: u64, rate: u32) -> u64 {
    // At most 2^33 × 10^9 < 2^63.
    tokens * 1_000_000_000 / u64::from(rate)
}

/// The most tokens whose [`duration`] is at most `ns`.
fn tokens_within(ns: u64, rate: u32) -> u64 {
    let more = (u128::from(ns) + 1) * u128::from(rate);
    // Below 2^96 / 10^9 < 2^67: saturates where nobody has so many.
    u64::try_from(more.div_ceil(1_000_000_000) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
