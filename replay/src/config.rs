//! Pool configurations as files: what `fit` writes and `replay --config` reads.
//!
//! ```toml
//! capacity = 98566144            # bytes, or a text like "94MiB"
//!
//! [[pools]]                      # one pool, or several that share the sizes between them
//! kind = "tlsf"
//! granule = 64
//! size-classes = 32
//! placement = { search = "head", threshold = "3MiB", large = "older", small = "bigger" }
//! ```
//!
//! TOML or JSON, told by the content: a JSON object begins with `{`, which no TOML file does. Unknown keys are errors: a
//! misspelt option must not be an option that silently does nothing.

use crate::size::Bytes;
use core::fmt;
use serde::{Deserialize, Serialize};
use strandline_core::offset::tlsf::{
    Carve as CoreCarve, Placement as CorePlacement, Search, Tie as CoreTie,
};

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The provider refuses slabs beyond this; none is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Bytes>,
    /// The most bytes reserved at once, in each pool; none is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Bytes>,
    /// The pools; a request goes to the one with the smallest `up-to` that takes it.
    pub pools: Vec<PoolSpec>,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PoolSpec {
    /// What kind of pool.
    pub kind: Kind,
    /// Takes requests of up to this many bytes; none is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<Bytes>,
    /// Bytes of an ordinary slab; none follows from the capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slab: Option<Bytes>,
    /// TLSF: offsets and sizes are multiples of this, a power of two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granule: Option<Bytes>,
    /// TLSF: size classes for each power of two: 8, 16, 32 or 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_classes: Option<u32>,
    /// TLSF: where requests are placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// TLSF: what merges with what when a block is freed.
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub policy: Policy,
    /// Fixed blocks: bytes of a block; none is the largest block of the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<Bytes>,
}

impl PoolSpec {
    /// A pool of a kind with everything else by default.
    #[must_use]
    pub const fn of(kind: Kind) -> Self {
        Self {
            kind,
            up_to: None,
            slab: None,
            granule: None,
            size_classes: None,
            placement: None,
            policy: Policy::Readiness,
            block: None,
        }
    }
}

/// In a line, for reports: what is not the default.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, pool) in self.pools.iter().enumerate() {
            write!(f, "{}{}", if number > 0 { "; " } else { "" }, pool.kind)?;
            if let Some(up_to) = pool.up_to {
                write!(f, " up to {up_to}")?;
            }
            if let Some(block) = pool.block {
                write!(f, ", blocks of {block}")?;
            }
            if let Some(granule) = pool.granule {
                write!(f, ", granule {granule}")?;
            }
            if let Some(classes) = pool.size_classes {
                write!(f, ", {classes} size classes")?;
            }
            if let Some(placement) = pool.placement {
                write!(f, ", {placement}")?;
            }
            if pool.policy == Policy::Eager {
                f.write_str(", eager")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.search {
            SearchKind::Head => f.write_str("first that fits")?,
            SearchKind::Best => {
                let (scan, tie) = (self.scan.unwrap_or(SCAN), self.tie.unwrap_or_default());
                write!(f, "best of {scan} (tie: {})", format!("{tie:?}").to_lowercase())?;
            }
        }
        let [large, small] = [self.large, self.small].map(|end| format!("{end:?}").to_lowercase());
        write!(f, ", from {} {large}, below {small}", self.threshold)
    }
}

/// What kind of pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Any size.
    Tlsf,
    /// Blocks of one size.
    Fixed,
    /// Batches that die together.
    Arena,
    /// One slab a block.
    Passthrough,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tlsf => "tlsf",
            Self::Fixed => "fixed",
            Self::Arena => "arena",
            Self::Passthrough => "passthrough",
        })
    }
}

/// What merges with what when a block is freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Only blocks that wait for the same, or for nothing: merging never makes a ready block wait.
    #[default]
    Readiness,
    /// Every free neighbour at once, joining what they wait for. Here to be compared with.
    Eager,
}

impl Policy {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Blocks that `best` looks at when the file does not say.
const SCAN: u16 = 16;

/// Where a TLSF pool places requests: see [`strandline_core::offset::tlsf::Placement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Placement {
    /// Which free block.
    pub search: SearchKind,
    /// With `best`: blocks of a bin that are looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<u16>,
    /// With `best`: which of several of equal size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tie: Option<Tie>,
    /// Bytes from which a request follows `large`.
    #[serde(default)]
    pub threshold: Bytes,
    /// Which end large requests are cut from.
    #[serde(default)]
    pub large: Carve,
    /// Which end the others are cut from.
    #[serde(default)]
    pub small: Carve,
}

