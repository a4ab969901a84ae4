//! `frontiers`: the algebra, over checked lists.

use crate::bindings::Component;
use crate::bindings::exported::frontiers::{Causality, Guest, Joined, Undominated, WireError};
use crate::bindings::imported::types::{Entry, Frontier, FrontierError};
use crate::convert;
use alloc::vec;
use alloc::vec::Vec;
use strandline_core::{Axis, FrontierRef, Merge, frontier};

/// Runs `then` with two lists as frontiers.
fn both<R>(
    a: &[Entry],
    b: &[Entry],
    then: impl FnOnce(FrontierRef<'_>, FrontierRef<'_>) -> R,
) -> Result<R, FrontierError> {
    convert::frontier(a, |a| convert::frontier(b, |b| then(a, b)))?
}

impl Guest for Component {
    fn from_entries(entries: Vec<Entry>) -> Result<Frontier, FrontierError> {
        let entries = entries.iter().map(convert::entry_in);
        match frontier::Frontier::from_entries(entries) {
            Ok(frontier) => Ok(convert::entries(frontier.as_ref())),
            Err(error) => Err(convert::frontier_error(error)),
        }
    }

    fn compare(a: Frontier, b: Frontier) -> Result<Causality, FrontierError> {
        both(&a, &b, |a, b| convert::causality(a.compare(b)))
    }

    fn dominates(a: Frontier, b: Frontier) -> Result<bool, FrontierError> {
        both(&a, &b, |a, b| a.dominates(b))
    }

    fn merge(a: Frontier, b: Frontier) -> Result<Option<Joined>, FrontierError> {
        both(&a, &b, |a, b| {
            let mut join = a.to_frontier();
            match join.merge_and_test_source_dominance(b) {
                (Merge::Done, second_dominates) => {
                    Some(Joined { join: convert::entries(join.as_ref()), second_dominates })
                }
                (Merge::Overflow, _) => None,
            }
        })
    }

    fn find_undominated(
        a: Frontier,
        b: Frontier,
        limit: u32,
    ) -> Result<Undominated, FrontierError> {
        both(&a, &b, |a, b| {
            let room = b.len().min(limit as usize);
            let mut out = vec![frontier::Entry::new(Axis::from_bits(0), 0); room];
            let count = a.find_undominated(b, &mut out);
            let entries = convert::entry_list(&out[..count.min(room)]);
            Undominated { entries, count: count as u32 }
        })
    }

    fn encode(frontier: Frontier) -> Result<Vec<u8>, FrontierError> {
        convert::frontier(&frontier, |frontier| frontier.encode())
    }

    fn decode(bytes: Vec<u8>) -> Result<Frontier, WireError> {
        match frontier::Frontier::decode(&bytes) {
            Ok(frontier) => Ok(convert::entries(frontier.as_ref())),
            Err(error) => Err(convert::wire_error(error)),
        }
    }
}
