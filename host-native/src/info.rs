//! What this machine offers to slabs: page sizes and memory, as the system tells.
//!
//! Everything but the page size is read from files of the system, and absent where it has none.

use core::fmt;
use std::fs;

/// Whether the system backs memory with huge pages by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransparentHugePages {
    /// Wherever they fit.
    Always,
    /// Where it was advised, as [`MmapBuilder::huge_pages`](crate::MmapBuilder::huge_pages) does.
    Madvise,
    /// Nowhere.
    Never,
}

impl fmt::Display for TransparentHugePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::Madvise => "madvise",
            Self::Never => "never",
        })
    }
}

/// What the machine offers. Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineInfo {
    /// A page.
    pub page_size: u64,
    /// A transparent huge page.
    pub huge_page_size: Option<u64>,
    /// When the system uses huge pages.
    pub transparent_huge_pages: Option<TransparentHugePages>,
    /// Memory of the machine.
    pub memory_total: Option<u64>,
    /// Memory that can be had without swapping, as estimated by the system.
    pub memory_available: Option<u64>,
    /// Processors that this process may run on.
    pub processors: Option<usize>,
}

/// Asks the system. Cost: a few small files are read.
///
/// ```
/// let machine = strandline_host_native::machine_info();
/// assert!(machine.page_size.is_power_of_two());
/// println!("{machine}");
/// ```
#[must_use]
pub fn machine_info() -> MachineInfo {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    MachineInfo {
        page_size: rustix::param::page_size() as u64,
        huge_page_size: huge_page_size(),
        transparent_huge_pages: fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
            .ok()
            .and_then(|text| parse_mode(&text)),
        memory_total: parse_meminfo(&meminfo, "MemTotal"),
        memory_available: parse_meminfo(&meminfo, "MemAvailable"),
        processors: std::thread::available_parallelism().ok().map(usize::from),
    }
}

/// The size of a transparent huge page.
pub(crate) fn huge_page_size() -> Option<u64> {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").ok()?;
    // It becomes an alignment.
    text.trim().parse().ok().filter(|size: &u64| size.is_power_of_two() && *size <= 1 << 30)
}

/// The mode in brackets.
fn parse_mode(text: &str) -> Option<TransparentHugePages> {
    let (_, rest) = text.split_once('[')?;
    match rest.split_once(']')?.0 {
        "always" => Some(TransparentHugePages::Always),
        "madvise" => Some(TransparentHugePages::Madvise),
        "never" => Some(TransparentHugePages::Never),
        _ => None,
    }
}

/// A line `Key:   123 kB`, in bytes.
fn parse_meminfo(text: &str, key: &str) -> Option<u64> {
    let rest =
        text.lines().find_map(|line| line.strip_prefix(key).and_then(|r| r.strip_prefix(':')))?;
    let number: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// Lines of `name: value`, for people.
impl fmt::Display for MachineInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn line(
            f: &mut fmt::Formatter<'_>,
            name: &str,
            value: Option<impl fmt::Display>,
            unit: &str,
        ) -> fmt::Result {
            match value {
                Some(value) => writeln!(f, "{name}: {value}{unit}"),
                None => writeln!(f, "{name}: unknown"),
            }
        }
        line(f, "page size", Some(self.page_size), " bytes")?;
        line(f, "huge page size", self.huge_page_size, " bytes")?;
        line(f, "transparent huge pages", self.transparent_huge_pages, "")?;
        line(f, "memory", self.memory_total, " bytes")?;
        line(f, "memory available", self.memory_available, " bytes")?;
        line(f, "processors", self.processors, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_the_one_in_brackets() {
        for (text, mode) in [
            ("[always] madvise never\n", Some(TransparentHugePages::Always)),
            ("always [madvise] never\n", Some(TransparentHugePages::Madvise)),
            ("always madvise [never]\n", Some(TransparentHugePages::Never)),
            ("always madvise never\n", None),
            ("always [madvise", None),
            ("[inherit]", None),
            ("", None),
        ] {
            assert_eq!(parse_mode(text), mode, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_in_kilobytes_and_keys_are_whole() {
        let text = "MemTotal:       24684084 kB\nMemFree: x kB\nMemAvail: 1 kB\nHuge: 3\nBig: \
                    18446744073709551615 kB\n";
        for (key, bytes) in [
            ("MemTotal", Some(24_684_084 * 1024)),
            ("MemFree", None),
            ("MemAvailable", None),
            ("Mem", None),
            ("Huge", None),
            ("Big", None),
        ] {
            assert_eq!(parse_meminfo(text, key), bytes, "{key}");
        }
    }

    #[test]
    fn unknown_things_are_said_to_be_unknown() {
        let mut machine = machine_info();
        machine.memory_total = None;
        machine.huge_page_size = Some(2 << 20);
        let text = machine.to_string();
        assert!(text.contains("memory: unknown\n"));
        assert!(text.contains("huge page size: 2097152 bytes\n"));
        assert_eq!(text.lines().count(), 6);
    }
}
