//! What the system gave: [`MmapSlabProvider::pages`] asks how many bytes of slabs are in memory and how many of
//! those in huge pages; [`measure_prefault`] times three ways of getting pages.
//!
//! ```text
//!   /proc/self/smaps       7f00-7f40 rw-p           slabs:   7f10 ─── 7f30
//!                          Rss:            ▒▒▒▒
//!                          AnonHugePages:  ██       a mapping may span several slabs, and others' memory
//! ```
//!
//! Huge pages are advice: the system may have none at hand, or be told not to give any. So nothing here is concluded from
//! what was asked for; it is read from the kernel's own account of each mapping.
//!
//! The kernel joins neighbouring mappings of one kind. Where one holds slabs only, its numbers are exact; where it
//! holds other memory as well, nobody can tell whose the pages are: then the report says that it is a bound.
//!
//! # Cost
//! The kernel walks the pages of every mapping of the process: milliseconds per resident gigabyte. Not for hot paths.

use crate::slab::MmapSlabProvider;
use core::ops::Range;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::time::{Duration, Instant};
use strandline_core::slab::{Grant, SlabError, SlabProvider};

/// What the system gave to the slabs of a provider. Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageReport {
    /// Bytes of the provider's slabs.
    pub mapped_bytes: u64,
    /// Of these, in memory now.
    pub resident_bytes: u64,
    /// Of these, in huge pages.
    pub huge_bytes: u64,
    /// Whether the last two are exact. If not, they are upper bounds: some mapping holds other memory as well.
    pub exact: bool,
}

/// A mapping, as `/proc/self/smaps` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Area {
    range: Range<u64>,
    resident: u64,
    huge: u64,
}

/// Passes each mapping to `visit`.
fn read_areas(smaps: impl BufRead, mut visit: impl FnMut(&Area)) -> io::Result<()> {
    let mut area: Option<Area> = None;
    for line in smaps.lines() {
        let line = line?;
        let Some((key, rest)) = line.split_once(' ') else { continue };
        if let Some(key) = key.strip_suffix(':') {
            let (Some(area), Some(bytes)) = (&mut area, kilobytes(rest)) else { continue };
            match key {
                "Rss" => area.resident = bytes,
                // Anonymous memory, memfds, and files.
                "AnonHugePages" | "ShmemPmdMapped" | "FilePmdMapped" => area.huge += bytes,
                _ => {}
            }
        } else if let Some(range) = addresses(key)
            && let Some(done) = area.replace(Area { range, ..Area::default() })
        {
            visit(&done);
        }
    }
    if let Some(done) = area {
        visit(&done);
    }
    Ok(())
}

/// `7f00-7f40`, in hexadecimal.
fn addresses(text: &str) -> Option<Range<u64>> {
    let (start, end) = text.split_once('-')?;
    Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
}

/// `   123 kB`, in bytes.
fn kilobytes(text: &str) -> Option<u64> {
    text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// How many bytes of `area` lie in `slabs`, which are disjoint.
fn overlap(area: &Range<u64>, slabs: &[Range<u64>]) -> u64 {
    let part =
        |slab: &Range<u64>| slab.end.min(area.end).saturating_sub(slab.start.max(area.start));
    slabs.iter().map(part).sum()
}

/// The report on `slabs`, which are disjoint.
fn report(smaps: impl BufRead, slabs: &[Range<u64>]) -> io::Result<PageReport> {
    let mapped_bytes = slabs.iter().map(|slab| slab.end - slab.start).sum();
    let mut out = PageReport { mapped_bytes, exact: true, ..PageReport::default() };
    read_areas(smaps, |area| {
        let ours = overlap(&area.range, slabs);
        if ours == 0 {
            return;
        }
        out.resident_bytes += area.resident.min(ours);
        out.huge_bytes += area.huge.min(ours);
        // Without pages, or full of them, it does not matter whose the rest of the mapping is.
        let size = area.range.end - area.range.start;
        let told = |bytes| bytes == 0 || bytes == size;
        out.exact &= ours == size || told(area.resident) && told(area.huge);
    })?;
    Ok(out)
}

impl MmapSlabProvider {
    /// Asks the kernel what it gave to the slabs that are handed out now.
    ///
    /// # Errors
    /// `/proc/self/smaps` cannot be read, as where there is no `/proc`.
    ///
    /// ```
    /// use strandline_core::{Grant, SlabProvider};
    /// use strandline_host_native::MmapSlabProvider;
    ///
    /// let provider = MmapSlabProvider::builder().huge_pages(true).prefault(true).build()?;
    /// let Grant::Slab(slab) = provider.acquire(8 << 20)? else { panic!("out of memory") };
    /// # #[cfg(target_os = "linux")]
    /// println!("{} of {} bytes in huge pages", provider.pages()?.huge_bytes, slab.size);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pages(&self) -> io::Result<PageReport> {
        let slabs: Vec<Range<u64>> = self
            .mappings()
            .iter()
            .map(|mapping| mapping.addresses())
            .map(|body| body.start as u64..body.end as u64)
            .collect();
        report(BufReader::new(File::open("/proc/self/smaps")?), &slabs)
    }
}

