//! What pictures that stand alone begin with: their size, style, paper and title.

use super::escape;
use core::fmt::{self, Write as _};

/// The frame of a picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// The picture's kind, which its style names.
    pub(super) class: &'static str,
    pub(super) style: &'static str,
    /// What it shows, for those who cannot see it.
    pub(super) what: &'static str,
    /// Stands above it.
    pub(super) title: &'a str,
    /// Where the title begins.
    pub(super) left: f64,
    /// Width and height.
    pub(super) size: (f64, f64),
}

impl Frame<'_> {
    /// Writes the picture up to its content; `</svg>` is the caller's.
    pub(super) fn begin(self, out: &mut String) -> fmt::Result {
        let Self { class, style, what, left, size: (width, height), .. } = self;
        let title = escape(self.title);
        write!(
            out,
            "<svg class=\"{class}\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"{what}: {title}\"><style>{style}</style><rect class=\"paper\" width=\"100%\" height=\"100%\"/>\
             <text class=\"title\" x=\"{left}\" y=\"28\">{title}</text>"
        )
    }
}

/// The text of a picture.
pub(super) fn text(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out);
    out
}
