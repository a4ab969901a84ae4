//! The picture as one file without anything from elsewhere.

use super::{Picture, Seen};
use core::fmt::Write as _;
use strandline_replay::size::Bytes;

const STYLE: &str = "\
body{font:14px system-ui,sans-serif;margin:2em;color:#222;background:#fff}\
table{border-collapse:collapse;margin-top:1em}\
th,td{text-align:right;padding:.25em .75em;border-bottom:1px solid #ddd}\
th:nth-child(3),td:nth-child(3){text-align:left}\
svg{display:block}.held{fill:#2a6f97}.doubt{fill:#b3261e}.pending{fill:#e9a23b}.rest{fill:#e8e8e8}\
.unsound{color:#b3261e;font-weight:bold}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}th,td{border-color:#444}.rest{fill:#333}}";

/// Units of a bar.
const WIDTH: u64 = 200;

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn bar(picture: &Picture, member: &Seen) -> String {
    let (held, pending) = picture.parts(member, WIDTH);
    let kind = if member.is_live() { "held" } else { "doubt" };
    let label = format!("{} lent, {} waited for", Bytes(member.held), Bytes(member.pending));
    format!(
        "<svg width=\"{WIDTH}\" height=\"12\" role=\"img\" aria-label=\"{label}\">\
         <rect class=\"rest\" width=\"{WIDTH}\" height=\"12\"/><rect class=\"{kind}\" width=\"{held}\" height=\"12\"/>\
         <rect class=\"pending\" x=\"{held}\" width=\"{pending}\" height=\"12\"/></svg>"
    )
}

pub(super) fn page(picture: &Picture, title: &str, seconds: u64) -> String {
    let title = escaped(title);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"{seconds}\">\
         <title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1><p>{}</p>",
        escaped(&picture.headline())
    );
    let class = if picture.is_sound() { "" } else { " class=\"unsound\"" };
    let _ = write!(page, "<p{class}>Oracle: {}</p>", escaped(&picture.verdict()));
    page += "<table><thead><tr>";
    for head in ["member", "peer", "state", "axes", "lag", "lent", "waited for", "of the slabs"] {
        let _ = write!(page, "<th scope=\"col\">{head}</th>");
    }
    page += "</tr></thead><tbody>";
    for member in &picture.members {
        page += "<tr>";
        for cell in [
            member.names.clone(),
            member.peer.to_string(),
            member.state.clone(),
            member.axes.to_string(),
            member.lag(),
            Bytes(member.held).to_string(),
            Bytes(member.pending).to_string(),
        ] {
            let _ = write!(page, "<td>{}</td>", escaped(&cell));
        }
        let _ = write!(page, "<td>{}</td></tr>", bar(picture, member));
    }
    page += "</tbody></table>";
    let odd = picture.odd_messages();
    if !odd.is_empty() {
        page += "<h2>Messages that were not simply done</h2><ul>";
        for (what, many) in odd {
            let _ = write!(page, "<li>{many} {what}</li>");
        }
        page += "</ul>";
    }
    page += "</body></html>\n";
    page
}
