//! A comparison as a picture: one bar a row, with what no allocator can be below.

use super::escape;
use super::frame::{self, Frame};
use crate::size::Bytes;
use core::fmt::Write as _;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 340.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 48.0;
const ROW: f64 = 22.0;

const STYLE: &str = "\
.bars{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif}\
.bars .paper{fill:#fff}.bars text{fill:#59636e}.bars .name{fill:#1f2328}.bars .title{fill:#1f2328;font-size:16px;font-weight:600}\
.bars .bar{fill:#0072b2}.bars .now{fill:#e69f00}.bars .bad{fill:#c62828}.bars .limit{stroke:#009e73;stroke-dasharray:6 4}\
@media(prefers-color-scheme:dark){.bars .paper{fill:#0d1117}.bars text{fill:#9198a1}.bars .title,.bars .name{fill:#e6edf3}\
.bars .bar{fill:#56b4e9}.bars .now{fill:#f0b429}.bars .bad{fill:#ff6b6b}.bars .limit{stroke:#2fc89b}}";

/// One bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Stands before it.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Whether it is what the user has now.
    pub current: bool,
    /// Whether the run failed with it.
    pub failed: bool,
}

/// Bars, one below the other.
#[derive(Clone, Copy, Debug)]
pub struct Bars<'a> {
    /// Stands above the picture.
    pub title: &'a str,
    /// In order from the top.
    pub bars: &'a [Bar],
    /// What nobody can be below: a line through all bars.
    pub least: u64,
}

impl Bars<'_> {
    /// A picture that stands alone. It follows the reader's light or dark colours.
    #[must_use]
    pub fn to_svg(&self) -> String {
        frame::text(|out| self.write(out))
    }

    fn write(&self, out: &mut String) -> core::fmt::Result {
        let most = self.bars.iter().map(|bar| bar.bytes).max().unwrap_or(0).max(self.least).max(1);
        let length = |bytes: u64| (WIDTH - LEFT - RIGHT) * bytes as f64 / most as f64;
        let bottom = TOP + ROW * self.bars.len() as f64;
        let height = bottom + 32.0;
        let size = (WIDTH, height);
        Frame {
            class: "bars",
            style: STYLE,
            what: "Reserved bytes",
            title: self.title,
            left: 16.0,
            size,
        }
        .begin(out)?;
        for (number, bar) in self.bars.iter().enumerate() {
            let y = TOP + ROW * number as f64;
            let (end, text) = (LEFT + length(bar.bytes), y + 15.0);
            let class = if bar.failed {
                "bad"
            } else if bar.current {
                "now"
            } else {
                "bar"
            };
            write!(
                out,
                "<text class=\"name\" x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>\
                 <rect class=\"{class}\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{text:.1}\">{}{}</text>",
                LEFT - 8.0,
                escape(&bar.name),
                y + 3.0,
                length(bar.bytes),
                ROW - 6.0,
                end + 6.0,
                Bytes(bar.bytes),
                if bar.failed { ", fails" } else { "" },
            )?;
        }
        let x = LEFT + length(self.least);
        writeln!(
            out,
            "<path class=\"limit\" d=\"M{x:.1} {TOP}V{bottom}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">active at once: {}</text></svg>",
            bottom + 18.0,
            Bytes(self.least)
        )
    }
}
