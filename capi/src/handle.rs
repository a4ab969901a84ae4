//! What has a handle: values in a table whose keys name one value each, ever.

use crate::status::{Fault, strandline_status};
use std::sync::{Arc, PoisonError, RwLock};
use strandline_core::table::Table;

/// Values of one kind under handles.
pub(crate) struct Registry<T> {
    kind: &'static str,
    table: RwLock<Table<u64, Arc<T>>>,
}

impl<T> Registry<T> {
    pub(crate) const fn new(kind: &'static str) -> Self {
        Self { kind, table: RwLock::new(Table::new()) }
    }

    /// A handle for a value: never 0, and never that of another value.
    pub(crate) fn insert(&self, value: Arc<T>) -> Result<u64, Fault> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let key = table.insert(value).map_err(|_| {
            Fault::new(
                strandline_status::FULL,
                format_args!("no handle is left for a {}", self.kind),
            )
        })?;
        // The first key is 0, which is no handle; the last one is never handed out.
        Ok(key + 1)
    }

    pub(crate) fn get(&self, handle: u64) -> Result<Arc<T>, Fault> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let value = handle.checked_sub(1).and_then(|key| table.get(key)).cloned();
        value.ok_or_else(|| self.unknown(handle))
    }

    /// Takes a value out if `may` agrees; its handle is unknown from then on.
    pub(crate) fn remove(
        &self,
        handle: u64,
        may: impl FnOnce(&T) -> Result<(), Fault>,
    ) -> Result<Arc<T>, Fault> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let key = handle.checked_sub(1).ok_or_else(|| self.unknown(handle))?;
        may(table.get(key).ok_or_else(|| self.unknown(handle))?)?;
        table.remove(key).ok_or_else(|| self.unknown(handle))
    }

    #[cold]
    pub(crate) fn unknown(&self, handle: u64) -> Fault {
        let kind = self.kind;
        Fault::new(
            strandline_status::UNKNOWN_HANDLE,
            format_args!("{handle:#x} is no {kind}, or one that was destroyed"),
        )
    }
}
