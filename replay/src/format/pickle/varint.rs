//! Numbers of variable length: seven bits a byte, the lowest first; signed ones alternate, 0, -1, 1, -2…

pub(super) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

pub(super) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

pub(super) fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a varint that [`varint`] wrote; what is missing reads as 0.
pub(super) fn take_varint(rest: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0u64, 0);
    while let Some((&byte, after)) = rest.split_first() {
        *rest = after;
        number |= u64::from(byte & 0x7f).wrapping_shl(shift);
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_and_signs_come_back() {
        for number in [0, 1, 127, 128, 1 << 20, u64::MAX >> 1, u64::MAX] {
            let mut out = Vec::new();
            varint(&mut out, number);
            assert_eq!(take_varint(&mut &out[..]), number);
            assert_eq!(zigzag(unzigzag(number)), number);
        }
        assert_eq!([zigzag(0), zigzag(-1), zigzag(1)], [0, 1, 2]);
    }
}
