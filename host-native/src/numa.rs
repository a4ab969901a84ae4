//! Memory nodes: [`MmapBuilder::numa_node`], [`memory_nodes`].
//!
//! ```text
//!   numa_node(1) ─ build ─▶ nodes of the machine: 0    ─▶ OneNode: nothing to bind, and a note
//!                                                 0, 1 ─▶ Bound: each slab by mbind, before its first page
//!                                                 0, 2 ─▶ UnknownNode
//! ```
//!
//! Binding is strict: a slab gets pages of its node or none. A node that is full shows when the pages are had: at
//! acquire where slabs are [prefaulted](MmapBuilder::prefault), as no capacity; otherwise the system ends the process at first use.
//!
//! # Safety
//! Two system calls that the wrappers in use lack. Both only take addresses of a mapping as numbers, and read or
//! write a mask or a mode on the stack.

use crate::mem::Mapping;
use crate::slab::{MmapBuilder, MmapConfigError, MmapSlabProvider};
#[cfg(target_os = "linux")]
use core::ffi::c_ulong;
use core::fmt;
use rustix::io::Errno;
use std::fs;

/// Where a provider's slabs lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// Wherever the system puts them: no node was asked for.
    Unbound,
    /// On the machine's only memory node: a node was asked for, and there is nothing to bind.
    OneNode {
        /// The node.
        node: u32,
    },
    /// Bound to this node.
    Bound {
        /// The node.
        node: u32,
    },
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbound => f.write_str("unbound"),
            Self::OneNode { node } => write!(f, "node {node}, the only one: nothing to bind"),
            Self::Bound { node } => write!(f, "bound to node {node}"),
        }
    }
}

/// More nodes than any kernel has (`MAX_NUMNODES` is at most 1,024).
const MAX_NODES: usize = 1024;

/// The machine's nodes that have memory, ascending. Node 0 alone where the system does not tell. Cost: a small
/// file is read.
#[must_use]
pub fn memory_nodes() -> Vec<u32> {
    fs::read_to_string("/sys/devices/system/node/has_memory")
        .ok()
        .and_then(|text| parse_list(&text))
        .filter(|nodes| !nodes.is_empty())
        .unwrap_or_else(|| vec![0])
}

/// Numbers and ranges as the kernel lists them: `0-1,4`.
fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut nodes = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last as usize >= MAX_NODES {
            return None;
        }
        nodes.extend(first..=last);
    }
    Some(nodes)
}

impl Placement {
    /// What becomes of the wish for a node on this machine.
    pub(crate) fn choose(wish: Option<u32>) -> Result<Self, MmapConfigError> {
        let placement = Self::among(wish, &memory_nodes())?;
        if let Self::OneNode { .. } = placement {
            log::info!("slabs: {placement}");
        }
        Ok(placement)
    }

    fn among(wish: Option<u32>, nodes: &[u32]) -> Result<Self, MmapConfigError> {
        match (wish, nodes) {
            (None, _) => Ok(Self::Unbound),
            (Some(node), _) if !nodes.contains(&node) => Err(MmapConfigError::UnknownNode { node }),
            (Some(node), [_]) => Ok(Self::OneNode { node }),
            (Some(node), _) => Ok(Self::Bound { node }),
        }
    }

    /// Binds a mapping that has no pages yet.
    pub(crate) fn apply(self, mapping: &Mapping) -> Result<(), Errno> {
        match self {
            Self::Bound { node } => bind(mapping, node),
            Self::Unbound | Self::OneNode { .. } => Ok(()),
        }
    }
}

/// A node mask with room for every node.
#[cfg(target_os = "linux")]
type Mask = [c_ulong; MAX_NODES / c_ulong::BITS as usize];

#[cfg(target_os = "linux")]
fn bind(mapping: &Mapping, node: u32) -> Result<(), Errno> {
    let mut mask: Mask = [0; _];
    let (word, bit) = (node / c_ulong::BITS, node % c_ulong::BITS);
    *mask.get_mut(word as usize).ok_or(Errno::INVAL)? |= 1 << bit;
    // The kernel reads one bit less than it is told (see the BUGS of set_mempolicy(2)).
    let bits = MAX_NODES + 1;
    let range = mapping.addresses();
    // SAFETY: the range is the body of a live mapping, whose pages this only places; the mask is alive
    // and at least as long as the bits that are read.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            range.start,
            range.len(),
            libc::MPOL_BIND as c_ulong,
            mask.as_ptr(),
            bits,
            0_usize,
        )
    };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

#[cfg(not(target_os = "linux"))]
fn bind(_mapping: &Mapping, _node: u32) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// Why the last system call failed.
#[cfg(target_os = "linux")]
fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

