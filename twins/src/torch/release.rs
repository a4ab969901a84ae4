//! How cached memory goes back to the driver: sweeps, oversize blocks, garbage collection.
//!
//! Source: pytorch/pytorch, `c10/cuda/CUDACachingAllocator.cpp`, `release_cached_blocks`, `release_blocks`,
//! `release_available_cached_blocks`, `garbage_collect_cached_blocks`, as of 2.4 to 2.10. The rules, in our words:
//!
//! 1. A sweep releases the large pool, then the small one, each in the order (stream, size, address): segments that are one free
//!    block at once; free blocks of expandable segments are listed, and unmapped after the others. Private pools are left
//!    alone: whether their graphs are gone is not known here.
//! 2. Before a sweep, with `max_split_size_mb`: the smallest free block of the stream that has both that size and the request's
//!    is released; or else the largest ones from that size, until they amount to the request. Only if that sufficed the
//!    driver is asked again.
//! 3. With a threshold and a limit: once more is reserved than their product, unsplit free blocks of the large pool that were not
//!    used for at least the average number of searches are released, again and again until enough is back or none goes.
//!    Since 2.5, 2 and 3 leave expandable segments alone.

use super::Torch;
use super::blocks::Key;
use crate::Driver;
use alloc::vec::Vec;

impl Torch {
    /// Rule 1.
    pub(super) fn sweep(&mut self, driver: &mut dyn Driver) {
        for small in [false, true] {
            let pool = self.tables.pool(0, small);
            let free = &self.tables.pools[pool as usize].free;
            let listed: Vec<u32> =
                free.iter().flat_map(|(_, blocks)| blocks).map(|&(_, _, id)| id).collect();
            let (grown, fixed): (Vec<u32>, Vec<u32>) =
                listed.into_iter().partition(|&id| self.tables.expandable(id));
            for id in fixed {
                if self.tables.block(id).whole() {
                    self.give_back(id, driver);
                }
            }
            for id in grown {
                self.unmap(id, driver);
            }
        }
    }

    /// Gives a segment back that is one free block. False: the driver left it.
    pub(super) fn give_back(&mut self, id: u32, driver: &mut dyn Driver) -> bool {
        let block = *self.tables.block(id);
        if !driver.free(block.address, block.size, self.tables.segment(id).stream) {
            return false;
        }
        self.counts.returns += 1;
        self.tried.sweep(block.size);
        self.tables.unfile(id);
        self.tables.drop_segment(id);
        true
    }

    /// Rule 2. Whether the driver is to be asked again.
    pub(super) fn release_oversize(
        &mut self,
        pool: u32,
        stream: u64,
        size: u64,
        driver: &mut dyn Driver,
    ) -> bool {
        let max_split = self.settings.max_split;
        if max_split == u64::MAX {
            return false;
        }
        let wanted = size.max(max_split);
        let Some(blocks) = self.tables.pools[pool as usize].of_stream(stream) else { return false };
        if let Some(&(_, _, id)) = blocks.range((wanted, 0, 0)..).next()
            && !self.tables.expandable(id)
        {
            // A block that reaches the limit was never split; one made under another setting might be.
            return self.tables.block(id).whole() && self.give_back(id, driver);
        }
        let largest: Vec<Key> =
            blocks.iter().rev().take_while(|&&(size, ..)| size >= max_split).copied().collect();
        let mut released = 0;
        for (size, _, id) in largest {
            if released >= wanted {
                break;
            }
            if !self.tables.expandable(id)
                && self.tables.block(id).whole()
                && self.give_back(id, driver)
            {
                released += size;
            }
        }
        released >= wanted
    }

    /// Rule 3.
    pub(super) fn collect_garbage(&mut self, driver: &mut dyn Driver) {
        let Some(limit) = self.settings.limit else { return };
        let threshold = (self.settings.gc_threshold * limit as f64) as u64;
        let Some(target) = self.tables.reserved.checked_sub(threshold).filter(|&t| t > 0) else {
            return;
        };
        let pool = self.tables.pool(0, false) as usize;
        let searches = self.tables.pools[pool].searches;
        let mut candidates: Vec<(u32, u64)> = Vec::new();
        for &(_, _, id) in self.tables.pools[pool].free.iter().flat_map(|(_, blocks)| blocks) {
            if self.tables.block(id).whole() && !self.tables.expandable(id) {
                candidates.push((id, searches.saturating_sub(self.tables.block(id).since)));
            }
        }
        let mut ages: u64 = candidates.iter().map(|&(_, age)| age).sum();
        let (mut reclaimed, mut freed) = (0, true);
        while reclaimed < target && freed && !candidates.is_empty() {
            let average = ages as f64 / candidates.len() as f64;
            freed = false;
            let mut kept = Vec::new();
            for (id, age) in candidates {
                let size = self.tables.block(id).size;
                if age as f64 >= average && self.give_back(id, driver) {
                    freed = true;
                    reclaimed += size;
                    ages -= age;
                } else {
                    kept.push((id, age));
                }
            }
            candidates = kept;
        }
    }
}
