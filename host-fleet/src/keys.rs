//! The key expressions of a fleet: who says what, by where it is said.
//!
//! ```text
//!   strandline/FLEET/digest             the owner, to all
//!   strandline/FLEET/status             asked by anybody, answered by the owner
//!   strandline/FLEET/peer/N/ask         asked by peer N, answered by the owner
//!   strandline/FLEET/peer/N/progress    peer N, to all
//!   strandline/FLEET/peer/N/alive/K     liveliness of peer N's process K
//! ```
//!
//! The number is the peer's, and access control binds it to a certificate.

use crate::FleetError;
use strandline_core::fleet::Peer;

/// The keys of one fleet.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(fleet: &str) -> Result<Self, FleetError> {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if fleet.is_empty() || !fleet.chars().all(is_fine) {
            return Err(FleetError::Name(fleet.into()));
        }
        Ok(Self { prefix: format!("strandline/{fleet}") })
    }

    /// What all keys of the fleet begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn digest(&self) -> String {
        format!("{}/digest", self.prefix)
    }

    pub(crate) fn status(&self) -> String {
        format!("{}/status", self.prefix)
    }

    /// What a peer says, or all of them if `None`.
    pub(crate) fn peer(&self, peer: Option<Peer>, what: &str) -> String {
        match peer {
            Some(Peer(number)) => format!("{}/peer/{number}/{what}", self.prefix),
            None => format!("{}/peer/*/{what}", self.prefix),
        }
    }

    /// Which process of its peer an `alive` is of.
    pub(crate) fn process_of(&self, key: &str) -> Option<(Peer, u64)> {
        let (_, nonce) = key.rsplit_once("/alive/")?;
        Some((self.peer_of(key)?, nonce.parse().ok()?))
    }

    /// Whose key it is.
    pub(crate) fn peer_of(&self, key: &str) -> Option<Peer> {
        let rest = key.strip_prefix(&self.prefix)?.strip_prefix("/peer/")?;
        let (number, _) = rest.split_once('/')?;
        // One spelling only, or one peer could pass for two.
        let peer = number.parse().ok().map(Peer)?;
        (peer.0.to_string() == number).then_some(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_peer() {
        let keys = Keys::new("gpu-pool_1").unwrap();
        let key = keys.peer(Some(Peer(17)), "ask");
        assert_eq!(key, "strandline/gpu-pool_1/peer/17/ask");
        assert_eq!(keys.peer_of(&key), Some(Peer(17)));
        let alive = keys.peer(Some(Peer(17)), "alive/99");
        assert_eq!(keys.process_of(&alive), Some((Peer(17), 99)));
        assert_eq!(keys.process_of(&key), None);
        for other in [
            "strandline/gpu-pool_1/peer/017/ask",
            "strandline/other/peer/17/ask",
            "x",
            "strandline/gpu-pool_1/peer/17",
        ] {
            assert_eq!(keys.peer_of(other), None, "{other}");
        }
        for name in ["", "a/b", "*", "a b"] {
            assert!(matches!(Keys::new(name), Err(FleetError::Name(_))), "{name}");
        }
    }
}
