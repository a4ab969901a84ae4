//! The blocks of a paged KV cache: how many are free, and which of them several requests use.
//!
//! ```text
//!   prompt   │ hash a    │ hash b    │ hash c │           one hash for `tokens_per_hash` tokens
//!   blocks   │ 0 │ 1 │ 2 │ 3 │ 4 │ 5 │ 6 │ 7 ┆            block 4 is (b, its end within the piece)
//! ```
//!
//! # Invariants
//! - `used` is the number of different blocks that requests hold, at most the capacity where that is asked before.
//! - A block that may be shared has one id for its key, and one user for each time that a request holds it.
//!
//! # Cost
//! O(1) a block. Memory: 100 bytes for each block that may be shared.

use super::{Request, ServingOptions};
use std::collections::{HashMap, HashSet};

/// A piece's hash, and where in it a block ends.
type Key = (u64, u64);

#[derive(Debug)]
pub(super) struct Blocks {
    capacity: u64,
    used: u64,
    tokens_per_block: u64,
    /// Tokens that a hash stands for; told, or learned from the first request that has any.
    tokens_per_hash: Option<u64>,
    ids: HashMap<Key, u64>,
    users: HashMap<u64, (Key, u32)>,
    shared: u64,
}

impl Blocks {
    pub(super) fn new(options: &ServingOptions, capacity: u64) -> Self {
        Self {
            capacity,
            used: 0,
            tokens_per_block: options.tokens_per_block.into(),
            tokens_per_hash: options.tokens_per_hash.map(u64::from),
            ids: HashMap::new(),
            users: HashMap::new(),
            shared: 0,
        }
    }

    /// Different blocks that requests have.
    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    pub(super) const fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) const fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used)
    }

    /// Times that a request found a block that another one holds.
    pub(super) const fn shared(&self) -> u64 {
        self.shared
    }

    #[cfg(test)]
    pub(super) const fn tokens_per_hash(&self) -> Option<u64> {
        self.tokens_per_hash
    }

    /// Learns how many tokens a hash stands for, unless that is known: the 512 of Mooncake's logs or the 16 of Bailian's where that is
    /// how many hashes the prompt has, else the least number of whole blocks with which they reach its end.
    pub(super) fn learn(&mut self, request: &Request) {
        let hashes = request.hashes.len() as u64;
        if self.tokens_per_hash.is_some() || hashes == 0 || request.context_tokens == 0 {
            return;
        }
        let context = u64::from(request.context_tokens);
        let known = [512, 16].into_iter().find(|&tokens| context.div_ceil(tokens) == hashes);
        let least = context.div_ceil(hashes).next_multiple_of(self.tokens_per_block);
        self.tokens_per_hash = Some(known.unwrap_or(least));
    }

    /// What tells a block of a prompt from others, if others may have it: it is full, and lies in what the hashes tell of.
    fn key(&self, request: &Request, index: u64) -> Option<Key> {
        let tokens_per_hash = self.tokens_per_hash?;
        let end = (index + 1) * self.tokens_per_block;
        if end > request.context_tokens.into() {
            return None;
        }
        let piece = (end - 1) / tokens_per_hash;
        let hash = request.hashes.get(usize::try_from(piece).ok()?)?;
        Some((*hash, end - piece * tokens_per_hash))
    }

    /// Blocks that the first `tokens` of a request need beside those that others have; where there is room for all, those too.
    pub(super) fn needs(&self, request: &Request, tokens: u64) -> u64 {
        let blocks = tokens.div_ceil(self.tokens_per_block);
        if blocks <= self.free() {
            return blocks;
        }
        let mut new = HashSet::new();
        let mut private = 0;
        for index in 0..blocks {
            match self.key(request, index) {
                Some(key) if self.ids.contains_key(&key) => {}
                Some(key) => drop(new.insert(key)),
                // What follows cannot be shared either: the hashes, or the prompt, end here.
                None => {
                    private = blocks - index;
                    break;
                }
            }
        }
        new.len() as u64 + private
    }

    /// Takes the blocks of the first `tokens` of a request. Returns all of them, and those that nobody had; they get the ids from
    /// `first_id` on, by their index.
    pub(super) fn take(
        &mut self,
        request: &Request,
        tokens: u64,
        first_id: u64,
    ) -> (Vec<u64>, Vec<u64>) {
        let blocks = tokens.div_ceil(self.tokens_per_block);
        let (mut held, mut new) = (Vec::new(), Vec::new());
        for index in 0..blocks {
            let id = first_id | index;
            let key = self.key(request, index);
            let had = key.and_then(|key| self.ids.get(&key).copied());
            match (key, had) {
                (_, Some(had)) => {
                    if let Some((_, users)) = self.users.get_mut(&had) {
                        *users += 1;
                    }
                    self.shared += 1;
                    held.push(had);
                    continue;
                }
                (Some(key), None) => {
                    self.ids.insert(key, id);
                    self.users.insert(id, (key, 1));
                }
                (None, None) => {}
            }
            held.push(id);
            new.push(id);
        }
        self.used += new.len() as u64;
        (held, new)
    }

    /// Takes one block that is not shared.
    pub(super) const fn take_one(&mut self) {
        self.used += 1;
    }

    /// Gives the blocks of a request back. Returns those that nobody has any more.
    pub(super) fn give_back(&mut self, held: Vec<u64>) -> Vec<u64> {
        let mut freed = held;
        freed.retain(|id| {
            let Some((key, users)) = self.users.get_mut(id) else { return true };
            *users -= 1;
            if *users > 0 {
                return false;
            }
            let key = *key;
            self.ids.remove(&key);
            self.users.remove(id);
            true
        });
        self.used -= freed.len() as u64;
        freed
    }
}
