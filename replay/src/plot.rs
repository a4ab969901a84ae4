//! Pictures of a run: committed, reserved, live and pending bytes over its events.
//!
//! ```text
//!   MiB │        ┌───────────── committed
//!       │   ╭─╮──┘╭╮    reserved, live (filled)
//!       │ ╭─╯ ╰───╯╰──╮
//!       │▁▁▁▂▂▁▁▁▂▁▁▁▁╰─ pending
//!       └──────────────────▶ event
//! ```
//!
//! As an SVG, that is the picture. As a page, it is one part of the viewer, which shows the pools' blocks at some hundred instants
//! besides: see [`Page`].
//!
//! A [`Timeline`] has at most [`BUCKETS`](crate::series::BUCKETS) buckets, and a line has two points a bucket (its most and its
//! least), so a picture stays small and loses no spike, however long the trace.

mod bars;
mod frame;
mod html;
mod map;
mod scale;
mod svg;

pub use bars::{Bar, Bars};
pub use html::Page;
pub use map::{Map, Use};

use crate::series::Timeline;

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Plot<'a> {
    /// Stands above the picture.
    pub title: &'a str,
    /// The bytes.
    pub timeline: &'a Timeline,
    /// Drawn as a limit.
    pub capacity: Option<u64>,
    /// Events of the whole trace, also where fewer were played.
    pub events: u64,
    /// The event that failed.
    pub failure: Option<u64>,
    /// What the lines are called.
    pub words: Words,
}

/// The words of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Words {
    /// Of a replay: events, and bytes that pools handed out.
    #[default]
    Replay,
    /// Of a recorded run of another allocator: entries, and bytes that are active.
    Recorded,
}

impl Plot<'_> {
    /// A picture that stands alone. It follows the reader's light or dark colours.
    #[must_use]
    pub fn to_svg(&self) -> String {
        svg::draw(self)
    }
}

/// Text as it stands in XML and HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML has no way to write the other control characters.
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