/// How long it took to get the pages of a slab; see [`measure_prefault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrefaultReport {
    /// Bytes of each slab.
    pub bytes: u64,
    /// A write to each page: what a slab that is not prefaulted costs its first user.
    pub touched: Duration,
    /// All pages at once, by `MADV_POPULATE_WRITE`.
    pub populated: Duration,
    /// The same, with huge pages advised.
    pub populated_huge: Duration,
    /// What the system gave for that advice; `None` where it does not tell.
    pub huge: Option<PageReport>,
}

/// Gets `bytes` of memory in three ways, a few times each, and says how long each took at best and how many
/// bytes came in huge pages.
///
/// # Errors
/// As the provider's: [`SlabError::Os`] with `ENOMEM` also when there is no memory to be had.
pub fn measure_prefault(bytes: u64) -> Result<PrefaultReport, SlabError> {
    let (touched, _) = time(bytes, false, |provider, id, size| {
        let mapping = provider.mapping(id)?;
        mapping.touch(0, size as usize);
        Ok(())
    })?;
    let populate = |provider: &MmapSlabProvider, id, size| provider.prefault(id, 0, size);
    let (populated, _) = time(bytes, false, populate)?;
    let (populated_huge, huge) = time(bytes, true, populate)?;
    Ok(PrefaultReport { bytes, touched, populated, populated_huge, huge })
}

