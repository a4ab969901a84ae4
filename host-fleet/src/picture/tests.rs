use super::*;

fn picture() -> Picture {
    let member = |peer, state: &str, held, pending| Seen {
        names: format!("0/{peer}"),
        peer,
        state: state.into(),
        axes: 2,
        lag_ns: 120_000_000,
        reservations: 1,
        held,
        pending,
    };
    Picture {
        members: vec![
            member(1, "live", 64 << 20, 32 << 20),
            member(2, "in doubt: its lease is over", 1, 0),
        ],
        lent: 64 << 20,
        in_doubt: 1,
        over: 3,
        fenced: 1,
        fenced_bytes: 4096,
        names_left: 65_000,
        messages: Messages { forged: 2, ..Messages::default() },
        pool: PoolSeen {
            reserved: 64 << 20,
            pending: 32 << 20,
            free: 32 << 20,
            committed: 128 << 20,
        },
        oracle: Some(OracleSeen { overlaps: 0, early_reuse: 0, watched: 9 }),
    }
}

#[test]
fn what_is_written_as_json_is_read() {
    let picture = picture();
    assert_eq!(Picture::from_json(picture.to_json().as_bytes()), Some(picture));
    assert_eq!(Picture::from_json(b"{}"), None);
}

#[test]
fn the_text_shows_members_axes_lag_lent_in_doubt_and_fenced() {
    let text = picture().to_string();
    for words in [
        "fleet      2 members, 4 axes; 64.00 MiB lent, 1 B in doubt; 3 over, of them 1 fenced with 4096 B",
        "oracle     sound: 0 overlaps, 0 early reuses in 9 blocks",
        "messages   2 forged\n",
        "0.12 s",
        // Half of the slabs, a quarter of them; one byte is seen.
        "██████████▒▒▒▒▒░░░░░",
        "█░░░░░░░░░░░░░░░░░░░  its lease is over",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let mut unsound = picture();
    unsound.oracle = Some(OracleSeen { overlaps: 0, early_reuse: 1, watched: 9 });
    assert!(unsound.to_string().contains("UNSOUND"));
}

#[test]
fn the_page_stands_alone_and_takes_no_words_for_tags() {
    let mut picture = picture();
    picture.members[1].state = "<script>".into();
    let page = picture.to_html("fleet at \"a\" & b", 2);
    assert!(page.contains("<title>fleet at &quot;a&quot; &amp; b</title>"), "{page}");
    assert!(page.contains("content=\"2\"") && page.contains("&lt;script&gt;"), "{page}");
    assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("href="));
    assert!(page.contains("<rect class=\"held\" width=\"100\""), "{page}");
    assert!(page.contains("<rect class=\"doubt\" width=\"1\""), "{page}");
}
