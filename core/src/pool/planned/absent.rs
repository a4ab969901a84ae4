//! What stands in the place of [`planned`](super) in a build without the feature of that name: no plan can be made, so no pool follows one, and the
//! compiler removes what a TLSF pool would do about it. The component is such a build: every kilobyte of it is loaded by every guest.

use crate::offset::tlsf::{BlockId, RegionId};
use crate::slab::{Slab, SlabId};

/// A plan that is followed: there is none.
#[derive(Debug)]
pub(in crate::pool) enum Follower {}

/// How a TLSF pool holds it.
pub(in crate::pool) type Followed = Follower;

/// A block of the plan: there is none.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) enum Guess {}

/// What a request is matched by: nothing asks.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) enum Key {}

impl Follower {
    pub(in crate::pool) const fn propose(&self, _: Key) -> Option<Guess> {
        match *self {}
    }

    pub(in crate::pool) fn place(
        &mut self,
        _: Guess,
        _: impl Fn(u32, RegionId, u32) -> bool,
    ) -> Option<(RegionId, u32, Option<u32>)> {
        match *self {}
    }

    pub(in crate::pool) fn gap(
        &mut self,
        _: Option<Guess>,
        _: u32,
        _: u32,
        _: impl FnOnce(&mut dyn FnMut(BlockId, RegionId, u32, u32)),
    ) -> Option<(RegionId, u32, Option<BlockId>)> {
        match *self {}
    }

    pub(in crate::pool) const fn spot(&self, _: Guess) -> Option<(RegionId, u32)> {
        match *self {}
    }

    pub(in crate::pool) const fn place_taken(&mut self, _: Key, _: Guess, _: u32) {
        match *self {}
    }

    pub(in crate::pool) const fn stray(&mut self, _: Key, _: Option<Guess>, _: u32) {
        match *self {}
    }

    pub(in crate::pool) const fn freed(&mut self, _: u32) {
        match *self {}
    }

    pub(in crate::pool) const fn wants(&self) -> Option<u64> {
        match *self {}
    }

    pub(in crate::pool) const fn takes_up_step(&self, _: Key) -> bool {
        match *self {}
    }

    pub(in crate::pool) const fn housed(&self) -> Option<(RegionId, u64)> {
        match *self {}
    }

    pub(in crate::pool) const fn asks(&mut self) -> Option<u64> {
        match *self {}
    }

    pub(in crate::pool) const fn offer(&mut self, _: RegionId, _: Slab) {
        match *self {}
    }

    pub(in crate::pool) const fn lose(&mut self, _: SlabId) {
        match *self {}
    }
}
