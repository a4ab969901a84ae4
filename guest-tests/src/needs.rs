//! What a case needs of its runner: [`Needs`].

/// What kind of pool, with its sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// Any size, in slabs of so many bytes, in granules of 256 bytes.
    Tlsf {
        /// Bytes of a slab.
        slab: u64,
    },
    /// Equal blocks, 16 to a slab.
    Fixed {
        /// Bytes of a block.
        block: u64,
    },
    /// Batches that die together; three generations.
    Arena {
        /// Bytes of a generation.
        generation: u64,
    },
    /// A slab for each.
    Passthrough,
    /// Any size, in slabs of so many bytes, by a plan of a few requests of 4 KiB: most requests stray.
    Planned {
        /// Bytes of a slab, and of the plan.
        slab: u64,
    },
}

/// A pool that a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolNeeds {
    /// Its kind.
    pub kind: PoolKind,
    /// The most bytes reserved at once.
    pub budget: u64,
    /// Its place in the set: higher is looked at first.
    pub priority: i32,
    /// The largest request that the set routes to it.
    pub max_size: u64,
    /// Looked at only for what is too large for the others.
    pub oversized: bool,
    /// Its memory may be used only to upload, and is only visible to the host; otherwise all flags.
    pub upload_only: bool,
}

impl PoolNeeds {
    /// A pool without a budget, for every size and use.
    #[must_use]
    pub const fn new(kind: PoolKind) -> Self {
        Self {
            kind,
            budget: u64::MAX,
            priority: 0,
            max_size: u64::MAX,
            oversized: false,
            upload_only: false,
        }
    }

    /// At most `bytes` reserved at once.
    #[must_use]
    pub const fn budget(mut self, bytes: u64) -> Self {
        self.budget = bytes;
        self
    }

    /// For requests of up to `bytes`.
    #[must_use]
    pub const fn up_to(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }

    /// For requests of up to `bytes`, looked at before the others.
    #[must_use]
    pub const fn first_up_to(mut self, bytes: u64) -> Self {
        self.priority = 1;
        self.max_size = bytes;
        self
    }

    /// For what is too large for the others.
    #[must_use]
    pub const fn oversized(mut self) -> Self {
        self.oversized = true;
        self
    }

    /// Memory that the host writes, for uploads only.
    #[must_use]
    pub const fn upload_only(mut self) -> Self {
        self.upload_only = true;
        self
    }
}

/// What a case needs of its runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Its pools, in this order.
    pub pools: &'static [PoolNeeds],
    /// The bytes that each pool's provider has.
    pub capacity: u64,
    /// Whether it runs work on queues: not every provider's memory can be worked on.
    pub queues: bool,
}
