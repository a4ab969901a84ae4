//! Machines of this machine: network namespaces that are joined by links, made by a test and taken away when it is over.
//!
//! ```text
//!   owner's namespace ── 10.213.N.0/24, N = 1, 2, … ── member N's namespace
//!     on one link each: a link that is down cuts one member off, and no other
//! ```

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// See the [module](self).
pub struct Net {
    name: String,
    members: u32,
}

fn ip(arguments: &str) -> Result<(), String> {
    let Output { status, stderr, .. } = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .map_err(|error| format!("there is no ip: {error}"))?;
    let said = String::from_utf8_lossy(&stderr);
    if status.success() { Ok(()) } else { Err(format!("ip {arguments}: {}", said.trim())) }
}

impl Net {
    /// An owner's namespace and some members'.
    ///
    /// # Errors
    /// Why there may be none: no `ip`, no permission, or a kernel without.
    ///
    /// # Panics
    /// Anything else that fails is not a reason to leave a test out.
    pub fn new(members: u32) -> Result<Self, String> {
        let is_reason = |why: &String| {
            ["not permitted", "not supported", "Permission denied", "there is no ip"]
                .iter()
                .any(|words| why.contains(words))
        };
        match Self::make(members) {
            Err(why) if !is_reason(&why) => panic!("{why}"),
            made => made,
        }
    }

    fn make(members: u32) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let net = Self { name: format!("sl{}-{count}", std::process::id()), members };
        ip(&format!("netns add {}", net.owner()))?;
        for number in 1..=members {
            let (owner, member) = (net.owner(), net.member(number));
            ip(&format!("netns add {member}"))?;
            ip(&format!(
                "link add m{number} netns {owner} type veth peer name wire netns {member}"
            ))?;
            for (side, link, host) in
                [(&owner, format!("m{number}"), 1), (&member, "wire".into(), 2)]
            {
                ip(&format!("-n {side} addr add 10.213.{number}.{host}/24 dev {link}"))?;
                ip(&format!("-n {side} link set {link} up"))?;
                ip(&format!("-n {side} link set lo up"))?;
            }
        }
        Ok(net)
    }

    fn owner(&self) -> String {
        format!("{}-o", self.name)
    }

    fn member(&self, number: u32) -> String {
        format!("{}-{number}", self.name)
    }

    /// A command in the owner's namespace.
    pub fn at_owner(&self, program: &str) -> Command {
        within(&self.owner(), program)
    }

    /// A command in a member's namespace.
    pub fn at_member(&self, number: u32, program: &str) -> Command {
        within(&self.member(number), program)
    }

    /// Where a member finds an owner that listens everywhere at this port.
    pub fn endpoint(number: u32, port: u16) -> String {
        format!("tcp/10.213.{number}.1:{port}")
    }

    /// Cuts a member's link, or mends it.
    pub fn set_link(&self, number: u32, is_up: bool) {
        let state = if is_up { "up" } else { "down" };
        ip(&format!("-n {} link set m{number} {state}", self.owner())).unwrap();
    }
}

fn within(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in (1..=self.members).map(|number| self.member(number)).chain([self.owner()]) {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}