/// The time of `work` on a new slab, and what pages it has then.
fn time(
    bytes: u64,
    huge: bool,
    work: impl Fn(&MmapSlabProvider, strandline_core::SlabId, u64) -> Result<(), SlabError>,
) -> Result<(Duration, Option<PageReport>), SlabError> {
    /// The first try of a way may find the system short of free pages of that kind.
    const TRIES: usize = 3;
    let no_memory = SlabError::Os {
        code: rustix::io::Errno::NOMEM.raw_os_error(),
        operation: "measuring page faults",
    };
    let provider = MmapSlabProvider::builder().huge_pages(huge).build().map_err(|_| no_memory)?;
    let mut best = Duration::MAX;
    let mut pages = None;
    for _ in 0..TRIES {
        let Grant::Slab(slab) = provider.acquire(bytes)? else { return Err(no_memory) };
        let start = Instant::now();
        work(&provider, slab.id, slab.size)?;
        best = best.min(start.elapsed());
        pages = provider.pages().ok();
        provider.release(slab.id)?;
    }
    Ok((best, pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
7f0000000000-7f0000400000 rw-p 00000000 00:00 0 
Size:               4096 kB
KernelPageSize:        4 kB
Rss:                2052 kB
Anonymous:          2052 kB
AnonHugePages:      2048 kB
ShmemPmdMapped:        0 kB
FilePmdMapped:         0 kB
THPeligible:           1
VmFlags: rd wr mr mw me ac hg 
7f0000400000-7f0000500000 rw-s 00000000 00:01 1  /memfd:strandline slab (deleted)
Rss:                 512 kB
AnonHugePages:         0 kB
ShmemPmdMapped:      512 kB
7f0000500000-7f0000600000 r--p 00000000 08:01 77  /usr/lib/a file with 1-2 Rss: 5 kB
Rss:                 100 kB
VmFlags: rd
";

    const K: u64 = 1024;
    const BASE: u64 = 0x7f00_0000_0000;

    fn of(slabs: &[(u64, u64)]) -> PageReport {
        let slabs: Vec<_> =
            slabs.iter().map(|&(start, end)| BASE + start * K..BASE + end * K).collect();
        report(SMAPS.as_bytes(), &slabs).unwrap()
    }

    fn said(mapped: u64, resident: u64, huge: u64, exact: bool) -> PageReport {
        PageReport {
            mapped_bytes: mapped * K,
            resident_bytes: resident * K,
            huge_bytes: huge * K,
            exact,
        }
    }

    #[test]
    fn whole_mappings_are_counted_exactly() {
        assert_eq!(of(&[]), said(0, 0, 0, true));
        assert_eq!(of(&[(0, 4096)]), said(4096, 2052, 2048, true));
        // Two slabs that the kernel joined, and a shared one behind them.
        assert_eq!(of(&[(0, 1024), (1024, 4096)]), said(4096, 2052, 2048, true));
        assert_eq!(of(&[(0, 4096), (4096, 5120)]), said(5120, 2564, 2560, true));
        // Not mapped any more.
        assert_eq!(of(&[(1 << 30, (1 << 30) + 4)]), said(4, 0, 0, true));
    }

    #[test]
    fn what_others_may_own_is_a_bound() {
        assert_eq!(of(&[(0, 4092)]), said(4092, 2052, 2048, false));
        assert_eq!(of(&[(0, 1024)]), said(1024, 1024, 1024, false));
        assert_eq!(of(&[(5120, 5124)]), said(4, 4, 0, false));
    }

    #[test]
    fn garbage_is_passed_over() {
        for text in ["", "\n", "Rss: 4 kB\n", "x-y rw\nRss: 4 kB\n", "0-f rw\nRss: x kB\nRss: 3\n"]
        {
            let slab = 0..15;
            let report = report(text.as_bytes(), core::slice::from_ref(&slab)).unwrap();
            assert_eq!(report.resident_bytes, 0, "{text:?}");
        }
    }

    /// Guards keep the kernel from joining the slab with anything else, so the numbers are exact.
    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_tells_what_is_resident() {
        let provider = MmapSlabProvider::builder().guard_pages(true).build().unwrap();
        let Grant::Slab(slab) = provider.acquire(1 << 20).unwrap() else { panic!("no memory") };
        assert_eq!(provider.pages().unwrap(), said(1024, 0, 0, true));
        provider.prefault(slab.id, 0, 256 * K).unwrap();
        let report = provider.pages().unwrap();
        // A system that uses huge pages unasked may have given more.
        assert!(report.exact && report.resident_bytes >= 256 * K, "{report:?}");
        provider.prefault(slab.id, 0, slab.size).unwrap();
        assert_eq!(provider.pages().unwrap().resident_bytes, 1 << 20);
        provider.release(slab.id).unwrap();
        assert_eq!(provider.pages().unwrap(), said(0, 0, 0, true));
    }

    /// Whatever the system gives for the advice, it is told as it is: nothing where it never gives any, and at most
    /// what is resident.
    #[test]
    #[cfg(target_os = "linux")]
    fn huge_pages_are_told_as_given() {
        use crate::{TransparentHugePages, machine_info};
        let report = measure_prefault(8 << 20).unwrap();
        assert_eq!(report.bytes, 8 << 20);
        let pages = report.huge.unwrap();
        assert_eq!(pages.mapped_bytes, 8 << 20);
        assert!(pages.huge_bytes <= pages.resident_bytes, "{pages:?}");
        assert!(!pages.exact || pages.resident_bytes == 8 << 20, "{pages:?}");
        if machine_info().transparent_huge_pages == Some(TransparentHugePages::Never) {
            assert!(!pages.exact || pages.huge_bytes == 0, "{pages:?}");
        }
        assert!(measure_prefault(0).is_err());
    }
}
