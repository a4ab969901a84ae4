//! Who is admitted: the common names of certificates, the numbers that go with them, and budgets.

use super::{ConfigError, read};
use crate::link::Admitted;
use crate::owner::OwnerOptions;
use core::fmt;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;
use strandline_core::fleet::Peer;
use strandline_replay::size::Bytes;

/// One that is admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The common name of its certificate.
    pub name: String,
    /// Its number, under which it speaks and nobody else does.
    pub number: u64,
    /// Bytes that it may have. Without, as many as everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Bytes>,
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Who is admitted.
    #[serde(default, rename = "peer")]
    pub peers: Vec<Entry>,
}

/// Why somebody was not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessError {
    /// Another has the number.
    Number {
        /// The number.
        number: u64,
        /// Who has it.
        of: String,
    },
    /// Nobody of this name is admitted.
    Unknown(String),
    /// A name without letters, or with characters that no name of a certificate needs.
    Name(String),
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { number, of } => write!(f, "{of:?} has the number {number}"),
            Self::Unknown(name) => write!(f, "nobody of the name {name:?} is admitted"),
            Self::Name(name) => write!(f, "{name:?} cannot be the common name of a certificate"),
        }
    }
}

impl core::error::Error for AccessError {}

const HEAD: &str = "\
# Who may join a fleet: the common names of certificates, and the numbers under which they speak.
# Written by `strandline-fleet admit`, read by `strandline-fleet serve --access`. Budgets are bytes.

";

impl Access {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ConfigError`]: with the line, or with the name or number that stands there twice.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file: Self = read(path)?;
        let mut known = Self::default();
        for Entry { name, number, budget } in file.peers {
            if known.peers.iter().any(|peer| peer.name == name) {
                return Err(ConfigError::of(path, format!("{name:?} stands there twice")));
            }
            let admitted = known.admit(&name, Some(number), budget);
            admitted.map_err(|error| ConfigError::of(path, error.to_string()))?;
        }
        Ok(known)
    }

    /// Reads the file, or begins one.
    ///
    /// # Errors
    /// As [`read`](Self::read), but for a file that is not there.
    pub fn read_or_new(path: &Path) -> Result<Self, ConfigError> {
        if path.exists() { Self::read(path) } else { Ok(Self::default()) }
    }

    /// Admits the holder of a certificate, or changes its number and budget; its number. Without a number it keeps its own, or gets the least
    /// that nobody has.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn admit(
        &mut self,
        name: &str,
        number: Option<u64>,
        budget: Option<Bytes>,
    ) -> Result<u64, AccessError> {
        if name.is_empty() || name.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
            return Err(AccessError::Name(name.into()));
        }
        let others = || self.peers.iter().filter(|peer| peer.name != name);
        let own = self.peers.iter().find(|peer| peer.name == name);
        let free = || (1..).find(|free| others().all(|peer| peer.number != *free)).unwrap_or(0);
        let number = number.or(own.map(|own| own.number)).unwrap_or_else(free);
        if let Some(other) = others().find(|peer| peer.number == number) {
            return Err(AccessError::Number { number, of: other.name.clone() });
        }
        let budget = budget.or(own.and_then(|own| own.budget));
        let entry = Entry { name: name.into(), number, budget };
        match self.peers.iter_mut().find(|peer| peer.name == name) {
            Some(own) => *own = entry,
            None => self.peers.push(entry),
        }
        Ok(number)
    }

    /// Admits somebody no more.
    ///
    /// # Errors
    /// [`AccessError::Unknown`].
    pub fn remove(&mut self, name: &str) -> Result<(), AccessError> {
        let before = self.peers.len();
        self.peers.retain(|peer| peer.name != name);
        if self.peers.len() == before { Err(AccessError::Unknown(name.into())) } else { Ok(()) }
    }

    /// Writes the file: whoever reads it meanwhile finds the old one or the new one.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn write(&self, path: &Path) -> Result<(), ConfigError> {
        let text =
            toml::to_string(self).map_err(|error| ConfigError::of(path, error.to_string()))?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let write = || {
            let mut file = std::fs::File::create(&beside)?;
            file.write_all(HEAD.as_bytes())?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, path)
        };
        write().map_err(|error| ConfigError::io(path, &error))
    }

    /// Admits those of the file to an owner, and nobody else.
    pub fn apply(&self, options: &mut OwnerOptions) {
        let admitted =
            |peer: &Entry| Admitted { common_name: peer.name.clone(), peer: peer.number };
        options.admitted = Some(self.peers.iter().map(admitted).collect());
        let budgets = self.peers.iter();
        let budgets = budgets.filter_map(|peer| Some((Peer(peer.number), peer.budget?.0)));
        options.config.budgets.extend(budgets);
    }
}
