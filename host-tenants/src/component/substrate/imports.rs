//! What the component imports: slabs and progress, answered by what its pools stand on.
//!
//! The component is not trusted: an id that is not a slab of the asking pool is refused, and a handle
//! that it was not given is a trap.

use super::bindings::strandline::substrate::{notify, slabs, types};
use super::convert;
use super::state::{Stand, State};
use strandline_core::inspect::Event;
use strandline_core::{Axis, Grant, SlabId};
use wasmtime::Result;
use wasmtime::component::Resource;

/// A provider as the component holds it: the number of what its pool stands on.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "generated code re-exports it")]
pub struct Supplier(pub(super) usize);

impl State {
    fn supplier(&self, handle: &Resource<Supplier>) -> Result<usize> {
        Ok(self.table.get(handle)?.0)
    }

    fn supply(&self, handle: &Resource<Supplier>) -> Result<&Stand> {
        self.stand(self.supplier(handle)?)
            .ok_or_else(|| wasmtime::format_err!("the pool of this provider is gone"))
    }
}

impl slabs::Host for State {}

impl types::Host for State {}

impl slabs::HostProvider for State {
    fn properties(&mut self, handle: Resource<Supplier>) -> Result<slabs::SlabProperties> {
        Ok(convert::slab_properties(self.supply(&handle)?.provider.properties()))
    }

    fn acquire(
        &mut self,
        handle: Resource<Supplier>,
        size: u64,
    ) -> Result<core::result::Result<Option<slabs::Slab>, types::SlabError>> {
        let number = self.supplier(&handle)?;
        match self.supply(&handle)?.provider.acquire(size) {
            Ok(Grant::Slab(slab)) => {
                self.slabs_moved = true;
                if let Some(stand) = self.stand_mut(number) {
                    stand.held.insert(slab.id);
                    let (pool, slab, size) = (stand.pool, slab.id, slab.size);
                    stand.emit(&Event::SlabAcquired { pool, slab, size });
                }
                Ok(Ok(Some(slabs::Slab { id: slab.id.to_bits(), size: slab.size })))
            }
            Ok(Grant::NoCapacity) => Ok(Ok(None)),
            Err(error) => Ok(Err(convert::slab_error_out(error))),
        }
    }

    fn release(
        &mut self,
        handle: Resource<Supplier>,
        id: u64,
    ) -> Result<core::result::Result<(), types::SlabError>> {
        let number = self.supplier(&handle)?;
        let slab = SlabId::from_bits(id);
        let stand = self.supply(&handle)?;
        if !stand.held.contains(&slab) {
            return Ok(Err(types::SlabError::UnknownSlab(id)));
        }
        if let Err(error) = stand.provider.release(slab) {
            return Ok(Err(convert::slab_error_out(error)));
        }
        self.slabs_moved = true;
        if let Some(stand) = self.stand_mut(number) {
            stand.held.remove(&slab);
            stand.emit(&Event::SlabReleased { pool: stand.pool, slab });
        }
        Ok(Ok(()))
    }

    fn prefault(
        &mut self,
        handle: Resource<Supplier>,
        id: u64,
        offset: u64,
        len: u64,
    ) -> Result<core::result::Result<(), types::SlabError>> {
        let slab = SlabId::from_bits(id);
        let stand = self.supply(&handle)?;
        if !stand.held.contains(&slab) {
            return Ok(Err(types::SlabError::UnknownSlab(id)));
        }
        Ok(stand.provider.prefault(slab, offset, len).map_err(convert::slab_error_out))
    }

    fn trim(&mut self, handle: Resource<Supplier>, how: types::Trim) -> Result<u64> {
        Ok(self.supply(&handle)?.provider.trim(convert::trim_in(how)))
    }

    fn stats(&mut self, handle: Resource<Supplier>) -> Result<slabs::SlabStats> {
        Ok(convert::slab_stats(self.supply(&handle)?.provider.stats()))
    }

    fn query_epoch(
        &mut self,
        handle: Resource<Supplier>,
        axis: u64,
        epoch: u64,
    ) -> Result<Option<bool>> {
        Ok(self.supply(&handle)?.provider.query_epoch(Axis::from_bits(axis), epoch))
    }

    fn drop(&mut self, handle: Resource<Supplier>) -> Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl notify::Host for State {
    fn reached(&mut self, axis: u64) -> Result<u64> {
        // Calls are one at a time, so the question is that of the pool whose call is running.
        Ok(self
            .stand(self.current)
            .map_or(0, |stand| stand.progress.reached(Axis::from_bits(axis))))
    }

    fn changed(&mut self, _key: u64) -> Result<()> {
        // Nothing is watched inside: the pools outside have notifications of their own.
        Ok(())
    }
}
