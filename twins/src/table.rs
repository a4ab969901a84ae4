//! Numbers for live blocks: a table whose vacant places are used again. Cost: O(1).

use crate::BlockId;
use alloc::vec::Vec;

/// What is known of each live block, by its number.
#[derive(Clone, Debug)]
pub(crate) struct Table<T> {
    places: Vec<Option<T>>,
    vacant: Vec<u32>,
}

// Derived, it would ask for `T: Default`.
impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { places: Vec::new(), vacant: Vec::new() }
    }
}

impl<T> Table<T> {
    /// A block becomes live. Its number names it until it is taken out.
    pub(crate) fn add(&mut self, block: T) -> BlockId {
        if let Some(number) = self.vacant.pop() {
            self.places[number as usize] = Some(block);
            return BlockId(number);
        }
        self.places.push(Some(block));
        BlockId((self.places.len() - 1) as u32)
    }

    /// A live block; a number that names none is no error.
    pub(crate) fn get_mut(&mut self, number: BlockId) -> Option<&mut T> {
        self.places.get_mut(number.0 as usize)?.as_mut()
    }

    /// Takes a block out: its number is vacant.
    pub(crate) fn take(&mut self, number: BlockId) -> Option<T> {
        let block = self.places.get_mut(number.0 as usize)?.take()?;
        self.vacant.push(number.0);
        Some(block)
    }

    /// The live blocks, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (BlockId, &T)> {
        let numbered = self.places.iter().enumerate();
        numbered.filter_map(|(number, block)| Some((BlockId(number as u32), block.as_ref()?)))
    }
}
