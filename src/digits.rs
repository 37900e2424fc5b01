//! Numbers as decimal digits, both ways, with nothing lenient about it (`"+5".parse::<u64>()` is `Ok(5)`).

use crate::limits::DECIMAL_DIGITS;

/// 1*DIGIT and nothing else, at most [`DECIMAL_DIGITS`] of them.
pub fn parse(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > DECIMAL_DIGITS {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &digit| {
        let digit = char::from(digit).to_digit(10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The last digit of a number.
pub const fn last(value: u64) -> u8 {
    // The digits stand at 0x30 to 0x39: no bit of theirs is in the way.
    b'0' | (value % 10) as u8
}

/// The digits of a number, without leading zeros.
pub fn write(mut value: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = last(value);
        start = at;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    digits.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_nothing_else() {
        assert_eq!(parse(b"0"), Some(0));
        assert_eq!(parse(b"010"), Some(10));
        assert_eq!(parse(b"999999999999999999"), Some(999_999_999_999_999_999));
        for bad in [&b""[..], b"+5", b"-0", b"0x5", b"5_0", b"5 ", b" 5", b"5,5", b"1000000000000000000", b"\xd9\xa5"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn written_as_the_standard_library_does() {
        for value in [0, 7, 10, 65_535, u64::MAX] {
            assert_eq!(write(value, &mut [0; 20]), value.to_string().as_bytes());
        }
    }
}
