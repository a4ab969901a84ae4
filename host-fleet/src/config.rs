//! What the command reads from files: the pool that is lent, and who is admitted.
//!
//! ```toml
//! # pool.toml                            # access.toml, which `strandline-fleet admit` writes
//! kind = "tlsf"                          [[peer]]
//! capacity = "4GiB"                      name = "first"
//! slab = "64MiB"                         number = 1
//! budget = "1GiB"                        budget = "2GiB"
//! fencing = "lease"
//! lease-seconds = 10
//! ```
//!
//! Both are TOML. A key that is not known is an error, and an error names the file and the line.

mod access;
mod pool;

pub use access::{Access, AccessError, Entry};
pub use pool::{FencingKind, Kind, PoolFile};

use core::fmt;
use core::ops::Range;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};

/// A file that cannot be read.
#[derive(Debug)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// The line at which it is wrong, counted from 1, if it is a line.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
}

impl ConfigError {
    fn io(path: &Path, error: &io::Error) -> Self {
        Self { path: path.to_owned(), line: None, what: error.to_string() }
    }

    fn of(path: &Path, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: None, what: what.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl core::error::Error for ConfigError {}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::io(path, &error))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map(|Range { start, .. }| {
            let before = text.as_bytes().iter().take(start);
            before.filter(|&&byte| byte == b'\n').count() + 1
        });
        ConfigError { path: path.to_owned(), line, what: error.message().to_owned() }
    })
}

#[cfg(test)]
mod tests;
