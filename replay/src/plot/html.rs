//! The page of a run: the viewer of `web-demo`, with the run's data inside.
//!
//! ```text
//!   instants, series, report ─▶ recording ─▶ gzip ─▶ base64 ┐
//!                      assets/viewer.html: … {title} … {recording} … ─▶ one file that needs no other, and no network
//! ```
//! `assets/viewer.html` is built from `web-demo` by `npm run build:viewer`; a test there builds it again and compares.

use super::escape;
use crate::engine::Instants;
use crate::recording::{self, Recording};
use crate::series::Timeline;
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
    /// Stands above the picture.
    pub title: &'a str,
    /// Bytes over all events.
    pub timeline: &'a Timeline,
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
        let Self { title, timeline, instants, first_shown, report } = self;
        let about = About {
            title,
            pools: &instants.pools,
            instants: &instants.events,
            first_shown,
            report,
        };
        let recording = Recording {
            about: serde_json::to_string(&about)?,
            series: recording::series(timeline),
            frames: instants.frames,
        };
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&recording.to_bytes())?;
        let data = BASE64_STANDARD.encode(gzip.finish()?);
        // The title may hold anything, also what looks like the other place.
        let (before, after) = VIEWER.split_once("{recording}").unwrap_or((VIEWER, ""));
        let before = before.replacen("{title}", &escape(title), 1);
        Ok([&before, &data, after].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_viewer_has_its_places() {
        assert_eq!(VIEWER.matches("{recording}").count(), 1);
        assert_eq!(VIEWER.matches("{title}").count(), 1);
        assert!(VIEWER.find("{title}") < VIEWER.find("{recording}"));
    }
}
