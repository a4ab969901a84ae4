//! Memory at one moment as a picture: all segments on one tape, which is cut into rows.
//!
//! ```text
//!   ┌────────────────────────────────────────┐
//!   │▒▒▒▒░░░▒▒▒▒▒▒│▒▒░░░░░░░░░│▒▒▒▒▒▒▒▒│░░░░░░│     │ where a segment ends
//!   │░░░░░░░░░░│▒▒▒▒▒▒▒▒│                    │     ▒ in use, ░ free, by kind
//!   └────────────────────────────────────────┘
//! ```
//!
//! Pieces too small to be seen are joined with what is beside them, so that a picture stays small. Cost: O(pieces).

use super::escape;
use super::frame::{self, Frame};
use crate::size::{Bytes, counted};
use core::fmt::Write as _;

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 24.0;
const TOP: f64 = 84.0;
const ROWS: u64 = 20;
const ROW: f64 = 20.0;
/// No piece is drawn narrower than that.
const LEAST: f64 = 0.6;

const STYLE: &str = "\
.map{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif}.map .paper{fill:#fff}.map text{fill:#59636e}\
.map .title{fill:#1f2328;font-size:16px;font-weight:600}.map .edge{stroke:#1f2328;stroke-width:1}\
.map .allocated{fill:#009e73}.map .waiting{fill:#b5478f}.map .hole{fill:#e69f00}.map .whole{fill:#56b4e9}.map .other{fill:#c9ced4}\
@media(prefers-color-scheme:dark){.map .paper{fill:#0d1117}.map text{fill:#9198a1}.map .title{fill:#e6edf3}.map .edge{stroke:#e6edf3}\
.map .other{fill:#4a525b}}";

/// What bytes are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// Of a block that the program holds.
    Allocated,
    /// Given back, and still in use by a stream.
    Waiting,
    /// Free, beside something live: a hole.
    Hole,
    /// Free, and could go back to the device.
    Whole,
    /// Free, for other streams or private pools only.
    Other,
}

impl Use {
    const ALL: [Self; 5] = [Self::Allocated, Self::Waiting, Self::Hole, Self::Whole, Self::Other];

    fn class(self) -> &'static str {
        match self {
            Self::Allocated => "allocated",
            Self::Waiting => "waiting",
            Self::Hole => "hole",
            Self::Whole => "whole",
            Self::Other => "other",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Allocated => "allocated",
            Self::Waiting => "waiting for a stream",
            Self::Hole => "hole in a segment",
            Self::Whole => "cached whole",
            Self::Other => "another stream's or pool's",
        }
    }
}

/// Segments, each a list of pieces.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a> {
    /// Stands above the picture.
    pub title: &'a str,
    /// Segments: their pieces, each with bytes, use and who holds it.
    pub segments: &'a [Vec<(u64, Use, String)>],
}

impl Map<'_> {
    /// A picture that stands alone. It follows the reader's light or dark colours.
    #[must_use]
    pub fn to_svg(&self) -> String {
        frame::text(|out| self.write(out))
    }

    fn write(&self, out: &mut String) -> core::fmt::Result {
        let pieces = || self.segments.iter().flatten();
        let total = pieces().fold(0u64, |sum, (bytes, ..)| sum.saturating_add(*bytes));
        let row = total.div_ceil(ROWS).max(1);
        let rows = total.div_ceil(row);
        let height = TOP + rows as f64 * (ROW + 4.0) + 30.0;
        let size = (WIDTH, height);
        let what = "Segments and blocks";
        Frame { class: "map", style: STYLE, what, title: self.title, left: MARGIN, size }
            .begin(out)?;
        for (number, kind) in Use::ALL.into_iter().enumerate() {
            let bytes = pieces().filter(|piece| piece.1 == kind);
            let bytes = bytes.fold(0u64, |sum, (bytes, ..)| sum.saturating_add(*bytes));
            let x = MARGIN + 184.0 * number as f64;
            write!(
                out,
                "<rect class=\"{}\" x=\"{x}\" y=\"44\" width=\"12\" height=\"12\" rx=\"2\"/>\
                 <text x=\"{}\" y=\"54\">{}</text><text x=\"{}\" y=\"71\">{}</text>",
                kind.class(),
                x + 18.0,
                kind.words(),
                x + 18.0,
                Bytes(bytes)
            )?;
        }
        let tape = Tape { row };
        let mut at = 0u64;
        for segment in self.segments {
            let mut pieces = segment.iter().peekable();
            while let Some((bytes, kind, who)) = pieces.next() {
                // What is too narrow takes its neighbours of one use with it.
                let (mut bytes, mut joined) = (*bytes, 0);
                while tape.width(bytes) < LEAST
                    && let Some((more, ..)) = pieces.next_if(|next| next.1 == *kind)
                {
                    bytes = bytes.saturating_add(*more);
                    joined += 1;
                }
                let who = if joined > 0 { "several blocks" } else { who };
                tape.piece(out, at, bytes, *kind, who)?;
                at = at.saturating_add(bytes);
            }
            let (x, y) = tape.place(at.saturating_sub(1), at);
            write!(out, "<path class=\"edge\" d=\"M{x:.1} {y:.1}v{ROW}\"/>")?;
        }
        writeln!(
            out,
            "<text x=\"{MARGIN}\" y=\"{:.1}\">{}, {} reserved; a row is {}. Black lines: where a segment ends.</text></svg>",
            height - 12.0,
            counted(self.segments.len() as u64, "segment", "segments"),
            Bytes(total),
            Bytes(row)
        )
    }
}

/// The tape's bytes in a row.
#[derive(Clone, Copy, Debug)]
struct Tape {
    row: u64,
}

impl Tape {
    fn width(self, bytes: u64) -> f64 {
        (WIDTH - 2.0 * MARGIN) * bytes as f64 / self.row as f64
    }

    /// Where byte `end` is drawn in the row of byte `of`.
    fn place(self, of: u64, end: u64) -> (f64, f64) {
        let row = of / self.row;
        (MARGIN + self.width(end - row * self.row), TOP + row as f64 * (ROW + 4.0))
    }

    /// Draws a piece, in as many rows as it takes.
    fn piece(
        self,
        out: &mut String,
        at: u64,
        bytes: u64,
        kind: Use,
        who: &str,
    ) -> core::fmt::Result {
        let (mut from, end) = (at, at.saturating_add(bytes));
        while from < end {
            let to = (from / self.row + 1).saturating_mul(self.row).min(end);
            let (x, y) = self.place(from, from);
            write!(
                out,
                "<rect class=\"{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{ROW}\"><title>{} {}{}{}</title></rect>",
                kind.class(),
                self.width(to - from).max(LEAST),
                Bytes(bytes),
                kind.words(),
                if who.is_empty() { "" } else { ": " },
                escape(who)
            )?;
            from = to;
        }
        Ok(())
    }
}