impl MmapBuilder {
    /// Binds slabs to a memory node of the machine. Where there is one node only, asking for it changes nothing
    /// and is noted in the log; [`MmapSlabProvider::placement`] says what became of it.
    pub const fn numa_node(mut self, node: u32) -> Self {
        self.node = Some(node);
        self
    }
}

impl MmapSlabProvider {
    /// Where its slabs lie.
    #[must_use]
    pub const fn placement(&self) -> Placement {
        self.placement
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use crate::mem::Account;
    use std::sync::Arc;

    #[test]
    fn lists_of_nodes_are_read_as_the_kernel_writes_them() {
        for (text, nodes) in [
            ("0\n", Some(vec![0])),
            ("0-3\n", Some(vec![0, 1, 2, 3])),
            ("0-1,4,6-7", Some(vec![0, 1, 4, 6, 7])),
            ("\n", Some(vec![])),
            ("0-", None),
            ("x", None),
            ("0-4000000000", None),
        ] {
            assert_eq!(parse_list(text), nodes, "{text:?}");
        }
    }

    #[test]
    fn a_wish_is_bound_noted_or_refused() {
        let unknown = Err(MmapConfigError::UnknownNode { node: 1 });
        for (wish, nodes, placement) in [
            (None, &[0, 1][..], Ok(Placement::Unbound)),
            (Some(0), &[0], Ok(Placement::OneNode { node: 0 })),
            (Some(3), &[3], Ok(Placement::OneNode { node: 3 })),
            (Some(1), &[0], unknown),
            (Some(1), &[0, 2], unknown),
            (Some(2), &[0, 2], Ok(Placement::Bound { node: 2 })),
        ] {
            assert_eq!(Placement::among(wish, nodes), placement, "{wish:?} of {nodes:?}");
        }
    }

    #[test]
    fn providers_say_where_their_slabs_lie() {
        let nodes = memory_nodes();
        assert_eq!(MmapSlabProvider::builder().build().unwrap().placement(), Placement::Unbound);
        let provider = MmapSlabProvider::builder().numa_node(nodes[0]).build().unwrap();
        let bound = matches!(provider.placement(), Placement::Bound { .. });
        assert_eq!(bound, nodes.len() > 1, "{}", provider.placement());
        let error = MmapSlabProvider::builder().numa_node(u32::MAX).build().unwrap_err();
        assert_eq!(error, MmapConfigError::UnknownNode { node: u32::MAX });
    }

    /// From `linux/mempolicy.h`.
    #[cfg(target_os = "linux")]
    const MPOL_F_ADDR: usize = 1 << 1;

    /// The mode and the nodes of the policy at an address, as the kernel has them.
    #[cfg(target_os = "linux")]
    fn policy(address: usize) -> (i32, Mask) {
        let (mut mode, mut mask): (i32, Mask) = (-1, [0; _]);
        // SAFETY: both are alive and as long as said; the address is only looked up.
        let result = unsafe {
            libc::syscall(
                libc::SYS_get_mempolicy,
                &raw mut mode,
                mask.as_mut_ptr(),
                MAX_NODES + 1,
                address,
                MPOL_F_ADDR,
            )
        };
        assert_eq!(result, 0, "{}", last_error());
        (mode, mask)
    }

    /// With one node, too, the call itself can be made, and the kernel asked what it understood.
    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_binds_what_it_is_told_to() {
        let page = rustix::param::page_size();
        let layout = Layout::new(4 * page as u64, page, page, true).unwrap();
        let mapping = Mapping::new(layout, &Arc::new(Account::new(u64::MAX)), None, false).unwrap();
        let node = memory_nodes()[0];
        match bind(&mapping, node) {
            Ok(()) => {}
            // Containers may refuse it, and kernels lack it: an error, as a provider's user would get.
            Err(error) => {
                assert!(matches!(error, Errno::PERM | Errno::NOSYS), "{error}");
                return;
            }
        }
        let mut expected: Mask = [0; _];
        expected[(node / c_ulong::BITS) as usize] = 1 << (node % c_ulong::BITS);
        for at in [mapping.addresses().start, mapping.addresses().end - 1] {
            assert_eq!(policy(at), (libc::MPOL_BIND, expected));
        }
        assert_ne!(policy((&raw const page).addr()).0, libc::MPOL_BIND, "nothing else is bound");
        mapping.touch(0, mapping.len());
        assert_eq!(bind(&mapping, MAX_NODES as u32 - 1).unwrap_err(), Errno::INVAL);
        assert_eq!(bind(&mapping, MAX_NODES as u32).unwrap_err(), Errno::INVAL);
    }
}