/// Which free block a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SearchKind {
    /// The first that fits: the fastest.
    Head,
    /// The smallest of some that fit.
    Best,
}

/// Which of several free blocks of equal size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is core's variant of the same name, which is documented")]
pub enum Tie {
    #[default]
    Low,
    High,
    First,
    Last,
}

/// Which end of a free block a request is cut from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is core's variant of the same name, which is documented")]
pub enum Carve {
    #[default]
    Low,
    High,
    Older,
    Younger,
    Bigger,
    Smaller,
    Similar,
}

impl Placement {
    /// The pool's form of it. A scan that is not given is 16 blocks.
    #[must_use]
    pub fn to_core(self) -> CorePlacement {
        CorePlacement {
            search: match self.search {
                SearchKind::Head => Search::Head,
                SearchKind::Best => Search::Best {
                    scan: self.scan.unwrap_or(SCAN),
                    tie: match self.tie.unwrap_or_default() {
                        Tie::Low => CoreTie::Low,
                        Tie::High => CoreTie::High,
                        Tie::First => CoreTie::First,
                        Tie::Last => CoreTie::Last,
                    },
                },
            },
            threshold: self.threshold.0,
            large: self.large.to_core(),
            small: self.small.to_core(),
        }
    }
}

impl From<CorePlacement> for Placement {
    fn from(core: CorePlacement) -> Self {
        let (search, scan, tie) = match core.search {
            Search::Head => (SearchKind::Head, None, None),
            Search::Best { scan, tie } => {
                let tie = match tie {
                    CoreTie::Low => Tie::Low,
                    CoreTie::High => Tie::High,
                    CoreTie::First => Tie::First,
                    CoreTie::Last => Tie::Last,
                };
                (SearchKind::Best, Some(scan), Some(tie))
            }
        };
        Self {
            search,
            scan,
            tie,
            threshold: Bytes(core.threshold),
            large: core.large.into(),
            small: core.small.into(),
        }
    }
}

impl Carve {
    fn to_core(self) -> CoreCarve {
        match self {
            Self::Low => CoreCarve::Low,
            Self::High => CoreCarve::High,
            Self::Older => CoreCarve::Older,
            Self::Younger => CoreCarve::Younger,
            Self::Bigger => CoreCarve::Bigger,
            Self::Smaller => CoreCarve::Smaller,
            Self::Similar => CoreCarve::Similar,
        }
    }
}

impl From<CoreCarve> for Carve {
    fn from(core: CoreCarve) -> Self {
        match core {
            CoreCarve::Low => Self::Low,
            CoreCarve::High => Self::High,
            CoreCarve::Older => Self::Older,
            CoreCarve::Younger => Self::Younger,
            CoreCarve::Bigger => Self::Bigger,
            CoreCarve::Smaller => Self::Smaller,
            CoreCarve::Similar => Self::Similar,
        }
    }
}

