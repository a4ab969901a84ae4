//! What can go wrong when a fleet is opened or joined.

use core::fmt;
use std::io;
use strandline_core::fleet::Ending;

/// Why a fleet could not be opened, joined or used.
#[derive(Debug)]
#[non_exhaustive]
pub enum FleetError {
    /// The name of a fleet is empty, or has something else than letters, digits, `-` and `_`.
    Name(String),
    /// Plain TCP to or from another machine, without [`Link::insecure`](crate::Link::insecure).
    Insecure {
        /// The endpoint.
        endpoint: String,
    },
    /// An endpoint of a transport that is not built in, or that cannot be read.
    Endpoint {
        /// The endpoint.
        endpoint: String,
    },
    /// TLS without certificates.
    NoCertificates,
    /// Another member of this process, or of another with the same number, has the number already, or the fleet is full.
    Refused(Ending),
    /// The owner did not answer in time.
    NoAnswer,
    /// zenoh's own error.
    Zenoh(zenoh::Error),
    /// The system's.
    Io(io::Error),
}

impl fmt::Display for FleetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => {
                write!(f, "{name:?} is no name of a fleet: letters, digits, `-` and `_` only")
            }
            Self::Insecure { endpoint } => write!(
                f,
                "{endpoint} is plain TCP beyond this machine: use tls/ with certificates, or say that insecure is meant"
            ),
            Self::Endpoint { endpoint } => {
                write!(f, "{endpoint}: tcp/, tls/ and unixsock-stream/ are what there is")
            }
            Self::NoCertificates => {
                f.write_str("tls/ needs a certificate, its key and the authority's")
            }
            Self::Refused(ending) => write!(f, "the owner does not take this member: {ending:?}"),
            Self::NoAnswer => f.write_str("the owner of the fleet does not answer"),
            Self::Zenoh(error) => write!(f, "zenoh: {error}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for FleetError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<zenoh::Error> for FleetError {
    fn from(error: zenoh::Error) -> Self {
        Self::Zenoh(error)
    }
}

impl From<io::Error> for FleetError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
