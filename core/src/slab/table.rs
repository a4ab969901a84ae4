//! A generational table: what providers keep their slabs in.
//!
//! ```text
//!   slots:  [ gen 3 | Some(T) ] [ gen 7 | None ] [ gen 0 | Some(T) ]
//!                 ▲                  └─ on the free list, its next id has generation 8
//!        SlabId{index: 0, generation: 3}
//! ```
//!
//! Insert, get and remove are O(1). A slot whose generation would wrap is retired, so that an id is
//! never minted twice.

use super::SlabId;
use alloc::vec::Vec;

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values under [`SlabId`]s that never resolve to another value once removed.
#[derive(Debug)]
pub struct SlabTable<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for SlabTable<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> SlabTable<T> {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Stores a value and returns the id that names it, or gives the value back when 2^32 slots are in
    /// use.
    ///
    /// # Errors
    /// The value, when the table is full.
    pub fn insert(&mut self, value: T) -> Result<SlabId, T> {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = Some(value);
            return Ok(SlabId::new(index, slot.generation));
        }
        let Ok(index) = u32::try_from(self.slots.len()) else { return Err(value) };
        self.slots.push(Slot { generation: 0, value: Some(value) });
        Ok(SlabId::new(index, 0))
    }

    /// The value under `id`, if it still stands.
    #[must_use]
    pub fn get(&self, id: SlabId) -> Option<&T> {
        let slot = self.slots.get(id.index() as usize)?;
        if slot.generation == id.generation() { slot.value.as_ref() } else { None }
    }

    /// The value under `id`, mutably.
    pub fn get_mut(&mut self, id: SlabId) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index() as usize)?;
        if slot.generation == id.generation() { slot.value.as_mut() } else { None }
    }

    /// Takes the value out; the id never resolves again.
    pub fn remove(&mut self, id: SlabId) -> Option<T> {
        let slot = self.slots.get_mut(id.index() as usize)?;
        if slot.generation != id.generation() {
            return None;
        }
        let value = slot.value.take()?;
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(id.index());
        }
        Some(value)
    }

    /// Every stored value with its id, in order of index.
    pub fn iter(&self) -> impl Iterator<Item = (SlabId, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let value = slot.value.as_ref()?;
            Some((SlabId::new(u32::try_from(index).ok()?, slot.generation), value))
        })
    }

    /// How many values are stored. O(slots).
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.slots.iter().filter(|slot| slot.value.is_none()).count()
    }

    /// Nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_never_resolves_to_another_value() {
        let mut table = SlabTable::new();
        let a = table.insert('a').unwrap();
        assert_eq!(table.remove(a), Some('a'));
        let b = table.insert('b').unwrap();
        assert_eq!(a.index(), b.index());
        assert_ne!(a, b);
        assert_eq!(table.get(a), None);
        assert_eq!(table.remove(a), None);
        assert_eq!(table.get(b), Some(&'b'));
        assert_eq!(SlabId::from_bits(b.to_bits()), b);
        assert_eq!(table.len(), 1);
    }
}
