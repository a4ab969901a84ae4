//! The picture as SVG.

use super::scale::{Scale, label};
use super::{Plot, Words, escape};
use crate::series::{Bucket, Sample};
use crate::size::Bytes;
use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = 56.0;

/// A line of the picture.
struct Line {
    name: &'static str,
    /// Of its style.
    class: &'static str,
    /// What it means, in a few words.
    meaning: &'static str,
    of: fn(&Sample) -> u64,
    filled: bool,
    /// Shows beside a line that lies on it.
    wide: bool,
}

/// In the order in which they are drawn: later ones lie above.
const LINES: [Line; 4] = [
    Line {
        name: "reserved",
        class: "committed",
        meaning: "held by the pools",
        of: |s| s.committed,
        filled: true,
        wide: false,
    },
    Line {
        name: "handed out",
        class: "reserved",
        meaning: "handed out, with padding",
        of: |s| s.reserved,
        filled: false,
        wide: true,
    },
    Line {
        name: "allocated",
        class: "live",
        meaning: "asked for by the program",
        of: |s| s.live,
        filled: true,
        wide: false,
    },
    Line {
        name: "pending",
        class: "pending",
        meaning: "freed, last use not over",
        of: |s| s.pending,
        filled: false,
        wide: false,
    },
];

impl Line {
    /// What it is called, and what that means.
    fn words(&self, words: Words) -> (&'static str, &'static str) {
        match (words, self.class) {
            (Words::Recorded, "committed") => ("reserved", "taken from the device"),
            (Words::Recorded, "reserved") => ("active", "allocated, or still in use by a stream"),
            (Words::Recorded, "live") => ("allocated", "of blocks that the program holds"),
            _ => (self.name, self.meaning),
        }
    }
}

/// Colours that people of every colour vision tell apart (Okabe and Ito), on light and on dark. Plain classes, no variables:
/// many viewers know CSS only so far.
const STYLE: &str = "\
.plot{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif}\
.plot .paper{fill:#fff}.plot text{fill:#59636e}.plot .title{fill:#1f2328;font-size:16px;font-weight:600}\
.plot .name{fill:#1f2328}.plot .grid{stroke:#d8dee4}.plot .axis{stroke:#59636e}\
.plot .line{fill:none;stroke-width:1.5;stroke-linejoin:round}.plot .wide{stroke-width:4;stroke-opacity:.75}\
.plot .area{stroke:none;fill-opacity:.16}\
.plot .limit{stroke:#c62828;stroke-dasharray:6 4;fill:none}.plot .bad{fill:#c62828}\
.s-committed{stroke:#0072b2}.f-committed{fill:#0072b2}.s-reserved{stroke:#e69f00}.f-reserved{fill:#e69f00}\
.s-live{stroke:#009e73}.f-live{fill:#009e73}.s-pending{stroke:#b5478f}.f-pending{fill:#b5478f}\
@media(prefers-color-scheme:dark){.plot .paper{fill:#0d1117}.plot text{fill:#9198a1}.plot .title,.plot .name{fill:#e6edf3}\
.plot .grid{stroke:#30363d}.plot .axis{stroke:#9198a1}.plot .limit{stroke:#ff6b6b}.plot .bad{fill:#ff6b6b}\
.s-committed{stroke:#56b4e9}.f-committed{fill:#56b4e9}.s-reserved{stroke:#f0b429}.f-reserved{fill:#f0b429}\
.s-live{stroke:#2fc89b}.f-live{fill:#2fc89b}.s-pending{stroke:#e08fc4}.f-pending{fill:#e08fc4}}";

/// Where events and bytes lie.
struct Frame {
    x: Scale,
    y: Scale,
    /// The x axis' end: the last event itself, not a mark.
    last: u64,
}

impl Frame {
    fn of(plot: &Plot<'_>) -> Self {
        let max = plot.timeline.max();
        let most = LINES.iter().map(|line| (line.of)(&max)).max().unwrap_or(0);
        // A limit far above everything would flatten the lines: it is then only named.
        let limit = plot.capacity.filter(|&capacity| capacity / 2 <= most).unwrap_or(0);
        let last = plot.events.max(plot.timeline.last_event()).max(1);
        Self { x: Scale::counts(last), y: Scale::bytes(most.max(limit)), last }
    }

    fn x(&self, event: u64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * event as f64 / self.last as f64
    }

    fn y(&self, bytes: u64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * self.y.place(bytes).min(1.0)
    }
}

pub(super) fn draw(plot: &Plot<'_>) -> String {
    let frame = Frame::of(plot);
    let mut out = String::with_capacity(1 << 16);
    // Writing to a string cannot fail.
    let _ = write(plot, &frame, &mut out);
    out
}

