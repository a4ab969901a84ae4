//! Sizes as people write and read them: `512MiB`, `1.5 GiB`, `4096`.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

const UNITS: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// A number of bytes. Reads `4096`, `64KiB`, `64K`, `1.5 GiB` (powers of 1024) and `64KB` (powers of 1000); writes the
/// largest binary unit with two decimals, like `1.50 GiB`, and plain bytes below 10 KiB.
///
/// ```
/// use strandline_replay::size::Bytes;
///
/// assert_eq!("1.5GiB".parse(), Ok(Bytes(3 << 29)));
/// assert_eq!("64 kb".parse(), Ok(Bytes(64_000)));
/// assert_eq!(Bytes(3 << 29).to_string(), "1.50 GiB");
/// assert!("-1".parse::<Bytes>().is_err());
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(into = "Written", try_from = "Written")]
pub struct Bytes(pub u64);

/// A text that is no size; says what one looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeError {
    found: String,
    too_large: bool,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.found;
        if self.too_large {
            write!(f, "`{found}` is more than 16 EiB: sizes are below 2^64 bytes")
        } else {
            write!(
                f,
                "`{found}` is not a size: write bytes, or a number and a unit, like 512MiB or 1.5GiB"
            )
        }
    }
}

impl std::error::Error for SizeError {}

impl FromStr for Bytes {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let wrong = |too_large| SizeError { found: text.chars().take(40).collect(), too_large };
        let trimmed = text.trim();
        let digits =
            trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(wrong(false)),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty()
            || fraction.contains('.')
            || (number.contains('.') && fraction.is_empty())
        {
            return Err(wrong(false));
        }
        let whole: u64 = whole.parse().map_err(|_| wrong(true))?;
        // Nine digits are more than any size needs; the rest could not change a byte below a TiB.
        let fraction = &fraction[..fraction.len().min(9)];
        let scale = 10u128.pow(fraction.len() as u32);
        let fraction: u128 =
            if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| wrong(false))? };
        let bytes = u128::from(whole) * u128::from(factor) + fraction * u128::from(factor) / scale;
        u64::try_from(bytes).map(Self).map_err(|_| wrong(true))
    }
}

impl Bytes {
    /// As it is shown, but rounded up where digits are left out: typed again, it is enough.
    #[must_use]
    pub fn at_least(self) -> String {
        if self.0 < 10 << 10 {
            return self.to_string();
        }
        let (name, unit) = self.unit();
        // Below 2^64 × 100.
        let hundredths = (u128::from(self.0) * 100).div_ceil(u128::from(unit));
        format!("{}.{:02} {name}", hundredths / 100, hundredths % 100)
    }

    fn unit(self) -> (&'static str, u64) {
        UNITS.iter().rev().find(|(_, unit)| self.0 >= *unit).copied().unwrap_or(UNITS[0])
    }
}

/// A number with its noun.
#[must_use]
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 10 << 10 {
            return f.pad(&format!("{} B", self.0));
        }
        let (name, unit) = self.unit();
        f.pad(&format!("{:.2} {name}", self.0 as f64 / unit as f64))
    }
}

/// How a size stands in a file: a number, or a text with a unit.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

impl From<Bytes> for Written {
    fn from(bytes: Bytes) -> Self {
        // TOML's integers end at 2^63.
        if i64::try_from(bytes.0).is_ok() {
            Self::Number(bytes.0)
        } else {
            Self::Text(bytes.0.to_string())
        }
    }
}

impl TryFrom<Written> for Bytes {
    type Error = SizeError;

    fn try_from(written: Written) -> Result<Self, SizeError> {
        match written {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            (" 512 MiB ", 512 << 20),
            ("512mib", 512 << 20),
            ("1.5G", 3 << 29),
            ("0.5KiB", 512),
            ("1.0000000009B", 1),
            ("2TB", 2_000_000_000_000),
            ("18446744073709551615", u64::MAX),
            ("16777215.999999999999TiB", u64::MAX - 1099),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in [
            "", "x", "MiB", "-1", "+1", "1..5M", "1.M", ".5M", "1 2", "1e9", "0x10", "1MiBs", "é",
            "1é",
        ] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        for text in
            ["18446744073709551616", "16777216TiB", "99999999999999999999999999999999999999999"]
        {
            assert!(text.parse::<Bytes>().unwrap_err().too_large, "{text}");
        }
    }

    #[test]
    fn what_is_shown_as_enough_is_enough() {
        for shift in 0..64 {
            for near in [0u64, 1, 3, 511] {
                for bytes in [1u64 << shift, (1u64 << shift).wrapping_mul(3)].map(|b| b ^ near) {
                    let text = Bytes(bytes).at_least();
                    // Above 2^64 - 1 there is nothing to be typed.
                    let read = text.parse::<Bytes>().unwrap_or(Bytes(u64::MAX));
                    assert!(read.0 >= bytes, "{text} is less than {bytes}");
                    assert!(read.0 - bytes <= bytes / 99, "{text} is much more than {bytes}");
                }
            }
        }
        assert_eq!(Bytes(527_077_376).at_least(), "502.67 MiB");
        assert_eq!(Bytes(527_077_376).to_string(), "502.66 MiB");
        assert_eq!(Bytes(96 << 20).at_least(), "96.00 MiB");
    }

    #[test]
    fn shown_with_the_largest_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (10_239, "10239 B"),
            (10_240, "10.00 KiB"),
            (1 << 20, "1.00 MiB"),
            (u64::MAX, "16777216.00 TiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
