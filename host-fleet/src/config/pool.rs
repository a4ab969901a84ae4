//! `serve --pool pool.toml`: the pool that is lent, and the rules of lending.

use super::{ConfigError, read};
use crate::owner::{Fence, OwnerOptions};
use clap::ValueEnum;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use strandline_core::fleet::Peer;
use strandline_core::pool::fixed_block::{FixedBlockPool, FixedBlockPoolConfig};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::passthrough::{PassthroughPool, PassthroughPoolConfig};
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolError, PoolHost};
use strandline_replay::size::Bytes;

/// Kinds of pools that can be lent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Blocks of any size.
    #[default]
    Tlsf,
    /// Blocks of one size, which `block` says.
    Fixed,
    /// A slab for each block.
    Passthrough,
}

/// What makes sure that a lost member touches memory no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FencingKind {
    /// Its process is ended, if it has mapped slabs: members of this machine.
    #[default]
    Kill,
    /// Its lease is trusted: members whose touches are bounded in time.
    Lease,
}

impl From<FencingKind> for Fence {
    fn from(kind: FencingKind) -> Self {
        match kind {
            FencingKind::Kill => Self::Kill,
            FencingKind::Lease => Self::Lease,
        }
    }
}

/// The file. Sizes are written like `512MiB`, or as bytes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PoolFile {
    /// The pool. `tlsf` if it is not said.
    #[serde(default)]
    pub kind: Kind,
    /// Bytes that are lent at most.
    pub capacity: Bytes,
    /// Bytes of a slab: 64 MiB, or the capacity, if that is less.
    pub slab: Option<Bytes>,
    /// Bytes of a block of a `fixed` pool.
    pub block: Option<Bytes>,
    /// Bytes of each peer, unless `budgets` or the list of the admitted has others. Without, as many as there are.
    pub budget: Option<Bytes>,
    /// Bytes of single peers, by their numbers.
    #[serde(default)]
    pub budgets: BTreeMap<String, Bytes>,
    /// What makes sure that a lost member touches memory no more. `kill` if it is not said.
    #[serde(default)]
    pub fencing: FencingKind,
    /// Seconds for which a member is there after its latest word.
    #[serde(default = "ten")]
    pub lease_seconds: u64,
    /// Members at once.
    pub members: Option<usize>,
    /// Axes of one member.
    pub axes: Option<usize>,
}

const fn ten() -> u64 {
    10
}

impl PoolFile {
    /// A pool of blocks of any size, which fences by ending processes.
    #[must_use]
    pub fn of(capacity: Bytes) -> Self {
        Self {
            kind: Kind::Tlsf,
            capacity,
            slab: None,
            block: None,
            budget: None,
            budgets: BTreeMap::new(),
            fencing: FencingKind::Kill,
            lease_seconds: ten(),
            members: None,
            axes: None,
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`ConfigError`], with the line.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file: Self = read(path)?;
        match file.wrong() {
            Some(what) => Err(ConfigError::of(path, what)),
            None => Ok(file),
        }
    }

    /// What no pool can be made of.
    fn wrong(&self) -> Option<String> {
        if self.capacity.0 == 0 || self.slab() == 0 {
            return Some("`capacity` and `slab` are above 0".into());
        }
        if self.slab() > self.capacity.0 {
            return Some("`slab` is more than `capacity`".into());
        }
        if (self.kind == Kind::Fixed) != self.block.is_some() {
            return Some("`block` is for `kind = \"fixed\"`, which needs it".into());
        }
        if !(1..86_400).contains(&self.lease_seconds) {
            return Some("`lease-seconds` is at least 1 and less than a day".into());
        }
        let name = self.budgets.keys().find(|name| number(name).is_none())?;
        Some(format!("`budgets` are by the numbers of peers: {name:?} is none"))
    }

    /// Bytes of a slab.
    #[must_use]
    pub fn slab(&self) -> u64 {
        self.slab.map_or_else(|| self.capacity.0.min(64 << 20), |slab| slab.0)
    }

    /// The pool, over this memory.
    ///
    /// # Errors
    /// [`PoolError`] for sizes that the pool does not take.
    pub fn build(&self, host: PoolHost) -> Result<Arc<dyn Pool>, PoolError> {
        let growth = Growth::slabs_of(self.slab());
        Ok(match self.kind {
            Kind::Tlsf => {
                Arc::new(TlsfPool::new(host, TlsfPoolConfig { growth, ..Default::default() })?)
            }
            Kind::Fixed => {
                let block_size = self.block.map_or(0, |block| block.0);
                let config = FixedBlockPoolConfig { block_size, growth, ..Default::default() };
                Arc::new(FixedBlockPool::new(host, config)?)
            }
            Kind::Passthrough => {
                Arc::new(PassthroughPool::new(host, PassthroughPoolConfig::default())?)
            }
        })
    }

    /// Sets an owner up as the file says.
    pub fn apply(&self, options: &mut OwnerOptions) {
        options.fence = self.fencing.into();
        options.config.lease = self.lease_seconds * 1_000_000_000;
        let limits = &mut options.config.limits;
        limits.budget = self.budget.map_or(limits.budget, |budget| budget.0);
        limits.members = self.members.unwrap_or(limits.members);
        limits.axes = self.axes.unwrap_or(limits.axes);
        let budgets = self.budgets.iter();
        let budgets = budgets.filter_map(|(name, budget)| Some((number(name)?, budget.0)));
        options.config.budgets.extend(budgets);
    }
}

fn number(name: &str) -> Option<Peer> {
    name.parse().ok().map(Peer)
}