/// A configuration file that cannot be used: where and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// 1-based, where it is known.
    pub line: Option<usize>,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads TOML or JSON and checks it.
    ///
    /// # Errors
    /// The text is neither, has an unknown key or a value out of range.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| ConfigError {
                line: Some(error.line()),
                message: error.to_string(),
            })?
        } else {
            toml::from_str(text).map_err(|error| ConfigError {
                line: error
                    .span()
                    .map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count()),
                message: error.message().to_owned(),
            })?
        };
        config.check()?;
        Ok(config)
    }

    /// Checks what the form of the file does not.
    ///
    /// # Errors
    /// A value is out of range; the message says which and what it may be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |message: String| Err(ConfigError { line: None, message });
        if self.pools.is_empty() {
            return wrong("no pool: add a [[pools]] section with a kind".to_owned());
        }
        for (number, pool) in (1..).zip(&self.pools) {
            let classes = pool.size_classes;
            if classes.is_some_and(|classes| !matches!(classes, 8 | 16 | 32 | 64)) {
                return wrong(format!("pool {number}: size-classes must be 8, 16, 32 or 64"));
            }
            if pool.granule.is_some_and(|granule| !granule.0.is_power_of_two()) {
                return wrong(format!(
                    "pool {number}: granule must be a power of two, like 64 or 256"
                ));
            }
            for (name, value) in [("slab", pool.slab), ("block", pool.block), ("up-to", pool.up_to)]
            {
                if value == Some(Bytes(0)) {
                    return wrong(format!("pool {number}: {name} must be above 0"));
                }
            }
        }
        Ok(())
    }

    /// The configuration as TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Plain data with text keys has a TOML form; sizes choose theirs so that they fit.
        toml::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let config = Config {
            capacity: Some(Bytes(98_566_144)),
            budget: Some(Bytes(u64::MAX)),
            pools: vec![
                PoolSpec {
                    up_to: Some(Bytes(4096)),
                    granule: Some(Bytes(16)),
                    size_classes: Some(64),
                    policy: Policy::Eager,
                    placement: Some(
                        CorePlacement {
                            search: Search::Best { scan: 8, tie: CoreTie::Last },
                            ..CorePlacement::PACKED
                        }
                        .into(),
                    ),
                    ..PoolSpec::of(Kind::Tlsf)
                },
                PoolSpec { block: Some(Bytes(1 << 21)), ..PoolSpec::of(Kind::Fixed) },
            ],
        };
        let text = config.to_toml();
        assert_eq!(Config::parse(&text), Ok(config.clone()), "{text}");
        let json = serde_json::to_string_pretty(&config).unwrap();
        assert_eq!(Config::parse(&json), Ok(config));
    }

    #[test]
    fn placements_survive_the_way_there_and_back() {
        for large in CoreCarve::ALL {
            for tie in CoreTie::ALL {
                let core = CorePlacement {
                    search: Search::Best { scan: 3, tie },
                    large,
                    ..CorePlacement::FAST
                };
                assert_eq!(Placement::from(core).to_core(), core);
            }
        }
        assert_eq!(Placement::from(CorePlacement::PACKED).to_core(), CorePlacement::PACKED);
    }

    #[test]
    fn the_example_of_the_documentation_is_read() {
        let text = "capacity = \"94MiB\"\n[[pools]]\nkind = \"tlsf\"\ngranule = 64\nsize-classes = 32\n\
                    placement = { search = \"head\", threshold = \"3MiB\", large = \"older\", small = \"bigger\" }\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.capacity, Some(Bytes(94 << 20)));
        assert_eq!(config.pools[0].placement.unwrap().to_core(), CorePlacement::PACKED);
    }

    #[test]
    fn a_line_says_what_is_not_the_default() {
        assert_eq!(
            Config { pools: vec![PoolSpec::of(Kind::Fixed)], ..Config::default() }.to_string(),
            "fixed"
        );
        let placement = CorePlacement {
            search: Search::Best { scan: 16, tie: CoreTie::Last },
            small: CoreCarve::Similar,
            ..CorePlacement::PACKED
        };
        let small = PoolSpec { up_to: Some(Bytes(4096)), ..PoolSpec::of(Kind::Tlsf) };
        let large = PoolSpec {
            size_classes: Some(16),
            placement: Some(placement.into()),
            ..PoolSpec::of(Kind::Tlsf)
        };
        let config = Config { pools: vec![small, large], ..Config::default() };
        assert_eq!(
            config.to_string(),
            "tlsf up to 4096 B; tlsf, 16 size classes, best of 16 (tie: last), from 3.00 MiB older, below similar"
        );
    }

    #[test]
    fn errors_name_the_line_or_the_value() {
        for (text, part) in [
            ("", "pools"),
            ("pools = []", "no pool"),
            ("\n\ncapasity = 1\n[[pools]]\nkind = \"tlsf\"", "line 3: unknown field `capasity`"),
            ("[[pools]]\nkind = \"slub\"", "line 2: unknown variant `slub`"),
            ("[[pools]]\nkind = \"tlsf\"\nslab = \"2 foo\"", "line 3: `2 foo` is not a size"),
            ("[[pools]]\nkind = \"tlsf\"\nslab = -1", "line 3"),
            ("[[pools]]\nkind = \"tlsf\"\nsize-classes = 7", "8, 16, 32 or 64"),
            ("[[pools]]\nkind = \"tlsf\"\ngranule = 48", "power of two"),
            ("[[pools]]\nkind = \"tlsf\"\nslab = 0", "slab must be above 0"),
            ("{\n \"pools\": [\n", "line 3"),
            ("{\"pools\": [{\"kind\": 1}]}", "line 1"),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
