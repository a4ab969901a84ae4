//! The items of dictionaries in the order of their keys: most have the keys of the one before, as they came there.
//!
//! Cost: O(k) then, else O(k log k).

use super::super::words::Word;
use super::value::Value;

/// Puts items into order.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The keys of the last dictionary as they came.
    came: Vec<Word>,
    /// Where those that stay came, in the order of their keys.
    places: Vec<usize>,
    scratch: Vec<(Word, Value)>,
}

impl Order {
    /// Of several items with one key the last one stays.
    pub(super) fn arrange(&mut self, items: &mut Vec<(Word, Value)>) {
        if !self.came.iter().eq(items.iter().map(|(key, _)| key)) {
            self.came.clear();
            self.came.extend(items.iter().map(|&(key, _)| key));
            self.places.clear();
            self.places.extend(0..items.len());
            self.places.sort_by_key(|&at| items[at].0);
            self.places.dedup_by(|later, stays| {
                let same = items[*later].0 == items[*stays].0;
                if same {
                    *stays = *later;
                }
                same
            });
        }
        self.scratch.clear();
        self.scratch.extend(self.places.iter().map(|&at| items[at]));
        core::mem::swap(items, &mut self.scratch);
    }
}
