//! Any bytes as a frontier: no panic, every decoder says the same, and what decodes has only those bytes as its encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strandline_core::frontier::MAX_ENTRIES;
use strandline_core::{FixedFrontier, Frontier, FrontierError, FrontierRef, WireError};

fuzz_target!(|data: &[u8]| {
    let prefix = Frontier::decode_prefix(data);
    let whole = Frontier::decode(data);
    match &prefix {
        Ok((frontier, used)) => {
            encodes_to(frontier.as_ref(), &data[..*used]);
            assert_eq!(Frontier::decode(&data[..*used]).as_ref(), Ok(frontier));
            let long = WireError::Length { expected: *used, actual: data.len() };
            let expected = if *used == data.len() { Ok(frontier.clone()) } else { Err(long) };
            assert_eq!(whole, expected);
            if let Some(short) = used.checked_sub(1) {
                assert!(
                    Frontier::decode_prefix(&data[..short]).is_err(),
                    "decoded without its end"
                );
            }
        }
        Err(error) => {
            assert_eq!(whole, Err(*error));
            assert!(!error.to_string().contains('\n'));
        }
    }
    fixed::<0>(data, &whole);
    fixed::<1>(data, &whole);
    fixed::<4>(data, &whole);
    fixed::<MAX_ENTRIES>(data, &whole);

    // Frontiers one after the other.
    let mut rest = data;
    while let Ok((frontier, used)) = Frontier::decode_prefix(rest) {
        encodes_to(frontier.as_ref(), &rest[..used]);
        rest = &rest[used..];
    }
});

/// The frontier has exactly this encoding, and writes it only where it fits.
fn encodes_to(frontier: FrontierRef<'_>, bytes: &[u8]) {
    assert_eq!(frontier.encode(), bytes);
    assert_eq!(frontier.encoded_len(), bytes.len());
    let mut room = vec![0xa5; bytes.len() + 1];
    assert_eq!(frontier.encode_into(&mut room), Some(bytes.len()));
    assert_eq!((&room[..bytes.len()], room[bytes.len()]), (bytes, 0xa5));
    room.fill(0xa5);
    assert_eq!(frontier.encode_into(&mut room[..bytes.len() - 1]), None);
    assert!(room.iter().all(|byte| *byte == 0xa5), "written to although it does not fit");
    // What came from outside keeps the rules that the rest of the crate builds on.
    assert!(frontier.entries().is_sorted_by(|a, b| a.axis < b.axis));
    assert!(frontier.entries().iter().all(|entry| entry.epoch != 0));
    assert!(frontier.dominates(frontier));
}

/// A bounded frontier decodes like an unbounded one, up to its bound.
fn fixed<const N: usize>(data: &[u8], whole: &Result<Frontier, WireError>) {
    let too_many = || Err(FrontierError::TooMany { limit: N }.into());
    let decoded = FixedFrontier::<N>::decode(data);
    match whole {
        Ok(frontier) if frontier.as_ref().len() > N => assert_eq!(decoded, too_many()),
        Ok(frontier) => {
            let decoded = decoded.expect("no more entries than it can hold");
            assert_eq!(decoded.as_ref(), frontier.as_ref());
        }
        Err(error) => assert_eq!(decoded, Err(*error)),
    }
}