fn write(plot: &Plot<'_>, frame: &Frame, out: &mut String) -> std::fmt::Result {
    let title = escape(plot.title);
    write!(
        out,
        "<svg class=\"plot\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Memory over the events of {title}\"><style>{STYLE}</style>\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\
         <text class=\"title\" x=\"{LEFT}\" y=\"28\">{title}</text>"
    )?;
    legend(plot, out)?;
    axes(plot.words, frame, out)?;
    for line in &LINES {
        draw_line(plot.timeline.buckets(), plot.timeline.last_event(), line, frame, out)?;
    }
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    if let Some(capacity) = plot.capacity.filter(|&capacity| frame.y.place(capacity) <= 1.0) {
        let y = frame.y(capacity);
        write!(
            out,
            "<path class=\"limit\" d=\"M{LEFT} {y:.1}H{right}\"/>\
             <text class=\"bad\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">capacity {}</text>",
            y - 5.0,
            Bytes(capacity)
        )?;
    }
    if let Some(event) = plot.failure {
        let x = frame.x(event);
        let (anchor, at) = if x > WIDTH / 2.0 { ("end", x - 6.0) } else { ("start", x + 6.0) };
        write!(
            out,
            "<path class=\"limit\" d=\"M{x:.1} {TOP}V{bottom}\"/>\
             <text class=\"bad\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">failed at {} {event}</text>",
            TOP + 14.0,
            entry(plot.words)
        )?;
    }
    out.push_str("</svg>\n");
    Ok(())
}

fn entry(words: Words) -> &'static str {
    match words {
        Words::Replay => "event",
        Words::Recorded => "entry",
    }
}

fn legend(plot: &Plot<'_>, out: &mut String) -> std::fmt::Result {
    let max = plot.timeline.max();
    let width = (WIDTH - LEFT - RIGHT) / LINES.len() as f64;
    for (i, line) in LINES.iter().enumerate() {
        let (Line { class, of, .. }, (name, meaning)) = (line, line.words(plot.words));
        let x = LEFT + width * i as f64;
        write!(
            out,
            "<rect x=\"{x:.1}\" y=\"42\" width=\"12\" height=\"12\" rx=\"2\" class=\"f-{class}\"/>\
             <text x=\"{:.1}\" y=\"53\"><title>{meaning}</title><tspan class=\"name\">{name}</tspan> \u{2264} {}</text>",
            x + 18.0,
            Bytes(of(&max))
        )?;
    }
    Ok(())
}

fn axes(words: Words, frame: &Frame, out: &mut String) -> std::fmt::Result {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for mark in frame.y.marks() {
        let y = bottom - (bottom - TOP) * mark / frame.y.end;
        write!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 4.5,
            label(mark, frame.y.step)
        )?;
    }
    for mark in frame.x.marks().filter(|&mark| mark <= frame.last as f64) {
        let x = LEFT + (right - LEFT) * mark / frame.last as f64;
        write!(
            out,
            "<path class=\"axis\" d=\"M{x:.1} {bottom}v5\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 20.0,
            label(mark, frame.x.step)
        )?;
    }
    write!(
        out,
        "<path class=\"axis\" d=\"M{LEFT} {bottom}H{right}\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text transform=\"translate(18 {:.1}) rotate(-90)\" text-anchor=\"middle\">memory in {}</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 12.0,
        entry(words),
        (TOP + bottom) / 2.0,
        frame.y.unit
    )
}

/// A step line: each bucket at its most, then at its least where they differ. It ends at `last`.
fn draw_line(
    buckets: &[Bucket],
    last: u64,
    line: &Line,
    frame: &Frame,
    out: &mut String,
) -> std::fmt::Result {
    let Some(first) = buckets.first() else { return Ok(()) };
    let Line { class, of, filled, wide, .. } = line;
    let mut path = String::with_capacity(buckets.len() * 16);
    for bucket in buckets {
        let x = frame.x(bucket.event);
        let [max, min] = [&bucket.max, &bucket.min].map(|sample| frame.y(of(sample)));
        let command = if path.is_empty() { 'M' } else { 'L' };
        write!(path, "{command}{x:.1} {max:.1}")?;
        if min - max > 0.05 {
            write!(path, "V{min:.1}")?;
        }
    }
    let end = frame.x(last);
    write!(path, "H{end:.1}")?;
    if *filled {
        let (start, bottom) = (frame.x(first.event), HEIGHT - BOTTOM);
        write!(out, "<path class=\"area f-{class}\" d=\"{path}V{bottom}H{start:.1}Z\"/>")?;
    }
    let wide = if *wide { " wide" } else { "" };
    write!(out, "<path class=\"line{wide} s-{class}\" d=\"{path}\"/>")
}
