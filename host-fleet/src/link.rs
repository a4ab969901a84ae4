//! How the processes of a fleet reach each other.

use crate::FleetError;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The files of TLS: both sides show a certificate.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The authority's certificate, by which the other side's is judged.
    pub authority: PathBuf,
    /// This side's certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A peer and the common name of the certificate that it must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The certificate's common name.
    pub common_name: String,
    /// The peer's number.
    pub peer: u64,
}

/// Where the owner listens, or where a member finds it.
///
/// Plain TCP is for this machine: an endpoint of another host, or one that listens to other hosts, is refused unless
/// [`insecure`](Self::insecure) is said.
#[derive(Clone, Debug)]
pub struct Link {
    endpoint: String,
    insecure: bool,
    tls: Option<Tls>,
}

impl Link {
    /// An endpoint as zenoh writes it: `tcp/127.0.0.1:7447`, `tls/owner.example:7447`, `unixsock-stream//run/fleet.sock`.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), insecure: false, tls: None }
    }

    /// Plain TCP may leave the machine: whoever can reach the port can join, read and disturb.
    #[must_use]
    pub const fn insecure(mut self, yes: bool) -> Self {
        self.insecure = yes;
        self
    }

    /// The certificates for `tls/`.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn check(&self) -> Result<(), FleetError> {
        let endpoint = || self.endpoint.clone();
        let (transport, address) = self
            .endpoint
            .split_once('/')
            .ok_or_else(|| FleetError::Endpoint { endpoint: endpoint() })?;
        match transport {
            "unixsock-stream" => Ok(()),
            "tls" if self.tls.is_none() => Err(FleetError::NoCertificates),
            "tls" => Ok(()),
            "tcp" if is_loopback(address) => Ok(()),
            "tcp" if self.insecure => {
                log::warn!(
                    "{}: plain TCP beyond this machine, as asked: whoever reaches it can join and disturb",
                    self.endpoint
                );
                Ok(())
            }
            "tcp" => Err(FleetError::Insecure { endpoint: endpoint() }),
            _ => Err(FleetError::Endpoint { endpoint: endpoint() }),
        }
    }

    /// zenoh's configuration of one that listens, and routes between those who connect.
    pub(crate) fn listen(
        &self,
        admitted: Option<(&str, &[Admitted])>,
    ) -> Result<zenoh::Config, FleetError> {
        self.check()?;
        let mut config = base("router")?;
        set(&mut config, "listen/endpoints", &format!("[{:?}]", self.endpoint))?;
        if let Some(tls) = &self.tls {
            tls.set(&mut config, "listen")?;
        }
        if let Some((prefix, admitted)) = admitted {
            set(&mut config, "access_control", &access_control(prefix, admitted))?;
        }
        Ok(config)
    }

    /// zenoh's configuration of one that connects.
    pub(crate) fn connect(&self) -> Result<zenoh::Config, FleetError> {
        self.check()?;
        let mut config = base("client")?;
        set(&mut config, "connect/endpoints", &format!("[{:?}]", self.endpoint))?;
        if let Some(tls) = &self.tls {
            tls.set(&mut config, "connect")?;
        }
        Ok(config)
    }
}

impl Tls {
    /// For the side that listens or the one that connects.
    fn set(&self, config: &mut zenoh::Config, side: &str) -> Result<(), FleetError> {
        let own = [("certificate", &self.certificate), ("private_key", &self.key)];
        for (name, path) in own {
            set(config, &format!("transport/link/tls/{side}_{name}"), &quoted(path))?;
        }
        set(config, "transport/link/tls/root_ca_certificate", &quoted(&self.authority))?;
        // The listening side asks for a certificate when both have this.
        set(config, "transport/link/tls/enable_mtls", "true")
    }
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback())
}

fn base(mode: &str) -> Result<zenoh::Config, FleetError> {
    let mut config = zenoh::Config::default();
    set(&mut config, "mode", &format!("{mode:?}"))?;
    // Nobody is looked for, and nobody is told: endpoints are said.
    set(&mut config, "scouting/multicast/enabled", "false")?;
    set(&mut config, "scouting/gossip/enabled", "false")?;
    Ok(config)
}

fn set(config: &mut zenoh::Config, key: &str, value: &str) -> Result<(), FleetError> {
    let refused =
        |error| FleetError::Io(std::io::Error::other(format!("zenoh's {key} = {value}: {error}")));
    config.insert_json5(key, value).map_err(|error| refused(format!("{error:?}")))
}

/// zenoh's access control: what a peer says and asks is under its own number, and bound to its certificate.
pub(crate) fn access_control(fleet: &str, admitted: &[Admitted]) -> String {
    let mut rules = vec![
        format!(
            r#"{{"id":"hear","permission":"allow","flows":["ingress","egress"],
        "messages":["declare_subscriber","query","reply","liveliness_query","declare_liveliness_subscriber"],
        "key_exprs":["{fleet}/digest","{fleet}/status","{fleet}/peer/*/progress","{fleet}/peer/*/alive/*"]}}"#
        ),
        format!(
            r#"{{"id":"told","permission":"allow","flows":["egress"],
        "messages":["put","delete","reply","declare_queryable","liveliness_token"],
        "key_exprs":["{fleet}/**"]}}"#
        ),
    ];
    let (mut subjects, mut policies) = (Vec::new(), Vec::new());
    for Admitted { common_name, peer } in admitted {
        rules.push(format!(
            r#"{{"id":"peer-{peer}","permission":"allow","flows":["ingress"],
            "messages":["put","query","liveliness_token"],
            "key_exprs":["{fleet}/peer/{peer}/**"]}}"#
        ));
        subjects.push(format!(r#"{{"id":"peer-{peer}","cert_common_names":[{common_name:?}]}}"#));
        policies.push(format!(
            r#"{{"rules":["hear","told","peer-{peer}"],"subjects":["peer-{peer}"]}}"#
        ));
    }
    format!(
        r#"{{"enabled":true,"default_permission":"deny","rules":[{}],"subjects":[{}],"policies":[{}]}}"#,
        rules.join(","),
        subjects.join(","),
        policies.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_tcp_stays_on_this_machine() {
        for endpoint in ["tcp/127.0.0.1:7447", "tcp/[::1]:7447", "tcp/localhost:1"] {
            assert!(Link::new(endpoint).listen(None).is_ok(), "{endpoint}");
        }
        for endpoint in ["tcp/0.0.0.0:7447", "tcp/[::]:7447", "tcp/10.0.0.1:7447", "tcp/example:1"]
        {
            let refused = Link::new(endpoint).connect();
            assert!(matches!(refused, Err(FleetError::Insecure { .. })), "{endpoint}");
            assert!(Link::new(endpoint).insecure(true).connect().is_ok(), "{endpoint}");
        }
        let refused = Link::new("tls/10.0.0.1:7447").connect();
        assert!(matches!(refused, Err(FleetError::NoCertificates)));
        for endpoint in ["udp/127.0.0.1:7447", "quic/127.0.0.1:1", "127.0.0.1:7447"] {
            let refused = Link::new(endpoint).insecure(true).connect();
            assert!(matches!(refused, Err(FleetError::Endpoint { .. })), "{endpoint}");
        }
    }
}
