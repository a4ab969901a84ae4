//! The page of a run: the viewer of `web-demo`, with the run's data inside.
//!
//! ```text
//!   instants, series, report ─▶ recording ─▶ gzip ─▶ base64 ┐
//!      assets/viewer.html: … {title} … {picture} … {recording} … ─▶ one file that needs no other, and no network
//! ```
//! The picture stands in for the viewer where scripts are not run.
//! `assets/viewer.html` is built from `web-demo` by `npm run build:viewer`; a test there builds it again and compares.

use super::{Plot, escape};
use crate::engine::Instants;
use crate::recording::{self, Recording};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use std::io::{self, Write};

/// The viewer, with places for a title and for the data.
const VIEWER: &str = include_str!("../../assets/viewer.html");

/// What a page shows.
#[derive(Debug)]
pub struct Page<'a> {
    /// The picture of the bytes over all events, and its title.
    pub plot: Plot<'a>,
    /// What the pools looked like.
    pub instants: Instants,
    /// The instant that the page opens with.
    pub first_shown: u64,
    /// What is reported of the run: [`Report::to_json`](crate::report::Report::to_json).
    pub report: &'a serde_json::Value,
}

#[derive(Serialize)]
struct About<'a> {
    title: &'a str,
    pools: &'a [&'static str],
    instants: &'a [u64],
    first_shown: u64,
    report: &'a serde_json::Value,
}

impl Page<'_> {
    /// The page: one file of HTML.
    ///
    /// # Errors
    /// The report does not serialize.
    pub fn to_html(self) -> io::Result<String> {
        let Self { plot, instants, first_shown, report } = self;
        let about = About {
            title: plot.title,
            pools: &instants.pools,
            instants: &instants.events,
            first_shown,
            report,
        };
        let recording = Recording {
            about: serde_json::to_string(&about)?,
            series: recording::series(plot.timeline),
            frames: instants.frames,
        };
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&recording.to_bytes())?;
        let data = BASE64_STANDARD.encode(gzip.finish()?);
        // Each place is looked for after the one before: what was filled in may hold anything.
        let mut out = String::with_capacity(VIEWER.len() + data.len() + (1 << 17));
        let mut rest = VIEWER;
        for (place, text) in
            [("{title}", escape(plot.title)), ("{picture}", plot.to_svg()), ("{recording}", data)]
        {
            if let Some((before, after)) = rest.split_once(place) {
                out.push_str(before);
                out.push_str(&text);
                rest = after;
            }
        }
        out.push_str(rest);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_viewer_has_its_places() {
        let places = ["{title}", "{picture}", "{recording}"].map(|place| {
            assert_eq!(VIEWER.matches(place).count(), 1, "{place}");
            VIEWER.find(place)
        });
        assert!(places.is_sorted());
    }
}
