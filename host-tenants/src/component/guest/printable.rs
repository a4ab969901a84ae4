//! Text of a guest, made safe for a terminal.
//!
//! A terminal obeys what is written to it: escape sequences set its title, move the cursor over what was printed before, and in
//! some answer as if the user had typed; marks for right-to-left text show a line as another than it is. So what a guest chose
//! (what it says, why it failed, its imports' names) is shown with such characters spelled out, and cut to a length.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` with every control character but line feed and tab spelled out (`\u{1b}`), and so what reorders or hides text. Of a
/// text whose result would be longer than `most` bytes the beginning is left, at a boundary between characters; the second
/// value is how many bytes of `text` were left out.
///
/// ```
/// use strandline_host_tenants::component::guest::printable;
///
/// assert_eq!(printable("2 of 3\n", 100), ("2 of 3\n".into(), 0));
/// assert_eq!(printable("\x1b[2Jgone", 100).0, r"\u{1b}[2Jgone");
/// assert_eq!(printable("a long story", 6), ("a long".into(), 6));
/// ```
#[must_use]
pub fn printable(text: &str, most: usize) -> (Cow<'_, str>, usize) {
    if text.len() <= most && !text.chars().any(is_control) {
        return (Cow::Borrowed(text), 0);
    }
    let mut shown = String::with_capacity(text.len().min(most));
    for (at, character) in text.char_indices() {
        let before = shown.len();
        if is_control(character) {
            // A string takes all that it is given.
            let _ = write!(shown, "{}", character.escape_unicode());
        } else {
            shown.push(character);
        }
        if shown.len() > most {
            shown.truncate(before);
            return (Cow::Owned(shown), text.len() - at);
        }
    }
    (Cow::Owned(shown), 0)
}

/// Whether a terminal might do something else with it than show it.
const fn is_control(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        // C0 and C1; then marks of direction and joining, line and paragraph separators, embeddings and overrides,
        // isolates, what is invisible, tags.
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_passes() {
        for code in (0..=0x10_ffff).filter_map(char::from_u32) {
            let text = code.to_string();
            let (shown, left_out) = printable(&text, 100);
            assert_eq!(left_out, 0);
            if code.is_control() && code != '\n' && code != '\t' {
                assert!(shown.chars().all(|c| c.is_ascii_graphic()), "{code:?}");
            } else if !is_control(code) {
                assert_eq!(shown, text);
            }
        }
    }

    #[test]
    fn it_is_never_longer_than_it_may_be() {
        let text = "é\x1b€\u{202e}x\n".repeat(20);
        for most in 0..text.len() * 4 {
            let (shown, left_out) = printable(&text, most);
            assert!(shown.len() <= most);
            let whole = printable(&text, usize::MAX).0;
            assert!(whole.starts_with(&*shown));
            let rest = printable(&text[text.len() - left_out..], usize::MAX).0;
            assert_eq!(format!("{shown}{rest}"), whole);
        }
    }
}
