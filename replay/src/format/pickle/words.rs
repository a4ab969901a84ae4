//! Strings as numbers: those that matter to a snapshot's reader have names.

/// A string: one of those that matter, or an interned or forgotten other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Word(pub(super) u32);

macro_rules! words {
    ($($name:ident = $text:literal),* $(,)?) => {
        #[allow(non_camel_case_types, dead_code, clippy::upper_case_acronyms, reason = "one name a word")]
        #[repr(u32)]
        enum Index { $($name),*, COUNT }
        /// The words that matter, by number.
        pub(super) const KNOWN: [&str; Index::COUNT as usize] = [$($text),*];
        #[allow(dead_code, reason = "some are known only so that they can be told by name")]
        impl Word {
            $(#[doc = concat!("`", $text, "`")] pub(crate) const $name: Self = Self(Index::$name as u32);)*
        }
    };
}

words! {
    DEVICE_TRACES = "device_traces",
    SEGMENTS = "segments",
    // Keys of an entry.
    ACTION = "action",
    ADDR = "addr",
    SIZE = "size",
    STREAM = "stream",
    TIME_US = "time_us",
    DEVICE_FREE = "device_free",
    // Keys of a segment and its blocks.
    DEVICE = "device",
    ADDRESS = "address",
    BLOCKS = "blocks",
    STATE = "state",
    REQUESTED_SIZE = "requested_size",
    TOTAL_SIZE = "total_size",
    // Keys of a snapshot that are counted and told.
    HOST_TRACES = "host_traces",
    HOST_SEGMENTS = "host_segments",
    EXTERNAL_ANNOTATIONS = "external_annotations",
    OVERFLOWED = "trace_alloc_overflowed",
    // Values.
    ALLOC = "alloc",
    FREE_REQUESTED = "free_requested",
    FREE_COMPLETED = "free_completed",
    SEGMENT_ALLOC = "segment_alloc",
    SEGMENT_FREE = "segment_free",
    SEGMENT_MAP = "segment_map",
    SEGMENT_UNMAP = "segment_unmap",
    SNAPSHOT = "snapshot",
    WORKSPACE_SNAPSHOT = "workspace_snapshot",
    OOM = "oom",
    USER_DEFINED = "user_defined",
    ACTIVE_ALLOCATED = "active_allocated",
    ACTIVE_AWAITING_FREE = "active_awaiting_free",
    ACTIVE_PENDING_FREE = "active_pending_free",
    INACTIVE = "inactive",
}

/// Keys below this number are kept in dictionaries.
pub(super) const KEYS: u32 = Index::ALLOC as u32;
/// A string that is not remembered.
pub(super) const FORGOTTEN: Word = Word(u32::MAX);

impl Word {
    /// Its text, if it is one of the known.
    pub(crate) fn known(self) -> Option<&'static str> {
        KNOWN.get(self.0 as usize).copied()
    }
}
