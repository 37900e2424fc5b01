//! DER (X.690): sequences of elements with definite lengths. Their meaning is not in scope.

/// Tag of an INTEGER.
pub const INTEGER: u8 = 0x02;
/// Tag of a BIT STRING.
pub const BIT_STRING: u8 = 0x03;
/// Tag of an OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// Tag of an OBJECT IDENTIFIER.
pub const OBJECT_IDENTIFIER: u8 = 0x06;
/// Tag of a SEQUENCE.
pub const SEQUENCE: u8 = 0x30;

/// Returns tag and content of the next element (X.690 8.1, definite lengths of at most three
/// bytes); `None` if there is none.
pub fn element<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, behind) = rest.split_first()?;
    let (&first, mut behind) = behind.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (digits, others) = behind.split_at_checked(usize::from(first & 0x7f))?;
        if digits.is_empty() || digits.len() > 3 {
            return None;
        }
        length = digits
            .iter()
            .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        behind = others;
    }
    let (content, others) = behind.split_at_checked(length)?;
    *rest = others;
    Some((tag, content))
}

/// Returns the content of the next element, which must have this tag.
pub fn take<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    element(rest)
        .filter(|(found, _)| *found == tag)
        .map(|(_, content)| content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements() {
        let long = [&[0x04, 0x82, 0x01, 0x00][..], &[7; 256]].concat();
        let whole = [&[0x02, 0x01, 0x05, 0x30, 0x00][..], &long].concat();
        let mut rest = whole.as_slice();
        assert_eq!(take(&mut rest, INTEGER), Some(&[5][..]));
        assert_eq!(element(&mut rest), Some((SEQUENCE, &[][..])));
        assert_eq!(take(&mut rest, OCTET_STRING).map(<[u8]>::len), Some(256));
        assert_eq!((element(&mut rest), rest.len()), (None, 0));
        for bad in [
            &[0x02][..],
            &[0x02, 0x02, 1],
            &[0x02, 0x80, 0, 0],
            &[0x02, 0x84, 0, 0, 0, 1, 1],
            &[0x02, 0x82, 1],
        ] {
            assert_eq!(element(&mut &*bad), None, "{bad:?}");
        }
        assert_eq!(take(&mut &[0x02, 0x00][..], SEQUENCE), None);
    }
}
