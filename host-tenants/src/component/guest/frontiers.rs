//! The interface `frontiers`, and `types`, which has no functions: the core's algebra.

use super::GuestState;
use super::bindings::strandline::substrate::frontiers::{
    Causality, Entry, Frontier, FrontierError, Host, Joined, Undominated, WireError,
};
use super::bindings::strandline::substrate::types;
use super::convert;
use strandline_core::Entry as CoreEntry;
use strandline_core::frontier::MAX_ENTRIES;
use strandline_core::{Frontier as CoreFrontier, FrontierRef, Merge};

impl types::Host for GuestState {}

/// Runs `$then` with the entries as checked frontiers.
macro_rules! checked {
    ($($name:ident),+ => $then:expr) => {{
        $(let $name = convert::entries(&$name);)+
        $(let $name = match FrontierRef::try_from_sorted(&$name) {
            Ok(frontier) => frontier,
            Err(error) => return Ok(Err(convert::frontier_error(error))),
        };)+
        Ok(Ok($then))
    }};
}

impl Host for GuestState {
    fn from_entries(
        &mut self,
        entries: Vec<Entry>,
    ) -> wasmtime::Result<Result<Frontier, FrontierError>> {
        Ok(match CoreFrontier::from_entries(convert::entries(&entries)) {
            Ok(frontier) => Ok(convert::frontier(frontier.as_ref())),
            Err(error) => Err(convert::frontier_error(error)),
        })
    }

    fn compare(
        &mut self,
        a: Frontier,
        b: Frontier,
    ) -> wasmtime::Result<Result<Causality, FrontierError>> {
        checked!(a, b => convert::causality(a.compare(b)))
    }

    fn dominates(
        &mut self,
        a: Frontier,
        b: Frontier,
    ) -> wasmtime::Result<Result<bool, FrontierError>> {
        checked!(a, b => a.dominates(b))
    }

    fn merge(
        &mut self,
        a: Frontier,
        b: Frontier,
    ) -> wasmtime::Result<Result<Option<Joined>, FrontierError>> {
        checked!(a, b => {
            let mut join = a.to_frontier();
            match join.merge_and_test_source_dominance(b) {
                (Merge::Done, second_dominates) => {
                    Some(Joined { join: convert::frontier(join.as_ref()), second_dominates })
                }
                (Merge::Overflow, _) => None,
            }
        })
    }

    fn find_undominated(
        &mut self,
        a: Frontier,
        b: Frontier,
        limit: u32,
    ) -> wasmtime::Result<Result<Undominated, FrontierError>> {
        checked!(a, b => {
            // There are never more than fit in a frontier, whatever the guest asks for.
            let mut out = vec![CoreEntry::new(strandline_core::Axis::from_bits(0), 0); MAX_ENTRIES.min(limit as usize)];
            let count = b.find_undominated(a, &mut out);
            out.truncate(count);
            let entries = out.into_iter().map(convert::entry).collect();
            Undominated { entries, count: u32::try_from(count).unwrap_or(u32::MAX) }
        })
    }

    fn encode(&mut self, frontier: Frontier) -> wasmtime::Result<Result<Vec<u8>, FrontierError>> {
        checked!(frontier => frontier.encode())
    }

    fn decode(&mut self, bytes: Vec<u8>) -> wasmtime::Result<Result<Frontier, WireError>> {
        Ok(match CoreFrontier::decode(&bytes) {
            Ok(frontier) => Ok(convert::frontier(frontier.as_ref())),
            Err(error) => Err(convert::wire_error(error)),
        })
    }
}
