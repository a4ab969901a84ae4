//! Reads and writes of lent memory through the owner: see [`remote`](super::super::remote).

use super::super::message::Refusal;
use super::super::names::Names;
use super::super::remote::{Key, Piece};
use super::Owner;
use crate::pool::PoolError;
use crate::slab::{SlabError, SlabId};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;

/// The bytes of the slabs on which the owner's pool stands.
pub trait SlabBytes: Send + Sync {
    /// Copies bytes of a slab, from `offset` on, `into`.
    ///
    /// # Errors
    /// The slab is not there, or the range does not lie in it.
    fn read(&self, slab: SlabId, offset: u64, into: &mut [u8]) -> Result<(), SlabError>;

    /// Copies `bytes` into a slab, from `offset` on.
    ///
    /// # Errors
    /// The slab is not there, or the range does not lie in it.
    fn write(&self, slab: SlabId, offset: u64, bytes: &[u8]) -> Result<(), SlabError>;
}

/// What an owner has that serves bytes.
pub(super) struct Remote {
    memory: Arc<dyn SlabBytes>,
    draw: Box<dyn FnMut() -> Key + Send>,
    /// Keys that are good, and the tokens of their reservations.
    keys: BTreeMap<Key, u64>,
}

impl Owner {
    /// Members may read and write lent memory by messages from now on. `draw` gives a key that nobody can guess and that it never gave
    /// before; `memory` has the bytes of the pool's slabs, and copies while the owner waits.
    pub fn serve_bytes(
        &mut self,
        memory: Arc<dyn SlabBytes>,
        draw: impl FnMut() -> Key + Send + 'static,
    ) {
        self.remote = Some(Remote { memory, draw: Box::new(draw), keys: BTreeMap::new() });
    }

    /// The key to a reservation, the same each time.
    pub(super) fn open(&mut self, names: Names, token: u64) -> Result<Key, Refusal> {
        let known = self.held(names, token)?.key;
        let remote = self.remote.as_mut().ok_or(Refusal::NotServed)?;
        if let Some(key) = known {
            return Ok(key);
        }
        let key = (remote.draw)();
        if remote.keys.insert(key, token).is_some() {
            // It was drawn before, and is good for neither.
            remote.keys.remove(&key);
            return Err(Refusal::Key);
        }
        self.held(names, token)?.key = Some(key);
        Ok(key)
    }

    /// A key is good for nothing from now on.
    pub(super) fn revoke(&mut self, key: Option<Key>) {
        if let (Some(remote), Some(key)) = (&mut self.remote, key) {
            remote.keys.remove(&key);
        }
    }

    /// Where in a slab the bytes are that lie at `offset` of the reservation of a key.
    fn locate(
        &mut self,
        key: Key,
        offset: u64,
        len: u64,
    ) -> Result<(Arc<dyn SlabBytes>, SlabId, u64), Refusal> {
        let remote = self.remote.as_ref().ok_or(Refusal::NotServed)?;
        let holding = remote.keys.get(&key).and_then(|&token| self.holdings.get(token));
        let Some(holding) = holding else {
            self.counters.keys_refused += 1;
            return Err(Refusal::Key);
        };
        let (slab, start, size) = holding.reservation.range();
        if offset.checked_add(len).is_none_or(|end| end > size) {
            self.counters.keys_refused += 1;
            return Err(Refusal::Range);
        }
        Ok((remote.memory.clone(), slab, start + offset))
    }

    pub(super) fn read(&mut self, key: Key, offset: u64, len: u64) -> Result<Piece, Refusal> {
        let (memory, slab, at) = self.locate(key, offset, len)?;
        // No longer than a piece: the call was looked at.
        let mut bytes = vec![0; len as usize];
        memory.read(slab, at, &mut bytes).map_err(refused)?;
        Piece::new(bytes).ok_or(Refusal::Range)
    }

    pub(super) fn write(&mut self, key: Key, offset: u64, piece: &Piece) -> Result<(), Refusal> {
        let bytes = piece.as_bytes();
        let (memory, slab, at) = self.locate(key, offset, bytes.len() as u64)?;
        memory.write(slab, at, bytes).map_err(refused)
    }
}

fn refused(error: SlabError) -> Refusal {
    Refusal::Pool { error: PoolError::Provider(error).into() }
}
